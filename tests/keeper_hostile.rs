//! The real keeper on machines that are full, that hang, that know half of the system calls, or
//! that are crowded.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what fails or is unexpected here fails the test"
)]

mod keeper_host;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use keeper_host::{TestKeeper, eventually, is_root, now, own_mounts, shell};
use mcsup::keeper::wire::{Credentials, Exit, LogOrder, Order, Report, SpawnOrder, Step};
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

mod disks {
    use super::*;

    /// A keeper whose logs are on a disk of four mebibytes.
    fn on_a_small_disk() -> TestKeeper {
        let script =
            "mkdir \"$SCRATCH/log\"; mount -t tmpfs -o size=4m none \"$SCRATCH/log\" && exec \"$0\" \"$@\"";
        TestKeeper::start_with(&[own_mounts(), vec!["sh", "-c", script]].concat(), &[])
    }

    /// A file of that disk, which only the keeper's own namespace shows.
    fn on_it(keeper: &TestKeeper, unit: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", keeper.pid()));
        let log = keeper.scratch.path("log");
        root.join(log.strip_prefix("/").unwrap()).join(unit).join("current")
    }

    const NO_SPACE: i32 = 28;

    /// Field case 7.
    #[test]
    fn a_full_disk_drops_counts_and_recovers_and_blocks_only_who_asked_for_it() {
        let mut keeper = on_a_small_disk();
        let [reached, stop, count] = ["reached", "stop", "count"].map(|name| keeper.scratch.path(name));
        let script = format!(
            "head -c 9000000 /dev/zero; echo x > {}; n=0; while ! [ -e {} ]; do echo back; n=$((n+1)); sleep 0.01; done; echo $n > {}",
            reached.display(),
            stop.display(),
            count.display()
        );
        let log = Some(keeper.log("loud"));
        keeper.spawn(SpawnOrder { unit: "loud".into(), log, ..shell(1, &script) });
        match keeper.next() {
            Report::LogTrouble { unit, errno: NO_SPACE, .. } => assert_eq!(unit, "loud"),
            other => panic!("{other:?}"),
        }
        eventually("its writer goes on", || fs::exists(&reached).unwrap().then_some(()));
        let log = Some(LogOrder { block_when_full: true, ..keeper.log("patient") });
        let script = "echo first; head -c 2000000 /dev/zero; echo last";
        keeper.spawn(SpawnOrder { unit: "patient".into(), log, ..shell(2, script) });
        match keeper.next() {
            Report::LogTrouble { unit, errno: NO_SPACE, lost_bytes: 0 } => assert_eq!(unit, "patient"),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            keeper.next_before_pong(),
            None,
            "it waits: more than a pipe holds is still to be written"
        );
        let stored_before = fs::metadata(on_it(&keeper, "loud")).unwrap().len();
        fs::remove_file(on_it(&keeper, "loud")).unwrap();
        let freed = now();
        let mut lost = None;
        let mut has_ended = false;
        while lost.is_none() || !has_ended {
            match keeper.next() {
                Report::LogTrouble { unit, errno: 0, lost_bytes } if unit == "loud" => {
                    lost = Some(lost_bytes);
                }
                Report::LogTrouble { unit, errno: 0, lost_bytes: 0 } => assert_eq!(unit, "patient"),
                Report::Exited { run: 2, exit: Exit::Code(0), .. } => has_ended = true,
                other => panic!("told more than once each way: {other:?}"),
            }
        }
        // Tried again every 2 s; the rest is for a machine that does other things too.
        assert!(now() - freed < Duration::from_secs(5));
        let patient = fs::read(on_it(&keeper, "patient")).unwrap();
        assert_eq!(patient.len(), "first\n".len() + 2_000_000 + "last\n".len());
        fs::write(&stop, "").unwrap();
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
        let lines: u64 = fs::read_to_string(&count).unwrap().trim().parse().unwrap();
        let stored_after = fs::metadata(on_it(&keeper, "loud")).unwrap().len();
        let written = 9_000_000 + lines * 5;
        assert_eq!(stored_before + lost.unwrap() + stored_after, written, "every byte is stored or counted");
    }

    #[test]
    fn a_log_is_set_aside_when_its_first_line_is_too_old_and_not_before() {
        let mut keeper = TestKeeper::start();
        let first = keeper.scratch.path("log").join("test").join("00000001");
        let log = Some(LogOrder { max_age_ms: 400, ..keeper.log("test") });
        let script = format!("while ! [ -e {} ]; do echo line; sleep 0.01; done", first.display());
        let begun = now();
        keeper.spawn(SpawnOrder { log, ..shell(1, &script) });
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
        assert!(now() - begun >= Duration::from_millis(400));
        assert!(fs::read(first).unwrap().ends_with(b"line\n"));
    }

    fn bytes_below(dir: &std::path::Path) -> u64 {
        let units = fs::read_dir(dir).unwrap().map(|unit| unit.unwrap().path());
        let files = units.flat_map(|unit| fs::read_dir(unit).unwrap());
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    const LIMIT: u64 = 1_000_000;

    /// Runs one that writes half a megabyte, in lines.
    fn write_half(keeper: &mut TestKeeper) {
        let log = Some(keeper.log("loud"));
        let script = "i=0; while [ $i -lt 50 ]; do head -c 9999 /dev/zero; echo; i=$((i+1)); done";
        keeper.spawn(SpawnOrder { unit: "loud".into(), log, ..shell(1, script) });
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    }

    #[test]
    fn logs_that_nobody_has_written_since_count_too_and_the_oldest_of_them_goes_first() {
        let mut keeper = TestKeeper::start();
        let root = keeper.scratch.path("log");
        let quiet = root.join("quiet");
        fs::create_dir_all(&quiet).unwrap();
        for name in ["00000001", "00000002", "current"] {
            fs::write(quiet.join(name), vec![b'x'; 300_000]).unwrap();
        }
        keeper.send(&Order::LogTotal { bytes: LIMIT });
        write_half(&mut keeper);
        assert!(!fs::exists(quiet.join("00000001")).unwrap());
        assert!(fs::exists(quiet.join("current")).unwrap());
        assert!(bytes_below(&root) <= LIMIT + LIMIT / 8, "{}", bytes_below(&root));
        assert!(fs::read(root.join("loud/current")).unwrap().ends_with(b"\n"));
    }

    #[test]
    fn current_files_that_are_too_much_by_themselves_are_set_aside_before_they_are_deleted() {
        let mut keeper = TestKeeper::start();
        let root = keeper.scratch.path("log");
        for unit in 0..30 {
            let dir = root.join(format!("quiet-{unit}"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("current"), vec![b'x'; 50_000]).unwrap();
        }
        keeper.send(&Order::LogTotal { bytes: LIMIT });
        write_half(&mut keeper);
        let bytes = bytes_below(&root);
        assert!((LIMIT / 2..=LIMIT + LIMIT / 8).contains(&bytes), "{bytes}");
        assert!(fs::exists(root.join("loud/current")).unwrap());
        let kept = (0..30).filter(|unit| root.join(format!("quiet-{unit}/current")).exists()).count();
        assert!((5..30).contains(&kept), "{kept} of 30 are left");
    }
}

mod hung_directories {
    use super::*;

    /// A file system that answers nothing unless told to (the kernel's side of fuse(4)).
    struct Mute(File);

    const INIT: u32 = 26;
    const INTERRUPT: u32 = 36;

    impl Mute {
        /// A keeper that has it mounted at `hang`, connected.
        fn mounted() -> (Self, TestKeeper) {
            let device = File::options().read(true).write(true).open("/dev/fuse");
            let device = Self(device.expect("this test needs /dev/fuse, which is root's on most machines"));
            let script = "mkdir \"$SCRATCH/hang\"; mount -i -t fuse -o fd=1,rootmode=40000,user_id=$(id -u),group_id=$(id -g) mute \"$SCRATCH/hang\" && exec \"$0\" \"$@\" > /dev/null";
            let wrapper = [own_mounts(), vec!["sh", "-c", script]].concat();
            let copy = device.0.try_clone().unwrap();
            let mut keeper = TestKeeper::start_prepared(&wrapper, HASTY, |command| {
                command.stdout(Stdio::from(copy));
            });
            let (opcode, unique) = device.next_request();
            assert_eq!(opcode, INIT);
            let version = [7_u32.to_le_bytes(), 31_u32.to_le_bytes()].concat();
            device.answer(unique, 0, &[version, vec![0; 56]].concat());
            keeper.connect();
            assert_eq!(keeper.handover(), []);
            (device, keeper)
        }

        fn next_request(&self) -> (u32, u64) {
            self.requests_within(Duration::from_secs(20), 1)[0]
        }

        /// Takes requests until so many came; from then on whoever made them cannot even be killed.
        fn requests_within(&self, patience: Duration, count: usize) -> Vec<(u32, u64)> {
            let end = now() + patience;
            let mut requests = Vec::new();
            while requests.len() < count {
                assert!(now() < end, "{} of {count} requests came", requests.len());
                let tick = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                if poll(&mut [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)], Some(&tick)) != Ok(1)
                {
                    continue;
                }
                let mut bytes = vec![0; 128 * 1024];
                let read = match (&self.0).read(&mut bytes) {
                    // Not mounted yet.
                    Err(error) if error.raw_os_error() == Some(libc::EPERM) => continue,
                    read => read.unwrap(),
                };
                assert!(read >= 16);
                let opcode = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
                let unique = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
                if opcode != INTERRUPT {
                    requests.push((opcode, unique));
                }
            }
            requests
        }

        fn answer(&self, unique: u64, errno: i32, body: &[u8]) {
            let length = u32::try_from(16 + body.len()).unwrap();
            let head = [&length.to_le_bytes()[..], &(-errno).to_le_bytes(), &unique.to_le_bytes()].concat();
            let sent = (&self.0).write(&[&head, body].concat());
            assert!(sent.is_ok(), "{sent:?}");
        }
    }

    fn in_it(keeper: &TestKeeper, run: u64) -> SpawnOrder {
        let working_dir = keeper_host::bytes(&keeper.scratch.path("hang"));
        SpawnOrder { unit: "hung".into(), working_dir, ..shell(run, "exit 0") }
    }

    /// State letters of the processes that the keeper started.
    fn states_of_children(keeper: &TestKeeper) -> String {
        let parent = keeper.pid().to_string();
        let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let state = fields.next()?.to_owned();
            (fields.next()? == parent).then_some(state)
        });
        stats.collect()
    }

    #[test]
    fn a_start_in_it_fails_in_time_and_nobody_else_waits() {
        let (_mute, mut keeper) = Mute::mounted();
        keeper.send(&Order::Spawn(Box::new(in_it(&keeper, 1))));
        for run in 2..6 {
            keeper.spawn(shell(run, "exit 0"));
            assert_eq!(keeper.exit_of(run), (Exit::Code(0), true));
        }
        assert_eq!(keeper.next(), Report::SpawnFailed { run: 1, step: Step::Timeout, errno: 0 });
        eventually("the killed child is reaped", || states_of_children(&keeper).is_empty().then_some(()));
    }

    #[test]
    fn children_in_it_that_cannot_even_be_killed_hold_up_nobody_however_many() {
        let (mute, mut keeper) = Mute::mounted();
        let hung = 10;
        for run in 1..=hung {
            keeper.queue(&Order::Spawn(Box::new(in_it(&keeper, run))), Vec::new());
        }
        keeper.flush();
        let requests = mute.requests_within(Duration::from_secs(20), usize::try_from(hung).unwrap());
        let failed = |report: &Report| matches!(report, Report::SpawnFailed { step: Step::Timeout, .. });
        for _ in 0..hung {
            let report = keeper.next();
            assert!(failed(&report), "{report:?}");
        }
        let all = "D".repeat(requests.len());
        eventually("they were killed, and live", || (states_of_children(&keeper) == all).then_some(()));
        for run in 100..110 {
            keeper.spawn(shell(run, "exit 0"));
            assert_eq!(keeper.exit_of(run), (Exit::Code(0), true));
        }
        for (_, unique) in requests {
            mute.answer(unique, libc::EIO, &[]);
        }
        eventually("all are reaped", || states_of_children(&keeper).is_empty().then_some(()));
        assert_eq!(keeper.next_before_pong(), None, "nobody is told twice");
    }
}

/// A keeper that waits a tenth of what its policies say.
const HASTY: &[&str] = &["--patience-divisor", "10"];

mod old_kernels {
    use super::*;

    /// Makes these calls fail in `command` as if the kernel had never heard of them.
    #[expect(unsafe_code, reason = "a filter can only be put on between fork and exec")]
    fn without(command: &mut std::process::Command, calls: &[libc::c_long]) {
        let statement = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
        // Load the number; for each call: equal, or skip one; refuse. At the end: allow.
        let mut filter = vec![statement(0x20, 0, 0, 0)];
        for call in calls {
            filter.push(statement(0x15, u32::try_from(*call).unwrap(), 0, 1));
            filter.push(statement(0x06, libc::SECCOMP_RET_ERRNO | 38, 0, 0));
        }
        filter.push(statement(0x06, libc::SECCOMP_RET_ALLOW, 0, 0));
        let install = move || {
            let program = libc::sock_fprog {
                len: u16::try_from(filter.len()).unwrap_or(0),
                filter: filter.as_ptr().cast_mut(),
            };
            // SAFETY: changes a flag of this process only.
            let first = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            // SAFETY: the program lives across the call, which copies it.
            let second =
                unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
            if first == 0 && second == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: it makes two system calls and allocates nothing.
        unsafe { std::os::unix::process::CommandExt::pre_exec(command, install) };
    }

    #[test]
    fn without_clone3_close_range_and_splice_all_is_as_ever() {
        let mut keeper = TestKeeper::start_prepared(&[], &[], |command| {
            without(command, &[libc::SYS_clone3, libc::SYS_close_range, libc::SYS_splice]);
        });
        keeper.connect();
        assert_eq!(keeper.handover(), []);
        let script = "ls /proc/self/fd | tr '\\n' ' '; seq 1 50000; exit 3";
        let order = SpawnOrder { log: Some(keeper.log("own")), ..shell(1, script) };
        keeper.spawn(order.clone());
        assert_eq!(keeper.exit_of(1), (Exit::Code(3), true));
        // A child of another user is made by another call.
        let credentials = is_root().then(|| Credentials { uid: 65534, gid: 65534, groups: vec![] });
        keeper.spawn(SpawnOrder { run: 2, log: Some(keeper.log("other")), credentials, ..order });
        assert_eq!(keeper.exit_of(2), (Exit::Code(3), true));
        let numbers: String = (1..=50_000).map(|i| format!("{i}\n")).collect();
        for unit in ["own", "other"] {
            let log = String::from_utf8(keeper.current_log(unit)).unwrap();
            assert!(log == format!("0 1 2 3 {numbers}"), "{unit}: {:?}", log.get(..100));
        }
    }
}

mod crowds {
    use super::*;

    const CROWD: usize = 200;

    /// Lets go of those who wait at a fifo, also when the test fails.
    struct Gate(PathBuf);

    impl Drop for Gate {
        fn drop(&mut self) {
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
            rustix::fs::open(&self.0, flags, rustix::fs::Mode::empty()).ok();
        }
    }

    /// System calls that read, by the keeper so far: a look at one process takes two or more.
    fn reads(keeper: &TestKeeper) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", keeper.pid())).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap();
        line.parse().unwrap()
    }

    fn until_over(keeper: &mut TestKeeper) {
        let is_over = |report: &Report| {
            matches!(report, Report::Emptied { .. } | Report::Exited { is_empty: true, .. })
        };
        keeper.until(is_over);
    }

    /// A run that leaves a crowd of orphans, its own or nobody's, and what a hundred short runs cost then.
    fn reads_for_a_hundred_runs_beside_orphans(leaves_anything: bool) -> u64 {
        let mut keeper = TestKeeper::start();
        let gate = Gate(keeper.scratch.path("gate"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate.0, 0o600.into()).unwrap();
        let script = format!(
            "i=0; while [ $i -lt {CROWD} ]; do (setsid /bin/sh -c 'read x < {}' &); i=$((i+1)); done",
            gate.0.display()
        );
        if leaves_anything {
            keeper.spawn(shell(1, &script));
            assert_eq!(keeper.exit_of(1), (Exit::Code(0), false));
        } else {
            // Forked in another session by who had forgotten the run already: at no moment are they of the run.
            keeper.spawn(shell(1, &format!("env -i setsid -w /bin/sh <<'END'\n{script}\nEND")));
            until_over(&mut keeper);
        }
        let children = format!("/proc/{0}/task/{0}/children", keeper.pid());
        eventually("all are orphans", || {
            let orphans = fs::read_to_string(&children).unwrap().split_whitespace().count();
            (orphans == CROWD).then_some(())
        });
        // The first end looks at each of them once, and again at what is unclear.
        keeper.spawn(SpawnOrder { unit: "short".into(), ..shell(2, "exit 0") });
        until_over(&mut keeper);
        let before = reads(&keeper);
        let mut one = |run| {
            keeper.spawn(SpawnOrder { unit: "short".into(), ..shell(run, "exit 0") });
            assert_eq!(keeper.exit_of(run), (Exit::Code(0), true));
        };
        (3..103).for_each(&mut one);
        let cost = reads(&keeper) - before;
        drop(gate);
        if leaves_anything {
            assert_eq!(keeper.next(), Report::Emptied { run: 1 });
        }
        cost
    }

    /// One look at everybody for each end would be 400 reads each.
    const READS_A_RUN: u64 = 40;

    #[test]
    fn long_lived_orphans_of_nobody_cost_the_end_of_a_run_nothing() {
        let cost = reads_for_a_hundred_runs_beside_orphans(false);
        assert!(cost < 100 * READS_A_RUN, "{cost} reads for 100 runs");
    }

    #[test]
    fn a_run_that_lives_on_in_its_orphans_costs_the_end_of_another_one_nothing() {
        let cost = reads_for_a_hundred_runs_beside_orphans(true);
        assert!(cost < 100 * READS_A_RUN, "{cost} reads for 100 runs");
    }
}
