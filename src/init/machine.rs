//! A machine that the kernel has just handed over: is it one, and what it lacks.

use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::SigSet;
use rustix::mount::MountFlags;
use rustix::system::RebootCommand;

use crate::init::{say, sys};

/// Are we the first process of a machine, and not of a container? Mounts /proc where it is missing: who is not told by
/// it is told by nothing else.
///
/// The pid namespace of a machine is the one that the kernel begins with, and that has had one number for ever. Some
/// containers share even that, with process 1 in it: they say so in the environment.
pub(crate) fn is_here() -> bool {
    if std::process::id() != 1 || std::env::var_os("container").is_some() {
        return false;
    }
    mount(&PROC).ok();
    fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name == Path::new(FIRST_NAMESPACE))
}

/// `PROC_PID_INIT_INO` of the kernel.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Mounts what is missing, gives the machine its name and its loopback, and has Ctrl-Alt-Del come as SIGINT. What
/// cannot be had is said, and done without.
pub(crate) fn prepare() {
    // A signal that we do not know must not be missed, and ends nothing.
    SigSet::all().thread_block().ok();
    for place in [PROC, SYS, DEV, PTS, SHM, RUN, CGROUP] {
        let is_worse = |error: &rustix::io::Errno| place.is_needed || *error != rustix::io::Errno::NODEV;
        if let Err(error) = mount(&place)
            && is_worse(&error)
        {
            say(&format!("cannot mount {}: {error}", place.path));
        }
    }
    name_machine();
    if let Err(error) = sys::loopback_up() {
        say(&format!("cannot set up the loopback: {error}"));
    }
    if let Err(error) = rustix::system::reboot(RebootCommand::CadOff) {
        say(&format!("cannot take Ctrl-Alt-Del: {error}"));
    }
}

/// The shell that the kernel's command line asks for with `mcsup.emergency_shell`, or `mcsup.emergency_shell=PATH`.
pub(crate) fn emergency_shell() -> Option<PathBuf> {
    shell_in(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
}

fn shell_in(line: &str) -> Option<PathBuf> {
    let value = line.split_whitespace().find_map(|word| word.strip_prefix("mcsup.emergency_shell"))?;
    match value.strip_prefix('=') {
        Some(path) if path.starts_with('/') => Some(path.into()),
        Some(_) => None,
        None => value.is_empty().then(|| SHELL.into()),
    }
}

/// Which every machine with a shell has.
pub(crate) const SHELL: &str = "/bin/sh";

struct Place {
    path: &'static str,
    kind: &'static str,
    flags: MountFlags,
    options: &'static CStr,
    /// Else a kernel that was built without it is nobody's fault.
    is_needed: bool,
}

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const STRICT: MountFlags = QUIET.union(MountFlags::NOEXEC);
const PROC: Place = place("/proc", "proc", STRICT, c"");
const SYS: Place = place("/sys", "sysfs", STRICT, c"");
const DEV: Place = place("/dev", "devtmpfs", MountFlags::NOSUID, c"mode=0755");
/// Group 5 is `tty` wherever terminals have one.
const PTS: Place = place(
    "/dev/pts",
    "devpts",
    MountFlags::NOSUID.union(MountFlags::NOEXEC),
    c"gid=5,mode=0620,ptmxmode=0666",
);
const SHM: Place = place("/dev/shm", "tmpfs", QUIET, c"mode=1777");
const RUN: Place = place("/run", "tmpfs", QUIET, c"mode=0755");
const CGROUP: Place = Place {
    is_needed: false,
    ..place("/sys/fs/cgroup", "cgroup2", STRICT, c"nsdelegate,memory_recursiveprot")
};

const fn place(path: &'static str, kind: &'static str, flags: MountFlags, options: &'static CStr) -> Place {
    Place { path, kind, flags, options, is_needed: true }
}

/// Where nothing is mounted yet.
fn mount(place: &Place) -> Result<(), rustix::io::Errno> {
    let path = Path::new(place.path);
    fs::create_dir_all(path).ok();
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let is_mounted = device(path).is_some_and(|own| path.parent().and_then(device) != Some(own));
    if is_mounted {
        return Ok(());
    }
    match rustix::mount::mount(place.kind, path, place.kind, place.flags, place.options) {
        // An older kernel, that does not know all of the options.
        Err(rustix::io::Errno::INVAL) => rustix::mount::mount(place.kind, path, place.kind, place.flags, c""),
        other => other,
    }
}

fn name_machine() {
    let text = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let mut names = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let name = match names.next() {
        Some(name) => name,
        // Nobody named it: not the kernel's command line either.
        None if rustix::system::uname().nodename() == c"(none)" => "localhost",
        None => return,
    };
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        say(&format!("cannot name the machine {name}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_there_where_the_kernel_was_told_of_one() {
        for (line, shell) in [
            ("root=/dev/vda1 quiet", None),
            ("quiet mcsup.emergency_shell console=ttyS0", Some("/bin/sh")),
            ("mcsup.emergency_shell=/bin/busybox-sh", Some("/bin/busybox-sh")),
            ("mcsup.emergency_shell=sh", None),
            ("mcsup.emergency_shells", None),
        ] {
            assert_eq!(shell_in(line), shell.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn nobody_takes_a_test_for_process_1_of_a_machine() {
        assert!(!is_here());
    }
}
