//! The questions. What can be tried is tried, for a file of limits says nothing of a filter above it.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::event::epoll;
use rustix::fs::{FlockOperation, MemfdFlags, SealFlags, flock, inotify, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{PidfdFlags, Resource, getpid, getrlimit, pidfd_open, set_child_subreaper};
use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

use crate::doctor::Places;
use crate::doctor::answers::{Answer, Answers, Cgroup, Disk, Inotify, Limit, Place};
use crate::doctor::sys;
use crate::supervisor::change::remote;

pub(super) fn all(places: &Places) -> Answers {
    Answers {
        kernel: Ok(rustix::system::uname().release().to_string_lossy().into_owned()),
        user: rustix::process::geteuid().as_raw(),
        proc_files: proc_files(),
        pidfd: answer(pidfd_open(getpid(), PidfdFlags::empty())).map(drop),
        clone3: answer(sys::clone3()),
        subreaper: answer(set_child_subreaper(Some(getpid()))),
        packets: packets(),
        sealed_memory: sealed_memory(),
        cgroup: cgroup(),
        landlock: answer(sys::landlock()),
        inotify: heard(),
        open_files: limit(Resource::Nofile),
        locked_memory: limit(Resource::Memlock),
        oom_score: answer(fs::write("/proc/self/oom_score_adj", "-1000")),
        overcommit: answer(fs::read_to_string("/proc/sys/vm/overcommit_memory"))
            .and_then(|text| answer(text.trim().parse())),
        boot_timer: answer(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)).map(drop),
        clock: answer(sys::is_clock_right()),
        run: at(&places.run, |dir| answer(UnixListener::bind(dir.join("socket"))).map(drop)),
        state: at(&places.state, disk),
        log: at(&places.log, |dir| answer(File::create(dir.join("file"))).map(drop)),
    }
}

fn answer<T, E: Display>(result: Result<T, E>) -> Answer<T> {
    result.map_err(|error| error.to_string())
}

/// It may be absent, or that of another pid namespace, in which numbers mean other processes.
fn proc_files() -> Answer {
    let stat = answer(fs::read_to_string("/proc/self/stat"))?;
    let shown = stat.split(' ').next().unwrap_or_default();
    if shown == std::process::id().to_string() {
        Ok(())
    } else {
        Err(format!("it calls process {} by the number {shown}", std::process::id()))
    }
}

fn packets() -> Answer {
    answer(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None))?;
    answer(epoll::create(epoll::CreateFlags::CLOEXEC)).map(drop)
}

fn sealed_memory() -> Answer {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = answer(memfd_create("mcsup-doctor", flags))?;
    answer(rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE))
}

fn heard() -> Answer<Inotify> {
    let ears = answer(inotify::init(inotify::CreateFlags::CLOEXEC))?;
    answer(inotify::add_watch(&ears, "/", inotify::WatchFlags::MOVE_SELF))?;
    let most =
        |name: &str| fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok();
    Ok(Inotify { instances: most("max_user_instances"), watches: most("max_user_watches") })
}

fn limit(of: Resource) -> Limit {
    let limit = getrlimit(of);
    Limit { soft: limit.current, hard: limit.maximum }
}

fn cgroup() -> Cgroup {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mounts = cgroup_mounts(&read("/proc/self/mountinfo"));
    if mounts.is_empty() {
        return Cgroup::NotMounted;
    }
    let Some(dir) = own_cgroup(&mounts, &read("/proc/self/cgroup")) else { return Cgroup::Elsewhere };
    let trial = dir.join(format!("mcsup-doctor-{}", std::process::id()));
    let text = dir.display().to_string();
    if let Err(cause) = fs::create_dir(&trial) {
        return Cgroup::Refused { dir: text, cause: cause.to_string() };
    }
    let has_kill = trial.join("cgroup.kill").exists();
    // A group without processes goes at once.
    drop(fs::remove_dir(&trial));
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let controllers = controllers.split_whitespace().map(str::to_owned).collect();
    Cgroup::Writable { dir: text, controllers, has_kill }
}

/// Root inside the file system, and where it is mounted, of each mount of version 2.
fn cgroup_mounts(mountinfo: &str) -> Vec<(PathBuf, PathBuf)> {
    let mount = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind.split(' ').next() == Some("cgroup2")).then(|| (root.into(), point.into()))
    };
    mountinfo.lines().filter_map(mount).collect()
}

fn own_cgroup(mounts: &[(PathBuf, PathBuf)], own: &str) -> Option<PathBuf> {
    let own = Path::new(own.lines().find_map(|line| line.strip_prefix("0::"))?);
    let place = |(root, point): &(PathBuf, PathBuf)| {
        Some(point.join(own.strip_prefix(root).ok()?).components().collect())
    };
    mounts.iter().find_map(place)
}

fn disk(dir: &Path) -> Answer<Disk> {
    let (path, link) = (dir.join("file"), dir.join("link"));
    let mut file = answer(File::create(&path))?;
    answer(file.write_all(b"mcsup"))?;
    Ok(Disk {
        fsync: answer(file.sync_all()).and_then(|()| answer(File::open(dir).and_then(|dir| dir.sync_all()))),
        hard_links: answer(fs::hard_link(&path, link)),
        lock: answer(flock(&file, FlockOperation::NonBlockingLockExclusive)),
        remote: remote::kind(dir),
    })
}

/// Tries something in a directory of its own inside of `wanted`, or inside of what is there of the way to it.
fn at<T>(wanted: &Path, what: impl FnOnce(&Path) -> Answer<T>) -> Place<Answer<T>> {
    let there = wanted.ancestors().find(|dir| dir.is_dir()).unwrap_or_else(|| Path::new("/"));
    let tried = answer(Trial::inside(there)).and_then(|trial| what(&trial.0));
    Place { dir: wanted.display().to_string(), tried }
}

/// A directory that goes again.
struct Trial(PathBuf);

impl Trial {
    fn inside(dir: &Path) -> io::Result<Self> {
        let trial = dir.join(format!(".mcsup-doctor-{}", std::process::id()));
        fs::create_dir(&trial)?;
        Ok(Self(trial))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_under_whatever_part_of_the_tree_is_mounted() {
        let info = "29 23 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                    30 23 0:27 /box /sys/fs/cgroup rw,nosuid shared:9 master:1 - cgroup2 cgroup2 rw\n";
        let mounts = cgroup_mounts(info);
        assert_eq!(mounts, [(PathBuf::from("/box"), PathBuf::from("/sys/fs/cgroup"))]);
        let own = |text: &str| own_cgroup(&mounts, text);
        assert_eq!(own("1:cpu:/\n0::/box/mcsup.service\n"), Some("/sys/fs/cgroup/mcsup.service".into()));
        assert_eq!(own("0::/box\n"), Some("/sys/fs/cgroup".into()));
        assert_eq!(own("0::/elsewhere\n"), None);
        assert_eq!(own("1:cpu:/\n"), None, "of version 1 alone");
    }

    #[test]
    fn a_place_that_is_not_there_yet_is_tried_where_it_would_be_made_and_left_as_it_was() {
        let base = std::env::temp_dir().join(format!("mcsup-doctor-place-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        let place = at(&base.join("not/yet"), disk);
        let disk = place.tried.unwrap();
        assert_eq!((disk.fsync, disk.hard_links, disk.lock), (Ok(()), Ok(()), Ok(())));
        assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
        fs::remove_dir(base).unwrap();
    }

    #[test]
    fn what_the_kernel_has_under_the_tests_is_found() {
        assert_eq!(answer(sys::clone3()), Ok(()));
        assert_eq!(packets(), Ok(()));
        assert_eq!(sealed_memory(), Ok(()));
        assert!(sys::is_clock_right().is_ok());
        assert_eq!(proc_files(), Ok(()));
    }
}
