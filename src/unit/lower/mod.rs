//! From what the files say to what takes effect: defaults filled in, templates and replicas
//! unfolded, names turned into ids.

pub(super) mod works;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::unit::changes;
use crate::unit::check;
use crate::unit::diagnostic::{Diagnostic, Place, saturated};
use crate::unit::external;
use crate::unit::file::{LogFile, RestartFile, UnitFile};
use crate::unit::job;
use crate::unit::names::{Directory, Draft, Member};
use crate::unit::read::At;
use crate::unit::settings::SettingsFile;
use crate::unit::spec::listen::Listen;
use crate::unit::spec::recover::Ladder;
use crate::unit::spec::{
    Backoff, Condition, Dependency, Fingerprint, Follow, InheritEnv, Levers, LogSpec, OnLimit, PhaseId,
    Ready, ResourceLimit, RestartPolicy, RestartSpec, SignalNumber, StartLimit, StopSpec, UnitId, UnitKind,
    UnitSet, UnitSpec, WhenFull,
};
use crate::unit::value::texts;
use crate::unit::words::plain_words;
use crate::unit::{KeyPlaces, Read};

const BOOT_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(60);
const LOG_TOTAL_BYTES: u64 = 1 << 30;
/// Barriers; the longest boot that was met had nine.
const MOST_PHASES: usize = 100;
const LOG_MAX_SIZE_BYTES: u64 = 10 << 20;
const LOG_KEEP: u16 = 5;
/// Time to become ready; a task may take as long as it needs.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// A run that takes longer hangs, unless its job says otherwise.
const JOB_TIMEOUT: Duration = Duration::from_secs(3600);
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(30),
    factor_permille: 2000,
    jitter_permille: 100,
};
const RESET_AFTER: Duration = Duration::from_secs(10 * 60);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Everything in effect, with what is wrong in it; the set is only for use when nothing is.
pub(super) fn lower(settings: &SettingsFile, are_settings_sound: bool, mut directory: Directory) -> Read {
    let mut diagnostics = std::mem::take(&mut directory.diagnostics);
    let phases = Phases::new(settings, are_settings_sound, &mut diagnostics);
    let mut bodies = Vec::with_capacity(directory.drafts.len());
    let mut asks = Vec::with_capacity(directory.drafts.len());
    for (at, draft) in directory.drafts.iter().enumerate() {
        let mut body = body(draft, &phases, &mut diagnostics);
        edges(at, draft, &directory, &mut body, &mut diagnostics);
        if let Some(job) = &mut body.job {
            job.after = job::after(at, &draft.unit, &directory, &mut diagnostics);
        }
        body.recover = works::ladder(at, draft, &directory, &body, &mut diagnostics);
        check::unit(draft, &body, settings, are_settings_sound, &mut diagnostics);
        asks.push(check::gate::asks(draft, &directory, &mut diagnostics));
        check::output_units(draft, &directory, &mut diagnostics);
        bodies.push(body);
    }
    let mut units: Vec<UnitSpec> = Vec::with_capacity(directory.members.len());
    let mut places: Vec<KeyPlaces> = Vec::with_capacity(directory.members.len());
    let mut last_use: Vec<usize> = vec![0; bodies.len()];
    for (position, member) in directory.members.iter().enumerate() {
        if let Some(last) = last_use.get_mut(member.draft) {
            *last = position;
        }
    }
    for (position, member) in directory.members.iter().enumerate() {
        let (Some(body), Some(draft)) = (bodies.get_mut(member.draft), directory.drafts.get(member.draft))
        else {
            continue;
        };
        // Most bodies have one unit: moved, not copied.
        let is_last = last_use.get(member.draft) == Some(&position);
        let spec = if is_last { std::mem::replace(body, empty(draft)) } else { body.clone() };
        units.push(named(spec, member));
        let asks = asks.get(member.draft).cloned().unwrap_or_default();
        places.push(KeyPlaces { asks, ..key_places(&draft.unit) });
    }
    let set = UnitSet {
        sorted: units.len(),
        units,
        phases: phases.names,
        boot_timeout: settings.boot_timeout.as_ref().map_or(BOOT_TIMEOUT, |timeout| timeout.value),
        shutdown_timeout: settings
            .shutdown_timeout
            .as_ref()
            .map_or(SHUTDOWN_TIMEOUT, |timeout| timeout.value),
        log_total_bytes: total(settings),
        alerts: settings.alerts.as_ref().map(|alerts| alerts.value.lower()).unwrap_or_default(),
        concurrency: settings.concurrency.as_ref().map(|most| most.value.0),
        hooks: settings.hooks.as_ref().and_then(|hooks| hooks.value.lower()),
        heartbeat: settings.heartbeat.as_ref().and_then(|heartbeat| heartbeat.value.lower()),
        changes: changes::lower(settings),
    };
    check::settings(settings, &mut diagnostics);
    changes::check(settings, &mut diagnostics);
    let set = set.fingerprinted();
    check::set(&set, &places, &mut diagnostics);
    check::hooks(settings, &set, &places, &mut diagnostics);
    Read { set, diagnostics, places }
}

fn total(settings: &SettingsFile) -> u64 {
    settings
        .log
        .as_ref()
        .and_then(|log| log.value.total.as_ref())
        .map_or(LOG_TOTAL_BYTES, |total| total.value.0)
}

/// Phase names and which one is meant when none is named.
struct Phases {
    names: Vec<Box<str>>,
    default: PhaseId,
    /// False: mcsup.yaml could not be read, and may name any phase.
    is_sound: bool,
}

impl Phases {
    fn new(settings: &SettingsFile, is_sound: bool, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut names: Vec<Box<str>> = Vec::new();
        if let Some(phases) = settings.phases.as_ref().filter(|phases| phases.value.len() > MOST_PHASES) {
            let message = format!("{} phases are more than {MOST_PHASES}", phases.value.len());
            diagnostics.push(
                Diagnostic::error("bad-value", phases.place, message)
                    .help("a phase is a barrier for everybody; order single units by `depends_on`"),
            );
        }
        for phase in settings.phases.iter().flat_map(|phases| &phases.value).take(MOST_PHASES) {
            if !check::is_phase_name(&phase.value.0) {
                let message = format!("`{}` cannot name a phase", phase.value.0);
                diagnostics.push(
                    Diagnostic::error("bad-name", phase.place, message)
                        .help("use lower-case letters, digits, `-` and `_`; at most 64"),
                );
            } else if names.contains(&phase.value.0) {
                let message = format!("the phase `{}` is listed twice", phase.value.0);
                diagnostics.push(Diagnostic::error("duplicate-name", phase.place, message));
            } else {
                names.push(phase.value.0.clone());
            }
        }
        if names.is_empty() {
            if let Some(phases) = settings.phases.as_ref().filter(|phases| phases.value.is_empty()) {
                diagnostics.push(
                    Diagnostic::error("bad-value", phases.place, "`phases` lists no phase")
                        .help("name at least one, or remove the line"),
                );
            }
            names.push("main".into());
        }
        let last = names.len().saturating_sub(1);
        let default = PhaseId(u16::try_from(last).unwrap_or(u16::MAX));
        let mut phases = Self { names, default, is_sound };
        if let Some(default) = &settings.default_phase {
            phases.default = phases.find(&default.value.0, default.place, diagnostics);
        }
        phases
    }

    fn find(&self, name: &str, place: Place, diagnostics: &mut Vec<Diagnostic>) -> PhaseId {
        match self.names.iter().position(|phase| &**phase == name) {
            Some(at) => PhaseId(u16::try_from(at).unwrap_or(u16::MAX)),
            None => {
                if self.is_sound {
                    diagnostics.push(check::unknown_phase(name, place, &self.names));
                }
                self.default
            }
        }
    }
}

/// The definition that all copies of a draft share; without name and edges.
fn body(draft: &Draft, phases: &Phases, diagnostics: &mut Vec<Diagnostic>) -> UnitSpec {
    let unit = &draft.unit;
    let health = works::health(draft, diagnostics);
    let is_job = draft.kind == UnitKind::Job;
    let start_timeout = match draft.kind {
        UnitKind::Service | UnitKind::External | UnitKind::Gate => Some(START_TIMEOUT),
        UnitKind::Task => None,
        UnitKind::Job => Some(JOB_TIMEOUT),
    };
    UnitSpec {
        description: unit.description.as_ref().map(|text| text.value.0.clone()),
        phase: match &unit.phase {
            Some(phase) => phases.find(&phase.value.0, phase.place, diagnostics),
            None => phases.default,
        },
        // Nobody waits for a job that may run tomorrow.
        blocks_phase: flag(unit.blocks_phase.as_ref(), !is_job),
        enabled: flag(unit.enabled.as_ref(), true),
        essential: flag(unit.essential.as_ref(), false),
        protected: flag(unit.protected.as_ref(), false),
        command: unit.command.as_ref().map(|command| plain_words(&command.value.0)).unwrap_or_default(),
        levers: works::levers(draft),
        job: is_job.then(|| Box::new(job::lower(unit))),
        user: unit.user.as_ref().map(|user| user.value.0.clone()),
        group: unit.group.as_ref().map(|group| group.value.0.clone()),
        supplementary_groups: unit
            .supplementary_groups
            .iter()
            .flat_map(|groups| &groups.value)
            .map(|group| group.value.0.clone())
            .collect(),
        working_dir: unit.working_dir.as_ref().map(|dir| dir.value.0.clone()),
        environment: unit
            .environment
            .iter()
            .flat_map(|variables| &variables.value.0)
            .map(|(name, value)| (name.clone(), value.value.clone()))
            .collect(),
        env_file: texts(unit.env_file.as_ref()),
        inherit_env: unit.inherit_env.as_ref().map_or(InheritEnv::Basics, |inherit| inherit.value.clone()),
        ready: works::ready(draft),
        start_timeout: unit
            .timeout
            .as_ref()
            .or(unit.start_timeout.as_ref())
            .map_or(start_timeout, |timeout| timeout.value.0),
        health,
        watchdog: unit.watchdog.as_ref().map(|watchdog| watchdog.value),
        listen: works::listen(draft),
        restart: restart_spec(draft.kind, unit.restart.as_ref().map(|restart| &restart.value.0)),
        stop: stop_spec(draft),
        limits: resource_limits(unit),
        oom_score_adjust: unit.oom_score_adjust.as_ref().map(|score| score.value.0),
        log: log_spec(unit.log.as_ref().map(|log| &log.value)),
        runbook: unit.runbook.as_ref().map(|link| link.value.0.clone()),
        slo_ppm: unit.slo.as_ref().map(|slo| slo.value.0),
        labels: unit.labels.iter().flat_map(|labels| labels.value.0.iter().cloned()).collect(),
        ..empty(draft)
    }
}

/// A definition that says nothing, to be filled.
fn empty(draft: &Draft) -> UnitSpec {
    UnitSpec {
        name: draft.name.clone(),
        kind: draft.kind,
        description: None,
        phase: PhaseId(0),
        blocks_phase: true,
        enabled: true,
        is_removed: false,
        essential: false,
        protected: false,
        command: Vec::new(),
        job: None,
        levers: Levers::default(),
        user: None,
        group: None,
        supplementary_groups: Vec::new(),
        working_dir: None,
        environment: Vec::new(),
        env_file: Vec::new(),
        inherit_env: InheritEnv::Basics,
        depends_on: Vec::new(),
        conflicts: Vec::new(),
        ready: Ready::Started,
        start_timeout: None,
        health: Vec::new(),
        watchdog: None,
        listen: Listen::default(),
        recover: Ladder::empty(),
        restart: restart_spec(draft.kind, None),
        stop: StopSpec { signal: SignalNumber::TERM, grace: STOP_GRACE, command: None },
        limits: Vec::new(),
        oom_score_adjust: None,
        log: log_spec(None),
        instance: None,
        runbook: None,
        slo_ppm: None,
        labels: Box::default(),
        fingerprint: Fingerprint(0),
        place: draft.place,
    }
}

fn flag(value: Option<&At<bool>>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

fn restart_spec(kind: UnitKind, file: Option<&RestartFile>) -> RestartSpec {
    let backoff = file.and_then(|file| file.backoff.as_ref()).map(|backoff| &backoff.value);
    let limit = file.and_then(|file| file.limit.as_ref()).map(|limit| &limit.value);
    let usual = match kind {
        UnitKind::Service | UnitKind::External | UnitKind::Gate => RestartPolicy::Always,
        UnitKind::Task => RestartPolicy::OnFailure,
        UnitKind::Job => RestartPolicy::Never,
    };
    let initial = backoff.and_then(|backoff| backoff.initial.as_ref()).map(|at| at.value);
    RestartSpec {
        policy: file.and_then(|file| file.policy.as_ref()).map_or(usual, |policy| policy.value),
        backoff: Backoff {
            initial: initial.unwrap_or(BACKOFF.initial),
            // An initial delay above the usual maximum stands for itself.
            max: backoff.and_then(|backoff| backoff.max.as_ref()).map_or_else(
                || initial.map_or(BACKOFF.max, |initial| initial.max(BACKOFF.max)),
                |at| at.value,
            ),
            factor_permille: backoff
                .and_then(|backoff| backoff.factor.as_ref())
                .map_or(BACKOFF.factor_permille, |at| at.value.0),
            jitter_permille: backoff
                .and_then(|backoff| backoff.jitter.as_ref())
                .map_or(BACKOFF.jitter_permille, |at| at.value.0),
        },
        reset_after: file.and_then(|file| file.reset_after.as_ref()).map_or(RESET_AFTER, |at| at.value),
        limit: limit.and_then(|limit| {
            Some(StartLimit {
                starts: limit.starts.as_ref()?.value.0,
                within: limit.within.as_ref()?.value,
                then: limit.then.as_ref().map_or(OnLimit::Fail, |then| then.value.0),
            })
        }),
    }
}

fn stop_spec(draft: &Draft) -> StopSpec {
    let stop = draft.unit.stop.as_ref().map(|stop| &stop.value.0);
    let own = stop.and_then(|stop| stop.command.as_ref()).map(|at| plain_words(&at.value.0));
    let of_adapter = || if draft.kind == UnitKind::External { external::stop(&draft.unit) } else { None };
    StopSpec {
        signal: stop.and_then(|stop| stop.signal.as_ref()).map_or(SignalNumber::TERM, |at| at.value),
        grace: stop.and_then(|stop| stop.grace.as_ref()).map_or(STOP_GRACE, |at| at.value),
        command: own.or_else(of_adapter),
    }
}

fn resource_limits(unit: &UnitFile) -> Vec<ResourceLimit> {
    let mut limits: Vec<ResourceLimit> = unit
        .limits
        .iter()
        .flat_map(|limits| &limits.value.0)
        .map(|(resource, limit)| ResourceLimit {
            resource: *resource,
            soft: limit.value.soft,
            hard: limit.value.hard,
        })
        .collect();
    limits.sort_by_key(|limit| limit.resource);
    limits
}

fn log_spec(log: Option<&LogFile>) -> LogSpec {
    LogSpec {
        max_size_bytes: log.and_then(|log| log.max_size.as_ref()).map_or(LOG_MAX_SIZE_BYTES, |at| at.value.0),
        max_age: log.and_then(|log| log.max_age.as_ref()).map(|at| at.value),
        keep: log.and_then(|log| log.keep.as_ref()).map_or(LOG_KEEP, |at| at.value.0),
        when_full: log.and_then(|log| log.when_full.as_ref()).map_or(WhenFull::Drop, |at| at.value),
    }
}

/// Turns the names in `depends_on` and `conflicts` into ids.
fn edges(
    at: usize,
    draft: &Draft,
    directory: &Directory,
    body: &mut UnitSpec,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut seen: BTreeMap<UnitId, Place> = BTreeMap::new();
    for (name, place, edge) in draft.unit.depends_on.iter().flat_map(|depends| &depends.value.0) {
        let targets = directory.resolve(name, *place, diagnostics);
        if targets.iter().any(|target| directory.is_copy_of(*target, at)) {
            diagnostics.push(check::names_itself("depends on", name, *place));
            continue;
        }
        let Some(first) = targets.first().and_then(|target| directory.draft_of(*target)) else { continue };
        if let Some(earlier) = targets.iter().find_map(|target| seen.get(target)) {
            diagnostics.push(check::named_twice(name, *place, *earlier));
            continue;
        }
        check::condition(name, *place, edge, first, diagnostics);
        let condition = edge.condition.as_ref().map_or_else(|| usual_condition(first), |at| at.value);
        for unit in targets.iter().copied() {
            seen.insert(unit, *place);
            body.depends_on.push(Dependency {
                unit,
                condition,
                required: flag(edge.required.as_ref(), true),
                follow: edge.follow.as_ref().map_or(Follow::None, |at| at.value),
                place: *place,
            });
        }
    }
    body.depends_on.sort_by_key(|edge| edge.unit);
    for other in draft.unit.conflicts.iter().flat_map(|conflicts| &conflicts.value) {
        let targets = directory.resolve(&other.value.0, other.place, diagnostics);
        if targets.iter().any(|target| directory.is_copy_of(*target, at)) {
            diagnostics.push(check::names_itself("conflicts with", &other.value.0, other.place));
            continue;
        }
        body.conflicts.extend(targets);
    }
    body.conflicts.sort_unstable();
    body.conflicts.dedup();
}

/// It says itself when it is ready.
pub(in crate::unit) fn tells_readiness(target: &Draft) -> bool {
    match target.unit.ready.as_ref().map(|ready| &ready.value) {
        Some(Ready::Notify | Ready::Log(_) | Ready::Fd(_)) => true,
        Some(Ready::Started | Ready::Health) | None => false,
    }
}

/// What a dependent waits for when it does not say.
fn usual_condition(target: &Draft) -> Condition {
    match target.kind {
        UnitKind::Task => Condition::Completed,
        UnitKind::Job => Condition::Completed,
        UnitKind::External | UnitKind::Gate => Condition::Healthy,
        UnitKind::Service if target.unit.health.is_some() || tells_readiness(target) => Condition::Healthy,
        UnitKind::Service => Condition::Started,
    }
}

fn named(mut spec: UnitSpec, member: &Member) -> UnitSpec {
    for socket in spec.listen.sockets.iter_mut().filter(|socket| socket.name.is_empty()) {
        socket.name = member.name.as_str().into();
    }
    UnitSpec { name: member.name.clone(), instance: member.instance.clone(), ..spec }
}

fn key_places(unit: &UnitFile) -> KeyPlaces {
    KeyPlaces {
        command: unit.command.as_ref().and_then(|command| command.value.0.first()).map(|word| word.place),
        user: unit.user.as_ref().map(|user| user.place),
        group: unit.group.as_ref().map(|group| group.place),
        working_dir: unit.working_dir.as_ref().map(|dir| dir.place),
        env_file: unit.env_file.iter().flat_map(|files| &files.value).map(|file| file.place).collect(),
        supplementary_groups: unit
            .supplementary_groups
            .iter()
            .flat_map(|groups| &groups.value)
            .map(|group| group.place)
            .collect(),
        conflicts: unit.conflicts.as_ref().map(|conflicts| conflicts.place),
        listen: unit
            .listen
            .iter()
            .flat_map(|listen| listen.value.sockets())
            .map(|socket| socket.place)
            .collect(),
        schemas: unit.output.iter().flat_map(|output| output.value.schemas()).collect(),
        secret_file: unit
            .webhook
            .as_ref()
            .and_then(|webhook| webhook.value.secret_file.as_ref())
            .map(|file| file.place),
        asks: Vec::new(),
    }
}

/// Index of a unit among `members`, which are in the order of ids.
pub(super) fn id_at(position: usize) -> UnitId {
    UnitId(saturated(position))
}
