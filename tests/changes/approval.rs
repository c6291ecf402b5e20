//! What waits for somebody who approves of it, while other things go on.

use std::fs;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::instance::{eventually, mcsup};
use crate::site::{CRASH, Kept, OTHER, QUICK, SLEEP, Site};

const PROTECTED: &str = "command: [sleep, '1000']\nprotected: true\n";

fn protected(seconds: u32) -> String {
    PROTECTED.replace("1000", &seconds.to_string())
}

impl Site {
    /// Both streams of a command that ends with that.
    #[track_caller]
    fn told(&self, words: &[&str], status: i32) -> String {
        let output = self.run(words);
        let both =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "mcsup {words:?}: {both}\n{}", self.story());
        both
    }

    /// Somebody asks for this text of a unit; what they are told.
    fn ask_for(&self, unit: &str, text: &str) -> String {
        let wanted = self.path("wanted.yaml");
        fs::write(&wanted, text).expect("a text");
        let Output { stdout, stderr, .. } = mcsup(&self.dir)
            .args(["edit", "--yes", unit])
            .env_remove("VISUAL")
            .env("EDITOR", format!("cp {}", wanted.display()))
            .env("TMPDIR", &self.dir)
            .stdin(Stdio::null())
            .output()
            .expect("mcsup");
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }

    fn status_json(&self) -> Value {
        serde_json::from_slice(&self.run(&["status", "--json"]).stdout).unwrap_or_default()
    }

    fn pending(&self) -> Vec<u64> {
        let status = self.status_json();
        let all = status["pending"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|one| one["generation"].as_u64()).collect()
    }

    #[track_caller]
    fn wait_for_pending(&self, numbers: &[u64]) {
        self.wait_until(&format!("{numbers:?} wait"), || self.pending() == numbers);
    }

    fn one(&self, number: u64) -> Kept {
        self.generations().into_iter().find(|one| one.number == number).expect("it is kept")
    }

    /// The words of its process; none between two of them.
    fn line(&self, unit: &str) -> String {
        let look = self.now();
        let pid = &look.unit(unit)["pid"];
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
    }
}

#[test]
fn an_older_one_that_is_approved_takes_nothing_back_that_came_later() {
    let site = Site::new("approve-older", &[("a", PROTECTED), ("b", SLEEP), ("c", SLEEP)]);
    let told = site.ask_for("a", &protected(1002));
    assert!(told.contains("generation 2 waits for `mcsup approve 2`: it changes a"), "{told}");
    site.save("b", OTHER);
    site.wait_for_commit(3);
    fs::remove_file(site.file("c")).expect("a file");
    site.wait_for_commit(4);
    let before = site.now();
    let plan = site.told(&["plan", "--generation", "2"], 0);
    assert!(plan.contains("~ a  restarts\n") && plan.ends_with("1 restarts; 1 untouched\n"), "{plan}");
    let told = site.told(&["approve", "2"], 0);
    assert!(
        told.contains("generation 2 became 5, with what came since; generation 5 is committed: 1 restarts"),
        "{told}"
    );
    site.wait_for_commit(5);
    assert_eq!((site.line("a"), site.line("b")), ("sleep 1002".into(), "sleep 1001".into()));
    assert_eq!(site.now().pid("b"), before.pid("b"));
    assert_eq!((site.text("a"), site.text("b")), (protected(1002), OTHER.to_owned()));
    assert!(!site.file("c").exists(), "what went is gone");
    let one: Value = serde_json::from_slice(&site.run(&["generations", "5", "--json"]).stdout).expect("JSON");
    let one = &one["generation"];
    assert_eq!((&one["cause"], &one["parent"]), (&"approve 2".into(), &4.into()), "{one:#}");
    assert_eq!(one["who"]["from"], "the control socket");
    let two = site.one(2);
    assert!(two.word == "superseded" && two.why.contains("it became generation 5"), "{two:?}");
    site.wait_for_pending(&[]);
    assert!(site.told(&["approve", "2"], 1).contains("waits for nobody: it is superseded"));
    // To what was there just before, and not to where the older one came from.
    assert!(site.told(&["rollback"], 1).contains("generation 6 waits for"));
    assert!(site.told(&["rollback", "6"], 1).contains("generation 6 was never in force"));
    site.told(&["approve", "6"], 0);
    site.wait_for_commit(6);
    assert_eq!((site.text("a"), site.text("b")), (PROTECTED.to_owned(), OTHER.to_owned()));
}

#[test]
fn a_file_that_both_sides_changed_is_for_a_person_to_sort_out() {
    let site = Site::new("approve-conflict", &[("a", PROTECTED), ("b", SLEEP)]);
    site.ask_for("a", &protected(1002));
    site.ask_for("a", &protected(1003));
    site.wait_for_pending(&[2, 3]);
    let told = site.told(&["approve", "3"], 0);
    assert!(told.contains("generation 3 is committed: 1 restarts"), "it came from what is in force: {told}");
    site.wait_for_commit(3);
    let before = site.now();
    for words in [["plan", "--generation", "2"].as_slice(), &["approve", "2"]] {
        let told = site.told(words, 1);
        assert!(told.contains("generation 2 changes `a.yaml`"), "{told}");
        assert!(told.contains("generation 3 has changed otherwise since"), "{told}");
        assert!(told.contains("`mcsup reject 2`, and ask for the change again"), "{told}");
    }
    site.wait_for_pending(&[2]);
    assert_eq!(site.now().pid("a"), before.pid("a"), "nothing is touched");
    site.told(&["reject", "2"], 0);
    site.wait_for_pending(&[]);
}

#[test]
fn what_several_people_asked_for_waits_side_by_side_and_a_save_takes_only_the_place_of_a_save() {
    let site = Site::new("approve-list", &[("a", PROTECTED), ("b", PROTECTED), ("c", PROTECTED)]);
    site.ask_for("a", &protected(1002));
    site.ask_for("b", &protected(1003));
    site.wait_for_pending(&[2, 3]);
    site.save("c", &protected(1004));
    site.wait_for_pending(&[2, 3, 4]);
    let told = site.ask_for("a", &protected(1002));
    assert!(told.contains("generation 2 waits for"), "the same once more: {told}");
    site.save("c", &protected(1005));
    site.wait_for_pending(&[2, 3, 5]);
    let status = site.status_json();
    let sentence = status["changes"].as_str().unwrap_or_default();
    for (number, unit) in [(2, "a"), (3, "b"), (5, "c")] {
        let waits = format!("generation {number} waits for `mcsup approve {number}`: it changes {unit}");
        assert!(sentence.contains(&waits), "{sentence}");
    }
    let of_directory: Vec<_> =
        (0..3).map(|at| status["pending"][at]["of_directory"].as_bool().expect("it is told")).collect();
    assert_eq!(of_directory, [false, false, true]);
    let four = site.one(4);
    assert!(four.word == "superseded" && four.why == "generation 5 came after it", "{four:?}");
    site.lose_supervisor();
    site.wait_for_pending(&[2, 3, 5]);
    site.save("c", PROTECTED);
    site.wait_for_pending(&[2, 3]);
    let told = site.told(&["approve", "3"], 0);
    assert!(told.contains("generation 3 is committed") && !told.contains("waits"), "{told}");
    let told = site.told(&["approve", "2"], 0);
    assert!(told.contains("generation 2 became 6"), "{told}");
    site.wait_for_commit(6);
    site.wait_for_pending(&[]);
    assert_eq!((site.line("a"), site.line("b")), ("sleep 1002".into(), "sleep 1003".into()));
    assert_eq!(site.line("c"), "sleep 1000");
}

#[test]
fn what_waits_and_came_into_force_by_another_way_waits_no_more() {
    let site = Site::new("approve-same", &[("a", PROTECTED), ("b", SLEEP)]);
    site.ask_for("a", &protected(1002));
    site.save("a", &protected(1002));
    site.wait_for_pending(&[2]);
    site.save("b", OTHER);
    site.wait_for_word(3, "committed");
    site.wait_for_pending(&[2]);
    site.told(&["approve", "2"], 0);
    site.wait_for_commit(4);
    site.wait_for_pending(&[]);
    let told = site.ask_for("a", PROTECTED);
    assert!(told.contains("generation 5 waits for"), "{told}");
    let dir = site.path("other");
    fs::create_dir(&dir).expect("a directory");
    for (name, text) in [("mcsup", QUICK), ("a", PROTECTED), ("b", SLEEP)] {
        fs::write(dir.join(format!("{name}.yaml")), text).expect("a file");
    }
    let told = site.told(&["apply", dir.to_str().expect("a path")], 1);
    assert!(told.contains("generation 5 waits for `mcsup approve 5`: it changes a"), "{told}");
    assert!(told.contains("generation 6 is committed"), "the rest goes on: {told}");
    site.told(&["approve", "5"], 0);
    site.wait_for_commit(7);
    site.wait_for_pending(&[]);
}

#[test]
fn who_must_approve_cannot_be_edited_away() {
    let site = Site::new("approve-guards", &[("a", PROTECTED), ("b", SLEEP), ("c", SLEEP)]);
    site.ask_for("b", "command: [sleep, '1009']\n");
    site.wait_for_commit(2);
    let one: Value = serde_json::from_slice(&site.run(&["generations", "2", "--json"]).stdout).expect("JSON");
    let user = one["generation"]["who"]["user"].as_str().expect("a name").to_owned();
    // Nor brought in by whoever wants to be one.
    site.save("mcsup", &format!("{QUICK}approvers: [{user}]\n"));
    site.wait_for_pending(&[3]);
    site.told(&["approve", "3"], 0);
    site.wait_for_commit(3);
    site.save("mcsup", QUICK);
    site.save("b", OTHER);
    site.wait_for_word(4, "pending");
    site.wait_until("the rest of it goes on", || site.line("b") == "sleep 1001");
    site.wait_until("both are there", || site.pending().len() == 1);
    let status = site.status_json();
    let waits = &status["pending"][0];
    assert_eq!(waits["settings"], serde_json::json!(["approvers"]), "{waits:#}");
    assert_eq!(waits["units"], serde_json::json!([]));
    site.wait_for_word(5, "committed");
    site.wait_until("it is over", || {
        site.status_json()["changes"].as_str().is_some_and(|text| text.contains("waits"))
    });
    let status = site.status_json();
    let sentence = status["changes"].as_str().unwrap_or_default();
    assert!(sentence.ends_with(": it changes `approvers` of mcsup.yaml"), "{sentence}");
    // And so cannot what it guards.
    site.save("a", SLEEP);
    site.wait_until("all of it waits", || {
        site.status_json()["pending"][0]["units"] == serde_json::json!(["a"])
    });
    site.save("c", OTHER);
    site.wait_until("nothing else does", || site.line("c") == "sleep 1001");
    site.wait_for_word(7, "committed");
    let number = site.pending()[0];
    let plan = site.told(&["plan", "--generation", &number.to_string()], 0);
    assert!(plan.contains("it changes a, `approvers` of mcsup.yaml"), "{plan}");
    site.told(&["approve", &number.to_string()], 0);
    site.wait_for_pending(&[]);
    site.wait_until("it is in force", || site.agrees());
    site.save("mcsup", &format!("{QUICK}# nobody guards anything any more\n"));
    site.wait_until("so nothing waits", || site.agrees());
    assert_eq!(site.pending(), [0; 0]);
}

#[test]
fn where_everything_needs_approval_settings_do_too() {
    let settings = format!("{QUICK}approval: required\n");
    let site = Site::with_settings("approve-all", &[("mcsup", &settings), ("a", SLEEP)]);
    site.save("mcsup", &format!("{settings}shutdown_timeout: 50s\n"));
    site.wait_for_pending(&[2]);
    site.save("mcsup", QUICK);
    site.wait_for_pending(&[3]);
    let status = site.status_json();
    assert_eq!(status["pending"][0]["settings"], serde_json::json!(["approval"]), "{status:#}");
    site.told(&["approve", "3"], 0);
    site.wait_for_commit(3);
    site.save("a", OTHER);
    site.wait_for_commit(4);
}

#[test]
fn what_the_settings_say_of_all_units_waits_for_the_protected_ones_and_for_nobody_else() {
    let site = Site::new("approve-defaults", &[("a", PROTECTED), ("b", SLEEP), ("c", SLEEP)]);
    let before = site.now();
    site.save("mcsup", &format!("{QUICK}defaults: {{service: {{start_timeout: 77s}}}}\n"));
    site.wait_for_pending(&[2]);
    site.save("b", OTHER);
    site.wait_until("the rest goes on", || site.line("b") == "sleep 1001");
    site.wait_until("and is filed", || site.pending().len() == 1 && site.one(3).word == "committed");
    assert_eq!(site.now().pid("a"), before.pid("a"));
    let number = site.pending()[0];
    site.told(&["approve", &number.to_string()], 0);
    site.wait_until("the directory says what is in force", || {
        site.agrees() && site.status_json()["changes"].is_null()
    });
    assert_eq!(site.now().pid("c"), before.pid("c"));
}

#[test]
fn what_restarts_a_protected_unit_waits_with_it_and_an_unrelated_edit_does_not() {
    let follows = format!("{PROTECTED}depends_on: {{b: {{condition: started, follow: restart}}}}\n");
    let site = Site::new("approve-follow", &[("a", &follows), ("b", SLEEP), ("c", SLEEP)]);
    let before = site.now();
    let dir = site.path("other");
    fs::create_dir(&dir).expect("a directory");
    for (name, text) in [("mcsup", QUICK), ("a", &*follows), ("b", OTHER), ("c", OTHER)] {
        fs::write(dir.join(format!("{name}.yaml")), text).expect("a file");
    }
    let told = site.told(&["apply", dir.to_str().expect("a path")], 1);
    assert!(told.contains("generation 3 is committed: 1 restarts"), "{told}");
    assert!(told.contains("generation 2 waits for `mcsup approve 2`: it changes a\n"), "{told}");
    let after = site.now();
    assert_eq!((after.pid("a"), after.pid("b")), (before.pid("a"), before.pid("b")));
    assert_ne!(after.pid("c"), before.pid("c"));
    let told = site.told(&["approve", "2"], 0);
    assert!(told.contains("generation 4 is committed: 2 restart; 1 untouched"), "{told}");
    site.wait_for_commit(4);
    assert_eq!(site.now().pid("c"), after.pid("c"));
}

#[test]
fn what_was_rejected_is_not_asked_for_again_by_a_directory_that_still_says_it() {
    let site = Site::new("approve-no", &[("a", PROTECTED), ("b", SLEEP), ("c", SLEEP)]);
    site.save("a", &protected(1002));
    site.wait_for_pending(&[2]);
    site.told(&["reject", "2", "--why", "not on a Friday"], 0);
    site.save("b", OTHER);
    site.wait_until("others go on", || site.line("b") == "sleep 1001");
    site.save("c", OTHER);
    site.wait_until("all the time", || site.line("c") == "sleep 1001");
    site.wait_until("the status says what differs", || {
        let status = site.status_json();
        status["changes"].as_str().is_some_and(|text| text.ends_with(": as rejected generation 2"))
    });
    assert_eq!(site.pending(), [0; 0]);
    assert_eq!(site.text("a"), protected(1002), "nobody touches what a person wrote");
    let told = site.told(&["apply"], 1);
    assert!(told.contains("waits for `mcsup approve"), "who asks has another try: {told}");
}

#[test]
fn what_does_not_hold_is_not_approved_twice() {
    let site = Site::new("approve-bad", &[("a", PROTECTED), ("b", SLEEP)]);
    site.ask_for("a", &format!("{CRASH}protected: true\n"));
    site.wait_for_pending(&[2]);
    site.save("b", OTHER);
    site.wait_for_commit(3);
    let told = site.told(&["approve", "2"], 1);
    assert!(
        told.contains("generation 2 became 4, with what came since; generation 4 is rolled back"),
        "{told}"
    );
    site.wait_for_return(4);
    site.wait_for_pending(&[]);
    assert_eq!((site.line("a"), site.line("b")), ("sleep 1000".into(), "sleep 1001".into()));
    assert!(site.one(2).why.contains("it became generation 4"), "{:?}", site.one(2));
}

#[test]
fn a_boot_is_no_approval() {
    let mut site = Site::new("approve-boot", &[("a", PROTECTED), ("b", SLEEP)]);
    site.save("a", &protected(1002));
    site.save("b", OTHER);
    site.wait_until("the rest goes on", || site.line("b") == "sleep 1001");
    site.wait_until("and is filed", || site.one(site.current().unwrap_or(1)).number > 1);
    site.wait_until("one waits", || site.pending().len() == 1);
    let waits = site.pending();
    site.done(&["shutdown"]);
    assert_eq!(site.0.ended().code(), Some(0));
    site.0.up();
    site.wait("it is up", |look| look.is("a", "ready") && look.is("b", "ready"));
    assert_eq!((site.line("a"), site.line("b")), ("sleep 1000".into(), "sleep 1001".into()));
    site.wait_for_pending(&waits);
    site.told(&["approve", &waits[0].to_string()], 0);
    site.wait_until("it is in force", || site.line("a") == "sleep 1002");
}

#[test]
fn what_was_approved_and_not_begun_when_the_supervisor_died_waits_again() {
    let site = Site::new("approve-lost", &[("a", PROTECTED), ("b", SLEEP)]);
    site.ask_for("a", &protected(1002));
    site.wait_for_pending(&[2]);
    // As it is between the approval and the first thing that is done.
    let verdict = site.path("state/generations/000002/verdict.json");
    let text = fs::read_to_string(&verdict).expect("a verdict").replace("pending", "verifying");
    fs::write(&verdict, text).expect("a verdict");
    site.lose_supervisor();
    site.wait_for_pending(&[2]);
    assert_eq!(site.line("a"), "sleep 1000");
    let told = site.told(&["approve", "2"], 0);
    assert!(told.contains("generation 2 is committed"), "{told}");
    site.wait_for_commit(2);
    assert_eq!(site.line("a"), "sleep 1002");
}

/// From the moment somebody approves to long after.
#[test]
fn whenever_the_supervisor_dies_what_was_approved_is_in_force_once_or_waits() {
    let site = Site::with_settings(
        "approve-killed",
        &[("mcsup", "apply: {verify: 3s, settle: 100ms}\n"), ("a", PROTECTED), ("b", SLEEP)],
    );
    let first = site.now();
    for round in 0..16_u32 {
        let seconds = 7000 + round;
        let is_older = round % 2 == 1;
        site.ask_for("a", &protected(seconds));
        let waits = eventually(|| site.pending().first().copied());
        let number = waits.unwrap_or_else(|| panic!("round {round}: none waits\n{}", site.story()));
        if is_older {
            // Something came into force since.
            let before = site.current();
            site.save("mcsup", &format!("apply: {{verify: 3s, settle: 100ms}}\n# {round}\n"));
            // Nobody watches any more after so many deaths.
            drop(site.run(&["reload"]));
            site.wait_until("it is in force", || site.current() > before && site.agrees());
        }
        let output = site.run(&["approve", &number.to_string(), "--no-wait"]);
        assert!(output.status.success(), "{output:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(u64::from(8 * round)));
        site.lose_supervisor();
        let line = format!("sleep {seconds}");
        let is_settled = || {
            let kept = site.generations();
            let is_open = kept.iter().any(|one| ["candidate", "verifying"].contains(&&*one.word));
            let waits = site.pending() == [number];
            let is_in_force = site.pending().is_empty() && site.agrees() && site.line("a") == line;
            (!is_open && (waits || is_in_force)).then_some(waits)
        };
        let settled = eventually(is_settled);
        let waits = settled.unwrap_or_else(|| panic!("round {round}: neither\n{}", site.story()));
        if waits {
            site.told(&["approve", &number.to_string()], 0);
            site.wait_until("it is in force", || site.agrees() && site.line("a") == line);
        }
        let cause = format!("{{\"approve\":{number}}}");
        let is_it = |one: &&Kept| one.word == "committed" && (one.number == number || one.cause == cause);
        let count = site.generations().iter().filter(is_it).count();
        assert_eq!(count, 1, "round {round}: once\n{}", site.story());
        assert_eq!(site.now().pid("b"), first.pid("b"), "round {round}");
    }
}
