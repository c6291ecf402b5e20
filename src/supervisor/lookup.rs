//! What a launch needs to know from the machine: people, programs, env_files. All of it may hang
//! (a directory service, a dead file server), so it is asked on a worker and kept for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, Gid, Group, Uid, User};

use crate::aside::files;
use crate::engine::event::{SpawnFailure, SpawnStep};
use crate::engine::id::UnitId;
use crate::engine::time::Timestamp;
use crate::keeper::wire::{Credentials, LogPlace};
use crate::log::files::LogDir;
use crate::supervisor::listeners::{self, Sockets};
use crate::unit::spec::UnitSpec;
use crate::unit::spec::confinement::{Confinement, Credential};

/// Who a unit runs as: the key of a lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) user: Option<Box<str>>,
    pub(crate) group: Option<Box<str>>,
    pub(crate) supplementary: Vec<Box<str>>,
}

/// What the machine says about a `Who`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Person {
    /// `None`: the run keeps mcsup's own.
    pub(crate) credentials: Option<Credentials>,
    /// HOME, USER, LOGNAME and SHELL, as far as known.
    pub(crate) env: Vec<(&'static str, Vec<u8>)>,
}

/// Answers of the machine; either from the cache, or by really asking.
pub(crate) trait Lookup {
    fn person(&mut self, who: &Who) -> Result<Person, Miss>;
    /// The file that a program's bare name means on this PATH.
    fn program(&mut self, path: &[u8], name: &[u8]) -> Result<Vec<u8>, Miss>;
    fn env_file(&mut self, file: &Path) -> Result<Vec<(String, Vec<u8>)>, Miss>;
    /// Opens the unit's sockets, unless they are.
    fn sockets(&mut self, unit: UnitId, spec: &UnitSpec) -> Result<(), Miss>;
    /// Whether its credentials and writable places are there; says which is not.
    fn confinement(&mut self, units_dir: &Path, confinement: &Confinement) -> Result<(), Miss>;
    /// Where the unit's log ends.
    fn log_place(&mut self, log_dir: &Path, unit: &str) -> Result<LogPlace, Miss>;
}

/// An answer that is not there; one worker's may serve many launches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Missing {
    Person(Who),
    /// On this PATH, of this name.
    Program(Vec<u8>, Vec<u8>),
    /// Read anew for each launch, so no other's answer helps.
    EnvFile,
    /// Of one unit alone.
    Sockets,
    /// As with `EnvFile`.
    LogPlace,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Only a worker may ask for this.
    NotCached(Missing),
    Failed(SpawnFailure),
}

impl Miss {
    pub(crate) fn failed(step: SpawnStep, errno: i32, cause: String) -> Self {
        Self::Failed(SpawnFailure { step, errno, cause: cause.into() })
    }
}

/// An answer and when it was given.
type Answer<T> = (Timestamp, T);

/// A program by PATH and name.
type Sought = (Vec<u8>, Vec<u8>);

/// What workers found, each answer with its age.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    people: BTreeMap<Who, Answer<Person>>,
    programs: BTreeMap<Sought, Answer<Vec<u8>>>,
    /// Those that are open; duplicates of what the keeper holds.
    pub(crate) sockets: BTreeMap<UnitId, Sockets>,
}

impl Cache {
    /// Whom its answers may serve.
    pub(crate) fn answers(&self) -> Vec<Missing> {
        let people = self.people.keys().cloned().map(Missing::Person);
        let programs = self.programs.keys().cloned().map(|(path, name)| Missing::Program(path, name));
        people.chain(programs).collect()
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        self.people.extend(other.people);
        self.programs.extend(other.programs);
        self.sockets.extend(other.sockets);
    }

    pub(crate) fn at(&self, now: Timestamp) -> Cached<'_> {
        Cached { cache: self, now }
    }

    /// An exec failed: whatever was known about programs may be why.
    pub(crate) fn forget_programs(&mut self) {
        self.programs.clear();
    }
}

/// The cache at one instant: what is older than `KEPT` is not there any more.
pub(crate) struct Cached<'a> {
    cache: &'a Cache,
    now: Timestamp,
}

impl Cached<'_> {
    fn fresh<T: Clone>(
        &self,
        entry: Option<&(Timestamp, T)>,
        missing: impl FnOnce() -> Missing,
    ) -> Result<T, Miss> {
        match entry {
            Some((at, value)) if self.now.since(*at) < KEPT => Ok(value.clone()),
            Some(_) | None => Err(Miss::NotCached(missing())),
        }
    }
}

impl Lookup for Cached<'_> {
    fn person(&mut self, who: &Who) -> Result<Person, Miss> {
        self.fresh(self.cache.people.get(who), || Missing::Person(who.clone()))
    }

    fn program(&mut self, path: &[u8], name: &[u8]) -> Result<Vec<u8>, Miss> {
        let sought = (path.to_vec(), name.to_vec());
        let found = self.cache.programs.get(&sought);
        self.fresh(found, || Missing::Program(path.to_vec(), name.to_vec()))
    }

    fn env_file(&mut self, _file: &Path) -> Result<Vec<(String, Vec<u8>)>, Miss> {
        Err(Miss::NotCached(Missing::EnvFile))
    }

    fn sockets(&mut self, unit: UnitId, _spec: &UnitSpec) -> Result<(), Miss> {
        let is_open = self.cache.sockets.contains_key(&unit);
        is_open.then_some(()).ok_or(Miss::NotCached(Missing::Sockets))
    }

    fn confinement(&mut self, _units_dir: &Path, confinement: &Confinement) -> Result<(), Miss> {
        let needs_nothing = confinement.credentials.is_empty() && confinement.writable.is_empty();
        needs_nothing.then_some(()).ok_or(Miss::NotCached(Missing::EnvFile))
    }

    fn log_place(&mut self, _log_dir: &Path, _unit: &str) -> Result<LogPlace, Miss> {
        Err(Miss::NotCached(Missing::LogPlace))
    }
}

/// Asks the machine and keeps what it said. Only on a worker: any of it may block.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) learnt: Cache,
    /// Units whose sockets are open.
    pub(crate) open: BTreeSet<UnitId>,
    pub(crate) now: Timestamp,
}

impl Lookup for Asking {
    fn person(&mut self, who: &Who) -> Result<Person, Miss> {
        let person = ask_person(who)?;
        self.learnt.people.insert(who.clone(), (self.now, person.clone()));
        Ok(person)
    }

    fn program(&mut self, path: &[u8], name: &[u8]) -> Result<Vec<u8>, Miss> {
        let found = ask_program(path, name)?;
        self.learnt.programs.insert((path.to_vec(), name.to_vec()), (self.now, found.clone()));
        Ok(found)
    }

    fn env_file(&mut self, file: &Path) -> Result<Vec<(String, Vec<u8>)>, Miss> {
        let failed = |errno, cause: String| {
            Miss::failed(SpawnStep::Expand, errno, format!("env_file {}: {cause}", file.display()))
        };
        let read = files::whole(file, ENV_FILE_MAX_BYTES);
        let bytes = read.map_err(|error| failed(error.raw_os_error().unwrap_or(0), error.to_string()))?;
        parse_env_file(&bytes).map_err(|line| failed(0, format!("line {line}: expected NAME=value")))
    }

    fn confinement(&mut self, units_dir: &Path, confinement: &Confinement) -> Result<(), Miss> {
        let failed = |step, path: &Path, error: &std::io::Error| {
            let cause = format!("{}: {error}", path.display());
            Miss::failed(step, error.raw_os_error().unwrap_or(0), cause)
        };
        for Credential { name, path } in &confinement.credentials {
            let path = units_dir.join(path.as_ref());
            let found =
                std::fs::metadata(&path).map_err(|error| failed(SpawnStep::Credentials, &path, &error))?;
            if !found.is_file() {
                let cause = format!("{name}: {} is no file", path.display());
                return Err(Miss::failed(SpawnStep::Credentials, libc::EINVAL, cause));
            }
        }
        for path in confinement.writable.iter().map(|path| Path::new(path.as_ref())) {
            std::fs::metadata(path).map_err(|error| failed(SpawnStep::ReadOnly, path, &error))?;
        }
        Ok(())
    }

    fn sockets(&mut self, unit: UnitId, spec: &UnitSpec) -> Result<(), Miss> {
        if !self.open.contains(&unit) {
            let sockets = listeners::open_all(spec).map_err(Miss::Failed)?;
            self.learnt.sockets.insert(unit, sockets);
        }
        Ok(())
    }

    fn log_place(&mut self, log_dir: &Path, unit: &str) -> Result<LogPlace, Miss> {
        let newest = LogDir::new(log_dir, unit).list().ok().and_then(|mut files| files.pop());
        Ok(newest.map_or_else(LogPlace::default, |newest| {
            let (inode, born) = newest.id.numbers();
            LogPlace { inode, born, offset: newest.size_bytes }
        }))
    }
}

fn ask_person(who: &Who) -> Result<Person, Miss> {
    let own = Uid::effective();
    let user = match &who.user {
        Some(name) => Some(find_user(name)?),
        // Nobody in the passwd file is a fine place to run; there is only less to say about it.
        None => User::from_uid(own).ok().flatten(),
    };
    let mut env = Vec::new();
    if let Some(user) = &user {
        env.push(("HOME", user.dir.as_os_str().as_bytes().to_vec()));
        env.push(("USER", user.name.as_bytes().to_vec()));
        env.push(("LOGNAME", user.name.as_bytes().to_vec()));
        env.push(("SHELL", user.shell.as_os_str().as_bytes().to_vec()));
    }
    if *who == Who::default() {
        return Ok(Person { credentials: None, env });
    }
    let group = who.group.as_deref().map(find_group).transpose()?;
    let uid = user.as_ref().map_or(own, |user| user.uid);
    let gid = match (&group, &user) {
        (Some(group), _) => *group,
        (None, Some(user)) => user.gid,
        (None, None) => Gid::effective(),
    };
    let mut groups: Vec<u32> = user.as_ref().map(|user| groups_of(user, gid)).unwrap_or_default();
    for name in &who.supplementary {
        groups.push(find_group(name)?.as_raw());
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(Person { credentials: Some(Credentials { uid: uid.as_raw(), gid: gid.as_raw(), groups }), env })
}

/// By name, or by number as written in the unit.
fn find_user(name: &str) -> Result<User, Miss> {
    let failed = |errno: i32, cause: String| Miss::failed(SpawnStep::Lookup, errno, cause);
    let asked = match name.parse::<u32>() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(name),
    };
    match asked {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(failed(0, format!("no such user: {name}"))),
        Err(errno) => Err(failed(raw(errno), format!("user {name}: {}", errno.desc()))),
    }
}

fn find_group(name: &str) -> Result<Gid, Miss> {
    let failed = |errno: i32, cause: String| Miss::failed(SpawnStep::Lookup, errno, cause);
    if let Ok(gid) = name.parse::<u32>() {
        return Ok(Gid::from_raw(gid));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(failed(0, format!("no such group: {name}"))),
        Err(errno) => Err(failed(raw(errno), format!("group {name}: {}", errno.desc()))),
    }
}

fn groups_of(user: &User, gid: Gid) -> Vec<u32> {
    let Ok(name) = CString::new(user.name.as_str()) else { return vec![gid.as_raw()] };
    match nix::unistd::getgrouplist(&name, gid) {
        Ok(groups) => groups.into_iter().map(Gid::as_raw).collect(),
        Err(_) => vec![gid.as_raw()],
    }
}

fn ask_program(path: &[u8], name: &[u8]) -> Result<Vec<u8>, Miss> {
    let shown = String::from_utf8_lossy(name);
    let failed = |errno: i32, cause: String| Miss::failed(SpawnStep::Lookup, errno, cause);
    let mut forbidden = None;
    for dir in path.split(|byte| *byte == b':').filter(|dir| dir.first() == Some(&b'/')) {
        let file = PathBuf::from(OsStr::from_bytes(dir)).join(OsStr::from_bytes(name));
        if !file.is_file() {
            continue;
        }
        // Whether *this* user may is for exec to say; here counts that anyone may.
        match nix::unistd::access(&file, AccessFlags::X_OK) {
            Ok(()) => return Ok(file.into_os_string().into_encoded_bytes()),
            Err(errno) => forbidden = Some((errno, file)),
        }
    }
    match forbidden {
        Some((errno, file)) => Err(failed(raw(errno), format!("{}: {}", file.display(), errno.desc()))),
        None => {
            Err(failed(libc::ENOENT, format!("no program {shown} in PATH {}", String::from_utf8_lossy(path))))
        }
    }
}

/// Lines of `NAME=value`; `#` and blank lines are skipped, one pair of quotes around a value is taken off.
/// The error is the number of the line that is none of these.
fn parse_env_file(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, usize> {
    let mut pairs = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let line = line.strip_prefix(b"export ").unwrap_or(line);
        let bad = at.saturating_add(1);
        let split = line.iter().position(|byte| *byte == b'=').ok_or(bad)?;
        let (name, value) = line.split_at(split);
        let name = std::str::from_utf8(name.trim_ascii()).ok().filter(|name| is_name(name)).ok_or(bad)?;
        pairs.push((name.to_owned(), unquoted(value.get(1..).unwrap_or_default().trim_ascii()).to_vec()));
    }
    Ok(pairs)
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        whole => whole,
    }
}

#[expect(clippy::as_conversions, reason = "the numbers of a C enum; nix offers no other way")]
fn raw(errno: nix::errno::Errno) -> i32 {
    errno as i32
}

/// Long enough for a burst of starts to ask once, short enough that an upgraded program or a changed
/// user counts at the next restart by hand.
const KEPT: Duration = Duration::from_secs(10);
const ENV_FILE_MAX_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_gives_its_pairs_and_names_a_bad_line() {
        let text = b"# comment\n\nA=1\nexport B=\"two words\"\n C = 'x' \r\nD=a=b\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        assert_eq!(
            parse_env_file(text),
            Ok(vec![pair("A", "1"), pair("B", "two words"), pair("C", "x"), pair("D", "a=b")])
        );
        assert_eq!(parse_env_file(b"A=1\nnot a pair\n"), Err(2));
        assert_eq!(parse_env_file(b"1A=1"), Err(1));
    }

    #[test]
    fn an_env_file_that_is_a_device_is_refused_before_it_fills_the_memory() {
        let mut asking = Asking { learnt: Cache::default(), open: BTreeSet::new(), now: Timestamp(0) };
        for device in ["/dev/null", "/dev/zero"] {
            let Err(Miss::Failed(failure)) = asking.env_file(Path::new(device)) else { panic!("{device}") };
            let cause = format!("env_file {device}: it is not a regular file");
            assert_eq!((failure.step, &*failure.cause), (SpawnStep::Expand, &*cause));
        }
    }

    #[test]
    fn a_bare_name_is_found_on_the_path_and_relative_entries_are_not_searched() {
        assert!(ask_program(b"/nowhere:/bin:/usr/bin", b"sh").is_ok_and(|file| file.ends_with(b"/sh")));
        let Err(Miss::Failed(failure)) = ask_program(b".:bin", b"sh") else { panic!("found in .") };
        assert_eq!((failure.step, failure.errno), (SpawnStep::Lookup, libc::ENOENT));
    }

    #[test]
    fn an_unknown_user_is_a_failed_lookup_that_names_it() {
        let who = Who { user: Some("no-such-user".into()), ..Who::default() };
        let Err(Miss::Failed(failure)) = ask_person(&who) else { panic!("found") };
        assert_eq!(failure.step, SpawnStep::Lookup);
        assert!(failure.cause.contains("no-such-user"));
    }

    #[test]
    fn an_answer_is_kept_for_a_while_and_then_asked_again() {
        let mut asking = Asking { learnt: Cache::default(), open: BTreeSet::new(), now: Timestamp(0) };
        asking.person(&Who::default()).unwrap();
        let cache = asking.learnt;
        assert!(cache.at(Timestamp(1)).person(&Who::default()).is_ok());
        let later = Timestamp(0).after(KEPT);
        assert_eq!(
            cache.at(later).person(&Who::default()),
            Err(Miss::NotCached(Missing::Person(Who::default())))
        );
    }
}
