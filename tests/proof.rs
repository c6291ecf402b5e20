//! What the other tests claim in small, proven by real programs, under load, and against bad input.
//!
//! Names that begin with `case_N` are the nasty cases of the field, by their number.

#[path = "e2e/instance.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod instance;

#[path = "proof/copies.rs"]
mod copies;
#[path = "proof/load.rs"]
mod load;
#[path = "proof/namespace.rs"]
mod namespace;
#[path = "proof/place.rs"]
mod place;

#[path = "proof/disk.rs"]
mod disk;
#[path = "proof/examples.rs"]
mod examples;
#[path = "proof/foster.rs"]
mod foster;
#[path = "proof/hostile.rs"]
mod hostile;
#[path = "proof/logs.rs"]
mod logs;
#[path = "proof/outlive.rs"]
mod outlive;
#[path = "proof/reaping.rs"]
mod reaping;
#[path = "proof/web_stack.rs"]
mod web_stack;
