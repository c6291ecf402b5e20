//! Which keys mean something for which kind of unit.

use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::external::{Adapter, adapter};
use crate::unit::file::UnitFile;
use crate::unit::names::Draft;
use crate::unit::read::At;
use crate::unit::spec::{RestartPolicy, Template, UnitKind, UnitSpec};

use UnitKind::{External, Gate, Job, Service, Task};

pub(super) fn check(draft: &Draft, body: &UnitSpec, out: &mut Vec<Diagnostic>) {
    // A kind that could not be read may be any.
    if draft.unit.kind.is_none() && !draft.is_sound {
        return;
    }
    for (key, place, kinds) in keys(&draft.unit) {
        if let Some(place) = place.filter(|_| !kinds.contains(&draft.kind)) {
            out.push(stranger(key, place, kinds, draft.kind));
        }
    }
    match draft.kind {
        Service | Job | Gate => {}
        Task => task(draft, out),
        External => external(draft, body, out),
    }
}

/// Keys that not every kind has, with the kinds that do.
fn keys(unit: &UnitFile) -> Vec<(&'static str, Option<Place>, &'static [UnitKind])> {
    const PROCESS: &[UnitKind] = &[Service, Task, Job];
    const COMMANDS: &[UnitKind] = &[Service, Task, Job, External];
    const JOB: &[UnitKind] = &[Job];
    const NOT_JOB: &[UnitKind] = &[Service, Task, External, Gate];
    let restart = unit.restart.as_ref().map(|restart| &restart.value.0);
    let stop = unit.stop.as_ref().map(|stop| &stop.value.0);
    vec![
        ("command", key(unit.command.as_ref()), PROCESS),
        ("check", key(unit.check.as_ref()), &[Gate]),
        ("interval", key(unit.interval.as_ref()), &[Gate]),
        ("adapter", key(unit.adapter.as_ref()), &[External]),
        ("target", key(unit.target.as_ref()), &[External]),
        ("start", key(unit.start.as_ref()), &[External]),
        ("restart.command", key(restart.and_then(|restart| restart.command.as_ref())), &[External]),
        ("restart.policy", key(restart.and_then(|restart| restart.policy.as_ref())), NOT_JOB),
        ("restart.limit", key(restart.and_then(|restart| restart.limit.as_ref())), NOT_JOB),
        ("restart.reset_after", key(restart.and_then(|restart| restart.reset_after.as_ref())), NOT_JOB),
        ("stop.command", key(stop.and_then(|stop| stop.command.as_ref())), NOT_JOB),
        ("essential", key(unit.essential.as_ref()), &[Service, Task]),
        ("start_timeout", key(unit.start_timeout.as_ref()), &[Service, Task, External, Gate]),
        ("schedule", key(unit.schedule.as_ref()), JOB),
        ("timezone", key(unit.timezone.as_ref()), JOB),
        ("every", key(unit.every.as_ref()), JOB),
        ("on_boot", key(unit.on_boot.as_ref()), JOB),
        ("run_at_load", key(unit.run_at_load.as_ref()), JOB),
        ("after", key(unit.after.as_ref()), JOB),
        ("path", key(unit.path.as_ref()), JOB),
        ("webhook", key(unit.webhook.as_ref()), JOB),
        ("catch_up", key(unit.catch_up.as_ref()), JOB),
        ("deadline", key(unit.deadline.as_ref()), JOB),
        ("overlap", key(unit.overlap.as_ref()), JOB),
        ("jitter", key(unit.jitter.as_ref()), JOB),
        ("timeout", key(unit.timeout.as_ref()), JOB),
        ("retries", key(unit.retries.as_ref()), JOB),
        ("weight", key(unit.weight.as_ref()), JOB),
        ("output", key(unit.output.as_ref()), JOB),
        ("user", key(unit.user.as_ref()), COMMANDS),
        ("group", key(unit.group.as_ref()), COMMANDS),
        ("supplementary_groups", key(unit.supplementary_groups.as_ref()), COMMANDS),
        ("no_new_privileges", key(unit.no_new_privileges.as_ref()), COMMANDS),
        ("capabilities", key(unit.capabilities.as_ref()), COMMANDS),
        ("read_only", key(unit.read_only.as_ref()), COMMANDS),
        ("writable", key(unit.writable.as_ref()), COMMANDS),
        ("private_tmp", key(unit.private_tmp.as_ref()), COMMANDS),
        ("credentials", key(unit.credentials.as_ref()), COMMANDS),
        ("umask", key(unit.umask.as_ref()), COMMANDS),
        ("nice", key(unit.nice.as_ref()), COMMANDS),
        ("cpu_affinity", key(unit.cpu_affinity.as_ref()), COMMANDS),
        ("working_dir", key(unit.working_dir.as_ref()), COMMANDS),
        ("environment", key(unit.environment.as_ref()), COMMANDS),
        ("env_file", key(unit.env_file.as_ref()), COMMANDS),
        ("inherit_env", key(unit.inherit_env.as_ref()), COMMANDS),
        ("ready", key(unit.ready.as_ref()), &[Service]),
        ("health", key(unit.health.as_ref()), &[Service, External]),
        ("watchdog", key(unit.watchdog.as_ref()), &[Service]),
        ("listen", key(unit.listen.as_ref()), &[Service]),
        ("recover", key(unit.recover.as_ref()), &[Service, Job, External, Gate]),
        ("stop", key(unit.stop.as_ref()), COMMANDS),
        ("limits", key(unit.limits.as_ref()), PROCESS),
        ("oom_score_adjust", key(unit.oom_score_adjust.as_ref()), PROCESS),
        ("replicas", key(unit.replicas.as_ref()), COMMANDS),
        ("instances", key(unit.instances.as_ref()), COMMANDS),
        ("log", key(unit.log.as_ref()), PROCESS),
    ]
}

fn key<T>(at: Option<&At<T>>) -> Option<Place> {
    at.map(|at| at.key)
}

fn stranger(key: &str, place: Place, kinds: &[UnitKind], kind: UnitKind) -> Diagnostic {
    let (code, message) = match (kind, key) {
        (Task, "health" | "ready") => {
            ("not-for-tasks", format!("a task has no `{key}`: it is done when its command ends with 0"))
        }
        (Task, _) => ("not-for-tasks", format!("a task has no `{key}`: that is for {}", plural(kinds))),
        (Gate, _) => ("not-for-kind", format!("a gate has no `{key}`: it has no process")),
        (Job, "restart.policy" | "restart.limit" | "restart.reset_after") => {
            ("not-for-kind", format!("`{key}` is for what is kept up, and a job runs when it is due"))
        }
        (Job, "stop.command") => {
            ("not-for-kind", "a run has no stop command: it is stopped by its signal".to_owned())
        }
        (Service | Job | External, _) => {
            ("not-for-kind", format!("`{key}` is for {}, and this is {}", plural(kinds), noun(kind)))
        }
    };
    let help = match (kind, key) {
        (Task, "health" | "ready") => "remove it, or make the unit a service",
        (External, "command") => {
            "its commands are `start`, `stop` and `restart`; whether it works, `health` asks"
        }
        (External, "ready") => "remove it: it is ready when its `health` passes",
        (Service, "interval") => "the interval of a probe belongs into `health`",
        (Service, "check") => "write `kind: gate`, or ask by a probe in `health`",
        (Service, "start" | "adapter" | "target" | "restart.command") => {
            "write `kind: external` for what is not started by mcsup"
        }
        (Gate, "health") => "what a gate asks is its `check`",
        (Service | Task | External | Gate, "timeout") => "how long it may take is its `start_timeout`",
        (Service | Task | External | Gate, "after") => {
            "write `depends_on` for what comes first, or `kind: job` for what runs after another"
        }
        (Service | Task | External | Gate, _) if kinds == [Job] => {
            "write `kind: job` for what runs now and then"
        }
        (Job, "health" | "ready" | "watchdog") => "what a job's run must prove is its `output`",
        (Job, "start_timeout") => "how long a run may take is its `timeout`",
        (Job, "restart.policy" | "restart.limit" | "restart.reset_after") => {
            "`retries` says how many runs follow one that did not pass, `restart.backoff` how soon"
        }
        (Job, "stop.command") => "write `stop: {signal: SIGTERM, grace: 10s}`",
        (Job, "listen") => "what starts it from outside is its `webhook`",
        (Service | Task | Job | External | Gate, _) => "remove it, or change the `kind`",
    };
    Diagnostic::error(code, place, message).help(help)
}

fn plural(kinds: &[UnitKind]) -> String {
    let words = kinds.iter().map(|kind| match kind {
        Service => "services",
        Task => "tasks",
        Job => "jobs",
        External => "external units",
        Gate => "gates",
    });
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some(_) | None => words.concat(),
    }
}

pub(super) fn noun(kind: UnitKind) -> &'static str {
    match kind {
        Service => "a service",
        Task => "a task",
        Job => "a job",
        External => "an external unit",
        Gate => "a gate",
    }
}

fn task(draft: &Draft, out: &mut Vec<Diagnostic>) {
    let policy = draft.unit.restart.as_ref().and_then(|restart| restart.value.0.policy.as_ref());
    if let Some(policy) = policy.filter(|policy| policy.value == RestartPolicy::Always) {
        out.push(
            Diagnostic::error(
                "not-for-tasks",
                policy.place,
                "a task runs to its end, and `always` would never let it end",
            )
            .help("use `on-failure` or `never`, or make it a service"),
        );
    }
}

fn external(draft: &Draft, body: &UnitSpec, out: &mut Vec<Diagnostic>) {
    let unit = &draft.unit;
    let adapter = adapter(unit);
    target(unit, adapter, draft.is_sound, out);
    if body.health.is_empty() && unit.health.is_none() && draft.is_sound && adapter.asks().is_none() {
        let help = match adapter.program() {
            Some(program) => format!(
                "`{program}` has no command whose exit status says whether its target runs: add a probe of what it serves"
            ),
            None => "add a probe of what it serves, for example `health: {tcp: 8080}`".into(),
        };
        let place = unit.adapter.as_ref().or(None).map_or(draft.place, |adapter| adapter.place);
        out.push(
            Diagnostic::error(
                "no-health",
                place,
                "an external unit is known by its `health`, and this has none",
            )
            .help(help),
        );
    }
    let signal = unit.stop.as_ref().and_then(|stop| stop.value.0.signal.as_ref());
    if let Some(signal) = signal {
        out.push(
            Diagnostic::error(
                "not-for-kind",
                signal.key,
                "what is not started by mcsup is not signalled by it",
            )
            .help("write the command that stops it: `stop: [...]`"),
        );
    }
    let has_levers =
        body.levers.start.is_some() || body.levers.restart.is_some() || body.stop.command.is_some();
    if !has_levers && adapter == Adapter::Command && draft.is_sound {
        out.push(
            Diagnostic::warning(
                "no-levers",
                draft.place,
                "this unit can only be watched: nothing starts or stops it",
            )
            .help("give it `start`, `stop` and `restart`, or an `adapter`"),
        );
    }
}

/// `adapter` and `target` need each other.
fn target(unit: &UnitFile, adapter: Adapter, is_sound: bool, out: &mut Vec<Diagnostic>) {
    match (adapter.program(), &unit.target) {
        (Some(program), None) if is_sound => {
            let place = unit.adapter.as_ref().map(|adapter| adapter.place).unwrap_or_default();
            out.push(
                Diagnostic::error(
                    "missing-key",
                    place,
                    format!("`target` is missing: what does {program} call it?"),
                )
                .help("for example `target: redis`"),
            );
        }
        (None, Some(target)) if is_sound => out.push(
            Diagnostic::error("not-for-kind", target.key, "`target` says nothing without an `adapter`")
                .help("add `adapter: docker`, `pm2` or `systemd`"),
        ),
        (Some(program), Some(target)) => {
            if let Template::Plain(text) = &target.value
                && text.starts_with('-')
            {
                let message = format!("{program} would take `{text}` for an option");
                out.push(
                    Diagnostic::error("bad-value", target.place, message)
                        .help("write the name of the target"),
                );
            }
        }
        (None, Some(_)) | (_, None) => {}
    }
}
