//! One table of real sentences for each rule, and the order between the rules.

use super::*;
use crate::incident::evidence::{
    Answer, Change, ControlGroup, Disk, Exit, Failure, FailureKind, Memory, Neighbour, OomVerdict,
    OutOfMemory, Port, Process, Restart, Thread,
};
use crate::incident::times::Times;

const START: u64 = 1_000_000_000;

fn failed(kind: FailureKind, said: &str) -> Evidence {
    let failure = Failure { kind, said: said.into(), ..Failure::default() };
    let times = Times { started_millis: START, detected_millis: START + 100, recovered_millis: None };
    Evidence { unit: "app".into(), failure, times, ..Evidence::default() }
}

fn exited(code: u8) -> Evidence {
    let exit = Some(Exit { code: Some(code), ..Exit::default() });
    Evidence { exit, ..failed(FailureKind::Exited, &format!("exited with {code}")) }
}

fn killed_by(signal: u8) -> Evidence {
    let exit = Some(Exit { signal: Some(signal), ..Exit::default() });
    Evidence { exit, ..failed(FailureKind::Exited, &format!("killed by signal {signal}")) }
}

fn not_started(step: &str, errno: i32) -> Evidence {
    let mut evidence = failed(FailureKind::NotStarted, "cannot start: the system's words");
    evidence.failure.step = Some(step.into());
    evidence.failure.errno = Some(errno);
    evidence
}

impl Evidence {
    fn log(mut self, lines: &[&str]) -> Self {
        self.log.lines = lines.iter().copied().map(Into::into).collect();
        self
    }

    fn stranger(mut self, port: u16) -> Self {
        let address = format!("127.0.0.1:{port}");
        let (protocol, process) = ("tcp".into(), "nginx".into());
        self.strangers = vec![Port { protocol, address, port, pid: Some(77), process, unit: String::new() }];
        self
    }

    fn state(mut self, state: &str) -> Self {
        let (pid, name) = (12, "redis-server".into());
        self.processes = vec![Process { pid, name, state: state.into(), ..Process::default() }];
        self
    }

    fn dependency(mut self, state: &str, since_millis: u64) -> Self {
        let (unit, reason) = ("db".into(), "tcp: connection refused".into());
        self.dependencies.push(Neighbour {
            unit,
            state: state.into(),
            reason,
            since_millis,
            is_wanted: true,
        });
        self
    }

    fn disk(mut self, free_bytes: u64) -> Self {
        let (what, path) = ("state".into(), "/var/lib/app".into());
        self.disks = vec![Disk { what, path, free_bytes, total_bytes: 1_000_000, free_files: Some(9) }];
        self
    }

    fn changed(mut self, before_millis: u64) -> Self {
        self.change = Some(Change { at_millis: START - before_millis, what: "command of app".into() });
        self
    }

    fn oom(mut self, verdict: OomVerdict) -> Self {
        let text = "Out of memory: Killed process 12".to_owned();
        self.out_of_memory = OutOfMemory { verdict, source: "kernel log".into(), text };
        self
    }

    fn probe(mut self, said: &str) -> Self {
        let (probe, verdict, said) = ("redis".into(), "fail".into(), said.into());
        self.probes.push(Answer { probe, verdict, said, ..Answer::default() });
        self
    }

    fn lived(mut self, millis: u64) -> Self {
        self.restarts = vec![Restart { at_millis: START - millis, ordinal: 1, why: String::new() }];
        self
    }
}

/// The first cause, with its sentence and its fact.
fn first(evidence: &Evidence) -> (Rule, String, String) {
    let Cause { rule, sentence, fact, .. } = rank(evidence).into_iter().next().expect("a cause is found");
    (rule, sentence, fact)
}

#[track_caller]
fn expect(evidence: &Evidence, rule: Rule, sentence: &str, fact: &str) {
    let found = first(evidence);
    assert_eq!((found.0, found.1.as_str()), (rule, sentence), "{:#?}", rank(evidence));
    assert!(found.2.contains(fact), "{:?} does not show {fact:?}", found.2);
}

const REDIS_PORT: &str = "12:M 20 Nov 2026 11:00:01.123 # Warning: Could not create server TCP listening socket *:6379: bind: Address already in use";
const NGINX_PORT: &str =
    "2026/11/20 11:00:01 [emerg] 7#7: bind() to 0.0.0.0:80 failed (98: Address already in use)";
const NGINX_DENIED: &str =
    "2026/11/20 11:00:01 [emerg] 7#7: open() \"/var/log/nginx/access.log\" failed (13: Permission denied)";
const POSTGRES_DENIED: &str = "2026-11-20 11:00:01.500 UTC [77] FATAL:  data directory \"/var/lib/postgresql/17/main\" has invalid permissions";
const POSTGRES_FULL: &str = "2026-11-20 11:00:01.500 UTC [77] PANIC:  could not write to file \"pg_wal/xlogtemp.77\": No space left on device";
const REDIS_FULL: &str =
    "77:M 20 Nov 2026 11:00:01.123 # Write error saving DB on disk: No space left on device";
const POSTGRES_PASSWORD: &str = "FATAL:  password authentication failed for user \"app\"";

#[test]
fn a_port_that_is_taken_names_who_has_it() {
    let redis = exited(1).log(&[
        "oO0OoO0OoO0Oo Redis is starting",
        REDIS_PORT,
        "Failed listening on port 6379 (tcp), aborting.",
    ]);
    expect(
        &redis.clone().stranger(6379),
        Rule::PortInUse,
        "127.0.0.1:6379 is taken by nginx (pid 77)",
        "*:6379: bind",
    );
    expect(&redis, Rule::PortInUse, "port 6379 was in use; by now nobody listens there", "*:6379: bind");
    expect(
        &exited(1).log(&[NGINX_PORT]),
        Rule::PortInUse,
        "port 80 was in use; by now nobody listens there",
        "0.0.0.0:80",
    );
    let python = ["Traceback (most recent call last):", "OSError: [Errno 98] Address already in use"];
    expect(
        &exited(1).log(&python),
        Rule::PortInUse,
        "its address was in use; by now nobody listens there",
        "Errno 98",
    );
    expect(
        &exited(1).stranger(80),
        Rule::PortInUse,
        "127.0.0.1:80 is taken by nginx (pid 77)",
        "tcp 127.0.0.1:80",
    );
}

#[test]
fn the_port_of_another_unit_is_no_reason_unless_the_log_says_so() {
    let mut asks_through = failed(FailureKind::Unhealthy, "postgres: no answer within 1s").stranger(5432);
    asks_through.strangers[0].unit = "db".into();
    assert!(
        rank(&asks_through).iter().all(|cause| cause.rule != Rule::PortInUse),
        "it asks the other's port"
    );
    let mut wants = exited(1).log(&[REDIS_PORT]).stranger(6379);
    wants.strangers[0].unit = "cache".into();
    expect(&wants, Rule::PortInUse, "127.0.0.1:6379 is taken by nginx (pid 77) of cache", "*:6379: bind");
}

#[test]
fn a_program_that_is_missing_is_named_with_its_step() {
    expect(
        &not_started("exec", libc::ENOENT),
        Rule::ExecutableMissing,
        "its program does not exist",
        "cannot start",
    );
    expect(
        &not_started("working directory", libc::ENOENT),
        Rule::ExecutableMissing,
        "what the start needs does not exist, at the step working directory",
        "cannot start",
    );
    let shell = exited(127).log(&["/bin/sh: 1: redis-serve: not found"]);
    expect(&shell, Rule::ExecutableMissing, "a program that it calls does not exist", "redis-serve");
    assert!(rank(&exited(1).log(&["key not found"])).is_empty(), "not every 404 is a missing program");
}

#[test]
fn what_may_not_be_used_is_named() {
    expect(
        &not_started("exec", libc::EACCES),
        Rule::Permission,
        "it may not do what the start needs, at the step exec",
        "cannot start",
    );
    expect(
        &exited(1).log(&[NGINX_DENIED]),
        Rule::Permission,
        "it may not use /var/log/nginx/access.log",
        "Permission denied",
    );
    expect(
        &exited(1).log(&[POSTGRES_DENIED]),
        Rule::Permission,
        "it may not use /var/lib/postgresql/17/main",
        "FATAL",
    );
    let redis = "12:M # Failed opening the temp RDB file temp-9.rdb (in server root dir /srv/data) for saving: Permission denied";
    expect(&exited(1).log(&[redis]), Rule::Permission, "it may not use /srv/data", "temp-9.rdb");
    let python = exited(1).log(&["PermissionError: [Errno 13] Permission denied: '/etc/app.key'"]);
    expect(&python, Rule::Permission, "it may not use /etc/app.key", "Errno 13");
    expect(
        &exited(126).log(&["sh: 1: ./run: Permission denied"]),
        Rule::Permission,
        "a program that it calls may not be executed",
        "./run",
    );
}

#[test]
fn want_of_memory_is_told_from_a_kill_by_hand() {
    let told = "the kernel killed it for want of memory";
    expect(&killed_by(9).oom(OomVerdict::Killed), Rule::OutOfMemory, told, "kernel log: Out of memory");
    let by_hand = "somebody killed it with signal 9; it was not mcsup";
    expect(&killed_by(9).oom(OomVerdict::NotKilled), Rule::Killed, by_hand, "the kernel log has no kill");
    expect(&killed_by(9), Rule::Killed, by_hand, "signal 9");
    let mut scarce = killed_by(9);
    scarce.memory = Some(Memory { available_bytes: 5, total_bytes: 100, pressure: None });
    expect(&scarce, Rule::OutOfMemory, "the kernel may have killed it for want of memory", "signal 9");
    let mut ours = killed_by(9);
    ours.exit.as_mut().unwrap().is_ours = true;
    expect(&ours, Rule::KilledByOperator, "an operator sent SIGKILL (mcsup kill)", "signal 9");
    ours.failure.kind = FailureKind::Watchdog;
    let is_told = rank(&ours).iter().any(|cause| cause.rule == Rule::KilledByOperator);
    assert!(!is_told, "what mcsup did by itself is nobody's wish");
}

const POSTGRES_CHILD: &str =
    "2026-11-20 11:00:01.500 UTC [77] LOG:  server process (PID 4242) was terminated by signal 9: Killed";

#[test]
fn a_child_that_was_killed_is_want_of_memory_where_memory_was_scarce() {
    let crashed = [POSTGRES_CHILD, "LOG:  terminating any other active server processes"];
    let by_hand = "a child of it was killed by signal 9";
    expect(&exited(1).log(&crashed), Rule::Killed, by_hand, "PID 4242");
    let lives = failed(FailureKind::Unhealthy, "postgres: the database system is in recovery mode");
    expect(&lives.clone().log(&crashed), Rule::Killed, by_hand, "PID 4242");
    let mut scarce = lives.clone().log(&crashed);
    scarce.memory = Some(Memory { available_bytes: 5, total_bytes: 100, pressure: None });
    let perhaps = "the kernel may have killed a child of it for want of memory";
    expect(&scarce, Rule::OutOfMemory, perhaps, "PID 4242");
    let mut at_its_limit = lives.clone().log(&crashed);
    let events = [("oom".to_owned(), 1)].into();
    at_its_limit.control_group = Some(ControlGroup { events, ..ControlGroup::default() });
    expect(&at_its_limit, Rule::OutOfMemory, perhaps, "PID 4242");
    let told = "the kernel killed a child of it for want of memory";
    let known = exited(1).log(&crashed).oom(OomVerdict::Killed);
    expect(&known, Rule::OutOfMemory, told, "kernel log: Out of memory");
    let known = exited(1).log(&crashed).oom(OomVerdict::NotKilled);
    expect(&known, Rule::Killed, by_hand, "the kernel log has no kill");
    // Its group counts a kill, and nothing tells whose.
    let counted = failed(FailureKind::Unhealthy, "http: no answer within 3s").oom(OomVerdict::Killed);
    let sentence = "the kernel killed a process of its control group for want of memory";
    expect(&counted, Rule::OutOfMemory, sentence, "kernel log: Out of memory");
    for line in [
        "[2026-11-20 11:00:01 +0000] [7] [ERROR] Worker (pid:123) was sent SIGKILL! Perhaps out of memory?",
        "2026/11/20 11:00:01 [alert] 7#7: worker process 123 exited on signal 9",
        "DAMN ! worker 1 (pid: 123) died, killed by signal 9 :( trying respawn ...",
        "WARNING: [pool www] child 123 exited on signal 9 (SIGKILL) after 3.5 seconds from start",
    ] {
        expect(&lives.clone().log(&[line]), Rule::Killed, by_hand, line);
    }
    for line in ["killed by signal 95", "worker waits for signal 9", "PID 9 was terminated by signal 11"] {
        assert!(rank(&lives.clone().log(&[line])).is_empty(), "{line}");
    }
}

#[test]
fn a_complaint_of_long_ago_comes_after_what_is_seen_now() {
    let harmless = "7:C # Failed to set the maximum of open files: Operation not permitted";
    let ready = "7:M * Ready to accept connections tcp";
    let late = || failed(FailureKind::Unhealthy, "redis: no answer within 300ms");
    // Said at the start, after which it worked.
    let rules = |evidence: &Evidence| rank(evidence).iter().map(|cause| cause.rule).collect::<Vec<_>>();
    assert_eq!(rules(&late().log(&[harmless, ready])), [Rule::Timeout, Rule::Permission]);
    let client = "FATAL:  password authentication failed for user \"stranger\"";
    let full = "could not write to file: No space left on device";
    let talk = ["one", "two", "three", "four", "five"];
    for (line, rule) in [(harmless, Rule::Permission), (client, Rule::Authentication), (full, Rule::DiskFull)]
    {
        let long_ago = [&[line], talk.as_slice()].concat();
        assert_eq!(rules(&late().log(&long_ago)), [Rule::Timeout, rule], "{line}");
        let just_now = [talk.as_slice(), &[line]].concat();
        assert_eq!(rules(&late().log(&just_now)), [rule, Rule::Timeout], "{line}");
        // Who exits says why, and says more: the trace of a stack.
        assert_eq!(first(&exited(1).log(&long_ago).lived(100)).0, rule, "{line}");
        assert_eq!(rules(&killed_by(9).log(&long_ago)), [Rule::Killed, Rule::OutOfMemory, rule], "{line}");
        let words = std::iter::once(line).chain(std::iter::repeat_n("and so on", 30));
        let long_before = exited(1).log(&words.collect::<Vec<_>>()).lived(100);
        assert_eq!(rules(&long_before), [rule, Rule::ExitAfterStart], "{line}");
        let cause = rank(&long_before).into_iter().next().unwrap();
        assert!(cause.score < 50, "{cause:?}");
    }
}

#[test]
fn a_crash_is_named_with_its_core() {
    expect(&killed_by(11), Rule::Crashed, "it crashed with SIGSEGV", "signal 11; no core");
    let mut dumped = killed_by(6);
    dumped.exit.as_mut().unwrap().dumped_core = true;
    dumped.core =
        Some(crate::incident::evidence::Core { path: Some("/cores/core.12".into()), ..Default::default() });
    expect(&dumped, Rule::Crashed, "it crashed with SIGABRT", "core at /cores/core.12");
}

#[test]
fn a_stopped_process_is_seen_behind_probes_that_time_out() {
    let evidence = failed(FailureKind::Unhealthy, "redis: no answer within 2s").state("T");
    expect(
        &evidence,
        Rule::Stopped,
        "it was stopped by a signal (SIGSTOP)",
        "redis-server (pid 12) is in state T",
    );
    let traced = failed(FailureKind::Unhealthy, "redis: no answer within 2s").state("t");
    expect(&traced, Rule::Stopped, "a debugger holds it", "state t");
}

#[test]
fn a_full_disk_is_seen_in_the_log_and_by_its_numbers() {
    expect(&exited(1).log(&[POSTGRES_FULL]), Rule::DiskFull, "a disk that it writes to is full", "xlogtemp");
    let both = failed(FailureKind::Unhealthy, "redis: MISCONF").log(&[REDIS_FULL]).disk(10);
    expect(&both, Rule::DiskFull, "the disk of its state (/var/lib/app) is full", "Write error");
    expect(
        &exited(1).disk(10),
        Rule::DiskFull,
        "the disk of its state (/var/lib/app) is nearly full",
        "10 of 1000000",
    );
    assert!(rank(&exited(1).disk(500_000)).is_empty());
    let mut no_files = exited(1).disk(500_000);
    no_files.disks[0].free_files = Some(0);
    expect(
        &no_files,
        Rule::DiskFull,
        "the disk of its state (/var/lib/app) has room for no more files",
        "free",
    );
}

#[test]
fn a_dependency_that_was_down_first_explains_it() {
    let refused = "psycopg2.OperationalError: could not connect to server: Connection refused";
    let evidence = exited(1)
        .log(&[refused, refused, refused])
        .dependency("ready", 5)
        .dependency("unhealthy", START - 50);
    expect(
        &evidence,
        Rule::DependencyDown,
        "db, which it needs, is unhealthy",
        "db: tcp: connection refused",
    );
    let later = killed_by(11).dependency("stopping", START + 5000);
    expect(&later, Rule::Crashed, "it crashed with SIGSEGV", "signal 11");
}

#[test]
fn a_wrong_password_is_seen_in_the_log_and_in_the_probe() {
    expect(
        &exited(1).log(&[POSTGRES_PASSWORD]),
        Rule::Authentication,
        "wrong or missing password",
        "user \"app\"",
    );
    let words =
        ["WRONGPASS invalid username-password pair or user is disabled.", "NOAUTH Authentication required."];
    for said in words {
        let evidence = failed(FailureKind::Unhealthy, said).probe(said);
        expect(&evidence, Rule::Authentication, "its probe was refused: wrong or missing password", said);
    }
    let mysql = exited(1)
        .log(&["ERROR 1045 (28000): Access denied for user 'app'@'localhost' (using password: YES)"]);
    expect(&mysql, Rule::Authentication, "wrong or missing password", "1045");
}

#[test]
fn a_recent_change_is_told_with_its_age_and_an_old_one_is_not() {
    let sentence = "its configuration was changed 3m20s before";
    expect(&exited(1).changed(200_000), Rule::ConfigurationChanged, sentence, "command of app");
    let sentence = "its configuration was changed 20s before";
    expect(&exited(1).changed(20_000), Rule::ConfigurationChanged, sentence, "command of app");
    assert!(rank(&exited(1).changed(16 * 60_000)).is_empty());
}

#[test]
fn a_complaint_that_comes_three_times_is_one_whatever_its_numbers() {
    let lines = [
        "2026-11-20 11:00:01 ERROR worker 7: upstream returned 502 after 350ms",
        "all is well",
        "2026-11-20 11:00:02 ERROR worker 9: upstream returned 502 after 12ms",
        "2026-11-20 11:00:09 ERROR worker 10: upstream returned 503 after 7ms",
    ];
    let sentence = "it complained 3 times of the same";
    expect(&exited(1).log(&lines), Rule::RepeatedError, sentence, "worker 10");
    assert!(rank(&exited(1).log(&lines[..3])).is_empty(), "twice may be chance");
}

#[test]
fn a_timeout_says_where_it_hangs() {
    let mut evidence = failed(FailureKind::StartTimeout, "not ready within 1m").state("S");
    evidence.processes[0].threads = vec![Thread { waits_in: "futex_wait_queue".into(), ..Thread::default() }];
    expect(
        &evidence,
        Rule::Timeout,
        "it was not ready in time",
        "not ready within 1m; it waits in futex_wait_queue",
    );
    let probe = failed(FailureKind::Unhealthy, "http: no answer within 3s");
    expect(&probe, Rule::Timeout, "it did not answer its probe in time", "3s");
    assert!(rank(&failed(FailureKind::Unhealthy, "http: 500 in 3 ms")).is_empty());
}

#[test]
fn an_exit_right_after_the_start_shows_the_last_words() {
    let python = [
        "Traceback (most recent call last):",
        "  File \"/app/main.py\", line 1, in <module>",
        "    import flask",
        "ModuleNotFoundError: No module named 'flask'",
    ];
    let sentence = "it exited with 1 only 350ms after its start";
    expect(&exited(1).log(&python).lived(350), Rule::ExitAfterStart, sentence, "No module named 'flask'");
    assert!(rank(&exited(1).lived(60_000)).is_empty());
}

#[test]
fn only_what_this_run_said_counts() {
    let mut evidence = exited(1).log(&[REDIS_PORT, "starting"]);
    evidence.log.of_run = Some(1);
    assert!(rank(&evidence).is_empty(), "the port was taken in an earlier run");
}

#[test]
fn the_more_direct_fact_comes_first() {
    // Each line adds a fact that ranks before all those of the lines below it.
    let all = exited(1)
        .log(&[REDIS_PORT, REDIS_FULL, POSTGRES_DENIED, POSTGRES_PASSWORD])
        .stranger(6379)
        .state("T")
        .disk(10)
        .dependency("failed", START - 1000)
        .lived(100)
        .changed(1000);
    let rules: Vec<Rule> = rank(&all).iter().map(|cause| cause.rule).collect();
    let expected = [
        Rule::DiskFull,
        Rule::PortInUse,
        Rule::Stopped,
        Rule::DependencyDown,
        Rule::Permission,
        Rule::Authentication,
        Rule::ExitAfterStart,
        Rule::ConfigurationChanged,
    ];
    assert_eq!(rules, expected);
    let missing = not_started("exec", libc::ENOENT).dependency("failed", 1).disk(10).changed(5);
    assert_eq!(first(&missing).0, Rule::ExecutableMissing);
    let oom = killed_by(9).oom(OomVerdict::Killed).log(&[REDIS_PORT]).stranger(6379).changed(5);
    assert_eq!(first(&oom).0, Rule::OutOfMemory);
    let scores: Vec<u8> = rank(&all).iter().map(|cause| cause.score).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
}
