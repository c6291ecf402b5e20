//! The verdict of a command that was run to ask.

use std::time::Duration;

use crate::engine::event::{ExitStatus, SpawnFailure, Verdict};
use crate::engine::time::Pretty;
use crate::probe::quoted;

/// Passes when the command ended with 0; the first line it wrote is shown. `timed_out`: it was killed for taking longer than `limit`.
pub fn judge(exit: ExitStatus, timed_out: bool, limit: Duration, output: &[u8]) -> Verdict {
    let said = first_line(output);
    if timed_out {
        return Verdict::Fail(format!("no answer within {}", Pretty(limit)).into());
    }
    match exit {
        ExitStatus::Code(0) if said.is_empty() => Verdict::Pass("probe exited with 0".into()),
        ExitStatus::Code(0) => Verdict::Pass(said.into()),
        ExitStatus::Code(_) | ExitStatus::Signal { .. } if said.is_empty() => {
            Verdict::Fail(exit.to_string().into())
        }
        ExitStatus::Code(_) | ExitStatus::Signal { .. } => Verdict::Fail(format!("{exit}: {said}").into()),
        ExitStatus::Unknown => Verdict::Error("the probe ended with unknown status".into()),
    }
}

/// A program that cannot be started says nothing about the unit.
pub fn not_started(failure: &SpawnFailure) -> Verdict {
    Verdict::Error(failure.to_string().into())
}

/// Part of a reason that people read in one line.
fn first_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    quoted(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_the_output_is_what_people_read() {
        let limit = Duration::from_secs(1);
        let verdict = |exit, output: &[u8]| judge(exit, false, limit, output);
        assert_eq!(verdict(ExitStatus::Code(0), b"\n  fine \nmore"), Verdict::Pass("fine".into()));
        assert_eq!(verdict(ExitStatus::Code(0), b""), Verdict::Pass("probe exited with 0".into()));
        assert_eq!(verdict(ExitStatus::Code(2), b"no\x1b[0m"), Verdict::Fail("exited with 2: no[0m".into()));
        assert_eq!(judge(ExitStatus::Code(0), true, limit, b""), Verdict::Fail("no answer within 1s".into()));
    }
}
