//! The commands as people type them, over a fake supervisor.
//!
//! # The README runs
//!
//! A fenced block of README.md is executed when the line right before its fence is `<!-- run -->`. All such
//! blocks are given, in order, to one shell in the root of the repository, with this build's `mcsup` first in
//! `PATH`, `MCSUP_HOME` an empty directory and `NO_COLOR` set; what is still there at the end is stopped by
//! `mcsup shutdown`. So a block goes on where the one before it stopped, and `mcsup up DIR >up.log &` in one is
//! there in the next. Files go to `$SCRATCH`.
//!
//! - In a block of `sh` every line is a command, and the block must end with status 0.
//! - In a block of `console` the lines after `$ ` are commands, with any status; the lines after each are what it
//!   prints to either stream. `…` in such a line stands for any text, a line of `…` alone for any lines.
//!
//! # Goldens
//!
//! `MCSUP_BLESS=1 cargo test --test cli` rewrites `tests/cli/help/*.txt` and `tests/cli/*.txt`.

#![expect(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a set-up that fails is a test that fails")]

mod fake;

#[path = "cli/changes.rs"]
mod changes;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use fake::{Fake, Served, empty_home};
use mcsup::unit::schedule::{Schedule, Timetable, UnixTime, Zone};

const MCSUP: &str = env!("CARGO_BIN_EXE_mcsup");

#[expect(clippy::disallowed_methods, reason = "a command is a process of its own")]
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    // As on a person's machine, whatever surrounds the tests.
    command.env_remove("MCSUP_RUN").env_remove("MCSUP_HOME").env("TZ", "UTC").env("COLUMNS", "100");
    command.stdin(Stdio::null());
    command
}

fn mcsup(home: &Path, words: &[&str]) -> Output {
    command(MCSUP).arg("--home").arg(home).args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn assert_ends(output: &Output, status: i32) {
    let both = format!("{}{}", said(output), complained(output));
    assert_eq!(output.status.code(), Some(status), "{both}");
}

#[track_caller]
fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name);
    if std::env::var_os("MCSUP_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{} differs; MCSUP_BLESS=1 rewrites it\n{text}", path.display());
}

/// The names of all commands, from the help.
fn commands() -> Vec<String> {
    let help = said(&command(MCSUP).arg("--help").output().unwrap());
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_help_with_an_example() {
    let help = command(MCSUP).arg("--help").output().unwrap();
    assert_ends(&help, 0);
    assert_golden("help/mcsup.txt", &said(&help));
    let commands = commands();
    assert!(commands.len() >= 10, "{commands:?}");
    for name in &commands {
        let help = command(MCSUP).args([name, "--help"]).output().unwrap();
        assert_ends(&help, 0);
        let text = said(&help);
        assert!(text.contains(&format!("Example:\n  mcsup {name}")), "`mcsup {name} --help` has no example");
        assert!(
            text.lines().next().is_some_and(|about| !about.starts_with("Usage")),
            "{name} says not what it does"
        );
        assert_golden(&format!("help/{name}.txt"), &text);
    }
    let kept = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/help")).unwrap();
    let kept: BTreeSet<String> =
        kept.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    let expected: BTreeSet<String> = commands.into_iter().chain(["mcsup".to_owned()]).collect();
    assert_eq!(kept, expected, "a golden for each command and none besides");
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_right() {
    let home = Path::new("/nonexistent");
    for words in
        [&[][..], &["stop"], &["statsu"], &["status", "--jsno"], &["start", "--timeout", "soon", "x"]]
    {
        let output = mcsup(home, words);
        assert_ends(&output, 2);
    }
    assert!(complained(&mcsup(home, &["statsu"])).contains("'status'"));
    let output = mcsup(home, &["logs", "--since", "soon", "redis"]);
    assert_ends(&output, 2);
    assert!(complained(&output).contains("`10m`"), "{}", complained(&output));
}

#[test]
fn without_a_supervisor_every_question_ends_with_3_and_a_way_out() {
    let home = empty_home();
    let questions: [&[&str]; 20] = [
        &["status"],
        &["status", "--json"],
        &["status", "--watch"],
        &["start", "redis"],
        &["why", "redis"],
        &["impact", "redis"],
        &["incidents"],
        &["events"],
        &["logs", "redis"],
        &["apply"],
        &["reload"],
        &["confirm"],
        &["abandon"],
        &["rollback"],
        &["approve", "1"],
        &["generations"],
        &["diff"],
        &["edit", "redis"],
        &["plan", "--generation", "1"],
        &["shutdown"],
    ];
    for words in questions {
        let output = mcsup(&home, words);
        assert_ends(&output, 3);
        assert_eq!(said(&output), "", "{words:?}");
        let complaint = complained(&output);
        assert!(complaint.contains("no supervisor answers at"), "{words:?}: {complaint}");
    }
    assert!(complained(&mcsup(&home, &["status"])).contains("mcsup up"));
    drop(std::fs::remove_dir_all(home));
}

#[test]
fn a_socket_that_nobody_listens_on_is_no_supervisor() {
    let home = empty_home();
    drop(std::os::unix::net::UnixListener::bind(home.join("run/mcsup.sock")).unwrap());
    assert_ends(&mcsup(&home, &["status"]), 3);
    drop(std::fs::remove_dir_all(home));
}

#[test]
fn the_table_of_units_is_grouped_aligned_and_plain_in_a_pipe() {
    let served = Served::new(Fake::new());
    let output = mcsup(&served.home, &["status"]);
    assert_ends(&output, 1);
    let text = said(&output);
    let lines: Vec<String> = text.lines().map(mask_spans).collect();
    assert_golden("status.txt", &(lines.join("\n") + "\n"));
    assert!(!text.contains('\x1b'), "no colours in a pipe");
}

/// The words of a line, `123d04h` as `#`: how long ago the canned date is depends on the day of the test.
fn mask_spans(line: &str) -> String {
    let is_span = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.ends_with(['h', 'm', 's'])
            && word.chars().all(|c| c.is_ascii_digit() || "dhms".contains(c))
    };
    let words: Vec<&str> =
        line.split_whitespace().map(|word| if is_span(word) { "#" } else { word }).collect();
    words.join(" ")
}

#[test]
fn one_unit_is_shown_in_detail_with_its_log() {
    let served = Served::new(Fake::new());
    served.write_log("redis", "current", b"1\n2\n3\n4\n5\nready \x1b[2J to serve\n");
    let output = mcsup(&served.home, &["status", "redis"]);
    assert_ends(&output, 0);
    let text = said(&output);
    for part in [
        "redis ready for ",
        "(service in phase core)",
        "cache and message bus",
        "reason      PONG in 0.3 ms",
        "process     pid 4242, redis#4, 3 restarts",
        "last exit   killed by SIGKILL",
        "says        Ready to accept connections",
        "command     redis-server --save '' --port=${PORT:-6379}",
        "needed by   web@1, worker",
        "protected   yes",
        "runbook     https://example.org/redis",
        "labels      team=ops",
        "    2\n    3\n    4\n    5\n    ready \\x1b[2J to serve\n",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let waiting = said(&mcsup(&served.home, &["status", "web@1"]));
    assert!(waiting.contains("needs       redis healthy (is ready)"), "{waiting}");
}

#[test]
fn the_status_ends_with_0_only_where_all_is_well() {
    let served = Served::new(Fake::new());
    for (units, status) in [
        (&["redis"][..], 0),
        (&["storage", "redis", "mail"], 0),
        (&["worker"], 1),
        (&["redis", "web@1"], 1),
        (&["--json", "worker"], 1),
        (&["--json", "redis"], 0),
    ] {
        let words: Vec<&str> = [&["status"], units].concat();
        assert_ends(&mcsup(&served.home, &words), status);
    }
}

#[test]
fn json_is_what_the_supervisor_said() {
    let served = Served::new(Fake::new());
    let output = mcsup(&served.home, &["status", "--json", "redis"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut fields: Vec<&String> = status.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "booted",
            "cgroups",
            "generation",
            "guard",
            "open_incidents",
            "phase",
            "phases",
            "stopping",
            "units"
        ]
    );
    assert_eq!(status["units"][0]["last_exit"]["signal"], "SIGKILL");
    let why = mcsup(&served.home, &["why", "--json", "web@1"]);
    let why: serde_json::Value = serde_json::from_slice(&why.stdout).unwrap();
    assert_eq!(why["units"][0]["chain"][1]["unit"], "redis");
    let events = said(&mcsup(&served.home, &["events", "--json", "-n", "2"]));
    let events: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((events.len(), &events[1]["number"]), (2, &serde_json::json!(13)));
}

#[test]
fn a_mistyped_unit_ends_with_1_and_the_name_that_was_meant() {
    let served = Served::new(Fake::new());
    for words in [
        &["status", "reids"][..],
        &["status", "redis", "reids"],
        &["stop", "reids"],
        &["why", "reids"],
        &["impact", "reids"],
        &["logs", "reids"],
        &["logs", "-f", "reids"],
        &["events", "-f", "reids"],
    ] {
        let output = mcsup(&served.home, words);
        assert_ends(&output, 1);
        let complaint = complained(&output);
        assert!(complaint.contains("did you mean `redis`?"), "{words:?}: {complaint}");
    }
}

#[test]
fn actions_end_as_the_units_did() {
    let served = Served::new(Fake::new());
    let output = mcsup(&served.home, &["start", "redis"]);
    assert_ends(&output, 0);
    assert!(said(&output).contains("wait: true"), "to wait is the default: {}", said(&output));
    let output = mcsup(&served.home, &["stop", "--only", "--no-wait", "redis"]);
    assert!(said(&output).contains("only: true, wait: false"), "{}", said(&output));
    let output = mcsup(&served.home, &["kill", "--signal", "hup", "redis"]);
    assert!(said(&output).contains("SignalNumber(1)"), "{}", said(&output));
    let output = mcsup(&served.home, &["restart", "redis", "worker"]);
    assert_ends(&output, 1);
    assert!(said(&output).contains("! worker  exited with 1"), "{}", said(&output));
    let output = mcsup(&served.home, &["start", "mail"]);
    assert_ends(&output, 1);
    assert!(complained(&output).contains("a shutdown is under way"));
    assert_ends(&mcsup(&served.home, &["kill", "--signal", "HOP", "redis"]), 2);
}

#[test]
fn what_takes_too_long_ends_with_5() {
    let served = Served::new(Fake::new());
    let output = mcsup(&served.home, &["start", "--timeout", "50ms", "web@1"]);
    assert_ends(&output, 5);
    assert!(complained(&output).contains("not done within 50ms"), "{}", complained(&output));
}

#[test]
fn why_goes_down_to_the_cause() {
    let served = Served::new(Fake::new());
    let output = mcsup(&served.home, &["why", "web@1"]);
    assert_ends(&output, 0);
    assert_eq!(
        said(&output),
        "web@1 is waiting: waits for redis to be healthy\n  redis is ready: PONG in 0.3 ms\n"
    );
}

#[test]
fn why_says_what_it_rests_on() {
    let served = Served::new(Fake::new());
    let output = mcsup(&served.home, &["why", "worker"]);
    assert_ends(&output, 0);
    assert_eq!(
        said(&output),
        "worker is failed: gave up after 9 starts: exited with 1\n  \
         because 0.0.0.0:8080 is taken by python3 (pid 77) (rests on: bind: Address already in use)\n  \
         `mcsup incidents 2` tells the whole story\n"
    );
}

#[test]
fn the_incidents_are_a_table_and_one_alone_is_a_story() {
    let served = Served::new(Fake::new());
    let list = mcsup(&served.home, &["incidents"]);
    assert_ends(&list, 1);
    let lines: Vec<String> = said(&list).lines().map(mask_spans).collect();
    assert_golden("incidents.txt", &(lines.join("\n") + "\n"));
    // Nothing of it changes any more.
    let over = mcsup(&served.home, &["incidents", "1"]);
    assert_ends(&over, 0);
    assert_golden("incident.txt", &said(&over));
    assert_ends(&mcsup(&served.home, &["incidents", "2"]), 1);
    let page = mcsup(&served.home, &["incidents", "1", "--postmortem"]);
    assert_ends(&page, 0);
    assert!(said(&page).starts_with("# Incident 1: redis\n"), "{}", said(&page));
    let json = mcsup(&served.home, &["incidents", "2", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["evidence"]["causes"][0]["rule"], "port_in_use");
    let missing = mcsup(&served.home, &["incidents", "9"]);
    assert_ends(&missing, 1);
    assert!(complained(&missing).contains("nothing is kept of an incident 9"), "{}", complained(&missing));
    assert_ends(&mcsup(&served.home, &["incidents", "--postmortem"]), 2);
    assert_ends(&mcsup(&served.home, &["incidents", "--since", "soon"]), 2);
    let none = mcsup(&served.home, &["incidents", "--since", "2030-01-01"]);
    assert_ends(&none, 0);
}

/// Dates and spans differ from day to day: the words around them are what is said.
#[test]
fn the_jobs_are_a_table_and_one_alone_is_a_history() {
    let served = Served::new(Fake::jobs());
    let list = mcsup(&served.home, &["jobs"]);
    assert_ends(&list, 1);
    let text = said(&list);
    let words = |name: &str| {
        let line =
            text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("JOB"), ["JOB", "LAST", "AGO", "NEXT", "STREAK", "RUNNING", "WHY"]);
    assert!(words("brief").starts_with(&["brief".into(), "passed".into()]), "{text}");
    assert_eq!(words("poll"), ["poll", "-", "-", "every", "15m", "-", "-"]);
    let trends = words("trends");
    assert_eq!(trends[..3], ["!", "trends", "rejected"], "{text}");
    assert!(text.contains("#5") && text.contains("2 trends, wanted >= 3"), "{text}");

    let one = mcsup(&served.home, &["jobs", "trends"]);
    assert_ends(&one, 1);
    for part in [
        "trends: rejected: 2 trends, wanted >= 3; running trends#5 for a person\n",
        "last       rejected: 2 trends, wanted >= 3 (1 run like it in a row)\n",
        "RUN  BEGAN",
        "its schedule  rejected  2 trends, wanted >= 3\n",
        "its schedule  passed",
        "2s500ms",
    ] {
        assert!(said(&one).contains(part), "no `{part}` in\n{}", said(&one));
    }
    assert_ends(&mcsup(&served.home, &["jobs", "brief"]), 0);
    let json = mcsup(&served.home, &["jobs", "trends", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["jobs"][0]["runs"][0]["kept"], 4);
    assert_ends(&mcsup(&served.home, &["jobs", "--from", "today"]), 2);
    assert_ends(&mcsup(&served.home, &["jobs", "trend"]), 1);
}

#[test]
fn a_run_of_a_job_ends_as_its_verdict_says() {
    let served = Served::new(Fake::new());
    let well = mcsup(&served.home, &["run", "redis"]);
    assert_ends(&well, 0);
    assert!(complained(&well).starts_with("redis Run {"), "{}", complained(&well));
    assert!(said(&well).is_empty(), "nothing of it is kept");
    assert_ends(&mcsup(&served.home, &["run", "--no-wait", "worker"]), 1);
    let json = mcsup(&served.home, &["run", "--json", "worker"]);
    assert_ends(&json, 1);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["well"], &json["runs"][0]["job"]), (&false.into(), &"worker".into()), "{json}");
    assert_ends(&mcsup(&served.home, &["run", "--timeout", "100ms", "web@1"]), 5);
}

#[test]
fn the_impact_of_a_unit_is_a_table() {
    let served = Served::new(Fake::new());
    let impact = mcsup(&served.home, &["impact", "redis"]);
    assert_ends(&impact, 0);
    assert_golden("impact.txt", &said(&impact));
    assert_eq!(said(&mcsup(&served.home, &["impact", "worker"])), "nothing depends on worker\n");
}

#[test]
fn events_are_told_one_a_line() {
    let served = Served::new(Fake::new());
    let all = said(&mcsup(&served.home, &["events"]));
    assert_golden("events.txt", &all);
    assert_eq!(said(&mcsup(&served.home, &["events", "-n", "1"])).lines().count(), 1);
}

#[test]
fn the_events_of_a_group_are_those_of_its_units() {
    let served = Served::new(Fake::replicas());
    let told = |name: &str| said(&mcsup(&served.home, &["events", name]));
    assert!(told("web@1").contains("web@1         starting -> ready: PONG"), "{}", told("web@1"));
    assert_eq!(told("web"), told("web@1"), "nothing happened to the other one");
}

/// A command that goes on, and what it prints line by line.
struct Going {
    child: Child,
    lines: mpsc::Receiver<String>,
}

/// What a command is waited for prints at once.
const DEADLINE: Duration = Duration::from_secs(20);

impl Going {
    fn new(home: &Path, words: &[&str]) -> Self {
        let mut child = spawn(home, words);
        let output = BufReader::new(child.stdout.take().unwrap());
        let (printed, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Ends with the command, or with the test.
            output.lines().map_while(Result::ok).try_for_each(|line| printed.send(line))
        });
        Self { child, lines }
    }

    /// Reads until a line that holds this, which must come.
    fn until(&mut self, wanted: &str) {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("{error} before `{wanted}`: {seen:?}"));
            if line.contains(wanted) {
                return;
            }
            seen.push(line);
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(home: &Path, words: &[&str]) -> Child {
    let mut command = command(MCSUP);
    command.arg("--home").arg(home).args(words).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn events_are_followed_as_they_happen() {
    use mcsup::engine::effect::Fact;
    let fake = Fake::new();
    let live = fake.live.clone();
    let next = fake.record(14, Fact::ShutdownBegan);
    let served = Served::new(fake);
    let mut events = Going::new(&served.home, &["events", "-f", "-n", "1"]);
    events.until("bug in mcsup");
    let is_heard = (0..10_000_000).any(|_| {
        std::thread::yield_now();
        live.receiver_count() > 0
    });
    assert!(is_heard, "nobody listens to what comes");
    live.send(next).unwrap();
    events.until("shutting down");
}

#[test]
fn the_watched_status_is_drawn_again_when_something_happens() {
    use mcsup::engine::effect::Fact;
    let fake = Fake::new();
    let live = fake.live.clone();
    let next = fake.record(14, Fact::Booted);
    let served = Served::new(fake);
    let mut status = Going::new(&served.home, &["status", "--watch"]);
    status.until("gave up after 9 starts");
    live.send(next).unwrap();
    status.until("gave up after 9 starts");
}

#[test]
fn a_log_goes_into_a_pipe_byte_by_byte() {
    let served = Served::new(Fake::new());
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    served.write_log("redis", "1", &bytes[..100_000]);
    served.write_log("redis", "current", &bytes[100_000..]);
    let output = mcsup(&served.home, &["logs", "redis"]);
    assert_ends(&output, 0);
    assert!(output.stdout == bytes);
    served.write_log("worker", "current", b"a\nb\nc\n");
    assert_eq!(said(&mcsup(&served.home, &["logs", "-n", "2", "worker"])), "b\nc\n");
    assert_eq!(
        said(&mcsup(&served.home, &["logs", "-n", "1", "worker", "redis"])).lines().next(),
        Some("worker | c")
    );
    assert_eq!(said(&mcsup(&served.home, &["logs", "--since", "10m", "worker"])), "a\nb\nc\n");
    assert_eq!(said(&mcsup(&served.home, &["logs", "mail"])), "", "a unit that wrote nothing");
}

#[test]
fn logs_can_be_read_after_the_supervisor_has_gone() {
    let home = {
        let served = Served::new(Fake::new());
        served.write_log("redis", "current", b"last words\n");
        let kept = empty_home();
        std::fs::rename(served.home.join("log/redis"), kept.join("log/redis")).unwrap();
        kept
    };
    let output = mcsup(&home, &["logs", "redis"]);
    assert_ends(&output, 0);
    assert_eq!(said(&output), "last words\n");
    let output = mcsup(&home, &["logs", "reids"]);
    assert_ends(&output, 3);
    assert!(complained(&output).contains("did you mean `redis`?"), "{}", complained(&output));
    drop(std::fs::remove_dir_all(home));
}

#[test]
fn several_logs_are_followed_behind_their_names() {
    let served = Served::new(Fake::new());
    served.write_log("redis", "current", b"old\n");
    let mut logs = Going::new(&served.home, &["logs", "-f", "redis", "worker"]);
    logs.until("redis  | old");
    served.write_log("worker", "current", b"first word of a unit that was silent\n");
    logs.until("worker | first word");
    std::fs::rename(served.home.join("log/redis/current"), served.home.join("log/redis/1")).unwrap();
    served.write_log("redis", "current", b"after the rotation\n");
    logs.until("redis  | after the rotation");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let served = Served::new(Fake::new());
    served.write_log("redis", "current", &b"line\n".repeat(1_000_000));
    let mut logs = spawn(&served.home, &["logs", "redis"]);
    let mut pipe = logs.stdout.take().unwrap();
    pipe.read_exact(&mut [0; 10]).unwrap();
    drop(pipe);
    assert_eq!(logs.wait().unwrap().code(), Some(0));
}

#[test]
fn a_caller_that_cannot_read_the_files_reads_them_through_the_supervisor() {
    if !rustix::process::geteuid().is_root() {
        return; // Root alone can be somebody else, and nobody else may look at its files.
    }
    let served = Served::with(Fake::new(), |rules| rules.look_gid = || Some(54_321));
    served.write_log("redis", "current", b"secret\nwords\n");
    fake::make_open(&served.home.join("log"), 0o700);
    let program = fake::program_for_all(&served.home);
    let logs = |groups: &str| {
        let mut command = command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", groups]).arg(&program);
        command.arg("--home").arg(&served.home).args(["logs", "-n", "1", "redis"]).output().unwrap()
    };
    let member = logs("--groups=54321");
    assert_ends(&member, 0);
    assert_eq!(said(&member), "words\n");
    assert_ends(&logs("--clear-groups"), 4);
}

#[test]
fn a_shutdown_waits_until_the_supervisor_has_gone() {
    let served = Served::new(Fake::new());
    let output = mcsup(&served.home, &["shutdown"]);
    assert_ends(&output, 0);
    assert_eq!(said(&output), "everything is stopped\n");
    assert_ends(&mcsup(&served.home, &["status"]), 3);
}

#[test]
fn a_home_whose_path_is_too_long_for_a_socket_works() {
    let served = Served::new(Fake::new());
    let base = empty_home();
    let long = base.join("a-directory-with-a-long-name/".repeat(8));
    std::fs::create_dir_all(&long).unwrap();
    std::os::unix::fs::symlink(served.home.join("run"), long.join("run")).unwrap();
    assert_ends(&mcsup(&long, &["status", "redis", "storage"]), 0);
    drop(std::fs::remove_dir_all(base));
}

#[test]
fn completions_know_every_command_in_every_shell() {
    let commands = commands();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = command(MCSUP).args(["completions", shell]).output().unwrap();
        assert_ends(&output, 0);
        for name in &commands {
            assert!(said(&output).contains(name.as_str()), "{shell} does not know {name}");
        }
    }
    assert_ends(&command(MCSUP).args(["completions", "tcsh"]).output().unwrap(), 2);
    let script = command(MCSUP).args(["completions", "bash"]).output().unwrap();
    let mut bash = command("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(&script.stdout).unwrap();
    assert!(bash.wait().unwrap().success(), "bash cannot read its completions");
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = empty_home();
    assert_ends(&command(MCSUP).arg("man").arg(&dir).output().unwrap(), 0);
    let page = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    let whole = page("mcsup.1");
    for name in commands() {
        let text = page(&format!("mcsup-{name}.1"));
        let title = format!(".TH mcsup-{name} 1");
        assert!(text.lines().any(|line| line.starts_with(&title)), "{name} has no page:\n{text}");
        let says =
            text.contains(".SH NAME\n") && text.contains(".SH SYNOPSIS\n") && text.contains("Example:");
        assert!(says, "the page of {name} says too little:\n{text}");
        assert!(whole.contains(&format!("mcsup\\-{name}(1)")), "mcsup(1) does not name {name}:\n{whole}");
    }
    assert!(!whole.contains("mcsup\\-man(1)"), "what only packages use is no command");
    let formatted = command("man").args(["--warnings", "-l", "-Tutf8"]).arg(dir.join("mcsup.1")).output();
    // Where nobody reads pages there is no program to complain about them.
    if let Ok(formatted) = formatted {
        assert_eq!(complained(&formatted), "");
    }
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn the_doctor_says_what_is_missing_and_ends_with_1() {
    let base = empty_home();
    let home = base.join("new");
    let healthy = mcsup(&home, &["doctor", "--json"]);
    assert_ends(&healthy, 0);
    let report: serde_json::Value = serde_json::from_slice(&healthy.stdout).unwrap();
    let of = |name: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["name"] == name).unwrap()["verdict"].clone()
    };
    assert_eq!((of("state"), of("run"), of("sockets")), ("good".into(), "good".into(), "good".into()));
    assert!(!home.exists(), "the doctor leaves nothing behind");
    // Where no directory can be made, whoever one is.
    let shut = command(MCSUP).args(["--home", "/proc", "doctor"]).output().unwrap();
    assert_ends(&shut, 1);
    assert!(said(&shut).contains("missing  state"), "{}", said(&shut));
    drop(std::fs::remove_dir_all(base));
}

#[test]
fn the_doctor_asks_the_limits_under_which_it_runs() {
    let home = empty_home();
    let script = "ulimit -n 64 && exec \"$0\" --home \"$1\" doctor";
    let limited = command("bash").args(["-c", script, MCSUP]).arg(&home).output().unwrap();
    assert_ends(&limited, 0);
    assert!(said(&limited).contains("up to 64 open files: room for 0 runs"), "{}", said(&limited));
    let script = "mount -t tmpfs none /proc && exec \"$0\" --home \"$1\" doctor";
    let mut unshared = command("unshare");
    unshared.args(["--user", "--map-root-user", "--mount", "bash", "-c", script, MCSUP]).arg(&home);
    let blind = unshared.output().unwrap();
    assert_ends(&blind, 0);
    let said = said(&blind);
    assert!(said.contains("lacking  proc") && said.contains("lacking  cgroup2        not mounted"), "{said}");
    drop(std::fs::remove_dir_all(home));
}

/// One thing to run, and what it must print.
#[derive(Debug, PartialEq)]
struct Step {
    line: usize,
    script: String,
    /// `None`: whatever it prints, but with status 0.
    prints: Option<Vec<String>>,
}

/// The blocks that are marked to be run.
fn steps(markdown: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut lines = markdown.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if line.trim() != "<!-- run -->" {
            continue;
        }
        let fence = lines.next().map(|(line, _)| line.trim().to_owned()).unwrap_or_default();
        let block: Vec<(&str, usize)> = lines.by_ref().take_while(|(line, _)| line.trim() != "```").collect();
        match fence.as_str() {
            "```sh" => {
                let script: Vec<&str> = block.iter().map(|(line, _)| *line).collect();
                steps.push(Step { line: number, script: script.join("\n"), prints: None });
            }
            "```console" => {
                for (line, number) in block {
                    match (line.strip_prefix("$ "), steps.last_mut()) {
                        (Some(command), _) => {
                            let prints = Some(Vec::new());
                            steps.push(Step { line: number, script: command.to_owned(), prints });
                        }
                        (None, Some(Step { prints: Some(prints), .. })) => prints.push(line.to_owned()),
                        (None, _) => return Err(format!("line {number}: output before any command")),
                    }
                }
            }
            other => {
                return Err(format!(
                    "line {number}: `<!-- run -->` before `{other}`, not before sh or console"
                ));
            }
        }
    }
    Ok(steps)
}

/// `…` stands for any text in a line, a line of it for any lines.
fn fits(pattern: &[String], printed: &[&str]) -> bool {
    match (pattern, printed) {
        ([], []) => true,
        ([any, rest @ ..], _) if any.trim() == "…" => {
            (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..]))
        }
        ([first, rest @ ..], [line, more @ ..]) => {
            line_fits(first.trim_end(), line.trim_end()) && fits(rest, more)
        }
        ([], _) | (_, []) => false,
    }
}

fn line_fits(pattern: &str, line: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == line,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_fits(after, &rest[at..]))
        }),
    }
}

/// Runs the steps in one shell; the first that does not do what it shows is the error.
fn run_steps(steps: &[Step]) -> Result<(), String> {
    let home = empty_home();
    let scratch = home.join("scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    let bin = PathBuf::from(MCSUP).parent().unwrap().display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
    // Each step must end: one that hangs is killed with all that it started by `timeout`, at 120 s.
    let mut shell = command("timeout")
        .args(["120", "sh"])
        .env("PATH", path)
        .env("MCSUP_HOME", &home)
        .env("SCRATCH", &scratch)
        .env("NO_COLOR", "1")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    let result = steps.iter().try_for_each(|step| run_step(step, &mut input, &mut output));
    drop(input);
    drop(command(MCSUP).arg("--home").arg(&home).args(["shutdown", "--timeout", "20s"]).output());
    drop(shell.wait());
    drop(std::fs::remove_dir_all(home));
    result
}

fn run_step(
    step: &Step,
    input: &mut impl std::io::Write,
    output: &mut impl std::io::BufRead,
) -> Result<(), String> {
    const MARK: &str = "\u{1e}status ";
    // In the shell itself rather than a child of it, so that `cd` and `&` last.
    let script = &step.script;
    input
        .write_all(format!("{{ {script}\n}} </dev/null 2>&1\nprintf '\\n{MARK}%s\\n' $?\n").as_bytes())
        .unwrap();
    let mut printed = Vec::new();
    let status = loop {
        let mut line = String::new();
        if output.read_line(&mut line).unwrap() == 0 {
            return Err(format!("line {}: the shell ended in `{script}`", step.line));
        }
        match line.strip_prefix(MARK) {
            Some(status) => break status.trim().to_owned(),
            None => printed.push(line.trim_end().to_owned()),
        }
    };
    while printed.last().is_some_and(String::is_empty) {
        printed.pop();
    }
    let shown: Vec<&str> = printed.iter().map(String::as_str).collect();
    match &step.prints {
        None if status != "0" => {
            Err(format!("line {}: `{script}` ended with {status}:\n{}", step.line, shown.join("\n")))
        }
        Some(pattern) => {
            let end = pattern.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
            if fits(&pattern[..end], &shown) {
                Ok(())
            } else {
                Err(format!("line {}: `{script}` prints\n{}", step.line, shown.join("\n")))
            }
        }
        None => Ok(()),
    }
}

#[test]
fn every_marked_block_of_the_readme_does_what_it_shows() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(readme).unwrap_or_default();
    run_steps(&steps(&text).unwrap()).unwrap_or_else(|error| panic!("README.md {error}"));
}

#[test]
fn the_runner_of_the_readme_finds_what_is_wrong() {
    let run = |markdown: &str| run_steps(&steps(markdown)?);
    let good = "text\n```sh\nfalse\n```\n<!-- run -->\n```sh\ncd \"$SCRATCH\"\necho hello > there\n```\n\
                <!-- run -->\n```console\n$ cat there\nhello\n$ pwd\n…/scratch\n$ seq 5; false\n1\n…\n5\n\n$ true\n```\n";
    assert_eq!(run(good), Ok(()), "unmarked blocks are left alone, and one shell runs the others");
    for (wrong, why) in [
        ("<!-- run -->\n```sh\nfalse\n```\n", "ended with 1"),
        ("<!-- run -->\n```console\n$ echo a\nb\n```\n", "prints\na"),
        ("<!-- run -->\n```console\n$ seq 3\n1\n3\n```\n", "prints\n1\n2\n3"),
        ("<!-- run -->\n```console\n$ echo a\n```\n", "prints\na"),
        ("<!-- run -->\n```sh\nexit 0\n```\n", "the shell ended"),
        ("<!-- run -->\n```yaml\na: b\n```\n", "not before sh"),
        ("<!-- run -->\n```console\nhello\n```\n", "output before any command"),
    ] {
        let error = run(wrong).expect_err(wrong);
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn check_says_when_each_job_runs_and_nothing_where_there_is_none() {
    let home = empty_home();
    let units = home.join("some-units");
    std::fs::create_dir_all(&units).unwrap();
    let write = |name: &str, text: &str| std::fs::write(units.join(name), text).unwrap();
    write("web.yaml", "command: [sh]\n");
    let check = |words: &[&str]| mcsup(&home, &[&["check", units.to_str().unwrap()], words].concat());
    let shown = units.display();
    let output = check(&[]);
    assert_ends(&output, 0);
    assert_eq!(said(&output), format!("{shown}: 1 units, nothing to say\n"));
    // The next of these is the same for whole years.
    write("leap.yaml", "kind: job\ncommand: [sh]\nschedule: 30 4 29 2 *\ntimezone: Europe/Berlin\n");
    write("off.yaml", "kind: job\ncommand: [sh]\nenabled: false\nschedule: 30 4 29 2 *\n");
    write("then.yaml", "kind: job\ncommand: [sh]\nafter: leap\nevery: 1h30m\n");
    let output = check(&[]);
    assert_ends(&output, 0);
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let timetable =
        Timetable { schedules: vec![Schedule::parse("30 4 29 2 *").unwrap()], zone: berlin.clone() };
    let now = UnixTime(jiff::Timestamp::now().as_second());
    let next = timetable.next(now).unwrap();
    assert_eq!(
        said(&output),
        format!(
            "{shown}: 4 units, nothing to say\n\
             leap: at 04:30 on 29 February (Europe/Berlin), next {}\n\
             off: not enabled; at 04:30 on 29 February (UTC)\n\
             then: every 1h30m, or when leap succeeded\n",
            berlin.show(next)
        )
    );
    let output = check(&["--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let instant = jiff::Timestamp::from_second(next.0).unwrap().to_string();
    assert_eq!(
        answer["jobs"][0],
        serde_json::json!({
            "name": "leap", "enabled": true, "runs": "at 04:30 on 29 February (Europe/Berlin)",
            "schedule": ["30 4 29 2 *"], "timezone": "Europe/Berlin", "next": instant,
        })
    );
    assert_eq!(
        (&answer["jobs"][1]["next"], &answer["jobs"][2]["next"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    for number in 0..60 {
        write(&format!("many-{number}.yaml"), "kind: job\ncommand: [sh]\nevery: 1h\n");
    }
    let text = said(&check(&[]));
    assert_eq!(text.lines().count(), 52, "{text}");
    assert!(text.ends_with("and 13 more jobs: `--json` lists all\n"), "{text}");
}
