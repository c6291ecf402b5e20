//! ACT: turns effects into I/O and what happens into events.

pub mod handle;
pub mod home;
pub mod directory;
