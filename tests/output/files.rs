//! Files that a run must have left: found by their path, fresh, and each judged.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcsup::output::find::{Looking, matches};
use mcsup::output::judgement::Judgement;
use mcsup::output::{Material, judge, with_files};

use super::{around, spec};

/// A directory of one test, gone with it.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcsup-output-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Judged for a run that began a minute ago.
    fn judged(&self, output: &str) -> Judgement {
        let spec = spec(output);
        let looking = Looking { dir: self.0.clone(), run_id: "post-7".into(), date: "2026-11-20".into() };
        let started = nanos(SystemTime::UNIX_EPOCH + since_1970() - Duration::from_secs(60));
        let material = Material { started_nanos: Some(started), ..around() };
        judge(&spec, with_files(&spec, &looking, material))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[expect(clippy::disallowed_methods, reason = "files are dated by the real clock")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn nanos(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

#[test]
fn a_file_is_found_by_run_and_date_and_judged() {
    let dir = Dir::new("found");
    let output = "files: {path: 'out/{date}/{run.id}-*.json', format: json, require: size(output.days) == 7}";
    assert_eq!(dir.judged(output).to_string(), "rejected: out/{date}/{run.id}-*.json: nothing matches it");
    dir.write("out/2026-11-20/post-7-a.json", r#"{"days": [1, 2, 3, 4, 5, 6, 7]}"#);
    dir.write("out/2026-11-20/post-6-a.json", "garbage of another run");
    dir.write("out/2026-11-20/.post-7-hidden.json", "garbage");
    assert_eq!(dir.judged(output).to_string(), "passed");
    dir.write("out/2026-11-20/post-7-b.json", r#"{"days": [1]}"#);
    assert_eq!(
        dir.judged(output).to_string(),
        "rejected: out/2026-11-20/post-7-b.json: 1 in days, wanted == 7"
    );
}

#[test]
fn yesterdays_file_is_no_proof() {
    let dir = Dir::new("stale");
    let path = dir.write("calendar.json", "{}");
    assert_eq!(dir.judged("files: {path: calendar.json, format: json}").to_string(), "passed");
    let yesterday = UNIX_EPOCH + since_1970() - Duration::from_secs(86_400 + 120);
    File::options().write(true).open(&path).unwrap().set_modified(yesterday).unwrap();
    assert_eq!(
        dir.judged("files: {path: calendar.json, format: json}").to_string(),
        "rejected: calendar.json: it was written 1 day before this run began"
    );
    assert_eq!(dir.judged("files: {path: calendar.json, written: any-time}").to_string(), "passed");
}

#[test]
fn what_is_no_plain_file_keeps_nobody_waiting() {
    let dir = Dir::new("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.0.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(
        dir.judged("files: {path: pipe}").to_string(),
        "rejected: pipe: it cannot be read: it is not a regular file"
    );
    fs::create_dir(dir.0.join("folder")).unwrap();
    assert_eq!(dir.judged("files: {path: folder}").to_string(), "rejected: folder: it is a directory");
    assert_eq!(dir.judged("files: {path: gone}").to_string(), "rejected: gone: it is not there");
    dir.write("empty", "");
    assert_eq!(dir.judged("files: {path: empty}").to_string(), "rejected: empty: it is empty");
}

#[test]
fn a_large_file_and_too_many_files_are_refused() {
    let dir = Dir::new("large");
    File::create(dir.0.join("large")).unwrap().set_len(70 << 20).unwrap();
    assert_eq!(
        dir.judged("files: {path: large}").to_string(),
        "rejected: large: too large: 70 MiB, wanted <= 64 MiB"
    );
    for number in 0..201 {
        dir.write(&format!("many/{number}"), "x");
    }
    let said = dir.judged("files: {path: many/*}").to_string();
    assert_eq!(said, "rejected: many/*: more than 200 files are there to be judged");
}

#[test]
fn expressions_see_the_files() {
    let dir = Dir::new("seen");
    dir.write("a/1.txt", "one");
    dir.write("a/2.txt", "two!");
    let output = "min_size: 0\nrequire: [size(files) == 2, 'files.all(f, f.size >= 3 && f.age < 100000000)', \"files[1].name == '2.txt'\"]\nfiles: {path: 'a/?.txt'}";
    let spec = spec(output);
    let looking = Looking { dir: dir.0.clone(), ..Looking::default() };
    let stream = Some(mcsup::output::Taken::Bytes(Vec::new()));
    let material = with_files(&spec, &looking, Material { stream, started_nanos: None, ..around() });
    assert_eq!(judge(&spec, material).to_string(), "passed");
}

#[test]
fn stars_stand_for_parts_of_names() {
    for (pattern, name) in [
        ("*", "a"),
        ("a*c", "abbc"),
        ("a*c", "ac"),
        ("*-*.json", "a-b-c.json"),
        ("?.txt", "ä.txt"),
        (".*", ".a"),
        ("a**b", "ab"),
    ] {
        assert!(matches(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in
        [("*", ".a"), ("a*c", "acd"), ("?", ""), ("?", "ab"), ("", "a"), ("*.json", "a.jso")]
    {
        assert!(!matches(pattern, name), "{pattern} {name}");
    }
}
