//! The last lines of a unit's log, read from the end.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::aside::files::if_there;
use crate::aside::logs;
use crate::incident::capture::LogPoint;
use crate::incident::evidence::LogTail;

const MOST_LINES: usize = 200;
const MOST_BYTES: u64 = 64 * 1024;
/// A line longer than this is cut: it is a dump and not a sentence.
const MOST_LINE_BYTES: usize = 4 * 1024;

/// The end of the log at `until`, out of `dir/current` and of what was set aside before it when that is short.
/// `from`: where the run began.
///
/// # Errors
/// When the log is there and cannot be read. No log at all is an empty one.
pub(super) fn read(dir: &Path, from: Option<LogPoint>, until: Option<LogPoint>) -> io::Result<LogTail> {
    let mut tail = LogTail::default();
    let mut own = Own::new(from, until);
    let mut room = MOST_BYTES;
    let mut files = logs::list(dir)?.into_iter().rev().map(|(_, path)| path);
    let newest = up_to(&mut files, until)?;
    let older = files.map(|path| opened(&path)).filter_map(Result::transpose);
    for file in newest.into_iter().map(Ok).chain(older) {
        let (file, size) = file?;
        let (start, lines) = last_lines(&file, size, room)?;
        own.count(file.metadata()?.ino(), size, &lines);
        room = room.saturating_sub(size.saturating_sub(start));
        let mut lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
        lines.append(&mut tail.lines);
        tail.lines = lines;
        tail.is_cut |= start > 0;
        if tail.lines.len() > MOST_LINES {
            tail.is_cut = true;
            tail.lines.drain(..tail.lines.len() - MOST_LINES);
        }
        if tail.is_cut || tail.lines.len() == MOST_LINES || room == 0 {
            break;
        }
    }
    tail.of_run = own.lines.map(|count| count.min(tail.lines.len()));
    Ok(tail)
}

/// Takes files down to the one that `until` is in, which ends there: what stands behind it is not the run's. All of
/// them where it is gone.
fn up_to(files: &mut impl Iterator<Item = PathBuf>, until: Option<LogPoint>) -> io::Result<Vec<(File, u64)>> {
    let mut newest = Vec::new();
    let Some(until) = until.filter(|until| until.inode != 0) else { return Ok(newest) };
    for path in files {
        let Some((file, size)) = opened(&path)? else { continue };
        if file.metadata()?.ino() == until.inode {
            return Ok(vec![(file, size.min(until.offset))]);
        }
        newest.push((file, size));
    }
    Ok(newest)
}

/// With its size. `None`: rotated away meanwhile.
fn opened(path: &Path) -> io::Result<Option<(File, u64)>> {
    let Some(file) = if_there(File::open(path))? else { return Ok(None) };
    let size = file.metadata()?.len();
    Ok(Some((file, size)))
}

/// Counts the lines of one run, from the newest file to the oldest.
struct Own {
    from: Option<LogPoint>,
    is_begun: bool,
    /// `None`: nobody can tell.
    lines: Option<usize>,
}

impl Own {
    fn new(from: Option<LogPoint>, until: Option<LogPoint>) -> Self {
        let is_silent = until.is_some_and(|until| until.inode == 0);
        let lines = (is_silent || from.is_some()).then_some(0);
        Self { from, is_begun: is_silent, lines }
    }

    fn count(&mut self, inode: u64, size: u64, lines: &[(u64, String)]) {
        let (Some(count), Some(from), false) = (&mut self.lines, self.from, self.is_begun) else { return };
        if from.inode != inode {
            *count += lines.len();
        } else if from.offset <= size {
            *count += lines.iter().filter(|(at, _)| *at >= from.offset).count();
            self.is_begun = true;
        } else {
            // A log that is shorter than where the run began was cut since.
            self.lines = None;
        }
    }
}

/// Where the reading began, and the whole lines from there, each with where it starts.
fn last_lines(file: &File, size: u64, room: u64) -> io::Result<(u64, Vec<(u64, String)>)> {
    let start = size.saturating_sub(room);
    let mut bytes = vec![0; usize::try_from(size - start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    let mut lines = Vec::new();
    let mut at = start;
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        // What the reading began in the middle of is no line, unless there is nothing else.
        let is_half = at == start && start > 0 && piece.len() < bytes.len();
        if !is_half {
            let end = piece.len().min(MOST_LINE_BYTES);
            let text = String::from_utf8_lossy(&piece[..end]);
            lines.push((at, text.trim_end_matches(['\n', '\r']).to_owned()));
        }
        at = at.saturating_add(piece.len() as u64);
    }
    Ok((start, lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("mcsup-tail-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            for (name, text) in files {
                fs::write(path.join(name), text).unwrap();
            }
            Self(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn point(dir: &Dir, name: &str, offset: u64) -> Option<LogPoint> {
        Some(LogPoint { inode: fs::metadata(dir.0.join(name)).unwrap().ino(), offset })
    }

    #[test]
    fn a_short_current_is_preceded_by_what_was_set_aside() {
        let files =
            [("9", "a\nb\n"), ("10", "c\n"), ("10.index", "x\n"), ("current", "d\ne"), ("notes.txt", "y\n")];
        let dir = Dir::new("rotated", &files);
        let tail = read(&dir.0, point(&dir, "current", 2), None).unwrap();
        assert_eq!(tail.lines, ["a", "b", "c", "d", "e"]);
        assert_eq!((tail.of_run, tail.is_cut), (Some(1), false));
        assert_eq!(tail.own_lines(), ["e"]);
        let since_9 = read(&dir.0, point(&dir, "9", 2), None).unwrap();
        assert_eq!(since_9.own_lines(), ["b", "c", "d", "e"], "whatever was set aside since");
        let cut = read(&dir.0, point(&dir, "current", 99), None).unwrap();
        assert_eq!(cut.of_run, None, "cut since the run began");
    }

    #[test]
    fn what_a_later_run_wrote_is_no_word_of_this_one() {
        let files = [("3", "before\nmine\nlater\n"), ("current", "much later\n")];
        let dir = Dir::new("later", &files);
        let (from, until) = (point(&dir, "3", 7), point(&dir, "3", 12));
        let tail = read(&dir.0, from, until).unwrap();
        assert_eq!(tail.lines, ["before", "mine"]);
        assert_eq!(tail.own_lines(), ["mine"]);
        let silent = read(&dir.0, None, Some(LogPoint { inode: 0, offset: 0 })).unwrap();
        assert_eq!((silent.lines.len(), silent.of_run), (4, Some(0)), "it wrote nothing");
        let gone = read(&dir.0, None, Some(LogPoint { inode: u64::MAX, offset: 9 })).unwrap();
        assert_eq!((gone.lines.len(), gone.of_run), (4, None));
    }

    #[test]
    fn two_hundred_lines_or_sixty_four_kibibytes_are_the_end_of_it() {
        let many: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        let dir = Dir::new("many", &[("current", &many)]);
        let tail = read(&dir.0, None, None).unwrap();
        assert_eq!((tail.lines.len(), tail.lines[0].as_str(), tail.is_cut), (200, "line 800", true));
        let long = format!("{}\n", "x".repeat(1000)).repeat(100);
        let dir = Dir::new("long", &[("current", &long)]);
        let tail = read(&dir.0, None, None).unwrap();
        assert_eq!((tail.lines.len(), tail.is_cut), (65, true));
        assert!(tail.lines.iter().all(|line| line.len() == 1000), "no half line");
        let one = "y".repeat(200_000);
        let dir = Dir::new("one", &[("current", &one)]);
        assert_eq!(read(&dir.0, None, None).unwrap().lines, ["y".repeat(MOST_LINE_BYTES)]);
    }

    #[test]
    fn no_log_is_an_empty_one_and_bytes_that_are_no_text_are_shown() {
        let none = read(Path::new("/no/such/log"), None, None).unwrap();
        assert_eq!(none, LogTail::default());
        let dir = Dir::new("bytes", &[]);
        fs::write(dir.0.join("current"), b"caf\xe9\r\n\n").unwrap();
        assert_eq!(read(&dir.0, None, None).unwrap().lines, ["caf\u{fffd}", ""]);
    }
}
