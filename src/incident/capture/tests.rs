//! Evidence of real processes.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::incident::evidence::OomVerdict;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcsup-capture-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("log")).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Ends with its whole group.
struct Running(Child);

impl Running {
    #[expect(clippy::disallowed_methods, reason = "the subject of the test; no keeper is at hand")]
    fn shell(script: &str, tag: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).env("MCSUP_RUN", tag).process_group(0);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        self.0.wait().ok();
    }
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

fn point_in(file: &Path, offset: u64) -> LogPoint {
    use std::os::unix::fs::MetadataExt as _;
    LogPoint { inode: std::fs::metadata(file).unwrap().ino(), offset }
}

fn until(holds: impl Fn() -> bool) {
    let deadline = Deadline::after(Duration::from_secs(30));
    while !holds() {
        assert!(!deadline.is_over(), "it does not come to pass");
        std::thread::yield_now();
    }
}

fn capture(subject: Subject) -> Evidence {
    capture_within(&Capturer::default(), subject, Duration::from_secs(60))
}

fn capture_within(capturer: &Capturer, subject: Subject, limit: Duration) -> Evidence {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let evidence = runtime.block_on(capturer.capture(subject, limit));
    runtime.shutdown_background();
    evidence
}

#[test]
fn a_live_run_is_seen_with_its_children_what_they_wait_in_and_its_log() {
    let dir = Dir::new("live");
    std::fs::write(dir.0.join("log/current"), "old\nstarting\nERROR: no\n").unwrap();
    let mut running = Running::shell("sleep 1000 & echo $!; wait", "web#3:17");
    let child: i32 = running.line().parse().unwrap();
    let evidence = capture(Subject {
        incident: 5,
        unit: "web".into(),
        run: "web#3:17".into(),
        pid: Some(running.pid()),
        is_live: true,
        log_dir: Some(dir.0.join("log")),
        log_from: Some(point_in(&dir.0.join("log/current"), 4)),
        directories: vec![("log".into(), dir.0.clone()), ("state".into(), "/no/such".into())],
        ..Subject::default()
    });
    let pids: Vec<i32> = evidence.processes.iter().map(|process| process.pid).collect();
    assert_eq!(pids, [running.pid(), child]);
    let main = &evidence.processes[0];
    assert_eq!((main.name.as_str(), main.state.as_str()), ("sh", "S"));
    assert!(main.command.starts_with("/bin/sh -c sleep 1000"), "{main:?}");
    assert!(main.open_files.is_some_and(|count| count >= 3) && main.memory_bytes > 0, "{main:?}");
    assert_eq!(main.threads.len(), 1);
    assert_eq!(evidence.log.own_lines(), ["starting", "ERROR: no"]);
    assert_eq!(evidence.disks.len(), 1);
    assert!(evidence.disks[0].total_bytes > 0);
    assert!(evidence.memory.as_ref().is_some_and(|memory| memory.available_bytes < memory.total_bytes));
    assert_eq!(evidence.incomplete.len(), 1, "{:?}", evidence.incomplete);
    assert_eq!(evidence.incomplete[0].what, "disk of state");
    // It counts in the group that this test is in, where there is one.
    let own = processes::memory_group(Path::new("/proc"), "self");
    let counts =
        |dir: &PathBuf| ["memory.events", "memory.oom_control"].iter().any(|name| dir.join(name).exists());
    let group = evidence.control_group.map(|group| (PathBuf::from(group.path), group.is_shared));
    assert_eq!(group, own.filter(counts).map(|own| (own, true)));
}

#[test]
fn a_stopped_process_is_seen_as_stopped() {
    let mut running = Running::shell("echo here; kill -STOP $$; echo awake", "x#1:1");
    assert_eq!(running.line(), "here");
    let stat = format!("/proc/{}/stat", running.pid());
    until(|| std::fs::read_to_string(&stat).unwrap().contains(") T "));
    let subject = Subject { pid: Some(running.pid()), is_live: true, ..Subject::default() };
    assert_eq!(capture(subject).processes[0].state, "T");
}

#[test]
fn an_orphan_of_an_ended_run_is_found_by_its_tag_and_a_namesake_elsewhere_is_not() {
    let mut parent = Running::shell("setsid sleep 1000 & echo $!; wait", "other#1:1");
    let orphan: i32 = parent.line().parse().unwrap();
    // setsid(1) runs in place of the shell's child: wait until it has a session of its own.
    let of_own = || std::fs::read_to_string(format!("/proc/{orphan}/cmdline")).unwrap().starts_with("sleep");
    until(of_own);
    let subject = |orphans_of| Subject {
        run: "other#1:1".into(),
        pid: Some(i32::MAX - 5),
        orphans_of,
        ..Subject::default()
    };
    let found: Vec<i32> =
        capture(subject(Some(parent.pid()))).processes.iter().map(|found| found.pid).collect();
    assert_eq!(found, [orphan]);
    assert!(capture(subject(None)).processes.is_empty());
    let orphan = rustix::process::Pid::from_raw(orphan).unwrap();
    rustix::process::kill_process(orphan, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn who_holds_the_port_that_the_log_names_is_found() {
    let dir = Dir::new("port");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let line =
        format!("Could not create server TCP listening socket *:{port}: bind: Address already in use\n");
    std::fs::write(dir.0.join("log/current"), line).unwrap();
    let by_log = capture(Subject { log_dir: Some(dir.0.join("log")), ..Subject::default() });
    let by_unit = capture(Subject { ports: vec![port], ..Subject::default() });
    for evidence in [by_log, by_unit] {
        let [stranger] = evidence.strangers.as_slice() else { panic!("{:?}", evidence.strangers) };
        assert_eq!((stranger.port, stranger.protocol.as_str()), (port, "tcp"));
        assert_eq!(stranger.pid, Some(own_pid()));
        assert!(!stranger.process.is_empty());
        assert!(evidence.is_complete(), "{:?}", evidence.incomplete);
    }
    // To itself, this process is no stranger.
    let pid = Some(own_pid());
    let evidence = capture(Subject { ports: vec![port], pid, is_live: true, ..Subject::default() });
    assert_eq!(evidence.strangers, []);
    assert!(evidence.ports.iter().any(|found| found.port == port));
}

#[test]
fn a_group_that_counts_a_kill_tells_of_want_of_memory() {
    let dir = Dir::new("oom");
    let subject = |text: &str, earlier_oom_kills| {
        std::fs::write(dir.0.join("memory.events"), text).unwrap();
        Subject { cgroup: Some(dir.0.clone()), earlier_oom_kills, ..Subject::default() }
    };
    let killed = capture(subject("low 0\nmax 7\noom 1\noom_kill 3\n", 2)).out_of_memory;
    assert_eq!((killed.verdict, killed.source.as_str()), (OomVerdict::Killed, "cgroup"));
    let other = capture(subject("oom 1\noom_kill 2\n", 2)).out_of_memory;
    assert_eq!(other.verdict, OomVerdict::NotKilled);
}

#[test]
fn a_core_is_found_by_the_kernels_pattern() {
    let dir = Dir::new("core");
    std::fs::create_dir_all(dir.0.join("proc/sys/kernel")).unwrap();
    std::fs::write(dir.0.join("proc/sys/kernel/core_pattern"), "core.%e.%p\n").unwrap();
    std::fs::write(dir.0.join("core.redis.77"), "dump").unwrap();
    std::fs::write(dir.0.join("core.redis.78"), "another").unwrap();
    let subject = Subject {
        pid: Some(77),
        directories: vec![("working directory".into(), dir.0.clone())],
        ..Subject::default()
    };
    let core = death::core(&dir.0.join("proc"), &subject);
    assert_eq!(core.path.as_deref().map(Path::new), Some(dir.0.join("core.redis.77").as_path()));
    assert_eq!(core.size_bytes, 4);
    std::fs::write(dir.0.join("proc/sys/kernel/core_pattern"), "|/usr/bin/collect %p\n").unwrap();
    assert_eq!(death::core(&dir.0.join("proc"), &subject).path, None);
}

#[test]
fn without_proc_the_evidence_is_incomplete_and_no_error() {
    let evidence = capture_within(
        &Capturer::new("/no/such/proc".into()),
        Subject { incident: 1, pid: Some(1), is_live: true, ..Subject::default() },
        Duration::from_secs(60),
    );
    assert_eq!(evidence.incident, 1);
    let what: Vec<&str> = evidence.incomplete.iter().map(|missing| missing.what.as_str()).collect();
    assert_eq!(what, ["processes"]);
}

#[test]
fn a_log_that_hangs_costs_the_log_and_nothing_else() {
    let dir = Dir::new("hang");
    let capturer = Capturer::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (end, hang) = std::sync::mpsc::channel::<()>();
    let evidence = runtime.block_on(async {
        let hang = Arc::new(Mutex::new(hang));
        for _ in 0..Capturer::THREADS / 3 {
            let hang = Arc::clone(&hang);
            // Both threads for logs are stuck in something.
            capturer.logs.try_begin(move || assert!(hang.lock().unwrap().recv().is_err())).unwrap();
        }
        let subject = Subject { log_dir: Some(dir.0.join("log")), ..Subject::default() };
        capturer.capture(subject, Duration::from_secs(4)).await
    });
    drop(end);
    runtime.shutdown_background();
    let what: Vec<&str> = evidence.incomplete.iter().map(|missing| missing.what.as_str()).collect();
    assert_eq!(what, ["log"]);
    assert!(evidence.memory.is_some());
}

#[test]
fn a_capture_in_one_go_finds_what_one_by_kinds_finds() {
    let dir = Dir::new("here");
    std::fs::write(dir.0.join("log/current"), "old\nlistening on 127.0.0.1:1\nlast\n").unwrap();
    let subject = Subject {
        incident: 5,
        unit: "web".into(),
        is_over: true,
        exit: Some(Exit { signal: Some(9), ..Exit::default() }),
        pid: Some(own_pid()),
        log_dir: Some(dir.0.join("log")),
        log_from: Some(point_in(&dir.0.join("log/current"), 4)),
        directories: vec![("log".into(), dir.0.clone()), ("state".into(), "/no/such".into())],
        ..Subject::default()
    };
    let capturer = Capturer::default();
    let mut here = capturer.capture_here(subject.clone(), Duration::from_secs(60));
    let by_kinds = capture_within(&capturer, subject, Duration::from_secs(60));
    assert_eq!(here.log.own_lines(), ["listening on 127.0.0.1:1", "last"]);
    assert_eq!((here.disks.len(), here.incomplete.len()), (1, 1), "{:?}", here.incomplete);
    // What changes while one looks.
    here.captured_millis = by_kinds.captured_millis;
    here.took_millis = by_kinds.took_millis;
    here.memory.clone_from(&by_kinds.memory);
    here.disks.clone_from(&by_kinds.disks);
    assert_eq!(here, by_kinds);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the subject of the test; no keeper is at hand")]
fn a_real_redis_on_a_port_that_is_taken_is_understood() {
    let dir = Dir::new("redis");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let log = std::fs::File::create(dir.0.join("log/current")).unwrap();
    let mut redis = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .current_dir(&dir.0)
        .stdout(log)
        .spawn()
        .unwrap();
    let pid = i32::try_from(redis.id()).ok();
    let code = redis.wait().unwrap().code().and_then(|code| u8::try_from(code).ok());
    let evidence = capture(Subject {
        run: "redis#1:1".into(),
        pid,
        exit: Some(Exit { code, ..Exit::default() }),
        log_dir: Some(dir.0.join("log")),
        log_from: Some(point_in(&dir.0.join("log/current"), 0)),
        ..Subject::default()
    });
    assert!(evidence.is_complete(), "{:?}", evidence.incomplete);
    let first = crate::incident::cause::rank(&evidence).into_iter().next().unwrap();
    let own = std::process::id();
    assert_eq!(first.rule, crate::incident::cause::Rule::PortInUse);
    assert!(first.sentence.starts_with(&format!("127.0.0.1:{port} is taken by ")), "{}", first.sentence);
    assert!(first.sentence.ends_with(&format!("(pid {own})")), "{}", first.sentence);
}
