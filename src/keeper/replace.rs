//! Another executable takes the place of both rings, and every process stays where it is.
//!
//! It reads a copy of the table first (a rehearsal), in a process of its own. Only then the keeper becomes it by
//! exec: same pid, so children stay children; table and descriptors go along (`image`). The supervisor of before
//! stands still meanwhile, and lives until the new keeper stands: should that one die at its start, it is the
//! supervisor who starts the next keeper, as at any other time, from the executable of before. The executable of
//! before stays open until the new supervisor is ready; if that never comes, the keeper becomes it again.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::FdFlags;

use crate::keeper::clock::SECOND;
use crate::keeper::holdings::Role;
use crate::keeper::orders::KILL;
use crate::keeper::run::{Keeper, Pending};
use crate::keeper::spawn::{Job, Stdio};
use crate::keeper::sys::{self, Ended, OomScore, Program};
use crate::keeper::wire::{Exit, Replacement, Report, Step};
use crate::keeper::{REHEARSE_VERB, VERB, version};

/// For the other executable to read the table and to say what it understood.
const REHEARSAL: u64 = 10 * SECOND;
/// For processes that are just being started.
const CALM: u64 = 10 * SECOND;
/// For the log pump to finish what it is at.
const PUMP_REST: u64 = 2 * SECOND;
/// From the start of the new supervisor to its word that it has taken over; as for the first word of any other.
const READY: u64 = 60 * SECOND;
/// Where a rehearsal finds the image.
pub(crate) const IMAGE_FD: i32 = 3;
/// In front of the digest and the version, in what a rehearsal prints.
pub(crate) const REHEARSED: &str = "mcsup rehearsal ";
/// Of what it prints instead, this much is passed on.
const MOST_TEXT: usize = 300;

#[derive(Debug, Default)]
pub(super) struct Replacing {
    /// Where the next executable will lie.
    pub(super) path: PathBuf,
    /// So many rehearsals were asked for.
    pub(super) tries: u32,
    pub(super) stage: Stage,
}

#[derive(Debug, Default)]
pub(super) enum Stage {
    #[default]
    Idle,
    Rehearsing {
        executable: OwnedFd,
        digest: u64,
        until: u64,
    },
    Rehearsed {
        executable: OwnedFd,
        version: String,
    },
    /// The supervisor stands still; what is being started is waited for.
    Due {
        executable: OwnedFd,
        version: String,
        until: u64,
    },
    /// We are it. The supervisor of before is to end, and then ours begins.
    Relieving {
        former: Option<Former>,
    },
    /// Ours has begun.
    Trial {
        former: Former,
        until: u64,
        trouble: Option<String>,
    },
    /// To the executable of before, as soon as nothing is being started.
    Back {
        former: Former,
        why: String,
        until: u64,
    },
}

/// The executable of before.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) executable: OwnedFd,
    pub(super) version: String,
}

impl Replacing {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.stage {
            // A rehearsal is ended by the deadline of its process.
            Stage::Idle | Stage::Rehearsing { .. } | Stage::Rehearsed { .. } | Stage::Relieving { .. } => {
                None
            }
            Stage::Due { until, .. } | Stage::Trial { until, .. } | Stage::Back { until, .. } => Some(*until),
        }
    }
}

/// What `/proc` calls the executable that runs; the name under which the next one will be.
pub(super) fn own_path() -> PathBuf {
    let link = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    // The file was replaced since.
    match link.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) if !link.exists() => PathBuf::from(OsString::from_vec(path.to_vec())),
        Some(_) | None => link,
    }
}

impl Keeper {
    pub(super) fn rehearse(&mut self, now: u64) {
        match self.replacing.stage {
            Stage::Idle | Stage::Rehearsed { .. } => {}
            Stage::Rehearsing { .. }
            | Stage::Due { .. }
            | Stage::Relieving { .. }
            | Stage::Trial { .. }
            | Stage::Back { .. } => {
                let (number, version) = (self.replacing.tries, String::new());
                let trouble = Some("another executable is being tried just now".to_owned());
                return self.table.rehearsed(Report::Rehearsed { number, version, trouble });
            }
        }
        self.replacing.tries = self.replacing.tries.saturating_add(1);
        self.replacing.stage = Stage::Idle;
        if let Err(error) = self.begin_rehearsal(now) {
            let path = self.replacing.path.display();
            self.give_up(String::new(), format!("{path} cannot be run: {error}"));
        }
    }

    fn begin_rehearsal(&mut self, now: u64) -> io::Result<()> {
        let executable = opened(&self.replacing.path)?;
        let (image, _handed) = self.image(String::new());
        let (digest, file) = (image.digest(), image.write()?);
        let text = |word: &OsString| CString::new(word.as_bytes()).map_err(io::Error::from);
        let words = [OsString::from("mcsup"), OsString::from(REHEARSE_VERB)];
        let argv = words.iter().chain(&self.arguments.supervisor_arguments).map(text);
        let until = now.saturating_add(self.arguments.patience.of(REHEARSAL));
        let job = Job {
            token: 0,
            program: Program::Descriptor(executable.as_raw_fd()),
            argv: argv.collect::<Result<_, _>>()?,
            env: environment()?,
            working_dir: None,
            credentials: None,
            limits: vec![self.context.nofile],
            oom_score: OomScore { text: self.context.oom_score.text.clone(), is_required: false },
            stdio: Stdio::Pipe,
            descriptors: vec![(Arc::new(file), IMAGE_FD)],
            has_sockets: false,
            confinement: None,
            enclosure: None,
        };
        let pending = Pending {
            role: Role::Rehearsal,
            tag: self.rehearsal_tag(),
            kill_at: Some(until),
            log: None,
            signals: Vec::new(),
            tidings: None,
            kept: None,
        };
        self.replacing.stage = Stage::Rehearsing { executable, digest, until };
        self.submit(job, pending, now);
        Ok(())
    }

    fn rehearsal_tag(&self) -> String {
        format!("mcsup rehearsal {}", self.replacing.tries)
    }

    /// The other executable does not even begin.
    pub(super) fn cannot_rehearse(&mut self, step: Step, errno: i32) {
        let why = if step == Step::Timeout {
            "it does not begin in time".to_owned()
        } else {
            io::Error::from_raw_os_error(errno).to_string()
        };
        if let Stage::Rehearsing { .. } = self.replacing.stage {
            let path = self.replacing.path.display();
            self.give_up(String::new(), format!("{path} cannot be run: {why}"));
        }
    }

    pub(super) fn on_rehearsal_ended(&mut self, slot: u64, ended: Ended, now: u64) {
        let text = self.holdings.get(slot).and_then(|holding| holding.output.as_ref()).map(read_there_is);
        let is_this_one = self.holdings.get(slot).is_some_and(|holding| holding.tag == self.rehearsal_tag());
        // Whatever it started has no business of its own.
        self.holdings.detach(slot, Role::Disowned);
        self.doom(slot, &mut None);
        self.on_disowned_ended(slot, ended, now);
        if !is_this_one {
            return;
        }
        match std::mem::take(&mut self.replacing.stage) {
            Stage::Rehearsing { executable, digest, until } => {
                let text = text.unwrap_or_default();
                match understood(&text, digest, ended.exit, until <= now) {
                    Ok(version) => {
                        let number = self.replacing.tries;
                        let report = Report::Rehearsed { number, version: version.clone(), trouble: None };
                        self.table.rehearsed(report);
                        self.replacing.stage = Stage::Rehearsed { executable, version };
                    }
                    Err(why) => self.give_up(version_in(&text).unwrap_or_default(), why),
                }
            }
            other @ (Stage::Idle
            | Stage::Rehearsed { .. }
            | Stage::Due { .. }
            | Stage::Relieving { .. }
            | Stage::Trial { .. }
            | Stage::Back { .. }) => self.replacing.stage = other,
        }
    }

    /// Nothing was touched so far, and everything goes on as before.
    fn give_up(&mut self, version: String, why: String) {
        let number = self.replacing.tries;
        self.replacing.stage = Stage::Idle;
        self.table.replacement = Some(Replacement {
            number,
            from: version::text().to_owned(),
            to: version.clone(),
            trouble: Some(why.clone()),
            is_news: false,
        });
        self.table.rehearsed(Report::Rehearsed { number, version, trouble: Some(why) });
    }

    pub(super) fn on_replace(&mut self, now: u64) {
        match std::mem::take(&mut self.replacing.stage) {
            Stage::Rehearsed { executable, version } => {
                let until = now.saturating_add(self.arguments.patience.of(CALM));
                self.replacing.stage = Stage::Due { executable, version, until };
            }
            other @ (Stage::Idle
            | Stage::Rehearsing { .. }
            | Stage::Due { .. }
            | Stage::Relieving { .. }
            | Stage::Trial { .. }
            | Stage::Back { .. }) => self.replacing.stage = other,
        }
    }

    /// After everything that happened in this round was told and done.
    pub(super) fn look_after_replacement(&mut self, now: u64) {
        let is_calm = self.pending.is_empty();
        match std::mem::take(&mut self.replacing.stage) {
            Stage::Due { executable, version, until } if is_calm => {
                let why = self.become_other(&executable, &version, None).to_string();
                self.replacing.stage = Stage::Due { executable, version: version.clone(), until };
                self.give_up(version, format!("cannot become {}: {why}", self.replacing.path.display()));
            }
            Stage::Due { version, until, .. } if until <= now => {
                let why = "a process is still being started, and has not become its program".to_owned();
                self.give_up(version, why);
            }
            Stage::Trial { former, until, trouble } if until <= now => {
                let until = now.saturating_add(READY);
                let why = "its supervisor did not take over in time".to_owned();
                self.replacing.stage = Stage::Trial { former, until, trouble: trouble.or(Some(why)) };
                self.end_supervisor();
            }
            Stage::Back { former, why, until } if is_calm || until <= now => {
                let error = self.become_other(&former.executable, &former.version, Some(&why));
                super::complain(&format!("cannot go back to the executable of before: {error}"));
                self.start_supervisor_again(now);
            }
            other @ (Stage::Idle
            | Stage::Rehearsing { .. }
            | Stage::Rehearsed { .. }
            | Stage::Due { .. }
            | Stage::Relieving { .. }
            | Stage::Trial { .. }
            | Stage::Back { .. }) => self.replacing.stage = other,
        }
    }

    /// The supervisor has taken over: whatever comes now, there is no way back but another try.
    pub(super) fn on_ready_supervisor(&mut self) {
        if let Some(replacement) = &mut self.table.replacement {
            replacement.is_news = false;
        }
        if let Stage::Trial { .. } = self.replacing.stage {
            self.replacing.stage = Stage::Idle;
        }
    }

    /// The process of the supervisor is gone. True: what comes next is decided here.
    pub(super) fn relieved(&mut self, exit: Exit, now: u64) -> bool {
        match std::mem::take(&mut self.replacing.stage) {
            Stage::Relieving { former } => {
                if let Some(former) = former {
                    let until = now.saturating_add(self.arguments.patience.of(READY));
                    self.replacing.stage = Stage::Trial { former, until, trouble: None };
                }
                self.start_supervisor_again(now);
                true
            }
            Stage::Trial { former, trouble, .. } => {
                let why = trouble.unwrap_or_else(|| match exit {
                    Exit::Code(code) => format!("its supervisor ended with {code} before it had taken over"),
                    Exit::Signal { number, .. } => {
                        format!("its supervisor was ended by signal {number} before it had taken over")
                    }
                    Exit::Unknown => "its supervisor ended before it had taken over".to_owned(),
                });
                self.replacing.stage = Stage::Back { former, why, until: now.saturating_add(CALM) };
                true
            }
            back @ Stage::Back { .. } => {
                self.replacing.stage = back;
                true
            }
            // Whoever asked for it is gone.
            Stage::Idle | Stage::Rehearsing { .. } | Stage::Rehearsed { .. } | Stage::Due { .. } => false,
        }
    }

    /// Comes back only when it could not be.
    fn become_other(&mut self, executable: &OwnedFd, version: &str, trouble: Option<&str>) -> io::Error {
        if self.environs.is_hung() {
            return io::Error::other("a thread hangs in a look at a process, and would not end");
        }
        if !matches!(self.farewell, crate::keeper::farewell::Farewell::None) {
            return io::Error::other("everything is being stopped");
        }
        let Some(pump) = self.pump.rest(PUMP_REST) else {
            return io::Error::other("a log cannot be written just now, and is waited for");
        };
        let error = self.exec(executable, version, trouble, pump).err();
        self.pump.work();
        error.unwrap_or_else(|| io::Error::other("it came back"))
    }

    fn exec(
        &self,
        executable: &OwnedFd,
        version: &str,
        trouble: Option<&str>,
        pump: crate::keeper::image::PumpImage,
    ) -> io::Result<()> {
        let former = self.executable.as_ref();
        let (mut image, mut handed) = self.image(version.to_owned());
        image.pump = pump;
        let file = image.write()?;
        handed.push(file.as_fd());
        let mut words: Vec<OsString> = vec!["mcsup".into(), VERB.into()];
        words.extend(["--resume-fd".into(), file.as_raw_fd().to_string().into()]);
        match (trouble, former) {
            (Some(trouble), _) => words.extend(["--trouble".into(), trouble.into()]),
            (None, Some(former)) => {
                handed.push(former.as_fd());
                words.extend(["--former-fd".into(), former.as_raw_fd().to_string().into()]);
            }
            (None, None) => return Err(io::Error::other("without /proc there would be no way back")),
        }
        // Process 1 of a machine stays what it is.
        words.extend(self.arguments.init_again.iter().flat_map(|word| ["--init-again".into(), word.clone()]));
        words.push("--".into());
        words.extend(self.arguments.supervisor_arguments.iter().cloned());
        let text = |word: OsString| CString::new(word.into_vec()).map_err(io::Error::from);
        let argv = words.into_iter().map(text).collect::<Result<_, _>>()?;
        let env = environment()?;
        pass_on(&handed, FdFlags::empty())?;
        let errno = sys::become_executable(executable.as_fd(), argv, env);
        pass_on(&handed, FdFlags::CLOEXEC)?;
        Err(errno.into())
    }
}

/// Our own, for whoever comes after us.
pub(super) fn environment() -> io::Result<Vec<CString>> {
    std::env::vars_os()
        .map(|(name, value)| {
            CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat()).map_err(io::Error::from)
        })
        .collect()
}

fn pass_on(handed: &[BorrowedFd<'_>], flags: FdFlags) -> io::Result<()> {
    for descriptor in handed {
        rustix::io::fcntl_setfd(descriptor, flags)?;
    }
    Ok(())
}

/// What was rehearsed is what runs, whatever lies under the path by then.
fn opened(path: &Path) -> io::Result<OwnedFd> {
    let executable = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&executable)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::Error::other("it is no file"));
    }
    must_be_whole(path)?;
    Ok(executable)
}

/// A file that was cut runs until it comes to what is missing, which may be long after its rehearsal.
fn must_be_whole(path: &Path) -> io::Result<()> {
    let mut head = [0; ELF_HEAD_BYTES];
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let read = rustix::io::read(&file, &mut head)?;
    let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or_default();
    let is_elf = head.starts_with(b"\x7fELF\x02\x01");
    if read < ELF_HEAD_BYTES || !is_elf {
        return Err(io::Error::other("it is no executable of this kind of machine"));
    }
    if size < ends_at(&head).unwrap_or(u64::MAX) {
        return Err(io::Error::other("it is cut: parts that its head speaks of are missing"));
    }
    Ok(())
}

/// The table of sections, which linkers write last.
fn ends_at(head: &[u8; ELF_HEAD_BYTES]) -> Option<u64> {
    let start = u64::from_le_bytes(*head.get(40..)?.first_chunk()?);
    let size = u16::from_le_bytes(*head.get(58..)?.first_chunk()?);
    let count = u16::from_le_bytes(*head.get(60..)?.first_chunk()?);
    start.checked_add(u64::from(size).saturating_mul(u64::from(count)))
}

/// Of a 64-bit executable, little-endian, as all are that we are built for.
const ELF_HEAD_BYTES: usize = 64;

/// What a process that has ended left in its pipe, without waiting for more.
fn read_there_is(pipe: &Arc<OwnedFd>) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while text.len() < 65_536 && rustix::io::ioctl_fionread(pipe).is_ok_and(|bytes| bytes > 0) {
        match rustix::io::read(pipe, &mut buffer) {
            Ok(count) if count > 0 => text.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Ok(_) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn version_in(text: &str) -> Option<String> {
    let words = text.lines().find_map(|line| line.strip_prefix(REHEARSED))?;
    words.split_ascii_whitespace().nth(1).map(str::to_owned)
}

/// The version of an executable that understood what it was given; else why it cannot take over.
fn understood(text: &str, digest: u64, exit: Exit, is_late: bool) -> Result<String, String> {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let said: String = line.chars().filter(|letter| !letter.is_control()).take(MOST_TEXT).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match exit {
        Exit::Code(0) => {}
        Exit::Signal { number, .. } if is_late && number == KILL => {
            return Err("it did not finish its rehearsal in time".to_owned());
        }
        Exit::Code(code) => return Err(format!("its rehearsal ended with {code}{said}")),
        Exit::Signal { number, .. } => {
            return Err(format!("its rehearsal was ended by signal {number}{said}"));
        }
        Exit::Unknown => return Err("nobody knows how its rehearsal ended".to_owned()),
    }
    let words = text.lines().find_map(|line| line.strip_prefix(REHEARSED));
    let mut words = words.unwrap_or_default().split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(told), Some(version)) if told == format!("{digest:016x}") => Ok(version.to_owned()),
        (Some(_), Some(_)) => Err("it understands the table otherwise than it was written".to_owned()),
        (_, _) => Err(format!("it is no mcsup that can take over{said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_says_what_was_understood_may_take_over() {
        let good = format!("warning: x\n{REHEARSED}00000000000000ff 0.2.0\n");
        assert_eq!(understood(&good, 255, Exit::Code(0), false).unwrap(), "0.2.0");
        assert!(understood(&good, 254, Exit::Code(0), false).unwrap_err().contains("otherwise"));
        assert!(understood("", 255, Exit::Code(0), false).unwrap_err().contains("no mcsup"));
        let missing = "libfoo.so: cannot open shared object file\n\n";
        assert!(understood(missing, 255, Exit::Code(127), false).unwrap_err().contains("127: libfoo.so"));
        let killed = Exit::Signal { number: 9, dumped_core: false };
        assert!(understood("", 1, killed, true).unwrap_err().contains("in time"));
        assert!(understood("", 1, killed, false).unwrap_err().contains("signal 9"));
    }
}
