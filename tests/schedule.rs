//! When jobs run: what a schedule says, in which zone, on which night.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

#[path = "schedule/times.rs"]
mod times;
#[path = "schedule/nights.rs"]
mod nights;
#[path = "schedule/words.rs"]
mod words;
#[path = "schedule/mistakes.rs"]
mod mistakes;
#[path = "schedule/drawn.rs"]
mod drawn;
#[path = "schedule/properties.rs"]
mod properties;
#[path = "schedule/differential.rs"]
mod differential;
