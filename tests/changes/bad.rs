//! Changes that are not well, or make no sense.

use std::fs;

use rustix::process::Signal;

use crate::instance::{eventually, signal};
use crate::site::{CRASH, OTHER, SLEEP, Site};

#[test]
fn case_40_a_crash_loop_goes_back_with_its_file_and_nobody_else_is_touched() {
    let site = Site::new("crash-loop", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    site.save("a", CRASH);
    let rejected = site.wait_for_return(2);
    assert!(rejected.why.contains('a'), "{rejected:?}");
    let after = site.wait("a is back", |look| look.is("a", "ready"));
    assert_eq!(site.text("a"), SLEEP);
    assert_eq!(after.pid("b"), before.pid("b"));
    assert_eq!(site.current(), Some(1));
    let kept = site.path("state/generations/000002/units/a.yaml");
    assert_eq!(fs::read_to_string(kept).expect("the failed one"), CRASH, "what was written is kept");
    let incidents = String::from_utf8_lossy(&site.run(&["incidents"]).stdout).into_owned();
    assert!(incidents.contains("generation 2 goes back: a is backoff"), "{incidents}");
    site.assert_last_is(2);
}

#[test]
fn case_40_a_probe_that_never_passes_goes_back_within_the_window() {
    let site = Site::new("never-passes", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    site.save(
        "a",
        "command: [sleep, '1000']\nhealth: {exec: ['false'], interval: 200ms}\nenvironment: {X: y}\n",
    );
    site.wait_for_return(2);
    let after = site.wait("a is back", |look| look.is("a", "ready"));
    assert_eq!(after.pid("b"), before.pid("b"));
    assert_eq!(site.text("a"), SLEEP);
    site.assert_last_is(2);
}

#[test]
fn a_unit_that_a_change_adds_and_that_does_not_work_goes_away_again() {
    let site = Site::new("added-bad", &[("a", SLEEP)]);
    let before = site.now();
    site.save("new", CRASH);
    site.wait_for_return(2);
    assert!(!site.file("new").exists(), "{}", site.story());
    let after = site.wait("it is gone", |look| look.unit("new").is_null());
    assert_eq!(after.pid("a"), before.pid("a"));
    site.assert_last_is(2);
}

#[test]
fn a_unit_that_a_bad_change_removed_comes_back_with_its_file() {
    let site = Site::new("removed-bad", &[("a", SLEEP), ("b", SLEEP), ("gone", SLEEP)]);
    let before = site.now();
    site.save("a", CRASH);
    fs::remove_file(site.file("gone")).expect("it is there");
    site.wait_for_return(2);
    let after = site.wait("all are back", |look| look.is("a", "ready") && look.is("gone", "ready"));
    assert_eq!(site.text("gone"), SLEEP);
    assert_eq!(after.pid("b"), before.pid("b"));
    site.assert_last_is(2);
}

#[test]
fn case_39_what_makes_no_sense_touches_nothing_and_is_an_incident_until_it_is_mended() {
    let site = Site::new("no-sense", &[("a", SLEEP), ("b", "command: [sleep, '1000']\ndepends_on: [a]\n")]);
    let before = site.now();
    let bad: [(&str, &dyn Fn(), &str); 4] = [
        ("invalid", &|| site.save("a", "command: [sleep\n  what: is: this"), "a.yaml"),
        ("a cycle", &|| site.save("a", "command: [sleep, '1000']\ndepends_on: [b]\n"), "b"),
        ("a missing name", &|| site.save("a", "command: [sleep, '1000']\ndepends_on: [nobody]\n"), "nobody"),
        ("removed while it is needed", &|| fs::remove_file(site.file("a")).expect("it is there"), "a"),
    ];
    for (what, save, word) in bad {
        let told = site.printed().matches("the units directory cannot be used").count();
        save();
        let is_told = || {
            let printed = site.printed();
            // The incident says the same words once more.
            let since = printed.split("the units directory cannot be used").skip(told + 1);
            since.collect::<String>().contains(word).then_some(())
        };
        assert!(eventually(is_told).is_some(), "{what}: {}", site.story());
        site.wait_until("an incident", || site.open_incidents().len() == 1);
        let look = site.now();
        assert_eq!((look.pid("a"), look.pid("b")), (before.pid("a"), before.pid("b")), "{what}");
        site.save("a", SLEEP);
        site.wait_until("it is over", || site.open_incidents().is_empty());
    }
    site.assert_last_is(1);
}

#[test]
fn a_file_that_makes_no_sense_for_a_moment_is_no_incident() {
    let site = Site::new("for-a-moment", &[("a", SLEEP)]);
    site.save("a", "command: [sleep\n");
    // It was read so, as SIGHUP reads at once.
    signal(site.keeper(), Signal::HUP);
    site.save("a", OTHER);
    site.wait_for_commit(2);
    assert!(!site.printed().contains("cannot be used"), "{}", site.printed());
    let incidents = site.done(&["incidents", "--json"]);
    assert!(incidents.contains("\"incidents\":[]") || !incidents.contains("units directory"), "{incidents}");
}

#[test]
fn what_is_written_in_a_verify_waits_and_is_the_next_candidate() {
    let site = Site::new("in-verify", &[("a", SLEEP), ("b", SLEEP)]);
    site.save("a", OTHER);
    site.wait_for_word(2, "verifying");
    site.save("b", OTHER);
    site.wait_for_commit(2 + 1);
    let words: Vec<String> = site.generations().into_iter().map(|kept| kept.word).collect();
    assert_eq!(words, ["committed"; 3], "{}", site.story());
    site.assert_last_is(3);
}

#[test]
fn what_is_written_while_a_change_goes_back_is_kept_and_is_the_next_candidate() {
    let stubborn =
        "command: [sh, -c, \"trap '' TERM; touch up; while :; do sleep 0.1; done\"]\nstop: {grace: 1s}\n";
    let sick = format!("{stubborn}health: {{exec: ['false'], interval: 200ms}}\n");
    let site = Site::new("in-roll-back", &[("a", SLEEP), ("b", SLEEP), ("c", SLEEP)]);
    let before = site.now();
    site.save("a", &sick);
    site.save("c", OTHER);
    site.wait_for_word(2, "verifying");
    // While it is verified, over a file of the failed one.
    site.save("c", "command: [sleep, '7001']\n");
    site.wait_for_word(2, "rejected");
    // While its process takes its time to end.
    site.save("b", "command: [sleep, '7002']\n");
    site.wait_for_commit(3);
    assert_eq!(site.text("a"), SLEEP, "the failed one went back");
    assert_eq!(site.text("c"), "command: [sleep, '7001']\n");
    assert_eq!(site.text("b"), "command: [sleep, '7002']\n");
    let after = site.wait("all are well", |look| ["a", "b", "c"].iter().all(|name| look.is(name, "ready")));
    assert_ne!(after.pid("b"), before.pid("b"));
    site.assert_last_is(3);
}

#[test]
fn case_40_what_an_operator_stopped_stays_stopped_over_a_change_and_its_way_back() {
    let site = Site::new("stopped", &[("a", SLEEP), ("b", SLEEP), ("down", SLEEP)]);
    site.done(&["stop", "down"]);
    site.save("down", OTHER);
    site.save("b", OTHER);
    site.wait_for_commit(2);
    assert!(site.now().is("down", "inactive"), "{}", site.story());
    site.save("down", "command: [sleep, '1002']\n");
    site.save("a", CRASH);
    site.wait_for_return(3);
    let after = site.wait("a is back", |look| look.is("a", "ready"));
    assert!(after.is("down", "inactive"), "{}", site.story());
    assert_eq!(site.text("down"), OTHER);
}

#[test]
fn a_change_that_was_rejected_is_not_tried_again_by_itself_but_another_one_is() {
    let site = Site::new("again", &[("a", SLEEP), ("b", SLEEP)]);
    site.save("a", CRASH);
    site.wait_for_return(2);
    site.save("a", CRASH);
    site.wait_for_line("as in generation 2, which was rejected");
    let look = site.now();
    site.save("a", SLEEP);
    site.assert_last_is(2);
    assert_eq!(site.now().pid("a"), look.pid("a"));
}

#[test]
fn a_change_that_is_kept_although_it_is_not_well_stays_an_incident_until_another_one_is_well() {
    let keep = "apply: {verify: 4s, settle: 300ms, on_failure: keep}\n";
    let site = Site::with_settings("keep", &[("mcsup", keep), ("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    site.save("a", CRASH);
    site.wait_for_event("generation 2 stays in force, although not all is well");
    site.wait_for_commit(2);
    assert_eq!(site.text("a"), CRASH);
    // The directory says what is in force, and that is still not well.
    site.look_again();
    let told = || site.open_incidents().iter().any(|one| one.contains("generation 2 is not well"));
    assert!(told(), "{}", site.story());
    site.save("a", OTHER);
    site.wait_for_commit(3);
    site.wait_until("it is over", || !told());
    assert_eq!(site.now().pid("b"), before.pid("b"));
    site.assert_last_is(3);
}

#[test]
fn a_way_back_that_is_not_well_either_stays_an_incident() {
    let fickle = "command: [sh, -c, 'test -e MARK && exit 1; exec sleep 1000']\nrestart: {backoff: {initial: 10ms, max: 20ms}}\n";
    let site = Site::new("back-bad", &[("a", SLEEP), ("b", SLEEP)]);
    let mark = site.path("mark");
    let fickle = fickle.replace("MARK", &mark.display().to_string());
    site.save("a", &fickle);
    site.wait_for_commit(2);
    let before = site.now();
    fs::write(&mark, "").expect("a file");
    site.save("a", CRASH);
    site.wait_for_event("generation 3 was rolled back, and not all is well");
    site.wait_until("its file is back", || site.text("a") == fickle);
    let told = || site.open_incidents().iter().any(|one| one.contains("generation 3 goes back"));
    site.look_again();
    assert!(told(), "{}", site.story());
    fs::remove_file(&mark).expect("it is there");
    site.save("a", OTHER);
    site.wait_for_commit(4);
    site.wait_until("it is over", || !told());
    assert_eq!(site.now().pid("b"), before.pid("b"));
}

#[test]
fn case_8_a_directory_that_was_emptied_stops_nothing_and_boots_what_held_last() {
    let mut site = Site::new("emptied", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    for name in ["a", "b"] {
        fs::remove_file(site.file(name)).expect("it is there");
    }
    site.wait_for_line("there is no unit file in it");
    let after = site.now();
    assert_eq!((after.pid("a"), after.pid("b")), (before.pid("a"), before.pid("b")));
    assert_eq!(site.current(), Some(1));
    // Nor does the next boot, which may come before the disk of the directory.
    site.run(&["shutdown"]);
    site.0.ended();
    site.0.up();
    site.wait("what held last is up", |look| look.is("a", "ready") && look.is("b", "ready"));
    site.save("a", OTHER);
    site.wait("the directory counts again", |look| look.unit("b").is_null());
}

#[test]
fn what_was_rejected_and_stays_in_the_directory_is_no_boot_s_to_run() {
    let mut site = Site::new("rejected-boot", &[("a", SLEEP)]);
    site.save("a", CRASH);
    site.wait_for_return(2);
    site.wait("a is back", |look| look.is("a", "ready"));
    site.run(&["shutdown"]);
    site.0.ended();
    // Somebody puts it there once more while nobody looks.
    site.save("a", CRASH);
    site.0.up();
    site.wait_for_line("it is as in generation 2, which did not hold");
    site.wait("what held last is up", |look| look.is("a", "ready"));
    assert_eq!((site.text("a").as_str(), site.current()), (CRASH, Some(1)), "{}", site.story());
}

#[test]
fn what_a_service_writes_beside_the_units_is_nobody_s_change_and_stays_its_own() {
    let writer = "command: [sh, -c, 'exec 3>>out.log; while echo line >&3; do sleep 0.05; done']\n";
    let site = Site::new("data", &[("a", SLEEP), ("w", writer)]);
    let before = site.now();
    let log = site.units().join("out.log");
    site.wait_until("it writes", || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 3));
    site.save("a", OTHER);
    site.wait_for_commit(2);
    site.save("a", CRASH);
    site.wait_for_return(3);
    let then = fs::read_to_string(&log).expect("it is there").lines().count();
    site.wait_until("it goes on", || {
        fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > then + 3)
    });
    assert_eq!(site.now().pid("w"), before.pid("w"));
    assert_eq!(site.generations().len(), 3, "{}", site.story());
}

#[test]
fn a_unit_file_that_leads_nowhere_for_a_while_stops_nothing() {
    let site = Site::new("dangling", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    let (real, away) = (site.path("real.yaml"), site.path("away.yaml"));
    fs::write(&real, SLEEP).expect("a file");
    fs::remove_file(site.file("a")).expect("it is there");
    std::os::unix::fs::symlink(&real, site.file("a")).expect("a link");
    site.look_again();
    fs::rename(&real, &away).expect("its disk goes away");
    site.look_again();
    site.wait_for_line("cannot read `a.yaml`: it is a link that leads to no file");
    let after = site.now();
    assert_eq!((after.pid("a"), after.pid("b")), (before.pid("a"), before.pid("b")));
}
