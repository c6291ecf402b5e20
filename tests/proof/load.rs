//! A service that writes numbered lines as fast as it is told to, and what became of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::instance::{Instance, eventually};

/// Held by tests that measure time, so that none of them measures the load of another.
static MEASURING: Mutex<()> = Mutex::new(());

pub(crate) fn measuring() -> MutexGuard<'static, ()> {
    MEASURING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Length of one numbered line with its end.
pub(crate) const LINE_BYTES: u64 = 100;
const MEGA: u64 = 1_000_000;

/// A write that takes longer than this was held up by us and not by a busy machine; 10 ms were seen.
pub(crate) const WRITE_AT_MOST: Duration = Duration::from_millis(200);

/// writer.pl MEGABYTES MEGABYTES_PER_SECOND: begins when there is a file `write`, notes its progress in
/// `megabytes`, and tells in `written` how long its longest write took
/// and how many lines it wrote.
const WRITER: &str = r#"
use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);

my ($megabytes, $rate) = @ARGV;
sub now { clock_gettime(CLOCK_MONOTONIC) }
my ($number, $longest, $blocks) = (0, 0, $megabytes * 20);
sleep 0.01 until -e 'write';
my $began = now();
for my $block (1 .. $blocks) {
    my $text = join '', map { sprintf "%012d %s\n", $number + $_, 'x' x 86 } 1 .. 500;
    $number += 500;
    my ($done, $from) = (0, now());
    while ($done < length $text) {
        $done += syswrite(STDOUT, $text, length($text) - $done, $done) // die "write: $!";
    }
    my $took = now() - $from;
    $longest = $took if $took > $longest;
    my $early = $began + $block / 20 / $rate - now();
    sleep $early if $early > 0;
    next if $block % 20;
    open my $progress, '>', 'megabytes' or die;
    print $progress $block / 20;
    close $progress;
}
open my $file, '>', 'written.new' or die;
printf $file "%d %d\n", $longest * 1000, $number;
close $file;
rename 'written.new', 'written';
sleep 1 while 1;
"#;

/// The unit file of a writer that keeps all of its lines.
pub(crate) fn writer(megabytes: u64, megabytes_per_second: u64, log: &str) -> String {
    format!(
        "command: [perl, writer.pl, '{megabytes}', '{megabytes_per_second}']\n\
         log: {{{log}}}\nrestart: {{policy: never}}\n"
    )
}

pub(crate) fn install_writer(instance: &Instance) {
    fs::write(instance.path("units/writer.pl"), WRITER).expect("a script");
}

pub(crate) fn touch(instance: &Instance, file: &str) {
    fs::write(instance.path("units").join(file), "").expect("a file");
}

/// What the writer said of itself when it was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) longest: Duration,
    pub(crate) lines: u64,
}

pub(crate) fn written(instance: &Instance) -> Written {
    let text = eventually(|| fs::read_to_string(instance.path("units/written")).ok());
    let text = text.unwrap_or_else(|| panic!("the writer is not done:\n{}", instance.printed()));
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [longest, lines] = numbers[..] else { panic!("the writer said {text:?}") };
    Written { longest: Duration::from_millis(longest), lines }
}

/// Waits until the writer has got rid of this much, wherever it went.
pub(crate) fn wait_for_progress(instance: &Instance, megabytes: u64) {
    let progress = || fs::read_to_string(instance.path("units/megabytes")).ok()?.parse::<u64>().ok();
    let found = eventually(|| progress().filter(|done| *done >= megabytes));
    assert!(found.is_some(), "{:?} MB are written", progress());
}

/// The files of a log, oldest first.
pub(crate) fn files(log: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(log).into_iter().flatten().flatten();
    let is_log = |path: &PathBuf| path.extension().is_none();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_log).collect();
    // Numbers sort before the word `current`.
    files.sort();
    files
}

pub(crate) fn stored_bytes(log: &Path) -> u64 {
    files(log).iter().filter_map(|file| fs::metadata(file).ok()).map(|meta| meta.len()).sum()
}

/// Waits until this much is on its way into the log.
pub(crate) fn wait_for_megabytes(log: &Path, megabytes: u64) {
    let found = eventually(|| (stored_bytes(log) >= megabytes * MEGA).then_some(()));
    assert!(found.is_some(), "{} bytes in {}", stored_bytes(log), log.display());
}

/// Every line from 1 to `lines`, each once, in order, in all files together.
pub(crate) fn assert_complete(log: &Path, lines: u64) {
    let stored = eventually(|| (stored_bytes(log) >= lines * LINE_BYTES).then_some(()));
    let bytes = stored_bytes(log);
    assert!(stored.is_some(), "{bytes} of {} bytes are stored", lines * LINE_BYTES);
    let mut expected = 0;
    for file in files(log) {
        let text = fs::read(&file).expect("a log file");
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            expected += 1;
            let number = line.get(..12).map(String::from_utf8_lossy).unwrap_or_default();
            assert_eq!(
                (number.parse::<u64>().ok(), line.len()),
                (Some(expected), 100),
                "line {expected}, in {}",
                file.display()
            );
        }
    }
    assert_eq!(expected, lines, "lost or doubled at the end");
}
