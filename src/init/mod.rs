//! What only process 1 does: run one command alone, make a bare machine habitable, and end it.
//!
//! A leaf: it knows no unit, no engine and no other ring. What reads its arguments is `cli/init.rs`; the keeper comes
//! here when there is nothing left to hold. docs/INIT.md says what people see of it.
#![deny(clippy::disallowed_types, clippy::float_arithmetic, clippy::cast_possible_truncation)]

pub(crate) mod alone;
pub(crate) mod machine;
pub(crate) mod emergency;
pub(crate) mod finale;
mod mounts;
mod sys;

/// What becomes of a machine when everything on it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finale {
    Reboot,
    PowerOff,
    /// The processor stands still, and the power stays on.
    Halt,
}

/// What a signal means to process 1 of a machine, if it means an end: systemd's words, and those of busybox.
///
/// Ctrl-Alt-Del comes as SIGINT, a failing power supply as SIGPWR. busybox's `reboot`, `halt` and `poweroff` send
/// SIGTERM, SIGUSR1 and SIGUSR2. The others are SIGRTMIN and 3 to 5 as systemd numbers them, and 13 to 15 for at once.
pub(crate) fn finale_of(signal: i32) -> Option<Finale> {
    match signal {
        libc::SIGINT | libc::SIGTERM | REBOOT | REBOOT_NOW => Some(Finale::Reboot),
        libc::SIGUSR2 | libc::SIGPWR | POWER_OFF | POWER_OFF_NOW => Some(Finale::PowerOff),
        libc::SIGUSR1 | HALT | HALT_NOW => Some(Finale::Halt),
        _ => None,
    }
}

/// By number, as whoever sends them counts from the SIGRTMIN of glibc.
const RTMIN: i32 = 34;
pub(crate) const HALT: i32 = RTMIN + 3;
pub(crate) const POWER_OFF: i32 = RTMIN + 4;
pub(crate) const REBOOT: i32 = RTMIN + 5;
pub(crate) const HALT_NOW: i32 = RTMIN + 13;
pub(crate) const POWER_OFF_NOW: i32 = RTMIN + 14;
pub(crate) const REBOOT_NOW: i32 = RTMIN + 15;

/// To whoever watches our standard error; there may be nobody.
fn say(text: &str) {
    rustix::io::write(std::io::stderr(), format!("mcsup: {text}\n").as_bytes()).ok();
}
