//! What is kept of a spell of trouble: evidence taken before anything is repaired, what probably caused it, and
//! the story for people.
//!
//! Capturing asks /proc, a log and some disks, each of which may hang: it happens on threads and is over at its
//! deadline, with what is missing in a list. Judging ([`cause`]) and telling ([`postmortem`]) read the evidence
//! and nothing else, so they say the same tomorrow.

pub mod evidence;
pub mod times;
pub mod capture;
pub mod cause;
mod shape;
pub mod store;
pub mod postmortem;
