//! A number for what a unit is: equal for equal effective definitions, whatever the order of keys,
//! the comments, the file's place or the other units. Stable across versions of the compiler, so
//! that it can be kept on disk.

mod works;
mod job;
mod confinement;

use std::time::Duration;

use crate::unit::spec::{
    Dependency, Fingerprint, InheritEnv, LogSpec, OnLimit, Piece, Ready, ResourceLimit, RestartSpec,
    StopSpec, Template, UnitId, UnitSet, UnitSpec,
};

impl UnitSet {
    /// The same set, each unit with the number of what it is.
    #[must_use]
    pub fn fingerprinted(mut self) -> Self {
        let prints: Vec<Fingerprint> = self.units.iter().map(|unit| fingerprint(unit, &self)).collect();
        for (unit, print) in self.units.iter_mut().zip(prints) {
            unit.fingerprint = print;
        }
        self
    }
}

fn fingerprint(unit: &UnitSpec, set: &UnitSet) -> Fingerprint {
    of_definition(unit.name.as_str(), unit, set)
}

/// Equal for units that differ in nothing but their names.
pub(super) fn nameless(unit: &UnitSpec, set: &UnitSet) -> Fingerprint {
    of_definition("", unit, set)
}

/// Equal for units whose processes are started alike: a run that lives goes on. For whom mcsup starts no process that
/// stays, the kind alone counts.
pub fn run_fingerprint(unit: &UnitSpec) -> Fingerprint {
    let mut hash = Hash::default();
    hash.text(&unit.kind.to_string());
    if unit.kind.has_process() {
        hash.templates(&unit.command);
        hash.account(unit.user.as_deref(), unit.group.as_deref(), &unit.supplementary_groups);
        hash.optional(unit.working_dir.as_deref());
        hash.variables(&unit.environment, &unit.env_file, &unit.inherit_env);
        match &unit.ready {
            // Nothing of the process depends on which of the two it is.
            Ready::Started | Ready::Health => hash.ready(&Ready::Started),
            Ready::Notify | Ready::Log(_) | Ready::Fd(_) => hash.ready(&unit.ready),
        }
        hash.optional_duration(unit.watchdog);
        hash.listen(&unit.listen);
        hash.limits(&unit.limits);
        hash.confinement_at_start(unit.confinement.as_deref());
        hash.optional_number(unit.oom_score_adjust.map(|score| u64::from(score.cast_unsigned())));
        hash.optional(unit.instance.as_deref());
    }
    Fingerprint(hash.finish())
}

fn of_definition(called: &str, unit: &UnitSpec, set: &UnitSet) -> Fingerprint {
    // Taken apart by name, so that a new field asks to be counted here.
    let UnitSpec {
        name: _,
        kind,
        description,
        phase,
        blocks_phase,
        enabled,
        is_removed: _, // what is not there is compared with nothing
        essential,
        protected,
        command,
        job,
        levers,
        user,
        group,
        supplementary_groups,
        working_dir,
        environment,
        env_file,
        inherit_env,
        depends_on,
        conflicts,
        ready,
        start_timeout,
        health,
        watchdog,
        listen,
        recover,
        restart,
        stop,
        limits,
        confinement,
        oom_score_adjust,
        log,
        instance,
        runbook,
        slo_ppm,
        labels,
        fingerprint: _,
        place: _,
    } = unit;
    let mut hash = Hash::default();
    [called, kind.to_string().as_str()].into_iter().for_each(|text| hash.text(text));
    hash.optional(description.as_deref());
    // The phase by name: an inserted phase moves the numbers of all that follow.
    hash.text(set.phases.get(usize::from(phase.0)).map_or("", |name| name));
    hash.flags(&[*blocks_phase, *enabled, *essential, *protected]);
    hash.templates(command);
    hash.job(job.as_deref(), set);
    hash.levers(levers);
    hash.account(user.as_deref(), group.as_deref(), supplementary_groups);
    hash.optional(working_dir.as_deref());
    hash.variables(environment, env_file, inherit_env);
    hash.dependencies(depends_on, set);
    hash.units_by_name(conflicts, set);
    hash.ready(ready);
    hash.optional_duration(*start_timeout);
    hash.probes(health);
    hash.optional_duration(*watchdog);
    hash.listen(listen);
    hash.ladder(recover, set);
    hash.restart(restart);
    hash.stop(stop);
    hash.limits(limits);
    hash.confinement(confinement.as_deref());
    hash.optional(oom_score_adjust.map(|score| score.to_string()).as_deref());
    hash.log(log);
    [instance, runbook].into_iter().for_each(|text| hash.optional(text.as_deref()));
    hash.optional_number(slo_ppm.map(u64::from));
    hash.labels(labels);
    Fingerprint(hash.finish())
}

/// FNV-1a over a length-prefixed encoding, with a last mixing so that near texts lie far apart.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

/// What is written as eight bytes.
trait Number {
    fn wide(self) -> u64;
}

macro_rules! numbers {
    ($($type:ty),+) => { $(impl Number for $type {
        fn wide(self) -> u64 {
            u64::from(self)
        }
    })+ };
}

numbers!(bool, u8, u16, u32, u64);

impl Number for usize {
    fn wide(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}

impl Hash {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        mixed ^ (mixed >> 33)
    }

    fn number(&mut self, number: impl Number) {
        self.bytes(&number.wide().to_le_bytes());
    }

    fn flags(&mut self, flags: &[bool]) {
        flags.iter().for_each(|flag| self.number(*flag));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.bytes(text.as_bytes());
    }

    fn texts(&mut self, texts: &[Box<str>]) {
        self.number(texts.len());
        texts.iter().for_each(|text| self.text(text));
    }

    fn optional(&mut self, text: Option<&str>) {
        self.number(text.is_some());
        self.text(text.unwrap_or_default());
    }

    fn account(&mut self, user: Option<&str>, group: Option<&str>, supplementary: &[Box<str>]) {
        self.optional(user);
        self.optional(group);
        self.texts(supplementary);
    }

    fn stop(&mut self, stop: &StopSpec) {
        let StopSpec { signal, grace, command } = stop;
        self.number(signal.0);
        self.duration(*grace);
        self.optional_templates(command.as_deref());
    }

    fn optional_number(&mut self, number: Option<u64>) {
        self.number(number.is_some());
        self.number(number.unwrap_or_default());
    }

    fn duration(&mut self, duration: Duration) {
        self.number(duration.as_secs());
        self.number(duration.subsec_nanos());
    }

    fn optional_duration(&mut self, duration: Option<Duration>) {
        self.number(duration.is_some());
        self.duration(duration.unwrap_or_default());
    }

    fn templates(&mut self, templates: &[Template]) {
        self.number(templates.len());
        templates.iter().for_each(|template| self.template(template));
    }

    fn optional_templates(&mut self, templates: Option<&[Template]>) {
        self.number(templates.is_some());
        self.templates(templates.unwrap_or_default());
    }

    fn template(&mut self, template: &Template) {
        match template {
            Template::Plain(text) => {
                self.number(0_u8);
                self.text(text);
            }
            Template::Pieces(pieces) => {
                self.number(pieces.len());
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => {
                            self.number(0_u8);
                            self.text(text);
                        }
                        Piece::Variable { name, default } => {
                            self.number(1_u8);
                            self.text(name);
                            self.optional(default.as_deref());
                        }
                    }
                }
            }
        }
    }

    /// Sorted: which variable stands first changes nothing, as each may use only earlier ones.
    fn environment(&mut self, variables: &[(Box<str>, Template)]) {
        let mut sorted: Vec<_> = variables.iter().collect();
        sorted.sort_by(|(one, _), (two, _)| one.cmp(two));
        self.number(sorted.len());
        for (name, value) in sorted {
            self.text(name);
            self.template(value);
        }
    }

    fn variables(&mut self, own: &[(Box<str>, Template)], files: &[Box<str>], inherit: &InheritEnv) {
        self.environment(own);
        self.texts(files);
        self.inherit_env(inherit);
    }

    fn inherit_env(&mut self, inherit: &InheritEnv) {
        match inherit {
            InheritEnv::Basics => self.number(0_u8),
            InheritEnv::Everything => self.number(1_u8),
            InheritEnv::Names(names) => {
                self.number(2_u8);
                let mut names = names.clone();
                names.sort();
                self.texts(&names);
            }
        }
    }

    fn restart(&mut self, restart: &RestartSpec) {
        let RestartSpec { policy, backoff, reset_after, limit } = restart;
        self.text(&format!("{policy:?}"));
        self.duration(backoff.initial);
        self.duration(backoff.max);
        self.number(backoff.factor_permille);
        self.number(backoff.jitter_permille);
        self.duration(*reset_after);
        self.number(limit.is_some());
        if let Some(limit) = limit {
            self.number(limit.starts);
            self.duration(limit.within);
            self.optional_duration(match limit.then {
                OnLimit::Fail => None,
                OnLimit::Retry(after) => Some(after),
            });
        }
    }

    fn limits(&mut self, limits: &[ResourceLimit]) {
        self.number(limits.len());
        for limit in limits {
            self.text(&format!("{:?}", limit.resource));
            self.optional_number(limit.soft);
            self.optional_number(limit.hard);
        }
    }

    fn log(&mut self, log: &LogSpec) {
        let LogSpec { max_size_bytes, max_age, keep, when_full } = log;
        self.number(*max_size_bytes);
        self.optional_duration(*max_age);
        self.number(*keep);
        self.text(&format!("{when_full:?}"));
    }

    fn labels(&mut self, labels: &[(Box<str>, Box<str>)]) {
        let mut sorted: Vec<_> = labels.iter().collect();
        sorted.sort();
        self.number(sorted.len());
        for (key, value) in sorted {
            self.text(key);
            self.text(value);
        }
    }

    /// Other units by name: ids differ from one start of mcsup to the next.
    fn unit(&mut self, id: UnitId, set: &UnitSet) {
        self.text(name_of(id, set));
    }

    fn units(&mut self, units: &[UnitId], set: &UnitSet) {
        self.number(units.len());
        units.iter().for_each(|unit| self.unit(*unit, set));
    }

    /// Units in no order of their own, by name: ids are not ordered by name in a set that was changed.
    fn units_by_name(&mut self, units: &[UnitId], set: &UnitSet) {
        let mut units = units.to_vec();
        units.sort_by_key(|id| name_of(*id, set));
        self.units(&units, set);
    }

    fn dependencies(&mut self, edges: &[Dependency], set: &UnitSet) {
        self.number(edges.len());
        let mut edges: Vec<&Dependency> = edges.iter().collect();
        edges.sort_by_key(|edge| name_of(edge.unit, set));
        edges.into_iter().for_each(|edge| self.dependency(edge, set));
    }

    fn dependency(&mut self, edge: &Dependency, set: &UnitSet) {
        let Dependency { unit, condition, required, follow, place: _ } = edge;
        self.unit(*unit, set);
        self.text(&format!("{condition:?}"));
        self.number(*required);
        self.text(&format!("{follow:?}"));
    }
}

fn name_of(id: UnitId, set: &UnitSet) -> &str {
    set.unit(id).map_or("", |unit| unit.name.as_str())
}
