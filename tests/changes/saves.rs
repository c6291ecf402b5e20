//! However a file is saved: one candidate with the last content, and nobody else is touched.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::instance::{eventually, timed};
use crate::site::{OTHER, SLEEP, Site};

fn sleep_for(seconds: u32) -> String {
    format!("command: [sleep, '{seconds}']\n")
}

/// How an editor saves, with its name.
type Way<'a> = (&'a str, &'a dyn Fn(&str));

#[test]
fn case_38_each_way_to_save_a_file_is_one_generation_and_restarts_its_unit_alone() {
    let site = Site::new("each-way", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    let mut pid = before.pid("a");
    let ways: [Way<'_>; 5] = [
        ("rename", &|text| site.save("a", text)),
        ("in place", &|text| site.write("a", text)),
        ("delete and create", &|text| {
            fs::remove_file(site.file("a")).expect("it is there");
            site.write("a", text);
        }),
        ("half, then whole", &|text| {
            let (head, tail) = text.split_at(text.len() / 2);
            let mut file = File::create(site.file("a")).expect("a file");
            file.write_all(head.as_bytes()).expect("half of it");
            file.sync_all().expect("a disk");
            file.write_all(tail.as_bytes()).expect("the rest");
        }),
        ("a hundred times", &|text| {
            for at in 0..99 {
                site.write("a", &sleep_for(5000 + at));
            }
            site.write("a", text);
        }),
    ];
    for (at, (way, save)) in ways.into_iter().enumerate() {
        let number = 2 + u64::try_from(at).expect("small");
        save(&sleep_for(2000 + u32::try_from(number).expect("small")));
        site.wait_for_commit(number);
        let look = site.now();
        assert_ne!(look.pid("a"), pid, "{way}: its unit has a new process");
        assert_eq!(look.pid("b"), before.pid("b"), "{way}: nobody else has");
        pid = look.pid("a");
    }
    site.assert_last_is(6);
    assert!(site.open_incidents().is_empty(), "{:?}", site.open_incidents());
}

#[test]
fn case_38_a_hundred_saves_within_a_second_are_one_generation_with_the_last_content() {
    let site = Site::new("hundred", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    let mut last = 1;
    for round in 0..5 {
        let mut longest = Duration::ZERO;
        let ((), took) = timed(|| {
            for at in 0..100 {
                let ((), pause) = timed(|| {
                    site.save("a", &sleep_for(3000 + 100 * round + at));
                    // As fast as a script writes; slower is the next test's.
                    std::thread::park_timeout(Duration::from_millis(8));
                });
                longest = longest.max(pause);
            }
        });
        let text = sleep_for(3099 + 100 * round);
        let is_kept = || {
            let kept = site.generations().last().filter(|kept| kept.word == "committed")?.number;
            (site.current() == Some(kept) && site.agrees() && site.text("a") == text).then_some(kept)
        };
        let number = eventually(is_kept).unwrap_or_else(|| panic!("not kept: {}", site.story()));
        // On a machine that had no time for us they were not within a second, and a look fell in between.
        if took < Duration::from_millis(1500) && longest < Duration::from_millis(100) {
            assert_eq!(number, last + 1, "{}", site.story());
            let after = site.now();
            assert_ne!(after.pid("a"), before.pid("a"));
            assert_eq!(after.pid("b"), before.pid("b"));
            return site.assert_last_is(number);
        }
        last = number;
    }
    panic!("never within a second");
}

#[test]
fn case_38_five_hundred_files_at_once_are_one_generation() {
    let mut units: Vec<(String, String)> = Vec::new();
    for at in 0..500 {
        units.push((format!("u{at:03}"), "command: [sleep, '1000']\nenabled: false\n".to_owned()));
    }
    let mut all: Vec<(&str, &str)> =
        units.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    all.push(("a", SLEEP));
    let site = Site::new("checkout", &all);
    let pid = site.now().pid("a");
    for (name, text) in &units {
        fs::remove_file(site.file(name)).expect("as git does it");
        site.write(name, &format!("{text}description: of another branch\n"));
    }
    site.wait_for_commit(2);
    assert_eq!(site.now().pid("a"), pid);
    site.assert_last_is(2);
}

#[test]
fn a_new_process_runs_soon_after_the_save() {
    let site = Site::new("soon", &[("a", SLEEP), ("b", SLEEP)]);
    let mut took = Vec::new();
    for round in 0..5 {
        let before = site.now().pid("a");
        let number = 2 + round;
        let ((), one) = timed(|| {
            site.save("a", &sleep_for(4000 + u32::try_from(round).expect("small")));
            let marker = (4000 + round).to_string();
            let is_new = || {
                let mut there = site.processes();
                there.retain(|pid| {
                    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    *pid != before && line.windows(marker.len()).any(|part| part == marker.as_bytes())
                });
                (!there.is_empty()).then_some(())
            };
            assert!(eventually(is_new).is_some(), "{}", site.story());
        });
        took.push(one);
        site.wait_for_commit(number);
    }
    took.sort_unstable();
    println!("from the save to the new process, sorted: {took:?}");
    assert!(took[2] < Duration::from_secs(2), "{took:?}");
}

#[test]
fn case_39_what_changes_nothing_in_effect_is_a_generation_and_restarts_nobody() {
    let site = Site::new(
        "no-effect",
        &[("a", "command: [sleep, '1000']\nuser: root\ndescription: x\n"), ("b", SLEEP)],
    );
    let before = site.now();
    site.save("a", "command: [sleep, '1000']\nuser: root\ndescription: x\n");
    site.save("a", "# a remark\ncommand: [sleep, '1000']\nuser: root\ndescription: x\n");
    site.wait_for_commit(2);
    site.save("a", "description: x\nuser: root\ncommand: [sleep, '1000']\n");
    site.wait_for_commit(3);
    site.save("a", "description: y\nuser: root\ncommand: [sleep, '1000']\n");
    site.wait_for_commit(4);
    let after = site.now();
    assert_eq!((after.pid("a"), after.pid("b")), (before.pid("a"), before.pid("b")));
    site.assert_last_is(4);
}

#[test]
fn case_39_saves_that_say_the_same_are_no_generation() {
    let site = Site::new("same", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    for _ in 0..3 {
        site.save("a", SLEEP);
        site.write("b", SLEEP);
    }
    site.assert_last_is(1);
    let after = site.now();
    assert_eq!((after.pid("a"), after.pid("b")), (before.pid("a"), before.pid("b")));
}

#[test]
fn case_39_two_units_that_change_together_are_one_transaction() {
    let site = Site::new("together", &[("a", SLEEP), ("b", SLEEP), ("c", SLEEP)]);
    let before = site.now();
    site.save("a", OTHER);
    site.save("b", OTHER);
    site.wait_for_commit(2);
    let after = site.now();
    assert_ne!(after.pid("a"), before.pid("a"));
    assert_ne!(after.pid("b"), before.pid("b"));
    assert_eq!(after.pid("c"), before.pid("c"));
    site.assert_last_is(2);
}

/// A units directory that is a link, as a deployment swaps it.
#[test]
fn case_38_a_directory_that_is_swapped_by_its_link_is_one_generation() {
    let mut instance = crate::instance::Instance::new("change-swapped", &[]);
    let versions = instance.path("versions");
    let put = |version: &str, a: &str| {
        let dir = versions.join(version);
        fs::create_dir_all(&dir).expect("a version");
        for (name, text) in [("mcsup", crate::site::QUICK), ("a", a), ("b", SLEEP)] {
            fs::write(dir.join(format!("{name}.yaml")), text).expect("a unit file");
        }
    };
    put("1", SLEEP);
    put("2", OTHER);
    let units = instance.path("units");
    fs::remove_dir_all(&units).expect("no directory");
    symlink("versions/1", &units).expect("a link");
    instance.up();
    let site = Site::began(instance);
    let before = site.now();
    let next = site.path("next");
    symlink("versions/2", &next).expect("a link");
    fs::rename(&next, &units).expect("the swap");
    site.wait_for_commit(2);
    let after = site.now();
    assert_ne!(after.pid("a"), before.pid("a"));
    assert_eq!(after.pid("b"), before.pid("b"));
    site.assert_last_is(2);
}

/// As Kubernetes fills a directory: `..data` is swapped, and the files are links through it.
#[test]
fn case_38_a_swap_of_dot_dot_data_is_one_generation_and_a_bad_one_leaves_the_directory_alone() {
    let mut instance = crate::instance::Instance::new("change-dot-data", &[]);
    let units = instance.path("units");
    let put = |version: &str, a: &str| {
        let dir = units.join(version);
        fs::create_dir_all(&dir).expect("a version");
        for (name, text) in [("mcsup", crate::site::QUICK), ("a", a), ("b", SLEEP)] {
            fs::write(dir.join(format!("{name}.yaml")), text).expect("a unit file");
        }
    };
    let swap = |version: &str| {
        let next = units.join("..data_tmp");
        symlink(version, &next).expect("a link");
        fs::rename(&next, units.join("..data")).expect("the swap");
    };
    put("..2026_1", SLEEP);
    swap("..2026_1");
    for name in ["mcsup", "a", "b"] {
        symlink(format!("..data/{name}.yaml"), units.join(format!("{name}.yaml"))).expect("a link");
    }
    instance.up();
    let site = Site::began(instance);
    let before = site.now();
    put("..2026_2", OTHER);
    swap("..2026_2");
    site.wait_for_commit(2);
    let second = site.now();
    assert_ne!(second.pid("a"), before.pid("a"));
    put("..2026_3", crate::site::CRASH);
    swap("..2026_3");
    site.wait_for_word(3, "rejected");
    site.wait_for_line("the units directory is left as it is");
    let third = site.wait("a is back", |look| look.is("a", "ready"));
    assert_eq!(third.pid("b"), before.pid("b"));
    assert_eq!(site.text("a"), crate::site::CRASH, "whoever swaps decides what is in there");
    put("..2026_4", SLEEP);
    swap("..2026_4");
    site.wait_for_commit(4);
    assert_eq!(site.now().pid("b"), before.pid("b"));
}

#[test]
fn a_directory_that_is_deleted_and_comes_back_is_read_again() {
    let site = Site::new("reborn", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    let away = site.path("away");
    fs::rename(site.units(), &away).expect("moved away");
    site.save_all_again(&away);
    site.wait_for_commit(2);
    let after = site.now();
    assert_ne!(after.pid("a"), before.pid("a"));
    assert_eq!(after.pid("b"), before.pid("b"));
}

impl Site {
    /// A new directory in the place of that one, with another `a`.
    fn save_all_again(&self, away: &std::path::Path) {
        let next = self.path("next");
        fs::create_dir(&next).expect("a directory");
        for name in ["mcsup.yaml", "b.yaml"] {
            fs::copy(away.join(name), next.join(name)).expect("a copy");
        }
        fs::write(next.join("a.yaml"), OTHER).expect("a unit file");
        fs::rename(&next, self.units()).expect("its place");
    }
}

/// Nobody waits for a quiet moment that never comes.
#[test]
fn a_directory_that_is_never_quiet_is_read_all_the_same() {
    let site = Site::new("never-quiet", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = eventually(|| {
                fs::write(site.units().join("noise.txt"), "the same").expect("a file");
                is_over.load(std::sync::atomic::Ordering::Relaxed).then_some(())
            });
            assert!(deadline.is_some(), "nobody read it");
        });
        site.save("a", OTHER);
        let changed = eventually(|| {
            site.look().filter(|look| look.is("a", "ready") && look.pid("a") != before.pid("a"))
        });
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(changed.is_some(), "{}", site.story());
    });
    assert_eq!(site.now().pid("b"), before.pid("b"));
}

/// As a person sets up a machine: the file of secrets is there before anybody may read it.
#[test]
fn a_unit_file_that_comes_back_is_as_secret_as_it_was() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut instance = crate::instance::Instance::new(
        "change-secret",
        &[("mcsup", crate::site::QUICK), ("a", SLEEP), ("secret", SLEEP)],
    );
    let secret = instance.path("units/secret.yaml");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("permissions");
    instance.up();
    let site = Site::began(instance);
    fs::remove_file(&secret).expect("it is there");
    site.save("a", crate::site::CRASH);
    site.wait_for_return(2);
    let mode = fs::metadata(&secret).expect("it is back").permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
}
