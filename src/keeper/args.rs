//! The keeper's own arguments, parsed by hand. Nobody types them.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::keeper::clock::Patience;
use crate::keeper::sys;

/// How long a shutdown that nobody else leads may take before everything is killed. As `shutdown_timeout`.
const SHUTDOWN_MS: u64 = 60_000;

#[derive(Debug)]
pub(super) struct Arguments {
    /// Holds the lock of the state directory; only passed on.
    pub(super) lock: Option<OwnedFd>,
    /// The control listener; only passed on.
    pub(super) listener: Option<OwnedFd>,
    /// A surviving supervisor's link: it started us because its keeper died.
    pub(super) adopted_link: Option<OwnedFd>,
    /// Whoever connects here is the supervisor; none is started. For tests.
    pub(super) attach: Option<OwnedFd>,
    /// Started in place of our own executable. For tests.
    pub(super) supervisor: Option<OsString>,
    /// The cgroup in which each unit gets its own.
    pub(super) cgroup: Option<PathBuf>,
    pub(super) shutdown_ms: u64,
    /// Less than all of it only in tests.
    pub(super) patience: Patience,
    /// The words that make an init of this program again. There are some where we are process 1 of a machine,
    /// which must not end.
    pub(super) init_again: Vec<OsString>,
    pub(super) supervisor_arguments: Vec<OsString>,
    /// We take the place of another executable.
    pub(super) resume: Option<Resume>,
}

/// What the executable before us left; read before anything else, as until then it can be handed back.
#[derive(Debug, Default)]
pub(super) struct Resume {
    /// Of the image.
    pub(super) image: i32,
    /// Of that executable.
    pub(super) former: Option<i32>,
    /// We are that executable, and this is why the other one was given up.
    pub(super) trouble: Option<String>,
}

impl Arguments {
    pub(super) fn is_of_machine(&self) -> bool {
        !self.init_again.is_empty() && std::process::id() == 1
    }
}

/// # Errors
/// With the argument that makes no sense.
pub(super) fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Arguments, OsString> {
    let mut arguments = Arguments {
        lock: None,
        listener: None,
        adopted_link: None,
        attach: None,
        supervisor: None,
        cgroup: None,
        shutdown_ms: SHUTDOWN_MS,
        patience: Patience::default(),
        init_again: Vec::new(),
        supervisor_arguments: Vec::new(),
        resume: None,
    };
    while let Some(word) = words.next() {
        if word == "--" {
            arguments.supervisor_arguments = words.collect();
            break;
        }
        let value = words.next().ok_or_else(|| word.clone())?;
        match word.to_str() {
            Some("--lock-fd") => arguments.lock = Some(descriptor(&value)?),
            Some("--listen-fd") => arguments.listener = Some(descriptor(&value)?),
            Some("--adopt-link-fd") => arguments.adopted_link = Some(descriptor(&value)?),
            Some("--attach-fd") => arguments.attach = Some(descriptor(&value)?),
            Some("--init-again") => arguments.init_again.push(value),
            Some("--supervisor") => arguments.supervisor = Some(value),
            Some("--cgroup") => arguments.cgroup = Some(value.into()),
            Some("--shutdown-ms") => arguments.shutdown_ms = number(&value)?,
            Some("--patience-divisor") => arguments.patience = Patience { divisor: number(&value)? },
            Some("--resume-fd") => {
                arguments.resume = Some(Resume { image: descriptor_number(&value)?, ..Resume::default() });
            }
            Some("--former-fd") => {
                arguments.resume.get_or_insert_default().former = Some(descriptor_number(&value)?);
            }
            Some("--trouble") => {
                let text = value.to_string_lossy().into_owned();
                arguments.resume.get_or_insert_default().trouble = Some(text);
            }
            Some(_) | None => return Err(word),
        }
    }
    Ok(arguments)
}

fn descriptor_number(value: &OsStr) -> Result<i32, OsString> {
    i32::try_from(number(value)?).map_err(|_large| value.to_owned())
}

fn descriptor(value: &OsStr) -> Result<OwnedFd, OsString> {
    sys::inherited(descriptor_number(value)?).map_err(|_closed| value.to_owned())
}

fn number(value: &OsStr) -> Result<u64, OsString> {
    value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Arguments, OsString> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn what_follows_the_dashes_is_the_supervisors() {
        let arguments = parsed(&["--shutdown-ms", "5", "--", "up", "--lock-fd", "x"]).unwrap();
        assert_eq!(arguments.shutdown_ms, 5);
        assert_eq!(arguments.supervisor_arguments, ["up", "--lock-fd", "x"]);
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(parsed(&["--what", "1"]).unwrap_err(), "--what");
        assert_eq!(parsed(&["--shutdown-ms", "soon"]).unwrap_err(), "soon");
        assert_eq!(parsed(&["--shutdown-ms"]).unwrap_err(), "--shutdown-ms");
        assert_eq!(parsed(&["--lock-fd", "1000000"]).unwrap_err(), "1000000", "not open");
    }
}
