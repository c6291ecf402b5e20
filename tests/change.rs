//! What a change of the units directory means: numbers that stay, differences, the plan.
//! `MCSUP_BLESS=1 cargo test --test change` rewrites the table of docs/CHANGES.md.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

#[path = "change/sets.rs"]
mod sets;
#[path = "change/merge.rs"]
mod merge;
#[path = "change/differences.rs"]
mod differences;
#[path = "change/plan.rs"]
mod plan;
