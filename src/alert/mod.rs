//! Telling people: an outbox on disk, its deliveries, and the heartbeat that an outside watcher misses when all of
//! this is dead.
//!
//! Delivery is at least once: a message is forgotten only after somebody took it, so a crash between the two
//! sends it again. Each message carries a number for those who mind.

pub mod message;
mod post;
mod spool;
mod queue;
pub mod outbox;
pub mod heartbeat;

#[cfg(test)]
mod tests_server;
