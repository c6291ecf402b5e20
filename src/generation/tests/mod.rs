//! The store on real directories.

mod crash;
mod elsewhere;
mod merging;
mod properties;
mod restoring;
mod stories;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::generation::manifest::{Cause, Verdict, Who, Word};
use crate::generation::{Draft, Named, Store, UnitsFile, read_units};

/// A place of its own, gone with the test.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new() -> Self {
        static PLACES: AtomicU64 = AtomicU64::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        // In memory: a thousand crashes with all their syncs would take minutes on a disk.
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = base.join(format!("mcsup-generations-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("units")).unwrap();
        Self(path)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    pub(super) fn units(&self) -> PathBuf {
        self.0.join("units")
    }

    pub(super) fn generations(&self) -> PathBuf {
        self.state().join("generations")
    }

    pub(super) fn store(&self) -> Store {
        let (store, said) = Store::open(&self.state()).unwrap();
        assert_eq!(said, [""; 0]);
        store
    }

    /// The units directory is these files and no other.
    pub(super) fn write(&self, files: &[(&str, &str)]) {
        for entry in fs::read_dir(self.units()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (name, text) in files {
            fs::write(self.units().join(name), text).unwrap();
        }
    }

    pub(super) fn there(&self) -> BTreeMap<String, String> {
        texts(&self.units())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// All entries by name, hidden ones too.
pub(super) fn texts(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_else(|error| format!("<{error}>"));
    entries.map(|entry| (entry.file_name().into_string().unwrap(), text(entry.path()))).collect()
}

pub(super) fn expected(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

pub(super) fn files(files: &[(&str, &str)]) -> Vec<UnitsFile> {
    let file = |(name, text): &(&str, &str)| UnitsFile {
        name: (*name).to_owned(),
        bytes: text.as_bytes().to_vec(),
        mode: 0o644,
    };
    files.iter().map(file).collect()
}

pub(super) fn draft(of: &[(&str, &str)]) -> Draft {
    Draft {
        files: files(of),
        named: Vec::new(),
        parent: None,
        cause: Cause::Save,
        who: Who { uid: 0, user: "root".into(), pid: 7, from: "a terminal".into() },
        at_millis: 1_000,
        units_dir: "/etc/mcsup/units".into(),
    }
}

pub(super) fn named(path: &str, text: Option<&str>) -> Named {
    Named { path: path.into(), bytes: text.map(|text| text.as_bytes().to_vec()) }
}

pub(super) fn verdict(word: Word) -> Verdict {
    let (why, by, diagnostics) = ("because".into(), "root".into(), String::new());
    Verdict { word, at_millis: 2_000, why, by, diagnostics, waits: None }
}

/// What the directory holds now, kept and judged.
pub(super) fn keep(store: &Store, place: &Place, word: Word) -> u64 {
    let draft = Draft { files: read_units(&place.units()).unwrap(), parent: store.current(), ..draft(&[]) };
    let number = store.add(&draft).unwrap();
    store.judge(number, &verdict(word)).unwrap();
    number
}

pub(super) fn contents(store: &Store, number: u64) -> BTreeMap<String, String> {
    let sources = store.sources(number).unwrap().into_iter();
    sources.map(|file| (file.name, String::from_utf8(file.bytes).unwrap())).collect()
}

#[track_caller]
pub(super) fn assert_whole(store: &Store) {
    let damage: Vec<String> = store.verify().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(damage, [""; 0]);
}

pub(super) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
