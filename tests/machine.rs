//! Where a kernel of one's own is needed: machines in software, each with Debian's kernel, mcsup and what it looks
//! after, all in memory.

#[path = "machine/mod.rs"]
mod machine;

#[path = "machine/clock.rs"]
mod clock;
#[path = "machine/cluster.rs"]
mod cluster;
#[path = "machine/limits.rs"]
mod limits;
#[path = "machine/init.rs"]
mod init;
#[path = "machine/memory.rs"]
mod memory;
