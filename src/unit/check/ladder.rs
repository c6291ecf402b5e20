//! Rungs that can never help.

use crate::unit::check::kind::noun;
use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::ladder::{ReloadFile, RungFile};
use crate::unit::lower::works::can_restart;
use crate::unit::names::Draft;
use crate::unit::nearest::nearest;
use crate::unit::read::At;
use crate::unit::settings::SettingsFile;
use crate::unit::spec::{UnitKind, UnitSpec};
use crate::unit::value::Word;

/// `settings`: where alerts lead, if that is known.
pub(super) fn check(
    draft: &Draft,
    body: &UnitSpec,
    settings: Option<&SettingsFile>,
    out: &mut Vec<Diagnostic>,
) {
    let Some(recover) = &draft.unit.recover else { return };
    let mut stopped: Option<Place> = None;
    for rung in recover.value.rungs() {
        if let Some(stop) = stopped {
            out.push(
                Diagnostic::error(
                    "never-reached",
                    rung.key,
                    "this rung is never reached: `stop` is the last one",
                )
                .related(stop, "stopped here")
                .help("move it before `stop`"),
            );
            break;
        }
        match &rung.value {
            RungFile::Stop => stopped = Some(rung.key),
            RungFile::Alert(channel) => {
                if let Some(settings) = settings {
                    known_channel(channel, settings, out);
                }
            }
            RungFile::Exec { timeout, .. } => {
                if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.value.is_zero()) {
                    out.push(
                        Diagnostic::error(
                            "bad-value",
                            timeout.place,
                            "`timeout: 0` leaves no time to repair anything",
                        )
                        .help("write how long the program may take"),
                    );
                }
            }
            RungFile::Restart { .. } | RungFile::Reload(_) => {}
        }
        if let Some((message, help)) = impossible(&rung.value, body) {
            out.push(Diagnostic::error("not-for-kind", rung.key, message).help(help));
        }
    }
    if let Some(settle) = recover.value.0.settle.as_ref().filter(|settle| settle.value.is_zero()) {
        out.push(
            Diagnostic::error("bad-value", settle.place, "`settle: 0` leaves no rung the time to help")
                .help("write how long the unit may take to be ready again"),
        );
    }
    let is_judged = draft.unit.health.is_some() || draft.unit.watchdog.is_some();
    if draft.kind == UnitKind::Service && !is_judged && !body.recover.rungs.is_empty() && draft.is_sound {
        let message = "nothing finds this unit unhealthy, so this is never tried";
        out.push(
            Diagnostic::warning("no-health", recover.key, message)
                .help("add `health` or `watchdog`; when its process ends, `restart` decides"),
        );
    }
}

fn known_channel(channel: &At<Word>, settings: &SettingsFile, out: &mut Vec<Diagnostic>) {
    let name = &*channel.value.0;
    let names = || settings.alerts.iter().flat_map(|alerts| alerts.value.names());
    if names().any(|known| known == name) {
        return;
    }
    let help = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names().next().is_none() => {
            format!("add it to mcsup.yaml: `alerts: {{{name}: {{webhook: https://...}}}}`")
        }
        None => format!("mcsup.yaml defines: {}", names().collect::<Vec<_>>().join(", ")),
    };
    let message = format!("mcsup.yaml defines no channel `{name}`");
    out.push(Diagnostic::error("unknown-channel", channel.place, message).help(help));
}

/// What a unit of this kind, with these levers, cannot do.
fn impossible(rung: &RungFile, body: &UnitSpec) -> Option<(String, &'static str)> {
    let cannot = |what: &str| format!("{} cannot be {what}", noun(body.kind));
    match (body.kind, rung) {
        (UnitKind::Gate, RungFile::Restart { .. }) => {
            Some((cannot("restarted"), "it has `exec` and `alert` alone"))
        }
        (UnitKind::Gate, RungFile::Reload(_)) => {
            Some((cannot("reloaded"), "it has `exec` and `alert` alone"))
        }
        (UnitKind::Gate, RungFile::Stop) => {
            Some((cannot("stopped by itself"), "it has `exec` and `alert` alone"))
        }
        (UnitKind::External, RungFile::Reload(ReloadFile::Signal(_))) => Some((
            "what is not started by mcsup is not signalled by it".into(),
            "write the command that reloads it, as a list",
        )),
        (UnitKind::External, RungFile::Restart { .. }) if !can_restart(body) => Some((
            "nothing restarts this unit".into(),
            "give it `restart: [...]`, both `start` and `stop`, or an `adapter`",
        )),
        (UnitKind::External, RungFile::Stop) if body.stop.command.is_none() => {
            Some(("nothing stops this unit".into(), "give it `stop: [...]` or an `adapter`"))
        }
        (
            UnitKind::Job,
            RungFile::Exec { .. } | RungFile::Restart { .. } | RungFile::Reload(_) | RungFile::Stop,
        ) => Some((cannot("repaired so"), "it has `alert` alone; `retries` says how often it runs again")),
        (UnitKind::Service | UnitKind::Task | UnitKind::Job | UnitKind::External | UnitKind::Gate, _) => None,
    }
}
