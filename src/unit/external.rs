//! External units: what an adapter fills in for a container, a pm2 app or a systemd unit.

use crate::unit::file::UnitFile;
use crate::unit::read::words;
use crate::unit::spec::probe::ProbeKind;
use crate::unit::spec::{Levers, Template};
use crate::unit::words::plain_words;

/// Who runs an external unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adapter {
    /// Nobody in particular: the commands are in the unit file.
    Command,
    Docker,
    Pm2,
    Systemd,
}

words!(Adapter {
    "command" => Self::Command,
    "docker" => Self::Docker,
    "pm2" => Self::Pm2,
    "systemd" => Self::Systemd,
});

impl Adapter {
    /// The program that has verbs for its targets.
    pub(crate) fn program(self) -> Option<&'static str> {
        match self {
            Self::Command => None,
            Self::Docker => Some("docker"),
            Self::Pm2 => Some("pm2"),
            Self::Systemd => Some("systemctl"),
        }
    }

    /// Arguments whose exit status alone says whether the target runs. `docker inspect` and
    /// `pm2 describe` end with 0 for what is stopped too, so there is nothing to ask of them.
    pub(crate) fn asks(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Systemd => Some(&["is-active", "--quiet"]),
            Self::Command | Self::Docker | Self::Pm2 => None,
        }
    }
}

pub(super) fn adapter(unit: &UnitFile) -> Adapter {
    unit.adapter.as_ref().map_or(Adapter::Command, |adapter| adapter.value)
}

/// The adapter's command with `verb`; `None` where it has none or nobody said for which target.
fn filled(unit: &UnitFile, verb: &[&str]) -> Option<Vec<Template>> {
    let program = adapter(unit).program()?;
    let target = unit.target.as_ref()?.value.clone();
    let words = std::iter::once(&program).chain(verb);
    Some(words.map(|word| Template::Plain((*word).into())).chain([target]).collect())
}

/// What the file says, else what the adapter knows.
pub(super) fn levers(unit: &UnitFile) -> Levers {
    let restart = unit.restart.as_ref().and_then(|restart| restart.value.0.command.as_ref());
    let own_start = unit.start.as_ref().map(|command| plain_words(&command.value.0));
    let own_restart = restart.map(|command| plain_words(&command.value.0));
    Levers {
        start: own_start.or_else(|| filled(unit, &["start"])),
        restart: own_restart.or_else(|| filled(unit, &["restart"])),
    }
}

/// The command that stops it.
pub(super) fn stop(unit: &UnitFile) -> Option<Vec<Template>> {
    filled(unit, &["stop"])
}

/// The probe that the adapter brings.
pub(super) fn probe(unit: &UnitFile) -> Option<ProbeKind> {
    let asks = adapter(unit).asks()?;
    filled(unit, asks).map(|command| ProbeKind::Exec { command })
}
