//! What is mounted, as the kernel lists it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// All that holds what somebody wrote, the last one mounted first.
pub(super) fn to_unmount() -> Vec<PathBuf> {
    listed(&fs::read("/proc/self/mountinfo").unwrap_or_default())
}

/// The kernel's own trees: they hold nothing that is to be kept, and the last programs need them.
const KERNELS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

fn listed(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let places = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescaped);
    let is_ours = |place: &PathBuf| {
        place != Path::new("/") && !KERNELS.iter().any(|kernels| place.starts_with(kernels))
    };
    let mut places: Vec<PathBuf> = places.filter(is_ours).collect();
    places.reverse();
    places
}

/// Blanks and what else would break the table stand there as `\040`.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mounted_last_goes_first_and_the_kernels_own_stays() {
        let table = b"21 1 0:20 / /proc rw - proc proc rw\n\
                      22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      23 22 8:2 / /srv rw shared:1 - ext4 /dev/sda2 rw\n\
                      24 23 8:3 / /srv/with\\040blank rw - ext4 /dev/sda3 rw\n\
                      25 22 0:9 / /run/user/0 rw - tmpfs tmpfs rw\n\
                      26 22 0:8 / /runs rw - tmpfs tmpfs rw\n";
        assert_eq!(listed(table), ["/runs", "/srv/with blank", "/srv"].map(PathBuf::from));
    }
}
