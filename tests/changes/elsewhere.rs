//! Changes that do not begin in the units directory: it follows them once they hold.

use std::fs;

use crate::site::{CRASH, OTHER, SLEEP, Site};

const SICK: &str = "command: [sleep, '1002']\nhealth: {exec: ['false'], interval: 200ms}\n";

impl Site {
    /// A directory with another `a`, that `mcsup apply` takes.
    fn apply(&self, a: &str) {
        let dir = self.path("other");
        drop(fs::remove_dir_all(&dir));
        fs::create_dir(&dir).expect("a directory");
        for (name, text) in crate::site::files_of(&self.units()) {
            fs::write(dir.join(name), text).expect("a copy");
        }
        fs::write(dir.join("a.yaml"), a).expect("a unit file");
        let dir = dir.display().to_string();
        let output = self.run(&["apply", &dir, "--no-wait", "--yes"]);
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn a_directory_that_is_applied_is_what_the_units_directory_becomes_also_when_the_supervisor_dies() {
    let site = Site::new("apply", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    site.apply(OTHER);
    site.wait_for_commit(2);
    assert_eq!(site.text("a"), OTHER);
    site.apply("command: [sleep, '1009']\n");
    site.wait_for_event("generation 3 is in force");
    site.lose_supervisor();
    site.wait_for_commit(3);
    assert_eq!(site.text("a"), "command: [sleep, '1009']\n");
    assert_eq!(site.now().pid("b"), before.pid("b"));
    site.assert_last_is(3);
}

#[test]
fn a_directory_that_is_applied_and_does_not_hold_leaves_the_units_directory_as_it_is() {
    let site = Site::new("apply-bad", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    site.apply(CRASH);
    site.wait_for_return(2);
    assert_eq!(site.text("a"), SLEEP);
    site.apply(SICK);
    site.wait_for_event("generation 3 is in force");
    site.lose_supervisor();
    site.wait_for_return(3);
    assert_eq!(site.text("a"), SLEEP);
    assert_eq!(site.now().pid("b"), before.pid("b"));
    site.assert_last_is(3);
}

#[test]
fn what_is_saved_while_something_applied_is_verified_is_not_lost() {
    let site = Site::new("apply-save", &[("a", SLEEP), ("b", SLEEP)]);
    site.apply(OTHER);
    site.wait_for_event("generation 2 is in force");
    site.save("a", "command: [sleep, '1010']\n");
    site.save("b", OTHER);
    site.wait_for_word(2, "committed");
    site.wait_for_commit(3);
    assert_eq!(site.text("a"), "command: [sleep, '1010']\n");
    assert_eq!(site.text("b"), OTHER);
    site.assert_last_is(3);
}

#[test]
fn a_generation_that_is_gone_back_to_is_the_units_directory_again_also_when_the_supervisor_dies() {
    let site = Site::new("rollback", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    site.save("a", OTHER);
    site.wait_for_commit(2);
    site.save("a", "command: [sleep, '1009']\n");
    site.wait_for_commit(3);
    let output = site.run(&["rollback", "1", "--no-wait"]);
    assert!(output.status.success(), "{output:?}");
    site.wait_for_event("generation 4 is in force");
    site.lose_supervisor();
    site.wait_for_commit(4);
    assert_eq!(site.text("a"), SLEEP);
    assert_eq!(site.now().pid("b"), before.pid("b"));
    site.assert_last_is(4);
}

/// As a deployment swaps it: mcsup never writes through a link.
fn on_a_link(test: &str) -> Site {
    let mut instance = crate::instance::Instance::new(&format!("change-{test}"), &[]);
    let units = instance.path("units");
    fs::remove_dir_all(&units).expect("no directory");
    let real = instance.path("real");
    fs::create_dir(&real).expect("a directory");
    for (name, text) in [("mcsup", crate::site::QUICK), ("a", SLEEP), ("b", SLEEP)] {
        fs::write(real.join(format!("{name}.yaml")), text).expect("a unit file");
    }
    std::os::unix::fs::symlink("real", &units).expect("a link");
    instance.up();
    Site::began(instance)
}

#[test]
fn a_roll_back_that_cannot_be_written_to_the_directory_stays_until_the_directory_says_something_new() {
    let mut site = on_a_link("rollback-link");
    site.save("a", OTHER);
    site.wait_for_commit(2);
    let before = site.now();
    site.done(&["rollback", "1"]);
    let says = |site: &Site| site.now().0["changes"].as_str().unwrap_or_default().to_owned();
    let why = "differs from generation 3: the directory could not be written: it is reached through the symbolic link";
    site.wait_until("the status says so", || says(&site).contains(why));
    let after = site.now();
    assert_ne!(after.pid("a"), before.pid("a"));
    assert_eq!(site.text("a"), OTHER, "it is left as it is");
    // Who looks again, or is somebody else, sees the same.
    site.save("a", OTHER);
    site.lose_supervisor();
    site.wait_until("it says so again", || says(&site).contains(why));
    assert_eq!((site.now().pid("a"), site.current()), (after.pid("a"), Some(3)), "{}", site.story());
    // A boot is no new word either.
    site.done(&["shutdown"]);
    site.0.ended();
    site.0.up();
    site.wait_until("the boot says so", || says(&site).contains(why));
    let booted = site.wait("it runs", |look| look.is("a", "ready"));
    let line = fs::read(format!("/proc/{}/cmdline", booted.pid("a"))).unwrap_or_default();
    assert_eq!(line, b"sleep\x001000\0", "{}", site.story());
    assert_eq!(site.current(), Some(3));
    // Something new is a change.
    site.save("a", "command: [sleep, '1009']\n");
    site.wait_for_commit(4);
    site.wait_until("nothing differs", || says(&site).is_empty());
    assert_eq!(site.now().pid("b"), booted.pid("b"));
}

#[test]
fn two_roll_backs_that_cannot_be_written_are_undone_by_nothing_that_is_old() {
    let site = on_a_link("rollback-twice");
    site.save("a", OTHER);
    site.wait_for_commit(2);
    site.apply("command: [sleep, '1009']\n");
    site.wait_for_word(3, "committed");
    site.done(&["rollback", "1"]);
    let why = "differs from generation 4: the directory could not be written";
    site.wait_until("the status says so", || {
        site.now().0["changes"].as_str().is_some_and(|text| text.contains(why))
    });
    let look = site.now();
    site.save("b", OTHER);
    site.save("b", SLEEP);
    site.lose_supervisor();
    site.wait_until("it says so again", || {
        site.now().0["changes"].as_str().is_some_and(|text| text.contains(why))
    });
    assert_eq!((site.now().pid("a"), site.current()), (look.pid("a"), Some(4)), "{}", site.story());
}
