//! All that the store does to a disk goes through here, a step at a time: a test can end at every one of them.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use crate::aside::files::{entries, if_there};

/// Hears of each step before it is taken: a word for it, and a path. Where it answers with an error, the step is not
/// taken, as if the disk had said so.
pub type Hook = Arc<dyn Fn(&'static str, &Path) -> io::Result<()> + Send + Sync>;

#[derive(Clone, Default)]
pub(super) struct Disk {
    hook: Option<Hook>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("is_watched", &self.hook.is_some()).finish()
    }
}

impl Disk {
    pub(super) fn watched(hook: Hook) -> Self {
        Self { hook: Some(hook) }
    }

    fn step(&self, what: &'static str, path: &Path) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(what, path))
    }

    /// Readable by its owner alone; so are those above it that have to be made.
    pub(super) fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.step("make-dir", dir)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    /// A file that is not there yet. Its content may be lost with the power until it is synced.
    pub(super) fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
        self.step("create", path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        // Whoever counts steps shall also see a file that was cut off.
        let half = if self.hook.is_some() { bytes.len() / 2 } else { 0 };
        let (first, rest) = bytes.split_at_checked(half).unwrap_or((bytes, &[]));
        file.write_all(first)?;
        self.step("write", path)?;
        file.write_all(rest)?;
        // Not by the open: what a person set for new files would be taken off it.
        if mode != 0o600 {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(file)
    }

    pub(super) fn sync_file(&self, path: &Path, file: &File) -> io::Result<()> {
        self.step("sync-file", path)?;
        file.sync_all()
    }

    /// The names in it.
    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step("sync-dir", dir)?;
        File::open(dir)?.sync_all()
    }

    /// All of the file system, of which `dir` is a part: cheaper than a sync for each of many files.
    pub(super) fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.step("sync-all", dir)?;
        Ok(syncfs(File::open(dir)?)?)
    }

    /// The old content or the new one, also after a loss of power.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = beside(path);
        self.remove_file(&beside)?;
        let written = (|| {
            let file = self.write(&beside, bytes, 0o600)?;
            self.sync_file(&beside, &file)?;
            self.rename(&beside, path)
        })();
        // What found no room shall not take up the little there is.
        written.inspect_err(|_| drop(self.remove_file(&beside)))?;
        self.sync_dir(parent(path))
    }

    /// As [`Self::replace`], a link that leads to `target`.
    pub(super) fn point(&self, path: &Path, target: &str) -> io::Result<()> {
        let beside = beside(path);
        self.remove_file(&beside)?;
        let made = (|| {
            self.step("symlink", &beside)?;
            symlink(target, &beside)?;
            self.rename(&beside, path)
        })();
        made.inspect_err(|_| drop(self.remove_file(&beside)))?;
        self.sync_dir(parent(path))
    }

    pub(super) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("link", to)?;
        fs::hard_link(from, to)
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", to)?;
        fs::rename(from, to)
    }

    /// `Unsupported` where the file system cannot: then neither has moved.
    pub(super) fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        self.step("exchange", other)
            .and_then(|()| Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?))
            .map_err(unsupported)
    }

    /// Never over something that is there: `AlreadyExists`.
    pub(super) fn move_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        let moved = self
            .step("move-to-free", to)
            .and_then(|()| Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?))
            .map_err(unsupported);
        match moved {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.link(from, to)?;
                self.remove_file(from)
            }
            other => other,
        }
    }

    pub(super) fn own(&self, path: &Path, file: &File, uid: u32, gid: u32) -> io::Result<()> {
        self.step("own", path)?;
        fchown(file, Some(uid), Some(gid))
    }

    /// Nothing is to be done where there is none.
    pub(super) fn remove_file(&self, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(());
        }
        self.step("remove-file", path)?;
        if_there(fs::remove_file(path)).map(|_gone| ())
    }

    /// One that is empty.
    pub(super) fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.step("remove-dir", dir)?;
        if_there(fs::remove_dir(dir)).map(|_gone| ())
    }

    /// With all that is in it. Nothing is to be done where there is none.
    pub(super) fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        if !dir.try_exists()? {
            return Ok(());
        }
        for entry in entries(dir)? {
            if entry.file_type()?.is_dir() {
                self.remove_tree(&entry.path())?;
            } else {
                self.remove_file(&entry.path())?;
            }
        }
        self.remove_dir(dir)
    }
}

/// Where the next content of this file is written until it is whole.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}

/// The kernel says in three ways that a file system does not know this kind of rename.
fn unsupported(error: io::Error) -> io::Error {
    let codes = [rustix::io::Errno::INVAL, rustix::io::Errno::NOSYS, rustix::io::Errno::OPNOTSUPP];
    let is_unknown =
        error.raw_os_error().is_some_and(|code| codes.iter().any(|one| one.raw_os_error() == code));
    if is_unknown { io::ErrorKind::Unsupported.into() } else { error }
}
