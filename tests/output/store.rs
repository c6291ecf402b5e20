//! What is kept of outputs: bounded, and the last good one whole whatever happens.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use mcsup::output::judgement::Judgement;
use mcsup::output::store::{Store, Written};
use mcsup::output::{FoundFile, Taken};
use mcsup::unit::spec::output::Keep;

use super::files::Dir;
use super::judged;

fn good() -> Judgement {
    judged("contains: x", b"x", None)
}

fn bad() -> Judgement {
    judged("contains: x", b"y", None)
}

fn keep(store: &Store, number: u64, stream: &[u8], judgement: &Judgement) {
    store.keep(number, &Written { stream: Some(stream), files: &[], judgement }).unwrap();
}

fn store(dir: &Dir, runs: u16, size_bytes: u64) -> Store {
    Store::new(dir.0.join("post"), Keep { runs, size_bytes })
}

#[test]
fn a_rejected_output_stays_beside_the_last_good_one() {
    let dir = Dir::new("beside");
    let store = store(&dir, 5, 1 << 20);
    assert_eq!(store.previous(0).unwrap().stream, None);
    keep(&store, 1, b"good", &good());
    keep(&store, 2, b"garbage", &bad());
    assert_eq!(store.previous(0).unwrap().stream.as_deref(), Some(&b"good"[..]));
    assert_eq!(fs::read(dir.0.join("post/last-good/output")).unwrap(), b"good");
    assert_eq!(fs::read(store.path_of(2).join("output")).unwrap(), b"garbage");
    let kept: Judgement =
        serde_json::from_slice(&fs::read(store.path_of(2).join("judgement.json")).unwrap()).unwrap();
    assert_eq!(kept, bad());
}

#[test]
fn runs_are_bounded_by_count_and_bytes_and_the_last_good_one_stays() {
    let dir = Dir::new("bounded");
    let few = store(&dir, 3, 1 << 20);
    keep(&few, 1, b"good", &good());
    for number in 2..10 {
        keep(&few, number, b"garbage", &bad());
    }
    assert_eq!(few.numbers().unwrap(), [1, 7, 8, 9]);
    let small = store(&dir, 100, 8_000);
    for number in 10..14 {
        keep(&small, number, &[b'x'; 3_000], &bad());
    }
    assert_eq!(small.numbers().unwrap(), [1, 12, 13]);
    keep(&small, 14, &[b'x'; 9_000], &bad());
    assert!(!small.path_of(14).join("output").exists(), "garbage that is larger than all that may be kept");
    assert!(small.path_of(14).join("judgement.json").exists());
    keep(&small, 15, &[b'x'; 9_000], &good());
    assert_eq!(small.numbers().unwrap(), [15]);
}

#[test]
fn files_are_kept_and_seen_by_the_next_run() {
    let dir = Dir::new("files");
    let store = store(&dir, 5, 1 << 20);
    let file = |path: &str, text: &str| FoundFile {
        path: path.into(),
        modified_nanos: 1,
        taken: Taken::Bytes(text.into()),
    };
    let files = [vec![file("out/a.json", "{}")], vec![file("b", "1"), file("c", "2")]];
    store.keep(1, &Written { stream: None, files: &files, judgement: &good() }).unwrap();
    let previous = store.previous(2).unwrap();
    assert_eq!(previous.stream, None);
    assert_eq!(previous.files[0]["a.json"], b"{}");
    assert_eq!(previous.files[1].keys().collect::<Vec<_>>(), ["b", "c"]);
}

/// A limit on the size of files stands for the disk: both stop a write in its middle.
#[test]
fn a_disk_that_fills_up_leaves_the_last_good_output_whole() {
    const NAME: &str = "store::a_disk_that_fills_up_leaves_the_last_good_output_whole";
    let Some(full) = std::env::var_os("MCSUP_FULL_DISK") else {
        let dir = Dir::new("full");
        keep(&store(&dir, 5, 1 << 30), 1, b"good", &good());
        let script = format!("trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact {NAME}");
        #[expect(clippy::disallowed_methods, reason = "the limit would hold for every test of this process")]
        let mut limited = Command::new("sh");
        limited.args(["-c", &script]).arg(std::env::current_exe().unwrap()).env("MCSUP_FULL_DISK", &dir.0);
        let ended = limited.stdin(Stdio::null()).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        assert!(String::from_utf8_lossy(&ended.stdout).contains("1 passed"), "{ended:?}");
        return;
    };
    let store = Store::new(PathBuf::from(full).join("post"), Keep { runs: 5, size_bytes: 1 << 30 });
    let judgement = good();
    let large = vec![b'x'; 1 << 20];
    let failed = store.keep(2, &Written { stream: Some(&large), files: &[], judgement: &judgement });
    assert!(failed.is_err(), "the disk took it");
    assert_eq!(store.previous(0).unwrap().stream.as_deref(), Some(&b"good"[..]));
    assert_eq!(store.numbers().unwrap(), [1]);
    assert!(!store.path_of(2).with_file_name("unfinished").exists(), "what found no room takes up none");
    keep(&store, 3, b"small", &good());
    assert_eq!(store.previous(0).unwrap().stream.as_deref(), Some(&b"small"[..]));
}

#[test]
fn what_a_crash_left_unfinished_is_never_read() {
    let dir = Dir::new("crash");
    let store = store(&dir, 5, 1 << 20);
    keep(&store, 1, b"good", &good());
    // As it is when the power goes in the middle of each step.
    dir.write("post/runs/unfinished/output", "hal");
    std::os::unix::fs::symlink("runs/000009", dir.0.join("post/last-good.new")).unwrap();
    assert_eq!(store.previous(0).unwrap().stream.as_deref(), Some(&b"good"[..]));
    keep(&store, 2, b"better", &good());
    assert_eq!(store.previous(0).unwrap().stream.as_deref(), Some(&b"better"[..]));
    assert_eq!(store.numbers().unwrap(), [1, 2]);
}
