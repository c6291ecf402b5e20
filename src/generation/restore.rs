//! Files brought back into the units directory, where a person may write at the same moment.
//!
//! Content decides, not time: only what still has the bytes of the rejected generation is replaced or removed, and
//! whatever else is found there is a person's and stays. All that is to come is first written whole into a hidden
//! directory beside the files; each is then exchanged with its place in one step of the kernel, and what came out of
//! there is looked at before it is let go. So each step may be the last one: who looks at the two directories and
//! the journal knows what is left to do.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::{Deserialize, Serialize};

use crate::aside::files::{entries, if_there, regular, whole};
use crate::generation::Store;
use crate::generation::add::{MOST_FILE_BYTES, Written, json};
use crate::generation::error::Error;
use crate::generation::manifest::digest;
use crate::unit::SourceFile;

/// What was done to the units directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Names of files that are again what they were before, or gone as they were before.
    pub restored: Vec<String>,
    /// What a person wrote meanwhile: it is in the directory, and in no generation yet. Of larger files, the first
    /// 16 MiB.
    pub displaced: Vec<SourceFile>,
    /// Names under which older bytes of a person were put, who wrote twice while one file was restored.
    pub set_aside: Vec<String>,
    /// Why the directory was not written to at all.
    pub left_alone: Option<String>,
}

/// `restore.json`: there from before the first file is touched until after the last.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Journal {
    units_dir: PathBuf,
    rejected: u64,
    good: u64,
    /// When it began. Once another one is, nobody wants the rest of it any more.
    current: Option<u64>,
}

impl Store {
    /// Undoes in the units directory what makes `rejected` differ from `good`, file by file.
    ///
    /// # Errors
    /// When one of the two cannot be read, or the disk refuses. What was begun is finished by the next call, or the
    /// next `open`; nothing that a person wrote is lost.
    pub fn restore(&self, units_dir: &Path, rejected: u64, good: u64) -> Result<Restored, Error> {
        let restored = self.bring_back(units_dir, rejected, good)?;
        if let Some(why) = &restored.left_alone {
            self.note_left(rejected, good, why)?;
        }
        Ok(restored)
    }

    fn bring_back(&self, units_dir: &Path, rejected: u64, good: u64) -> Result<Restored, Error> {
        if let Some(earlier) = self.journal()?
            && let Err(error) = self.finish(&earlier)
            && in_units(&earlier.units_dir, STAGED).exists()
        {
            return Err(error);
        }
        let units_dir = std::path::absolute(units_dir).map_err(Error::disk("find", units_dir))?;
        let work = self.work(&units_dir, rejected, good)?;
        if work.files.is_empty() {
            return Ok(Restored::default());
        }
        if let Some(why) = work.why_left_alone().or_else(|| work.foreign_leftovers()) {
            return Ok(Restored { left_alone: Some(why), ..Restored::default() });
        }
        let journal = Journal { units_dir: units_dir.clone(), rejected, good, current: self.current() };
        let path = self.dir.join(JOURNAL);
        self.disk.replace(&path, &json(&journal)?).map_err(Error::disk("write", &path))?;
        match work.run() {
            Ok(restored) => self.forget().map(|()| restored),
            Err(error) if in_units(&units_dir, STAGED).exists() => Err(error),
            Err(error) => {
                // Nothing was exchanged yet, so there is nothing to be finished.
                drop(self.disk.remove_tree(&in_units(&units_dir, STAGING)));
                drop(self.forget());
                let why = error.is_forbidden().then(|| error.to_string());
                why.map(|why| Restored { left_alone: Some(why), ..Restored::default() }).ok_or(error)
            }
        }
    }

    /// Finishes what a crash interrupted; says in words what was done, or why not.
    pub(super) fn resume(&self) -> Option<String> {
        let journal = match self.journal() {
            Ok(journal) => journal?,
            Err(error) => return Some(error.to_string()),
        };
        let dir = journal.units_dir.display();
        Some(match self.finish(&journal) {
            Ok(Restored { left_alone: Some(why), .. }) => {
                // Where that cannot be written either, what is there counts again.
                drop(self.note_left(journal.rejected, journal.good, &why));
                format!("the files of `{dir}` are not those of generation {}: {why}", journal.good)
            }
            Ok(done) => {
                let (restored, aside) = (done.restored.len(), done.set_aside.join(", "));
                let aside = if aside.is_empty() { String::new() } else { format!("; {aside} was set aside") };
                let good = journal.good;
                format!(
                    "finished what was begun in `{dir}`: {restored} files of generation {good} are back{aside}"
                )
            }
            Err(error) => {
                format!("cannot finish bringing back the files of generation {}: {error}", journal.good)
            }
        })
    }

    /// The generations that an unfinished one compares with.
    pub(super) fn restoring(&self) -> Option<[u64; 2]> {
        self.journal().ok().flatten().map(|journal| [journal.rejected, journal.good])
    }

    fn finish(&self, journal: &Journal) -> Result<Restored, Error> {
        let work = self.work(&journal.units_dir, journal.rejected, journal.good)?;
        let staged = in_units(&journal.units_dir, STAGED);
        if let Some(why) = work.why_left_alone() {
            // What lies there may be a person's: it is looked at when it can be.
            if !staged.exists() {
                self.forget()?;
            }
            return Ok(Restored { left_alone: Some(why), ..Restored::default() });
        }
        let staging = in_units(&journal.units_dir, STAGING);
        self.disk.remove_tree(&staging).map_err(Error::disk("remove", &staging))?;
        let set_aside = work.clear()?;
        let mut done =
            if journal.current == self.current() { work.run()? } else { work.outcome(&BTreeSet::new())? };
        done.set_aside.extend(set_aside);
        self.forget()?;
        Ok(done)
    }

    fn work<'a>(&'a self, units: &'a Path, rejected: u64, good: u64) -> Result<Work<'a>, Error> {
        let (old, new) = (self.entries(rejected)?, self.entries(good)?);
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut files = Vec::new();
        for name in names {
            let rejected = old.get(name).map(|entry| entry.sha256.clone());
            let entry = new.get(name);
            if rejected.as_ref() == entry.map(|entry| &entry.sha256) {
                continue;
            }
            let good = entry.map(|entry| {
                let bytes = self.bytes_of(good, entry)?;
                Ok::<_, Error>(Good { bytes, sha256: entry.sha256.clone(), mode: entry.mode })
            });
            files.push(Wanted { name: name.clone(), rejected, good: good.transpose()? });
        }
        Ok(Work { store: self, units, files })
    }

    fn journal(&self) -> Result<Option<Journal>, Error> {
        let path = self.dir.join(JOURNAL);
        let Some(bytes) = if_there(whole(&path, 1 << 20)).map_err(Error::disk("read", &path))? else {
            return Ok(None);
        };
        let torn = |error: serde_json::Error| Error::Disk { verb: "read", path, cause: error.into() };
        serde_json::from_slice(&bytes).map(Some).map_err(torn)
    }

    fn forget(&self) -> Result<(), Error> {
        let path = self.dir.join(JOURNAL);
        self.disk.remove_file(&path).map_err(Error::disk("remove", &path))?;
        self.disk.sync_dir(&self.dir).map_err(Error::disk("sync", &self.dir))
    }
}

/// The files in which the two generations differ, in the order of their names: their places in the list are their
/// names where they are staged, so it must be the same each time it is made.
struct Work<'a> {
    store: &'a Store,
    units: &'a Path,
    files: Vec<Wanted>,
}

struct Wanted {
    name: String,
    /// Its digest in the rejected generation; `None` where it is not in there.
    rejected: Option<String>,
    good: Option<Good>,
}

struct Good {
    bytes: Vec<u8>,
    sha256: String,
    mode: u32,
}

/// What a path holds, as far as one file of the two generations goes.
enum Present {
    Missing,
    Rejected,
    Good,
    /// A person's.
    Other(Vec<u8>),
    /// No regular file; a person's as well.
    Odd,
}

/// What is to be done about one file, as it was when somebody looked.
#[derive(Clone, Copy)]
enum Action {
    Exchange,
    Place,
    TakeAway,
}

impl Work<'_> {
    /// It must not, or cannot, be written to.
    fn why_left_alone(&self) -> Option<String> {
        let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink());
        if let Some(link) = self.units.ancestors().find(|path| is_link(path)) {
            return Some(format!("it is reached through the symbolic link `{}`", link.display()));
        }
        if fs::symlink_metadata(self.units.join("..data")).is_ok() {
            return Some("its files are put there as a whole, by way of `..data`".to_owned());
        }
        if let Some(file) = self.files.iter().find(|file| is_link(&self.units.join(&file.name))) {
            return Some(format!("`{}` in it is a symbolic link", file.name));
        }
        let owner = match fs::metadata(self.units) {
            Ok(there) if there.is_dir() => there.uid(),
            Ok(_) => return Some("it is no directory".to_owned()),
            Err(error) => return Some(format!("it cannot be looked at: {error}")),
        };
        let ours = rustix::process::geteuid().as_raw();
        if owner != ours {
            return Some(format!("it belongs to user {owner}, and mcsup is user {ours}"));
        }
        let rights = Access::WRITE_OK | Access::EXEC_OK;
        let denied = accessat(CWD, self.units, rights, AtFlags::EACCESS).err()?;
        Some(format!("it cannot be written to: {denied}"))
    }

    /// Without the journal that belongs to them, nobody can say whose they are and where they belong.
    fn foreign_leftovers(&self) -> Option<String> {
        let staged = in_units(self.units, STAGED);
        let why = || {
            format!(
                "nothing is known of `{}`; look whether anything in it is still needed, and remove it",
                staged.display()
            )
        };
        fs::symlink_metadata(&staged).is_ok().then(why)
    }

    fn run(&self) -> Result<Restored, Error> {
        let mut actions = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            actions.extend(self.action(file)?.map(|action| (at, action)));
        }
        let mut set_aside = Vec::new();
        if !actions.is_empty() {
            self.stage(&actions)?;
            for (at, action) in &actions {
                self.act(*at, *action)?;
                set_aside.extend(self.settle(*at)?);
            }
            set_aside.extend(self.clear()?);
        }
        let acted: BTreeSet<usize> = actions.iter().map(|(at, _)| *at).collect();
        Ok(Restored { set_aside, ..self.outcome(&acted)? })
    }

    /// What the directory holds in the end. `acted`: the files that were to be changed.
    fn outcome(&self, acted: &BTreeSet<usize>) -> Result<Restored, Error> {
        let mut outcome = Restored::default();
        for (at, file) in self.files.iter().enumerate() {
            match self.look(file, &self.units.join(&file.name))? {
                Present::Other(bytes) => {
                    outcome.displaced.push(SourceFile { name: file.name.clone(), bytes });
                }
                Present::Good | Present::Missing if acted.contains(&at) => {
                    outcome.restored.push(file.name.clone());
                }
                Present::Good | Present::Missing | Present::Rejected | Present::Odd => {}
            }
        }
        Ok(outcome)
    }

    fn action(&self, file: &Wanted) -> Result<Option<Action>, Error> {
        Ok(match (&file.good, self.look(file, &self.units.join(&file.name))?) {
            (Some(_), Present::Rejected) => Some(Action::Exchange),
            (None, Present::Rejected) => Some(Action::TakeAway),
            // The rejected one had removed it. Where it had not, a person has.
            (Some(_), Present::Missing) if file.rejected.is_none() => Some(Action::Place),
            (_, Present::Missing | Present::Good | Present::Other(_) | Present::Odd) => None,
        })
    }

    fn look(&self, file: &Wanted, path: &Path) -> Result<Present, Error> {
        let kind = if_there(fs::symlink_metadata(path)).map_err(Error::disk("look at", path))?;
        if kind.is_some_and(|there| !there.is_file()) {
            return Ok(Present::Odd);
        }
        let bytes = match part(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Present::Missing),
            Err(error) => return Err(Error::disk("read", path)(error)),
        };
        let sha256 = digest(&bytes);
        Ok(if file.good.as_ref().is_some_and(|good| good.sha256 == sha256) {
            Present::Good
        } else if file.rejected.as_ref() == Some(&sha256) {
            Present::Rejected
        } else {
            Present::Other(bytes)
        })
    }

    /// Everything that is to come lies there whole and for good before anything is changed: a disk that is full,
    /// or may not be written to, says so here.
    fn stage(&self, actions: &[(usize, Action)]) -> Result<(), Error> {
        let disk = &self.store.disk;
        let (staging, staged) = (in_units(self.units, STAGING), in_units(self.units, STAGED));
        disk.remove_tree(&staging).map_err(Error::disk("remove", &staging))?;
        disk.make_dir(&staging).map_err(Error::disk("make", &staging))?;
        let mut written = Written::new(self.store);
        for (at, action) in actions {
            let file = &self.files[*at];
            let Some(good) = &file.good else { continue };
            let (like, mode) = match action {
                Action::Exchange | Action::TakeAway => (self.units.join(&file.name), None),
                Action::Place => (self.units.to_owned(), Some(good.mode)),
            };
            let like = fs::metadata(&like).map_err(Error::disk("look at", &like))?;
            let path = staging.join(place(*at, COMES));
            let mode = mode.unwrap_or_else(|| like.mode()) & 0o7777;
            let new = disk.write(&path, &good.bytes, mode).map_err(Error::disk("write", &path))?;
            let is = new.metadata().map_err(Error::disk("look at", &path))?;
            if (is.uid(), is.gid()) != (like.uid(), like.gid()) {
                let owned = disk.own(&path, &new, like.uid(), like.gid());
                // Who may not give files away had none that were another's.
                let refused = |error: &io::Error| error.kind() != io::ErrorKind::PermissionDenied;
                owned
                    .or_else(|error| if refused(&error) { Err(error) } else { Ok(()) })
                    .map_err(Error::disk("set the owner of", &path))?;
            }
            written.hold(path, new);
        }
        written.settle(&staging)?;
        disk.sync_dir(&staging).map_err(Error::disk("sync", &staging))?;
        disk.rename(&staging, &staged).map_err(Error::disk("rename", &staged))?;
        self.sync()
    }

    /// One file. Somebody who was quicker is no error.
    fn act(&self, at: usize, action: Action) -> Result<(), Error> {
        let disk = &self.store.disk;
        let path = self.units.join(&self.files[at].name);
        let (comes, goes) = (self.staged(at, COMES), self.staged(at, GOES));
        let acted = match action {
            Action::Exchange => self.exchange(&comes, &path, &goes),
            Action::Place => disk.move_to_free(&comes, &path),
            Action::TakeAway => disk.move_to_free(&path, &goes),
        };
        unless_outrun(acted).map_err(Error::disk("replace", &path))
    }

    /// Where the file system knows no exchange, the place is free for a moment; what was in it is kept under `goes`.
    fn exchange(&self, comes: &Path, path: &Path, goes: &Path) -> io::Result<()> {
        let disk = &self.store.disk;
        match disk.exchange(comes, path) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                disk.move_to_free(path, goes)?;
                disk.move_to_free(comes, path)
            }
            done => done,
        }
    }

    /// Lets go of what is staged of one file once it was looked at. With it the name under which something was set
    /// aside.
    fn settle(&self, at: usize) -> Result<Vec<String>, Error> {
        let file = &self.files[at];
        let path = self.units.join(&file.name);
        let is = |path: &Path, wanted: fn(&Present) -> bool| Ok::<_, Error>(wanted(&self.look(file, path)?));
        let (comes, goes) = (self.staged(at, COMES), self.staged(at, GOES));
        // Ended in the moment in which the place was free.
        if is(&path, |there| matches!(there, Present::Missing))?
            && is(&goes, |there| matches!(there, Present::Rejected))?
            && is(&comes, |there| matches!(there, Present::Good))?
        {
            unless_outrun(self.store.disk.move_to_free(&comes, &path))
                .map_err(Error::disk("write", &path))?;
        }
        let mut set_aside = Vec::new();
        for kind in [COMES, GOES, BACK] {
            let staged = self.staged(at, kind);
            if is(&staged, |there| matches!(there, Present::Other(_) | Present::Odd))? {
                set_aside.extend(self.put_back(file, &staged, &self.staged(at, BACK))?);
            }
            if is(&staged, |there| matches!(there, Present::Good | Present::Rejected))? {
                self.store.disk.remove_file(&staged).map_err(Error::disk("remove", &staged))?;
            }
        }
        Ok(set_aside)
    }

    /// A person's bytes to where the person wrote them. What was put there meanwhile goes away to `staged` or `back`.
    fn put_back(&self, file: &Wanted, staged: &Path, back: &Path) -> Result<Option<String>, Error> {
        let path = self.units.join(&file.name);
        let disk = &self.store.disk;
        match self.look(file, &path)? {
            Present::Missing => match disk.move_to_free(staged, &path) {
                // The person was quicker.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.set_aside(file, staged),
                moved => moved.map(|()| None).map_err(Error::disk("put back", &path)),
            },
            Present::Good | Present::Rejected => {
                unless_outrun(self.exchange(staged, &path, back)).map_err(Error::disk("put back", &path))?;
                if matches!(self.look(file, staged)?, Present::Missing | Present::Good | Present::Rejected) {
                    return Ok(None);
                }
                // The person wrote again in between: the newer bytes belong into the place.
                match disk.exchange(staged, &path) {
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                    done => unless_outrun(done).map_err(Error::disk("put back", &path))?,
                }
                self.set_aside(file, staged)
            }
            Present::Other(_) | Present::Odd => self.set_aside(file, staged),
        }
    }

    /// In the directory under a free name, where people and the next generation find it.
    fn set_aside(&self, file: &Wanted, staged: &Path) -> Result<Option<String>, Error> {
        for number in 1..=MOST_SET_ASIDE {
            let name = format!("{}.mcsup-saved-{number}", file.name);
            let path = self.units.join(&name);
            match self.store.disk.move_to_free(staged, &path) {
                Ok(()) => return Ok(Some(name)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::disk("set aside", &path)(error)),
            }
        }
        let many = io::Error::other("there are too many such files");
        Err(Error::disk("set aside", &self.units.join(&file.name))(many))
    }

    /// All that is staged, by content alone: also what was left there by another life.
    fn clear(&self) -> Result<Vec<String>, Error> {
        let staged = in_units(self.units, STAGED);
        let mut set_aside = Vec::new();
        if !staged.exists() {
            return Ok(set_aside);
        }
        let mut there: Vec<usize> = entries(&staged)
            .map_err(Error::disk("read", &staged))?
            .into_iter()
            .filter_map(|entry| entry.file_name().to_str()?.split_once('.')?.0.parse().ok())
            .filter(|at| *at < self.files.len())
            .collect();
        there.sort_unstable();
        there.dedup();
        for at in there {
            set_aside.extend(self.settle(at)?);
        }
        self.sync()?;
        self.store.disk.remove_dir(&staged).map_err(Error::disk("remove", &staged))?;
        self.sync()?;
        Ok(set_aside)
    }

    fn sync(&self) -> Result<(), Error> {
        self.store.disk.sync_dir(self.units).map_err(Error::disk("sync", self.units))
    }

    fn staged(&self, at: usize, kind: &str) -> PathBuf {
        in_units(self.units, STAGED).join(place(at, kind))
    }
}

/// All of a file, or as much as shows that it is a person's: no generation has one so large.
fn part(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    regular(path)?.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A person was there first: what is found in the end is theirs.
pub(super) fn unless_outrun(acted: io::Result<()>) -> io::Result<()> {
    match acted {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
            Ok(())
        }
        other => other,
    }
}

fn in_units(units: &Path, name: &str) -> PathBuf {
    units.join(name)
}

fn place(at: usize, kind: &str) -> String {
    format!("{at:04}.{kind}")
}

pub(super) const JOURNAL: &str = "restore.json";
/// Hidden from those who read units, and on the same file system as they are.
const STAGED: &str = ".mcsup-restore";
const STAGING: &str = ".mcsup-restore.new";
/// What is to be in the place, until it is exchanged with what was.
const COMES: &str = "new";
/// What was in the place, where it was not exchanged.
const GOES: &str = "was";
/// What was put into the place and had to go again.
const BACK: &str = "back";
pub(super) const MOST_SET_ASIDE: u32 = 1000;
