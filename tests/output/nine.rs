//! The nine jobs of `units`, and what each makes of good output and of every kind of garbage.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mcsup::supervisor::directory;
use mcsup::unit::schedule::UnixTime;
use mcsup::unit::spec::UnitKind;

use super::MCSUP;
use super::files::Dir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "agents and commands are processes of their own")]
fn run(program: &Path, dir: &Dir, garbage: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(&dir.0).env_remove("MCSUP_HOME").env("TZ", "UTC").stdin(Stdio::null());
    if garbage.is_empty() {
        command.env_remove("GARBAGE")
    } else {
        command.env("GARBAGE", garbage)
    };
    command
}

/// What the agent of `job` leaves: its output, or the file that it writes beside it.
fn made(job: &str, dir: &Dir, garbage: &str) -> PathBuf {
    let agent = root().join("examples/agents").join(job);
    let output = run(&agent, dir, garbage).output().unwrap();
    assert!(output.status.success(), "{job} {garbage}: {output:?}");
    if job == "memory" {
        return "knowledge.json".into();
    }
    let name = format!("{job}.out");
    std::fs::write(dir.0.join(&name), output.stdout).unwrap();
    name.into()
}

fn check(job: &str, dir: &Dir, file: &Path, previous: Option<&Path>) -> Output {
    let mut command = run(Path::new(MCSUP), dir, "");
    command.args(["output", "check"]).arg(root().join(format!("units/{job}.yaml"))).arg(file);
    if let Some(previous) = previous {
        command.arg("--previous").arg(previous);
    }
    command.output().unwrap()
}

/// The last line: the verdict, and why.
fn verdict(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

const EMPTY: &str = "rejected: it is empty";

/// Of each job: what is said of truncated, wrong and yesterday's output.
const TOLD: [(&str, [&str; 3]); 9] = [
    (
        "brainstem",
        ["rejected: it is not JSON", "rejected: a service does not respond", "rejected: not today's check"],
    ),
    ("limbic", ["rejected: no priorities", "rejected: no priorities", "rejected: not today's briefing"]),
    (
        "research",
        [
            "rejected: it is not JSON",
            "rejected: fewer than three trends of YT: output.trends.filter(t, t.source == 'YT') has 1 item, wanted >= 3",
            "rejected: not today's trends",
        ],
    ),
    (
        "content-scripts",
        [
            "rejected: it is not JSON",
            "rejected: fewer than two scripts with hooks: output.scripts.filter(s, size(s.hook) >= 10) has 1 item, wanted >= 2",
            "rejected: not today's scripts",
        ],
    ),
    (
        "product",
        ["rejected: it is not JSON", "rejected: an offer without a price", "rejected: not today's offers"],
    ),
    (
        "content-calendar",
        [
            "rejected: it is not JSON",
            "rejected: the days do not follow each other",
            "rejected: it does not begin today",
        ],
    ),
    (
        "content-outline",
        [
            "rejected: it is not JSON",
            "rejected: a section that begins before the one above it",
            "rejected: not today's outline",
        ],
    ),
    (
        "analytics",
        [
            "rejected: it is not JSON",
            "rejected: the margin is not what revenue and costs give",
            "rejected: not today's figures",
        ],
    ),
    (
        "memory",
        [
            "rejected: knowledge.json: it is not JSON",
            "rejected: knowledge.json: the knowledge store did not grow",
            "rejected: knowledge.json: nothing was learned today",
        ],
    ),
];

#[test]
fn the_nine_jobs_pass_what_is_good_and_name_what_is_garbage() {
    let mut wrong = Vec::new();
    for (job, [truncated, wrong_content, yesterday]) in TOLD {
        let empty = if job == "memory" { "rejected: knowledge.json: it is empty" } else { EMPTY };
        for (garbage, status, expected) in [
            ("", 0, "passed"),
            ("empty", 1, empty),
            ("truncated", 1, truncated),
            ("wrong", 1, wrong_content),
            ("yesterday", 1, yesterday),
        ] {
            let dir = Dir::new(&format!("nine-{job}-{garbage}"));
            // A store that has grown before, for who must make it grow.
            let before = (job == "memory" && garbage != "yesterday").then(|| {
                std::fs::copy(dir.0.join(made(job, &dir, "")), dir.0.join("before.json")).unwrap();
                PathBuf::from("before.json")
            });
            let output = check(job, &dir, &made(job, &dir, garbage), before.as_deref());
            let told = verdict(&output);
            if output.status.code() != Some(status) || !told.starts_with(expected) {
                wrong.push(format!(
                    "{job} {garbage}: {:?} {told:?}, not {expected:?}\n{output:?}",
                    output.status
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_nine_jobs_run_when_the_operator_wants_them() {
    let checked = directory::load(&root().join("units")).unwrap();
    let set = checked.loaded.set.unwrap_or_else(|| panic!("{:?}", checked.loaded.diagnostics));
    assert_eq!(checked.loaded.diagnostics, [], "units holds what is right");
    // The shortest day of the year 2026, 00:00 in Berlin.
    let midnight = UnixTime(1_797_807_600);
    let mut times: Vec<(String, &str)> = set
        .units
        .iter()
        .filter(|unit| unit.kind == UnitKind::Job)
        .map(|unit| {
            let timetable = &unit.job.as_deref().unwrap().timetable;
            (timetable.zone.show(timetable.next(midnight).unwrap()), unit.name.as_str())
        })
        .collect();
    times.sort();
    let expected = [
        ("06:00", "brainstem"),
        ("07:00", "limbic"),
        ("08:00", "research"),
        ("09:00", "content-scripts"),
        ("10:00", "product"),
        ("12:00", "content-calendar"),
        ("14:00", "content-outline"),
        ("17:00", "analytics"),
        ("22:00", "memory"),
    ];
    let expected: Vec<(String, &str)> =
        expected.iter().map(|(time, name)| (format!("Mon 2026-12-21 {time} CET"), *name)).collect();
    assert_eq!(times, expected);
}

#[test]
fn an_agent_that_is_asked_for_an_unknown_kind_of_garbage_says_which_there_are() {
    let dir = Dir::new("nine-unknown");
    let output = run(&root().join("examples/agents/limbic"), &dir, "grabage").output().unwrap();
    assert!(!output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "GARBAGE is one of empty, truncated, wrong, yesterday\n"
    );
}
