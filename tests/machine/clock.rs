//! A clock that somebody sets, under a supervisor that lives: FIELD-NOTES 34.

use serde_json::Value;

use crate::machine::{INIT, Image, Machine, Owner, WORDS, mcsup};

#[test]
fn case_34_a_clock_that_somebody_sets_loses_no_slot_and_repeats_none() {
    let mut image = Image::new();
    image.script("/init", INIT);
    image.script("/job", "#!/bin/sh\necho ran >> /ran\n");
    image.text("/story", &format!("{WORDS}{STORY}"));
    image.text("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    image.text("/home/units/nightly.yaml", "kind: job\nschedule: \"0 6 * * *\"\ncommand: [/job]\n");
    image.copy(mcsup(), "/bin/mcsup", Owner::default());
    image.libraries(mcsup());
    let mut machine = Machine::boot("clock", &image, 384);

    // Of three slots that nobody was there for, one run for all of them, which is the default.
    for (when, runs) in [("an hour forward", 1), ("back", 1), ("a day forward", 2), ("three days forward", 3)]
    {
        let told = machine.told(when);
        assert_eq!(told.lines().filter(|line| !line.is_empty()).count(), runs, "{when}\n{machine}");
    }
    let told = machine.told("job");
    let job: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}\n{told}\n{machine}"));
    let missed = job.pointer("/jobs/0/runs/1").unwrap_or(&Value::Null);
    let is_missed = missed["verdict"] == "missed" && missed["run"].is_null();
    assert!(is_missed && missed["why"] == "nobody was there, 3 times; 1 caught up", "{job:#}");
    let up = machine.told("up");
    assert!(up.contains("nightly inactive -> starting: its triggers are being set up\n"), "{up}");
    machine.ended();
}

/// Each wait is for a run, or for the slot to have gone by once more.
const STORY: &str = r#"
export MCSUP_HOME=/home
date -s '2026-11-20 05:00:00'
mcsup up 2>&1 | tee /up > /dev/console 2>&1 &
is_armed() { mcsup status nightly --json | grep -q '"state": *"ready"'; }
wait_for is_armed
runs() { test "$(wc -l < /ran)" -ge "$1" && ! mcsup status nightly --json | grep -q '"state": *"running"'; }
date -s '2026-11-20 06:00:20'
wait_for runs 1
tell 'an hour forward' cat /ran
date -s '2026-11-20 05:59:57'
is_after() { test "$(date +%H%M%S)" -ge "$1"; }
wait_for is_after 060005
tell back cat /ran
date -s '2026-11-21 05:59:57'
wait_for runs 2
tell 'a day forward' cat /ran
date -s '2026-11-24 07:00:00'
wait_for runs 3
tell 'three days forward' cat /ran
tell job mcsup jobs nightly --json
tell page mcsup jobs nightly
tell up cat /up
mcsup shutdown
"#;
