//! HOLD: the parent of every process, and the only one who waits for them.

pub mod wire;

use std::process::ExitCode;

/// The hidden first argument under which this binary is the keeper.
pub const VERB: &str = "__keeper";

pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
