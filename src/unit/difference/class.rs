//! What a change of each key does to a unit that runs.

use std::fmt;

use crate::unit::spec::UnitKind;

/// What must be done for a difference to take effect; the later ones do what the earlier ones do, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing: only people read it.
    Metadata,
    /// It holds from now on, and what runs goes on.
    Live,
    /// The process that runs was started otherwise: it ends, and comes again.
    Restart,
}

impl Class {
    /// What a key of the class does where the unit was of one kind and is of another. What has no process that stays
    /// has none to restart: a job's run that lives goes on as it began, and the next one is by the new definition.
    pub(super) fn between(self, before: UnitKind, after: UnitKind) -> Self {
        if before == after && !after.has_process() { self.min(Self::Live) } else { self }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Metadata => "metadata",
            Self::Live => "live",
            Self::Restart => "restart",
        })
    }
}

/// One key of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    pub class: Class,
    pub why: &'static str,
}

const fn metadata(name: &'static str, why: &'static str) -> Key {
    Key { name, class: Class::Metadata, why }
}

const fn live(name: &'static str, why: &'static str) -> Key {
    Key { name, class: Class::Live, why }
}

const fn restart(name: &'static str, why: &'static str) -> Key {
    Key { name, class: Class::Restart, why }
}

/// What stands for the name of a unit's file.
pub const NAME: &str = "name";

/// Every key of a unit file, in the order in which differences are shown.
pub const KEYS: &[Key] = &[
    metadata(NAME, "the same words in a file of another name are the same unit"),
    metadata("description", "people read it"),
    restart("kind", "another kind lives another life"),
    live("phase", "orders the next boot and the next shutdown"),
    live("blocks_phase", "counts at the next barrier"),
    live("enabled", "starts it, or stops it"),
    live("essential", "counts at the next end"),
    restart("command", "the program and its arguments are given at the start"),
    live("check", "the next look is by it"),
    live("interval", "the next look is due by it"),
    live("schedule", "slots are counted anew; none fires by the change itself"),
    live("timezone", "slots are counted anew; none fires by the change itself"),
    live("every", "counts from the last start"),
    live("on_boot", "counts at the next boot"),
    live("run_at_load", "runs once when the changed file is armed"),
    live("after", "counts from the next end"),
    live("path", "is watched from now on"),
    live("webhook", "is listened for from now on"),
    live("catch_up", "counts when slots are missed"),
    live("deadline", "counts for runs that have not begun"),
    live("overlap", "counts at the next trigger"),
    live("jitter", "counts at the next slot"),
    live("timeout", "the next run has it"),
    live("retries", "counts at the next end"),
    live("weight", "the next run has it"),
    live("output", "the next run is judged by it"),
    live("adapter", "fills in other commands, which the next start, stop or look uses"),
    live("target", "fills in other commands, which the next start, stop or look uses"),
    live("start", "the next start uses it"),
    restart("user", "is given at the start"),
    restart("group", "is given at the start"),
    restart("supplementary_groups", "are given at the start"),
    restart("no_new_privileges", "is given at the start"),
    restart("capabilities", "are given at the start"),
    restart("read_only", "is given at the start"),
    restart("writable", "is given at the start"),
    restart("private_tmp", "is made at the start"),
    restart("credentials", "are copied at the start"),
    restart("umask", "is given at the start"),
    restart("nice", "is given at the start"),
    restart("cpu_affinity", "is given at the start"),
    restart("working_dir", "is given at the start"),
    restart("environment", "is given at the start"),
    restart("env_file", "is read at the start"),
    restart("inherit_env", "is given at the start"),
    live("depends_on", "counts at the next start, stop or restart of either"),
    live("conflicts", "counts at the next start of either"),
    restart(
        "ready",
        "a start prepares for `notify`, `log` and `fd`; between `started` and `health` it is live",
    ),
    live("start_timeout", "a start that is under way has the new time, counted from its beginning"),
    live("health", "probes begin anew, and what is ready stays ready meanwhile"),
    restart("watchdog", "the process is told its interval at the start"),
    restart("listen", "sockets are passed at the start"),
    live("recover", "the next trouble is treated by it"),
    live("restart", "the next end is treated by it"),
    live("stop", "the next stop is done by it"),
    restart(
        "limits",
        "are given to each process at the start; `memory`, `cpu` and `tasks` are live: they hold at once",
    ),
    restart("oom_score_adjust", "is given at the start"),
    live("replicas", "each copy is a unit of its own: some come or go, and the others stay"),
    restart(
        "instances",
        "each copy is a unit of its own: those that are new start, and those that are gone stop",
    ),
    live("log", "the next line is written by it"),
    metadata("protected", "asks for approval; whoever takes it away asks for it too"),
    metadata("runbook", "people read it"),
    live("slo", "is measured against from now on"),
    metadata("labels", "people and tools read them"),
];

/// Every key of `mcsup.yaml`. All of them hold at once.
pub const SETTINGS: &[Key] = &[
    live("phases", "order the next boot and the next shutdown"),
    live("default_phase", "is a key of each unit that does not say its own"),
    live("defaults", "are keys of each unit that does not say its own; these decide"),
    live("boot_timeout", "counts at the next barrier"),
    live("shutdown_timeout", "counts at the next shutdown"),
    live(
        "log",
        "`total` bounds what is there from now on; the rest are keys of each unit that does not say its own",
    ),
    live("concurrency", "counts before the next run begins"),
    live("hooks", "is listened at from now on"),
    live("alerts", "the next message goes there"),
    live("heartbeat", "the next ping goes there"),
    live("apply", "holds for the next change"),
    live("approval", "holds for the next change"),
    live("approvers", "holds for the next change"),
    live("retention", "counts when the next change is over"),
];

/// The keys as a table for people.
pub fn table(keys: &[Key]) -> String {
    let mut text = String::from("| key | class | why |\n|---|---|---|\n");
    for Key { name, class, why } in keys {
        text.push_str(&format!("| `{name}` | {class} | {why} |\n"));
    }
    text
}
