//! What is tried when a unit does not work, and who hears of it.

use std::borrow::Cow;
use std::time::Duration;

use crate::unit::spec::{SignalNumber, Template, UnitId};

/// Rungs for an unhealthy unit, the next where the one before did not help.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// Default: one restart for what can be restarted, nothing for gates and tasks.
    pub rungs: Cow<'static, [Rung]>,
    /// A rung has helped when the unit is ready again within this time. Default 10 s.
    pub settle: Duration,
}

impl Ladder {
    pub const SETTLE: Duration = Duration::from_secs(10);
    /// Shared by all who say nothing.
    const USUAL: &[Rung] = &[Rung::Restart { with: Vec::new() }];

    /// Nothing is tried.
    pub fn empty() -> Self {
        Self { rungs: Cow::Borrowed(&[]), settle: Self::SETTLE }
    }

    /// What holds where nothing is said.
    pub fn restart() -> Self {
        Self { rungs: Cow::Borrowed(Self::USUAL), settle: Self::SETTLE }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Rung {
    /// A repair program; told unit, cause and incident by its environment.
    Exec {
        command: Vec<Template>,
        /// Killed with everything it started after this long. Default 1 min.
        timeout: Duration,
    },
    /// Stops and starts the unit; the units of `with` go first.
    Restart {
        with: Vec<UnitId>,
    },
    Reload(Reload),
    /// Stops it and leaves it failed.
    Stop,
    /// Tells a channel of mcsup.yaml's `alerts`; the next rung follows at once.
    Alert {
        channel: Box<str>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reload {
    /// To the main process.
    Signal(SignalNumber),
    Command(Vec<Template>),
}

/// Where alerts go, by the name that `recover` uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub name: Box<str>,
    pub route: Route,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// POSTs JSON; http or https.
    Webhook { url: Box<str> },
    /// The message as JSON on stdin.
    Exec { command: Vec<Box<str>> },
}

/// Pings an outside watcher, so that a dead host is not silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub url: Box<str>,
    /// Default 1 min, at least 1 s.
    pub every: Duration,
}
