//! The one place where the supervisor reads clocks and arms timers.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe;

use crate::engine::time::{Now, Timestamp, WallTime};

pub(crate) fn now() -> Now {
    Now { mono: mono(), wall: wall() }
}

/// Counts time asleep, so that a delay means the same on a laptop and on a server.
pub(crate) fn mono() -> Timestamp {
    Timestamp(to_nanos(clock_gettime(ClockId::Boottime)))
}

pub(crate) fn wall() -> WallTime {
    WallTime(to_nanos(clock_gettime(ClockId::Realtime)))
}

/// Ends a wait at the engine's next deadline. Costs nothing while nothing is due.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
    readable: pipe::Receiver,
    armed: Option<Timestamp>,
}

impl Alarm {
    /// # Errors
    /// When the kernel gives no timer.
    pub(crate) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, FLAGS)?;
        let readable = watched(&timer)?;
        Ok(Self { timer, readable, armed: None })
    }

    /// Moves the alarm; a system call only when the instant changes.
    pub(crate) fn set(&mut self, at: Option<Timestamp>) -> io::Result<()> {
        if at == self.armed {
            return Ok(());
        }
        let value = at.map_or(ZERO, |at| to_timespec(at.0.max(1)));
        let spec = Itimerspec { it_interval: ZERO, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        self.armed = at;
        Ok(())
    }

    /// Comes back once the alarm went off. Safe to drop at any await.
    pub(crate) async fn rings(&self) -> io::Result<()> {
        rings(&self.readable).await.map(drop)
    }

    /// True when the alarm has gone off; rearms nothing.
    pub(crate) fn is_due(&mut self, now: Timestamp) -> bool {
        let due = self.armed.is_some_and(|at| at <= now);
        if due {
            self.armed = None;
        }
        due
    }
}

/// Ends a wait at a date, and when somebody sets the wall clock: dates are then nearer or farther than they were.
/// Costs nothing while nothing is due.
#[derive(Debug)]
pub(crate) struct WallAlarm {
    timer: OwnedFd,
    readable: pipe::Receiver,
    armed: Option<WallTime>,
    /// A step that the timer told when it was armed anew.
    has_stepped: bool,
}

/// Why a wait for a date is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    Due,
    Stepped,
}

impl WallAlarm {
    /// # Errors
    /// When the kernel gives no timer.
    pub(crate) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Realtime, FLAGS)?;
        let readable = watched(&timer)?;
        let mut alarm = Self { timer, readable, armed: None, has_stepped: false };
        alarm.arm(None)?;
        Ok(alarm)
    }

    /// Moves the alarm; a system call only when the date changes.
    pub(crate) fn set(&mut self, at: Option<WallTime>) -> io::Result<()> {
        if at == self.armed { Ok(()) } else { self.arm(at) }
    }

    /// Comes back once the date has come or the clock was stepped. Safe to drop at any await.
    pub(crate) async fn rings(&self) -> io::Result<Rung> {
        if self.has_stepped {
            return Ok(Rung::Stepped);
        }
        rings(&self.readable).await
    }

    /// True when the date has come; armed again by the next `set`.
    pub(crate) fn is_due(&mut self, now: WallTime) -> bool {
        let due = self.armed.is_some_and(|at| at <= now);
        if due {
            self.armed = None;
        }
        due
    }

    /// A step that was heard of cancels the timer: it is armed for the same date again.
    pub(crate) fn go_on(&mut self) -> io::Result<()> {
        self.has_stepped = false;
        self.arm(self.armed)
    }

    /// Without a date it is due in a year that nobody waits for: what counts is that a step cancels it.
    fn arm(&mut self, at: Option<WallTime>) -> io::Result<()> {
        let far = Timespec { tv_sec: FAR, tv_nsec: 0 };
        let value = at.map_or(far, |at| to_timespec(at.0.max(1)));
        let spec = Itimerspec { it_interval: ZERO, it_value: value };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(&self.timer, flags, &spec) {
            Ok(_) => {}
            // Armed all the same: the clock was stepped since the last time.
            Err(rustix::io::Errno::CANCELED) => self.has_stepped = true,
            Err(error) => return Err(error.into()),
        }
        self.armed = at;
        Ok(())
    }
}

/// A timer or a pidfd is waited for like a pipe, and tokio's pipe asks no questions about what it polls.
pub(crate) fn watched(descriptor: &OwnedFd) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd_unchecked(descriptor.try_clone()?)
}

async fn rings(timer: &pipe::Receiver) -> io::Result<Rung> {
    loop {
        timer.readable().await?;
        let mut expirations = [0_u8; 8];
        match timer.try_read(&mut expirations) {
            Ok(_) => return Ok(Rung::Due),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // What a step of the clock does to a timer armed with CANCEL_ON_SET.
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => return Ok(Rung::Stepped),
            Err(error) => return Err(error),
        }
    }
}

fn to_nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(rest)
}

fn to_timespec(nanos: u64) -> Timespec {
    let time = Duration::from_nanos(nanos);
    let tv_sec = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: i64::from(time.subsec_nanos()) }
}

const FLAGS: TimerfdFlags = TimerfdFlags::NONBLOCK.union(TimerfdFlags::CLOEXEC);
const ZERO: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// The year 2500; the kernel cancels on any step however far away the timer is.
const FAR: i64 = 16_725_225_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_at_its_instant_and_not_before() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::new().unwrap();
            let due = mono().after(Duration::from_millis(5));
            alarm.set(Some(due)).unwrap();
            alarm.rings().await.unwrap();
            assert!(mono() >= due);
            assert!(alarm.is_due(mono()));
            assert!(!alarm.is_due(mono()), "an alarm rings once");
        });
    }

    #[test]
    fn an_alarm_of_the_wall_clock_rings_at_its_date_and_is_armed_anew() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let mut alarm = WallAlarm::new().unwrap();
            assert!(!alarm.is_due(WallTime(u64::MAX)), "nothing is due without a date");
            for _ in 0..2 {
                let due = WallTime(wall().0.saturating_add(5_000_000));
                alarm.set(Some(due)).unwrap();
                assert_eq!(alarm.rings().await.unwrap(), Rung::Due);
                assert!(wall() >= due);
                assert!(alarm.is_due(wall()));
                assert!(!alarm.is_due(wall()), "an alarm rings once");
            }
            alarm.set(Some(WallTime(1))).unwrap();
            assert_eq!(alarm.rings().await.unwrap(), Rung::Due, "what is past is due at once");
            alarm.go_on().unwrap();
            assert_eq!(alarm.rings().await.unwrap(), Rung::Due, "a step loses no date");
        });
    }
}
