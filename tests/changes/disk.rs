//! A state directory that takes nothing: what runs goes on, and nothing is changed that could not be taken back.

use std::fs;

use crate::instance::Instance;
use crate::namespace::{inside, up_with_mounts};
use crate::site::{CRASH, OTHER, QUICK, SLEEP, Site};

impl Site {
    /// As the instance sees it.
    fn inside_current(&self) -> Option<u64> {
        let link = inside(self, "state/generations/current");
        fs::read_link(link).ok()?.to_str()?.parse().ok()
    }

    fn refusals(&self) -> usize {
        self.printed().matches("the change is not begun").count()
    }
}

fn with_state(test: &str, mount: &str) -> Site {
    let units = [("mcsup", QUICK), ("a", SLEEP), ("b", SLEEP)];
    let mut instance = Instance::new(&format!("change-{test}"), &units);
    let state = instance.path("state");
    fs::create_dir_all(&state).expect("a directory");
    up_with_mounts(&mut instance, &mount.replace("STATE", &state.display().to_string()));
    instance.wait("booted", |look| look.0["booted"] == true);
    Site(instance)
}

#[test]
fn a_change_on_a_full_state_disk_is_refused_and_the_next_save_with_room_works() {
    let site = with_state("full-disk", "mount -t tmpfs -o size=1m tmpfs 'STATE'");
    site.wait_until("the boot is kept", || site.inside_current() == Some(1));
    let before = site.now();
    let ballast = inside(&site, "state/ballast");
    assert!(fs::write(&ballast, vec![0; 2_000_000]).is_err(), "the disk is full");
    site.save("a", OTHER);
    site.wait_until("it is refused", || site.refusals() == 1);
    assert!(site.printed().contains("No space left"), "{}", site.printed());
    let look = site.now();
    assert_eq!((look.pid("a"), look.pid("b")), (before.pid("a"), before.pid("b")), "nothing is touched");
    site.lose_supervisor();
    site.wait_until("it is refused again", || site.refusals() == 2);
    let look = site.now();
    assert_eq!((look.pid("a"), look.pid("b")), (before.pid("a"), before.pid("b")), "nothing is touched");
    fs::remove_file(&ballast).expect("no ballast");
    site.save("a", "command: [sleep, '1003']\n");
    site.wait_until("it is in force", || site.inside_current() == Some(2));
    let after = site.now();
    assert_ne!(after.pid("a"), before.pid("a"));
    assert_eq!(after.pid("b"), before.pid("b"));
}

#[test]
fn a_change_that_a_full_disk_did_not_take_down_is_taken_down_before_the_next() {
    let site = with_state("full-at-commit", "mount -t tmpfs -o size=1m tmpfs 'STATE'");
    site.wait_until("the boot is kept", || site.inside_current() == Some(1));
    let before = site.now();
    site.save("a", OTHER);
    site.wait_for_event("generation 2 is in force");
    let ballast = inside(&site, "state/ballast");
    assert!(fs::write(&ballast, vec![0; 2_000_000]).is_err(), "the disk is full");
    site.wait_for_line("cannot write down what came of a change");
    assert_eq!(site.inside_current(), Some(1));
    fs::remove_file(&ballast).expect("no ballast");
    site.save("a", "command: [sleep, '1003']\n");
    site.wait_for_event("generation 3 is in force");
    assert_eq!(site.inside_current(), Some(2));
    // Who takes over finds both sets of definitions.
    site.lose_supervisor();
    site.wait_until("it is in force", || site.inside_current() == Some(3));
    let after = site.wait("it runs", |look| look.is("a", "ready"));
    assert_eq!(after.pid("b"), before.pid("b"));
    let line = fs::read(format!("/proc/{}/cmdline", after.pid("a"))).unwrap_or_default();
    assert_eq!(line, b"sleep\x001003\0");
    let verdict =
        fs::read_to_string(inside(&site, "state/generations/000002/verdict.json")).unwrap_or_default();
    assert!(verdict.contains("committed"), "{verdict}");
}

#[test]
fn a_read_only_state_directory_runs_everything_and_changes_nothing_until_it_can_be_written() {
    // It was used before, so that there is all that a boot needs.
    let units = [("mcsup", QUICK), ("a", SLEEP), ("b", SLEEP)];
    let mut instance = Instance::new("change-read-only", &units);
    let state = instance.path("state");
    fs::create_dir_all(&state).expect("a directory");
    let mount = "mount -t tmpfs tmpfs 'STATE'; : > 'STATE/lock'; mkdir 'STATE/generations'; mount --bind 'STATE/generations' 'STATE/generations'; mount -o remount,bind,ro 'STATE/generations'";
    up_with_mounts(&mut instance, &mount.replace("STATE", &state.display().to_string()));
    instance.wait("booted", |look| look.0["booted"] == true);
    let site = Site(instance);
    site.wait_for_line("cannot be kept as a generation");
    let before = site.now();
    site.save("a", OTHER);
    site.wait_until("it is refused", || site.refusals() == 1);
    site.lose_supervisor();
    site.wait_until("it is refused again", || site.refusals() == 2);
    let look = site.now();
    assert_eq!((look.pid("a"), look.pid("b")), (before.pid("a"), before.pid("b")), "nothing is touched");
    let generations = site.path("state/generations");
    site.in_namespace(&["mount", "-o", "remount,bind,rw", &generations.display().to_string()]);
    // With a way back from now on.
    site.save("a", CRASH);
    site.wait_for_event("generation 2 was rolled back, and all is as before");
    assert_eq!(site.inside_current(), Some(1));
    assert_eq!(site.text("a"), SLEEP, "what ran is what comes back");
    site.save("a", "command: [sleep, '1003']\n");
    site.wait_until("it is in force", || site.inside_current() == Some(3));
    assert_eq!(site.now().pid("b"), before.pid("b"));
}

impl Site {
    #[expect(clippy::disallowed_methods, reason = "a mount where the instance has its own")]
    fn in_namespace(&self, command: &[&str]) {
        let target = self.keeper().to_string();
        let mut enter = std::process::Command::new("nsenter");
        enter.args(["--target", &target, "--mount"]);
        if !rustix::process::geteuid().is_root() {
            enter.arg("--user");
        }
        let status = enter.args(command).status().expect("nsenter");
        assert!(status.success(), "{command:?}: {status}");
    }
}
