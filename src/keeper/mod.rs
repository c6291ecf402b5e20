//! HOLD: the parent of every process, and the only one who waits for them.
//!
//! Nothing here may panic, knows a policy beyond "stop when nobody answers", or reads a unit file.
#![cfg_attr(not(test), deny(clippy::panic, clippy::expect_used))]
#![deny(
    clippy::disallowed_types,
    clippy::iter_over_hash_type,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation
)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)
)]

pub mod wire;
pub mod codec;
pub mod link;

use std::process::ExitCode;

/// The hidden first argument under which this binary is the keeper.
pub const VERB: &str = "__keeper";

pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
