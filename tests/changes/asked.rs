//! Changes that a person asks for, and what they are told.

use std::fs;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::instance::{eventually, mcsup};
use crate::site::{CRASH, OTHER, QUICK, SLEEP, Site};

fn ended(site: &Site, words: &[&str], status: i32) -> String {
    let output = site.run(words);
    let both =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "mcsup {words:?}: {both}\n{}", site.story());
    both
}

fn json(site: &Site, words: &[&str]) -> Value {
    let output: Output = site.run(words);
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn sentence(site: &Site) -> Option<String> {
    json(site, &["status", "--json"])["changes"].as_str().map(str::to_owned)
}

#[test]
fn a_save_is_listed_shown_and_taken_back() {
    let site = Site::new("asked-back", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    site.save("a", OTHER);
    site.wait_for_commit(2);
    let list = site.done(&["generations"]);
    assert!(list.contains("  1  ") && list.contains("*    2  "), "{list}");
    let diff = site.done(&["diff"]);
    assert!(diff.contains("~ a  restarts\n") && diff.contains("+ [sleep, \"1001\"]"), "{diff}");
    assert!(diff.ends_with("1 restarts; 1 untouched\n"), "{diff}");
    assert!(
        site.done(&["diff", "--files"]).contains("-command: [sleep, '1000']\n+command: [sleep, '1001']\n")
    );
    let told = ended(&site, &["rollback"], 0);
    assert!(told.contains("~ a  restarts\ngeneration 3 is committed: 1 restarts; 1 untouched\n"), "{told}");
    site.wait_for_commit(3);
    assert_eq!(site.text("a"), SLEEP, "the file, too");
    let after = site.now();
    assert_eq!((after.pid("b"), &after.0["generation"]), (before.pid("b"), &3.into()));
    let one = json(&site, &["generations", "3", "--json"]);
    assert_eq!(one["generation"]["cause"], "rollback to 1", "{one:#}");
    assert_eq!(one["generation"]["who"]["from"], "the control socket");
    assert_eq!(sentence(&site), None, "the directory says what is in force");
    assert!(ended(&site, &["rollback", "3"], 0).contains("nothing to do: it is as generation 3 says"));
    assert!(ended(&site, &["generations", "verify"], 0).contains("every byte is as it was kept"));
}

#[test]
fn what_does_not_hold_is_told_to_who_asked_for_it_with_its_incident() {
    let site = Site::new("asked-bad", &[("a", SLEEP), ("b", SLEEP)]);
    let other = site.path("other");
    fs::create_dir(&other).expect("a directory");
    for (name, text) in [("mcsup", QUICK), ("a", CRASH), ("b", SLEEP)] {
        fs::write(other.join(format!("{name}.yaml")), text).expect("a unit file");
    }
    let other = other.to_str().expect("a path");
    let plan = ended(&site, &["plan", other], 0);
    assert!(plan.contains("~ a  restarts\n") && plan.ends_with("1 restarts; 1 untouched\n"), "{plan}");
    let told = ended(&site, &["apply", other], 1);
    assert!(told.contains("generation 2 is rolled back: a is "), "{told}");
    assert!(told.contains("; generation 1 is in force again\n"), "{told}");
    let line = told.lines().find(|line| line.starts_with("`mcsup incidents ")).unwrap_or_default();
    let incident = line.split(['`', ' ']).nth(3).unwrap_or_default();
    let story = site.done(&["incidents", incident]);
    assert!(story.contains("generation 2 goes back"), "{told}{story}");
    assert_eq!(site.text("a"), SLEEP);
    assert_eq!(site.current(), Some(1));
}

#[test]
fn what_is_to_be_confirmed_stays_when_it_is_and_goes_back_when_it_is_abandoned() {
    let site = Site::new("asked-confirm", &[("a", SLEEP)]);
    assert!(ended(&site, &["confirm"], 1).contains("no change waits to be confirmed"));
    let put = |text: &str| {
        let other = site.path("other");
        fs::create_dir_all(&other).expect("a directory");
        fs::write(other.join("mcsup.yaml"), QUICK).expect("settings");
        fs::write(other.join("a.yaml"), text).expect("a unit file");
        ended(&site, &["apply", other.to_str().expect("a path"), "--confirm", "5m"], 0)
    };
    let told = put(OTHER);
    assert!(told.contains("generation 2 works, and goes back by itself unless `mcsup confirm`"), "{told}");
    assert!(told.contains("it stays until "), "{told}");
    let says = sentence(&site).unwrap_or_default();
    assert!(says.starts_with("generation 2 waits for confirm until 2") && says.ends_with(" UTC"), "{says}");
    let change = json(&site, &["status", "--json"])["change"].clone();
    assert_eq!((&change["generation"], &change["stage"]), (&2.into(), &"confirming".into()), "{change:#}");
    assert!(change["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{change:#}");
    let other = site.path("other");
    let apply = ["apply", other.to_str().expect("a path")];
    for words in [&apply[..], &["apply", "--no-wait"], &["reload"], &["rollback", "1"]] {
        let told = ended(&site, words, 1);
        assert!(told.contains("generation 2 waits for confirm until 2"), "{told}");
        assert!(told.contains(": confirm or abandon it first"), "{told}");
    }
    let plan = ended(&site, &["plan"], 0);
    assert!(plan.contains("~ a  restarts\n"), "to look waits for nobody: {plan}");
    assert!(ended(&site, &["confirm"], 0).contains("generation 2 is confirmed"));
    site.wait_for_commit(2);
    assert_eq!(site.text("a"), OTHER);
    put(SLEEP);
    assert!(ended(&site, &["abandon"], 0).contains("generation 3 goes back"));
    site.wait_for_word(3, "rejected");
    site.wait_until("nothing is under way", || sentence(&site).is_none());
    assert_eq!((site.text("a").as_str(), site.current()), (OTHER, Some(2)));
}

const PROTECTED: &str = "command: [sleep, '1000']\nprotected: true\n";

#[test]
fn what_is_protected_waits_until_somebody_approves_or_says_no() {
    let site = Site::new("asked-approve", &[("a", PROTECTED), ("b", SLEEP)]);
    let before = site.now();
    let changed = PROTECTED.replace("1000", "1002");
    site.save("a", &changed);
    site.wait_for_word(2, "pending");
    let waits = "generation 2 waits for `mcsup approve 2`: it changes a";
    site.wait_until("the status says so", || sentence(&site).as_deref() == Some(waits));
    assert!(ended(&site, &["reload"], 1).contains(waits), "who asks is told the same");
    assert_eq!(site.now().pid("a"), before.pid("a"), "nothing is touched");
    let told = ended(&site, &["approve", "2"], 0);
    assert!(told.contains("is committed: 1 restarts"), "{told}");
    site.wait_until("it is in force", || site.now().pid("a") != before.pid("a"));
    site.wait_until("the directory says the same", || sentence(&site).is_none());
    assert_eq!(site.text("a"), changed);
    let in_force = site.current().expect("one is in force");
    site.save("a", PROTECTED);
    let pending = eventually(|| site.generations().into_iter().find(|kept| kept.word == "pending"));
    let number = pending.unwrap_or_else(|| panic!("none waits:\n{}", site.story())).number.to_string();
    assert!(ended(&site, &["reject", &number, "--why", "not on a Friday"], 0).contains("is rejected"));
    assert!(ended(&site, &["approve", &number], 1).contains("waits for nobody: it is rejected"));
    assert_eq!(site.current(), Some(in_force));
    let list = site.done(&["generations"]);
    assert!(list.contains("not on a Friday"), "{list}");
    site.wait_until("the status tells it", || {
        sentence(&site).is_some_and(|text| text.starts_with("units directory differs from generation"))
    });
}

#[test]
fn what_waits_is_told_however_it_was_asked_for_and_the_rest_goes_on() {
    let site = Site::new("asked-part", &[("a", PROTECTED), ("b", SLEEP)]);
    let before = site.now();
    let other = site.path("other");
    fs::create_dir(&other).expect("a directory");
    for (name, text) in [("mcsup", QUICK), ("a", &*PROTECTED.replace("1000", "1002")), ("b", OTHER)] {
        fs::write(other.join(format!("{name}.yaml")), text).expect("a unit file");
    }
    let told = ended(&site, &["apply", other.to_str().expect("a path")], 1);
    assert!(told.contains("~ b  restarts\ngeneration 3 is committed: 1 restarts"), "{told}");
    let waits = "generation 2 waits for `mcsup approve 2`: it changes a";
    assert!(told.contains(&format!("; {waits}\n")), "{told}");
    let after = site.now();
    assert_eq!(after.pid("a"), before.pid("a"));
    assert_ne!(after.pid("b"), before.pid("b"));
    site.wait_until("the rest is filed", || site.text("b") == OTHER);
    assert_eq!(sentence(&site).as_deref(), Some(waits), "also while the directory says what is in force");
    assert!(ended(&site, &["reject", "2"], 0).contains("is rejected"));
    site.wait_until("nothing waits", || sentence(&site).is_none());
}

#[test]
fn a_directory_that_cannot_be_used_is_said_by_the_status_and_by_whoever_is_asked() {
    let site = Site::new("asked-broken", &[("a", SLEEP)]);
    site.save("a", "comand: [sleep]\n");
    site.wait_until("the status says so", || {
        sentence(&site).is_some_and(|text| text.starts_with("units directory differs from generation 1: "))
    });
    for words in [["plan"], ["apply"], ["reload"]] {
        let told = ended(&site, &words, 1);
        assert!(told.contains("did you mean `command`?"), "{told}");
    }
    site.save("a", SLEEP);
    site.wait_until("it is mended", || sentence(&site).is_none());
}

#[test]
fn an_edit_goes_the_whole_way() {
    let site = Site::new("asked-edit", &[("a", SLEEP)]);
    let edit = |editor: &str, words: &[&str]| {
        let output = mcsup(&site.dir)
            .args(words)
            .env_remove("VISUAL")
            .env("EDITOR", editor)
            .env("TMPDIR", &site.dir)
            .stdin(Stdio::null())
            .output()
            .expect("mcsup");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, told) = edit("sed -i s/1000/1003/", &["edit", "--yes", "a"]);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("+ [sleep, \"1003\"]") && told.contains("generation 2 is committed"), "{told}");
    site.wait_for_commit(2);
    assert_eq!(site.text("a"), SLEEP.replace("1000", "1003"));
    assert_eq!(json(&site, &["generations", "2", "--json"])["generation"]["cause"], "edit");
    let (status, told) = edit("cp /dev/null", &["edit", "a"]);
    assert_eq!(status, Some(1), "{told}");
    assert!(
        told.contains("edit again? [Y/n]"),
        "an empty file is no unit, and nobody is there to mend it: {told}"
    );
    let (status, _) = edit("true", &["edit", "a"]);
    assert_eq!((status, site.current()), (Some(0), Some(2)));
}

#[test]
fn who_does_not_wait_is_told_what_will_happen() {
    let site = Site::new("asked-at-once", &[("a", SLEEP), ("b", SLEEP)]);
    let other = site.path("other");
    fs::create_dir(&other).expect("a directory");
    for (name, text) in [("mcsup", QUICK), ("a", OTHER), ("b", SLEEP)] {
        fs::write(other.join(format!("{name}.yaml")), text).expect("a unit file");
    }
    let told = ended(&site, &["apply", "--no-wait", other.to_str().expect("a path")], 0);
    assert!(told.contains("~ a  restarts\nit is begun"), "{told}");
    site.wait_for_commit(2);
    assert_eq!(site.text("a"), OTHER);
}

/// What is said of it, and how it is made.
type Odd<'a> = (&'a str, &'a dyn Fn(&std::path::Path));

/// One reader: who checks a directory is told what who applies it is told.
#[test]
fn check_and_apply_say_the_same_of_the_same_directory() {
    let site = Site::new("asked-same", &[("a", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    let real = site.path("real.yaml");
    fs::write(&real, SLEEP).expect("a file");
    std::os::unix::fs::symlink(&real, site.file("linked")).expect("a link");
    ended(&site, &["check", &site.units().display().to_string()], 0);
    ended(&site, &["apply"], 0);
    assert!(site.now().is("linked", "ready"), "a link to a file is followed: {}", site.story());
    let odd: [Odd<'_>; 3] = [
        ("it is a link that leads to no file", &|path| {
            std::os::unix::fs::symlink("/nowhere/at/all", path).expect("a link");
        }),
        ("it is not a regular file", &|path| fs::create_dir(path).expect("a directory")),
        ("it is not a regular file", &|path| {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        }),
    ];
    for (words, make) in odd {
        let path = site.file("a");
        fs::remove_file(&path).expect("it is there");
        make(&path);
        for command in [&["check", &site.units().display().to_string()][..], &["apply"], &["plan"]] {
            let told = ended(&site, command, 1);
            assert!(told.contains(&format!("cannot read `a.yaml`: {words}")), "{command:?}: {told}");
        }
        assert_eq!(site.now().pid("a"), before.pid("a"), "{words}");
        let removed = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        removed.expect("it is there");
        site.save("a", SLEEP);
        site.wait_until("it is mended", || sentence(&site).is_none());
    }
    // Hidden ones are nobody's.
    fs::create_dir(site.units().join(".a.yaml")).expect("a directory");
    ended(&site, &["apply"], 0);
}
