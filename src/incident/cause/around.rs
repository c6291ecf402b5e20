//! Rules that rest on what happened around the unit.

use std::time::Duration;

use crate::engine::time::Pretty;
use crate::incident::cause::{Cause, Rule, cause, says};
use crate::incident::evidence::{Evidence, FailureKind, Neighbour};

/// A unit that it needs did not work when it failed.
pub(super) fn dependency_down(evidence: &Evidence) -> Option<Cause> {
    let is_down = |unit: &&Neighbour| DOWN.contains(&unit.state.as_str());
    // The one that was in trouble first is the likelier cause of the others.
    let unit = evidence.dependencies.iter().filter(is_down).min_by_key(|unit| unit.since_millis)?;
    let sentence = format!("{}, which it needs, is {}", unit.unit, unit.state);
    let fact =
        if unit.reason.is_empty() { sentence.clone() } else { format!("{}: {}", unit.unit, unit.reason) };
    // What went down afterwards may have been taken along.
    let was_first = unit.since_millis <= evidence.times.detected_millis.max(evidence.times.started_millis);
    cause(Rule::DependencyDown, if was_first { 91 } else { 58 }, sentence, fact)
}

pub(super) fn configuration_changed(evidence: &Evidence) -> Option<Cause> {
    let change = evidence.change.as_ref()?;
    let ago = evidence.times.started_millis.checked_sub(change.at_millis)?;
    let ago = Duration::from_millis(ago);
    (ago <= RECENT).then_some(())?;
    // That a file is young says little by itself: whatever was seen to go wrong comes first.
    let score = if ago <= JUST { 44 } else { 42 };
    let sentence =
        format!("its configuration was changed {} before", Pretty(Duration::from_secs(ago.as_secs())));
    cause(Rule::ConfigurationChanged, score, sentence, change.what.clone())
}

pub(super) fn timeout(evidence: &Evidence) -> Option<Cause> {
    let failure = &evidence.failure;
    let is_late = |text: &str| {
        let lower = text.to_lowercase();
        ["no answer within", "timed out", "timeout", "not ready within"]
            .iter()
            .any(|word| lower.contains(word))
    };
    let sentence = match failure.kind {
        FailureKind::StartTimeout => "it was not ready in time",
        FailureKind::Watchdog => "it did not say in time that it lives",
        FailureKind::Unhealthy if is_late(&failure.said) => "it did not answer its probe in time",
        FailureKind::Unhealthy
        | FailureKind::Exited
        | FailureKind::NotStarted
        | FailureKind::Dependency
        | FailureKind::Other => return None,
    };
    // Where it hangs is the best hint there is.
    let main = evidence.processes.first().and_then(|process| process.threads.first());
    let place = main.filter(|thread| !thread.waits_in.is_empty());
    let fact = place.map_or_else(String::new, |thread| format!("; it waits in {}", thread.waits_in));
    cause(Rule::Timeout, 50, sentence, format!("{}{fact}", failure.said))
}

/// It ended before it can have done anything: the last words are what is known.
pub(super) fn exit_after_start(evidence: &Evidence) -> Option<Cause> {
    let exit = evidence.exit.filter(|exit| exit.code.is_some_and(|code| code != 0))?;
    let started = evidence.restarts.last()?.at_millis;
    let lived = Duration::from_millis(evidence.times.started_millis.checked_sub(started)?);
    (lived <= SOON).then_some(())?;
    let code = exit.code.unwrap_or_default();
    let sentence = format!("it exited with {code} only {} after its start", Pretty(lived));
    let fact = says::last_words(evidence).map_or_else(|| evidence.failure.said.clone(), ToOwned::to_owned);
    cause(Rule::ExitAfterStart, 45, sentence, fact)
}

/// States, as `status` names them, in which a unit is of no use to others.
const DOWN: &[&str] = &["unhealthy", "backoff", "failed", "stopping", "inactive"];
/// A change this old explains little.
const RECENT: Duration = Duration::from_secs(15 * 60);
/// About what a restart and its probes take to show that a change was bad.
const JUST: Duration = Duration::from_secs(2 * 60);
/// A program that read its configuration and said no.
const SOON: Duration = Duration::from_secs(5);
