//! Every `unsafe` of the program: the child's side of a spawn, waiting with resource usage, and
//! the few system calls that no safe wrapper offers.
#![expect(unsafe_code, reason = "the one place for it; each block is a single call with its reason")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::thread::{Gid, Uid};

use crate::keeper::confine::Confined;
use crate::keeper::pid_slot::PidSlot;
use crate::keeper::step::{step_number, step_of};
use crate::keeper::wire::{Credentials, Exit, Limit, Step, Usage};

/// Stack of a child that shares our memory. It calls into the kernel and nothing else; a tenth of this is used.
const CHILD_STACK_BYTES: usize = 64 * 1024;
/// As a shell says "could not be run"; nobody but the kernel ever sees it.
const CHILD_FAILED: c_int = 127;
/// From linux/sched.h; the constant of the libc crate overflows.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// As above.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const OOM_SCORE_FILE: &CStr = c"/proc/self/oom_score_adj";

/// A program ready to run: every string built, every number looked up, so that the child allocates nothing.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) program: Program,
    pub(super) argv: Strings,
    pub(super) env: Strings,
    pub(super) working_dir: Option<CString>,
    pub(super) credentials: Option<Credentials>,
    pub(super) groups: Vec<Gid>,
    pub(super) limits: Vec<Limit>,
    pub(super) oom_score: OomScore,
    /// Each source becomes its target, in this order; sources are above every target.
    pub(super) descriptors: Vec<(RawFd, RawFd)>,
    pub(super) confined: Confined,
    /// The group that it is born into.
    pub(super) cgroup: Option<OwnedFd>,
    /// Part of `env`, for a child that is passed sockets.
    pub(super) pid_slot: Option<PidSlot>,
}

#[derive(Debug)]
pub(super) enum Program {
    Path(CString),
    /// An open executable: what runs is what was opened, whatever stands at its path now.
    Descriptor(RawFd),
}

/// What to write to the child's oom_score_adj, as text.
#[derive(Clone, Debug, Default)]
pub(super) struct OomScore {
    pub(super) text: Vec<u8>,
    /// It was asked for: failing to set it fails the spawn.
    pub(super) is_required: bool,
}

/// A null-terminated array of C strings, as exec wants it.
#[derive(Debug)]
pub(super) struct Strings {
    pointers: Vec<*const c_char>,
    /// What `pointers` point into.
    _owned: Vec<CString>,
}

impl Strings {
    pub(super) fn new(owned: Vec<CString>) -> Self {
        Self::with_slot(owned, None)
    }

    /// One more string stands in `slot`, which must live as long as this does.
    pub(super) fn with_slot(owned: Vec<CString>, slot: Option<&PidSlot>) -> Self {
        let mut pointers: Vec<*const c_char> = owned.iter().map(|text| text.as_ptr()).collect();
        pointers.extend(slot.map(PidSlot::pointer));
        pointers.push(std::ptr::null());
        Self { pointers, _owned: owned }
    }
}

/// A process just made.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: i32,
    pub(super) pidfd: Option<OwnedFd>,
}

/// Where and why a child gave up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: i32,
}

impl Failure {
    fn new(step: Step, errno: Errno) -> Self {
        Self { step, errno: errno.raw_os_error() }
    }
}

/// The stack that children of one spawner thread borrow in turn.
#[derive(Debug)]
pub(super) struct ChildStack(Vec<u8>);

impl ChildStack {
    pub(super) fn new() -> Self {
        Self(vec![0; CHILD_STACK_BYTES])
    }

    /// Stacks grow down, from an address aligned to 16 on every architecture we run on.
    fn top(&mut self) -> *mut c_void {
        let end = self.0.as_mut_ptr_range().end;
        let excess = end.addr() & 15;
        end.wrapping_sub(excess).cast()
    }
}

struct Shared<'a> {
    image: &'a Image,
    failure: Option<Failure>,
    /// Left behind in our descriptor table by the child: everything from here up.
    first_foreign: RawFd,
}

/// Starts `image` in a child that borrows our memory and our descriptor table until it execs, and
/// waits for that. Only for children that keep our credentials, only off the main loop: who can
/// stop the child stops this thread. `pidfd_seat` holds the child's pidfd meanwhile, for whoever
/// must end it. Descriptors up to and without `first_foreign` are the child's.
pub(super) fn spawn_sharing(
    image: &Image,
    stack: &mut ChildStack,
    pidfd_seat: &AtomicI32,
    first_foreign: RawFd,
) -> Result<(Child, Option<Failure>), Errno> {
    pidfd_seat.store(-1, Ordering::SeqCst);
    let mut shared = Shared { image, failure: None, first_foreign };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_PIDFD | libc::SIGCHLD;
    let argument = (&raw mut shared).cast::<c_void>();
    // SAFETY: the stack, `shared` and the seat outlive the child's use of them: with CLONE_VFORK
    // this thread does not run until the child has execed or is gone, and `sharing_child` neither
    // returns into our frames nor touches anything but `shared`. All signals are blocked.
    let pid = unsafe { libc::clone(sharing_child, stack.top(), flags, argument, pidfd_seat.as_ptr()) };
    if pid < 0 {
        return Err(last_errno());
    }
    let number = pidfd_seat.swap(-1, Ordering::SeqCst);
    // SAFETY: the kernel stored a descriptor there that nobody else owns.
    let pidfd = (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) });
    Ok((Child { pid, pidfd }, shared.failure))
}

extern "C" fn sharing_child(argument: *mut c_void) -> c_int {
    // SAFETY: `spawn_sharing` passed its own `Shared`, and stands still while this runs.
    let shared = unsafe { &mut *argument.cast::<Shared<'_>>() };
    let own = unshare_descriptors(shared.first_foreign);
    let failure = match own.map_err(|errno| Failure::new(Step::Descriptors, errno)) {
        Ok(()) => become_program(shared.image),
        Err(failure) => failure,
    };
    shared.failure = Some(failure);
    leave()
}

/// Starts `image` in an ordinary copy-on-write child and does not wait: `status` (close-on-exec)
/// reads as end of file once it has execed, or gives what `read_failure` understands.
pub(super) fn spawn_copying(image: &Image, status: &OwnedFd) -> Result<Child, Errno> {
    let mut pidfd: RawFd = -1;
    let (pid, is_outside) = match clone3(&mut pidfd, image.cgroup.as_ref()) {
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::TOOBIG) => (fork()?, true),
        other => (other?, false),
    };
    if pid == 0 {
        let joined = image.cgroup.as_ref().filter(|_| is_outside).map_or(Ok(()), join);
        let failure = match joined {
            Ok(()) => become_program(image),
            Err(errno) => Failure::new(Step::Cgroup, errno),
        };
        tell_failure(status, failure);
        leave();
    }
    // SAFETY: the kernel stored a descriptor there that nobody else owns.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    Ok(Child { pid, pidfd })
}

/// What a kernel does by itself that makes a child inside a group.
fn join(group: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::openat(group, c"cgroup.procs", flags, rustix::fs::Mode::empty())?;
    rustix::io::write(&file, b"0").map(drop)
}

fn clone3(pidfd: &mut RawFd, cgroup: Option<&OwnedFd>) -> Result<i32, Errno> {
    let mut arguments = MaybeUninit::<libc::clone_args>::zeroed();
    let place = arguments.as_mut_ptr();
    // SAFETY: all bytes zero is a valid value of this struct of integers.
    let fields = unsafe { &mut *place };
    fields.flags = u64::try_from(libc::CLONE_PIDFD).unwrap_or_default() | CLONE_CLEAR_SIGHAND;
    if let Some(group) = cgroup {
        fields.flags |= CLONE_INTO_CGROUP;
        fields.cgroup = u64::try_from(group.as_raw_fd()).unwrap_or_default();
    }
    fields.pidfd = u64::try_from((&raw mut *pidfd).addr()).unwrap_or_default();
    fields.exit_signal = u64::try_from(libc::SIGCHLD).unwrap_or_default();
    // SAFETY: without CLONE_VM the child runs on a copy of this very frame, as after fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, place, size_of::<libc::clone_args>()) };
    result(pid)
}

/// For kernels before 5.3 and seccomp profiles that know no clone3.
fn fork() -> Result<i32, Errno> {
    let nothing: *mut c_void = null_mut();
    // SAFETY: no pointer is passed and no memory is shared.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, nothing, nothing, nothing, nothing) };
    result(pid)
}

/// In the child. Returns only when a step failed.
fn become_program(image: &Image) -> Failure {
    match prepare_self(image) {
        Err(failure) => failure,
        Ok(()) => Failure::new(Step::Exec, exec(image)),
    }
}

fn prepare_self(image: &Image) -> Result<(), Failure> {
    let at = |step| move |errno| Failure::new(step, errno);
    rustix::process::setsid().map_err(at(Step::Session))?;
    for limit in &image.limits {
        set_limit(limit).map_err(at(Step::Limits))?;
    }
    set_oom_score(&image.oom_score).map_err(at(Step::OomScore))?;
    let confined = |(step, errno)| Failure::new(step, errno);
    image.confined.enter().map_err(confined)?;
    if let Some(credentials) = &image.credentials {
        // The calls of the C library would look for threads that did not come along.
        let gid = Gid::from_raw(credentials.gid);
        let uid = Uid::from_raw(credentials.uid);
        rustix::thread::set_thread_groups(&image.groups).map_err(at(Step::Groups))?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at(Step::Setgid))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at(Step::Setuid))?;
    }
    image.confined.take_powers().map_err(confined)?;
    if let Some(dir) = &image.working_dir {
        rustix::process::chdir(dir.as_c_str()).map_err(at(Step::Chdir))?;
    }
    for (source, target) in &image.descriptors {
        duplicate(*source, *target).map_err(at(Step::Descriptors))?;
    }
    let first_closed = image.descriptors.iter().map(|(_, target)| target.saturating_add(1)).max();
    close_on_exec_from(first_closed.unwrap_or(3).max(3)).ok();
    if let Some(slot) = &image.pid_slot {
        slot.fill(rustix::process::getpid().as_raw_nonzero().get());
    }
    unblock_signals();
    Ok(())
}

/// The mounts of this process are its own from now on.
pub(super) fn unshare_mounts() -> Result<(), Errno> {
    // SAFETY: a view of the file system is no memory, and no descriptor is touched.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
}

/// By the rules of a Landlock ruleset, for ever.
pub(super) fn restrict_by(rules: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    result(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) }).map(drop)
}

fn set_limit(limit: &Limit) -> Result<(), Errno> {
    let value = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
    let old: *mut libc::rlimit64 = null_mut();
    // SAFETY: `value` lives across the call; the kernel checks the resource's number.
    let set = unsafe { libc::syscall(libc::SYS_prlimit64, 0, limit.resource, &raw const value, old) };
    result(set).map(drop)
}

fn set_oom_score(score: &OomScore) -> Result<(), Errno> {
    if score.text.is_empty() {
        return Ok(());
    }
    let written = write_file(OOM_SCORE_FILE, &score.text);
    if score.is_required { written } else { Ok(()) }
}

/// Allocates nothing: for a child before exec too.
pub(super) fn write_file(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    rustix::io::write(&file, text).map(drop)
}

fn duplicate(source: RawFd, target: RawFd) -> Result<(), Errno> {
    // SAFETY: numbers of the child's own table, in which nothing is owned by a Rust value.
    result(unsafe { libc::syscall(libc::SYS_dup3, source, target, 0) }).map(drop)
}

/// Makes `target`, one of the reserved numbers, stand for the same as `source`; close-on-exec.
pub(super) fn replace(source: RawFd, target: RawFd) -> Result<(), Errno> {
    // SAFETY: no Rust value owns a reserved number.
    result(unsafe { libc::syscall(libc::SYS_dup3, source, target, libc::O_CLOEXEC) }).map(drop)
}

/// Old kernels lack the call (5.9) or the flag (5.11). A child need not care: everything we open is
/// close-on-exec anyway, and what we were given was marked by `keep_for_ourselves`.
fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    let flag = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: marks descriptors, closes none.
    result(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flag) }).map(drop)
}

/// Nothing but the standard descriptors goes on to our children, whatever was left open for us.
pub(super) fn keep_for_ourselves() {
    if close_on_exec_from(3).is_ok() {
        return;
    }
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    for number in numbers.filter(|number| *number > 2) {
        // SAFETY: marks a descriptor; that of the listing itself is closed a moment later.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Gives the child a table of its own that holds only what is below `first_foreign`: a thousand
/// pipes and pidfds are then neither copied for it nor closed by its exec.
fn unshare_descriptors(first_foreign: RawFd) -> Result<(), Errno> {
    let flag = libc::CLOSE_RANGE_UNSHARE;
    // SAFETY: with UNSHARE the call works on a copy of the table; the parent's stays as it is.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first_foreign, libc::c_uint::MAX, flag) };
    match result(closed) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
            // SAFETY: gives this process a copied table; no memory is involved.
            result(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FILES) }).map(drop)
        }
        other => other.map(drop),
    }
}

fn unblock_signals() {
    let none = 0_u64;
    let nothing: *mut u64 = null_mut();
    let size = size_of::<u64>();
    // SAFETY: the kernel reads the 64 bits of `none`.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, nothing, size) };
}

fn exec(image: &Image) -> Errno {
    let argv = image.argv.pointers.as_ptr();
    let env = image.env.pointers.as_ptr();
    match &image.program {
        Program::Path(path) => {
            // SAFETY: both arrays end in a null pointer and, like the path, live as long as `image`.
            unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), argv, env) };
        }
        Program::Descriptor(number) => {
            let (number, path, flag) = (*number, c"".as_ptr(), libc::AT_EMPTY_PATH);
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_execveat, number, path, argv, env, flag) };
        }
    }
    last_errno()
}

fn leave() -> ! {
    // SAFETY: ends this process at once: no destructor of the memory it may share with us runs.
    unsafe { libc::_exit(CHILD_FAILED) }
}

fn tell_failure(status: &OwnedFd, failure: Failure) {
    let [e0, e1, e2, e3] = failure.errno.to_le_bytes();
    rustix::io::write(status, &[step_number(failure.step), e0, e1, e2, e3]).ok();
}

/// What a copied child wrote before it left; `None`: nothing, so it has execed or was killed.
pub(super) fn read_failure(status: &OwnedFd) -> Option<Failure> {
    let mut bytes = [0; 5];
    let [step, e0, e1, e2, e3] = match rustix::io::read(status, &mut bytes) {
        Ok(5) => bytes,
        Ok(_) | Err(_) => return None,
    };
    let step = step_of(step).unwrap_or(Step::Exec);
    Some(Failure { step, errno: i32::from_le_bytes([e0, e1, e2, e3]) })
}

/// Who to wait for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom {
    Pid(i32),
    /// Any child of the calling thread, and of no other. Orphans come to the main thread, while
    /// spawned children belong to the spawner threads.
    OwnOfThisThread,
}

/// A process that was waited for, or (with `peek`) could be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) pid: i32,
    pub(super) exit: Exit,
    pub(super) usage: Usage,
}

/// `Ok(None)`: nobody has ended yet.
///
/// # Errors
/// `ECHILD`: there is no such child at all.
pub(super) fn wait(whom: Whom, peek: bool) -> Result<Option<Ended>, Errno> {
    let (kind, pid, thread) = match whom {
        Whom::Pid(pid) => (libc::P_PID, pid, 0),
        Whom::OwnOfThisThread => (libc::P_ALL, 0, libc::__WNOTHREAD),
    };
    let flags = libc::WEXITED | libc::WNOHANG | thread | if peek { libc::WNOWAIT } else { 0 };
    let mut status = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let (status_at, usage_at) = (status.as_mut_ptr(), usage.as_mut_ptr());
    // SAFETY: both places are large enough for what the kernel writes.
    let waited = unsafe { libc::syscall(libc::SYS_waitid, kind, pid, status_at, flags, usage_at) };
    result(waited)?;
    // SAFETY: zeroed is a valid value, and so is what the kernel wrote.
    let status = unsafe { status.assume_init() };
    // SAFETY: as above.
    let usage = unsafe { usage.assume_init() };
    // SAFETY: the fields of a SIGCHLD, which waitid fills in; zero when nobody has ended.
    let pid = unsafe { status.si_pid() };
    // SAFETY: as above.
    let code = unsafe { status.si_status() };
    let ended = Ended { pid, exit: exit_of(status.si_code, code), usage: usage_of(&usage) };
    Ok((pid != 0).then_some(ended))
}

fn exit_of(how: c_int, code: c_int) -> Exit {
    let byte = u8::try_from(code & 0xff).unwrap_or_default();
    match how {
        libc::CLD_EXITED => Exit::Code(byte),
        libc::CLD_KILLED => Exit::Signal { number: byte, dumped_core: false },
        libc::CLD_DUMPED => Exit::Signal { number: byte, dumped_core: true },
        _ => Exit::Unknown,
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let micros = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_usec).unwrap_or_default())
    };
    Usage {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or_default(),
    }
}

/// How a process that is not our child ended: kernels from 6.15 tell who holds its pidfd.
pub(super) fn exit_of_stranger(pidfd: BorrowedFd<'_>) -> Exit {
    let mut info = MaybeUninit::<libc::pidfd_info>::zeroed();
    let place = info.as_mut_ptr();
    // SAFETY: all bytes zero is a valid value of this struct of integers.
    let fields = unsafe { &mut *place };
    fields.mask = u64::from(libc::PIDFD_INFO_EXIT);
    // SAFETY: the size in the request's number is the struct's.
    let asked = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, place) };
    if asked < 0 || fields.mask & u64::from(libc::PIDFD_INFO_EXIT) == 0 {
        return Exit::Unknown;
    }
    exit_of_status(fields.exit_code)
}

/// From what wait(2) calls a status.
pub(super) fn exit_of_status(status: c_int) -> Exit {
    let byte = |value: c_int| u8::try_from(value).unwrap_or_default();
    if libc::WIFEXITED(status) {
        Exit::Code(byte(libc::WEXITSTATUS(status)))
    } else {
        Exit::Signal { number: byte(libc::WTERMSIG(status)), dumped_core: libc::WCOREDUMP(status) }
    }
}

/// Any signal number, to the very process that `pidfd` was opened for.
pub(super) fn signal_by_pidfd(pidfd: BorrowedFd<'_>, signal: u8) -> Result<(), Errno> {
    let nothing: *mut c_void = null_mut();
    let (pidfd, signal) = (pidfd.as_raw_fd(), c_int::from(signal));
    // SAFETY: no memory is involved.
    result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, nothing, 0) }).map(drop)
}

/// To the child that a spawner thread is stuck with, if it still is.
pub(super) fn signal_by_seat(pidfd_seat: &AtomicI32, signal: u8) {
    let number = pidfd_seat.load(Ordering::SeqCst);
    if number >= 0 {
        // SAFETY: the number is open while it sits there; at worst the call finds it closed.
        let pidfd = unsafe { BorrowedFd::borrow_raw(number) };
        signal_by_pidfd(pidfd, signal).ok();
    }
}

/// A positive pid is a process, a negative one its group. Signal 0 only asks whether it exists.
pub(super) fn signal_by_pid(pid: i32, signal: u8) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    result(unsafe { libc::syscall(libc::SYS_kill, pid, c_int::from(signal)) }).map(drop)
}

/// Puts every disposition back to the default: nothing that was ignored before us is ignored by
/// our children, and nobody's "ignore SIGCHLD" swallows an exit.
pub(super) fn reset_dispositions() {
    // The kernel's struct, all zero: default action, no flags, no restorer, empty mask. The C
    // library would leave out the two signals that it keeps for itself.
    let default = [0_u64; 4];
    let (place, nothing, size) = (&raw const default, null_mut::<u64>(), size_of::<u64>());
    for signal in 1..=64 {
        // SIGSEGV and SIGBUS stay with the guard that reports a stack overflow.
        if signal != libc::SIGSEGV && signal != libc::SIGBUS {
            // SAFETY: the default action runs no code of ours; the kernel refuses the two it must.
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, place, nothing, size) };
        }
    }
}

/// The same descriptor once more, under another number that is ours alone.
pub(super) fn borrowed_copy(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: only copied, where it is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_dupfd_cloexec(borrowed.as_fd(), 10)
}

/// Takes a descriptor that was handed on under its own number, and keeps it for ourselves.
pub(super) fn take(number: RawFd) -> Result<OwnedFd, Errno> {
    if number <= 2 {
        return Err(Errno::BADF);
    }
    // SAFETY: only asked whether it is open, and marked.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: we were told that this number is ours, and nothing here owned it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// This process becomes what was opened; comes back only when that cannot be.
pub(super) fn become_executable(executable: BorrowedFd<'_>, argv: Vec<CString>, env: Vec<CString>) -> Errno {
    let (words, pairs) = (Strings::new(argv), Strings::new(env));
    let (argv, env) = (words.pointers.as_ptr(), pairs.pointers.as_ptr());
    let (number, path, flag) = (executable.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: both arrays end in a null pointer and live across the call.
    unsafe { libc::syscall(libc::SYS_execveat, number, path, argv, env, flag) };
    last_errno()
}

/// Takes a descriptor that was inherited under an agreed number. The standard ones stay open
/// beside it: whatever is opened next must not be taken for our output.
pub(crate) fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: only asked whether it is open, then copied.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let copy = rustix::io::fcntl_dupfd_cloexec(borrowed.as_fd(), 10)?;
    if number > 2 {
        // SAFETY: we were told that this number is ours, and nothing here owned it yet.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(copy)
}

/// What came by a socket that tells who sends (`SO_PASSCRED`).
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) length: usize,
    /// False: it was longer than the buffer, or came with more descriptors than there was room for.
    pub(super) is_whole: bool,
    pub(super) sender: Option<Sender>,
    pub(super) descriptors: Vec<OwnedFd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    /// 0: of a pid namespace that ours does not see.
    pub(super) pid: i32,
    pub(super) uid: u32,
}

/// Never waits. Descriptors that come are close-on-exec.
pub(super) fn receive_datagram(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Datagram, Errno> {
    let mut control = [0_u8; CONTROL_BYTES];
    let mut parts = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut head = MaybeUninit::<libc::msghdr>::zeroed();
    let place = head.as_mut_ptr();
    // SAFETY: all bytes zero is a valid value of this struct of integers and null pointers.
    let fields = unsafe { &mut *place };
    fields.msg_iov = &raw mut parts;
    fields.msg_iovlen = 1;
    fields.msg_control = control.as_mut_ptr().cast();
    fields.msg_controllen = control.len();
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the header points at two buffers that live across the call, each with its length.
    let received = unsafe { libc::syscall(libc::SYS_recvmsg, socket.as_raw_fd(), place, flags) };
    let length = usize::try_from(result(received)?).unwrap_or_default();
    let cut = libc::MSG_TRUNC | libc::MSG_CTRUNC;
    let filled = fields.msg_controllen.min(control.len());
    let mut datagram =
        Datagram { length, is_whole: fields.msg_flags & cut == 0, sender: None, descriptors: Vec::new() };
    read_control(control.get(..filled).unwrap_or_default(), &mut datagram);
    Ok(datagram)
}

/// The parts that cmsg(3) describes: a length, a level and a type, then data, each aligned to a word.
fn read_control(mut control: &[u8], datagram: &mut Datagram) {
    const WORD: usize = size_of::<usize>();
    const HEAD: usize = WORD.saturating_add(8);
    let number = |bytes: &[u8]| bytes.first_chunk().map(|four| i32::from_ne_bytes(*four));
    while let Some((length, rest)) = control.split_first_chunk::<WORD>() {
        let length = usize::from_ne_bytes(*length);
        let (Some(level), Some(kind)) = (number(rest), number(rest.get(4..).unwrap_or_default())) else {
            return;
        };
        let data = control.get(HEAD..length).unwrap_or_default();
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for descriptor in data.chunks_exact(4).filter_map(number) {
                    // SAFETY: the kernel put it into our table just now, for nobody else.
                    datagram.descriptors.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                let uid = number(data.get(4..).unwrap_or_default()).map(i32::cast_unsigned);
                if let (Some(pid), Some(uid)) = (number(data), uid) {
                    datagram.sender = Some(Sender { pid, uid });
                }
            }
            _ => {}
        }
        let next = length.max(HEAD).checked_next_multiple_of(WORD).unwrap_or(usize::MAX);
        control = control.get(next..).unwrap_or_default();
    }
}

/// Room for the credentials and the most descriptors that the kernel passes at once, 253.
const CONTROL_BYTES: usize = 1_088;

/// For a ring that should stay small: threads that hardly allocate share the one heap, and what is
/// large comes from the kernel and goes back to it, however often. Before there are threads.
pub(crate) fn use_little_memory() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, LARGE_BYTES)] {
        // SAFETY: sets a number of the C library's allocator; a number that it refuses changes nothing.
        unsafe { libc::mallopt(option, value) };
    }
}

/// After a burst of work: free pages of the heap go back, and so does the code that only the burst
/// needed. Whatever is called again is mapped again from the page cache.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: touches free memory of the allocator only.
        unsafe { libc::malloc_trim(0) };
    }
    let (start, end) = (&raw const __executable_start, &raw const etext);
    let (address, length) = (start.cast_mut().cast::<c_void>(), end.addr().saturating_sub(start.addr()));
    // SAFETY: from the start of the program to the end of its code, the linker says, there are only pages
    // that nobody writes to: dropped, each is read again from the same file when it is next touched.
    unsafe { libc::madvise(address, length, libc::MADV_DONTNEED) };
}

unsafe extern "C" {
    /// Both are named by the linker; the second one stands behind the last byte of code.
    static __executable_start: u8;
    static etext: u8;
}

/// What glibc begins with, before it adapts.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: c_int = 128 * 1024;

fn result(returned: libc::c_long) -> Result<i32, Errno> {
    if returned < 0 { Err(last_errno()) } else { Ok(i32::try_from(returned).unwrap_or_default()) }
}

fn last_errno() -> Errno {
    let errno = std::io::Error::last_os_error();
    Errno::from_io_error(&errno).unwrap_or(Errno::INVAL)
}
