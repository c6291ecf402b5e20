//! What the keeper and the supervisor say to each other.
//!
//! One packet of the `SOCK_SEQPACKET` link holds many messages; a message is at most 64 KiB in the
//! packet, larger payloads travel in a sealed memfd whose descriptor comes with it. Integers are
//! little-endian, strings carry a 32-bit length. The first message of each side is a hello with
//! `VERSION`; a version is read one back.

use std::sync::Arc;

/// Raised when the meaning of any message changes.
pub const VERSION: u16 = 1;

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
    /// Take over a run whose keeper died; comes with its pidfd and, where it has one, the read end of its pipe(s).
    Adopt(Box<AdoptOrder>),
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
    /// One row of the table, with the run's descriptors.
    Row(Box<Row>),
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
    /// exec succeeded. Comes with duplicates: the pidfd, then the read end of each pipe.
    Spawned {
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
    /// Where its output goes. Without one: to the descriptor that came with the order, else to /dev/null.
    pub log: Option<LogOrder>,
    /// Killed with everything it started after this long; 0: never. For helpers.
    pub timeout_ms: u64,
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
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdoptOrder {
    pub run: u64,
    pub unit: String,
    pub ordinal: u32,
    pub pid: u32,
    /// Field 22 of /proc/PID/stat.
    pub start_time: u64,
    /// CLOCK_BOOTTIME nanoseconds of the order that started it; 0: not known, as of now.
    pub spawned_at: u64,
    /// Its main process has ended, and only what that left behind is handed over.
    pub exit: Option<Exit>,
    pub log: Option<LogOrder>,
}

/// One run as the keeper knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub run: u64,
    pub unit: String,
    pub ordinal: u32,
    pub pid: u32,
    pub start_time: u64,
    /// CLOCK_BOOTTIME nanoseconds of the order.
    pub spawned_at: u64,
    pub stage: Stage,
    pub log: Option<LogOrder>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Spawning,
    Live,
    SpawnFailed { step: Step, errno: i32 },
    Exited { exit: Exit, usage: Usage, is_empty: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(u8),
    Signal { number: u8, dumped_core: bool },
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub user_us: u64,
    pub system_us: u64,
    pub max_rss_kib: u64,
}

/// The step of a spawn that failed, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
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
