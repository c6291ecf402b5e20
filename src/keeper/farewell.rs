//! How the keeper ends: told to by the supervisor, or by a signal that nobody answers. The latter
//! is the only policy of this ring.

use nix::libc;

use crate::cgroup;
use crate::init::{Finale, HALT, HALT_NOW, POWER_OFF, POWER_OFF_NOW, REBOOT, REBOOT_NOW, finale_of};
use crate::keeper::clock::{MILLISECOND, SECOND};
use crate::keeper::holdings::{Holdings, Role};
use crate::keeper::orders::{KILL, TERM};
use crate::keeper::run::Keeper;
use crate::keeper::wire::Scope;

/// How long the supervisor may leave a shutdown signal without a word.
const ANSWER_DEADLINE: u64 = 5 * SECOND;
/// Between SIGTERM and SIGKILL to whatever is left at the end.
const QUIT_GRACE: u64 = 5 * SECOND;
/// After SIGKILL to everything; then whatever cannot die is left behind.
const LAST_DEADLINE: u64 = 5 * SECOND;
/// For the logs' last bytes.
const DRAIN_DEADLINE: u64 = SECOND;

#[derive(Debug, Default)]
pub(super) enum Farewell {
    #[default]
    None,
    /// A shutdown signal was passed on; so far nobody said a word.
    Unanswered { signal: u8, until: u64 },
    /// The supervisor knows of it and leads the shutdown; more signals are for it to judge. Should it
    /// hang, it is found out as at any other time.
    Acknowledged,
    /// Everything that was left got SIGTERM: nobody answered, or it was told to quit.
    Stopping { code: u8, until: u64 },
    /// Everything got SIGKILL.
    Killing { code: u8, until: u64 },
}

impl Farewell {
    /// Nothing is started any more.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::None | Self::Unanswered { .. } | Self::Acknowledged => false,
            Self::Stopping { .. } | Self::Killing { .. } => true,
        }
    }

    pub(super) fn acknowledged(&mut self) {
        if matches!(self, Self::Unanswered { .. }) {
            *self = Self::Acknowledged;
        }
    }

    /// Whoever acknowledged it is gone; the next supervisor finds that in its own notes.
    pub(super) fn disconnected(&mut self) {
        if matches!(self, Self::Acknowledged) {
            *self = Self::None;
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match self {
            Self::None | Self::Acknowledged => None,
            Self::Unanswered { until, .. } | Self::Stopping { until, .. } | Self::Killing { until, .. } => {
                Some(*until)
            }
        }
    }
}

/// Everything is to stop, whatever comes after it. Those above 31 are systemd's, as container runtimes send them.
fn is_shutdown(signal: i32) -> bool {
    let is_named = matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGPWR);
    is_named || matches!(signal, HALT | POWER_OFF | REBOOT | HALT_NOW | POWER_OFF_NOW | REBOOT_NOW)
}

impl Keeper {
    pub(super) fn on_signals(&mut self, now: u64) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo).unwrap_or_default();
            match signal {
                libc::SIGCHLD => self.on_child_signal(now),
                _ => {
                    let signal = self.understood(signal);
                    self.on_told_signal(signal, info.ssi_pid, now);
                }
            }
        }
    }

    /// To process 1 of a machine some signals say what becomes of it, and the supervisor is told the rest: that all
    /// is to stop. In a container only a reboot differs from an end.
    fn understood(&mut self, signal: i32) -> i32 {
        if self.arguments.is_of_machine() {
            self.finale = finale_of(signal).or(self.finale);
            return match signal {
                libc::SIGUSR1 | libc::SIGUSR2 => libc::SIGTERM,
                _ => signal,
            };
        }
        if self.pid == 1 && matches!(signal, REBOOT | REBOOT_NOW) {
            self.finale = Some(Finale::Reboot);
        }
        signal
    }

    fn on_told_signal(&mut self, signal: i32, sender_pid: u32, now: u64) {
        let number = u8::try_from(signal).unwrap_or_default();
        let means_shutdown = is_shutdown(signal);
        match self.farewell {
            Farewell::None if means_shutdown => {
                let until = now.saturating_add(self.arguments.patience.of(ANSWER_DEADLINE));
                self.farewell = Farewell::Unanswered { signal: number, until };
            }
            // Told twice while we stop by ourselves: now.
            Farewell::Stopping { code, .. } if means_shutdown => self.kill_all(code, now),
            Farewell::None
            | Farewell::Unanswered { .. }
            | Farewell::Acknowledged
            | Farewell::Stopping { .. }
            | Farewell::Killing { .. } => {}
        }
        self.table.signalled(number, sender_pid);
    }

    pub(super) fn look_after_farewell(&mut self, now: u64) {
        match self.farewell {
            Farewell::Unanswered { signal, until } if until <= now => {
                super::complain("nobody answers the signal; stopping everything");
                let code = signal.saturating_add(128);
                let until = now.saturating_add(self.arguments.shutdown_ms.saturating_mul(MILLISECOND));
                self.farewell = Farewell::Stopping { code, until };
                self.end_supervisor();
                self.signal_all(TERM);
            }
            Farewell::Stopping { code, until } if until <= now => self.kill_all(code, now),
            Farewell::None
            | Farewell::Unanswered { .. }
            | Farewell::Acknowledged
            | Farewell::Stopping { .. }
            | Farewell::Killing { .. } => {}
        }
    }

    /// The first supervisor of all had no units, or could not be started.
    pub(super) fn cannot_begin(&mut self, code: u8, now: u64) {
        self.has_not_begun = true;
        self.quit(code, now);
    }

    /// Ends with this status, and everything that is left with it. What was not told to end before
    /// is told now, and killed a little later; told twice, at once.
    pub(super) fn quit(&mut self, code: u8, now: u64) {
        match self.farewell {
            Farewell::None | Farewell::Unanswered { .. } | Farewell::Acknowledged => {
                let until = now.saturating_add(self.arguments.patience.of(QUIT_GRACE));
                self.farewell = Farewell::Stopping { code, until };
                self.signal_all(TERM);
            }
            Farewell::Stopping { .. } => self.kill_all(code, now),
            Farewell::Killing { .. } => {}
        }
    }

    fn kill_all(&mut self, code: u8, now: u64) {
        self.farewell =
            Farewell::Killing { code, until: now.saturating_add(self.arguments.patience.of(LAST_DEADLINE)) };
        self.signal_all(KILL);
    }

    fn signal_all(&mut self, signal: u8) {
        let slots: Vec<u64> = self
            .holdings
            .iter()
            .filter(|(_, holding)| holding.role != Role::Supervisor)
            .map(|(slot, _)| slot)
            .collect();
        let mut sight = None;
        for slot in slots {
            self.signal(slot, signal, Scope::All, &mut sight);
        }
    }

    /// The exit status, once nothing is left to hold or to wait for.
    pub(super) fn end(&mut self, now: u64) -> Option<u8> {
        let (code, until, is_killing) = match self.farewell {
            Farewell::None | Farewell::Unanswered { .. } | Farewell::Acknowledged => return None,
            Farewell::Stopping { code, until } => (code, until, false),
            Farewell::Killing { code, until } => (code, until, true),
        };
        let is_over = self.holdings.is_empty() && self.pending.is_empty();
        let is_given_up = is_killing && until <= now;
        if !is_over && !is_given_up {
            return None;
        }
        self.end_supervisor();
        self.pump.finish(DRAIN_DEADLINE);
        if let Some(base) = &self.arguments.cgroup {
            self.holdings = Holdings::default();
            cgroup::leave(base);
        }
        Some(code)
    }
}
