//! `STATE/output/JOB/`: what the last runs wrote, and the last good of it under a name that never shows garbage.
//!
//! ```text
//! runs/000042/output          the stream, where one is judged
//! runs/000042/files/0/NAME    what was found of the first file of the spec
//! runs/000042/judgement.json
//! last-good -> runs/000041    replaced by a rename: who reads through it sees one whole run
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::aside::files::{entries, if_there, make_private, whole};
use crate::output::judgement::Judgement;
use crate::output::{FoundFile, Previous, Taken};
use crate::unit::spec::output::{Content, Keep};

/// What one run wrote, as it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    pub stream: Option<&'a [u8]>,
    /// For each file of the spec.
    pub files: &'a [Vec<FoundFile>],
    pub judgement: &'a Judgement,
}

impl Written<'_> {
    fn size_bytes(&self) -> u64 {
        let size = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let files = self.files.iter().flatten().map(|file| match &file.taken {
            Taken::Bytes(bytes) => size(bytes),
            Taken::TooLarge(_) | Taken::Unreadable(_) => 0,
        });
        files.chain(self.stream.map(size)).fold(0, u64::saturating_add)
    }
}

/// Of one job. Every call waits for the disk: for a thread.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    keep: Keep,
}

impl Store {
    /// `dir` is made when the first run is kept.
    pub fn new(dir: PathBuf, keep: Keep) -> Self {
        Self { dir, keep }
    }

    /// Keeps a run, makes it the last good one if it passed, and drops what there is no room for. `number` is higher
    /// than that of any run before.
    ///
    /// # Errors
    /// When the disk does not take it: what was kept before, and the last good one, are still whole.
    pub fn keep(&self, number: u64, written: &Written<'_>) -> io::Result<()> {
        let runs = self.dir.join(RUNS);
        make_private(&runs)?;
        let unfinished = runs.join(UNFINISHED);
        let run = runs.join(run_name(number));
        remove(&unfinished)?;
        // Garbage without end shall not push out what came before it; how it was judged stays.
        let fits = written.judgement.is_passed() || written.size_bytes() <= self.keep.size_bytes;
        let without = Written { stream: None, files: &[], ..*written };
        let kept = write_run(&unfinished, if fits { written } else { &without }).and_then(|()| {
            remove(&run)?;
            fs::rename(&unfinished, &run)?;
            File::open(&runs)?.sync_all()
        });
        // What found no room shall not take up the little there is.
        kept.inspect_err(|_| drop(remove(&unfinished)))?;
        if written.judgement.is_passed() {
            // A run that is said not to be kept shall not lie there as one that passed.
            self.point_to(number).inspect_err(|_| drop(remove(&run)))?;
        }
        // It is kept. What is too much goes with the next run.
        drop(self.prune());
        Ok(())
    }

    /// The last good output, as expressions see it under `previous`. `files`: how many the spec has.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn previous(&self, files: usize) -> io::Result<Previous> {
        let Some(good) = self.last_good()? else { return Ok(Previous::default()) };
        let read = |path: &Path| whole(path, Content::MOST_BYTES);
        let stream = good.join(STREAM);
        let stream = if stream.exists() { Some(read(&stream)?) } else { None };
        let mut kept = Vec::new();
        for entry in 0..files {
            let mut of_entry = BTreeMap::new();
            for file in entries(&good.join(FILES).join(entry.to_string()))? {
                if let Ok(name) = file.file_name().into_string() {
                    of_entry.insert(name, read(&file.path())?);
                }
            }
            kept.push(of_entry);
        }
        Ok(Previous { stream, files: kept })
    }

    /// The directory of the last good run.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn last_good(&self) -> io::Result<Option<PathBuf>> {
        let target = if_there(fs::read_link(self.dir.join(LAST_GOOD)))?;
        Ok(target.map(|target| self.dir.join(target)).filter(|run| run.is_dir()))
    }

    /// The numbers of the runs that are kept, rising.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn numbers(&self) -> io::Result<Vec<u64>> {
        let names = entries(&self.dir.join(RUNS))?.into_iter().map(|entry| entry.file_name());
        let mut numbers: Vec<u64> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub fn path_of(&self, number: u64) -> PathBuf {
        self.dir.join(RUNS).join(run_name(number))
    }

    fn point_to(&self, number: u64) -> io::Result<()> {
        let temporary = self.dir.join("last-good.new");
        if_there(fs::remove_file(&temporary))?;
        symlink(Path::new(RUNS).join(run_name(number)), &temporary)?;
        fs::rename(&temporary, self.dir.join(LAST_GOOD))?;
        File::open(&self.dir)?.sync_all()
    }

    /// The oldest go first; the last good one stays, whatever its size.
    fn prune(&self) -> io::Result<()> {
        let good = self.last_good()?;
        let (mut runs, mut bytes) = (0_u16, 0_u64);
        for number in self.numbers()?.into_iter().rev() {
            let path = self.path_of(number);
            runs = runs.saturating_add(1);
            bytes = bytes.saturating_add(size_of(&path)?);
            let is_over = runs > self.keep.runs || bytes > self.keep.size_bytes;
            if is_over && good.as_ref() != Some(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn write_run(dir: &Path, written: &Written<'_>) -> io::Result<()> {
    make_private(dir)?;
    if let Some(stream) = written.stream {
        write(&dir.join(STREAM), stream)?;
    }
    for (entry, found) in written.files.iter().enumerate() {
        for file in found {
            let Taken::Bytes(bytes) = &file.taken else { continue };
            let of_entry = dir.join(FILES).join(entry.to_string());
            make_private(&of_entry)?;
            // A path always has a last name; two directories may hold the same one, and the later stays.
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            write(&of_entry.join(name), bytes)?;
            File::open(&of_entry)?.sync_all()?;
        }
    }
    let mut judgement = serde_json::to_vec_pretty(written.judgement)?;
    judgement.push(b'\n');
    write(&dir.join(JUDGEMENT), &judgement)?;
    File::open(dir)?.sync_all()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn size_of(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in entries(dir)? {
        let metadata = entry.metadata()?;
        let size = if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
        bytes = bytes.saturating_add(size);
    }
    Ok(bytes)
}

fn remove(dir: &Path) -> io::Result<()> {
    if_there(fs::remove_dir_all(dir)).map(drop)
}

fn run_name(number: u64) -> String {
    format!("{number:06}")
}

const RUNS: &str = "runs";
const UNFINISHED: &str = "unfinished";
const LAST_GOOD: &str = "last-good";
const STREAM: &str = "output";
const FILES: &str = "files";
const JUDGEMENT: &str = "judgement.json";
