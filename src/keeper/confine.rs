//! What a child takes upon itself between its making and its program. Whatever can be prepared is prepared here before:
//! mounts that hang nowhere yet, a set of rules. The child itself then makes system calls only.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use landlock::{ABI, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
};
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, CpuSet};

use crate::keeper::sys;
use crate::keeper::wire::{Confinement, Credentials, Step};

/// A secret, not a file system.
const MOST_CREDENTIAL_BYTES: u64 = 1 << 20;
/// One more than the highest number that capset(2) has room for.
const CAPABILITIES: u32 = 64;
/// What a confined program may always write to: terminals, /dev/null, and whatever else is no file.
const DEVICES: &str = "/dev";
const SHARED_MEMORY: &str = "/dev/shm";

/// Ready for the child.
#[derive(Debug, Default)]
pub(super) struct Confined {
    umask: Option<Mode>,
    nice: Option<i32>,
    cpus: Option<Cpus>,
    no_new_privileges: bool,
    capabilities: Option<CapabilitySet>,
    mounts: Vec<Mount>,
    rules: Option<OwnedFd>,
}

/// `CpuSet` itself does not say what is in it.
#[derive(Clone, Copy)]
struct Cpus(CpuSet);

impl std::fmt::Debug for Cpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cpus({})", self.0.count())
    }
}

/// A file system that hangs nowhere yet.
#[derive(Debug)]
struct Mount {
    step: Step,
    source: OwnedFd,
    target: CString,
    /// The target and what is above it, from the root: made where they are missing.
    way: Vec<CString>,
    is_read_only: bool,
}

type Failed = (Step, Errno);

impl Confined {
    /// # Errors
    /// With the step that cannot be prepared.
    pub(super) fn new(order: &Confinement, credentials: Option<&Credentials>) -> Result<Self, Failed> {
        let mut mounts = Vec::new();
        if order.private_tmp {
            for target in ["/tmp", "/var/tmp"] {
                mounts.push(temporary(target).map_err(|errno| (Step::PrivateTmp, errno))?);
            }
        }
        let rules = match &order.writable {
            Some(writable) => Some(rules(writable, &mounts).map_err(|errno| (Step::ReadOnly, errno))?),
            None => None,
        };
        if !order.credentials.is_empty() {
            let mount = secrets(order, credentials).map_err(|errno| (Step::Credentials, errno))?;
            mounts.push(mount);
        }
        Ok(Self {
            umask: order.umask.map(Mode::from_raw_mode),
            nice: order.nice,
            cpus: cpus(&order.cpus),
            no_new_privileges: order.no_new_privileges,
            capabilities: order.capabilities.map(CapabilitySet::from_bits_retain),
            mounts,
            rules,
        })
    }

    /// It changes what a child that borrows our memory must not change.
    pub(super) fn needs_own_memory(&self) -> bool {
        self.capabilities.is_some() || !self.mounts.is_empty() || self.rules.is_some()
    }

    /// In the child, while it still has all our powers.
    pub(super) fn enter(&self) -> Result<(), Failed> {
        let at = |step| move |errno| (step, errno);
        if let Some(nice) = self.nice {
            rustix::process::setpriority_process(None, nice).map_err(at(Step::Nice))?;
        }
        if let Some(Cpus(cpus)) = &self.cpus {
            rustix::thread::sched_setaffinity(None, cpus).map_err(at(Step::CpuAffinity))?;
        }
        if let Some(first) = self.mounts.first() {
            sys::unshare_mounts().map_err(at(first.step))?;
            let apart = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            rustix::mount::mount_change(c"/", apart).map_err(at(first.step))?;
        }
        for mount in &self.mounts {
            mount.attach().map_err(at(mount.step))?;
        }
        if let Some(umask) = self.umask {
            rustix::process::umask(umask);
        }
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(at(Step::NoNewPrivileges))?;
        }
        if let Some(rules) = &self.rules {
            sys::restrict_by(rules).map_err(at(Step::ReadOnly))?;
        }
        if let Some(kept) = self.capabilities {
            for one in every_capability().filter(|one| !kept.contains(*one)) {
                match rustix::thread::remove_capability_from_bounding_set(one) {
                    // Beyond the last one that this kernel knows.
                    Err(Errno::INVAL) => break,
                    other => other.map_err(at(Step::Capabilities))?,
                }
            }
            // Or the change of the user would take them all.
            rustix::thread::set_keep_capabilities(true).map_err(at(Step::Capabilities))?;
        }
        Ok(())
    }

    /// In the child, once it is its user.
    pub(super) fn take_powers(&self) -> Result<(), Failed> {
        let Some(kept) = self.capabilities else { return Ok(()) };
        let at = |errno| (Step::Capabilities, errno);
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
        rustix::thread::set_capabilities(None, sets).map_err(at)?;
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        for one in every_capability().filter(|one| kept.contains(*one)) {
            rustix::thread::configure_capability_in_ambient_set(one, true).map_err(at)?;
        }
        Ok(())
    }
}

impl Mount {
    fn attach(&self) -> Result<(), Errno> {
        for part in &self.way {
            // There already, mostly; what cannot be made is told by the mount.
            rustix::fs::mkdir(part.as_c_str(), Mode::from_raw_mode(0o755)).ok();
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let target = self.target.as_c_str();
        rustix::mount::move_mount(self.source.as_fd(), c"", rustix::fs::CWD, target, flags)?;
        if self.is_read_only {
            let flags = MountFlags::BIND
                | MountFlags::RDONLY
                | MountFlags::NOSUID
                | MountFlags::NODEV
                | MountFlags::NOEXEC;
            rustix::mount::mount_remount(target, flags, c"")?;
        }
        Ok(())
    }
}

fn every_capability() -> impl Iterator<Item = CapabilitySet> {
    (0..CAPABILITIES).map(|number| CapabilitySet::from_bits_retain(1_u64.checked_shl(number).unwrap_or(0)))
}

fn cpus(numbers: &[u16]) -> Option<Cpus> {
    if numbers.is_empty() {
        return None;
    }
    let mut set = CpuSet::new();
    for number in numbers.iter().map(|number| usize::from(*number)).filter(|number| *number < CpuSet::MAX_CPU)
    {
        set.set(number);
    }
    Some(Cpus(set))
}

fn detached(kind: &str, mode: &str, flags: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "mode", mode)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

fn temporary(target: &str) -> Result<Mount, Errno> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let source = detached("tmpfs", "1777", flags)?;
    let target = CString::new(target).map_err(|_nul| Errno::INVAL)?;
    Ok(Mount { step: Step::PrivateTmp, source, way: Vec::new(), target, is_read_only: false })
}

/// In memory that is never swapped out, where the kernel has such a file system.
fn secrets(order: &Confinement, credentials: Option<&Credentials>) -> Result<Mount, Errno> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let source = detached("ramfs", "0500", flags).or_else(|_| detached("tmpfs", "0500", flags))?;
    let owner = credentials.map(|own| (Uid::from_raw(own.uid), Gid::from_raw(own.gid)));
    for (name, path) in &order.credentials {
        let text = secret(Path::new(OsStr::from_bytes(path)))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&source, name.as_slice(), flags, Mode::from_raw_mode(0o400))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o400))?;
        if let Some((uid, gid)) = owner {
            rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        File::from(file).write_all(&text).map_err(|error| errno_of(&error))?;
    }
    if let Some((uid, gid)) = owner {
        // The descriptor of a mount takes no calls by itself.
        rustix::fs::chownat(&source, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    let directory = PathBuf::from(OsStr::from_bytes(&order.credentials_dir));
    let way: Vec<&Path> = directory.ancestors().filter(|part| part.parent().is_some()).collect();
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_nul| Errno::INVAL);
    Ok(Mount {
        step: Step::Credentials,
        source,
        way: way.into_iter().rev().map(text).collect::<Result<_, _>>()?,
        target: text(&directory)?,
        is_read_only: true,
    })
}

/// Never waits for a pipe that nobody writes to.
fn secret(path: &Path) -> Result<Vec<u8>, Errno> {
    use std::io::Read as _;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata().map_err(|error| errno_of(&error))?.is_file() {
        return Err(Errno::INVAL);
    }
    let mut text = Vec::new();
    file.take(MOST_CREDENTIAL_BYTES.saturating_add(1))
        .read_to_end(&mut text)
        .map_err(|error| errno_of(&error))?;
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    if length > MOST_CREDENTIAL_BYTES { Err(Errno::FBIG) } else { Ok(text) }
}

/// Nothing may be changed but what lies below these. What an older kernel does not know of it does not keep.
fn rules(writable: &[Vec<u8>], mounts: &[Mount]) -> Result<OwnedFd, Errno> {
    let all = AccessFs::from_write(ABI::V3);
    let refused = |_error| Errno::OPNOTSUPP;
    let mut rules = Ruleset::default().handle_access(all).and_then(Ruleset::create).map_err(refused)?;
    for path in writable {
        let place = PathFd::new(OsStr::from_bytes(path)).map_err(|_error| missing(path))?;
        rules = rules.add_rule(PathBeneath::new(place, all)).map_err(refused)?;
    }
    for mount in mounts {
        rules = rules.add_rule(PathBeneath::new(mount.source.as_fd(), all)).map_err(refused)?;
    }
    let write = AccessFs::WriteFile | AccessFs::Truncate;
    for (path, access) in [(DEVICES, write), (SHARED_MEMORY, all)] {
        if let Ok(place) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(place, access)).map_err(refused)?;
        }
    }
    Option::from(rules).ok_or(Errno::OPNOTSUPP)
}

/// The crate wraps the number; the kernel says it again.
fn missing(path: &[u8]) -> Errno {
    let path = Path::new(OsStr::from_bytes(path));
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).err().unwrap_or(Errno::AGAIN)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
