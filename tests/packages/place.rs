//! Where packages are made, and places to install them to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub(crate) struct Packages {
    pub(crate) deb: PathBuf,
    pub(crate) rpm: PathBuf,
}

/// Made once for all tests of a run. `None` where nobody may install them.
pub(crate) fn packages() -> Option<&'static Packages> {
    static MADE: OnceLock<Packages> = OnceLock::new();
    is_root().then(|| MADE.get_or_init(make))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn make() -> Packages {
    succeed(Command::new("packaging/build").args(["--binary", env!("CARGO_BIN_EXE_mcsup")]));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages");
    let find = |end: &str| {
        let files = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let mut files = files.filter(|path| path.extension().is_some_and(|extension| extension == end));
        files.next().unwrap()
    };
    Packages { deb: find("deb"), rpm: find("rpm") }
}

/// An empty directory of the test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("packages-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}{complained}", output.status);
    said + &complained
}

#[track_caller]
pub(crate) fn succeed(command: &mut Command) {
    drop(output(command));
}

/// What it finds within a minute.
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::yield_now();
    }
    None
}
