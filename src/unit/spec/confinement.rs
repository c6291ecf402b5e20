//! What the processes of a unit may use and do: how much of the machine, and which of its powers.

use std::fmt;

/// Everything of it that a unit says; boxed in its definition, as most say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    pub bounds: Bounds,
    /// Permissions that new files are not given. `None`: as mcsup was started.
    pub umask: Option<u32>,
    /// -20 (takes most of the processor) to 19. `None`: as mcsup was started.
    pub nice: Option<i8>,
    /// No program that it starts gains powers, by set-user-ID or otherwise. `None`: true for every user but root.
    pub no_new_privileges: Option<bool>,
    /// All that it, and what it starts, can ever have; ordered, each once. `None`: root has all, others none.
    pub capabilities: Option<Vec<Capability>>,
    /// It changes no file but those of devices, below `writable`, and in its private directories.
    pub read_only: bool,
    /// From the root, in the order written.
    pub writable: Vec<Box<str>>,
    /// Each run has a `/tmp` and a `/var/tmp` of its own, which are gone when it is.
    pub private_tmp: bool,
    /// Processors it may run on; ordered, each once. Empty: as mcsup was started.
    pub cpu_affinity: Vec<u16>,
    /// Ordered by name.
    pub credentials: Vec<Credential>,
}

/// How much all processes of a unit together may use; enforced by its cgroup, and by nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// `None`: no limit.
    pub memory_bytes: Option<u64>,
    /// In thousandths of one processor: 1500 is one and a half. At least 10. `None`: no limit.
    pub cpu_permille: Option<u32>,
    /// Processes and threads. At least 1. `None`: no limit.
    pub tasks: Option<u64>,
    /// Where a bound cannot be enforced, it does not start; else that is only said.
    pub is_required: bool,
}

impl Bounds {
    pub fn is_any(&self) -> bool {
        let Self { memory_bytes, cpu_permille, tasks, is_required: _ } = self;
        memory_bytes.is_some() || cpu_permille.is_some() || tasks.is_some()
    }
}

/// A file that only the unit's own processes can read, under this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub name: Box<str>,
    /// Where it is copied from at each start; relative to the units directory.
    pub path: Box<str>,
}

/// A power of root's, by its number in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(pub u8);

impl Capability {
    /// `CAP_NET_BIND_SERVICE` and friends.
    pub fn name(self) -> &'static str {
        CAPABILITIES.get(usize::from(self.0)).copied().unwrap_or("")
    }

    /// Accepts `CAP_CHOWN`, `CHOWN`, and both in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let at = CAPABILITIES.iter().position(|name| name.strip_prefix("CAP_") == Some(bare))?;
        u8::try_from(at).ok().map(Self)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// By number, see capabilities(7); nothing was added since Linux 5.9.
pub const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];
