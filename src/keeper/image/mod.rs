//! The image: all that a keeper knows and holds, as the executable that takes its place is given it.
//!
//! It stands in a memfd whose descriptor comes with the exec, as do the descriptors that it names by their numbers.
//! Four words go in front: what it is, `VERSION`, and the lowest version whose reader understands it.

mod lasting;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::MemfdFlags;

pub(crate) use crate::keeper::image::lasting::Blob;
use crate::keeper::image::lasting::{Lasting, lasting, lasting_choice};
use crate::keeper::wire::{Exit, LogPlace, Replacement, Row, Usage};

/// Raised when a field gets another meaning. One that is only added needs nothing: it is skipped by a reader that
/// does not know it, and a reader that misses it takes its default.
pub(crate) const VERSION: u32 = 1;
/// Who reads this version or a later one understands what we write.
const READ_FROM: u32 = 1;
/// The oldest version that we read: one back.
const READ_TO: u32 = if VERSION > 1 { VERSION - 1 } else { VERSION };
const MAGIC: &[u8; 8] = b"mcsupimg";
const HEAD_BYTES: usize = 16;

/// A descriptor, by its number across the exec.
pub(super) type Number = Option<i32>;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Image {
    /// Of who wrote this.
    pub(super) from: String,
    /// Of whom it was written for.
    pub(super) to: String,
    /// Where the executable lies that is to be run next time.
    pub(super) path: Blob,
    pub(super) lock: Number,
    pub(super) listener: Number,
    pub(super) attach: Number,
    pub(super) supervisor: Option<Blob>,
    pub(super) shutdown_ms: u64,
    pub(super) patience: u64,
    pub(super) nofile: (u64, u64),
    pub(super) oom_score: Blob,
    pub(super) link: Number,
    pub(super) restarts: u32,
    pub(super) deaths: Vec<u64>,
    pub(super) replacement: Option<Replacement>,
    pub(super) tries: u32,
    pub(super) table: TableImage,
    pub(super) last_slot: u64,
    pub(super) slots: Vec<SlotImage>,
    pub(super) listening: Vec<Kept>,
    pub(super) stored: Vec<Kept>,
    pub(super) barriers: Vec<BarrierImage>,
    pub(super) pump: PumpImage,
    /// In which each unit gets its own.
    pub(super) cgroup: Option<Blob>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TableImage {
    pub(super) rows: Vec<EntryImage>,
    pub(super) notes: Vec<(Blob, Blob)>,
    pub(super) signals: Vec<(u8, u32)>,
    pub(super) troubles: Vec<TroubleImage>,
    pub(super) strangers: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct EntryImage {
    pub(super) row: Option<Row>,
    pub(super) is_released: bool,
    pub(super) saying: Option<SayingImage>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SayingImage {
    pub(super) notices: Vec<Blob>,
    pub(super) came: u64,
    pub(super) passed_on: u64,
    pub(super) is_shown_untold: bool,
    pub(super) is_main_untold: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TroubleImage {
    pub(super) unit: String,
    pub(super) errno: i32,
    pub(super) lost_bytes: u64,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SlotImage {
    pub(super) slot: u64,
    pub(super) role: RoleImage,
    pub(super) pid: i32,
    pub(super) pidfd: Number,
    pub(super) status: Number,
    pub(super) output: Number,
    pub(super) kept: Number,
    pub(super) tidings: Option<TidingsImage>,
    pub(super) tag: String,
    pub(super) is_child: bool,
    pub(super) reaper: i32,
    pub(super) exec_by: Option<u64>,
    pub(super) kill_at: Option<u64>,
    pub(super) ended: Option<EndedImage>,
    pub(super) tell_at: Option<u64>,
    pub(super) is_group_gone: bool,
    pub(super) seen: Vec<SeenImage>,
    pub(super) is_doomed: bool,
    pub(super) is_lingering: bool,
    pub(super) waited: Option<EndedImage>,
    /// The group that encloses it.
    pub(super) cgroup: Option<Blob>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum RoleImage {
    Run {
        run: u64,
    },
    #[default]
    Disowned,
    Stillborn,
    Supervisor,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TidingsImage {
    pub(super) unit: String,
    pub(super) uid: u32,
    pub(super) notify: Number,
    pub(super) ready: Number,
    pub(super) main: Option<MainImage>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct MainImage {
    pub(super) pid: i32,
    pub(super) pidfd: Number,
    pub(super) ended: Option<EndedImage>,
    pub(super) is_first_gone: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct EndedImage {
    pub(super) pid: i32,
    pub(super) exit: Exit,
    pub(super) usage: Usage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct SeenImage {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) start_time: u64,
    pub(super) is_zombie: bool,
}

/// A descriptor that outlives runs: under a key, or of a unit under a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kept {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) descriptor: Number,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BarrierImage {
    pub(super) run: u64,
    pub(super) after: u64,
    pub(super) descriptor: Number,
}

/// What is under way between pipes and files.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PumpImage {
    pub(super) total_limit: u64,
    /// By directory, what was read and could not be written yet.
    pub(super) held: Vec<(Blob, Blob)>,
    pub(super) channels: Vec<ChannelImage>,
    pub(super) ends: Vec<EndImage>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ChannelImage {
    pub(super) key: u64,
    pub(super) has_written: bool,
    /// A byte of the stream that is kept apart was lost: there is no file of it any more.
    pub(super) is_spoiled: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct EndImage {
    pub(super) key: u64,
    pub(super) place: LogPlace,
}

lasting!(Image {
    1 => from,
    2 => to,
    3 => path,
    4 => lock,
    5 => listener,
    6 => attach,
    7 => supervisor,
    8 => shutdown_ms,
    9 => patience,
    10 => nofile,
    11 => oom_score,
    12 => link,
    13 => restarts,
    14 => deaths,
    15 => replacement,
    16 => tries,
    17 => table,
    18 => last_slot,
    19 => slots,
    20 => listening,
    21 => stored,
    22 => barriers,
    23 => pump,
    24 => cgroup,
});
lasting!(TableImage { 1 => rows, 2 => notes, 3 => signals, 4 => troubles, 5 => strangers });
lasting!(EntryImage { 1 => row, 2 => is_released, 3 => saying });
lasting!(SayingImage {
    1 => notices,
    2 => came,
    3 => passed_on,
    4 => is_shown_untold,
    5 => is_main_untold,
});
lasting!(TroubleImage { 1 => unit, 2 => errno, 3 => lost_bytes });
lasting!(SlotImage {
    1 => slot,
    2 => role,
    3 => pid,
    4 => pidfd,
    5 => status,
    6 => output,
    7 => kept,
    8 => tidings,
    9 => tag,
    10 => is_child,
    11 => reaper,
    12 => exec_by,
    13 => kill_at,
    14 => ended,
    15 => tell_at,
    16 => is_group_gone,
    17 => seen,
    18 => is_doomed,
    19 => is_lingering,
    20 => waited,
    21 => cgroup,
});
lasting_choice!(RoleImage { 0 => Run { 1 => run }, 1 => Disowned {}, 2 => Stillborn {}, 3 => Supervisor {} });
lasting!(TidingsImage { 1 => unit, 2 => uid, 3 => notify, 4 => ready, 5 => main });
lasting!(MainImage { 1 => pid, 2 => pidfd, 3 => ended, 4 => is_first_gone });
lasting!(EndedImage { 1 => pid, 2 => exit, 3 => usage });
lasting!(SeenImage { 1 => pid, 2 => parent, 3 => group, 4 => session, 5 => start_time, 6 => is_zombie });
lasting!(Kept { 1 => key, 2 => name, 3 => descriptor });
lasting!(BarrierImage { 1 => run, 2 => after, 3 => descriptor });
lasting!(PumpImage { 1 => total_limit, 2 => held, 3 => channels, 4 => ends });
lasting!(ChannelImage { 1 => key, 2 => has_written, 3 => is_spoiled });
lasting!(EndImage { 1 => key, 2 => place });
lasting!(Replacement { 1 => number, 2 => from, 3 => to, 4 => trouble, 5 => is_news });

impl Image {
    /// # Errors
    /// When there is no memory or no descriptor for it.
    pub(super) fn write(&self) -> io::Result<OwnedFd> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&READ_FROM.to_le_bytes());
        self.put(&mut bytes);
        let mut file = File::from(rustix::fs::memfd_create("mcsup-image", MemfdFlags::CLOEXEC)?);
        file.write_all(&bytes)?;
        file.rewind()?;
        Ok(file.into())
    }

    /// # Errors
    /// Why it cannot be read, in words.
    pub(crate) fn read(file: OwnedFd) -> Result<Self, String> {
        let mut file = File::from(file);
        let mut bytes = Vec::new();
        let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
        read.map_err(|error| format!("cannot read the image: {error}"))?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let cut = || "cannot read the image: it is damaged".to_owned();
        let (head, body) = bytes.split_at_checked(HEAD_BYTES).ok_or_else(cut)?;
        let (magic, versions) = head.split_at_checked(MAGIC.len()).ok_or_else(cut)?;
        if magic != MAGIC {
            return Err("cannot read the image: it is none".to_owned());
        }
        let mut words = versions.chunks_exact(4).filter_map(u32::take);
        let (Some(version), Some(read_from)) = (words.next(), words.next()) else { return Err(cut()) };
        if read_from > VERSION || version < READ_TO {
            return Err(format!(
                "cannot read the image: it is of version {version}, and this executable reads versions {READ_TO} to {VERSION}"
            ));
        }
        Self::take(body).ok_or_else(cut)
    }

    /// What must have been understood, in one number. Who reads an image and who wrote it agree on it, whatever
    /// their versions: this function stays as it is for ever, or no version before the change can be replaced.
    pub(crate) fn digest(&self) -> u64 {
        let mut digest = Digest(FIRST);
        digest.number(self.slots.len());
        for slot in &self.slots {
            digest.add(&slot.slot.to_le_bytes());
            digest.add(&slot.pid.to_le_bytes());
            digest.add(slot.tag.as_bytes());
            let descriptors = [slot.pidfd, slot.output, slot.kept];
            descriptors.into_iter().for_each(|number| digest.descriptor(number));
        }
        digest.number(self.table.rows.len());
        for row in self.table.rows.iter().filter_map(|entry| entry.row.as_ref()) {
            digest.add(&row.run.to_le_bytes());
            digest.add(row.unit.as_bytes());
            digest.add(&row.ordinal.to_le_bytes());
            digest.add(&row.pid.to_le_bytes());
            digest.add(&row.start_time.to_le_bytes());
        }
        digest.number(self.table.notes.len());
        for (key, value) in &self.table.notes {
            digest.add(&key.0);
            digest.add(&value.0);
        }
        for kept in self.listening.iter().chain(&self.stored) {
            digest.add(kept.key.as_bytes());
            digest.add(kept.name.as_bytes());
            digest.descriptor(kept.descriptor);
        }
        [self.lock, self.listener].into_iter().for_each(|number| digest.descriptor(number));
        digest.0
    }

    pub(crate) fn notes(&self) -> BTreeMap<&[u8], &[u8]> {
        self.table.notes.iter().map(|(key, value)| (key.0.as_slice(), value.0.as_slice())).collect()
    }
}

/// FNV-1a, with the length of each part before it.
struct Digest(u64);

const FIRST: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.mix(bytes);
    }

    fn number(&mut self, number: usize) {
        self.mix(&u64::try_from(number).unwrap_or(u64::MAX).to_le_bytes());
    }

    fn descriptor(&mut self, number: Number) {
        self.mix(&number.unwrap_or(-1).to_le_bytes());
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
}

#[cfg(test)]
mod tests;
