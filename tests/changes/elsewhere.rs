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
