//! mcsup's own log. Lines gather in memory and a thread of its own writes them in batches, so that
//! neither a slow disk nor a thousand lines at once cost the loop anything but the copy.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;

/// Writes what was logged to the end when it is dropped, also by a panic on its way out.
#[derive(Debug)]
pub(crate) struct OwnLog {
    lines: Lines,
    writer: Option<JoinHandle<()>>,
}

/// The end that `tracing` writes to; whole lines.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    /// Somebody logged while the writer had nothing to do.
    more: Condvar,
    end: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    is_ending: bool,
}

impl OwnLog {
    /// Everything that is logged from here on goes to `path`.
    ///
    /// # Errors
    /// When the file cannot be opened, or there is no thread for it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|meta| meta.len() > MOST_BYTES) {
            // Kept once; a failure means that the old file grows on.
            drop(fs::rename(path, path.with_extension("log.1")));
        }
        let file = RollingFileAppender::builder()
            .rotation(Rotation::NEVER)
            .filename_prefix(path.file_name().unwrap_or_default().to_string_lossy())
            .build(path.parent().unwrap_or_else(|| Path::new(".")))
            .map_err(io::Error::other)?;
        let lines = Lines::default();
        let own = lines.clone();
        let writer = thread::Builder::new()
            .name("own-log".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || own.write_all_to(file))?;
        let log = Self { lines: lines.clone(), writer: Some(writer) };
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines)
            .with_ansi(false)
            .with_target(false)
            .with_max_level(tracing::Level::INFO)
            .finish();
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
        Ok(log)
    }
}

impl Drop for OwnLog {
    fn drop(&mut self) {
        self.lines.lock().is_ending = true;
        self.lines.0.more.notify_one();
        self.lines.0.end.notify_one();
        // A writer that panicked has said so.
        drop(self.writer.take().map(JoinHandle::join));
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer thread. A pause after each batch lets the next one grow, and nobody wakes it meanwhile.
    fn write_all_to(&self, mut file: impl Write) {
        let mut pending = self.lock();
        loop {
            let is_idle = |pending: &mut Pending| pending.bytes.is_empty() && !pending.is_ending;
            pending = self.0.more.wait_while(pending, is_idle).unwrap_or_else(PoisonError::into_inner);
            let (batch, is_ending) = (std::mem::take(&mut pending.bytes), pending.is_ending);
            drop(pending);
            // A disk that takes nothing loses these lines, and nothing else.
            drop(file.write_all(&batch));
            if is_ending {
                return;
            }
            let is_going_on = |pending: &mut Pending| !pending.is_ending;
            let paused = self.0.end.wait_timeout_while(self.lock(), PAUSE, is_going_on);
            pending = paused.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut pending = self.lock();
        if pending.bytes.len().saturating_add(line.len()) <= PENDING_MAX_BYTES {
            let is_first = pending.bytes.is_empty();
            pending.bytes.extend_from_slice(line);
            drop(pending);
            if is_first {
                self.0.more.notify_one();
            }
        }
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
const PAUSE: Duration = Duration::from_millis(20);
const THREAD_STACK_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_was_written_last_is_in_the_file_when_the_log_is_dropped() {
        let path = std::env::temp_dir().join(format!("mcsup-own-log-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        let mut lines = Lines::default();
        let own = lines.clone();
        let writer = thread::spawn(move || own.write_all_to(&file));
        let log = OwnLog { lines: lines.clone(), writer: Some(writer) };
        let all: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        for line in &all {
            lines.write_all(line.as_bytes()).unwrap();
        }
        drop(log);
        assert_eq!(fs::read_to_string(&path).unwrap(), all.concat());
        fs::remove_file(path).unwrap();
    }
}
