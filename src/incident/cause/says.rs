//! Rules that rest on what the program, or its probe, says.

use std::collections::BTreeMap;

use crate::incident::capture::is_about_a_killed_child;
use crate::incident::cause::{Cause, Rule, cause};
use crate::incident::evidence::{Disk, Evidence, FailureKind};
use crate::incident::shape::{is_complaint, mask};

/// Where a sentence was found, the nearest to the failure first.
struct Said<'a> {
    line: &'a str,
    is_of_probe: bool,
    /// It was said about when it failed. What was said long before did not keep it from working until then.
    is_near: bool,
}

impl Said<'_> {
    /// How directly it explains the failure, where it would be `near` had it been said just then.
    fn score(&self, near: u8) -> u8 {
        if self.is_near { near } else { LONG_BEFORE }
    }
}

/// What the failure and its probes say, then the log from its end.
fn said(evidence: &Evidence) -> impl Iterator<Item = Said<'_>> {
    let failed = |verdict: &str| verdict != "pass";
    let probes = evidence.probes.iter().rev().filter(move |answer| failed(&answer.verdict));
    let probes = probes.map(|answer| answer.said.as_str()).chain([evidence.failure.said.as_str()]);
    let probes = probes.map(|line| Said { line, is_of_probe: true, is_near: true });
    let lines = evidence.log.own_lines();
    let near = evidence.exit.is_some_and(|exit| exit.code.is_some_and(|code| code != 0));
    let near = lines.len().saturating_sub(if near { LAST_WORDS_OF_AN_EXIT } else { LAST_WORDS });
    // After that it worked, whatever it had complained of.
    let worked = lines.iter().rposition(|line| says_ready(line)).map_or(0, |at| at.saturating_add(1));
    let lines = lines.iter().enumerate().rev();
    let lines =
        lines.map(move |(at, line)| Said { line, is_of_probe: false, is_near: at >= near.max(worked) });
    probes.chain(lines)
}

fn says_ready(line: &str) -> bool {
    let lower = line.to_lowercase();
    READY.iter().any(|word| lower.contains(word)) && !is_complaint(line)
}

fn first_with<'a>(evidence: &'a Evidence, words: &[&str]) -> Option<Said<'a>> {
    said(evidence).find(|said| {
        let lower = said.line.to_lowercase();
        words.iter().any(|word| lower.contains(word))
    })
}

pub(super) fn permission(evidence: &Evidence) -> Option<Cause> {
    let failure = &evidence.failure;
    let is_refused = matches!(failure.errno, Some(libc::EACCES | libc::EPERM));
    if failure.kind == FailureKind::NotStarted && is_refused {
        let step = failure.step.as_deref().unwrap_or("exec");
        let sentence = format!("it may not do what the start needs, at the step {step}");
        return cause(Rule::Permission, 98, sentence, failure.said.clone());
    }
    if evidence.exit.is_some_and(|exit| exit.code == Some(126)) {
        let said = first_with(evidence, PERMISSION);
        let fact = said.map_or("exited with 126", |said| said.line);
        return cause(Rule::Permission, 96, "a program that it calls may not be executed", fact);
    }
    let said = first_with(evidence, PERMISSION)?;
    let has_exited = evidence.exit.is_some_and(|exit| exit.code.is_some_and(|code| code != 0));
    // A service that goes on may complain about a file it can do without.
    let score = said.score(if has_exited && !said.is_of_probe { 90 } else { 76 });
    cause(Rule::Permission, score, format!("it may not use {}", subject_of(said.line)), said.line)
}

/// What stands in quotes, or else before the complaint.
fn subject_of(line: &str) -> &str {
    let quoted = line.split(['"', '\'']).nth(1).filter(|quoted| quoted.contains('/'));
    let path = || line.split_ascii_whitespace().find(|word| word.starts_with('/') && word.len() > 1);
    quoted.or_else(path).map_or("what it needs", |path| path.trim_end_matches([':', ',', '.', ')']))
}

pub(super) fn disk_full(evidence: &Evidence) -> Option<Cause> {
    let is_full = |disk: &&Disk| disk.total_bytes > 0 && disk.free_bytes < disk.total_bytes / 100;
    let no_files = |disk: &&Disk| disk.free_files == Some(0);
    let full = evidence.disks.iter().find(|disk| is_full(disk) || no_files(disk));
    let place = |disk: &Disk| format!("the disk of its {} ({})", disk.what, disk.path);
    match (first_with(evidence, DISK_FULL), full) {
        (Some(said), Some(disk)) => cause(Rule::DiskFull, 96, format!("{} is full", place(disk)), said.line),
        (Some(said), None) => {
            cause(Rule::DiskFull, said.score(92), "a disk that it writes to is full", said.line)
        }
        (None, Some(disk)) => {
            let what = if no_files(&disk) { "has room for no more files" } else { "is nearly full" };
            let fact = format!("{} of {} bytes are free", disk.free_bytes, disk.total_bytes);
            cause(Rule::DiskFull, 74, format!("{} {what}", place(disk)), fact)
        }
        (None, None) => None,
    }
}

pub(super) fn authentication(evidence: &Evidence) -> Option<Cause> {
    let said = first_with(evidence, AUTHENTICATION)?;
    let sentence = if said.is_of_probe {
        "its probe was refused: wrong or missing password"
    } else {
        "wrong or missing password"
    };
    cause(Rule::Authentication, said.score(89), sentence, said.line)
}

/// `server process (PID 77) was terminated by signal 9`: what it says of a child, when it failed.
pub(super) fn killed_child(evidence: &Evidence) -> Option<&str> {
    said(evidence).find(|said| said.is_near && is_about_a_killed_child(said.line)).map(|said| said.line)
}

/// The shape of complaint that came most often, if it came three times.
pub(super) fn repeated_error(evidence: &Evidence) -> Option<Cause> {
    let mut shapes: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for line in evidence.log.own_lines().iter().filter(|line| is_complaint(line)) {
        let entry = shapes.entry(mask(line)).or_insert((0, line));
        *entry = (entry.0 + 1, line);
    }
    let (count, last) = shapes.into_values().max_by_key(|(count, _)| *count)?;
    (count >= REPEATED).then_some(())?;
    cause(Rule::RepeatedError, 55, format!("it complained {count} times of the same"), last)
}

/// The last complaint of this run; else its last word.
pub(super) fn last_words(evidence: &Evidence) -> Option<&str> {
    let lines = evidence.log.own_lines();
    let has_words = |line: &&String| line.chars().any(char::is_alphanumeric);
    // A traceback says at its very end what it is about.
    let traceback = lines.iter().rev().find(|line| is_exception(line));
    let complaint = || lines.iter().rev().find(|line| is_complaint(line));
    let last = || lines.iter().rev().find(has_words);
    traceback.or_else(complaint).or_else(last).map(|line| line.trim())
}

/// `ModuleNotFoundError: No module named 'x'`, as Python ends a traceback.
fn is_exception(line: &str) -> bool {
    let Some((name, _)) = line.split_once(": ") else { return false };
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
    is_name && (name.ends_with("Error") || name.ends_with("Exception"))
}

/// Lines that a service that goes on has just said.
const LAST_WORDS: usize = 5;
/// The same of one that exits, with the trace of a stack and what is tidied up.
const LAST_WORDS_OF_AN_EXIT: usize = 20;
/// Below whatever was seen when it failed.
const LONG_BEFORE: u8 = 46;
/// How servers say that all has been well until here.
const READY: &[&str] = &["ready to accept", "ready for connections", "listening on", "server started"];
/// Fewer may be chance.
const REPEATED: usize = 3;
const PERMISSION: &[&str] =
    &["permission denied", "eacces", "invalid permissions", "operation not permitted"];
const DISK_FULL: &[&str] = &["no space left on device", "enospc", "disk quota exceeded", "disk is full"];
const AUTHENTICATION: &[&str] = &[
    "password authentication failed",
    "no password supplied",
    "wrongpass",
    "noauth",
    "invalid password",
    "invalid username-password",
    "authentication failed",
    "authentication required",
    "access denied for user",
    "incorrect password",
    "wrong password",
];
