//! What the keeper and the supervisor say to each other.
//!
//! One packet of the `SOCK_SEQPACKET` link holds many messages; a message is at most 64 KiB in the
//! packet, larger payloads travel in a sealed memfd whose descriptor comes with it. Integers are
//! little-endian, strings carry a 32-bit length. The first message of each side is a hello with
//! `VERSION`; a version is read one back.

use std::sync::Arc;

pub use crate::init::Finale;
/// Signals that both rings understand.
pub(crate) use crate::init::{HALT, HALT_NOW, POWER_OFF, POWER_OFF_NOW, REBOOT, REBOOT_NOW};

/// Raised when the meaning of any message changes.
pub const VERSION: u16 = 2;

/// May the other ring speak this version? A supervisor that was upgraded first meets an older
/// keeper, so a version is read one back; never a newer one, and there is none before the first.
pub fn is_read(version: u16) -> bool {
    is_read_by(VERSION, version)
}

fn is_read_by(own: u16, version: u16) -> bool {
    version == own || (own > 1 && version.checked_add(1) == Some(own))
}

/// Main runs are numbered by the engine from 1; helpers (probes, stop commands) by the
/// supervisor, with this bit set. The keeper only tells them apart by it.
pub const HELPER_BIT: u64 = 1 << 63;

/// Supervisor to keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// First message. The keeper answers with `Report::Hello` and the handover.
    Hello {
        version: u16,
        pid: u32,
    },
    Spawn(Box<SpawnOrder>),
    Signal {
        run: u64,
        signal: u8,
        scope: Scope,
    },
    /// Forget this run's row. Its exit was accounted for.
    Release {
        run: u64,
    },
    /// Store, unparsed, replacing what was there; an empty value removes the key.
    Remember {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// Take over a run whose keeper died; comes with what `AdoptOrder::carries` names.
    Adopt(Box<AdoptOrder>),
    /// The unit of this run is called otherwise by now, or its log is kept otherwise: the run goes on so, with
    /// what was logged of it so far, where the new place is free. It is still found by the name of its spawn.
    Relog {
        run: u64,
        unit: String,
        /// `None`: as before.
        log: Option<LogOrder>,
    },
    /// Keep the listening socket that comes with it under this key, for every run whose order names it.
    Hold {
        key: String,
    },
    /// Close the socket of this key.
    LetGo {
        key: String,
    },
    /// Close what the unit stored by the notify protocol.
    ForgetStored {
        unit: String,
    },
    /// Limits of all logs together, and trouble reporting.
    LogTotal {
        bytes: u64,
    },
    /// How long a shutdown may take that the keeper must lead by itself.
    ShutdownTimeout {
        ms: u64,
    },
    /// Answer with `Report::Pong` at once.
    Ping {
        number: u64,
    },
    /// The answer to `Report::Ping`.
    Pong {
        number: u64,
    },
    /// Nothing lives any more that matters: end with this status. Whatever is left is killed.
    Quit {
        code: u8,
    },
    /// Let the executable that lies under the keeper's own path now read a copy of the table. Answered by
    /// `Report::Rehearsed`; nothing else comes of it.
    Rehearse,
    /// Become what was rehearsed. Whoever says so says nothing more until it is answered: by the end of the
    /// link, as another supervisor takes over, or by `Report::Replaced` that says why it cannot be.
    Replace,
    /// The supervisor has taken over all that there was, and what it was told is decided.
    Ready,
    /// As `Quit`, before anything was begun: there are no units to be had. Process 1 of a machine tries again.
    CannotBegin {
        code: u8,
    },
    /// What becomes of the machine, or the container, once all is over. Only process 1 does anything about it.
    AtEnd {
        finale: Finale,
    },
}

/// Keeper to supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Hello {
        version: u16,
        pid: u32,
        /// This keeper started the supervisor this many times before.
        restarts: u32,
        /// Three deaths in 60 s: come up in safe mode.
        safe_mode: bool,
    },
    /// One row of the table, with the descriptors that `Row::carries` names.
    Row(Box<Row>),
    /// A listening socket that is held under this key, and comes with it. Part of the handover.
    Held {
        key: String,
    },
    /// One remembered pair.
    Note {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// The handover is complete; what follows is news.
    HandedOver {
        rows: u32,
        notes: u32,
    },
    /// exec succeeded. Comes with duplicates of what `carries` names.
    Spawned {
        run: u64,
        pid: u32,
        start_time: u64,
        carries: Vec<Carried>,
    },
    /// One datagram of the run's notify socket, as it came, from one who may send it.
    Notified {
        run: u64,
        text: Vec<u8>,
    },
    /// A newline came on the run's ready pipe.
    ReadyShown {
        run: u64,
    },
    /// The run told that another of its processes is the main one. Comes with its pidfd.
    MainChanged {
        run: u64,
        pid: u32,
        start_time: u64,
    },
    SpawnFailed {
        run: u64,
        step: Step,
        errno: i32,
    },
    Exited {
        run: u64,
        exit: Exit,
        usage: Usage,
        is_empty: bool,
        /// Where its log ended then: what stands behind it is the next run's. No inode: it wrote nothing.
        /// `None`: not known.
        log_end: Option<LogPlace>,
    },
    Emptied {
        run: u64,
    },
    /// A terminal or shutdown signal that the keeper received.
    Signalled {
        signal: u8,
        sender_pid: u32,
    },
    /// A log cannot be written: bytes lost so far; errno 0 says that it can again.
    LogTrouble {
        unit: String,
        errno: i32,
        lost_bytes: u64,
    },
    /// A process that no run owns was reaped (orphans as PID 1 or subreaper), so many so far.
    Strangers {
        reaped: u64,
    },
    Ping {
        number: u64,
    },
    Pong {
        number: u64,
    },
    /// What came of `Order::Rehearse`.
    Rehearsed {
        /// Of this try to replace both rings; counted from 1 as long as there is this keeper.
        number: u32,
        /// What the other executable calls its version.
        version: String,
        /// Why it cannot take over.
        trouble: Option<String>,
    },
    /// How the last try to replace both rings ended. Part of every handover once there was one.
    Replaced(Box<Replacement>),
}

/// How a try to replace both rings by another executable ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replacement {
    pub number: u32,
    /// Versions, as they call themselves.
    pub from: String,
    pub to: String,
    /// Why the one before goes on.
    pub trouble: Option<String>,
    /// No supervisor has said `Ready` since.
    pub is_news: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The leader.
    Main,
    /// Everything of the run: its process group, its session, and orphans that carry its `MCSUP_RUN`.
    All,
}

/// Everything resolved: the child makes system calls only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpawnOrder {
    pub run: u64,
    /// The unit's name: shown, and part of `MCSUP_RUN`.
    pub unit: String,
    pub ordinal: u32,
    /// The path to exec; already looked up in PATH.
    pub program: Vec<u8>,
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`; the keeper adds `MCSUP_RUN=UNIT#ORDINAL:RUN`.
    pub env: Vec<Vec<u8>>,
    pub working_dir: Vec<u8>,
    pub credentials: Option<Credentials>,
    pub limits: Vec<Limit>,
    pub oom_score_adjust: Option<i16>,
    /// Where its output goes. Without one: to the `Given::Output`, else to /dev/null.
    pub log: Option<LogOrder>,
    /// Killed with everything it started after this long; 0: never. For helpers.
    pub timeout_ms: u64,
    /// What it finds open besides.
    pub given: Vec<Given>,
    /// It gets a socket of its own, named in `NOTIFY_SOCKET`.
    pub notify: bool,
    /// Comes back in the row.
    pub log_place: Option<LogPlace>,
    /// It gets a cgroup of its own, where the keeper has any.
    pub cgroup: Option<CgroupOrder>,
    pub confinement: Option<Box<Confinement>>,
}

/// A run's own cgroup, in that of its unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupOrder {
    /// Files of the unit's group, with what is written to each first.
    pub settings: Vec<(String, String)>,
}

/// What a child takes upon itself before its program runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    pub umask: Option<u32>,
    pub nice: Option<i32>,
    /// Empty: whatever the keeper may run on.
    pub cpus: Vec<u16>,
    pub no_new_privileges: bool,
    /// Bit n stands for the capability of number n. `None`: they are left to the kernel.
    pub capabilities: Option<u64>,
    /// `Some`: nothing but what lies below these may be changed.
    pub writable: Option<Vec<Vec<u8>>>,
    pub private_tmp: bool,
    /// Names, and the files that are copied.
    pub credentials: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the copies are found by it alone.
    pub credentials_dir: Vec<u8>,
}

/// A descriptor of the new process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// The descriptor that came with the order is its standard output and error.
    Output,
    /// The next descriptor that came with the order is its standard input, in place of /dev/null.
    Input,
    /// The next one from 3 on is the socket held under this key, called this in `LISTEN_FDNAMES`. What
    /// the unit stored itself follows after the last of these.
    Listen { key: String, name: String },
    /// This one, from 3 on, is the write end of a new pipe: a newline on it means ready.
    ReadyPipe { number: u8 },
}

/// What a descriptor is that comes with a message, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Of the main process.
    Pidfd,
    /// The read end of the pipe that its output goes through.
    Output,
    /// The socket that it tells the keeper of itself by.
    Notify,
    /// The read end of its ready pipe.
    Ready,
    /// The read end of the pipe of the stream that is kept apart.
    Kept,
}

/// A place in a unit's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPlace {
    /// Of what was its newest file; 0: there was none.
    pub inode: u64,
    /// When that file was made, nanoseconds since 1970; 0 where nobody was asked or can tell.
    pub born: u64,
    pub offset: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// RLIMIT_* number of the running kernel.
    pub resource: u32,
    /// u64::MAX: unlimited.
    pub soft: u64,
    pub hard: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOrder {
    /// Directory of this unit's log; made at the first byte.
    /// Shared by all who keep the order.
    pub dir: Arc<[u8]>,
    pub max_size_bytes: u64,
    /// 0: no rotation by age.
    pub max_age_ms: u64,
    pub keep: u16,
    pub block_when_full: bool,
    /// One of the two streams goes to a file of this run as well.
    pub kept: Option<KeptOrder>,
}

/// A stream that is kept apart, for whoever judges it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptOrder {
    /// The file; there is one even if nothing is written, and none once a byte of it was lost.
    pub path: Arc<[u8]>,
    /// What is more goes to the log alone.
    pub most_bytes: u64,
    /// Standard error; else standard output.
    pub is_stderr: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdoptOrder {
    pub run: u64,
    pub unit: String,
    /// As in its row.
    pub spawned_as: Option<String>,
    pub ordinal: u32,
    pub pid: u32,
    /// Field 22 of /proc/PID/stat.
    pub start_time: u64,
    /// CLOCK_BOOTTIME nanoseconds of the order that started it; 0: not known, as of now.
    pub spawned_at: u64,
    /// Its main process has ended, and only what that left behind is handed over.
    pub exit: Option<Exit>,
    pub log: Option<LogOrder>,
    pub carries: Vec<Carried>,
    pub is_ready_shown: bool,
    pub log_place: Option<LogPlace>,
}

/// One run as the keeper knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub run: u64,
    pub unit: String,
    /// What its unit was called when it was spawned, where that was otherwise: its `MCSUP_RUN` says so for ever.
    pub spawned_as: Option<String>,
    pub ordinal: u32,
    pub pid: u32,
    pub start_time: u64,
    /// CLOCK_BOOTTIME nanoseconds of the order.
    pub spawned_at: u64,
    pub stage: Stage,
    pub log: Option<LogOrder>,
    pub carries: Vec<Carried>,
    /// It said `READY=1`, or a newline on its ready pipe, at some time.
    pub is_ready_shown: bool,
    pub log_place: Option<LogPlace>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    Spawning,
    Live,
    SpawnFailed {
        step: Step,
        errno: i32,
    },
    Exited {
        exit: Exit,
        usage: Usage,
        is_empty: bool,
        log_end: Option<LogPlace>,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exit {
    Code(u8),
    Signal {
        number: u8,
        dumped_core: bool,
    },
    #[default]
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub user_us: u64,
    pub system_us: u64,
    pub max_rss_kib: u64,
}

/// The step of a spawn that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    #[default]
    Prepare,
    Clone,
    Session,
    Limits,
    OomScore,
    Groups,
    Setgid,
    Setuid,
    Chdir,
    Descriptors,
    Exec,
    Timeout,
    Cgroup,
    Nice,
    CpuAffinity,
    PrivateTmp,
    Credentials,
    ReadOnly,
    NoNewPrivileges,
    Capabilities,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_one_back_and_never_ahead() {
        let read_by =
            |own: u16| (0..=own + 2).filter(|version| is_read_by(own, *version)).collect::<Vec<_>>();
        assert_eq!(read_by(1), [1], "nothing came before the first");
        assert_eq!(read_by(2), [1, 2]);
        assert_eq!(read_by(7), [6, 7]);
        assert!(is_read(VERSION));
        assert!(!is_read_by(u16::MAX, 0));
    }
}
