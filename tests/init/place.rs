//! Places to be process 1 in, and programs to be it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `unshare` with these namespaces besides the one of processes, about to run what is added to it as process 1.
#[expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
pub(crate) fn namespaces(more: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() && !more.contains(&"--user") {
        command.arg("--map-root-user");
    }
    // Whoever ends the test ends all of it.
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).args(more);
    command
}

/// An empty directory of one test, gone with the value unless the test fails.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("init-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.0));
        }
    }
}

/// What C says, as a program.
#[expect(clippy::disallowed_methods, reason = "a compiler")]
pub(crate) fn compiled(source: &str, to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let words: [&OsStr; 5] = ["-O2".as_ref(), "-Wall".as_ref(), "-o".as_ref(), to.as_ref(), source.as_ref()];
    let made = Command::new("cc").args(words).status().expect("cc");
    assert!(made.success(), "cc {}: {made}", source.display());
}
