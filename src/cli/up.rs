//! `mcsup up`, and the same for `mcsup init`: choose the directories, take the lock, bind the socket, and become the keeper.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use rustix::io::FdFlags;

use crate::cgroup::{self, Choice};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::{err, out};
use crate::supervisor::above::Above;
use crate::supervisor::claim::{self, ClaimError};
use crate::supervisor::home::{Home, Surroundings};
use crate::supervisor::start::Settings;

/// Run the supervisor in the foreground on a units directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup up examples/quickstart")]
pub(crate) struct UpArgs {
    /// Units directory; the home's own when left out
    #[arg(value_name = "DIR")]
    units: Option<PathBuf>,
    #[command(flatten)]
    cgroups: CgroupArgs,
}

/// How runs are told apart and limited.
#[derive(Debug, clap::Args)]
pub(crate) struct CgroupArgs {
    /// Give each unit a cgroup (version 2): where they can limit something, wherever they can be written, or never
    #[arg(long, value_name = "WHEN", default_value = "auto", env = "MCSUP_CGROUPS", hide_env_values = true)]
    cgroups: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

impl CgroupArgs {
    pub(crate) fn choice(&self) -> Choice {
        match self.cgroups {
            When::Auto => Choice::Auto,
            When::Always => Choice::Always,
            When::Never => Choice::Never,
        }
    }
}

/// Does not come back when all is well: the process becomes the keeper.
pub(crate) fn up(args: &UpArgs, home: Option<&Path>) -> Result<Outcome, Failure> {
    if hand_over(home, args.units.as_deref()) {
        return Ok(Outcome::Done);
    }
    become_keeper(home, args.units.as_deref(), args.cgroups.choice(), &Process::Any)
        .map(|never| match never {})
}

/// True: systemd started us again because a keeper died, and its supervisor, which lives, has found itself another
/// one by now. That keeper is the process to watch, and nothing is left to start.
fn hand_over(home: Option<&Path>, units: Option<&Path>) -> bool {
    let above = Above::find();
    if !above.is_listening() {
        return false;
    }
    let home =
        Home::for_up(&Surroundings::read(), home, units).and_then(|home| home.prepare().map(|()| home));
    // What is wrong with it is said by who starts on it.
    let Ok(home) = home else { return false };
    let Err(ClaimError::Held { pid: Some(keeper), .. }) = claim::lock(&home) else { return false };
    above.hand_over_to(keeper);
    out(&format!("mcsup already runs on {}: process {keeper} goes on\n", home.state.display()));
    true
}

/// As `up`, by process 1. Comes back with why it cannot. `again`: on a machine, the words that make it try again.
pub(crate) fn init(
    units: Option<&Path>,
    home: Option<&Path>,
    choice: Choice,
    again: Vec<OsString>,
) -> Failure {
    match become_keeper(home, units, choice, &Process::First { again }) {
        Err(failure) => failure,
        Ok(never) => match never {},
    }
}

enum Never {}

/// Who is to become the keeper.
enum Process {
    Any,
    First { again: Vec<OsString> },
}

fn become_keeper(
    home: Option<&Path>,
    units: Option<&Path>,
    choice: Choice,
    process: &Process,
) -> Result<Never, Failure> {
    let around = Surroundings::read();
    let (home, again) = match process {
        Process::Any => (Home::for_up(&around, home, units), &[][..]),
        Process::First { again } => (Home::for_init(&around, home, units), &again[..]),
    };
    let mut home = home.map_err(|error| failure(&error))?;
    if let Err(error) = home.prepare() {
        let is_given_up = matches!(process, Process::Any) || !error.is_read_only();
        home = if is_given_up { return Err(failure(&error)) } else { home.in_memory() };
        err(&format!("{error}: state and logs are kept under {}, and gone with it\n", home.run.display()));
        home.prepare().map_err(|error| failure(&error))?;
    }
    let lock = claim::lock(&home).map_err(|error| failure(&error))?;
    let listener = OwnedFd::from(claim::listen(&home).map_err(|error| failure(&error))?);
    // What the system runs has no place of its own; a directory that somebody named is one, as long as it is there.
    let is_placeless = home.is_default(&around) || !home.units.is_dir();
    let working_dir = if is_placeless { "/".into() } else { home.units.clone() };
    let cgroups = cgroup::settle(choice, home.number());
    let settings = Settings { home, working_dir, cgroups };
    let cause = exec(&settings, &lock, &listener, again);
    Err(failure(&format!("cannot start {}: {cause}", executable().display())))
}

/// A fresh image: the keeper carries nothing of what it took to get here.
#[expect(clippy::disallowed_methods, reason = "replaces this process; nothing is spawned")]
fn exec(settings: &Settings, lock: &OwnedFd, listener: &OwnedFd, again: &[OsString]) -> io::Error {
    for descriptor in [lock, listener] {
        if let Err(errno) = rustix::io::fcntl_setfd(descriptor.as_fd(), FdFlags::empty()) {
            return errno.into();
        }
    }
    let mut keeper = std::process::Command::new(executable());
    if std::env::var_os("PATH").is_none() {
        // A kernel gives its first process none, and units get ours.
        keeper.env("PATH", PATH);
    }
    keeper
        .arg(crate::keeper::VERB)
        .args(["--lock-fd", &lock.as_raw_fd().to_string()])
        .args(["--listen-fd", &listener.as_raw_fd().to_string()])
        .args(settings.cgroups.iter().flat_map(|base| [OsStr::new("--cgroup"), base.as_os_str()]))
        .args(again.iter().flat_map(|word| [OsStr::new("--init-again"), word]))
        .arg("--")
        .args(settings.to_arguments())
        .exec()
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file that runs, whatever lies under its name by now; without /proc whatever the name finds.
fn executable() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { own } else { std::env::args_os().next().unwrap_or_default().into() }
}

/// What keeps a supervisor from starting; its second line is the help.
fn failure(error: &impl ToString) -> Failure {
    let text = error.to_string();
    match text.split_once("\nhelp: ") {
        Some((message, help)) => Failure::new(Exit::NotWell, message).help(help),
        None => Failure::new(Exit::NotWell, text),
    }
}
