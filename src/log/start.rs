//! Where in a log to begin, found from its end without reading it all.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::log::files::{Listed, LogDir};

/// Where reading begins. Both given: whatever comes later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// This many lines before the end; one without its newline counts. `None`: all.
    pub lines: Option<u64>,
    /// Not before this moment, in nanoseconds since 1970, as near as the hints tell and rather too early.
    pub since: Option<u64>,
}

/// A byte in a list of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index in the list.
    pub file: usize,
    pub offset: u64,
}

/// Read at once while looking for line ends.
const BLOCK: usize = 64 << 10;

/// Most bytes looked through for the line end after a hint.
const MOST_TO_LINE_END: u64 = 1 << 20;

/// One hint: a wall time and an offset, both 64 bits, little-endian. What stands at or after the offset was
/// written at or after the time.
const HINT_BYTES: usize = 16;

/// # Errors
/// When a file cannot be read.
pub fn find(dir: &LogDir, files: &[Listed], start: Start) -> io::Result<Place> {
    let mut place = Place { file: 0, offset: 0 };
    if let Some(since) = start.since {
        place = place.max(find_since(dir, files, since)?);
    }
    if let Some(lines) = start.lines {
        place = place.max(find_lines(dir, files, lines)?);
    }
    Ok(place)
}

fn find_lines(dir: &LogDir, files: &[Listed], lines: u64) -> io::Result<Place> {
    let end = files.last().map_or(0, |file| file.size_bytes);
    let mut wanted = lines;
    if wanted == 0 {
        return Ok(Place { file: files.len().saturating_sub(1), offset: end });
    }
    let mut is_last_byte = true;
    let mut block = vec![0; BLOCK];
    for (index, listed) in files.iter().enumerate().rev() {
        let Some(file) = dir.open(listed)? else { continue };
        let mut at = listed.size_bytes;
        while at > 0 {
            let from = at.saturating_sub(BLOCK as u64);
            let part = usize::try_from(at - from).map_or(&mut [][..], |size| &mut block[..size]);
            if !read_whole(&file, part, from)? {
                break; // Truncated meanwhile: what is left of it is read from its start.
            }
            for (offset, byte) in part.iter().enumerate().rev() {
                // The newline at the very end closes the last line, it begins none.
                if *byte == b'\n' && !is_last_byte {
                    wanted -= 1;
                    if wanted == 0 {
                        return Ok(Place { file: index, offset: from + offset as u64 + 1 });
                    }
                }
                is_last_byte = false;
            }
            at = from;
        }
    }
    Ok(Place { file: 0, offset: 0 })
}

fn find_since(dir: &LogDir, files: &[Listed], since: u64) -> io::Result<Place> {
    // A file last written before that moment holds nothing of interest.
    let Some(index) = files.iter().position(|file| file.modified >= since) else {
        let end = files.last().map_or(0, |file| file.size_bytes);
        return Ok(Place { file: files.len().saturating_sub(1), offset: end });
    };
    let listed = &files[index];
    let hinted = hint(&listed.index(), since).filter(|offset| *offset > 0 && *offset <= listed.size_bytes);
    let offset = match (hinted, dir.open(listed)?) {
        (Some(hinted), Some(file)) => line_start(&file, hinted)?,
        (_, _) => 0,
    };
    Ok(Place { file: index, offset })
}

/// The offset that was reached by `since`. Whatever is wrong with the hints, there is just none.
fn hint(index: &Path, since: u64) -> Option<u64> {
    let mut bytes = Vec::new();
    // 64 KiB hold the hints of a file of any sensible size; a broken index must not cost memory.
    File::open(index).ok()?.take(16 << 20).read_to_end(&mut bytes).ok()?;
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    let mut reached = None;
    for hint in bytes.chunks_exact(HINT_BYTES) {
        let (time, offset) = (number(&hint[..8])?, number(&hint[8..])?);
        if time > since {
            break;
        }
        reached = Some(offset);
    }
    reached
}

/// The first line start at or after `offset`; `offset` itself where a line is too long to look for its end.
fn line_start(file: &File, offset: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut at = offset - 1; // A line that ends right before `offset` begins at it.
    while at < offset.saturating_add(MOST_TO_LINE_END) {
        let got = file.read_at(&mut block, at)?;
        if got == 0 {
            return Ok(offset);
        }
        if let Some(found) = block[..got].iter().position(|byte| *byte == b'\n') {
            return Ok(at + found as u64 + 1);
        }
        at += got as u64;
    }
    Ok(offset)
}

fn read_whole(file: &File, part: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(part, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
