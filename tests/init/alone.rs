//! `mcsup init -- CMD` beside `tini -- CMD`: the same questions to both, and the same answers.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use crate::instance::eventually;
use crate::place::{Scratch, namespaces};

/// Those that are compared.
const INITS: [&[&str]; 2] = [&["tini"], &[env!("CARGO_BIN_EXE_mcsup"), "init"]];

/// The init with its flags and the command, to be started as it is.
#[expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
fn init(init: &[&str], flags: &[&str], command: &[&str]) -> Command {
    // Whoever runs the tests may ignore some, as `nohup` does, and a child inherits that.
    let mut started = Command::new("env");
    started.arg("--default-signal").args(init).args(flags).arg("--").args(command).stdin(Stdio::null());
    for name in ["TINI_SUBREAPER", "TINI_VERBOSITY", "TINI_KILL_PROCESS_GROUP"] {
        started.env_remove(name);
    }
    started
}

fn shell(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

/// What both say and how both end.
fn of_both(flags: &[&str], command: &[&str]) -> [Output; 2] {
    INITS.map(|name| init(name, flags, command).output().unwrap_or_else(|error| panic!("{name:?}: {error}")))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both end with this status.
#[track_caller]
fn assert_status(flags: &[&str], command: &[&str], status: i32) {
    let codes = of_both(flags, command).map(|output| output.status.code());
    assert_eq!(codes, [Some(status); 2], "of tini and of mcsup: {flags:?} {command:?}");
}

/// Both say this.
#[track_caller]
fn assert_said(flags: &[&str], command: &[&str], text: &str) {
    let outputs = of_both(flags, command);
    assert_eq!(outputs.each_ref().map(said), [text, text], "of tini and of mcsup: {flags:?} {outputs:#?}");
}

/// Started, and its first line is here: the command is ready to be asked.
#[track_caller]
fn ready(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("an init");
    let mut lines = BufReader::new(child.stdout.take().expect("an output"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    (child, lines)
}

fn send(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).expect("a pid");
    let kill = format!("kill -{signal} {pid}");
    #[expect(clippy::disallowed_methods, reason = "the shell sends signals that have no name here")]
    let sent = Command::new("sh").args(["-c", &kill]).status().expect("sh");
    assert!(sent.success(), "{kill}");
}

#[test]
fn the_commands_exit_status_is_that_of_the_init() {
    for status in [0, 1, 3, 255] {
        assert_status(&[], &shell(&format!("exit {status}")), status);
    }
    for signal in [1, 9, 15] {
        assert_status(&[], &shell(&format!("kill -{signal} $$")), 128 + signal);
    }
}

#[test]
fn a_command_that_cannot_be_run_is_told_as_a_shell_tells_it() {
    assert_status(&[], &["/there/is/nothing"], 127);
    assert_status(&[], &["there-is-no-such-command"], 127);
    assert_status(&[], &["/etc/passwd"], 126);
}

#[test]
fn a_status_that_was_called_good_becomes_zero() {
    assert_status(&["-e", "143"], &shell("kill -TERM $$"), 0);
    assert_status(&["-e", "3", "-e", "4"], &shell("exit 4"), 0);
    assert_status(&["-e", "3"], &shell("exit 4"), 4);
    assert_status(&["-e3", "-v"], &shell("exit 3"), 0);
}

#[test]
fn every_signal_that_can_be_sent_is_passed_on() {
    let faults_of_ours = [4, 5, 6, 7, 8, 11, 31];
    let never_caught = [9, 19];
    let of_a_terminal_or_child = [17, 21, 22];
    let kept = [&faults_of_ours[..], &never_caught, &of_a_terminal_or_child].concat();
    // 32 and 33 belong to the C library, and a shell traps none above. The last one ends the command.
    let end = 15;
    let signals = (1..=31).filter(|signal| !kept.contains(signal) && *signal != end);
    let signals: Vec<i32> = signals.chain([end]).collect();
    let traps: String = signals.iter().map(|signal| format!("trap 'echo {signal}' {signal}; ")).collect();
    let script = format!("{traps} trap 'echo {end}; exit' {end}; echo ready; while :; do sleep 0.02; done");
    for name in INITS {
        let (mut child, mut lines) = ready(init(name, &[], &shell(&script)));
        let mut told: Vec<i32> = Vec::new();
        for signal in &signals {
            send(&child, *signal);
            let mut line = String::new();
            lines.read_line(&mut line).expect("a line");
            told.push(line.trim().parse().unwrap_or_default());
        }
        child.wait().expect("a child");
        assert_eq!(told, signals, "{name:?}");
    }
}

#[test]
fn signals_that_have_no_name_are_passed_on_too() {
    for name in INITS {
        let (mut child, _lines) = ready(init(name, &[], &shell("echo ready; exec sleep 1000")));
        send(&child, 37); // SIGRTMIN+3, as podman sends it; nobody catches it, so it ends the command
        let status = eventually(|| child.try_wait().expect("a child")).expect("it ends");
        assert_eq!((status.code(), status.signal()), (Some(128 + 37), None), "{name:?}");
    }
}

/// The outer shell waits for the inner, which alone would be told by a terminal.
const FAMILY: &str = "trap 'echo outer' TERM; \
                      sh -c 'trap \"echo inner; exit\" TERM; echo ready; while :; do sleep 0.02; done' & \
                      wait; wait";

#[test]
fn the_group_gets_the_signal_where_that_is_asked_for() {
    for name in INITS {
        let (mut child, mut lines) = ready(init(name, &["-g"], &shell(FAMILY)));
        send(&child, 15);
        let mut told = String::new();
        lines.read_to_string(&mut told).expect("lines");
        let mut told: Vec<&str> = told.lines().collect();
        told.sort_unstable();
        assert_eq!(told, ["inner", "outer"], "{name:?}");
        child.wait().expect("a child");
    }
}

#[test]
fn the_environment_asks_for_the_same_as_the_flags() {
    for name in INITS {
        let mut command = init(name, &[], &shell(FAMILY));
        command.env("TINI_KILL_PROCESS_GROUP", "");
        let (mut child, mut lines) = ready(command);
        send(&child, 15);
        let mut told = String::new();
        lines.read_to_string(&mut told).expect("lines");
        assert!(told.contains("inner"), "{name:?}: {told}");
        child.wait().expect("a child");

        let mut command = init(name, &[], &shell(PARENT_OF_AN_ORPHAN));
        command.env("TINI_SUBREAPER", "").stdout(Stdio::piped());
        let child = command.spawn().expect("an init");
        let pid = child.id().to_string();
        assert_eq!(said(&child.wait_with_output().expect("an end")).trim(), pid, "{name:?}");
    }
}

/// Says who the parent of an orphan is.
const PARENT_OF_AN_ORPHAN: &str =
    "p=$(sh -c 'sleep 1000 > /dev/null & echo $!'); cut -d' ' -f4 /proc/$p/stat; kill $p";

#[test]
fn orphans_come_here_where_that_is_asked_for() {
    for name in INITS {
        let child =
            init(name, &["-s"], &shell(PARENT_OF_AN_ORPHAN)).stdout(Stdio::piped()).spawn().expect("an init");
        let pid = child.id().to_string();
        assert_eq!(said(&child.wait_with_output().expect("an end")).trim(), pid, "{name:?}");
        let child = init(name, &[], &shell(PARENT_OF_AN_ORPHAN))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("an init");
        let pid = child.id().to_string();
        let output = child.wait_with_output().expect("an end");
        assert_ne!(said(&output).trim(), pid, "{name:?}");
        let warning = String::from_utf8_lossy(&output.stderr);
        assert!(warning.contains("-s"), "{name:?} says what would help: {warning}");
    }
}

#[test]
fn orphans_that_were_waited_for_are_named_where_that_is_asked_for() {
    let script = "p=$(sh -c 'sleep 0.01 > /dev/null & echo $!'); while kill -0 $p 2>/dev/null; do sleep 0.01; done; echo $p";
    for output in of_both(&["-s", "-w"], &shell(script)) {
        let warning = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(warning.contains(said(&output).trim()), "{output:?}");
    }
    let quiet = of_both(&["-s"], &shell(script));
    assert!(quiet.iter().all(|output| output.stderr.is_empty()), "{quiet:?}");
}

#[test]
fn more_is_said_the_more_often_it_is_asked_for() {
    let [_, told] = INITS;
    let words = |flags: &[&str]| {
        let output = init(told, flags, &["true"]).output().expect("an init");
        assert!(output.stdout.is_empty(), "the output is the command's: {output:?}");
        output.stderr.iter().filter(|byte| **byte == b'\n').count()
    };
    assert_eq!(words(&["-s"]), 0);
    assert!(words(&["-s", "-v"]) > 0);
}

#[test]
fn the_end_of_the_parent_is_told_by_the_signal_that_was_asked_for() {
    let scratch = Scratch::new("parent");
    for (at, name) in INITS.iter().enumerate() {
        let told = scratch.0.join(format!("told-{at}"));
        let ready = scratch.0.join(format!("ready-{at}"));
        // The command removes what the parent waits for, and the parent ends.
        fs::write(&ready, "").expect("a file");
        let command = format!(
            "trap 'echo told > {}; exit' USR1; rm {}; while :; do sleep 0.02; done",
            told.display(),
            ready.display()
        );
        let words = [name, &["-s", "-p", "SIGUSR1", "--", "sh", "-c", &command][..]].concat();
        let script = format!("\"$@\" & while [ -e {} ]; do sleep 0.02; done", ready.display());
        #[expect(clippy::disallowed_methods, reason = "a parent that ends")]
        let ended = Command::new("sh").args(["-c", &script, "sh"]).args(words).status().expect("sh");
        assert!(ended.success());
        let is_told =
            eventually(|| fs::read_to_string(&told).is_ok_and(|text| text == "told\n").then_some(()));
        assert!(is_told.is_some(), "{name:?}");
    }
}

/// Group and session beside those of the parent: (own pid == own group, own session == the parent's).
const STANDING: &str = "set -- $(cat /proc/$$/stat); parent=$4 group=$5 session=$6; set -- $(cat /proc/$parent/stat); \
                        [ $group = $$ ] && echo own group; [ $session = $6 ] && echo the same session";

#[test]
fn the_command_leads_a_group_of_its_own_in_the_session_of_its_parent() {
    assert_said(&["-s"], &shell(STANDING), "own group\nthe same session\n");
}

#[test]
fn the_command_has_signals_as_they_were_before_the_init() {
    let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status";
    let masks = |words: &[&str]| {
        #[expect(clippy::disallowed_methods, reason = "env is what changes signals")]
        let output = Command::new("env")
            .args(["--ignore-signal=TTOU,USR1", "--block-signal=HUP,RTMIN"])
            .args(words)
            .args(shell(script))
            .output();
        said(&output.expect("env"))
    };
    let before = masks(&[]);
    assert!(before.contains("SigIgn") && before.contains("SigBlk"), "{before}");
    for name in INITS {
        assert_eq!(masks(&[name, &["-s", "--"][..]].concat()), before, "{name:?}");
    }
}

#[test]
fn at_a_terminal_the_command_is_in_front() {
    // Group, and the group in front; then a line that was typed, which nobody in the background may read.
    let script = "set -- $(cat /proc/$$/stat); [ $5 = $8 ] && echo in front; read line; echo \"read $line\"";
    let scratch = Scratch::new("terminal");
    let script = scratch.file("script", script);
    for name in INITS {
        let words = [name, &["-s", "--", "sh"][..]].concat().join(" ");
        #[expect(clippy::disallowed_methods, reason = "a terminal")]
        let mut child = Command::new("script")
            .args(["-qec", &format!("{words} {}", script.display()), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("script");
        std::io::Write::write_all(child.stdin.as_mut().expect("an input"), b"typed\n").expect("a line");
        let mut told = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("an output"));
        while !told.contains("read typed") && output.read_line(&mut told).is_ok_and(|read| read > 0) {}
        assert!(told.contains("in front") && told.contains("read typed"), "{name:?}: {told}");
        drop(child.stdin.take());
        child.wait().expect("a child");
    }
}

#[test]
fn as_process_1_it_waits_for_strangers_and_its_end_is_the_end_of_all() {
    // A stranger that ends is gone; one that goes on has no place to be in any more.
    let script = "p=$(sh -c 'sleep 0.01 > /dev/null & echo $!'); while kill -0 $p 2>/dev/null; do sleep 0.01; done; \
                  sh -c 'sleep 1000 > /dev/null &'; echo $PPID; exit 7";
    for name in INITS {
        let mut command = namespaces(&[]);
        command.args(name).arg("--").args(shell(script)).stdin(Stdio::null());
        let output = command.output().expect("unshare");
        assert_eq!((said(&output).trim(), output.status.code()), ("1", Some(7)), "{name:?}: {output:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_run() {
    let scratch = Scratch::new("refused");
    let run = scratch.0.join("run");
    let touch = format!("touch {}", run.display());
    let [_, name] = INITS;
    for flags in [&["-p", "SIGNOTHING"][..], &["-e", "256"], &["-e", "x"], &["-q"], &["a-directory"]] {
        let output = init(name, flags, &shell(&touch)).output().expect("an init");
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {output:?}");
    }
    // Flags of a command, and no command.
    #[expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
    let output = Command::new(env!("CARGO_BIN_EXE_mcsup")).args(["init", "-g"]).output().expect("mcsup");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!Path::new(&run).exists());
}
