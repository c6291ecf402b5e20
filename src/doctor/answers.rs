//! What the host answered, before anybody thought about it.

/// What was asked for, or the words of the refusal.
pub(super) type Answer<T = ()> = Result<T, String>;

#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) kernel: Answer<String>,
    /// Effective user.
    pub(super) user: u32,
    /// /proc is there and shows this process.
    pub(super) proc_files: Answer,
    pub(super) pidfd: Answer,
    pub(super) clone3: Answer,
    /// Adopting the orphans of our children.
    pub(super) subreaper: Answer,
    /// Packets with descriptors between the rings.
    pub(super) packets: Answer,
    /// Sealed memory for messages that are too long for a packet.
    pub(super) sealed_memory: Answer,
    pub(super) cgroup: Cgroup,
    /// Landlock's version.
    pub(super) landlock: Answer<u32>,
    pub(super) inotify: Answer<Inotify>,
    pub(super) open_files: Limit,
    pub(super) locked_memory: Limit,
    /// Making a process the last to be killed for memory.
    pub(super) oom_score: Answer,
    /// vm.overcommit_memory.
    pub(super) overcommit: Answer<u32>,
    /// A timer that counts the time asleep.
    pub(super) boot_timer: Answer,
    /// True: somebody corrects the wall clock.
    pub(super) clock: Answer<bool>,
    pub(super) run: Place<Answer>,
    pub(super) state: Place<Answer<Disk>>,
    pub(super) log: Place<Answer>,
}

#[derive(Clone, Debug)]
pub(super) enum Cgroup {
    /// No file system of version 2 is mounted where we see it.
    NotMounted,
    /// Our own group is in none of the mounts.
    Elsewhere,
    /// A group inside ours was refused.
    Refused {
        dir: String,
        cause: String,
    },
    Writable {
        dir: String,
        controllers: Vec<String>,
        has_kill: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Inotify {
    /// Of one user; `None`: the kernel does not say.
    pub(super) instances: Option<u64>,
    pub(super) watches: Option<u64>,
}

/// Of setrlimit(2); `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) soft: Option<u64>,
    pub(super) hard: Option<u64>,
}

/// What was tried in a directory, or where that one would be made.
#[derive(Clone, Debug)]
pub(super) struct Place<T> {
    pub(super) dir: String,
    pub(super) tried: T,
}

/// What the file system of a directory can do that can be written to.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) fsync: Answer,
    pub(super) hard_links: Answer,
    pub(super) lock: Answer,
    /// What it is called, if another machine has it.
    pub(super) remote: Option<&'static str>,
}
