//! One execution of a probe: a request in, one verdict out.
//!
//! `Fail` is an answer about the unit (refused, timed out, wrong). `Error` is about us (no descriptor,
//! no resolver): it never counts against the unit.

pub mod resolve;
pub mod tcp;
pub mod http;
pub mod exec;

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::engine::event::Verdict;
use crate::engine::time::Pretty;

/// True for what a machine under strain says, and not the service that was asked.
fn is_our_side(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EADDRNOTAVAIL
                | libc::EACCES
                | libc::EPERM
        )
    )
}

/// The verdict for a connection that did not come about.
fn not_connected(error: &io::Error) -> Verdict {
    let words = in_words(error);
    // No number of the system: the name could not be resolved.
    if error.raw_os_error().is_none() || is_our_side(error) {
        Verdict::Error(words.into())
    } else {
        Verdict::Fail(words.into())
    }
}

fn timed_out(timeout: Duration) -> Verdict {
    Verdict::Fail(format!("no answer within {}", Pretty(timeout)).into())
}

/// `connection refused` rather than `Connection refused (os error 111)`.
fn in_words(error: &io::Error) -> String {
    let full = error.to_string();
    let bare = full.split(" (os error").next().unwrap_or(&full);
    let mut chars = bare.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The error of the system at the bottom of a library's own, if there is one.
fn system_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut cause = Some(error);
    let mut found = None;
    while let Some(error) = cause {
        found = error.downcast_ref::<io::Error>().or(found);
        cause = error.source();
    }
    found
}

/// A time as a verdict shows it: whole milliseconds, below that tenths.
fn took(time: Duration) -> String {
    let micros = time.as_micros();
    if micros >= 1000 { format!("{} ms", micros / 1000) } else { format!("0.{} ms", micros / 100) }
}
