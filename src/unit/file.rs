//! What may stand in a unit file: every key, its text and its default.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use crate::unit::confinement::{BoundsFile, Cpus, Credentials};
use crate::unit::diagnostic::Place;
use crate::unit::expression::Check;
use crate::unit::external::Adapter;
use crate::unit::job::{AfterFile, Interval, Repeats, Weight};
use crate::unit::ladder::LadderFile;
use crate::unit::listen::ListenFile;
use crate::unit::nearest::nearest;
use crate::unit::output::{OutputFile, Several};
use crate::unit::probe::Health;
use crate::unit::read::{At, FromYaml, Reader, closed_object, mapping, words};
use crate::unit::schedule::{Schedule, Zone};
use crate::unit::spec::confinement::Capability;
use crate::unit::spec::job::{CatchUp, Overlap};
use crate::unit::spec::probe::Pattern;
use crate::unit::spec::{
    Condition, Follow, InheritEnv, OnLimit, Ready, Resource, RestartPolicy, SignalNumber, Template, UnitKind,
    WhenFull,
};
use crate::unit::trigger::{PathFile, WebhookFile};
use crate::unit::value::{
    AbsolutePath, Account, Copies, Descriptor, Kept, Mode, Nice, OomScore, PerMille, Size, Slo, Starts, Text,
    Timeout, Word,
};
use crate::unit::words::{Command, Environment};
use crate::unit::yaml::{Node, Value};

mapping! {
    /// A unit of mcsup. The file's name without `.yaml` is the unit's name.
    UnitFile {
        /// What it is, for people.
        description: Text;
        /// `service`: a process kept up. `task`: runs once per boot or on demand, to completion. `job`: runs on its triggers, and its output must hold. `external`: watched, not owned. `gate`: no process; ready while its `check` holds.
        kind: UnitKind = "service";
        /// A phase of mcsup.yaml; its `default_phase` when left out.
        phase: Word;
        /// False: the next phase does not wait for this unit.
        blocks_phase: bool = true;
        /// False: not started at boot; a person may still start it.
        enabled: bool = true;
        /// True: when its policy has given up or it completed, mcsup stops everything and exits with its status.
        essential: bool = false;
        /// Program and arguments: a list, or one text split as a shell splits words. Never run by a shell. For services, tasks and jobs.
        command: Command;
        /// Gate: the CEL expression that must hold, over `units.NAME.{state, ready, health, restarts, since, seconds}`, `guard.{level, cpu, memory}`, `host.{cpu, memory, load1, load5, load15, pressure.{cpu, memory, io}}` and `disk('/path').{used, free, total}`.
        check: Check;
        /// Gate: time between two looks at `check`; at least 100ms.
        interval: Duration = "5s";
        /// Job: when it runs, in cron's five fields, with the second in front as six, `@daily` and friends, or a list of these.
        schedule: Several<Schedule>;
        /// Job: the zone of its schedule, such as `Europe/Berlin`.
        timezone: Zone = "UTC";
        /// Job: so long after its last start; at least 1s.
        every: Interval;
        /// Job: runs once in each boot.
        on_boot: bool = false;
        /// Job: runs whenever it is armed. An edited schedule never fires by itself otherwise.
        run_at_load: bool = false;
        /// Job: runs when all of these jobs and tasks succeeded: names, or a mapping of name to `succeeded`, `failed` or `finished`.
        after: AfterFile;
        /// Job: runs when such a file appears or changes: a path, `{path, debounce}`, or a list of these; `*` and `?` may stand in the last part.
        path: Several<PathFile>;
        /// Job: runs when somebody calls it: `{secret_file, per_minute}`. Needs `hooks` in mcsup.yaml.
        webhook: WebhookFile;
        /// Job: what becomes of slots that were missed: `none`, `once` for all of them, `all`, or `{all: N}` of the newest.
        catch_up: CatchUp = "once";
        /// Job: a run that could not begin for so long is missed. Without it, a run may begin however late.
        deadline: Duration;
        /// Job: while an earlier run has not ended, a trigger does nothing (`skip`), waits (`queue`), ends it (`replace`), or runs beside it (`allow`, `{allow: N}`).
        overlap: Overlap = "skip";
        /// Job: slots begin later by a part of this that differs from job to job.
        jitter: Duration = "0";
        /// Job: a run that takes longer is stopped.
        timeout: Timeout = "1h";
        /// Job: so many more runs after one that did not pass, with the delays of `restart.backoff`.
        retries: Repeats = 0;
        /// Job: how much of mcsup.yaml's `concurrency` a run takes.
        weight: Weight = 1;
        /// Job: what proves that a run did its work.
        output: OutputFile;
        /// External: who runs it, which fills in the commands. `command` leaves them to you.
        adapter: Adapter = "command";
        /// External: what the adapter calls it, such as a container's name.
        target: Template;
        /// External: the command that starts it.
        start: Command;
        /// Runs as this user (a name or a number); needs root.
        user: Account;
        /// Default: the user's group.
        group: Account;
        /// More groups; none but these.
        supplementary_groups: Vec<At<Account>>;
        /// True: nothing that it starts gains powers, by set-user-ID programs or otherwise. Default: true for every user but root.
        no_new_privileges: bool;
        /// The powers of root that it has, and that it and all it starts can ever have. Default: all for root, none for others.
        capabilities: Vec<At<Capability>>;
        /// True: it changes no files but devices, what is below `writable`, and its private directories (Landlock; Linux 5.13 or later).
        read_only: bool = false;
        /// With `read_only`: directories and files that it may change all the same.
        writable: Vec<At<AbsolutePath>>;
        /// True: each run has a /tmp and a /var/tmp of its own, in memory, gone when it is; needs root.
        private_tmp: bool = false;
        /// Files that only its own processes find, as $CREDENTIALS_DIRECTORY/NAME: a mapping of name to the file that is copied at each start; needs root.
        credentials: Credentials;
        /// Permissions that its new files are not given, such as `0o027`.
        umask: Mode;
        /// -20 (goes before all others) to 19 (waits for all others).
        nice: Nice;
        /// The processors that it may run on: `0`, `2-5`, or a list of these.
        cpu_affinity: Cpus;
        /// Default: the units directory for `mcsup up DIR`, `/` for the system instance.
        working_dir: Word;
        /// Variables as raw text; values may use `${NAME}` and `${NAME:-default}` of earlier ones.
        environment: Environment;
        /// Files with further NAME=value lines, read at every start.
        env_file: Vec<At<Word>>;
        /// Variables of mcsup that are passed on besides PATH, LANG, LC_* and TZ; true for all.
        inherit_env: InheritEnv;
        /// Units that come first: a list of names, or a mapping of name to condition.
        depends_on: DependsOn;
        /// Units that may not be up together with this one.
        conflicts: Vec<At<Word>>;
        /// When it counts as ready: `started`, `health`, `notify` (READY=1 as sd_notify sends it), `{log: REGEX}` (a line of its output) or `{fd: N}` (a line feed written there). Default `health` if it has a probe.
        ready: Ready;
        /// Time from start to ready (default 1m), for a task to its end (default unlimited).
        start_timeout: Timeout;
        /// One probe, or a list of probes that must all pass.
        health: Health;
        /// Longest silence between two WATCHDOG=1 messages, as sd_notify sends them; at least 1s.
        watchdog: Duration;
        /// Sockets opened before the start and passed by LISTEN_FDS: addresses, or `{sockets: [...], lazy: true}` to start at the first connection.
        listen: ListenFile;
        /// What is tried when it does not work, each rung where the one before did not help. Default: a restart, where that is possible.
        recover: LadderFile;
        /// What happens when its process ends. Default policy: on-failure for tasks, else always. External: a command as a list restarts it.
        restart: Restart;
        /// How it is stopped; a list is the command.
        stop: Stop;
        /// What all its processes together may use (`memory`, `cpu`, `tasks`; needs cgroup v2), and what each may, see getrlimit(2).
        limits: Limits;
        /// -1000 (never the first to be killed when memory runs out) to 1000.
        oom_score_adjust: OomScore;
        /// So many copies, named web@1, web@2, ...; `web` alone names all of them. 1 keeps the plain name.
        replicas: Copies;
        /// In a file `web@.yaml`: the copies by name; ${MCSUP_INSTANCE} says which one.
        instances: Vec<At<Word>>;
        /// What becomes of its output.
        log: LogFile;
        /// True: a change to it waits for approval.
        protected: bool = false;
        /// Where people read what to do when it fails; shown only.
        runbook: Word;
        /// The part of the time in which it should work, such as `99.95%`.
        slo: Slo;
        /// Free words for people and tools.
        labels: Labels;
    }
}

/// A unit file's keys as defaults: those that make no sense for many units are refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults(pub(crate) UnitFile);

/// They name one unit, or its place among the others.
const NOT_DEFAULTS: &[&str] = &[
    "command",
    "kind",
    "description",
    "depends_on",
    "conflicts",
    "replicas",
    "instances",
    "runbook",
    "check",
    "target",
    "start",
    "listen",
    "schedule",
    "every",
    "after",
    "path",
    "webhook",
    "output",
];

impl FromYaml for Defaults {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let entries = reader.entries(node, "a mapping of unit keys")?;
        for entry in entries.iter().filter(|entry| NOT_DEFAULTS.contains(&&*entry.key)) {
            let message = format!("`{}` cannot have a default", entry.key);
            reader.bad_value(entry.key_place, message, "write it in each unit file");
        }
        UnitFile::read_partly(node, reader).map(|(unit, _)| Self(unit))
    }

    fn schema() -> Json {
        let Json::Object(mut unit) = UnitFile::schema() else { return Json::Bool(true) };
        let properties = match unit.remove("properties") {
            Some(Json::Object(properties)) => properties,
            Some(_) | None => Map::new(),
        };
        let kept = properties.into_iter().filter(|(key, _)| !NOT_DEFAULTS.contains(&key.as_str())).collect();
        closed_object("What holds for units of this kind that do not say otherwise.", kept, &[])
    }
}

words!(UnitKind {
    "service" => Self::Service,
    "task" => Self::Task,
    "job" => Self::Job,
    "external" => Self::External,
    "gate" => Self::Gate,
});
words!(Condition { "started" => Self::Started, "healthy" => Self::Healthy, "completed" => Self::Completed });
words!(Follow { "none" => Self::None, "restart" => Self::Restart, "stop" => Self::Stop });
words!(RestartPolicy { "always" => Self::Always, "on-failure" => Self::OnFailure, "never" => Self::Never });
words!(WhenFull { "drop" => Self::Drop, "block" => Self::Block });

mapping! {
    /// A sign that the process gives by itself.
    ReadyMap {
        /// A line of its output matches this regular expression.
        log: Pattern;
        /// It writes a line feed to this descriptor; 3 to 255.
        fd: Descriptor;
    }
}

impl FromYaml for Ready {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => {
                let before = reader.diagnostics.len();
                let ReadyMap { log, fd } = ReadyMap::read(node, reader)?;
                if entries.len() != 1 && reader.diagnostics.len() == before {
                    let message = "`ready` is one sign: `log` or `fd`";
                    reader.bad_value(node.place, message, "write `{log: REGEX}` or `{fd: N}`");
                    return None;
                }
                log.map(|log| Self::Log(log.value)).or_else(|| fd.map(|fd| Self::Fd(fd.value.0)))
            }
            Value::Scalar(scalar) if matches!(&*scalar.text, "log" | "fd") => {
                let help = if scalar.text == "log" {
                    "say which line: `ready: {log: REGEX}`"
                } else {
                    "say which descriptor: `ready: {fd: 3}`"
                };
                reader.mismatch(node, "a sign", Some(help));
                None
            }
            Value::Scalar(_) | Value::List(_) => reader.word(
                node,
                &[("started", Self::Started), ("health", Self::Health), ("notify", Self::Notify)],
            ),
        }
    }

    fn schema() -> Json {
        let words = json!({"enum": ["started", "health", "notify"]});
        json!({"anyOf": [words, ReadyMap::schema()]})
    }
}

impl FromYaml for InheritEnv {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Scalar(_) => {
                bool::read(node, reader).map(|all| if all { Self::Everything } else { Self::Basics })
            }
            Value::List(_) | Value::Map(_) => {
                let names = Vec::<At<Word>>::read(node, reader)?;
                Some(Self::Names(names.into_iter().map(|name| name.value.0).collect()))
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "boolean"}, {"type": "array", "items": Word::schema()}]})
    }
}

/// What a unit depends on, in the order written.
#[derive(Clone, Debug, Default)]
pub(crate) struct DependsOn(pub(crate) Vec<(Box<str>, Place, Edge)>);

mapping! {
    /// How a unit depends on another.
    Edge {
        /// What to wait for. Default: `healthy` where the other has a probe, `completed` for a task, else `started`.
        condition: Condition;
        /// False: waits while it can still come, goes on without it.
        required: bool = true;
        /// What a restart of the other does to this unit: nothing, a restart, or a stop that lasts until it is started.
        follow: Follow = "none";
    }
}

impl FromYaml for DependsOn {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => {
                let edges = entries.iter().filter_map(|entry| {
                    let edge = match &entry.value.value {
                        Value::Map(_) => At::<Edge>::entry(entry, reader)?.value,
                        Value::Scalar(_) | Value::List(_) => {
                            Edge { condition: Some(At::entry(entry, reader)?), ..Edge::default() }
                        }
                    };
                    Some((entry.key.as_ref().into(), entry.key_place, edge))
                });
                Some(Self(edges.collect()))
            }
            Value::List(_) | Value::Scalar(_) => {
                let names = Vec::<At<Word>>::read(node, reader)?;
                Some(Self(
                    names.into_iter().map(|name| (name.value.0, name.place, Edge::default())).collect(),
                ))
            }
        }
    }

    fn schema() -> Json {
        let edge = json!({"anyOf": [Condition::schema(), Edge::schema()]});
        let names = Vec::<At<Word>>::schema();
        json!({"anyOf": [names, {"type": "object", "additionalProperties": edge}]})
    }
}

/// `restart`: a policy alone, a command alone, or all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restart(pub(crate) RestartFile);

mapping! {
    /// When and how soon a unit is started again.
    RestartFile {
        /// `always`, `on-failure` or `never`.
        policy: RestartPolicy;
        /// The delay before an automatic start.
        backoff: BackoffFile;
        /// Up this long: the backoff starts over.
        reset_after: Duration = "10m";
        /// Gives up after so many starts; without it, retries for ever at `backoff.max`.
        limit: LimitFile;
        /// External: the command that restarts it. Default: stopped, then started.
        command: Command;
    }
}

mapping! {
    /// The delay before automatic start n, from 0, is `initial * factor^n`, at most `max`, spread by `jitter`.
    BackoffFile {
        /// The first delay.
        initial: Duration = "100ms";
        /// The longest delay.
        max: Duration = "30s";
        /// Growth from one start to the next; at least 1.
        factor: PerMille = 2;
        /// Spread to both sides as a part of the delay, 0 to 1.
        jitter: PerMille = 0.1;
    }
}

mapping! {
    /// At most `starts` automatic starts in any window of `within`.
    LimitFile {
        /// 1 to 10000.
        [required] starts: Starts;
        /// Length of the window.
        [required] within: Duration;
        /// `fail` for good, or `{retry: 5m}`: try again after that long.
        then: Then = "fail";
    }
}

impl FromYaml for Restart {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => RestartFile::read(node, reader).map(Self),
            Value::List(items) if !is_policy(items) => {
                let command = At { key: node.place, place: node.place, value: Command::read(node, reader)? };
                Some(Self(RestartFile { command: Some(command), ..RestartFile::default() }))
            }
            Value::Scalar(_) | Value::List(_) => {
                let value = RestartPolicy::read(node, reader)?;
                let policy = Some(At { key: node.place, place: node.place, value });
                Some(Self(RestartFile { policy, ..RestartFile::default() }))
            }
        }
    }

    fn schema() -> Json {
        let command = json!({"type": "array", "items": Text::schema(), "minItems": 1});
        json!({"anyOf": [RestartPolicy::schema(), command, RestartFile::schema()]})
    }

    fn over(self, below: Self) -> Self {
        Self(self.0.over(below.0))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Then(pub(crate) OnLimit);

mapping! {
    /// Not for good.
    RetryMap {
        /// Try again after this long, with an empty window.
        [required] retry: Duration;
    }
}

impl FromYaml for Then {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Some(Self(OnLimit::Retry(RetryMap::read(node, reader)?.retry?.value))),
            Value::Scalar(scalar) if scalar.text == "fail" => Some(Self(OnLimit::Fail)),
            Value::Scalar(_) | Value::List(_) => {
                reader.mismatch(node, "`fail` or `{retry: 5m}`", None);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"const": "fail"}, RetryMap::schema()]})
    }
}

mapping! {
    /// A stop is: `command` if there is one, then `signal`, then SIGKILL to all that is left after `grace`.
    StopFile {
        /// The signal that asks the main process to end.
        signal: SignalNumber = "SIGTERM";
        /// Time between the signal and SIGKILL; 0 kills at once.
        grace: Duration = "10s";
        /// Runs first; the signal follows when it has ended and the process has not.
        command: Command;
    }
}

/// A policy in brackets is a slip, and no program has such a name.
fn is_policy(items: &[Node<'_>]) -> bool {
    let [Node { value: Value::Scalar(scalar), .. }] = items else { return false };
    matches!(&*scalar.text, "always" | "on-failure" | "never")
}

/// `stop`: a command alone, or all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(pub(crate) StopFile);

impl FromYaml for Stop {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::List(_) => {
                let command = At { key: node.place, place: node.place, value: Command::read(node, reader)? };
                Some(Self(StopFile { command: Some(command), ..StopFile::default() }))
            }
            Value::Map(_) | Value::Scalar(_) => StopFile::read(node, reader).map(Self),
        }
    }

    fn schema() -> Json {
        let command = json!({"type": "array", "items": Text::schema(), "minItems": 1});
        json!({"anyOf": [command, StopFile::schema()]})
    }

    fn over(self, below: Self) -> Self {
        Self(self.0.over(below.0))
    }
}

mapping! {
    /// What becomes of stdout and stderr.
    LogFile {
        /// Rotated at a line end when larger.
        max_size: Size = "10M";
        /// Rotated also when older than this.
        max_age: Duration;
        /// Old files that are kept.
        keep: Kept = 5;
        /// When the log cannot be written: `drop` bytes and count them, or `block` the writer.
        when_full: WhenFull = "drop";
    }
}

/// Resource limits by their POSIX names, and those of all processes together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) rlimits: Vec<(Resource, At<Rlimit>)>,
    pub(crate) bounds: BoundsFile,
}

/// Every rlimit of Linux with what it counts.
pub(crate) const RESOURCES: &[(&str, Resource, &str)] = &[
    ("as", Resource::As, "Address space in bytes."),
    ("core", Resource::Core, "Size of a core file in bytes."),
    ("cpu_time", Resource::CpuTime, "Processor time in seconds."),
    ("data", Resource::Data, "Data segment in bytes."),
    ("fsize", Resource::Fsize, "Largest file that may be written, in bytes."),
    ("locks", Resource::Locks, "File locks."),
    ("memlock", Resource::Memlock, "Memory that may be locked, in bytes."),
    ("msgqueue", Resource::Msgqueue, "POSIX message queues in bytes."),
    ("nice", Resource::Nice, "20 minus the lowest nice value that may be set."),
    ("nofile", Resource::Nofile, "Open files."),
    ("nproc", Resource::Nproc, "Processes of the user."),
    ("rss", Resource::Rss, "Resident memory in bytes; Linux ignores it."),
    ("rtprio", Resource::Rtprio, "Highest realtime priority."),
    ("rttime", Resource::Rttime, "Realtime processor time without a pause, in microseconds."),
    ("sigpending", Resource::Sigpending, "Queued signals."),
    ("stack", Resource::Stack, "Stack in bytes."),
];

/// As a unit file has it.
pub(crate) fn resource_name(resource: Resource) -> &'static str {
    RESOURCES.iter().find(|(_, own, _)| *own == resource).map_or("", |(name, ..)| name)
}

impl FromYaml for Limits {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let names: Vec<&'static str> =
            BoundsFile::KEYS.into_iter().chain(RESOURCES.iter().map(|(name, ..)| *name)).collect();
        let mut limits = Self::default();
        for entry in reader.entries(node, "a mapping of limits")? {
            match &*entry.key {
                "memory" => limits.bounds.memory = At::entry(entry, reader),
                "cpu" => limits.bounds.cpu = At::entry(entry, reader),
                "tasks" => limits.bounds.tasks = At::entry(entry, reader),
                "required" => limits.bounds.required = At::entry(entry, reader),
                key => match RESOURCES.iter().find(|(name, ..)| *name == key) {
                    Some((_, resource, _)) => {
                        let limit = At::<Rlimit>::entry(entry, reader);
                        limits.rlimits.extend(limit.map(|limit| (*resource, limit)));
                    }
                    None => {
                        reader.unknown_key(entry, &names);
                    }
                },
            }
        }
        Some(limits)
    }

    fn schema() -> Json {
        let described = crate::unit::read::described;
        let together = [
            ("memory", described(Bound::schema(), "Memory of all its processes together, in bytes.", None)),
            (
                "cpu",
                described(PerMille::schema(), "Processors that all its processes together use up.", None),
            ),
            ("tasks", described(Bound::schema(), "Its processes and threads.", None)),
            (
                "required",
                described(
                    bool::schema(),
                    "True: without a cgroup that enforces `memory`, `cpu` and `tasks` it does not start.",
                    Some(json!(false)),
                ),
            ),
        ];
        let together = together.map(|(name, schema)| (name.into(), schema));
        let each = RESOURCES
            .iter()
            .map(|(name, _, about)| ((*name).into(), described(Rlimit::schema(), about, None)));
        closed_object("Resource limits.", together.into_iter().chain(each).collect(), &[])
    }

    fn over(self, below: Self) -> Self {
        let mut rlimits = below.rlimits;
        rlimits.retain(|(resource, _)| !self.rlimits.iter().any(|(own, _)| own == resource));
        rlimits.extend(self.rlimits);
        Self { rlimits, bounds: self.bounds.over(below.bounds) }
    }
}

/// Soft and hard limit; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rlimit {
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

/// One bound of a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound(Option<u64>);

impl Bound {
    /// `None`: unlimited.
    pub(crate) fn amount(self) -> Option<u64> {
        self.0
    }
}

mapping! {
    /// Soft and hard limit apart.
    RlimitMap {
        /// What holds; the process may raise it up to the hard limit.
        [required] soft: Bound;
        /// What can never be exceeded.
        [required] hard: Bound;
    }
}

impl FromYaml for Bound {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let expected = "a number, a size such as `512M`, or `unlimited`";
        let text = &reader.scalar(node, expected)?.text;
        if text == "unlimited" {
            return Some(Self(None));
        }
        let bound = crate::unit::amount::size(text).ok();
        if bound.is_none() {
            let help = nearest(text, ["unlimited"]).map(|word| format!("did you mean `{word}`?"));
            reader.mismatch(node, expected, help.as_deref());
        }
        bound.map(|bound| Self(Some(bound)))
    }

    fn schema() -> Json {
        json!({"anyOf": [Size::schema(), {"const": "unlimited"}]})
    }
}

impl FromYaml for Rlimit {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let map = RlimitMap::read(node, reader)?;
                let (Bound(soft), Bound(hard)) = (map.soft?.value, map.hard?.value);
                if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
                    let message = "the soft limit is above the hard one";
                    reader.bad_value(node.place, message, "make `soft` at most `hard`");
                    return None;
                }
                Some(Self { soft, hard })
            }
            Value::Scalar(_) | Value::List(_) => {
                let Bound(bound) = Bound::read(node, reader)?;
                Some(Self { soft: bound, hard: bound })
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [Bound::schema(), RlimitMap::schema()]})
    }
}

/// Words for people and tools, in the order written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(pub(crate) Vec<(Box<str>, Box<str>)>);

impl FromYaml for Labels {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let entries = reader.entries(node, "a mapping of labels")?;
        let labels = entries
            .iter()
            .filter_map(|entry| Some((entry.key.as_ref().into(), At::<Text>::entry(entry, reader)?.value.0)));
        Some(Self(labels.collect()))
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": Text::schema()})
    }

    fn over(self, below: Self) -> Self {
        let own: BTreeSet<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        let mut labels = below.0;
        labels.retain(|(name, _)| !own.contains(&**name));
        labels.extend(self.0);
        Self(labels)
    }
}
