//! The judge's process: it bounds itself before it reads a byte, answers once and is gone. Whoever starts it reads
//! the answer by [`concluded`], which tells a judge that died from an output that is bad.

use std::io::{self, Write as _};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::output::judge;
use crate::output::judgement::Judgement;
use crate::output::wire::Request;

/// The hidden verb under which it is started. What it is asked comes on standard input, see
/// [`wire`](crate::output::wire); its answer goes to standard output.
pub const VERB: &str = "__judge";

/// All that it maps, its own program included.
pub const MOST_MEMORY_BYTES: u64 = 256 * 1024 * 1024;
pub const MOST_CPU_SECONDS: u64 = 5;
pub const MOST_WALL_SECONDS: u32 = 10;

/// Judges what is asked on standard input.
pub fn main() -> ExitCode {
    if let Err(error) = bounded() {
        // An unbounded judge is worse than none.
        return answered(&Judgement::not_judged(format!("its limits cannot be set: {error}")));
    }
    let judgement = match Request::read(&mut io::stdin().lock()) {
        Ok((spec, material)) => judge(&spec, material),
        Err(error) => Judgement::not_judged(format!("what it was asked cannot be read: {error}")),
    };
    answered(&judgement)
}

fn answered(judgement: &Judgement) -> ExitCode {
    let written = serde_json::to_vec(judgement).map_err(io::Error::from).and_then(|mut text| {
        text.push(b'\n');
        io::stdout().lock().write_all(&text)
    });
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// No way back: hard limits too, and no more rights by any program.
fn bounded() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let limit = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, limit(MOST_MEMORY_BYTES))?;
    // At the soft limit comes a signal that tells what it was, a second later the end.
    let cpu = Rlimit { current: Some(MOST_CPU_SECONDS), maximum: Some(MOST_CPU_SECONDS + 1) };
    setrlimit(Resource::Cpu, cpu)?;
    setrlimit(Resource::Core, limit(0))?;
    // Its default action ends the process: nothing here waits for it.
    nix::unistd::alarm::set(MOST_WALL_SECONDS);
    Ok(())
}

/// How the process of a judge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// Whoever started it did not wait any longer.
    GivenUp,
}

/// What a judge that has ended said, or why it said nothing.
pub fn concluded(ending: Ending, stdout: &[u8], stderr: &[u8]) -> Judgement {
    let why = match ending {
        Ending::Exited(0) => match serde_json::from_slice(stdout) {
            Ok(judgement) => return judgement,
            Err(error) => format!("the judge's answer cannot be read: {error}"),
        },
        Ending::Exited(code) => format!("the judge ended with {code}"),
        Ending::Signalled(_) if is_out_of_memory(stderr) => {
            format!("it takes more than {} MiB of memory", MOST_MEMORY_BYTES >> 20)
        }
        Ending::Signalled(signal) if signal == libc::SIGXCPU => {
            format!("it takes more than {MOST_CPU_SECONDS} s of processor time")
        }
        Ending::Signalled(signal) if signal == libc::SIGALRM => {
            format!("it takes more than {MOST_WALL_SECONDS} s")
        }
        Ending::Signalled(signal) => format!("the judge died of signal {signal}"),
        Ending::GivenUp => format!("it takes more than {MOST_WALL_SECONDS} s"),
    };
    Judgement::not_judged(why)
}

/// What Rust's runtime says before it aborts.
fn is_out_of_memory(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).contains("memory allocation of")
}
