//! The judge's process: it answers, and whatever it is given it stays within its bounds and is gone in time.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mcsup::output::find::Looking;
use mcsup::output::judgement::{Judgement, Verdict};
use mcsup::output::process::{Ending, MOST_MEMORY_BYTES, VERB, concluded};
use mcsup::output::wire::{Piece, Request};
use mcsup::output::{Moment, Previous};
use serde_json::json;

use super::{MCSUP, spec};

fn request(output: &str, stream: Piece) -> Request {
    Request {
        spec: spec(output),
        stream,
        exit: 0,
        duration: Duration::from_secs(3),
        looking: Looking { dir: PathBuf::from("/"), run_id: "job#1".into(), date: "2026-11-20".into() },
        started_nanos: 1,
        previous: Previous::default(),
        units: json!({"redis": {"state": "ready"}}),
        guard: json!({"level": "normal"}),
        now: Moment::default(),
    }
}

/// A judge that has ended, and what it took.
struct Ended {
    ending: Ending,
    judgement: Judgement,
    took: Duration,
}

#[expect(clippy::disallowed_methods, reason = "the judge is a process of its own, and its time is the claim")]
fn ask(frame: &[u8]) -> Ended {
    let began = Instant::now();
    let mut command = Command::new(MCSUP);
    command.arg(VERB).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut judge = command.spawn().unwrap();
    let mut stdin = judge.stdin.take().unwrap();
    let written = std::thread::scope(|scope| {
        // Who has died of its bounds reads no more.
        let writer = scope.spawn(move || drop(stdin.write_all(frame)));
        let mut stdout = Vec::new();
        judge.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        let mut stderr = Vec::new();
        judge.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        writer.join().unwrap();
        (stdout, stderr)
    });
    let status = judge.wait().unwrap();
    let ending = match status.code() {
        Some(code) => Ending::Exited(code),
        None => Ending::Signalled(status.signal().unwrap()),
    };
    let judgement = concluded(ending, &written.0, &written.1);
    Ended { ending, judgement, took: began.elapsed() }
}

fn judge(request: &Request) -> Ended {
    let mut frame = Vec::new();
    request.write(&mut frame).unwrap();
    ask(&frame)
}

fn why(judgement: &Judgement) -> &str {
    match &judgement.verdict {
        Verdict::NotJudged { why } => why,
        Verdict::Passed | Verdict::Rejected => panic!("{judgement}"),
    }
}

fn inline(text: &str) -> Piece {
    Piece::Inline(text.into())
}

#[test]
fn the_judge_answers_good_and_bad() {
    let trends = "format: json\nrequire: {that: size(output.trends) >= 3, else: fewer than three trends}";
    let ended = judge(&request(trends, inline(r#"{"trends": [1, 2, 3]}"#)));
    assert_eq!((ended.ending, ended.judgement.to_string()), (Ending::Exited(0), "passed".to_owned()));
    let ended = judge(&request(trends, inline(r#"{"trends": [1, 2]}"#)));
    assert_eq!(ended.judgement.to_string(), "rejected: fewer than three trends: 2 trends, wanted >= 3");
}

#[test]
fn a_request_arrives_as_it_was_sent() {
    let mut sent = request(
        "source: stderr
format: csv
min_size: 0
max_size: 1M
schema: {type: array}
contains: {text: a, at_most: 3, else: too many}
matches: x
require: ['size(output) > 0', {that: exit == 0, else: no}]
files: [{path: '/x/{date}', written: any-time, format: yaml}]
keep: {runs: 2, size: 1K}",
        inline("a,b\n1,2\n"),
    );
    sent.previous.stream = Some(b"before".to_vec());
    sent.previous.files = vec![BTreeMap::from([("2026".to_owned(), b"file".to_vec())])];
    let mut frame = Vec::new();
    sent.write(&mut frame).unwrap();
    let (spec, material) = Request::read(&mut frame.as_slice()).unwrap();
    assert_eq!(spec, sent.spec);
    assert_eq!(material.previous, sent.previous);
    assert_eq!(material.stream, Some(mcsup::output::Taken::Bytes(b"a,b\n1,2\n".to_vec())));
    assert_eq!(material.units, Some(sent.units));
}

#[test]
fn what_is_no_request_is_said_to_be_none() {
    for frame in [&b""[..], b"\x02\0\0\0{}", b"\xff\xff\xff\xffxx", b"\x20\0\0\0{", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let ended = ask(frame);
        assert_eq!(ended.ending, Ending::Exited(0));
        assert!(
            why(&ended.judgement).starts_with("what it was asked cannot be read: "),
            "{}",
            ended.judgement
        );
    }
}

#[test]
fn seventy_megabytes_are_refused_unread() {
    let dir = std::env::temp_dir().join(format!("mcsup-judge-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("large");
    std::fs::File::create(&path).unwrap().set_len(70 << 20).unwrap();
    let ended = judge(&request("contains: x", Piece::File { path: path.clone(), offset: 0, length: None }));
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(ended.judgement.to_string(), "rejected: too large: 70 MiB, wanted <= 64 MiB");
    let mut frame = Vec::new();
    request("contains: x", Piece::Inline(vec![b'x'; 70 << 20])).write(&mut frame).unwrap();
    let ended = ask(&frame);
    assert_eq!(ended.judgement.to_string(), "rejected: too large: 70 MiB, wanted <= 64 MiB");
}

#[test]
fn thirty_megabytes_of_log_can_be_judged() {
    let ended = judge(&request(
        "contains: end\nrequire: size(text) > 1000",
        Piece::Inline([vec![b'x'; 30 << 20], b"end".to_vec()].concat()),
    ));
    assert_eq!(ended.judgement.to_string(), "passed");
}

#[test]
fn a_memory_bomb_ends_the_judge_and_is_no_rejection() {
    // Sixty million bytes of JSON are thirty million values of many bytes each.
    let bomb = format!("[{}0]", "0,".repeat(30_000_000));
    let ended = judge(&request("format: json", inline(&bomb)));
    assert_eq!(
        why(&ended.judgement),
        format!("it takes more than {} MiB of memory", MOST_MEMORY_BYTES >> 20)
    );
    assert!(matches!(ended.ending, Ending::Signalled(_)), "{:?}", ended.ending);
}

#[test]
fn an_expression_without_end_is_no_rejection() {
    let loops = "format: json\nrequire: output.all(a, output.all(b, output.all(c, output.all(d, a + b + c + d >= 0))))";
    let list = format!("[{}0]", "0,".repeat(500));
    let ended = judge(&request(loops, inline(&list)));
    let why = why(&ended.judgement);
    let is_bounded = why.starts_with("an expression works through more than it may")
        || why == "it takes more than 5 s of processor time"
        || why == "it takes more than 10 s";
    assert!(is_bounded, "{why}");
    assert!(ended.took < Duration::from_secs(30), "{:?}", ended.took);
}

#[test]
fn sums_without_end_are_no_rejection() {
    let doubling =
        "format: json\nrequire: size(output.map(a, output.map(b, text + text + text + text))) == 0";
    let list = format!("[{}0]", "0,".repeat(20_000));
    let ended = judge(&request(doubling, inline(&list)));
    let why = why(&ended.judgement);
    assert!(why.contains("more than"), "{why}");
}

#[test]
fn a_pattern_that_backtracks_is_no_rejection_of_good_time() {
    // The schema's patterns may look around, and so may take for ever.
    let schema = "format: json\nschema: {items: {pattern: '^(?=(a+)+$)(a|aa)+b'}}";
    let text = format!("[{}\"a\"]", format!("\"{}\",", "a".repeat(60)).repeat(20));
    let ended = judge(&request(schema, inline(&text)));
    assert!(!ended.judgement.is_passed(), "{}", ended.judgement);
    assert!(ended.took < Duration::from_secs(30), "{:?}", ended.took);
    // By our own keys patterns cannot.
    let ended = judge(&request("matches: '(a+)+$b?'", Piece::Inline(vec![b'a'; 1 << 20])));
    assert!(ended.took < Duration::from_secs(30), "{:?}", ended.took);
}

#[test]
fn how_a_judge_died_is_told() {
    let said = |ending, stderr: &str| concluded(ending, b"", stderr.as_bytes()).to_string();
    assert_eq!(said(Ending::Exited(3), ""), "could not be judged: the judge ended with 3");
    assert_eq!(said(Ending::Signalled(11), ""), "could not be judged: the judge died of signal 11");
    assert_eq!(said(Ending::Signalled(14), ""), "could not be judged: it takes more than 10 s");
    assert_eq!(
        said(Ending::Signalled(24), ""),
        "could not be judged: it takes more than 5 s of processor time"
    );
    assert_eq!(said(Ending::GivenUp, ""), "could not be judged: it takes more than 10 s");
    assert!(
        said(Ending::Exited(0), "").starts_with("could not be judged: the judge's answer cannot be read")
    );
}

#[test]
fn a_judge_has_its_limits_before_it_is_asked_and_is_gone_by_itself() {
    #[expect(clippy::disallowed_methods, reason = "its time is the claim")]
    let (status, took) = {
        let began = Instant::now();
        let mut judge =
            Command::new(MCSUP).arg(VERB).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stdin = judge.stdin.take();
        let proc = PathBuf::from(format!("/proc/{}", judge.id()));
        let limits = || std::fs::read_to_string(proc.join("limits")).unwrap();
        // The last of its limits that can be seen from outside.
        while limit(&limits(), "Max core file size") != ["0", "0"] && began.elapsed() < Duration::from_secs(8)
        {
            std::thread::yield_now();
        }
        let limits = limits();
        assert_eq!(limit(&limits, "Max address space"), ["268435456", "268435456"]);
        assert_eq!(limit(&limits, "Max cpu time"), ["5", "6"]);
        assert!(std::fs::read_to_string(proc.join("status")).unwrap().contains("NoNewPrivs:\t1"));
        let status = judge.wait().unwrap();
        drop(stdin);
        (status, began.elapsed())
    };
    assert_eq!(status.signal(), Some(14));
    assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(30), "{took:?}");
}

/// Soft and hard limit of this name in `/proc/PID/limits`.
fn limit<'a>(limits: &'a str, name: &str) -> Vec<&'a str> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().take(2).collect()
}
