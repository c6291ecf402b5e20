//! Ten thousand ends at once.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::{Scratch, compiled, namespaces};

const ORPHANS: &str = "10000";
/// Of each program, one after the other, so that a busy minute of the host falls on all of them.
const ROUNDS: usize = 5;
const MOST_ROUNDS: usize = 25;

/// The microseconds that stand in `text`, which tells that nobody was left.
#[track_caller]
fn micros(text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_no| panic!("not a number: {text}"))
}

#[track_caller]
fn alone(init: &mut Command, orphans: &Path) -> u64 {
    let output = init.arg("--").arg(orphans).arg(ORPHANS).output().expect("unshare");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", output.status);
    micros(&String::from_utf8_lossy(&output.stdout))
}

/// The same as the one unit of a directory; its end is that of everything.
#[track_caller]
fn as_a_unit(home: &Path) -> u64 {
    let mut init = namespaces(&[]);
    init.arg(env!("CARGO_BIN_EXE_mcsup")).arg("init").env("MCSUP_HOME", home);
    let output = init.stdin(Stdio::null()).output().expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}", output.status);
    let log = home.join("log/orphans/current");
    let told = micros(&fs::read_to_string(&log).expect("a log"));
    fs::remove_file(log).expect("a log");
    told
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn ten_thousand_orphans_that_end_at_once_take_no_longer_than_with_tini() {
    let scratch = Scratch::new("orphans");
    let orphans = scratch.0.join("orphans");
    compiled("tests/init/orphans.c", &orphans);
    let home = scratch.0.join("home");
    fs::create_dir_all(home.join("units")).expect("a home");
    let unit = format!(
        "kind: task\nessential: true\nrestart: {{policy: never}}\ncommand: [{}, '{ORPHANS}']\n",
        orphans.display()
    );
    fs::write(home.join("units/orphans.yaml"), unit).expect("a unit");
    let [mut tini, mut command, mut units] = [const { Vec::new() }; 3];
    // A machine that does other things meanwhile scatters times by half: more rounds settle the medians.
    for round in 1..=MOST_ROUNDS {
        tini.push(alone(namespaces(&[]).arg("tini"), &orphans));
        command.push(alone(namespaces(&[]).args([env!("CARGO_BIN_EXE_mcsup"), "init"]), &orphans));
        units.push(as_a_unit(&home));
        let most = median(tini.clone()) * 12 / 10;
        if round >= ROUNDS && median(command.clone()) <= most && median(units.clone()) <= most {
            break;
        }
    }
    let told = format!("tini {tini:?}\nalone {command:?}\nunits {units:?} us");
    println!("{told}");
    let most = median(tini) * 12 / 10;
    assert!(median(command) <= most, "alone takes longer than {most}:\n{told}");
    assert!(median(units) <= most, "a unit takes longer than {most}:\n{told}");
}
