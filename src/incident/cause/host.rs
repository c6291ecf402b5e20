//! Rules that rest on what the kernel says.

use crate::incident::capture::{is_about_taken_ports, ports_in_line};
use crate::incident::cause::{Cause, Rule, cause, says, who};
use crate::incident::evidence::{Evidence, Exit, FailureKind, OomVerdict, Process};

/// The start says it outright; a shell says it by 127.
pub(super) fn executable_missing(evidence: &Evidence) -> Option<Cause> {
    let failure = &evidence.failure;
    if failure.kind == FailureKind::NotStarted && failure.errno == Some(libc::ENOENT) {
        let step = failure.step.as_deref().unwrap_or("exec");
        let sentence = match step {
            "exec" => "its program does not exist".to_owned(),
            step => format!("what the start needs does not exist, at the step {step}"),
        };
        return cause(Rule::ExecutableMissing, 98, sentence, failure.said.clone());
    }
    let is_127 = evidence.exit.is_some_and(|exit| exit.code == Some(127));
    let says_so = |line: &&String| line.contains("not found") || line.contains("No such file or directory");
    let line = evidence.log.own_lines().iter().rev().find(says_so).filter(|_| is_127)?;
    cause(Rule::ExecutableMissing, 96, "a program that it calls does not exist", line.clone())
}

pub(super) fn out_of_memory(evidence: &Evidence) -> Option<Cause> {
    let oom = &evidence.out_of_memory;
    let exit = evidence.exit.filter(|exit| exit.signal == Some(KILL) && !exit.is_ours);
    let child = says::killed_child(evidence);
    match oom.verdict {
        OomVerdict::Killed => {
            let (whom, score) = match (exit, child) {
                (Some(_), _) => ("it", 97),
                (None, Some(_)) => ("a child of it", 97),
                // It may have got over it since.
                (None, None) => ("a process of its control group", 70),
            };
            let fact = format!("{}: {}", oom.source, oom.text);
            cause(Rule::OutOfMemory, score, format!("the kernel killed {whom} for want of memory"), fact)
        }
        OomVerdict::NotKilled => None,
        OomVerdict::Unknown => {
            let score = if was_memory_scarce(evidence) { 84 } else { 60 };
            let core = |exit: Exit| if exit.dumped_core { "; a core was dumped" } else { "" };
            let (whom, fact) = match exit {
                Some(exit) => ("it", format!("signal 9 that mcsup did not send{}", core(exit))),
                None => ("a child of it", child?.to_owned()),
            };
            let sentence = format!("the kernel may have killed {whom} for want of memory");
            cause(Rule::OutOfMemory, score, sentence, fact)
        }
    }
}

fn was_memory_scarce(evidence: &Evidence) -> bool {
    let memory = evidence.memory.as_ref();
    let group = evidence.control_group.as_ref().filter(|group| !group.is_shared);
    memory.is_some_and(|memory| memory.available_bytes < memory.total_bytes / 10)
        || evidence.host.iter().any(|sample| sample.memory_percent > 92.0)
        || group.is_some_and(|group| group.events.get("oom").is_some_and(|count| *count > 0))
}

/// By whom is known when somebody listens there; that it is, when the log says so.
pub(super) fn port_in_use(evidence: &Evidence) -> Option<Cause> {
    let lines = evidence.log.own_lines();
    let line = lines.iter().rev().find(|line| is_about_taken_ports(line));
    let stranger = evidence.strangers.iter().find(|port| is_named(lines, port.port));
    // A port of another unit is one that its probe asks through; that it wants to have it, its log must say.
    let no_unit = || evidence.strangers.iter().find(|port| port.unit.is_empty() || line.is_some());
    let stranger = stranger.or_else(no_unit);
    match (line, stranger) {
        (Some(line), Some(port)) => {
            let of = if port.unit.is_empty() { String::new() } else { format!(" of {}", port.unit) };
            let sentence = format!("{} is taken by {}{of}", port.address, who(&port.process, port.pid));
            cause(Rule::PortInUse, 95, sentence, line.clone())
        }
        (None, Some(port)) => {
            // Reached by the probe of another: it would look well, and is not.
            let fact =
                format!("{} {} belongs to {}", port.protocol, port.address, who(&port.process, port.pid));
            let sentence = format!("{} is taken by {}", port.address, who(&port.process, port.pid));
            cause(Rule::PortInUse, 86, sentence, fact)
        }
        (Some(line), None) => {
            let ports: Vec<String> = ports_in_line(line).iter().map(ToString::to_string).collect();
            let what = if ports.is_empty() {
                "its address".to_owned()
            } else {
                format!("port {}", ports.join(", "))
            };
            cause(
                Rule::PortInUse,
                88,
                format!("{what} was in use; by now nobody listens there"),
                line.clone(),
            )
        }
        (None, None) => None,
    }
}

fn is_named(lines: &[String], port: u16) -> bool {
    lines.iter().filter(|line| is_about_taken_ports(line)).any(|line| ports_in_line(line).contains(&port))
}

/// Alive, and at nothing: SIGSTOP, or a debugger.
pub(super) fn stopped(evidence: &Evidence) -> Option<Cause> {
    let is_stopped = |process: &&Process| matches!(process.state.as_str(), "T" | "t");
    let process = evidence.processes.iter().find(is_stopped)?;
    let is_traced = process.state == "t";
    let by = if is_traced { "a debugger holds it" } else { "it was stopped by a signal (SIGSTOP)" };
    let fact = format!("{} is in state {}", who(&process.name, Some(process.pid)), process.state);
    // A child that was stopped need not be what is missing.
    let is_main = evidence.processes.first() == Some(process);
    cause(Rule::Stopped, if is_main { 94 } else { 82 }, by, fact)
}

pub(super) fn crashed(evidence: &Evidence) -> Option<Cause> {
    let exit = evidence.exit.filter(|exit| !exit.is_ours)?;
    let signal = exit.signal?;
    let is_crash = exit.dumped_core || CRASHES.iter().any(|(number, _)| *number == signal);
    is_crash.then_some(())?;
    let name = CRASHES.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name);
    let name = name.map_or_else(|| format!("signal {signal}"), ToOwned::to_owned);
    let core = match &evidence.core {
        Some(core) => core.path.as_ref().map_or_else(
            || "; a core was dumped, and is not where it can be found".to_owned(),
            |path| format!("; core at {path}"),
        ),
        None if exit.dumped_core => "; a core was dumped".to_owned(),
        None => "; no core".to_owned(),
    };
    cause(Rule::Crashed, 83, format!("it crashed with {name}"), format!("signal {signal}{core}"))
}

/// Somebody else ended it, or a child of it.
pub(super) fn killed(evidence: &Evidence) -> Option<Cause> {
    let exit = evidence.exit.filter(|exit| !exit.is_ours && !exit.dumped_core);
    let is_crash = |signal: &u8| CRASHES.iter().any(|(number, _)| number == signal);
    let signal = exit.and_then(|exit| exit.signal).filter(|signal| !is_crash(signal));
    let (sentence, fact) = match signal {
        Some(signal) => {
            let sentence = format!("somebody killed it with signal {signal}; it was not mcsup");
            (sentence, format!("signal {signal}"))
        }
        None => {
            let child = says::killed_child(evidence)?;
            ("a child of it was killed by signal 9".to_owned(), child.to_owned())
        }
    };
    let memory = match evidence.out_of_memory.verdict {
        OomVerdict::NotKilled => {
            format!("; the {} has no kill for want of memory", evidence.out_of_memory.source)
        }
        OomVerdict::Killed | OomVerdict::Unknown => String::new(),
    };
    cause(Rule::Killed, 80, sentence, format!("{fact}{memory}"))
}

/// A process that ended by itself although mcsup sent it SIGKILL: only somebody who asked for that makes it do so.
/// What it kills to stop it or for taking too long failed in another way.
pub(super) fn killed_by_operator(evidence: &Evidence) -> Option<Cause> {
    let exit = evidence.exit.filter(|exit| exit.is_ours && exit.signal == Some(KILL))?;
    let is_an_end = matches!(evidence.failure.kind, FailureKind::Exited);
    let core = if exit.dumped_core { "; a core was dumped" } else { "" };
    let sentence = "an operator sent SIGKILL (mcsup kill)";
    is_an_end
        .then(|| cause(Rule::KilledByOperator, 92, sentence, format!("signal 9, sent by mcsup{core}")))?
}

const KILL: u8 = 9;
const CRASHES: &[(u8, &str)] = &[
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (11, "SIGSEGV"),
    (31, "SIGSYS"),
];
