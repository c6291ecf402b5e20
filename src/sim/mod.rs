//! A virtual host for the engine: time, processes and faults from a seed.
//!
//! A history is a list of timed commands, the same that scenario files are written in: what the
//! generator draws, what a scenario says and what a failing seed shrinks to are one language.

#![deny(
    clippy::disallowed_types,
    clippy::iter_over_hash_type,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    clippy::panic
)]

pub mod random;
pub mod actor;
pub mod command;
pub mod parse;
pub mod world;
pub mod keeper;
pub mod trace;
pub mod scenario;
pub mod profile;
mod variety;
pub mod jobs;
pub mod changes;
pub mod history;
pub mod shrink;
