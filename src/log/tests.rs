//! Stories about reading logs while they are written, over real files.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::log::files::LogDir;
use crate::log::follow::{Watch, Woken};
use crate::log::read::Reader;
use crate::log::start::Start;

/// A directory of logs with the unit `web` in it, written as the keeper would.
struct Log {
    root: PathBuf,
    current: Option<File>,
    rotated: u32,
}

impl Log {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("mcsup-log-{}-{number}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Self { root, current: None, rotated: 0 }
    }

    fn unit(&self) -> LogDir {
        LogDir::new(&self.root, "web")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.unit().path().join(name)
    }

    fn write(&mut self, text: &[u8]) {
        let path = self.path("current");
        let current = self.current.get_or_insert_with(|| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            OpenOptions::new().create(true).append(true).open(path).unwrap()
        });
        current.write_all(text).unwrap();
    }

    fn rotate(&mut self, keep: u32) {
        self.rotated += 1;
        fs::rename(self.path("current"), self.path(&format!("{:08}", self.rotated))).unwrap();
        self.current = None;
        if let Some(old) = self.rotated.checked_sub(keep) {
            drop(fs::remove_file(self.path(&format!("{old:08}"))));
        }
    }

    fn read(&self, start: Start) -> String {
        read_all(&mut Reader::new(self.unit(), start).unwrap())
    }

    fn last(&self, lines: u64) -> String {
        self.read(Start { lines: Some(lines), since: None })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.root));
    }
}

fn read_all(reader: &mut Reader) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => return String::from_utf8_lossy(&bytes).into_owned(),
            got => bytes.extend_from_slice(&buffer[..got]),
        }
    }
}

#[test]
fn the_last_lines_are_found_across_rotated_files() {
    let mut log = Log::new();
    log.write(b"1\n2\n3\n");
    log.rotate(9);
    log.write(b"4\n5\n");
    log.rotate(9);
    log.write(b"6\n7");
    assert_eq!(log.read(Start::default()), "1\n2\n3\n4\n5\n6\n7");
    assert_eq!(log.last(0), "");
    assert_eq!(log.last(1), "7", "a line without its newline counts");
    assert_eq!(log.last(2), "6\n7");
    assert_eq!(log.last(3), "5\n6\n7");
    assert_eq!(log.last(5), "3\n4\n5\n6\n7");
    assert_eq!(log.last(100), "1\n2\n3\n4\n5\n6\n7");
    log.write(b"\n");
    assert_eq!(log.last(2), "6\n7\n", "the newline at the end begins no line");
}

#[test]
fn a_line_that_was_cut_by_a_rotation_counts_once() {
    let mut log = Log::new();
    log.write(b"1\n2 begins");
    log.rotate(9);
    log.write(b" and ends\n3\n");
    assert_eq!(log.last(2), "2 begins and ends\n3\n");
}

#[test]
fn lines_longer_than_any_block_are_found_whole() {
    let mut log = Log::new();
    let long = "x".repeat(300_000);
    log.write(format!("before\n{long}\nafter\n").as_bytes());
    assert_eq!(log.last(2), format!("{long}\nafter\n"));
}

#[test]
fn a_unit_that_wrote_nothing_has_an_empty_log() {
    assert_eq!(Log::new().last(10), "");
}

#[test]
fn the_hints_lead_to_the_line_that_was_written_then() {
    let mut log = Log::new();
    log.write(b"first\nsecond\nthird\n");
    let hints: Vec<u8> = [(1_000_u64, 0_u64), (2_000, 6), (3_000, 13)]
        .iter()
        .flat_map(|(at, offset)| [at.to_le_bytes(), offset.to_le_bytes()].concat())
        .collect();
    fs::write(log.path("current.index"), &hints).unwrap();
    let since = |since| log.read(Start { lines: None, since: Some(since) });
    assert_eq!(since(500), "first\nsecond\nthird\n");
    assert_eq!(since(2_000), "second\nthird\n");
    assert_eq!(since(2_500), "second\nthird\n", "rather a line too many than one too few");
    assert_eq!(since(9_000), "third\n");
    assert_eq!(since(u64::MAX), "", "the file was last written before");
    fs::write(log.path("current.index"), b"rubbish of no length that fits").unwrap();
    assert!(since(9_000).ends_with("third\n"), "a broken index is no more than a missing hint");
}

#[test]
fn a_truncated_log_is_read_from_its_new_beginning() {
    let mut log = Log::new();
    log.write(b"old old old\n");
    let mut reader = Reader::new(log.unit(), Start::default()).unwrap();
    assert_eq!(read_all(&mut reader), "old old old\n");
    log.current.as_ref().unwrap().set_len(0).unwrap();
    assert_eq!(read_all(&mut reader), "");
    log.write(b"new\n");
    assert_eq!(read_all(&mut reader), "new\n");
}

#[test]
fn following_through_rotations_loses_nothing_and_doubles_nothing() {
    const LINES: u32 = 60_000;
    let log = Log::new();
    let mut watch = Watch::new(&log.root, &[log.unit()]).unwrap();
    let mut reader = Reader::new(log.unit(), Start::default()).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    let writer = std::thread::spawn(move || {
        let mut log = log;
        for number in 0..LINES {
            log.write(format!("{number}\n").as_bytes());
            // The writer keeps every file: how far a reader may fall behind is not the claim here.
            if number % 487 == 0 {
                log.rotate(u32::MAX);
            }
        }
        drop(stop);
        log
    });
    let mut seen = String::new();
    while watch.wait(&[stopped.as_fd()]).unwrap() == Woken::Changed {
        seen.push_str(&read_all(&mut reader));
    }
    let log = writer.join().unwrap();
    seen.push_str(&read_all(&mut reader));
    drop(log);
    let expected: String = (0..LINES).map(|number| format!("{number}\n")).collect();
    let differs = seen.lines().zip(expected.lines()).position(|(a, b)| a != b);
    assert!(
        seen == expected,
        "{} bytes of {}, first differs at line {differs:?}",
        seen.len(),
        expected.len()
    );
}

#[test]
fn a_follower_whose_file_was_rotated_away_goes_on_with_the_oldest_that_is_left() {
    let mut log = Log::new();
    log.write(b"1\n");
    let mut reader = Reader::new(log.unit(), Start::default()).unwrap();
    assert_eq!(read_all(&mut reader), "1\n");
    for number in 2..=9 {
        log.rotate(3);
        log.write(format!("{number}\n").as_bytes());
    }
    assert_eq!(read_all(&mut reader), "6\n7\n8\n9\n");
}

#[test]
fn a_unit_that_writes_its_first_byte_wakes_its_follower() {
    let mut log = Log::new();
    let mut watch = Watch::new(&log.root, &[log.unit()]).unwrap();
    let mut reader = Reader::new(log.unit(), Start { lines: Some(10), since: None }).unwrap();
    let (_stop, stopped) = UnixStream::pair().unwrap();
    log.write(b"hello\n");
    assert_eq!(watch.wait(&[stopped.as_fd()]).unwrap(), Woken::Changed);
    assert_eq!(read_all(&mut reader), "hello\n");
    log.write(b"again\n");
    assert_eq!(watch.wait(&[stopped.as_fd()]).unwrap(), Woken::Changed);
    assert_eq!(read_all(&mut reader), "again\n");
}
