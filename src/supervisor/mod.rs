//! ACT: turns effects into I/O and what happens into events.

pub mod handle;
pub mod home;
pub mod start;
mod run;
mod executor;
pub mod descriptors;
mod keeper_link;
mod handover;
mod successor;
mod inbox;
mod starts;
mod launch;
mod lookup;
mod helpers;
mod holdings;
mod translate;
mod notes;
mod journal;
mod identity;
mod observer;
mod display;
mod own_log;
pub mod words;
mod sink;
mod clock;
pub mod loading;
pub mod directory;
