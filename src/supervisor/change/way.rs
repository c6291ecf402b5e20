//! Where a path leads, and which directories decide that.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::supervisor::ears::Interest;

/// Directories to watch, each for what counts of it. None stands twice under one real path.
pub(super) type Wanted = BTreeMap<PathBuf, Interest>;

/// Adds what decides where the directory `path` leads and what is in it; its real path, if it is there.
pub(super) fn to_directory(path: &Path, wanted: &mut Wanted) -> Option<PathBuf> {
    let end = follow(path, wanted).filter(|end| end.is_dir())?;
    want(wanted, &end, Interest::contents());
    Some(end)
}

/// The same of a file, and of what is written into it.
pub(super) fn to_file(path: &Path, wanted: &mut Wanted) {
    let Some(end) = follow(path, wanted) else { return };
    if let (Some(dir), Some(name)) = (end.parent(), end.file_name()) {
        want(wanted, dir, Interest::file(name));
    }
}

/// Every link on the way can be another one tomorrow, every directory can be moved away, and what is missing
/// can come.
fn follow(path: &Path, wanted: &mut Wanted) -> Option<PathBuf> {
    let mut at = PathBuf::from("/");
    let mut rest = VecDeque::new();
    go_on_with(path, &mut at, &mut rest);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == *".." {
            at.pop();
            continue;
        }
        let here = at.join(&name);
        // Missing, or in a directory that we may not look into.
        let Ok(found) = fs::symlink_metadata(&here) else {
            want(wanted, &at, Interest::entry(&name));
            return None;
        };
        if found.is_symlink() {
            want(wanted, &at, Interest::entry(&name));
            links += 1;
            let target = fs::read_link(&here).ok().filter(|_| links <= MOST_LINKS)?;
            go_on_with(&target, &mut at, &mut rest);
            continue;
        }
        if rest.is_empty() {
            want(wanted, &at, Interest::entry(&name));
        } else if found.is_dir() {
            want(wanted, &here, Interest::itself());
        }
        at = here;
    }
    Some(at)
}

/// The names of `path` come before what is left of the way.
fn go_on_with(path: &Path, at: &mut PathBuf, rest: &mut VecDeque<OsString>) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.to_owned()),
            Component::ParentDir => rest.push_front(OsStr::new("..").to_owned()),
            Component::RootDir => *at = PathBuf::from("/"),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

fn want(wanted: &mut Wanted, dir: &Path, interest: Interest) {
    match wanted.get_mut(dir) {
        Some(known) => known.join(interest),
        None => drop(wanted.insert(dir.to_owned(), interest)),
    }
}

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::supervisor::ears::Depth;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("mcsup-way-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        dir.canonicalize().unwrap()
    }

    /// What is wanted below `dir`: its path, how deep, and which names.
    fn below(dir: &Path, wanted: &Wanted) -> Vec<String> {
        let mut words = Vec::new();
        for (path, interest) in wanted {
            let Ok(path) = path.strip_prefix(dir) else { continue };
            let depth = match interest.depth {
                Depth::Itself => "itself",
                Depth::Entries => "entries",
                Depth::Contents => "contents",
            };
            let names = interest.names.iter().flatten().map(|name| format!(" {}", name.display()));
            words.push(format!("/{}: {depth}{}", path.display(), names.collect::<String>()));
        }
        words
    }

    #[test]
    fn every_link_on_the_way_is_wanted_and_the_end_with_all_that_is_in_it() {
        let dir = scratch("links");
        fs::create_dir_all(dir.join("etc/real/2026")).unwrap();
        symlink("etc/real/..data", dir.join("units")).unwrap();
        symlink("2026", dir.join("etc/real/..data")).unwrap();
        let mut wanted = Wanted::new();
        assert_eq!(to_directory(&dir.join("units"), &mut wanted), Some(dir.join("etc/real/2026")));
        let expected = [
            "/: entries units",
            "/etc: itself",
            "/etc/real: entries ..data 2026",
            "/etc/real/2026: contents",
        ];
        assert_eq!(below(&dir, &wanted), expected);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_missing_is_waited_for_where_it_will_come() {
        let dir = scratch("missing");
        symlink("a/../a/later", dir.join("units")).unwrap();
        fs::create_dir(dir.join("a")).unwrap();
        let mut wanted = Wanted::new();
        assert_eq!(to_directory(&dir.join("units"), &mut wanted), None);
        assert_eq!(below(&dir, &wanted), ["/: entries units", "/a: entries later"]);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_file_is_wanted_by_name_and_links_in_a_circle_end() {
        let dir = scratch("file");
        fs::write(dir.join("real.env"), "A=1").unwrap();
        symlink("real.env", dir.join("web.env")).unwrap();
        symlink("circle", dir.join("circle")).unwrap();
        let mut wanted = Wanted::new();
        to_file(&dir.join("web.env"), &mut wanted);
        to_file(&dir.join("circle"), &mut wanted);
        assert_eq!(below(&dir, &wanted), ["/: contents circle real.env web.env"]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
