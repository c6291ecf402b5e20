//! Reading of what units wrote: the other half of the keeper's pump, which shares nothing with it but
//! the files.
//!
//! A unit's log is the concatenation of its rotated files and `current`, byte by byte what the unit wrote.

pub mod files;
pub mod start;
pub mod read;
pub mod since;
pub mod follow;
pub mod print;

#[cfg(test)]
mod tests;
