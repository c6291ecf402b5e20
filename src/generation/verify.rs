//! Everything read again and compared with what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::aside::files::{entries, whole};
use crate::generation::error::Error;
use crate::generation::manifest::{Manifest, Pin, digest};
use crate::generation::{
    CURRENT, HIGHEST, MANIFEST, NAMED, PIN, REMOVED, Store, UNFINISHED, UNITS, VERDICT, add, in_words, left,
    named_name, number_of, restore,
};

/// One thing that is not as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// `None`: beside the generations.
    pub generation: Option<u64>,
    pub path: PathBuf,
    pub flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    Missing,
    /// Nothing that mcsup put there.
    Extra,
    /// Digests in hexadecimal.
    Changed {
        expected: String,
        found: String,
    },
    Unreadable(String),
    /// The file has more names than generations have given it: who writes to it elsewhere, writes here.
    LinkedOutside {
        links: u64,
        known: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.flaw {
            Flaw::Missing => write!(f, "`{path}` is missing"),
            Flaw::Extra => write!(f, "`{path}` is none of mcsup's files"),
            Flaw::Changed { expected, found } => {
                write!(f, "`{path}` was changed: its sha256 was {expected} and is {found}")
            }
            Flaw::Unreadable(why) => write!(f, "`{path}`: {why}"),
            Flaw::LinkedOutside { links, known } => {
                write!(
                    f,
                    "`{path}` has {links} names, of which generations have {known}: it is linked elsewhere"
                )
            }
        }
    }
}

/// What the walk has come by.
#[derive(Default)]
struct Walk {
    found: Vec<Damage>,
    /// By device and inode.
    links: BTreeMap<(u64, u64), Links>,
}

/// How many names a file has, and which of them were seen.
#[derive(Default)]
struct Links {
    links: u64,
    unfinished: u64,
    names: Vec<(u64, PathBuf)>,
}

impl Store {
    /// Names all that is damaged, generation by generation. Reads every byte that is kept.
    ///
    /// # Errors
    /// When the directory itself cannot be read.
    pub fn verify(&self) -> Result<Vec<Damage>, Error> {
        let mut walk = Walk::default();
        for number in self.numbers()? {
            self.verify_one(number, &mut walk);
        }
        self.verify_beside(&mut walk)?;
        let Walk { mut found, links } = walk;
        for Links { links, unfinished, names } in links.into_values() {
            let known = names.len() as u64 + unfinished;
            if links > known {
                found.extend(names.into_iter().map(|(number, path)| Damage {
                    generation: Some(number),
                    path,
                    flaw: Flaw::LinkedOutside { links, known },
                }));
            }
        }
        found.sort_by(|one, other| (one.generation, &one.path).cmp(&(other.generation, &other.path)));
        Ok(found)
    }

    fn verify_one(&self, number: u64, walk: &mut Walk) {
        let dir = self.path_of(number);
        let mut names = BTreeSet::from([UNITS, NAMED, MANIFEST, VERDICT].map(str::to_owned));
        if let Err(why) = in_words(self.verdict(number)) {
            walk.add(number, dir.join(VERDICT), Flaw::Unreadable(why));
        }
        if self.pin_of(number).is_some() {
            names.insert(PIN.to_owned());
            if let Err(why) = in_words(self.read_json::<Pin>(number, PIN)) {
                walk.add(number, dir.join(PIN), Flaw::Unreadable(why));
            }
        }
        walk.extra(number, &dir, &names);
        match in_words(self.manifest(number)) {
            Ok(manifest) => verify_files(number, &dir, &manifest, walk),
            Err(why) => walk.add(number, dir.join(MANIFEST), Flaw::Unreadable(why)),
        }
    }

    fn verify_beside(&self, walk: &mut Walk) -> Result<(), Error> {
        for entry in entries(&self.dir).map_err(Error::disk("read", &self.dir))? {
            let name = entry.file_name();
            if [UNFINISHED, REMOVED].iter().any(|unfinished| name == *unfinished) {
                // No generation, and gone with the next: but its files may be shared.
                walk.share(&entry.path());
                continue;
            }
            let is_known = name.to_str().is_some_and(|name| {
                number_of(name).is_some()
                    || [CURRENT, HIGHEST, restore::JOURNAL, left::LEFT_ALONE].contains(&name)
            });
            if !is_known {
                walk.found.push(Damage { generation: None, path: entry.path(), flaw: Flaw::Extra });
            }
        }
        let link = self.dir.join(CURRENT);
        if fs::symlink_metadata(&link).is_ok() && self.current().is_none() {
            let why = "it leads to no generation".to_owned();
            walk.found.push(Damage { generation: None, path: link, flaw: Flaw::Unreadable(why) });
        }
        let newest = self.numbers()?.last().copied().unwrap_or(0);
        if self.highest() < newest {
            let why = format!("it does not say at least {newest}");
            let path = self.dir.join(HIGHEST);
            walk.found.push(Damage { generation: None, path, flaw: Flaw::Unreadable(why) });
        }
        Ok(())
    }
}

fn verify_files(number: u64, dir: &Path, manifest: &Manifest, walk: &mut Walk) {
    let (units, named) = (dir.join(UNITS), dir.join(NAMED));
    for file in &manifest.files {
        walk.file(number, units.join(&file.name), &file.sha256);
    }
    walk.extra(number, &units, &manifest.files.iter().map(|file| file.name.clone()).collect());
    let mut names = BTreeSet::new();
    for (at, file) in manifest.named.iter().enumerate() {
        let Some(sha256) = &file.sha256 else { continue };
        walk.file(number, named.join(named_name(at)), sha256);
        names.insert(named_name(at));
    }
    walk.extra(number, &named, &names);
}

impl Walk {
    fn add(&mut self, number: u64, path: PathBuf, flaw: Flaw) {
        self.found.push(Damage { generation: Some(number), path, flaw });
    }

    fn file(&mut self, number: u64, path: PathBuf, expected: &str) {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            return self.add(number, path, Flaw::Missing);
        };
        if !metadata.is_file() {
            return self.add(number, path, Flaw::Unreadable("it is no regular file".to_owned()));
        }
        let links = self.links.entry((metadata.dev(), metadata.ino())).or_default();
        links.links = metadata.nlink();
        links.names.push((number, path.clone()));
        match whole(&path, add::MOST_FILE_BYTES) {
            Ok(bytes) => {
                let found = digest(&bytes);
                if found != expected {
                    self.add(number, path, Flaw::Changed { expected: expected.to_owned(), found });
                }
            }
            Err(error) => self.add(number, path, Flaw::Unreadable(format!("it cannot be read: {error}"))),
        }
    }

    fn share(&mut self, dir: &Path) {
        for entry in entries(dir).unwrap_or_default() {
            match entry.metadata() {
                Ok(there) if there.is_dir() => self.share(&entry.path()),
                Ok(there) => {
                    let links = self.links.entry((there.dev(), there.ino())).or_default();
                    links.links = there.nlink();
                    links.unfinished += 1;
                }
                Err(_gone) => {}
            }
        }
    }

    /// What is in a directory and does not belong there. One that is missing is told by the files in it.
    fn extra(&mut self, number: u64, dir: &Path, names: &BTreeSet<String>) {
        match entries(dir) {
            Ok(entries) => {
                let strange = |name: &str| !names.contains(name);
                for entry in entries {
                    if entry.file_name().to_str().is_none_or(strange) {
                        self.add(number, entry.path(), Flaw::Extra);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.add(number, dir.to_owned(), Flaw::Unreadable(format!("it cannot be read: {error}")));
            }
        }
    }
}
