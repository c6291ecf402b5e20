//! A directory that is written slowly: what is missing for a moment is not gone.

use std::fs;
use std::thread::park_timeout;
use std::time::Duration;

use crate::instance::{eventually, timed};
use crate::site::{OTHER, SLEEP, Site};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

impl Site {
    fn sentence(&self) -> String {
        self.now().0["changes"].as_str().unwrap_or_default().to_owned()
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).expect("it is there");
    }
}

fn site(test: &str) -> Site {
    Site::new(test, &NAMES.map(|name| (name, SLEEP)))
}

/// `rm *.yaml`, then `scp` over a slow line.
#[test]
fn a_copy_over_the_directory_that_takes_seconds_takes_no_unit_away_in_between() {
    let site = site("slow-copy");
    let before = site.now();
    let settings = site.text("mcsup");
    for name in NAMES.into_iter().chain(["mcsup"]) {
        site.remove(name);
        park_timeout(Duration::from_millis(300));
    }
    for name in NAMES {
        // Whoever copies writes each of them anew, and one of them is another.
        site.write(name, if name == "b" { OTHER } else { SLEEP });
        park_timeout(Duration::from_millis(700));
    }
    site.write("mcsup", &settings);
    site.wait_for_commit(2);
    let after = site.wait("b is new", |look| look.is("b", "ready") && look.pid("b") != before.pid("b"));
    for name in ["a", "c", "d", "e"] {
        assert_eq!(after.pid(name), before.pid(name), "{name} was touched: {}", site.story());
    }
    site.assert_last_is(2);
}

#[test]
fn a_unit_whose_file_is_removed_goes_when_the_directory_has_been_quiet_and_what_is_added_comes_at_once() {
    let site = site("quiet");
    let before = site.now();
    let ((), took) = timed(|| {
        site.remove("e");
        site.wait_until("the status says what it waits for", || {
            site.sentence().contains("it has lost 1 of 5 units; that counts when it has been quiet for 3 s")
        });
        site.wait("it is gone", |look| look.unit("e").is_null());
    });
    assert!(took >= Duration::from_secs(3), "{took:?}");
    site.wait_for_commit(2);
    let ((), took) = timed(|| {
        site.save("f", SLEEP);
        site.wait("it is there", |look| look.is("f", "ready"));
    });
    assert!(took < Duration::from_secs(3), "who adds does not wait: {took:?}");
    assert_eq!(site.now().pid("a"), before.pid("a"));
    site.wait_for_commit(3);
    site.assert_last_is(3);
}

#[test]
fn who_removes_a_unit_and_says_so_does_not_wait() {
    let site = site("said");
    site.remove("e");
    let ((), took) = timed(|| drop(site.done(&["apply"])));
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(site.now().unit("e").is_null(), "{}", site.story());
    site.wait_for_commit(2);
    site.assert_last_is(2);
}

#[test]
fn a_directory_that_has_lost_most_of_its_units_is_taken_only_when_somebody_says_so() {
    let site = site("lost");
    let before = site.now();
    for name in ["a", "b", "c"] {
        site.remove(name);
    }
    let words = "it has lost 3 of 5 units; `mcsup apply` takes that";
    site.wait_until("the status says so", || site.sentence().contains(words));
    let after = site.now();
    for name in NAMES {
        assert_eq!(after.pid(name), before.pid(name), "{name}");
    }
    // Nor does whoever supervises next.
    site.lose_supervisor();
    site.wait_until("it says so again", || site.sentence().contains(words));
    assert_eq!((site.now().pid("a"), site.current()), (before.pid("a"), Some(1)));
    site.done(&["apply"]);
    site.wait_for_commit(2);
    let after = site.now();
    assert!(after.unit("a").is_null() && after.pid("d") == before.pid("d"), "{}", site.story());
    site.wait_until("nothing differs", || site.sentence().is_empty());
}

#[test]
fn files_that_a_service_writes_beside_the_units_are_no_unrest() {
    let writer = "command: [sh, -c, 'while :; do echo line >> noise.log; sleep 0.05; done']\n";
    let site = Site::new("noise", &[("w", writer), ("a", SLEEP), ("b", SLEEP)]);
    site.wait_until("it writes", || site.units().join("noise.log").exists());
    site.remove("a");
    assert!(eventually(|| site.now().unit("a").is_null().then_some(())).is_some(), "{}", site.story());
    site.wait_for_commit(2);
}
