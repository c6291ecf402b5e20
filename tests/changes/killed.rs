//! A ring dies in the middle of a change: the next one goes on, or goes back.

use std::fs;

use crate::instance::{Look, eventually, is_alive, kill, signal};
use crate::site::{CRASH, OTHER, QUICK, SLEEP, Site};

/// Takes a second to end.
const SLOW: &str =
    "command: [sh, -c, \"trap 'sleep 1; exit 0' TERM; while :; do sleep 0.05; done\"]\nstop: {grace: 10s}\n";
/// The same, as another definition.
const SLOW_TOO: &str =
    "command: [sh, -c, \"trap 'sleep 1; exit 0' TERM; while :; do sleep 0.04; done\"]\nstop: {grace: 10s}\n";
/// Not well before its window is over, nor hopeless.
const SICK: &str = "command: [sleep, '1002']\nhealth: {exec: ['false'], interval: 200ms}\n";

impl Site {
    fn lose(&self, ring: Ring) {
        match ring {
            Ring::Supervisor => {
                self.lose_supervisor();
                assert!(eventually(|| self.look()).is_some(), "nobody answers:\n{}", self.printed());
            }
            Ring::Keeper => {
                let keeper = eventually(|| self.holder().filter(|pid| is_alive(*pid))).expect("a keeper");
                kill(keeper);
                let next = || self.holder().filter(|pid| *pid != keeper && is_alive(*pid));
                assert!(eventually(next).is_some(), "no new keeper:\n{}", self.story());
            }
        }
    }

    /// In the end the processes are those of the files, and there is one of each.
    fn assert_whole(&self, units: &[(&str, &str)]) -> Look {
        let is_there = |look: &Look| units.iter().all(|(name, _)| look.is(name, "ready"));
        let look = self.wait("all are ready", is_there);
        for (name, word) in units {
            let line = fs::read(format!("/proc/{}/cmdline", look.pid(name))).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            assert!(line.contains(word), "{name} runs {line:?}, not {word}:\n{}", self.story());
        }
        look
    }
}

#[derive(Clone, Copy, Debug)]
enum Ring {
    Supervisor,
    Keeper,
}

const RINGS: [Ring; 2] = [Ring::Supervisor, Ring::Keeper];

#[test]
fn a_ring_that_dies_right_after_a_save_loses_no_change() {
    for ring in RINGS {
        let site = Site::new(&format!("after-save-{ring:?}"), &[("a", SLEEP), ("b", SLEEP)]);
        let before = site.now();
        site.save("a", OTHER);
        site.lose(ring);
        site.wait_for_commit(2);
        let after = site.assert_whole(&[("a", "1001"), ("b", "1000")]);
        assert_eq!(after.pid("b"), before.pid("b"), "{ring:?}");
        site.assert_last_is(2);
    }
}

#[test]
fn a_ring_that_dies_while_a_change_stops_what_restarts_goes_on_with_it() {
    for ring in RINGS {
        let site = Site::new(&format!("stopping-{ring:?}"), &[("a", SLOW), ("b", SLEEP)]);
        let before = site.now();
        site.save("a", SLOW_TOO);
        site.wait("it stops", |look| look.is("a", "stopping"));
        site.lose(ring);
        site.wait_for_commit(2);
        let after = site.assert_whole(&[("a", "0.04"), ("b", "1000")]);
        assert_ne!(after.pid("a"), before.pid("a"), "{ring:?}");
        assert_eq!(after.pid("b"), before.pid("b"), "{ring:?}");
        site.assert_last_is(2);
    }
}

#[test]
fn a_ring_that_dies_while_a_change_ends_what_goes_goes_on_with_it() {
    for ring in RINGS {
        let site = Site::new(&format!("clearing-{ring:?}"), &[("a", SLEEP), ("b", SLEEP), ("gone", SLOW)]);
        let before = site.now();
        fs::remove_file(site.file("gone")).expect("it is there");
        site.save("a", OTHER);
        let pid = before.pid("gone");
        site.wait("it is shown for as long as it is there", |look| look.is("gone", "stopping"));
        assert!(is_alive(pid), "it takes its time");
        site.lose(ring);
        site.wait_for_commit(2);
        let after = site.assert_whole(&[("a", "1001"), ("b", "1000")]);
        assert_eq!(after.pid("b"), before.pid("b"), "{ring:?}");
        site.wait_until("it is gone", || !is_alive(pid) && site.now().unit("gone").is_null());
        site.assert_last_is(2);
    }
}

#[test]
fn case_40_a_ring_that_dies_in_a_verify_verifies_on() {
    for ring in RINGS {
        let site = Site::new(&format!("verifying-{ring:?}"), &[("a", SLEEP), ("b", SLEEP)]);
        let before = site.now();
        site.save("a", OTHER);
        site.wait_for_event("generation 2 is in force");
        site.lose(ring);
        site.wait_for_commit(2);
        let after = site.assert_whole(&[("a", "1001"), ("b", "1000")]);
        assert_eq!(after.pid("b"), before.pid("b"), "{ring:?}");
        site.assert_last_is(2);
    }
}

#[test]
fn case_40_a_ring_that_dies_in_a_verify_that_fails_goes_back_all_the_same() {
    for ring in RINGS {
        let site =
            Site::new(&format!("verify-fails-{ring:?}"), &[("a", SLEEP), ("b", SLEEP), ("down", SLEEP)]);
        site.done(&["stop", "down"]);
        let before = site.now();
        site.save("a", SICK);
        site.wait_for_event("generation 2 is in force");
        site.lose(ring);
        site.wait_for_return(2);
        let after = site.assert_whole(&[("a", "1000"), ("b", "1000")]);
        assert_eq!(after.pid("b"), before.pid("b"), "{ring:?}");
        assert!(after.is("down", "inactive"), "{ring:?}: {after:?}");
        assert_eq!(site.text("a"), SLEEP);
        site.assert_last_is(2);
    }
}

#[test]
fn a_ring_that_dies_while_a_change_goes_back_goes_on_back() {
    for ring in RINGS {
        let site = Site::new(&format!("going-back-{ring:?}"), &[("a", SLEEP), ("b", SLEEP), ("slow", SLOW)]);
        let before = site.now();
        site.save("a", CRASH);
        site.save("slow", SLOW_TOO);
        site.wait("its way back begins", |look| {
            look.is("slow", "stopping")
                && site.generations().last().is_some_and(|last| last.word == "rejected")
        });
        site.wait_until("its files are back", || site.text("a") == SLEEP && site.text("slow") == SLOW);
        if matches!(ring, Ring::Supervisor) {
            // As if they had not come as far as the processes.
            site.save("a", CRASH);
        }
        site.lose(ring);
        site.wait_for_return(2);
        let after = site.assert_whole(&[("a", "1000"), ("b", "1000"), ("slow", "0.05")]);
        assert_eq!(after.pid("b"), before.pid("b"), "{ring:?}");
        site.assert_last_is(2);
    }
}

/// The last one to know: the supervisor decided, told the keeper, and died before anything was written down.
#[test]
fn a_commit_that_was_decided_and_not_written_down_is_written_down_by_the_next_supervisor() {
    let site = Site::new("unfiled", &[("a", SLEEP), ("b", SLEEP)]);
    let accepted = fs::read(site.path("state/accepted.json")).expect("what the boot accepted");
    site.save("a", OTHER);
    site.wait_for_commit(2);
    site.assert_last_is(2);
    // As it was in between.
    let before = site.now();
    let state = site.path("state");
    fs::rename(state.join("accepted.json"), state.join("accepted.next.json")).expect("staged");
    fs::write(state.join("accepted.json"), accepted).expect("what was before");
    let link = state.join("generations/current");
    fs::remove_file(&link).expect("a link");
    std::os::unix::fs::symlink("000002", &link).expect("a link");
    let verdict = state.join("generations/000003/verdict.json");
    let text = fs::read_to_string(&verdict).expect("a verdict").replace("committed", "verifying");
    fs::write(&verdict, text).expect("a verdict");
    site.lose(Ring::Supervisor);
    site.wait_for_commit(3);
    let after = site.assert_whole(&[("a", "1001"), ("b", "1000")]);
    assert_eq!((after.pid("a"), after.pid("b")), (before.pid("a"), before.pid("b")));
    // And the next death still finds what is in force.
    site.save("a", SLEEP);
    site.wait_for_event("generation 4 is in force");
    site.lose(Ring::Supervisor);
    site.wait_for_commit(4);
    site.assert_whole(&[("a", "1000"), ("b", "1000")]);
    site.assert_last_is(4);
}

/// The one that is current is that of an earlier boot, of other content.
#[test]
fn a_supervisor_that_died_before_its_boot_was_kept_is_not_taken_for_the_boot_before() {
    let site = Site::new("unkept-boot", &[("a", OTHER), ("b", SLEEP)]);
    let before = site.now();
    site.save("a", SLEEP);
    site.wait_for_commit(2);
    site.lose(Ring::Supervisor);
    // As if generation 2 were what the machine came up with, and nobody had kept it.
    fs::remove_dir_all(site.path("state/generations/000002")).expect("it is there");
    let link = site.path("state/generations/current");
    fs::remove_file(&link).expect("a link");
    std::os::unix::fs::symlink("000001", &link).expect("a link");
    // And the directory had become what it was before meanwhile.
    let supervisor = site.supervisor();
    signal(supervisor, rustix::process::Signal::STOP);
    site.save("a", OTHER);
    site.lose(Ring::Supervisor);
    site.wait_for_commit(4);
    let after = site.assert_whole(&[("a", "1001"), ("b", "1000")]);
    assert_eq!(after.pid("b"), before.pid("b"));
}

/// Kept, and dead before anything was decided.
#[test]
fn a_candidate_that_was_kept_and_not_begun_has_its_turn_under_its_number() {
    let site = Site::new("orphan", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    site.save("a", OTHER);
    site.wait_for_commit(2);
    site.save("a", SLEEP);
    site.wait_for_commit(3);
    // Generation 2 once more, as if it had been kept just now.
    let state = site.path("state/generations");
    let verdict = state.join("000002/verdict.json");
    let text = fs::read_to_string(&verdict).expect("a verdict").replace("committed", "candidate");
    fs::write(&verdict, text).expect("a verdict");
    site.save("a", OTHER);
    site.wait_for_commit(2);
    let after = site.assert_whole(&[("a", "1001"), ("b", "1000")]);
    assert_eq!(after.pid("b"), before.pid("b"));
    let numbers: Vec<u64> = site.generations().iter().map(|kept| kept.number).collect();
    assert_eq!(numbers, [1, 2, 3], "{}", site.story());
}

/// Nothing of it lies in the units directory, so nothing brings it up again but who asked.
#[test]
fn what_was_applied_from_elsewhere_and_not_begun_is_superseded_by_the_next_look() {
    let site = Site::new("orphan-elsewhere", &[("a", SLEEP), ("b", SLEEP)]);
    let other = site.path("other");
    fs::create_dir_all(&other).expect("a directory");
    for (name, text) in [("mcsup", QUICK), ("a", OTHER), ("b", SLEEP)] {
        fs::write(other.join(format!("{name}.yaml")), text).expect("a file");
    }
    site.done(&["apply", &other.display().to_string()]);
    site.wait_for_commit(2);
    site.save("a", SLEEP);
    site.wait_for_commit(3);
    let before = site.now();
    // Generation 2 once more, as if it had been kept just now.
    let verdict = site.path("state/generations/000002/verdict.json");
    let text = fs::read_to_string(&verdict).expect("a verdict").replace("committed", "candidate");
    fs::write(&verdict, text).expect("a verdict");
    site.done(&["plan"]);
    assert_eq!(
        site.generations().get(1).map(|kept| &*kept.word),
        Some("candidate"),
        "a plan touches nothing"
    );
    site.done(&["reload"]);
    let words: Vec<String> = site.generations().into_iter().map(|kept| kept.word).collect();
    assert_eq!(words, ["committed", "superseded", "committed"], "{}", site.story());
    assert_eq!(site.now().pid("a"), before.pid("a"));
}

#[test]
fn a_ring_that_dies_while_a_way_back_ends_what_it_added_ends_it_all_the_same() {
    for ring in RINGS {
        let site = Site::new(&format!("back-clearing-{ring:?}"), &[("a", SLEEP), ("b", SLEEP)]);
        let before = site.now();
        site.save("a", CRASH);
        site.save("added", SLOW);
        let added = site.wait("it runs", |look| look.unit("added")["pid"].is_number()).pid("added");
        site.wait_for_event("generation 1 is in force");
        assert!(is_alive(added), "it takes its time");
        site.lose(ring);
        site.wait_for_return(2);
        site.wait_until("it is gone", || !is_alive(added) && site.now().unit("added").is_null());
        let after = site.assert_whole(&[("a", "1000"), ("b", "1000")]);
        assert_eq!(after.pid("b"), before.pid("b"), "{ring:?}");
        assert!(!site.file("added").exists());
        site.assert_last_is(2);
    }
}

/// At any moment at all, from the save to long after the change is filed.
#[test]
fn case_8_whenever_the_supervisor_dies_a_good_change_ends_committed_and_a_bad_one_ends_as_before() {
    let site = Site::with_settings(
        "any-moment",
        &[("mcsup", "apply: {verify: 3s, settle: 100ms}\n"), ("a", SLEEP), ("b", SLEEP), ("c", SLEEP)],
    );
    let first = site.now();
    let mut good = SLEEP.to_owned();
    for round in 0..24_u64 {
        let number = site.generations().last().map_or(0, |last| last.number);
        let is_bad = round % 3 == 2;
        let text = if is_bad {
            format!("{CRASH}description: round {round}\n")
        } else {
            good = format!("command: [sleep, '{}']\n", 6000 + round);
            good.clone()
        };
        site.save("a", &text);
        // Later each time: before it is seen, while it is kept, decided, filed.
        std::thread::park_timeout(std::time::Duration::from_millis(100 + 20 * round));
        site.lose_supervisor();
        let is_settled = || {
            let kept = site.generations();
            let last = kept.last()?;
            let is_open = kept.iter().any(|one| ["candidate", "verifying"].contains(&&*one.word));
            (last.number > number && !is_open && site.agrees() && site.text("a") == good)
                .then(|| last.clone())
        };
        let last = eventually(is_settled).unwrap_or_else(|| panic!("round {round}:\n{}", site.story()));
        // Who dies while it is written takes its number along.
        let new = site.generations().iter().filter(|kept| kept.number > number).count();
        assert_eq!(new, 1, "round {round}: one save, one generation\n{}", site.story());
        assert_eq!(last.word == "rejected", is_bad, "round {round}: {last:?}");
        let word = good.split('\'').nth(1).unwrap_or_default();
        let look = site.assert_whole(&[("a", word), ("b", "1000"), ("c", "1000")]);
        assert_eq!((look.pid("b"), look.pid("c")), (first.pid("b"), first.pid("c")), "round {round}");
    }
}

/// As when the power of mcsup alone fails: what runs is found again by the journal. A boot is no proof of what nobody
/// has decided on, so it begins with what held last.
#[test]
fn both_rings_that_die_in_a_change_leave_it_to_the_next_boot_which_tries_it_once_more() {
    let mut site = Site::new("both-rings", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    site.save("a", OTHER);
    site.wait_for_event("generation 2 is in force");
    site.lose_both_rings();
    site.0.up();
    site.wait_for_line("it is as in generation 2, which did not hold");
    site.wait_for_commit(2);
    let after = site.assert_whole(&[("a", "1001"), ("b", "1000")]);
    assert_eq!(after.pid("b"), before.pid("b"));
    let words: Vec<String> = site.generations().into_iter().map(|kept| kept.word).collect();
    assert_eq!(words, ["committed", "committed"], "{}", site.story());
    site.assert_last_is(2);
}

#[test]
fn a_shutdown_in_a_change_ends_in_time_and_the_next_boot_runs_what_the_directory_says() {
    let mut site = Site::new("shutdown", &[("a", SLEEP), ("b", SLEEP)]);
    site.save("a", SICK);
    site.wait_for_event("generation 2 is in force");
    site.done(&["shutdown"]);
    assert_eq!(site.0.ended().code(), Some(0));
    assert!(site.processes().is_empty());
    assert_eq!(site.text("a"), SICK, "nobody has decided anything");
    site.save("a", OTHER);
    site.0.up();
    site.wait_until("the boot is kept", || site.current() == Some(3) && site.agrees());
    site.assert_whole(&[("a", "1001"), ("b", "1000")]);
    let words: Vec<String> = site.generations().into_iter().map(|kept| kept.word).collect();
    assert_eq!(words, ["committed", "superseded", "committed"], "{}", site.story());
    site.assert_last_is(3);
}

#[test]
fn in_safe_mode_saves_are_not_seen_and_the_status_says_so_and_after_it_they_are_seen_again() {
    let site = Site::new("safe-mode", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    for _ in 0..3 {
        site.lose(Ring::Supervisor);
    }
    let sentence = || site.now().0["changes"].as_str().unwrap_or_default().to_owned();
    site.wait_until("the status says so", || sentence().starts_with("safe mode: saves are not seen"));
    site.save("a", OTHER);
    // It lasts for longer than anything else does.
    let is_over = |_: &u32| eventually(|| sentence().is_empty().then_some(())).is_some();
    assert!((0..3).any(|round| is_over(&round)), "{}", site.story());
    site.wait_for_commit(2);
    assert_eq!(site.now().pid("b"), before.pid("b"));
    site.save("a", SLEEP);
    site.wait_for_commit(3);
}
