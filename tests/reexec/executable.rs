//! Copies of the executable under test with a few bytes changed.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// In front of the version, where `keeper/version.rs` puts it.
const MARK: &str = "mcsup executable version: ";

#[derive(Clone, Debug)]
pub(crate) struct Executable {
    bytes: Vec<u8>,
    pub(crate) version: String,
}

impl Executable {
    pub(crate) fn own() -> Self {
        Self::of(fs::read(env!("CARGO_BIN_EXE_mcsup")).unwrap())
    }

    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, version: VERSION.to_owned() }
    }

    /// The same of another version.
    pub(crate) fn called(self, version: &str) -> Self {
        assert_eq!(version.len(), VERSION.len(), "bytes are changed, not inserted");
        let mut other = self;
        let place = other.place_of(other.symbol("_ZN5mcsup6keeper7version4MARK17h")) + MARK.len();
        other.bytes[place..place + version.len()].copy_from_slice(version.as_bytes());
        Self { version: version.to_owned(), ..other }
    }

    /// As a copy that ran out of room leaves it.
    pub(crate) fn cut(mut self) -> Self {
        self.bytes.truncate(self.bytes.len() / 10 * 9);
        self
    }

    /// Needs what this machine does not have.
    pub(crate) fn lacking_a_library(mut self) -> Self {
        let (from, to) = (b"\0libc.so.6\0", b"libz.so.9");
        // The names of what the dynamic linker is to find: strings that are part of the program.
        let is_names = |at: &usize| self.number::<4>(at + 4) == 3 && self.number::<8>(at + 8) == 2;
        let names = self.sections().into_iter().find(is_names).expect("names");
        let (start, length) = (self.number::<8>(names + 24), self.number::<8>(names + 32));
        let place = self.bytes[start..start + length].windows(from.len()).position(|at| at == from);
        let place = start + place.expect("the C library") + 1;
        self.bytes[place..place + to.len()].copy_from_slice(to);
        self
    }

    pub(crate) fn crashing(self, entry: &str) -> Self {
        // An instruction that there is not.
        let crash: &[u8] = if cfg!(target_arch = "aarch64") { &[0, 0, 0, 0] } else { &[0x0f, 0x0b] };
        self.beginning(entry, crash)
    }

    pub(crate) fn hanging_in(self, entry: &str) -> Self {
        // A jump to itself.
        let hang: &[u8] = if cfg!(target_arch = "aarch64") { &[0, 0, 0, 0x14] } else { &[0xeb, 0xfe] };
        self.beginning(entry, hang)
    }

    pub(crate) fn write(&self, path: &Path) {
        let mut file = File::create(path).unwrap();
        file.write_all(&self.bytes).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The function of this entry begins with these bytes.
    fn beginning(mut self, entry: &str, code: &[u8]) -> Self {
        let name = match entry {
            "main" => "_ZN5mcsup4main17h",
            "rehearse" => "_ZN5mcsup3cli9supervise8rehearse17h",
            "supervisor" => "_ZN5mcsup3cli9supervise4main17h",
            "keeper" => "_ZN5mcsup6keeper4main17h",
            other => panic!("no entry {other}"),
        };
        let place = self.place_of(self.symbol(name));
        self.bytes[place..place + code.len()].copy_from_slice(code);
        self
    }

    fn number<const BYTES: usize>(&self, at: usize) -> usize {
        let mut bytes = [0; 8];
        bytes[..BYTES].copy_from_slice(&self.bytes[at..at + BYTES]);
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    }

    fn sections(&self) -> Vec<usize> {
        let (table, size, count) = (self.number::<8>(40), self.number::<2>(58), self.number::<2>(60));
        (0..count).map(|at| table + at * size).collect()
    }

    /// The address of the one thing whose name begins so, from the table of symbols (elf(5)).
    fn symbol(&self, name: &str) -> usize {
        let sections = self.sections();
        let symbols = sections.iter().find(|at| self.number::<4>(**at + 4) == 2).expect("symbols");
        let names = self.number::<8>(sections[self.number::<4>(symbols + 40)] + 24);
        let (start, length) = (self.number::<8>(symbols + 24), self.number::<8>(symbols + 32));
        let found: Vec<usize> = (start..start + length)
            .step_by(24)
            .filter(|at| self.bytes[names + self.number::<4>(*at)..].starts_with(name.as_bytes()))
            .map(|at| self.number::<8>(at + 8))
            .collect();
        let [address] = found[..] else { panic!("{name} is there {} times", found.len()) };
        address
    }

    /// Where in the file the code of this address is.
    fn place_of(&self, address: usize) -> usize {
        let (table, size, count) = (self.number::<8>(32), self.number::<2>(54), self.number::<2>(56));
        let segments = (0..count).map(|at| table + at * size).filter(|at| self.number::<4>(*at) == 1);
        let mut places = segments.filter_map(|at| {
            let (offset, start, length) =
                (self.number::<8>(at + 8), self.number::<8>(at + 16), self.number::<8>(at + 32));
            (start..start + length).contains(&address).then(|| address - start + offset)
        });
        places.next().expect("a place in the file")
    }
}
