//! What processes may use and do, asked from inside: each unit here is a script that tries, and says.
//!
//! For root, as whoever tests what root may do must be.

#[path = "e2e/instance.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod instance;

#[path = "confined/powers.rs"]
mod powers;
#[path = "confined/files.rs"]
mod files;
#[path = "confined/groups.rs"]
mod groups;

use std::fs;
use std::path::Path;

use crate::instance::{Instance, mcsup};

/// What a task with these keys and this script wrote, once it was done.
#[track_caller]
pub(crate) fn said(test: &str, keys: &str, script: &str) -> String {
    let instance = tried(test, keys, script);
    instance.wait("completed", |look| look.is("it", "completed"));
    log_of(&instance)
}

/// Started, and not yet known to be well.
pub(crate) fn tried(test: &str, keys: &str, script: &str) -> Instance {
    // In /var, as some of them have no /tmp, and a user must be able to get here.
    let dir = Path::new("/var/lib").join(format!("mcsup-confined-{}-{test}", std::process::id()));
    let unit = format!("kind: task\ncommand: [sh, /proc/self/fd/0]\n{keys}");
    let mut instance = Instance::at(dir, &[]);
    let path = instance.path("units/script");
    fs::write(&path, script).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let unit = unit.replace("/proc/self/fd/0", &path.display().to_string());
    instance.write("it", &unit);
    instance.up_by(&mut mcsup(&instance.dir));
    instance
}

pub(crate) fn log_of(instance: &Instance) -> String {
    fs::read_to_string(instance.path("log/it/current")).unwrap_or_default()
}
