//! What /proc says of one process, and how a run is named in the environment of all its processes. A leaf,
//! so that both rings, the API and whoever gathers evidence read it the same way: who finds a process again after its ring died
//! must see what the other one saw. Without /proc there is no such process.
#![cfg_attr(
    not(test),
    deny(
        clippy::panic,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// In the environment of everything that is started for a unit; inherited by all that this starts.
pub(crate) const RUN_VARIABLE: &str = "MCSUP_RUN";

/// How its pair begins there.
pub(crate) const RUN_ASSIGNMENT: &[u8] = b"MCSUP_RUN=";

/// Its value.
pub(crate) fn run_tag(unit: &str, ordinal: u32, run: u64) -> String {
    format!("{unit}#{ordinal}:{run}")
}

/// Most of an environment that is searched; the kernel allows a process 2 MiB (execve(2), 1/4 of 8 MiB).
const MOST_ENVIRONMENT_BYTES: usize = 2 << 20;

/// Read in one go. The kernel shows an environment as it was at the beginning of a read, whole; what its
/// process does between two reads cuts it off.
const ENVIRONMENT_READ_BYTES: usize = 128 << 10;

/// What counts of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// As the kernel abbreviates it: `R`, `S`, `D`, `T`, `Z`, ...
    pub(crate) state: char,
    pub(crate) is_zombie: bool,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// In clock ticks since the machine booted.
    pub(crate) start_time: u64,
    /// Of virtual memory; 0 when it has given back all of it, on its way out.
    pub(crate) memory_bytes: u64,
    /// Of these, what is in memory now.
    pub(crate) resident_pages: u64,
    /// As wait(2) would say, once it is a zombie. 0 for those who may not look into it.
    pub(crate) exit_status: Option<i32>,
}

pub(crate) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Of the process or thread whose directory this is, with its name.
pub(crate) fn named_stat(dir: &Path) -> Option<(String, Stat)> {
    let stat = fs::read(dir.join("stat")).ok()?;
    Some((parse_name(&stat)?, parse_stat(&stat)?))
}

fn parse_name(stat: &[u8]) -> Option<String> {
    let (_, rest) = stat.split_at_checked(stat.iter().position(|byte| *byte == b'(')?)?;
    let end = rest.iter().rposition(|byte| *byte == b')')?;
    Some(String::from_utf8_lossy(rest.get(1..end)?).into_owned())
}

/// The name in parentheses may hold anything, so fields count from its end (proc_pid_stat(5)).
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end.saturating_add(1)..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // Field 3, then one after the other.
    let state = fields.next()?.chars().next()?;
    let is_zombie = matches!(state, 'Z' | 'X');
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Fields 22, 23, 24 and the last one, 52.
    let start_time = fields.nth(15)?.parse().ok()?;
    let memory_bytes = fields.next()?.parse().ok()?;
    let resident_pages = fields.next()?.parse().ok()?;
    let exit_status = fields.nth(27).and_then(|status| status.parse().ok());
    Some(Stat {
        state,
        is_zombie,
        parent,
        group,
        session,
        start_time,
        memory_bytes,
        resident_pages,
        exit_status,
    })
}

/// The run that an environment names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamedRun {
    Is(Vec<u8>),
    None,
    /// There is nothing in it, or not its end: it was cleared, or its process is about to become another
    /// program, or is on its way out.
    Empty,
    /// It is longer than what is searched, which names none.
    TooLong,
    /// It may not be seen, or there is no such process.
    Unreadable,
}

/// May hang as long as that process likes.
pub(crate) fn named_run(pid: i32) -> NamedRun {
    named_run_in(Path::new(&format!("/proc/{pid}")))
}

/// Of the process whose directory this is.
pub(crate) fn named_run_in(dir: &Path) -> NamedRun {
    let Ok(file) = File::open(dir.join("environ")) else { return NamedRun::Unreadable };
    let Ok(environment) = environment_in(file) else { return NamedRun::Unreadable };
    let mut pairs = environment.split(|byte| *byte == 0);
    match pairs.find_map(|pair| pair.strip_prefix(RUN_ASSIGNMENT)) {
        Some(run) => NamedRun::Is(run.to_vec()),
        None if environment.len() >= MOST_ENVIRONMENT_BYTES => NamedRun::TooLong,
        None if environment.last() == Some(&0) => NamedRun::None,
        None => NamedRun::Empty,
    }
}

fn environment_in(mut file: File) -> io::Result<Vec<u8>> {
    let mut environment = Vec::new();
    let mut part = vec![0; ENVIRONMENT_READ_BYTES];
    while environment.len() < MOST_ENVIRONMENT_BYTES {
        let length = file.read(&mut part)?;
        let Some(read) = part.get(..length).filter(|read| !read.is_empty()) else { break };
        environment.extend_from_slice(read);
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_and_spaces_shifts_no_field() {
        let line = b"42 (a) b (c) Z 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 4096 55 0\n";
        let expected = Stat {
            state: 'Z',
            is_zombie: true,
            parent: 7,
            group: 8,
            session: 9,
            start_time: 777,
            memory_bytes: 4096,
            resident_pages: 55,
            exit_status: None,
        };
        assert_eq!((parse_name(line), parse_stat(line)), (Some("a) b (c".to_owned()), Some(expected)));
    }

    #[test]
    fn the_last_field_is_how_it_ended() {
        let middle = "0 ".repeat(28);
        let line = format!("42 (a) Z 7 8 9 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 777 0 {middle}256\n");
        assert_eq!(parse_stat(line.as_bytes()).and_then(|stat| stat.exit_status), Some(256));
    }

    #[test]
    fn a_stat_cut_short_is_nobody() {
        assert_eq!(parse_stat(b"42 (a) S 7 8"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the subject of the test; no keeper is at hand")]
    fn a_process_that_becomes_another_program_again_and_again_never_seems_to_name_no_run() {
        const ENDLESSLY: &str = r#"[ "$1" -lt 1500 ] && exec sh -c "$0" "$0" $(($1 + 1))"#;
        let mut child = std::process::Command::new("sh")
            .args(["-c", ENDLESSLY, ENDLESSLY, "0"])
            .env_clear()
            // The shell passes some of these on before ours.
            .envs((30..70).map(|n| (format!("A{n}"), "a value of some length")))
            .env("PATH", "/usr/bin:/bin")
            .env(RUN_VARIABLE, "web#0:7")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut named = 0_u32;
        while child.try_wait().unwrap().is_none() {
            match named_run(pid) {
                NamedRun::Is(run) => {
                    assert_eq!(run, b"web#0:7");
                    named += 1;
                }
                // In between, and before it began or after its end.
                NamedRun::Empty | NamedRun::Unreadable => {}
                other @ (NamedRun::None | NamedRun::TooLong) => panic!("{other:?} after {named} looks"),
            }
        }
        assert!(named > 0);
    }

    #[test]
    fn this_process_is_found_with_its_parent() {
        let me = i32::try_from(std::process::id()).unwrap();
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert_eq!(stat(me).map(|stat| (stat.parent, stat.is_zombie)), Some((parent, false)));
        assert_ne!(named_run(me), NamedRun::Unreadable);
        // Above the largest pid_max that the kernel allows.
        assert_eq!((stat(4_194_305), named_run(4_194_305)), (None, NamedRun::Unreadable));
    }
}
