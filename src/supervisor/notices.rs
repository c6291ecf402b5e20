//! What a datagram of the notify protocol says, as sd_notify(3) documents it. What concerns descriptors and
//! the main process the keeper has seen to before.

use std::time::Duration;

use crate::engine::event::Notice;

/// Longest status that is shown, in bytes.
const STATUS_BYTES: usize = 1_024;
/// Longer periods mean never; so much of a timer is left that nothing overflows.
const LONGEST: u64 = 365 * 24 * 3_600 * 1_000_000;

/// In the order of the lines; the last of a key counts. Keys that nobody knows are nothing, and so are values
/// that make no sense.
pub(crate) fn read(datagram: &[u8]) -> Vec<Notice> {
    let text = datagram.strip_suffix(&[0]).unwrap_or(datagram);
    if text.contains(&0) {
        return Vec::new();
    }
    let mut notices: Vec<(&[u8], Notice)> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (key, value) = line.split_at(at);
        let Some(notice) = notice(key, value.get(1..).unwrap_or_default()) else { continue };
        // WATCHDOG is three things under one name.
        notices.retain(|(known, before)| {
            *known != key || std::mem::discriminant(before) != std::mem::discriminant(&notice)
        });
        notices.push((key, notice));
    }
    notices.into_iter().map(|(_, notice)| notice).collect()
}

fn notice(key: &[u8], value: &[u8]) -> Option<Notice> {
    let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
    let period = || Some(Duration::from_micros(number()?.min(LONGEST)));
    Some(match (key, value) {
        (b"READY", b"1") => Notice::Ready,
        (b"RELOADING", b"1") => Notice::Reloading,
        (b"STOPPING", b"1") => Notice::Stopping,
        (b"WATCHDOG", b"1") => Notice::Watchdog,
        (b"WATCHDOG", b"trigger") => Notice::WatchdogTrigger,
        (b"STATUS", _) => Notice::Status(status(value)),
        (b"ERRNO", _) => Notice::Errno(i32::try_from(number()?).ok()?),
        (b"EXTEND_TIMEOUT_USEC", _) => Notice::ExtendTimeout(period()?),
        (b"WATCHDOG_USEC", _) => Notice::WatchdogTimeout(period()?),
        _ => return None,
    })
}

/// One line for people, without what would move their terminal.
fn status(value: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(value);
    let mut shown: String = text.chars().filter(|c| !c.is_control()).collect();
    let mut end = shown.len().min(STATUS_BYTES);
    while !shown.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    shown.truncate(end);
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_assignment_is_understood() {
        let all = read(
            b"READY=1\nSTATUS=Serving 3 of 7\nRELOADING=1\nMONOTONIC_USEC=5\nSTOPPING=1\nERRNO=2\n\
              EXTEND_TIMEOUT_USEC=5000000\nWATCHDOG=1\nWATCHDOG=trigger\nWATCHDOG_USEC=30000000\nMAINPID=7\nX_OWN=1\n",
        );
        let expected = [
            Notice::Ready,
            Notice::Status("Serving 3 of 7".into()),
            Notice::Reloading,
            Notice::Stopping,
            Notice::Errno(2),
            Notice::ExtendTimeout(Duration::from_secs(5)),
            Notice::Watchdog,
            Notice::WatchdogTrigger,
            Notice::WatchdogTimeout(Duration::from_secs(30)),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn the_last_of_a_key_counts_and_nonsense_is_nothing() {
        assert_eq!(read(b"STATUS=a\nSTATUS=b"), [Notice::Status("b".into())]);
        assert_eq!(read(b"READY=0\nREADY\n=1\nERRNO=x\nERRNO=-1\nWATCHDOG_USEC=\nready=1"), []);
        assert_eq!(read(b"READY=1\0STATUS=x"), []);
        assert_eq!(read(b"READY=1\0"), [Notice::Ready]);
        assert_eq!(read(b"STATUS=\x1b[31mred\xff"), [Notice::Status("[31mred\u{fffd}".into())]);
        let Some(Notice::Status(long)) = read(format!("STATUS={}", "ä".repeat(1000)).as_bytes()).pop()
        else {
            panic!("no status")
        };
        assert_eq!(long.len(), STATUS_BYTES);
        let never = read(b"WATCHDOG_USEC=18446744073709551615");
        assert_eq!(never, [Notice::WatchdogTimeout(Duration::from_micros(LONGEST))]);
    }
}
