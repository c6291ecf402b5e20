//! mcsup's own log. Lines gather in memory and a thread of its own writes them in batches, so that
//! neither a slow disk nor a thousand lines at once cost the loop anything but the copy.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;

use crate::supervisor::sink::Sink;

/// Writes what was logged to the end when it is dropped, also by a panic on its way out.
#[derive(Debug)]
pub(crate) struct OwnLog {
    lines: Lines,
}

/// The end that `tracing` writes to; whole lines.
#[derive(Clone, Debug)]
struct Lines(Arc<Sink>);

impl OwnLog {
    /// Everything that is logged from here on goes to `path`.
    ///
    /// # Errors
    /// When the file cannot be opened, or somebody logs already.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|meta| meta.len() > MOST_BYTES) {
            // Kept once; a failure means that the old file grows on.
            drop(fs::rename(path, path.with_extension("log.1")));
        }
        let mut file = RollingFileAppender::builder()
            .rotation(Rotation::NEVER)
            .filename_prefix(path.file_name().unwrap_or_default().to_string_lossy())
            .build(path.parent().unwrap_or_else(|| Path::new(".")))
            .map_err(io::Error::other)?;
        let log = Self::to(move |bytes| file.write_all(bytes));
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.lines.clone())
            .with_ansi(false)
            .with_target(false)
            .with_max_level(tracing::Level::INFO)
            .finish();
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
        Ok(log)
    }

    /// A disk that takes nothing loses these lines, and nothing else.
    fn to(mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static) -> Self {
        Self { lines: Lines(Arc::new(Sink::new(PENDING_MAX_BYTES, move |batch| write(&batch.bytes)))) }
    }
}

impl Drop for OwnLog {
    fn drop(&mut self) {
        self.lines.0.finish();
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Larger at a start, it is kept as `mcsup.log.1` and a new one begun.
const MOST_BYTES: u64 = 10 * 1024 * 1024;
/// Lines that wait for a slow disk; more are dropped.
const PENDING_MAX_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_was_written_last_is_in_the_file_when_the_log_is_dropped() {
        let path = std::env::temp_dir().join(format!("mcsup-own-log-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let log = OwnLog::to(move |bytes| file.write_all(bytes));
        let mut lines = log.lines.clone();
        let all: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        for line in &all {
            lines.write_all(line.as_bytes()).unwrap();
        }
        drop(log);
        assert_eq!(fs::read_to_string(&path).unwrap(), all.concat());
        fs::remove_file(path).unwrap();
    }
}
