//! From a unit's definition to an order that the keeper carries out with system calls alone.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::effect::Role;
use crate::engine::event::SpawnStep;
use crate::engine::id::UnitId;
use crate::expr::Facts;
use crate::keeper::wire::{Given, KeptOrder, Limit, LogOrder, SpawnOrder};
use crate::output::process;
use crate::probe::question::{Question, Surroundings};
use crate::supervisor::cgroups::Cgroups;
use crate::supervisor::confining;
use crate::supervisor::jobs::{Case, JUDGE_TIMEOUT};
use crate::supervisor::listeners;
use crate::supervisor::lookup::{Lookup, Miss, Person, Who};
use crate::supervisor::probes::Asked;
use crate::supervisor::role;
use crate::unit::spec::output::Source;
use crate::unit::spec::{
    InheritEnv, LogSpec, Piece, Ready, Resource, ResourceLimit, Template, UnitSet, UnitSpec, WhenFull,
};

/// One thing to start.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The number on the wire, with `HELPER_BIT` for helpers.
    pub(crate) run: u64,
    pub(crate) unit: UnitId,
    pub(crate) ordinal: u32,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Main,
    Helper {
        role: Role,
        timeout: Duration,
    },
    Probe {
        index: u16,
    },
    /// The command of a channel that people are told by; of no unit.
    Channel(Arc<Call>),
    /// Judges what a run of the unit wrote, as the unit's own user.
    Judge(Arc<Case>),
}

/// A message for a channel's command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) command: Vec<String>,
    /// What it reads on its input.
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
}

/// Whose launch a channel's command is.
pub(crate) const NOBODY: UnitId = UnitId(u32::MAX);

/// What all launches share; made once, read by workers.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) set: Arc<UnitSet>,
    /// mcsup's own environment, by name.
    pub(crate) inherited: BTreeMap<String, Vec<u8>>,
    pub(crate) units_dir: PathBuf,
    pub(crate) working_dir: Vec<u8>,
    pub(crate) log_dir: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) cgroups: Arc<Cgroups>,
}

impl Ground {
    pub(crate) fn new(
        set: Arc<UnitSet>,
        units_dir: &Path,
        working_dir: PathBuf,
        log_dir: &Path,
        state: &Path,
        cgroups: Cgroups,
    ) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            // A name that is no text cannot be meant by any unit.
            name.into_string().ok().map(|name| (name, value.into_vec()))
        };
        Self {
            set,
            inherited: env::vars_os().filter_map(text).collect(),
            units_dir: units_dir.to_path_buf(),
            working_dir: working_dir.into_os_string().into_vec(),
            log_dir: log_dir.to_path_buf(),
            state: state.to_path_buf(),
            cgroups: Arc::new(cgroups),
        }
    }

    /// The same place under other definitions.
    pub(crate) fn with_set(&self, set: Arc<UnitSet>) -> Self {
        Self {
            set,
            inherited: self.inherited.clone(),
            units_dir: self.units_dir.clone(),
            working_dir: self.working_dir.clone(),
            log_dir: self.log_dir.clone(),
            state: self.state.clone(),
            cgroups: Arc::clone(&self.cgroups),
        }
    }

    /// Where what runs of a job wrote is kept.
    pub(crate) fn output_dir(&self, job: &str) -> PathBuf {
        self.state.join("output").join(job)
    }

    /// Where one stream of a run is while nobody has judged it.
    pub(crate) fn kept_path(&self, job: &str, run: u64) -> PathBuf {
        self.output_dir(job).join(RUNNING).join(run.to_string())
    }

    pub(crate) fn log_order(&self, spec: &UnitSpec, run: u64) -> LogOrder {
        let LogSpec { max_size_bytes, max_age, keep, when_full } = spec.log;
        LogOrder {
            dir: self.log_dir.join(spec.name.as_str()).into_os_string().into_vec().into(),
            max_size_bytes,
            max_age_ms: max_age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1)),
            keep,
            block_when_full: match when_full {
                WhenFull::Drop => false,
                WhenFull::Block => true,
            },
            kept: spec.job.is_some().then(|| KeptOrder {
                path: self.kept_path(spec.name.as_str(), run).into_os_string().into_vec().into(),
                most_bytes: kept_most_bytes(spec),
                is_stderr: judged_source(spec) == Source::Stderr,
            }),
        }
    }

    /// The order for `launch`, as far as `lookup` can answer.
    ///
    /// # Errors
    /// `NotCached` when only a worker may find out; `Failed` when there is no way to start it.
    pub(crate) fn order(&self, launch: &Launch, lookup: &mut dyn Lookup) -> Result<SpawnOrder, Miss> {
        if let What::Channel(call) = &launch.what {
            return self.channel_order(launch.run, call, lookup);
        }
        if let What::Judge(_) = &launch.what {
            return self.judge_order(launch, lookup);
        }
        let gone = || Miss::failed(SpawnStep::Expand, 0, "the unit is gone".to_owned());
        let spec = self.set.unit(launch.unit).ok_or_else(gone)?;
        let command = command_of(spec, &launch.what).ok_or_else(gone)?;
        let person = lookup.person(&Who {
            user: spec.user.clone(),
            group: spec.group.clone(),
            supplementary: spec.supplementary_groups.clone(),
        })?;
        let mut env = self.environment(spec, &person, lookup)?;
        if let Some(confinement) = &spec.confinement {
            lookup.confinement(&self.units_dir, confinement)?;
        }
        let confinement = confining::order(spec, &person, &self.units_dir);
        if confinement.as_ref().is_some_and(|order| !order.credentials.is_empty()) {
            env.insert("CREDENTIALS_DIRECTORY".to_owned(), confining::CREDENTIALS_DIR.as_bytes().to_vec());
        }
        if let What::Helper { role, .. } = &launch.what {
            let told = role::environment(spec, role).into_iter();
            env.extend(told.map(|(name, value)| (name.to_owned(), value.into_bytes())));
        }
        let argv = command.iter().map(|template| expand(template, &env)).collect::<Result<Vec<_>, Miss>>()?;
        let name = argv.first().cloned().unwrap_or_default();
        let program = if name.contains(&b'/') {
            name
        } else {
            lookup.program(env.get("PATH").map_or(DEFAULT_PATH, Vec::as_slice), &name)?
        };
        let helper = |timeout| SpawnOrder {
            timeout_ms: millis(timeout),
            given: vec![Given::Output],
            ..SpawnOrder::default()
        };
        let own = match &launch.what {
            What::Main => self.main_order(launch, spec, &mut env, lookup)?,
            What::Helper { timeout, .. } => helper(*timeout),
            What::Channel(call) => helper(call.timeout),
            What::Judge(_) => helper(JUDGE_TIMEOUT),
            What::Probe { index } => {
                let timeout = spec.health.get(usize::from(*index)).map(|probe| probe.timeout);
                helper(timeout.unwrap_or_default())
            }
        };
        Ok(SpawnOrder {
            run: launch.run,
            unit: spec.name.as_str().to_owned(),
            ordinal: launch.ordinal,
            program,
            argv,
            env: env.into_iter().map(|(name, value)| pair(&name, &value)).collect(),
            working_dir: self.working_dir_of(spec),
            credentials: person.credentials,
            limits: spec.limits.iter().map(limit).collect(),
            oom_score_adjust: spec.oom_score_adjust,
            confinement,
            ..own
        })
    }

    /// Runs as mcsup itself does, in the units directory, with the environment that every unit has.
    fn channel_order(&self, run: u64, call: &Call, lookup: &mut dyn Lookup) -> Result<SpawnOrder, Miss> {
        let basics = self.inherited.iter().filter(|(name, _)| is_inherited(&InheritEnv::Basics, name));
        let path = self.inherited.get("PATH").map_or(DEFAULT_PATH, Vec::as_slice);
        let argv: Vec<Vec<u8>> = call.command.iter().map(|word| word.as_bytes().to_vec()).collect();
        let name = argv.first().cloned().unwrap_or_default();
        let program = if name.contains(&b'/') { name } else { lookup.program(path, &name)? };
        Ok(SpawnOrder {
            run,
            unit: "mcsup".to_owned(),
            program,
            argv,
            env: basics.map(|(name, value)| pair(name, value)).collect(),
            working_dir: self.units_dir.clone().into_os_string().into_vec(),
            timeout_ms: millis(call.timeout),
            given: vec![Given::Output, Given::Input],
            ..SpawnOrder::default()
        })
    }

    /// It inherits nothing but what it is asked, and works where the unit's runs do.
    fn judge_order(&self, launch: &Launch, lookup: &mut dyn Lookup) -> Result<SpawnOrder, Miss> {
        let failed = |errno, cause| Miss::failed(SpawnStep::Exec, errno, cause);
        let gone = || failed(0, "the unit is gone".to_owned());
        let spec = self.set.unit(launch.unit).ok_or_else(gone)?;
        // The keeper's child looks it up: the file that both rings run, whatever lies under its name by now.
        let own = PathBuf::from("/proc/self/exe");
        let own = if own.exists() { own } else { env::current_exe().unwrap_or(own) };
        let person = lookup.person(&Who {
            user: spec.user.clone(),
            group: spec.group.clone(),
            supplementary: spec.supplementary_groups.clone(),
        })?;
        Ok(SpawnOrder {
            run: launch.run,
            unit: spec.name.as_str().to_owned(),
            program: own.into_os_string().into_vec(),
            argv: vec![b"mcsup".to_vec(), process::VERB.as_bytes().to_vec()],
            working_dir: b"/".to_vec(),
            credentials: person.credentials,
            timeout_ms: millis(JUDGE_TIMEOUT),
            given: vec![Given::Output, Given::Input],
            ..SpawnOrder::default()
        })
    }

    /// What only the unit's own program gets.
    fn main_order(
        &self,
        launch: &Launch,
        spec: &UnitSpec,
        env: &mut BTreeMap<String, Vec<u8>>,
        lookup: &mut dyn Lookup,
    ) -> Result<SpawnOrder, Miss> {
        let (unit, run) = (launch.unit, launch.run);
        if spec.job.is_some() {
            env.insert("MCSUP_UNIT".to_owned(), spec.name.as_str().as_bytes().to_vec());
            env.insert("MCSUP_RUN_ID".to_owned(), run_id(spec, launch.ordinal, run).into_bytes());
        }
        if let Some(period) = spec.watchdog {
            env.insert("WATCHDOG_USEC".to_owned(), period.as_micros().to_string().into_bytes());
        }
        let log = self.log_order(spec, run);
        let log_place = match &spec.ready {
            Ready::Log(_) => Some(lookup.log_place(&self.log_dir, spec.name.as_str())?),
            Ready::Started | Ready::Health | Ready::Notify | Ready::Fd(_) => None,
        };
        let pipe = match &spec.ready {
            Ready::Fd(number) => Some(Given::ReadyPipe { number: *number }),
            Ready::Started | Ready::Health | Ready::Notify | Ready::Log(_) => None,
        };
        if !spec.listen.sockets.is_empty() {
            lookup.sockets(unit, spec)?;
        }
        let sockets = spec.listen.sockets.iter().map(|socket| Given::Listen {
            key: listeners::key(spec.name.as_str(), &socket.address),
            name: socket.name.to_string(),
        });
        Ok(SpawnOrder {
            log: Some(log),
            given: sockets.chain(pipe).collect(),
            notify: tells(spec),
            log_place,
            cgroup: self.cgroups.order(spec)?,
            ..SpawnOrder::default()
        })
    }

    /// What a probe asks, as far as `lookup` can fill it in; `None` for a command, or where there is no such probe.
    ///
    /// # Errors
    /// As for `order`.
    pub(crate) fn question(&self, asked: Asked, lookup: &mut dyn Lookup) -> Result<Option<Question>, Miss> {
        let Some(spec) = self.set.unit(asked.unit) else { return Ok(None) };
        let Some(probe) = spec.health.get(usize::from(asked.index)) else { return Ok(None) };
        let (lookup, env) = (RefCell::new(lookup), OnceCell::new());
        let fill = |template: &Template| match template {
            Template::Plain(text) => Ok(text.as_bytes().to_vec()),
            Template::Pieces(_) => {
                if env.get().is_none() {
                    let found = self.environment_of(spec, &mut **lookup.borrow_mut())?;
                    // Nobody else sets it.
                    drop(env.set(found));
                }
                expand(template, env.get().unwrap_or(&BTreeMap::new()))
            }
        };
        let working_dir = self.working_dir_path(spec);
        let around = Surroundings {
            unit: spec.name.as_str(),
            index: asked.index,
            run: asked.run,
            working_dir: &working_dir,
            units_dir: &self.units_dir,
            log_dir: &self.log_dir,
        };
        Question::new(&probe.kind, around, fill, Facts::new)
    }

    fn environment_of(
        &self,
        spec: &UnitSpec,
        lookup: &mut dyn Lookup,
    ) -> Result<BTreeMap<String, Vec<u8>>, Miss> {
        let who = Who {
            user: spec.user.clone(),
            group: spec.group.clone(),
            supplementary: spec.supplementary_groups.clone(),
        };
        let person = lookup.person(&who)?;
        self.environment(spec, &person, lookup)
    }

    pub(crate) fn working_dir_path(&self, spec: &UnitSpec) -> PathBuf {
        PathBuf::from(std::ffi::OsString::from_vec(self.working_dir_of(spec)))
    }

    fn working_dir_of(&self, spec: &UnitSpec) -> Vec<u8> {
        match spec.working_dir.as_deref() {
            None => self.working_dir.clone(),
            Some(dir) => self.units_dir.join(dir).into_os_string().into_vec(),
        }
    }

    /// Later ones win: inherited, the user's, env_files in their order, the unit's own.
    fn environment(
        &self,
        spec: &UnitSpec,
        person: &Person,
        lookup: &mut dyn Lookup,
    ) -> Result<BTreeMap<String, Vec<u8>>, Miss> {
        let mut env: BTreeMap<String, Vec<u8>> = self
            .inherited
            .iter()
            .filter(|(name, _)| is_inherited(&spec.inherit_env, name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_vec());
        for (name, value) in &person.env {
            env.insert((*name).to_owned(), value.clone());
        }
        for file in &spec.env_file {
            env.extend(lookup.env_file(&self.units_dir.join(file.as_ref()))?);
        }
        if let Some(instance) = &spec.instance {
            env.insert("MCSUP_INSTANCE".to_owned(), instance.as_bytes().to_vec());
        }
        for (name, template) in &spec.environment {
            let value = expand(template, &env)?;
            env.insert(name.to_string(), value);
        }
        Ok(env)
    }
}

fn command_of<'a>(spec: &'a UnitSpec, what: &What) -> Option<&'a [Template]> {
    match what {
        What::Main => Some(&spec.command),
        What::Helper { role, .. } => role::command(spec, role),
        What::Probe { index } => spec.health.get(usize::from(*index))?.command(),
        What::Channel(_) | What::Judge(_) => None,
    }
}

/// The stream that is kept apart.
pub(crate) fn judged_source(spec: &UnitSpec) -> Source {
    let output = spec.job.as_deref().and_then(|job| job.output.as_deref());
    output.map_or(Source::Stdout, |output| output.source)
}

/// One byte more than may be judged, so that too much is seen to be too much.
fn kept_most_bytes(spec: &UnitSpec) -> u64 {
    let output = spec.job.as_deref().and_then(|job| job.output.as_deref());
    let stream = output.and_then(|output| output.stream.as_ref());
    stream.map_or(UNJUDGED_MOST_BYTES, |stream| stream.max_size_bytes).saturating_add(1)
}

/// What a run of a job is told as MCSUP_RUN_ID, and what `{run.id}` in a path of its output stands for.
pub(crate) fn run_id(spec: &UnitSpec, ordinal: u32, run: u64) -> String {
    format!("{}-{ordinal}-{run}", spec.name)
}

/// Of a stream that nobody judges; people may want to read it.
const UNJUDGED_MOST_BYTES: u64 = 1024 * 1024;
/// Beside what is kept for good.
pub(crate) const RUNNING: &str = "running";

/// It has a notify socket.
pub(crate) fn tells(spec: &UnitSpec) -> bool {
    spec.ready == Ready::Notify || spec.watchdog.is_some()
}

/// What our own parent said of sockets is not meant for units.
fn is_for_us_alone(name: &str) -> bool {
    name == "NOTIFY_SOCKET" || name.starts_with("LISTEN_") || name.starts_with("WATCHDOG_")
}

fn is_inherited(inherit: &InheritEnv, name: &str) -> bool {
    if is_for_us_alone(name) {
        return false;
    }
    let is_basic = matches!(name, "PATH" | "LANG" | "TZ") || name.starts_with("LC_");
    match inherit {
        InheritEnv::Basics => is_basic,
        InheritEnv::Names(names) => is_basic || names.iter().any(|wanted| wanted.as_ref() == name),
        InheritEnv::Everything => true,
    }
}

/// One argument or value, whatever is in it: nothing is ever split.
fn expand(template: &Template, env: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, Miss> {
    let pieces = match template {
        Template::Plain(text) => return Ok(text.as_bytes().to_vec()),
        Template::Pieces(pieces) => pieces,
    };
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Variable { name, default } => match (env.get(name.as_ref()), default) {
                (Some(value), _) if !value.is_empty() => out.extend_from_slice(value),
                // As in a shell: `:-` also stands in for an empty value.
                (Some(_) | None, Some(default)) => out.extend_from_slice(default.as_bytes()),
                (Some(_), None) => {}
                (None, None) => {
                    let cause = format!("nothing defines ${{{name}}}");
                    return Err(Miss::failed(SpawnStep::Expand, 0, cause));
                }
            },
        }
    }
    Ok(out)
}

fn pair(name: &str, value: &[u8]) -> Vec<u8> {
    let mut pair = Vec::with_capacity(name.len().saturating_add(value.len()).saturating_add(1));
    pair.extend_from_slice(name.as_bytes());
    pair.push(b'=');
    pair.extend_from_slice(value);
    pair
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn limit(limit: &ResourceLimit) -> Limit {
    Limit {
        resource: resource_number(limit.resource),
        soft: limit.soft.unwrap_or(u64::MAX),
        hard: limit.hard.unwrap_or(u64::MAX),
    }
}

fn resource_number(resource: Resource) -> u32 {
    match resource {
        Resource::As => libc::RLIMIT_AS,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::CpuTime => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Locks => libc::RLIMIT_LOCKS,
        Resource::Memlock => libc::RLIMIT_MEMLOCK,
        Resource::Msgqueue => libc::RLIMIT_MSGQUEUE,
        Resource::Nice => libc::RLIMIT_NICE,
        Resource::Nofile => libc::RLIMIT_NOFILE,
        Resource::Nproc => libc::RLIMIT_NPROC,
        Resource::Rss => libc::RLIMIT_RSS,
        Resource::Rtprio => libc::RLIMIT_RTPRIO,
        Resource::Rttime => libc::RLIMIT_RTTIME,
        Resource::Sigpending => libc::RLIMIT_SIGPENDING,
        Resource::Stack => libc::RLIMIT_STACK,
    }
}

/// Where mcsup itself was started without one, as a bare PID 1 is.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::lookup::{Asking, Cache};
    use crate::unit::SourceFile;
    use crate::unit::spec::probe::ProbeKind;

    fn variable(name: &str, default: Option<&str>) -> Template {
        let variable = Piece::Variable { name: name.into(), default: default.map(Into::into) };
        Template::Pieces(vec![Piece::Text("<".into()), variable, Piece::Text(">".into())])
    }

    fn env() -> BTreeMap<String, Vec<u8>> {
        [("SET".to_owned(), b"a b".to_vec()), ("EMPTY".to_owned(), Vec::new())].into()
    }

    #[test]
    fn a_variable_becomes_its_value_in_one_piece() {
        assert_eq!(expand(&variable("SET", None), &env()), Ok(b"<a b>".to_vec()));
        assert_eq!(expand(&variable("EMPTY", None), &env()), Ok(b"<>".to_vec()));
        assert_eq!(expand(&variable("EMPTY", Some("x")), &env()), Ok(b"<x>".to_vec()));
        assert_eq!(expand(&variable("UNSET", Some("x")), &env()), Ok(b"<x>".to_vec()));
    }

    #[test]
    fn an_undefined_variable_is_a_failure_of_the_expand_step() {
        let Err(Miss::Failed(failure)) = expand(&variable("UNSET", None), &env()) else { panic!("expanded") };
        assert_eq!(failure.to_string(), "cannot start: expand: nothing defines ${UNSET}");
    }

    /// A unit whose probe sends a header made of `template`.
    fn probing(dir: &Path, template: Template) -> Ground {
        let text = "command: x\nenvironment: {OWN: \"<${FILED}>\"}\nenv_file: [secrets]\n\
                    health: {http: 'http://127.0.0.1/'}\n";
        let source = SourceFile { name: "u.yaml".into(), bytes: text.into() };
        let mut set = crate::graph::load(&[source]).set.unwrap();
        let ProbeKind::Http(probe) = &mut set.units[0].health[0].kind else { panic!("an http probe") };
        probe.headers = vec![("X".into(), template)];
        Ground::new(Arc::new(set), dir, dir.to_path_buf(), dir, dir, Cgroups::new(Err("a test".to_owned())))
    }

    #[test]
    fn what_a_probe_takes_from_the_environment_is_asked_for_on_a_worker() {
        let dir = env::temp_dir().join(format!("mcsup-question-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("secrets"), "FILED=s3cret\n").unwrap();
        let asked = Asked { unit: UnitId(0), index: 0, run: 0, limit: Duration::from_secs(1) };
        let now = crate::engine::time::Timestamp(0);
        let header = |question: Result<Option<Question>, Miss>| match question {
            Ok(Some(Question::Http(question))) => question.headers[0].1.0.clone(),
            other => panic!("{other:?}"),
        };

        let nothing = Cache::default();
        let plain = probing(&dir, Template::Plain("text".into()));
        assert_eq!(header(plain.question(asked, &mut nothing.at(now))), b"text");
        let filled = probing(&dir, variable("OWN", None));
        let known = filled.question(asked, &mut nothing.at(now));
        assert!(matches!(known, Err(Miss::NotCached(_))), "{known:?}: no file is read on the loop");
        let mut asking = Asking { learnt: Cache::default(), open: std::collections::BTreeSet::new(), now };
        assert_eq!(header(filled.question(asked, &mut asking)), b"<<s3cret>>");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn only_the_basics_are_inherited_unless_the_unit_says_more() {
        let names = ["PATH", "LC_ALL", "HOME", "SECRET"];
        let kept = |inherit: InheritEnv| -> Vec<&str> {
            names.into_iter().filter(|name| is_inherited(&inherit, name)).collect()
        };
        assert_eq!(kept(InheritEnv::Basics), ["PATH", "LC_ALL"]);
        assert_eq!(kept(InheritEnv::Names(vec!["SECRET".into()])), ["PATH", "LC_ALL", "SECRET"]);
        assert_eq!(kept(InheritEnv::Everything), names);
    }
}
