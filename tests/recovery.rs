//! Running is not working, proven with programs that nobody here wrote: real servers, broken in real ways.
//!
//! Each breaking asserts five things: it was detected in the time that the probe's numbers promise, the evidence
//! was whole on the disk before anything was restarted or repaired, the right cause comes first, the unit was
//! healed or given up as its file says, and all of it was one incident.

#[path = "e2e/instance.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod instance;
#[path = "proof/namespace.rs"]
mod namespace;
#[path = "proof/place.rs"]
mod place;

#[path = "recovery/patient.rs"]
mod patient;
#[path = "recovery/memory.rs"]
mod memory;
#[path = "recovery/redis.rs"]
mod redis;
#[path = "recovery/postgres.rs"]
mod postgres;
#[path = "recovery/external.rs"]
mod external;
#[path = "recovery/gate.rs"]
mod gate;
