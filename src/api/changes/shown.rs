//! Plans and generations as clients are told of them.

use crate::api::changes::dto;
use crate::api::status::rfc3339;
use crate::engine::time::WallTime;
use crate::graph::{Action, Because, Step};
use crate::supervisor::generations::{Summary, Waits, Word};
use crate::supervisor::handle::{ChangeCause, ChangeStage, Pending, Planned, Standing, Who};
use crate::supervisor::words::name_of;
use crate::unit::difference::{Difference, KEYS, Key, SETTINGS};

pub(crate) fn plan(planned: &Planned, from: Option<u64>) -> dto::Plan {
    let steps: Vec<dto::PlanStep> = planned.plan.steps.iter().map(|one| step(one, planned)).collect();
    let all = planned.set.present().count();
    let in_it = planned.plan.steps.iter().filter(|step| step.action != Action::Remove).count();
    let untouched = all.saturating_sub(in_it) as u64;
    let waits = planned.waits_for();
    dto::Plan {
        from,
        same: false,
        settings: planned.plan.settings.iter().map(|one| difference(one, SETTINGS)).collect(),
        untouched,
        approval: waits.units,
        approval_settings: waits.settings,
        warnings: planned.warnings.clone(),
        summary: summary(&planned.plan.steps, !planned.plan.settings.is_empty(), untouched),
        steps,
    }
}

/// Of what says the same word for word.
pub(crate) fn no_plan(from: Option<u64>, untouched: u64) -> dto::Plan {
    dto::Plan { from, same: true, untouched, summary: summary(&[], false, untouched), ..dto::Plan::default() }
}

pub(crate) fn pending(pending: &Pending) -> dto::Pending {
    let Waits { units, settings } = pending.waits.clone();
    dto::Pending { generation: pending.generation, units, settings, of_directory: pending.is_of_directory }
}

fn step(step: &Step, planned: &Planned) -> dto::PlanStep {
    let name = |unit| name_of(&planned.set, unit).to_owned();
    let follows = match step.because {
        Because::Itself => None,
        Because::Follows(unit) => Some(name(unit)),
    };
    let was = match &step.action {
        Action::Rename { was } => Some(was.to_string()),
        Action::Start
        | Action::Add
        | Action::Remove
        | Action::Restart
        | Action::Enable
        | Action::Disable
        | Action::Live
        | Action::Metadata
        | Action::FollowRestart
        | Action::FollowStop => None,
    };
    dto::PlanStep {
        unit: name(step.unit),
        action: action(&step.action).to_owned(),
        text: text(step, follows.as_deref()),
        follows,
        was,
        differences: step.differences.iter().map(|one| difference(one, KEYS)).collect(),
    }
}

fn action(action: &Action) -> &'static str {
    match action {
        Action::Start => "start",
        Action::Add => "add",
        Action::Remove => "remove",
        Action::Restart => "restart",
        Action::Enable => "enable",
        Action::Disable => "disable",
        Action::Live => "live",
        Action::Metadata => "metadata",
        Action::Rename { .. } => "rename",
        Action::FollowRestart => "follow-restart",
        Action::FollowStop => "follow-stop",
    }
}

fn text(step: &Step, follows: Option<&str>) -> String {
    let with = follows.unwrap_or("another unit");
    match &step.action {
        Action::Start => "is new, and starts".to_owned(),
        Action::Add => "is new, and not enabled".to_owned(),
        Action::Remove => "stops and goes: its file is gone".to_owned(),
        Action::Restart => "restarts".to_owned(),
        Action::Enable => "is enabled, and starts".to_owned(),
        Action::Disable => "is not enabled any more, and stops".to_owned(),
        Action::Live => "goes on, and has it from now on".to_owned(),
        Action::Metadata => "goes on: only people read what differs".to_owned(),
        Action::Rename { was } => format!("goes on under this name; it was `{was}`"),
        Action::FollowRestart => format!("restarts with {with}"),
        Action::FollowStop => format!("stops with {with}"),
    }
}

fn difference(difference: &Difference, known: &[Key]) -> dto::KeyDifference {
    let why = known.iter().find(|key| key.name == difference.key).map_or("", |key| key.why);
    dto::KeyDifference {
        key: difference.key.to_owned(),
        path: difference.path.clone(),
        class: difference.class.to_string(),
        why: why.to_owned(),
        before: difference.before.clone(),
        after: difference.after.clone(),
    }
}

/// `2 restart, 1 starts, 1 goes; 997 untouched`
fn summary(steps: &[Step], are_settings_other: bool, untouched: u64) -> String {
    let count = |wanted: &dyn Fn(&Action) -> bool| steps.iter().filter(|step| wanted(&step.action)).count();
    let counted = [
        (count(&|it| matches!(it, Action::Restart | Action::FollowRestart)), "restarts", "restart"),
        (count(&|it| matches!(it, Action::Start | Action::Enable)), "starts", "start"),
        (count(&|it| matches!(it, Action::Disable | Action::FollowStop)), "stops", "stop"),
        (count(&|it| *it == Action::Remove), "goes", "go"),
        (count(&|it| *it == Action::Add), "comes and stays down", "come and stay down"),
        (count(&|it| *it == Action::Live), "changes as it runs", "change as they run"),
        (count(&|it| matches!(it, Action::Rename { .. })), "is renamed", "are renamed"),
        (count(&|it| *it == Action::Metadata), "changes for its readers", "change for their readers"),
    ];
    let mut parts: Vec<String> = counted
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more }))
        .collect();
    if are_settings_other {
        parts.push("settings change".to_owned());
    }
    if parts.is_empty() {
        parts.push("nothing to do".to_owned());
    }
    format!("{}; {untouched} untouched", parts.join(", "))
}

/// How the directory stands, in a sentence; `None` where it says what is in force, and saves are seen.
pub(crate) fn standing(standing: &Standing) -> Option<String> {
    let parts: Vec<String> = directory(standing).into_iter().chain(standing.unwatched.clone()).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn directory(standing: &Standing) -> Option<String> {
    let Standing { generation, under_way, progress, invalid, pending, differs, unwatched: _ } = standing;
    let differs_from = |how: &str| match generation {
        Some(generation) => format!("units directory differs from generation {generation}: {how}"),
        None => format!("units directory: {how}"),
    };
    if let Some(progress) = progress {
        return Some(progress.to_string());
    }
    if let Some(under_way) = under_way {
        return Some(format!("generation {under_way} is under way"));
    }
    let mut parts: Vec<String> = pending.iter().map(Pending::words).collect();
    match invalid {
        Some(invalid) => parts.push(differs_from(&errors(invalid.errors))),
        None => parts.extend(differs.as_deref().map(differs_from)),
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The same of the change under way alone, for programs.
pub(crate) fn under_way(standing: &Standing) -> Option<dto::ChangeUnderWay> {
    let progress = standing.progress.as_ref()?;
    let why = match &progress.stage {
        ChangeStage::GoingBack(why) => Some(why.clone()),
        ChangeStage::Applying | ChangeStage::Verifying | ChangeStage::Confirming => None,
    };
    Some(dto::ChangeUnderWay {
        generation: progress.generation,
        stage: progress.stage.word().to_owned(),
        until: progress.until.map(rfc3339),
        why,
    })
}

pub(crate) fn errors(errors: usize) -> String {
    if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") }
}

pub(crate) fn date(millis: u64) -> String {
    rfc3339(WallTime(millis.saturating_mul(NANOS_PER_MILLI)))
}

const NANOS_PER_MILLI: u64 = 1_000_000;

pub(crate) fn generation(summary: &Summary) -> dto::Generation {
    let (manifest, verdict) = (summary.manifest.as_ref().ok(), summary.verdict.as_ref().ok());
    let damaged = summary.manifest.as_ref().err().or_else(|| summary.verdict.as_ref().err()).cloned();
    dto::Generation {
        number: summary.number,
        current: summary.is_current,
        at: manifest.map(|manifest| date(manifest.at_millis)),
        cause: manifest.map(|manifest| cause(manifest.cause)),
        who: manifest.and_then(|manifest| person(&manifest.who)),
        parent: manifest.and_then(|manifest| manifest.parent),
        files: manifest.map_or(0, |manifest| manifest.files.len() as u64),
        bytes: manifest.map_or(0, |manifest| manifest.bytes()),
        verdict: verdict.map(|verdict| word(verdict.word).to_owned()),
        judged_at: verdict.map(|verdict| date(verdict.at_millis)),
        judged_by: verdict.map(|verdict| verdict.by.clone()).filter(|by| !by.is_empty()),
        why: verdict.map(|verdict| verdict.why.clone()).unwrap_or_default(),
        pin: summary.pin.clone(),
        damaged,
    }
}

/// Nobody is known of a save.
fn person(who: &Who) -> Option<dto::Person> {
    let Who { uid, user, pid, from } = who.clone();
    (!from.is_empty()).then_some(dto::Person { uid, user, pid, from })
}

fn cause(cause: ChangeCause) -> String {
    match cause {
        ChangeCause::Boot => "boot".to_owned(),
        ChangeCause::Save => "save".to_owned(),
        ChangeCause::Reload => "reload".to_owned(),
        ChangeCause::Apply => "apply".to_owned(),
        ChangeCause::Edit => "edit".to_owned(),
        ChangeCause::Put => "put".to_owned(),
        ChangeCause::Rollback(to) => format!("rollback to {to}"),
        ChangeCause::Approve(approved) => format!("approve {approved}"),
    }
}

pub(crate) fn word(word: Word) -> &'static str {
    match word {
        Word::Candidate => "candidate",
        Word::Pending => "pending",
        Word::Verifying => "verifying",
        Word::Committed => "committed",
        Word::Rejected => "rejected",
        Word::Superseded => "superseded",
    }
}
