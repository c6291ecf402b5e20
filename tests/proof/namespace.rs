//! An instance with mounts of its own: a small disk, or no /proc.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::instance::Instance;

/// Runs `mounts` (shell) where they are seen by nobody else, and then `mcsup up`.
///
/// Root needs a mount namespace only; others get a user namespace with it, where the machine allows that.
#[expect(clippy::disallowed_methods, reason = "a shell mounts, and becomes mcsup")]
pub(crate) fn up_with_mounts(instance: &mut Instance, mounts: &str) {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["--mount", "sh", "-ec", &format!("{mounts}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_mcsup"))
        .env("MCSUP_HOME", &instance.dir);
    instance.up_by(&mut command);
}

/// A path of the instance as the instance itself sees it.
pub(crate) fn inside(instance: &Instance, path: &str) -> PathBuf {
    let seen = instance.path(path);
    let seen = seen.strip_prefix("/").unwrap_or(&seen);
    Path::new(&format!("/proc/{}/root", instance.keeper())).join(seen)
}
