//! The last lines of a unit's log, read from the end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::aside::files::if_there;
use crate::aside::logs;
use crate::incident::evidence::LogTail;

const MOST_LINES: usize = 200;
const MOST_BYTES: u64 = 64 * 1024;
/// A line longer than this is cut: it is a dump and not a sentence.
const MOST_LINE_BYTES: usize = 4 * 1024;

/// The end of `dir/current`, and of what was set aside before it when that is short. `from`: where in `current`
/// the run began.
///
/// # Errors
/// When the log is there and cannot be read. No log at all is an empty one.
pub(super) fn read(dir: &Path, from: Option<u64>) -> io::Result<LogTail> {
    let mut tail = LogTail::default();
    let mut room = MOST_BYTES;
    for (number, path) in logs::list(dir)?.into_iter().rev() {
        // Rotated away meanwhile.
        let Some(file) = if_there(File::open(&path))? else { continue };
        let size = file.metadata()?.len();
        let (start, lines) = last_lines(&file, size, room)?;
        if number == logs::CURRENT {
            // A log that is shorter than where the run began was cut since.
            tail.of_run = from.filter(|from| *from <= size).map(|from| lines_after(&lines, from));
        }
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
    tail.of_run = tail.of_run.map(|count| count.min(tail.lines.len()));
    Ok(tail)
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

fn lines_after(lines: &[(u64, String)], from: u64) -> usize {
    lines.iter().filter(|(at, _)| *at >= from).count()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

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

    #[test]
    fn a_short_current_is_preceded_by_what_was_set_aside() {
        let files =
            [("9", "a\nb\n"), ("10", "c\n"), ("10.index", "x\n"), ("current", "d\ne"), ("notes.txt", "y\n")];
        let dir = Dir::new("rotated", &files);
        let tail = read(&dir.0, Some(2)).unwrap();
        assert_eq!(tail.lines, ["a", "b", "c", "d", "e"]);
        assert_eq!((tail.of_run, tail.is_cut), (Some(1), false));
        assert_eq!(tail.own_lines(), ["e"]);
        assert_eq!(read(&dir.0, Some(99)).unwrap().of_run, None, "cut since the run began");
    }

    #[test]
    fn two_hundred_lines_or_sixty_four_kibibytes_are_the_end_of_it() {
        let many: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        let dir = Dir::new("many", &[("current", &many)]);
        let tail = read(&dir.0, None).unwrap();
        assert_eq!((tail.lines.len(), tail.lines[0].as_str(), tail.is_cut), (200, "line 800", true));
        let long = format!("{}\n", "x".repeat(1000)).repeat(100);
        let dir = Dir::new("long", &[("current", &long)]);
        let tail = read(&dir.0, None).unwrap();
        assert_eq!((tail.lines.len(), tail.is_cut), (65, true));
        assert!(tail.lines.iter().all(|line| line.len() == 1000), "no half line");
        let one = "y".repeat(200_000);
        let dir = Dir::new("one", &[("current", &one)]);
        assert_eq!(read(&dir.0, None).unwrap().lines, ["y".repeat(MOST_LINE_BYTES)]);
    }

    #[test]
    fn no_log_is_an_empty_one_and_bytes_that_are_no_text_are_shown() {
        assert_eq!(read(Path::new("/no/such/log"), Some(1)).unwrap(), LogTail::default());
        let dir = Dir::new("bytes", &[]);
        fs::write(dir.0.join("current"), b"caf\xe9\r\n\n").unwrap();
        assert_eq!(read(&dir.0, None).unwrap().lines, ["caf\u{fffd}", ""]);
    }
}
