//! HOLD: the parent of every process, and the only one who waits for them.
//!
//! Nothing here may panic, knows a policy beyond "stop when nobody answers", or reads a unit file.
#![cfg_attr(not(test), deny(clippy::panic, clippy::expect_used))]
#![deny(
    clippy::disallowed_types,
    clippy::iter_over_hash_type,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation
)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)
)]

pub mod wire;
pub mod codec;
pub mod link;
mod run;
mod args;
pub mod version;
pub(crate) mod image;
pub(crate) mod replace;
mod resume;
mod orders;
mod reap;
mod orphans;
mod notify;
mod notice;
mod store;
mod supervise;
mod farewell;
mod table;
mod holdings;
mod spawn;
mod confine;
mod enclosure;
mod step;
mod pid_slot;
mod process;
mod environ;
mod pump;
mod logfile;
mod kept;
mod rotation;
mod clock;
mod sys;

pub(crate) use crate::keeper::sys::{give_memory_back, inherited, use_little_memory};

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::epoll;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::process::{Resource, Rlimit};

use crate::init::{Finale, emergency, finale, machine};
use crate::keeper::args::{Arguments, Resume};
use crate::keeper::environ::Environs;
use crate::keeper::farewell::Farewell;
use crate::keeper::holdings::Holdings;
use crate::keeper::image::Image;
use crate::keeper::orphans::Orphans;
use crate::keeper::pump::Pump;
use crate::keeper::replace::Replacing;
use crate::keeper::resume::Given;
use crate::keeper::run::{End, Keeper};
use crate::keeper::spawn::{Context, Spawner};
use crate::keeper::store::Store;
use crate::keeper::supervise::Supervisor;
use crate::keeper::sys::OomScore;
use crate::keeper::table::Table;
use crate::keeper::wire::Limit;

/// The hidden first argument under which this binary is the keeper.
pub const VERB: &str = "__keeper";

/// The hidden first argument under which this binary shows that it could take the place of another one.
pub const REHEARSE_VERB: &str = "__rehearse";

const USAGE_ERROR: u8 = 2;
const OOM_SCORE_FILE: &CStr = c"/proc/self/oom_score_adj";

/// Runs the keeper with the arguments after `VERB`, until there is nothing left to hold.
pub fn main() -> ExitCode {
    let arguments = match args::parse(std::env::args_os().skip(2)) {
        Ok(arguments) => arguments,
        Err(word) => {
            complain(&format!("cannot start the keeper: bad argument {}", word.display()));
            return ExitCode::from(USAGE_ERROR);
        }
    };
    if arguments.is_of_machine() {
        return of_machine(arguments);
    }
    match begin(arguments).and_then(Keeper::run) {
        Ok(end) => {
            if end.finale == Some(Finale::Reboot) && std::process::id() == 1 {
                finale::of_container();
            }
            ExitCode::from(end.code)
        }
        Err(error) => {
            complain(&format!("cannot keep: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Process 1 of a machine does not end: it ends the machine, or becomes an init again that tries everything anew.
/// What still runs then is found in the journal.
fn of_machine(arguments: Arguments) -> ExitCode {
    let again = arguments.init_again.clone();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| begin(arguments).and_then(Keeper::run)));
    match outcome {
        Ok(Ok(End { finale: Some(finale), .. })) => finale::of_machine(finale),
        Ok(Ok(End { has_not_begun: false, .. })) => finale::of_machine(Finale::PowerOff),
        Ok(Ok(End { has_not_begun: true, .. })) => complain("cannot begin"),
        Ok(Err(error)) => complain(&format!("cannot keep: {error}")),
        Err(_panic) => complain("the keeper failed"),
    }
    loop {
        let error = init_again(&again);
        complain(&format!("cannot be init again: {error}"));
        emergency::hold(Some(Path::new(machine::SHELL)));
    }
}

#[expect(clippy::disallowed_methods, reason = "replaces this process; nothing is spawned")]
fn init_again(words: &[OsString]) -> io::Error {
    std::process::Command::new("/proc/self/exe").args(words).exec()
}

/// As the first, or in the place of the executable before us.
fn begin(arguments: Arguments) -> io::Result<Keeper> {
    match arguments.resume {
        Some(_) => set_up_again(arguments),
        None => set_up(arguments, None),
    }
}

/// Everything that must come before the first child, in the order in which it must come: signals
/// are blocked before there are threads, and the low descriptors taken before any is opened.
fn set_up(arguments: Arguments, of_before: Option<Context>) -> io::Result<Keeper> {
    use_little_memory();
    sys::keep_for_ourselves();
    sys::reset_dispositions();
    // It was started from a descriptor: without a name it would be called `exe`.
    rustix::thread::set_name(c"mcsup").ok();
    let mask = SigSet::all();
    mask.thread_block()?;
    let context = match of_before {
        // What is there now, the executable before us made.
        Some(context) => context,
        None => Context {
            nofile: raise_descriptor_limit(),
            oom_score: protect_from_oom(arguments.adopted_link.is_some()),
        },
    };
    let pid = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(pid))?;
    let spawner = Spawner::start(context.nofile.hard, arguments.patience)?;
    let executable = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
    let supervisor = Supervisor::new(arguments.patience);
    Ok(Keeper {
        arguments,
        executable,
        pid: pid.as_raw_nonzero().get(),
        context,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        signals: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
        spawner,
        pump: Pump::start()?,
        table: Table::default(),
        holdings: Holdings::default(),
        store: Store::default(),
        barriers: Vec::new(),
        held_up: BTreeSet::new(),
        pending: BTreeMap::new(),
        last_token: 0,
        link: None,
        is_link_full: false,
        supervisor,
        replacing: Replacing::new(replace::own_path()),
        farewell: Farewell::default(),
        finale: None,
        has_not_begun: false,
        orphans: Orphans::default(),
        environs: Environs::default(),
        unwatched: BTreeSet::new(),
        next_sweep: None,
        no_sweep_before: 0,
        is_clock_right: None,
    })
}

/// In the place of another executable. Until all that it left is ours, it can be handed back.
fn set_up_again(mut arguments: Arguments) -> io::Result<Keeper> {
    let Some(Resume { image: number, former, trouble }) = arguments.resume.take() else {
        return set_up(arguments, None);
    };
    let words = std::mem::take(&mut arguments.supervisor_arguments);
    let init_again = std::mem::take(&mut arguments.init_again);
    let file = sys::borrowed_copy(number)?;
    let image = match (Image::read(file), former) {
        (Ok(image), _) => image,
        (Err(why), Some(former)) => {
            let error = resume::turn_back(number, former, &why, &init_again, &words);
            return Err(io::Error::other(format!("{why}; nor can the executable of before go on: {error}")));
        }
        (Err(why), None) => return Err(io::Error::other(why)),
    };
    // Closed with what it says.
    drop(sys::take(number));
    let former = former.map(sys::take).transpose()?;
    let (path, context) = (resume::path(&image), resume::context(&image, RLIMIT_NOFILE));
    let (link, mut arguments) = (resume::link(&image)?, resume::arguments(&image, words)?);
    arguments.init_again = init_again;
    let mut keeper = set_up(arguments, Some(context))?;
    keeper.replacing.path = path;
    keeper.resume(Given { image, former, trouble }, link, clock::monotonic())?;
    Ok(keeper)
}

/// We hold three descriptors a run; our children get back what we were given.
fn raise_descriptor_limit() -> Limit {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).ok();
    let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    Limit { resource: RLIMIT_NOFILE, soft: number(before.current), hard: number(before.maximum) }
}

/// As prlimit(2) counts on every architecture we run on.
const RLIMIT_NOFILE: u32 = 7;

/// The last to be killed for memory, where we may say so. What our children get back then; nothing
/// where nothing was changed. A keeper that was started by a supervisor inherits that one's score, and
/// is told beside it what was there before.
fn protect_from_oom(is_heir: bool) -> OomScore {
    let inherited = if is_heir { std::env::var_os(supervise::OOM_SCORE_VARIABLE) } else { None };
    let before = match inherited {
        Some(score) => score.into_encoded_bytes(),
        None => std::fs::read("/proc/self/oom_score_adj").unwrap_or_default(),
    };
    match sys::write_file(OOM_SCORE_FILE, b"-1000") {
        Ok(()) => OomScore { text: before, is_required: false },
        Err(_) => OomScore::default(),
    }
}

/// Has the kernel make room for many descriptors at once. It would double the room as they come, and
/// each time let a process with threads wait for all processors, 10 ms and more. So: before there are threads.
pub(crate) fn make_room_for_descriptors(any: impl AsFd) {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    let highest = limit.unwrap_or(DESCRIPTORS).min(DESCRIPTORS).saturating_sub(1);
    let highest = i32::try_from(highest).unwrap_or_default();
    // Opened and closed: the room stays. Without it all works, only slower.
    rustix::io::fcntl_dupfd_cloexec(any, highest).map(drop).ok();
}

/// For a thousand runs with some to spare; 32 KiB of the kernel's memory.
const DESCRIPTORS: u64 = 4_096;

/// What gives nothing and takes everything. In a place without devices, what gives nothing and refuses the rest: a
/// file of no bytes that is sealed.
fn nothing() -> io::Result<OwnedFd> {
    let opened = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    if let Ok(null) = opened {
        return Ok(null);
    }
    let empty = rustix::fs::memfd_create("nothing", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::fcntl_add_seals(&empty, SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(empty)
}

/// To whoever watches our standard error; there may be nobody.
fn complain(text: &str) {
    rustix::io::write(io::stderr(), format!("mcsup: {text}\n").as_bytes()).ok();
}
