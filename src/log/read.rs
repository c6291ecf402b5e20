//! Reads one unit's log from a place on, over rotations and truncations.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::log::files::{FileId, Listed, LogDir};
use crate::log::start::{self, Start};

#[derive(Debug)]
pub struct Reader {
    dir: LogDir,
    open: Option<Open>,
    /// Every file of the last listing that was read or left out as older.
    done: BTreeSet<FileId>,
}

#[derive(Debug)]
struct Open {
    file: File,
    id: FileId,
    position: u64,
}

impl Reader {
    /// # Errors
    /// When the log is there and cannot be read.
    pub fn new(dir: LogDir, start: Start) -> io::Result<Self> {
        let files = dir.list()?;
        let mut reader = Self { dir, open: None, done: BTreeSet::new() };
        if !files.is_empty() {
            let place = start::find(&reader.dir, &files, start)?;
            reader.done.extend(files.iter().take(place.file).map(|file| file.id));
            reader.enter(&files, place.file, place.offset)?;
        }
        Ok(reader)
    }

    /// The next bytes. 0: there are no more for now.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.read_open(buffer)?;
            if got > 0 {
                return Ok(got);
            }
            // Only a listing made *after* the end was seen tells that there is a newer file, and only bytes
            // looked for after that listing are known to be the last of the older one.
            let files = self.dir.list()?;
            let got = self.read_open(buffer)?;
            if got > 0 {
                return Ok(got);
            }
            let Some(next) = self.next_of(&files) else { return Ok(0) };
            self.enter(&files, next, 0)?;
        }
    }

    fn read_open(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(open) = &mut self.open else { return Ok(0) };
        let got = open.file.read_at(buffer, open.position)?;
        if got == 0 && open.file.metadata()?.len() < open.position {
            // Truncated: what comes now is new from the first byte on.
            open.position = 0;
            let got = open.file.read_at(buffer, 0)?;
            open.position = got as u64;
            return Ok(got);
        }
        open.position += got as u64;
        Ok(got)
    }

    fn next_of(&self, files: &[Listed]) -> Option<usize> {
        let here = self.open.as_ref().and_then(|open| files.iter().position(|file| file.id == open.id));
        match here {
            Some(here) => (here + 1 < files.len()).then_some(here + 1),
            None => files.iter().position(|file| !self.done.contains(&file.id)),
        }
    }

    /// Goes to a file of the listing. One that vanished meanwhile is left out.
    fn enter(&mut self, files: &[Listed], index: usize, offset: u64) -> io::Result<()> {
        let Some(listed) = files.get(index) else { return Ok(()) };
        // What is no longer listed cannot be met again, except under a number that means another file.
        self.done.retain(|id| files.iter().any(|file| file.id == *id));
        self.done.extend(files.iter().take(index + 1).map(|file| file.id));
        self.open = self.dir.open(listed)?.map(|file| Open { file, id: listed.id, position: offset });
        Ok(())
    }
}
