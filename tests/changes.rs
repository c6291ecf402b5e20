//! Changes of a running instance as a person makes them, by writing files, and whatever breaks in between.
//!
//! Names that begin with `case_N` are the nasty cases of the field, by their number.

#[path = "e2e/instance.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod instance;
#[path = "proof/namespace.rs"]
mod namespace;

#[path = "proof/copies.rs"]
mod copies;
#[path = "proof/place.rs"]
mod place;

#[path = "changes/site.rs"]
mod site;

#[path = "changes/bad.rs"]
mod bad;
#[path = "changes/approval.rs"]
mod approval;
#[path = "changes/asked.rs"]
mod asked;
#[path = "changes/disk.rs"]
mod disk;
#[path = "changes/elsewhere.rs"]
mod elsewhere;
#[path = "changes/files.rs"]
mod files;
#[path = "changes/fuzz.rs"]
mod fuzz;
#[path = "changes/killed.rs"]
mod killed;
#[path = "changes/saves.rs"]
mod saves;
#[path = "changes/slow.rs"]
mod slow;
#[path = "changes/stack.rs"]
mod stack;
#[path = "changes/steps.rs"]
mod steps;
