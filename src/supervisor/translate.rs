//! Between the keeper's words and the engine's.

use crate::engine::effect::SignalScope;
use crate::engine::event::{ExitStatus, HandedCondition, HandedRun, SpawnFailure, SpawnStep};
use crate::engine::id::RunId;
use crate::engine::time::Timestamp;
use crate::keeper::wire::{Exit, Row, Scope, Stage, Step};
use crate::unit::name::UnitName;
use crate::unit::spec::{SignalNumber, UnitSpec};

pub(crate) fn exit_status(exit: Exit) -> ExitStatus {
    match exit {
        Exit::Code(code) => ExitStatus::Code(code),
        Exit::Signal { number, dumped_core } => {
            ExitStatus::Signal { signal: SignalNumber(number), dumped_core }
        }
        Exit::Unknown => ExitStatus::Unknown,
    }
}

pub(crate) fn scope(scope: SignalScope) -> Scope {
    match scope {
        SignalScope::Main => Scope::Main,
        SignalScope::All => Scope::All,
    }
}

/// `spec`: of the unit whose spawn failed, to say what the cause concerns.
pub(crate) fn spawn_failure(step: Step, errno: i32, spec: Option<&UnitSpec>, program: &str) -> SpawnFailure {
    let step = spawn_step(step);
    let words = if errno == 0 { "" } else { nix::errno::Errno::from_raw(errno).desc() };
    let concerns = match (step, spec) {
        (SpawnStep::Exec, _) => program.to_owned(),
        (SpawnStep::Chdir, Some(spec)) => {
            spec.working_dir.as_deref().unwrap_or("working directory").to_owned()
        }
        (SpawnStep::Setuid | SpawnStep::Groups, Some(spec)) => {
            spec.user.as_deref().unwrap_or_default().to_owned()
        }
        (SpawnStep::Setgid, Some(spec)) => spec.group.as_deref().unwrap_or_default().to_owned(),
        (SpawnStep::Timeout, _) => "no exec within 5 s".to_owned(),
        (
            SpawnStep::Expand
            | SpawnStep::Lookup
            | SpawnStep::Listen
            | SpawnStep::Prepare
            | SpawnStep::Clone
            | SpawnStep::Session
            | SpawnStep::Limits
            | SpawnStep::OomScore
            | SpawnStep::Groups
            | SpawnStep::Setgid
            | SpawnStep::Setuid
            | SpawnStep::Chdir
            | SpawnStep::Descriptors
            | SpawnStep::Cgroup
            | SpawnStep::Nice
            | SpawnStep::CpuAffinity
            | SpawnStep::PrivateTmp
            | SpawnStep::Credentials
            | SpawnStep::ReadOnly
            | SpawnStep::NoNewPrivileges
            | SpawnStep::Capabilities,
            _,
        ) => String::new(),
    };
    let help = match (step, errno) {
        (
            SpawnStep::PrivateTmp | SpawnStep::Credentials | SpawnStep::Capabilities | SpawnStep::Nice,
            libc::EPERM | libc::EACCES,
        ) => ": mcsup itself lacks the privilege for it",
        (SpawnStep::ReadOnly, libc::EPERM) => ": needs `no_new_privileges`, or root",
        (SpawnStep::ReadOnly, libc::EOPNOTSUPP | libc::ENOSYS) => ": this kernel has no Landlock",
        (_, _) => "",
    };
    let cause = match (concerns.is_empty(), words.is_empty()) {
        (false, false) => format!("{concerns}: {words}"),
        (false, true) => concerns,
        (true, false) => words.to_owned(),
        (true, true) => "no cause was given".to_owned(),
    };
    SpawnFailure { step, errno, cause: format!("{cause}{help}").into() }
}

fn spawn_step(step: Step) -> SpawnStep {
    match step {
        Step::Prepare => SpawnStep::Prepare,
        Step::Clone => SpawnStep::Clone,
        Step::Session => SpawnStep::Session,
        Step::Limits => SpawnStep::Limits,
        Step::OomScore => SpawnStep::OomScore,
        Step::Groups => SpawnStep::Groups,
        Step::Setgid => SpawnStep::Setgid,
        Step::Setuid => SpawnStep::Setuid,
        Step::Chdir => SpawnStep::Chdir,
        Step::Descriptors => SpawnStep::Descriptors,
        Step::Exec => SpawnStep::Exec,
        Step::Timeout => SpawnStep::Timeout,
        Step::Cgroup => SpawnStep::Cgroup,
        Step::Nice => SpawnStep::Nice,
        Step::CpuAffinity => SpawnStep::CpuAffinity,
        Step::PrivateTmp => SpawnStep::PrivateTmp,
        Step::Credentials => SpawnStep::Credentials,
        Step::ReadOnly => SpawnStep::ReadOnly,
        Step::NoNewPrivileges => SpawnStep::NoNewPrivileges,
        Step::Capabilities => SpawnStep::Capabilities,
    }
}

/// A row as the engine takes it over. The unit's name was checked when the row was sorted.
pub(crate) fn handed_run(row: &Row, unit: UnitName, spec: Option<&UnitSpec>) -> HandedRun {
    let condition = match row.stage {
        Stage::Spawning => HandedCondition::Spawning,
        Stage::Live => HandedCondition::Live { pid: row.pid },
        Stage::SpawnFailed { step, errno } => {
            HandedCondition::FailedToSpawn(spawn_failure(step, errno, spec, "the program"))
        }
        Stage::Exited { exit, usage: _, is_empty, log_end: _ } => {
            HandedCondition::Exited { exit: exit_status(exit), is_empty }
        }
    };
    HandedRun {
        run: RunId(row.run),
        unit,
        ordinal: row.ordinal,
        spawned_at: Timestamp(row.spawned_at),
        condition,
        is_ready_shown: row.is_ready_shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_spawn_says_what_could_not_be_done_to_what() {
        let failure = spawn_failure(Step::Exec, libc::ENOENT, None, "/bin/nothing");
        assert_eq!(failure.to_string(), "cannot start: exec: /bin/nothing: No such file or directory");
        let failure = spawn_failure(Step::Clone, libc::EMFILE, None, "/bin/true");
        assert_eq!(failure.to_string(), "cannot start: clone: Too many open files");
    }
}
