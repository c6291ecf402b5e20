//! Room where the unit and mcsup write.

use std::path::PathBuf;

use crate::incident::capture::missing;
use crate::incident::evidence::{Disk, Missing};

pub(super) fn look(directories: Vec<(String, PathBuf)>) -> (Vec<Disk>, Vec<Missing>) {
    let (mut disks, mut gaps) = (Vec::new(), Vec::new());
    for (what, path) in directories {
        match rustix::fs::statvfs(&path) {
            Ok(found) => disks.push(Disk {
                what,
                path: path.to_string_lossy().into_owned(),
                free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
                total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
                free_files: (found.f_files > 0).then_some(found.f_favail),
            }),
            Err(error) => gaps.push(missing(&format!("disk of {what}"), error)),
        }
    }
    (disks, gaps)
}
