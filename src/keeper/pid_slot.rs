//! The one word of a child's environment that nobody knows before the child is there.

use std::ffi::c_char;
use std::sync::atomic::{AtomicU8, Ordering};

/// `LISTEN_PID=` with room for a number that only the child knows. Each child has a slot of its own: one that
/// shares our memory writes into ours.
#[derive(Debug)]
pub(super) struct PidSlot(Box<[AtomicU8; PID_SLOT_BYTES]>);

impl PidSlot {
    pub(super) fn new() -> Self {
        let slot = Box::new([const { AtomicU8::new(0) }; PID_SLOT_BYTES]);
        for (byte, text) in slot.iter().zip(LISTEN_PID) {
            byte.store(*text, Ordering::Relaxed);
        }
        Self(slot)
    }

    /// Allocates nothing: for the child, before it becomes a program. No digit is written before the first:
    /// readers take a leading zero for an octal number.
    pub(super) fn fill(&self, pid: i32) {
        let mut digits = [0_u8; PID_DIGITS];
        let mut left = u32::try_from(pid).unwrap_or_default();
        for digit in digits.iter_mut().rev() {
            let last = u8::try_from(left.checked_rem(10).unwrap_or_default()).unwrap_or_default();
            *digit = last.saturating_add(b'0');
            left = left.checked_div(10).unwrap_or_default();
            if left == 0 {
                break;
            }
        }
        let number = digits.iter().filter(|digit| **digit != 0);
        for (place, digit) in self.0.iter().skip(LISTEN_PID.len()).zip(number) {
            place.store(*digit, Ordering::Relaxed);
        }
    }

    /// For the environment of a child that lives no longer than this.
    pub(super) fn pointer(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

pub(super) const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// Of the largest number that a pid_t holds.
const PID_DIGITS: usize = 10;
/// The name, the digits, and a zero at the end.
const PID_SLOT_BYTES: usize = 22;

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn a_pid_stands_in_its_slot_without_zeros_before_or_after_it() {
        for (pid, expected) in
            [(1, "LISTEN_PID=1"), (4_190_321, "LISTEN_PID=4190321"), (i32::MAX, "LISTEN_PID=2147483647")]
        {
            let slot = PidSlot::new();
            slot.fill(pid);
            let bytes: Vec<u8> = slot.0.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
            let text = CStr::from_bytes_until_nul(&bytes).unwrap();
            assert_eq!(text.to_str().unwrap(), expected);
        }
    }
}
