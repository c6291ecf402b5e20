//! The real keeper, driven over its link.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what fails or is unexpected here fails the test"
)]

mod keeper_host;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use keeper_host::{
    AdoptedLink, Scratch, TestKeeper, eventually, is_alive, is_root, keeper_command, now, own_machine,
    own_mounts, shell,
};
use mcsup::keeper::link::{self, Link};
use mcsup::keeper::wire::{
    AdoptOrder, Credentials, Exit, Given, HELPER_BIT, Limit, LogOrder, LogPlace, Order, Report, Scope,
    SpawnOrder, Stage, Step, VERSION,
};

const NOBODY: u32 = 65534;

/// A keeper that waits a tenth of what its policies say.
const HASTY: &[&str] = &["--patience-divisor", "10"];

fn logged(keeper: &TestKeeper, run: u64, script: &str) -> SpawnOrder {
    SpawnOrder { log: Some(keeper.log("test")), ..shell(run, script) }
}

fn as_nobody(order: SpawnOrder) -> SpawnOrder {
    let credentials = is_root().then(|| Credentials { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] });
    SpawnOrder { credentials, ..order }
}

/// Waits for a number that a script wrote into a file, in whole.
fn pid_in(path: &Path) -> i32 {
    eventually("the script writes a pid", || fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok())
}

mod exits {
    use super::*;

    #[test]
    fn a_process_is_started_reaped_and_reported_with_its_status() {
        let mut keeper = TestKeeper::start();
        assert!(keeper.spawn(shell(1, "exit 7")) > 0);
        assert_eq!(keeper.exit_of(1), (Exit::Code(7), true));
        keeper.spawn(shell(2, "kill -9 $$"));
        assert_eq!(keeper.exit_of(2), (Exit::Signal { number: 9, dumped_core: false }, true));
    }

    /// Field case 13.
    #[test]
    fn five_hundred_exits_at_once_are_each_told_once() {
        let mut keeper = TestKeeper::start();
        let gate = keeper.scratch.path("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
        let script = format!("read x < {}; exit 3", gate.display());
        for run in 1..=500 {
            keeper.queue(&Order::Spawn(Box::new(shell(run, &script))), Vec::new());
        }
        keeper.flush();
        for _ in 0..500 {
            assert!(matches!(keeper.next(), Report::Spawned { .. }));
        }
        // A line for each; the fifo stays open, so that who opens it late still finds one.
        let mut open = fs::OpenOptions::new().read(true).write(true).open(&gate).unwrap();
        std::io::Write::write_all(&mut open, &[b'\n'; 500]).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 500 {
            match keeper.next() {
                Report::Exited { run, exit: Exit::Code(3), is_empty: true, .. } => {
                    assert!(seen.insert(run), "run {run} ended twice");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_run_tells_what_it_used() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(shell(1, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"));
        match keeper.next() {
            Report::Exited { usage, .. } => {
                assert!(usage.user_us + usage.system_us > 0);
                assert!(usage.max_rss_kib > 100, "{usage:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// Field case 19.
    #[test]
    fn a_run_is_over_only_when_what_it_left_behind_is() {
        let mut keeper = TestKeeper::start();
        let file = keeper.scratch.path("pid");
        let script =
            format!("setsid sleep 1000 & while ! [ -s {0} ]; do echo $! > {0}; done", file.display());
        keeper.spawn(shell(1, &script));
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), false));
        let left = pid_in(&file);
        assert!(is_alive(left));
        keeper.kill(1);
        assert_eq!(keeper.next(), Report::Emptied { run: 1 });
        assert!(!is_alive(left));
    }

    #[test]
    fn an_orphan_of_one_run_does_not_keep_another_one_open() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(shell(1, "setsid sleep 1000 & exit 0"));
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), false));
        keeper.spawn(SpawnOrder { unit: "other".into(), ..shell(2, "exit 0") });
        // For a moment the orphan may be seen without any mark, as it becomes another program.
        keeper.until(|report| {
            matches!(report, Report::Emptied { run: 2 } | Report::Exited { run: 2, is_empty: true, .. })
        });
    }

    #[test]
    fn a_grandchild_in_the_same_group_keeps_the_run_open_until_it_ends() {
        let mut keeper = TestKeeper::start();
        let gate = keeper.scratch.path("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
        keeper.spawn(shell(1, &format!("(read x < {}) & exit 0", gate.display())));
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), false));
        drop(fs::OpenOptions::new().write(true).open(&gate).unwrap());
        assert_eq!(keeper.next(), Report::Emptied { run: 1 });
    }

    /// Field case 15.
    #[test]
    fn orphans_of_nobody_are_reaped() {
        let mut keeper = TestKeeper::start();
        let file = keeper.scratch.path("pid");
        let script = format!(
            "for i in 1 2 3; do env -i setsid sh -c 'exec sleep 0' & done; env -i setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000' & wait $!",
            file.display()
        );
        keeper.spawn(shell(1, &script));
        let left = pid_in(&file);
        keeper.send(&Order::Signal { run: 1, signal: 9, scope: Scope::Main });
        assert!(matches!(keeper.next(), Report::Exited { run: 1, .. }));
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(left).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        eventually("the orphan is reaped", || (!fs::exists(format!("/proc/{left}")).unwrap()).then_some(()));
    }
}

mod signals {
    use super::*;

    #[test]
    fn a_signal_to_the_leader_spares_its_children_and_one_to_all_does_not() {
        let mut keeper = TestKeeper::start();
        let file = keeper.scratch.path("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        keeper.spawn(shell(1, &script));
        let child = pid_in(&file);
        keeper.send(&Order::Signal { run: 1, signal: 15, scope: Scope::Main });
        assert_eq!(keeper.exit_of(1), (Exit::Signal { number: 15, dumped_core: false }, false));
        assert!(is_alive(child));
        keeper.send(&Order::Signal { run: 1, signal: 15, scope: Scope::All });
        assert_eq!(keeper.next(), Report::Emptied { run: 1 });
    }

    #[test]
    fn a_kill_reaches_what_made_its_own_session_while_the_leader_lives() {
        let mut keeper = TestKeeper::start();
        let file = keeper.scratch.path("pid");
        let script =
            format!("env -i setsid /bin/sh -c 'sleep 1000 & echo $! > {}; wait' & wait", file.display());
        keeper.spawn(shell(1, &script));
        let hidden = pid_in(&file);
        keeper.kill(1);
        let reports = keeper
            .until(|report| matches!(report, Report::Emptied { .. } | Report::Exited { is_empty: true, .. }));
        assert!(!is_alive(hidden), "{reports:?}");
    }

    #[test]
    fn a_signal_that_comes_too_late_is_harmless() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(shell(1, "exit 0"));
        keeper.exit_of(1);
        keeper.kill(1);
        keeper.send(&Order::Release { run: 1 });
        keeper.kill(1);
        keeper.kill(77);
        assert_eq!(keeper.next_before_pong(), None);
    }

    #[test]
    fn a_signal_sent_with_the_order_meets_the_process() {
        let mut keeper = TestKeeper::start();
        keeper.queue(&Order::Spawn(Box::new(shell(1, "sleep 1000"))), Vec::new());
        keeper.queue(&Order::Signal { run: 1, signal: 9, scope: Scope::All }, Vec::new());
        keeper.flush();
        let reports = keeper.until(|report| matches!(report, Report::Exited { .. }));
        assert!(
            matches!(reports.last(), Some(Report::Exited { exit: Exit::Signal { number: 9, .. }, .. })),
            "{reports:?}"
        );
    }

    #[test]
    fn shutdown_signals_are_passed_on_each_time() {
        let mut keeper = TestKeeper::start();
        for signal in [15, 2, 2, 1, 10] {
            keeper.signal_keeper(signal);
            let me = std::process::id();
            let signal = u8::try_from(signal).unwrap();
            assert_eq!(keeper.next(), Report::Signalled { signal, sender_pid: me });
        }
        assert!(!keeper.has_ended());
    }

    #[test]
    fn when_nobody_answers_a_shutdown_signal_the_keeper_stops_everything_itself() {
        let mut keeper = TestKeeper::start_with(&[], HASTY);
        keeper.send(&Order::ShutdownTimeout { ms: 300 });
        assert_eq!(keeper.next_before_pong(), None);
        let willing = keeper.spawn(shell(1, "sleep 1000"));
        let unwilling = keeper.spawn(shell(2, "trap '' TERM; while :; do sleep 1; done"));
        // Whatever was said before counts as an answer if it is heard after.
        assert_eq!(keeper.next_before_pong(), None);
        keeper.signal_keeper(15);
        assert_eq!(keeper.wait().code(), Some(128 + 15));
        assert!(!is_alive(willing) && !is_alive(unwilling));
    }

    #[test]
    fn quit_ends_everything_and_the_keeper_with_the_status_given() {
        let mut keeper = TestKeeper::start_with(&[], HASTY);
        let pid = keeper.spawn(shell(1, "trap '' TERM INT; setsid sleep 1000 & while :; do sleep 1; done"));
        keeper.send(&Order::Quit { code: 42 });
        assert_eq!(keeper.wait().code(), Some(42));
        assert!(!is_alive(pid));
    }
}

mod farewells {
    use super::*;

    #[test]
    fn what_is_left_at_the_end_is_asked_to_go_before_it_is_killed() {
        let mut keeper = TestKeeper::start();
        let [ready, asked] = ["ready", "asked"].map(|name| keeper.scratch.path(name));
        let script = format!(
            "trap 'echo x > {}; exit 0' TERM; echo x > {}; while :; do sleep 0.02; done",
            asked.display(),
            ready.display()
        );
        keeper.spawn(shell(1, &script));
        eventually("it listens", || fs::exists(&ready).unwrap().then_some(()));
        keeper.send(&Order::Quit { code: 3 });
        assert_eq!(keeper.wait().code(), Some(3));
        assert!(fs::exists(&asked).unwrap());
    }

    /// The supervisor leads an orderly shutdown; the operator is impatient.
    #[test]
    fn a_second_signal_during_a_shutdown_is_the_supervisors_to_judge() {
        let mut keeper = TestKeeper::start_with(&[], HASTY);
        let pid = keeper.spawn(shell(1, "sleep 1000"));
        keeper.signal_keeper(15);
        assert!(matches!(keeper.next(), Report::Signalled { signal: 15, .. }));
        assert_eq!(keeper.next_before_pong(), None);
        keeper.signal_keeper(15);
        assert!(matches!(keeper.next(), Report::Signalled { signal: 15, .. }));
        // Longer than a first signal may stay unanswered (0.5 s), shorter than a ping (0.5 s + 1 s).
        let end = now() + Duration::from_millis(900);
        eventually("time passes", || (now() > end).then_some(()));
        assert_eq!(keeper.next_before_pong(), None);
        assert!(is_alive(pid) && !keeper.has_ended());
    }
}

mod spawning {
    use super::*;

    #[test]
    fn every_step_that_can_fail_is_named_with_its_errno() {
        let mut keeper = TestKeeper::start();
        let no_entry = 2;
        let order = shell(1, "");
        let failure = |keeper: &mut TestKeeper, order| keeper.spawn_failure(order);
        assert_eq!(
            failure(&mut keeper, SpawnOrder { program: b"/no/such".to_vec(), ..order.clone() }),
            (Step::Exec, no_entry)
        );
        let order = shell(2, "");
        assert_eq!(
            failure(&mut keeper, SpawnOrder { working_dir: b"/no/such".to_vec(), ..order }),
            (Step::Chdir, no_entry)
        );
        let order = shell(3, "");
        assert_eq!(
            failure(&mut keeper, SpawnOrder { argv: vec![b"a\0b".to_vec()], ..order }),
            (Step::Prepare, 22)
        );
        let limits = vec![Limit { resource: 7, soft: 10, hard: 5 }];
        assert_eq!(failure(&mut keeper, SpawnOrder { limits, ..shell(4, "") }), (Step::Limits, 22));
        let too_much = SpawnOrder { env: vec![vec![b'x'; 3 << 20]], ..shell(5, "") };
        assert_eq!(failure(&mut keeper, too_much), (Step::Exec, 7));
        if is_root() {
            let denied = SpawnOrder {
                working_dir: b"/root/x".to_vec(),
                ..as_nobody(SpawnOrder { program: b"/no/such".to_vec(), ..shell(6, "") })
            };
            let (step, errno) = failure(&mut keeper, denied);
            assert_eq!(step, Step::Chdir);
            assert!(errno == no_entry || errno == 13);
        } else {
            let credentials = Some(Credentials { uid: 0, gid: 0, groups: vec![] });
            assert_eq!(failure(&mut keeper, SpawnOrder { credentials, ..shell(6, "") }), (Step::Groups, 1));
        }
        // And nothing of all that is left behind.
        keeper.spawn(shell(7, "exit 0"));
        assert_eq!(keeper.exit_of(7), (Exit::Code(0), true));
        assert_eq!(keeper.next_before_pong(), None);
    }

    #[test]
    fn a_child_starts_clean_in_a_session_of_its_own() {
        let mut keeper = TestKeeper::start();
        let script = "set -- $(cat /proc/$$/stat); echo $1 $5 $6; grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls /proc/self/fd; ulimit -n; echo $MCSUP_RUN; pwd";
        let order = SpawnOrder {
            working_dir: b"/usr".to_vec(),
            env: vec![b"MCSUP_RUN=a lie".to_vec(), b"PATH=/usr/bin:/bin".to_vec()],
            ..logged(&keeper, 1, script)
        };
        let pid = keeper.spawn(order);
        keeper.exit_of(1);
        let log = String::from_utf8(keeper.current_log("test")).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines[0], format!("{pid} {pid} {pid}"), "leads its group and session");
        assert!(lines[1].ends_with("0000000000000000"), "no signal blocked: {log}");
        assert!(lines[2].ends_with("0000000000000000"), "no signal ignored: {log}");
        assert_eq!(lines[4..8], ["0", "1", "2", "3"], "no descriptor but its own (3 is ls): {log}");
        let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        assert_eq!(lines[8], own.unwrap_or(u64::MAX).to_string(), "limit as given to us");
        assert_eq!(lines[9], "test#1:1");
        assert_eq!(lines[10], "/usr");
    }

    #[test]
    fn a_child_of_another_user_can_open_its_own_output_again() {
        let mut keeper = TestKeeper::start();
        let order = as_nobody(logged(&keeper, 1, "id -u; id -G; echo again > /dev/stdout; cat /dev/stdin"));
        keeper.spawn(order);
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
        let log = String::from_utf8(keeper.current_log("test")).unwrap();
        assert!(log.ends_with("again\n"), "{log}");
        if is_root() {
            assert_eq!(log, "65534\n65534\nagain\n");
        }
    }

    #[test]
    fn limits_and_the_oom_score_are_those_of_the_unit() {
        let mut keeper = TestKeeper::start();
        let order = SpawnOrder {
            limits: vec![
                Limit { resource: 7, soft: 50, hard: 60 },
                Limit { resource: 4, soft: 0, hard: u64::MAX },
            ],
            oom_score_adjust: Some(500),
            ..logged(&keeper, 1, "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj")
        };
        keeper.spawn(order);
        keeper.exit_of(1);
        assert_eq!(keeper.current_log("test"), b"50\n60\n0\n500\n");
    }

    #[test]
    fn without_a_word_about_it_the_oom_score_is_what_the_keeper_was_started_with() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(logged(&keeper, 1, "cat /proc/self/oom_score_adj"));
        keeper.exit_of(1);
        let own = fs::read("/proc/self/oom_score_adj").unwrap();
        assert_eq!(keeper.current_log("test"), own);
    }

    #[test]
    fn an_environment_of_300_kilobytes_arrives() {
        let mut keeper = TestKeeper::start();
        let long = [b"LONG=".as_slice(), &[b'x'; 100 * 1024]].concat();
        let env = (0..3).map(|i| [format!("A{i}").as_bytes(), &long].concat());
        let order = SpawnOrder {
            env: env.chain([b"PATH=/usr/bin:/bin".to_vec()]).collect(),
            ..logged(&keeper, 1, "env | wc -c")
        };
        keeper.spawn(order);
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
        let log = String::from_utf8(keeper.current_log("test")).unwrap();
        assert!(log.trim().parse::<usize>().unwrap() > 300 * 1024, "{log}");
    }

    #[test]
    fn output_goes_to_the_descriptor_that_came_with_the_order() {
        let mut keeper = TestKeeper::start();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let order = SpawnOrder { given: vec![Given::Output], ..shell(HELPER_BIT | 1, "echo probe") };
        keeper.send_with(&Order::Spawn(Box::new(order)), vec![write]);
        keeper.until(|report| matches!(report, Report::Exited { .. }));
        let mut output = [0; 16];
        let count = rustix::io::read(&read, &mut output).unwrap();
        assert_eq!(&output[..count], b"probe\n");
        assert_eq!(rustix::io::read(&read, &mut output), Ok(0), "nobody keeps the other end open");
    }

    #[test]
    fn a_run_that_overstays_its_time_is_killed_with_all_it_started() {
        let mut keeper = TestKeeper::start();
        let file = keeper.scratch.path("pid");
        let script = format!("setsid sleep 1000 & echo $! > {}; wait", file.display());
        // Until its time was enough to start something, however busy the machine is.
        for attempt in 0..8 {
            let run = HELPER_BIT | (attempt + 1);
            keeper.spawn(SpawnOrder { timeout_ms: 100 << attempt, ..shell(run, &script) });
            let reports = keeper.until(|report| {
                matches!(report, Report::Emptied { .. } | Report::Exited { is_empty: true, .. })
            });
            assert!(
                matches!(reports[0], Report::Exited { exit: Exit::Signal { number: 9, .. }, .. }),
                "{reports:?}"
            );
            if fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')) {
                return assert!(!is_alive(pid_in(&file)));
            }
        }
        panic!("it never came to start anything");
    }

    /// Someone who may signal the child stops it again and again before it has execed: whoever
    /// does, the keeper goes on, and the run either lives or is told as failed.
    #[test]
    fn a_process_that_keeps_stopping_the_child_during_spawn_freezes_nobody() {
        let mut keeper = TestKeeper::start();
        let stop = keeper.scratch.path("stop");
        // Its main process is a child of the keeper too, and runs as the same user.
        let script = format!(
            "while ! [ -e {} ]; do for p in /proc/[0-9]*; do p=${{p#/proc/}}; read -r x < /proc/$p/stat 2>/dev/null || continue; case \"$x\" in *'(spawner)'*|*'(mcsup)'*) [ $p = {} ] || kill -STOP $p 2>/dev/null;; esac; done; done",
            stop.display(),
            keeper.pid()
        );
        keeper.spawn(as_nobody(SpawnOrder { unit: "enemy".into(), ..shell(1, &script) }));
        for run in 2..40 {
            keeper.queue(&Order::Spawn(Box::new(as_nobody(shell(run, "exit 0")))), Vec::new());
        }
        keeper.queue(&Order::Ping { number: 1 }, Vec::new());
        keeper.flush();
        let begun = now();
        let reports = keeper.until(|report| *report == Report::Pong { number: 1 });
        assert!(now() - begun < Duration::from_secs(2), "the loop stood still: {reports:?}");
        let (mut live, mut failed, mut exits) = (0, 0, 0);
        let mut said: std::collections::VecDeque<Report> = reports.into();
        while live + failed < 38 || !said.is_empty() {
            match said.pop_front().unwrap_or_else(|| keeper.next()) {
                Report::Spawned { .. } => live += 1,
                Report::SpawnFailed { step: Step::Timeout, .. } => failed += 1,
                Report::Exited { .. } => exits += 1,
                Report::Pong { .. } | Report::Emptied { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        fs::write(&stop, "").unwrap();
        let mut is_enemy_gone = false;
        // The enemy is one more, who may have been gone before.
        while exits < live + 1 {
            if let Report::Exited { run, .. } = keeper.next() {
                exits += 1;
                is_enemy_gone |= run == 1;
            }
            if is_enemy_gone {
                // One that was stopped just after it had become its program.
                for run in 2..40 {
                    keeper.queue(&Order::Signal { run, signal: 18, scope: Scope::Main }, Vec::new());
                }
                keeper.flush();
                is_enemy_gone = false;
            }
        }
    }

    #[test]
    fn descriptors_exhausted_is_a_spawn_failure_with_its_errno_and_passes() {
        let wrapper = ["sh", "-c", "ulimit -n 160; exec \"$0\" \"$@\""];
        let mut keeper = TestKeeper::start_with(&wrapper, &[]);
        let log = Some(keeper.log("test"));
        let mut live = Vec::new();
        let failure = (1..200).find_map(|run| {
            keeper.send(&Order::Spawn(Box::new(SpawnOrder { log: log.clone(), ..shell(run, "sleep 1000") })));
            match keeper.next() {
                Report::Spawned { run, .. } => {
                    live.push(run);
                    None
                }
                Report::SpawnFailed { step, errno, .. } => Some((step, errno)),
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(failure, Some((Step::Prepare, 24)), "EMFILE after {} runs", live.len());
        assert!(live.len() > 10);
        for run in &live {
            keeper.kill(*run);
            keeper.until(|report| matches!(report, Report::Exited { .. } | Report::Emptied { .. }));
        }
        eventually("the pipes are closed and runs start again", || {
            let run = live.last()? + 1000;
            live.push(run);
            keeper.send(&Order::Spawn(Box::new(SpawnOrder { log: log.clone(), ..shell(run, "exit 0") })));
            let reports = keeper.until(|report| {
                matches!(report, Report::Exited { run: r, .. } | Report::SpawnFailed { run: r, .. } if *r == run)
            });
            matches!(reports.last(), Some(Report::Exited { .. })).then_some(())
        });
    }
}

mod logs {
    use super::*;

    fn rotated(keeper: &TestKeeper, unit: &str) -> Vec<String> {
        let dir = keeper.scratch.path("log").join(unit);
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.contains('.') && name != "current").collect();
        names.sort();
        names
    }

    fn whole_log(keeper: &TestKeeper, unit: &str) -> Vec<u8> {
        let dir = keeper.scratch.path("log").join(unit);
        let mut names = rotated(keeper, unit);
        names.push("current".into());
        names.iter().flat_map(|name| fs::read(dir.join(name)).unwrap()).collect()
    }

    /// Field case 2.
    #[test]
    fn what_it_wrote_is_in_the_log_before_its_exit_is_told() {
        let mut keeper = TestKeeper::start();
        for run in 1..50 {
            keeper.spawn(logged(&keeper, run, "echo out; echo err >&2; printf 'last words'"));
            assert_eq!(keeper.exit_of(run), (Exit::Code(0), true));
            assert!(keeper.current_log("test").ends_with(b"out\nerr\nlast words"), "run {run}");
        }
    }

    #[test]
    fn where_the_log_ended_is_told_with_the_exit_and_the_next_run_stands_behind_it() {
        let mut keeper = TestKeeper::start();
        let mut ends = Vec::new();
        for run in 1..=20 {
            keeper.queue(
                &Order::Spawn(Box::new(logged(&keeper, run, &format!("printf 'run {run}'")))),
                Vec::new(),
            );
            keeper.flush();
            let reports = keeper.until(|report| matches!(report, Report::Exited { .. }));
            let Some(Report::Exited { log_end, .. }) = reports.last() else { panic!("{reports:?}") };
            ends.push(log_end.unwrap());
        }
        keeper.spawn(logged(&keeper, 21, "exit 0"));
        let reports = keeper.until(|report| matches!(report, Report::Exited { .. }));
        let silent = Some(LogPlace::default());
        assert!(
            matches!(reports.last(), Some(Report::Exited { log_end, .. }) if *log_end == silent),
            "{reports:?}"
        );
        let log = String::from_utf8(keeper.current_log("test")).unwrap();
        let inode = fs::metadata(keeper.scratch.path("log/test/current")).unwrap().ino();
        let mut from = 0;
        for (run, end) in (1..).zip(ends) {
            let until = usize::try_from(end.offset).unwrap();
            assert_eq!((end.inode, &log[from..until]), (inode, format!("run {run}").as_str()));
            from = until;
        }
    }

    #[test]
    fn the_log_is_made_at_the_first_byte() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(logged(&keeper, 1, "exit 0"));
        keeper.exit_of(1);
        assert!(!fs::exists(keeper.scratch.path("log")).unwrap());
    }

    /// Field case 1.
    #[test]
    fn an_exit_does_not_wait_for_a_grandchild_that_holds_the_pipe() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(logged(&keeper, 1, "setsid sh -c 'while :; do echo more; done' & echo mine"));
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), false));
        keeper.kill(1);
        assert_eq!(keeper.next(), Report::Emptied { run: 1 });
        assert!(keeper.current_log("test").windows(5).any(|line| line == b"mine\n"));
    }

    /// Field case 4.
    #[test]
    fn bytes_come_out_as_they_went_in_whatever_they_are() {
        let mut keeper = TestKeeper::start();
        let input = keeper.scratch.path("input");
        let rubbish: Vec<u8> =
            (0..10_000_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        fs::write(&input, &rubbish).unwrap();
        let order = logged(&keeper, 1, &format!("cat {}", input.display()));
        keeper.spawn(order);
        keeper.exit_of(1);
        assert!(keeper.current_log("test") == rubbish);
    }

    #[test]
    fn a_full_log_is_cut_at_a_line_end_and_the_oldest_are_deleted() {
        let mut keeper = TestKeeper::start();
        let log = Some(LogOrder { max_size_bytes: 10_000, keep: 3, ..keeper.log("test") });
        keeper.spawn(SpawnOrder { log, ..shell(1, "seq 1 20000") });
        keeper.exit_of(1);
        let names = rotated(&keeper, "test");
        assert_eq!(names.len(), 3, "{names:?}");
        let dir = keeper.scratch.path("log").join("test");
        for name in &names {
            let part = fs::read(dir.join(name)).unwrap();
            assert!((10_000..10_010).contains(&part.len()), "{name} has {} bytes", part.len());
            assert_eq!(part.last(), Some(&b'\n'), "{name} ends within a line");
        }
        let kept = String::from_utf8(whole_log(&keeper, "test")).unwrap();
        let numbers: Vec<u32> = kept.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers.last(), Some(&20_000));
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a line is lost or doubled");
    }

    #[test]
    fn a_line_that_never_ends_is_cut_at_twice_the_limit() {
        let mut keeper = TestKeeper::start();
        let log = Some(LogOrder { max_size_bytes: 10_000, keep: 100, ..keeper.log("test") });
        keeper.spawn(SpawnOrder { log, ..shell(1, "head -c 100000 /dev/zero") });
        keeper.exit_of(1);
        assert_eq!(whole_log(&keeper, "test").len(), 100_000);
        let dir = keeper.scratch.path("log").join("test");
        for name in rotated(&keeper, "test") {
            assert_eq!(fs::metadata(dir.join(&name)).unwrap().len(), 20_000, "{name}");
        }
    }

    /// Field case 6.
    #[test]
    fn a_log_that_was_moved_or_deleted_is_made_anew() {
        let mut keeper = TestKeeper::start();
        let current = keeper.scratch.path("log").join("test").join("current");
        let moved = current.with_file_name("moved");
        let script = format!(
            "echo one; while ! [ -s {0} ]; do :; done; rm {0}; echo two; while ! [ -s {0} ]; do :; done; mv {0} {1}; while ! [ -s {0} ]; do echo three; done",
            current.display(),
            moved.display()
        );
        keeper.spawn(logged(&keeper, 1, &script));
        keeper.exit_of(1);
        assert!(fs::read(&moved).unwrap().starts_with(b"two\nthree\n"));
        assert!(keeper.current_log("test").starts_with(b"three\n"));
    }

    #[test]
    fn a_log_that_was_cut_to_nothing_goes_on_at_its_start() {
        let mut keeper = TestKeeper::start();
        let current = keeper.scratch.path("log").join("test").join("current");
        let script =
            format!("echo one; while ! [ -s {0} ]; do :; done; : > {0}; echo two", current.display());
        keeper.spawn(logged(&keeper, 1, &script));
        keeper.exit_of(1);
        assert_eq!(keeper.current_log("test"), b"two\n");
    }

    /// Field case 7. A directory in the place of the file stands for a disk that cannot be written.
    #[test]
    fn what_cannot_be_written_is_dropped_counted_and_told_once_each_way() {
        let mut keeper = TestKeeper::start();
        let current = keeper.scratch.path("log").join("test").join("current");
        fs::create_dir_all(&current).unwrap();
        let gate = keeper.scratch.path("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
        let script = format!(
            "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero; read x < {}; while ! [ -f {} ]; do echo back; done",
            gate.display(),
            current.display()
        );
        keeper.spawn(logged(&keeper, 1, &script));
        match keeper.next() {
            Report::LogTrouble { unit, errno: 21, .. } => assert_eq!(unit, "test"),
            other => panic!("{other:?}"),
        }
        fs::remove_dir(&current).unwrap();
        drop(fs::OpenOptions::new().write(true).open(&gate).unwrap());
        match keeper.next() {
            Report::LogTrouble { errno: 0, lost_bytes, .. } => {
                assert!(lost_bytes >= 2_000_000, "{lost_bytes}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
        assert!(keeper.current_log("test").starts_with(b"back\n"));
    }

    #[test]
    fn a_writer_that_asked_for_it_waits_and_loses_nothing() {
        let mut keeper = TestKeeper::start();
        let current = keeper.scratch.path("log").join("test").join("current");
        fs::create_dir_all(&current).unwrap();
        let log = Some(LogOrder { block_when_full: true, ..keeper.log("test") });
        keeper.spawn(SpawnOrder { log, ..shell(1, "seq 1 100000") });
        assert!(matches!(keeper.next(), Report::LogTrouble { errno: 21, .. }));
        fs::remove_dir(&current).unwrap();
        assert!(matches!(keeper.next(), Report::LogTrouble { errno: 0, lost_bytes: 0, .. }));
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
        let expected: String = (1..=100_000).map(|i| format!("{i}\n")).collect();
        assert!(keeper.current_log("test") == expected.into_bytes());
    }

    #[test]
    fn all_logs_together_stay_below_their_limit() {
        let mut keeper = TestKeeper::start();
        keeper.send(&Order::LogTotal { bytes: 1_000_000 });
        for (run, unit) in [(1, "a"), (2, "b")] {
            let log = Some(LogOrder { max_size_bytes: 50_000, keep: 1_000, ..keeper.log(unit) });
            keeper.spawn(SpawnOrder { log, unit: unit.into(), ..shell(run, "seq 1 300000") });
            assert_eq!(keeper.exit_of(run), (Exit::Code(0), true));
        }
        let bytes: usize = ["a", "b"].iter().map(|unit| whole_log(&keeper, unit).len()).sum();
        assert!((800_000..=1_050_000).contains(&bytes), "{bytes}");
        assert!(keeper.current_log("b").ends_with(b"300000\n"));
    }

    /// Field case 5.
    #[test]
    fn a_child_that_closes_its_output_costs_nothing() {
        let mut keeper = TestKeeper::start();
        let pid = keeper.pid();
        let ticks = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        keeper.spawn(logged(&keeper, 1, "exec >&- 2>&-; exec sleep 1000"));
        let before = ticks();
        let end = now() + Duration::from_millis(300);
        eventually("time passes", || (now() > end).then_some(()));
        assert!(ticks() - before <= 1, "the pump spins");
    }
}

mod supervisors {
    use super::*;

    #[test]
    fn a_new_supervisor_is_handed_what_lives_what_ended_and_what_was_noted() {
        let mut keeper = TestKeeper::start();
        let live = keeper.spawn(logged(&keeper, 1, "sleep 1000"));
        keeper.spawn(shell(2, "exit 3"));
        keeper.exit_of(2);
        keeper.spawn_failure(SpawnOrder { program: b"/no/such".to_vec(), ..shell(3, "") });
        keeper.spawn(shell(4, "exit 0"));
        keeper.exit_of(4);
        keeper.send(&Order::Release { run: 4 });
        keeper.send(&Order::Remember { key: b"boot".to_vec(), value: b"1".to_vec() });
        assert_eq!(keeper.next_before_pong(), None);
        keeper.connect();
        let mut rows = Vec::new();
        let mut notes = Vec::new();
        loop {
            match keeper.next_with_descriptors() {
                (Report::Hello { restarts: 0, safe_mode: false, .. }, _) => {}
                (Report::Row(row), descriptors) => rows.push((*row, descriptors.len())),
                (Report::Note { key, value }, _) => notes.push((key, value)),
                (Report::HandedOver { rows: 3, notes: 1 }, _) => break,
                (other, _) => panic!("{other:?}"),
            }
        }
        assert_eq!(notes, [(b"boot".to_vec(), b"1".to_vec())]);
        let stages: Vec<(u64, &Stage, usize)> =
            rows.iter().map(|(row, descriptors)| (row.run, &row.stage, *descriptors)).collect();
        assert!(
            matches!(
                stages[..],
                [
                    (1, Stage::Live, 2),
                    (2, Stage::Exited { exit: Exit::Code(3), is_empty: true, .. }, 0),
                    (3, Stage::SpawnFailed { step: Step::Exec, errno: 2 }, 0)
                ]
            ),
            "{stages:?}"
        );
        assert_eq!(rows[0].0.pid, u32::try_from(live).unwrap());
        assert!(rows[0].0.start_time > 0 && rows[0].0.spawned_at > 0);
    }

    #[test]
    fn what_happens_while_there_is_no_supervisor_is_known_to_the_next() {
        let mut keeper = TestKeeper::start();
        let gate = keeper.scratch.path("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
        let pid = keeper.spawn(shell(1, &format!("read x < {}; exit 9", gate.display())));
        keeper.disconnect();
        drop(fs::OpenOptions::new().write(true).open(&gate).unwrap());
        eventually("it ends", || (!is_alive(pid)).then_some(()));
        keeper.connect();
        let handover = keeper.handover();
        assert!(
            matches!(&handover[..], [Report::Row(row)] if matches!(row.stage, Stage::Exited { exit: Exit::Code(9), .. })),
            "{handover:?}"
        );
    }

    #[test]
    fn a_thousand_runs_are_handed_over_with_their_descriptors() {
        let mut keeper = TestKeeper::start();
        for run in 1..=1_000 {
            let order = SpawnOrder {
                program: b"/bin/sleep".to_vec(),
                argv: vec![b"sleep".to_vec(), b"1000".to_vec()],
                ..logged(&keeper, run, "")
            };
            keeper.queue(&Order::Spawn(Box::new(order)), Vec::new());
        }
        keeper.flush();
        for _ in 0..1_000 {
            assert!(matches!(keeper.next(), Report::Spawned { .. }));
        }
        keeper.connect();
        let mut pids = std::collections::BTreeSet::new();
        loop {
            match keeper.next_with_descriptors() {
                (Report::Row(row), descriptors) => {
                    assert_eq!((&row.stage, descriptors.len()), (&Stage::Live, 2));
                    pids.insert(row.pid);
                }
                (Report::HandedOver { rows, .. }, _) => {
                    assert_eq!(rows, 1_000);
                    break;
                }
                (Report::Hello { .. }, _) => {}
                (other, _) => panic!("{other:?}"),
            }
        }
        assert_eq!(pids.len(), 1_000);
    }

    #[test]
    fn the_helpers_of_a_dead_supervisor_die_with_it() {
        let mut keeper = TestKeeper::start();
        let helper = keeper.spawn(shell(HELPER_BIT | 1, "trap '' TERM; while :; do sleep 1; done"));
        let service = keeper.spawn(shell(1, "sleep 1000"));
        keeper.connect();
        assert_eq!(keeper.handover().len(), 1);
        eventually("the helper is killed", || (!is_alive(helper)).then_some(()));
        assert!(is_alive(service));
        // Its number is free for the next supervisor.
        keeper.spawn(SpawnOrder { ordinal: 2, ..shell(HELPER_BIT | 1, "exit 5") });
        assert_eq!(keeper.exit_of(HELPER_BIT | 1), (Exit::Code(5), true));
    }

    #[test]
    fn what_the_helpers_of_a_dead_supervisor_left_behind_goes_too() {
        let mut keeper = TestKeeper::start();
        let file = keeper.scratch.path("pid");
        let script =
            format!("setsid sleep 1000 & while ! [ -s {0} ]; do echo $! > {0}; done", file.display());
        keeper.spawn(shell(HELPER_BIT | 1, &script));
        assert_eq!(keeper.exit_of(HELPER_BIT | 1), (Exit::Code(0), false));
        let left = pid_in(&file);
        assert!(is_alive(left));
        keeper.connect();
        assert_eq!(keeper.handover(), []);
        eventually("it is killed", || (!is_alive(left)).then_some(()));
        // And nothing of it is still waited for: an end that asks for the rest would take 5 s more.
        let begun = now();
        keeper.send(&Order::Quit { code: 0 });
        assert_eq!(keeper.wait().code(), Some(0));
        assert!(now() - begun < Duration::from_secs(4));
    }

    #[test]
    fn a_supervisor_that_never_reads_stops_nothing_and_makes_nothing_grow() {
        let mut keeper = TestKeeper::start();
        let memory = |keeper: &TestKeeper| {
            let status = fs::read_to_string(format!("/proc/{}/status", keeper.pid())).unwrap();
            let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let note = |number: u32| Order::Remember { key: b"k".to_vec(), value: number.to_le_bytes().to_vec() };
        keeper.spawn(shell(1, "sleep 1000"));
        let before = memory(&keeper);
        for number in 0..100_000 {
            keeper.queue(&note(number), Vec::new());
            keeper.queue(&Order::Ping { number: u64::from(number) }, Vec::new());
            if number % 100 == 0 {
                keeper.push();
            }
        }
        keeper.push();
        let after = memory(&keeper);
        assert!(after < before + 2_000, "from {before} to {after} KiB");
        keeper.connect();
        let handover = keeper.handover();
        assert_eq!(handover.len(), 2, "{handover:?}");
    }

    /// The bytes that a supervisor says this with.
    fn packet(orders: &[Order]) -> Vec<u8> {
        let (one, other) = link::pair().unwrap();
        let mut link: Link<Order, Report> = Link::new(one).unwrap();
        orders.iter().for_each(|order| link.send(order, &[]).unwrap());
        assert!(link.flush().unwrap());
        let mut packet = vec![0; 65536];
        let count = rustix::io::read(&other, &mut packet).unwrap();
        packet.truncate(count);
        packet
    }

    /// Stands in for the supervisor's program: says hello on its link with the bytes of a real one.
    pub(super) fn scripted_supervisor(scratch: &Scratch, rest: &str) -> PathBuf {
        fs::write(scratch.path("hello"), packet(&[Order::Hello { version: VERSION, pid: 1 }])).unwrap();
        fs::write(scratch.path("word"), packet(&[Order::Pong { number: 0 }])).unwrap();
        let script = scratch.path("supervisor");
        let hello = scratch.path("hello");
        let text = format!(
            "#!/bin/sh\nhello() {{ cat {} >&3; }}\nword() {{ cat word >&3; }}\ncd {}\n{rest}\n",
            hello.display(),
            scratch.0.display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        script
    }

    /// A keeper with a supervisor of its own; told to end, with all it has, when dropped.
    pub(super) struct Started(std::process::Child);

    impl Started {
        pub(super) fn new(script: &Path, arguments: &[&str]) -> Self {
            let mut command = keeper_command(&[]);
            command.arg("--supervisor").arg(script).args(arguments).stdout(Stdio::null());
            Self(command.spawn().unwrap())
        }

        /// With a control listener, and what the shell opens as descriptor 5.
        pub(super) fn with_door(door: OwnedFd, script: &Path, words: &str, arguments: &[&str]) -> Self {
            let words = format!("{words}; exec \"$0\" \"$@\"");
            let mut command = keeper_command(&["sh", "-c", &words]);
            command.args(["--listen-fd", "0", "--supervisor"]).arg(script).args(arguments);
            command.stdin(Stdio::from(door)).stdout(Stdio::null());
            Self(command.spawn().unwrap())
        }

        fn terminate(&self) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }

        #[track_caller]
        fn code(&mut self) -> Option<i32> {
            eventually("the keeper ends", || self.0.try_wait().unwrap()).code()
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            if matches!(self.0.try_wait(), Ok(None)) {
                self.terminate();
                self.code();
            }
        }
    }

    #[test]
    fn a_supervisor_that_cannot_begin_ends_the_keeper_with_its_status() {
        let scratch = Scratch::new();
        let script = scripted_supervisor(&scratch, "exit 2");
        let mut keeper = Started::new(&script, &["--", "up"]);
        assert_eq!(keeper.code(), Some(2));
        let mut keeper = Started::new(Path::new("/no/such"), &["--", "up"]);
        assert_eq!(keeper.code(), Some(1));
    }

    #[test]
    fn a_supervisor_that_dies_is_started_again_with_the_same_words_and_descriptors() {
        let scratch = Scratch::new();
        let rest = "echo \"$0 $* $(ls /proc/$$/fd | tr '\\n' ' ')\" >> starts\nhello\n[ $(wc -l < starts) -lt 4 ] && kill -9 $$\nexec sleep 1000";
        let script = scripted_supervisor(&scratch, rest);
        let mut keeper =
            Started::new(&script, &["--patience-divisor", "10", "--shutdown-ms", "100", "--", "up", "dir"]);
        let starts = eventually("four starts", || {
            let starts = fs::read_to_string(scratch.path("starts")).ok()?;
            (starts.lines().count() == 4).then_some(starts)
        });
        for line in starts.lines() {
            assert!(line.contains("__supervisor up dir"), "{line}");
            assert!(line.contains(" 3 "), "{line}");
        }
        keeper.terminate();
        assert_eq!(keeper.code(), Some(128 + 15));
    }

    /// After each of its orders the policy's pause, and then no more than the start of a program takes.
    #[test]
    fn a_supervisor_killed_between_its_orders_and_the_answers_is_replaced_each_time() {
        const DEATHS: u32 = 8;
        const ORDERS: u32 = 5;
        let scratch = Scratch::new();
        for number in 0..DEATHS * ORDERS {
            let script =
                format!("echo x >> {}; exec sleep 1000", scratch.path(&format!("ran{number}")).display());
            let mut orders = Vec::from([Order::Spawn(Box::new(shell(u64::from(number) + 1, &script)))]);
            let file = scratch.path(&format!("orders{}", number / ORDERS));
            // A packet each, so that it dies between one that is read and one that is not.
            let name = format!("{}-{}", file.display(), number % ORDERS);
            fs::write(name, packet(&std::mem::take(&mut orders))).unwrap();
        }
        let rest = "n=$(cat greeted 2>/dev/null | wc -l)\nhello\nread now rest < /proc/uptime; echo $now >> greeted\n\
                    [ -e orders$n-0 ] || exec sleep 1000\nread now rest < /proc/uptime; echo $now >> deaths\n\
                    for packet in orders$n-*; do cat $packet >&3; done\nkill -9 $$";
        let script = scripted_supervisor(&scratch, rest);
        let _keeper = Started::new(&script, &["--patience-divisor", "5", "--shutdown-ms", "100", "--", "up"]);
        let seconds = |name: &str| -> Vec<f64> {
            let text = fs::read_to_string(scratch.path(name)).unwrap_or_default();
            text.lines().map(|line| line.parse().unwrap()).collect()
        };
        let greeted = eventually("one more greeting than deaths", || {
            Some(seconds("greeted")).filter(|greeted| greeted.len() > DEATHS as usize)
        });
        for (at, death) in seconds("deaths").into_iter().enumerate() {
            let pause = if at == 0 { 0.0 } else { f64::min(0.025 * f64::powi(2.0, at as i32), 1.0) };
            let took = greeted[at + 1] - death;
            assert!(took < pause + 2.0, "death {at}: {took} s, of which {pause} s are policy");
        }
        for number in 0..DEATHS * ORDERS {
            let file = scratch.path(&format!("ran{number}"));
            let ran = eventually("every order is carried out", || fs::read_to_string(&file).ok());
            assert_eq!(ran, "x\n", "once");
        }
    }

    /// Two supervisors in a row die before their first word, and one before them while it started the keeper.
    #[test]
    fn a_keeper_that_was_started_for_living_services_gives_no_supervisor_up() {
        let scratch = Scratch::new();
        let rest = "echo x >> starts\n[ $(wc -l < starts) -ge 3 ] || exit 3\nhello\necho x > greeted\nexec sleep 1000";
        let script = scripted_supervisor(&scratch, rest);
        let (ours, theirs) = link::pair().unwrap();
        let mut command = keeper_command(&[]);
        command.args(["--adopt-link-fd", "0", "--supervisor"]).arg(&script);
        command.args(["--patience-divisor", "10", "--shutdown-ms", "100", "--", "up"]);
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let _keeper = Started(command.spawn().unwrap());
        drop((command, ours));
        eventually("the third says hello", || fs::exists(scratch.path("greeted")).unwrap().then_some(()));
    }

    #[test]
    fn a_supervisor_of_another_version_is_named_and_not_listened_to() {
        let scratch = Scratch::new();
        let script = scripted_supervisor(&scratch, "cat foreign >&3\nexec sleep 1000");
        let spawn = Order::Spawn(Box::new(shell(1, &format!("> {}", scratch.path("ran").display()))));
        let hello = Order::Hello { version: VERSION + 1, pid: 1 };
        fs::write(scratch.path("foreign"), packet(&[hello, spawn])).unwrap();
        let complaints = scratch.path("complaints");
        let mut command = keeper_command(&[]);
        command.arg("--supervisor").arg(&script).args(["--patience-divisor", "10", "--", "up"]);
        command.stderr(fs::File::create(&complaints).unwrap());
        let mut keeper = Started(command.spawn().unwrap());
        // It does not end by itself, and never was one to talk to.
        assert_eq!(keeper.code(), Some(128 + 9));
        let said = fs::read_to_string(complaints).unwrap();
        let expected = format!("the supervisor speaks version {} of the link", VERSION + 1);
        assert!(said.contains(&expected), "{said}");
        assert!(!fs::exists(scratch.path("ran")).unwrap(), "its orders count for nothing");
    }

    #[test]
    fn a_supervisor_that_does_not_answer_is_aborted_and_another_one_started() {
        let scratch = Scratch::new();
        let script = scripted_supervisor(&scratch, "echo x >> starts\nhello\nexec sleep 1000");
        let arguments = ["--patience-divisor", "10", "--shutdown-ms", "100", "--", "up"];
        let _keeper = Started::new(&script, &arguments);
        eventually("the first start", || fs::exists(scratch.path("starts")).unwrap().then_some(()));
        eventually("another start", || {
            let starts = fs::read_to_string(scratch.path("starts")).unwrap();
            (starts.lines().count() == 2).then_some(())
        });
    }
}

mod doors {
    use super::supervisors::{Started, scripted_supervisor};
    use super::*;

    fn door(scratch: &Scratch) -> UnixListener {
        UnixListener::bind(scratch.path("door")).unwrap()
    }

    #[test]
    fn the_supervisor_gets_the_lock_and_the_listener_that_the_keeper_was_given() {
        let scratch = Scratch::new();
        let rest = "readlink /proc/$$/fd/4 > got; readlink /proc/$$/fd/5 >> got; mv got seen\nhello\nexec sleep 1000";
        let script = scripted_supervisor(&scratch, rest);
        let listener = door(&scratch);
        let inode = rustix::fs::fstat(&listener).unwrap().st_ino;
        let lock = scratch.path("lock");
        let open = format!("exec 5>{}", lock.display());
        for (words, given, first) in
            [(open.as_str(), vec!["--lock-fd", "5"], lock.to_str().unwrap()), (":", vec![], "/dev/null")]
        {
            let copy = listener.try_clone().unwrap().into();
            let rest = ["--patience-divisor", "10", "--shutdown-ms", "100", "--", "up"];
            let keeper = Started::with_door(copy, &script, words, &[given, rest.to_vec()].concat());
            let seen = eventually("it looks", || fs::read_to_string(scratch.path("seen")).ok());
            assert_eq!(seen, format!("{first}\nsocket:[{inode}]\n"));
            drop(keeper);
            fs::remove_file(scratch.path("seen")).unwrap();
        }
    }

    /// It has read all it was told, and hangs since; nothing happens on the machine.
    #[test]
    fn a_supervisor_that_lets_nobody_in_is_found_out() {
        let scratch = Scratch::new();
        let rest =
            "echo x >> starts\nhello\nsleep 0.1\n[ -e words ] || word\necho x >> words\nexec sleep 1000";
        let script = scripted_supervisor(&scratch, rest);
        let arguments = ["--patience-divisor", "5", "--shutdown-ms", "100", "--", "up"];
        let _keeper = Started::with_door(door(&scratch).into(), &script, ":", &arguments);
        let count = |name: &str| fs::read_to_string(scratch.path(name)).unwrap_or_default().lines().count();
        eventually("it has spoken", || (count("words") == 1).then_some(()));
        // Unread words would be found out after 1 s and 2 s more; there are none.
        let end = now() + Duration::from_millis(1_500);
        eventually("time passes", || (now() > end).then_some(()));
        assert_eq!(count("starts"), 1);
        let _client = UnixStream::connect(scratch.path("door")).unwrap();
        eventually("another one is started", || (count("starts") == 2).then_some(()));
    }
}

mod hostile_machines {
    use super::*;

    #[test]
    fn without_proc_runs_start_end_and_are_known_to_be_over() {
        let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
        let wrapper = [own_mounts(), vec!["sh", "-c", script]].concat();
        let mut keeper = TestKeeper::start_with(&wrapper, &[]);
        keeper.spawn(logged(&keeper, 1, "echo hello; exit 4"));
        assert_eq!(keeper.exit_of(1), (Exit::Code(4), true));
        assert_eq!(keeper.current_log("test"), b"hello\n");
        keeper.spawn(shell(2, "sleep 1000 & sleep 1000"));
        keeper.kill(2);
        let reports = keeper
            .until(|report| matches!(report, Report::Emptied { .. } | Report::Exited { is_empty: true, .. }));
        assert!(matches!(reports[0], Report::Exited { exit: Exit::Signal { number: 9, .. }, .. }));
    }

    #[test]
    fn as_the_first_process_it_reaps_and_takes_signals() {
        let mut keeper = TestKeeper::start_with(&own_machine(), &[]);
        keeper.spawn(shell(1, "(setsid sleep 0.01 &) ; exit 6"));
        let reports = keeper
            .until(|report| matches!(report, Report::Emptied { .. } | Report::Exited { is_empty: true, .. }));
        assert!(matches!(reports[0], Report::Exited { exit: Exit::Code(6), .. }), "{reports:?}");
        keeper.send(&Order::Spawn(Box::new(shell(2, "kill -TERM 1; sleep 1000"))));
        keeper.until(|report| matches!(report, Report::Signalled { signal: 15, .. }));
    }
}

mod a_dead_keeper {
    use super::*;

    #[test]
    fn leaves_runs_that_a_new_keeper_watches_logs_and_ends() {
        // Orphans come to this process, which reaps none but its own: adopted ends stay visible.
        let mut keeper = TestKeeper::start();
        let gate = keeper.scratch.path("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
        let script = format!("echo before; read x < {}; echo after; exit 5", gate.display());
        let log = keeper.log("test");
        keeper.send(&Order::Spawn(Box::new(SpawnOrder { log: Some(log.clone()), ..shell(1, &script) })));
        let (report, descriptors) = keeper.next_with_descriptors();
        let Report::Spawned { pid, start_time, carries, .. } = report else { panic!("{report:?}") };
        assert_eq!(descriptors.len(), 2, "pidfd and pipe");
        eventually("it speaks", || (keeper.current_log("test") == b"before\n").then_some(()));
        keeper.kill_keeper();
        let mut adopter = AdoptedLink::start();
        let adopt = AdoptOrder {
            run: 1,
            unit: "test".into(),
            ordinal: 1,
            pid,
            start_time,
            log: Some(log),
            carries,
            ..AdoptOrder::default()
        };
        adopter.send_with(&Order::Adopt(Box::new(adopt)), descriptors);
        drop(fs::OpenOptions::new().write(true).open(&gate).unwrap());
        match adopter.next() {
            // Who waits for it, and whether the kernel tells, differs from machine to machine.
            Report::Exited { run: 1, exit: Exit::Code(5) | Exit::Unknown, is_empty: true, .. } => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(keeper.current_log("test"), b"before\nafter\n");
    }

    #[test]
    fn leaves_runs_that_the_new_keeper_can_kill_with_all_they_started() {
        let mut keeper = TestKeeper::start();
        let file = keeper.scratch.path("pid");
        let script = format!("setsid sleep 1000 & echo $! > {}; wait", file.display());
        keeper.send(&Order::Spawn(Box::new(SpawnOrder { ordinal: 2, ..shell(1, &script) })));
        let (report, descriptors) = keeper.next_with_descriptors();
        let Report::Spawned { pid, start_time, carries, .. } = report else { panic!("{report:?}") };
        let child = pid_in(&file);
        keeper.kill_keeper();
        let mut adopter = AdoptedLink::start();
        let adopt = AdoptOrder {
            run: 1,
            unit: "test".into(),
            ordinal: 2,
            pid,
            start_time,
            carries,
            ..AdoptOrder::default()
        };
        adopter.send_with(&Order::Adopt(Box::new(adopt)), descriptors);
        adopter.send_with(&Order::Signal { run: 1, signal: 9, scope: Scope::All }, Vec::new());
        assert!(matches!(adopter.next(), Report::Exited { run: 1, .. }));
        eventually("the child is killed too", || (!is_alive(child)).then_some(()));
    }

    #[test]
    fn leaves_the_rest_of_a_run_whose_leader_ended_before() {
        let mut keeper = TestKeeper::start();
        let file = keeper.scratch.path("pid");
        let script =
            format!("sleep 1000 & while ! [ -s {0} ]; do echo $! > {0}; done; exit 5", file.display());
        let pid = keeper.spawn(SpawnOrder { ordinal: 3, ..shell(1, &script) });
        assert_eq!(keeper.exit_of(1), (Exit::Code(5), false));
        let left = pid_in(&file);
        keeper.kill_keeper();
        let mut adopter = AdoptedLink::start();
        let pid = u32::try_from(pid).unwrap();
        let exit = Some(Exit::Code(5));
        let adopt =
            AdoptOrder { run: 1, unit: "test".into(), ordinal: 3, pid, exit, ..AdoptOrder::default() };
        adopter.send_with(&Order::Adopt(Box::new(adopt)), Vec::new());
        adopter.send_with(&Order::Signal { run: 1, signal: 9, scope: Scope::All }, Vec::new());
        assert_eq!(adopter.next(), Report::Emptied { run: 1 });
        assert!(!is_alive(left));
    }

    #[test]
    fn is_followed_by_one_that_tells_ends_as_ends_however_early_they_come() {
        let mut adopter = AdoptedLink::start_prepared(|_command| {});
        adopter.queue(&Order::Hello { version: VERSION, pid: 0 });
        let gone = AdoptOrder { run: 1, unit: "test".into(), pid: 2, start_time: 1, ..AdoptOrder::default() };
        adopter.queue(&Order::Adopt(Box::new(gone)));
        adopter.send_with(&Order::Remember { key: b"k".to_vec(), value: b"v".to_vec() }, Vec::new());
        assert!(matches!(adopter.next(), Report::Hello { .. }));
        assert_eq!(adopter.next(), Report::HandedOver { rows: 0, notes: 0 });
        assert!(matches!(adopter.next(), Report::Exited { run: 1, exit: Exit::Unknown, is_empty: true, .. }));
    }

    #[test]
    fn is_followed_by_one_that_gives_runs_the_oom_score_of_the_first() {
        let mut adopter = AdoptedLink::start_prepared(|command| {
            command.env("MCSUP_OOM_SCORE", "77");
        });
        adopter.send_with(&Order::Hello { version: VERSION, pid: 0 }, Vec::new());
        let scratch = Scratch::new();
        let script = format!("cat /proc/self/oom_score_adj > {}", scratch.path("score").display());
        adopter.send_with(&Order::Spawn(Box::new(shell(1, &script))), Vec::new());
        while !matches!(adopter.next(), Report::Exited { .. }) {}
        let score = fs::read_to_string(scratch.path("score")).unwrap();
        // Who may not protect the keeper has changed nothing that could be put back.
        let of = |who: &str| fs::read_to_string(format!("/proc/{who}/oom_score_adj")).unwrap();
        let is_protected = of(&adopter.pid().to_string()).trim() == "-1000";
        let expected = if is_protected { "77".into() } else { of("self") };
        assert_eq!(score.trim(), expected.trim());
    }

    #[test]
    fn a_pid_that_means_somebody_else_now_is_not_adopted() {
        let mut keeper = TestKeeper::start();
        let me = std::process::id();
        let stranger = AdoptOrder {
            run: 1,
            unit: "test".into(),
            ordinal: 1,
            pid: me,
            start_time: 1,
            ..AdoptOrder::default()
        };
        keeper.send(&Order::Adopt(Box::new(stranger)));
        assert_eq!(keeper.exit_of(1), (Exit::Unknown, true));
        keeper.kill(1);
        assert_eq!(keeper.next_before_pong(), None);
    }
}
