//! Process 1 of a container: of one command alone, compared with what it stands in for, and of a units directory.
//!
//! Namespaces of their own are made by `unshare`; without root each comes with a user namespace.

#[path = "e2e/instance.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod instance;
#[path = "init/place.rs"]
mod place;

#[path = "init/alone.rs"]
mod alone;
#[path = "init/container.rs"]
mod container;
#[path = "init/orphans.rs"]
mod orphans;
