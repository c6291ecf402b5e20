//! What came of a change, for who asked for it.

use std::time::Duration;

use axum::response::Response;

use crate::api::Shared;
use crate::api::changes::dto::{Changed, Plan};
use crate::api::changes::{generations, shown};
use crate::api::problem::Problem;
use crate::api::status::json;
use crate::aside::wall_millis;
use crate::engine::effect::ChangeOutcome;
use crate::supervisor::generations::{Waits, Word};
use crate::supervisor::handle::{ChangeAnswer, Pending, Source, What, Who};

#[derive(Debug)]
pub(super) struct Asking {
    pub(super) who: Who,
    /// For its end.
    pub(super) waits: bool,
}

pub(super) async fn carry_out(shared: &Shared, what: What, asking: Asking) -> Result<Response, Problem> {
    let Asking { who, waits } = asking;
    if !waits {
        return begin(shared, what, who).await;
    }
    let began = wall_millis();
    let confirm = match &what {
        What::Apply { confirm, .. } => *confirm,
        What::Plan(_) | What::Approve(_) | What::Reject { .. } => None,
    };
    let approved = match &what {
        What::Approve(generation) => Some(*generation),
        What::Plan(_) | What::Apply { .. } | What::Reject { .. } => None,
    };
    let confirm = confirm.or(shared.handle.definitions().changes.confirm);
    let answer = shared.handle.change(what, who).await?;
    let mut changed = told(shared, answer, Since { began, confirm }).await?;
    if let (Some(approved), Some(generation)) = (approved, changed.generation)
        && approved != generation
        && changed.outcome != "same"
    {
        changed.text =
            format!("generation {approved} became {generation}, with what came since; {}", changed.text);
    }
    Ok(json(&changed, 4096))
}

/// For who does not wait: says what will happen, and lets it.
async fn begin(shared: &Shared, what: What, who: Who) -> Result<Response, Problem> {
    let standing = shared.handle.standing().await?;
    if let Some(progress) =
        standing.progress.filter(|it| what.is_another_change() && it.waits_to_be_confirmed())
    {
        return Err(Problem::Refused(progress.refusal()));
    }
    let from = standing.generation;
    let mut changed =
        plain("begun", from, "it is begun; `mcsup generations` tells what comes of it".to_owned());
    changed.generation = None;
    if let Some(source) = source_of(&what) {
        match shared.handle.change(What::Plan(source), who.clone()).await? {
            ChangeAnswer::Planned(planned) => changed.plan = Some(shown::plan(&planned, from)),
            answer @ (ChangeAnswer::Same
            | ChangeAnswer::Invalid(_)
            | ChangeAnswer::Pending(_)
            | ChangeAnswer::Ended { .. }
            | ChangeAnswer::WaitsToBeConfirmed { .. }
            | ChangeAnswer::Rejected { .. }
            | ChangeAnswer::Refused(_)) => {
                let changed = told(shared, answer, Since { began: 0, confirm: None }).await?;
                return Ok(json(&changed, 1024));
            }
        }
    }
    let handle = shared.handle.clone();
    // Its end is an event, for who follows them.
    drop(tokio::spawn(async move { handle.change(what, who).await }));
    Ok(json(&changed, 4096))
}

fn source_of(what: &What) -> Option<Source> {
    match what {
        What::Plan(source) | What::Apply { source, .. } => Some(source.clone()),
        What::Approve(generation) => Some(Source::Pending(*generation)),
        What::Reject { .. } => None,
    }
}

#[derive(Clone, Copy, Debug)]
struct Since {
    /// When it was asked for, in milliseconds since 1970.
    began: u64,
    /// Time in which it must be confirmed.
    confirm: Option<Duration>,
}

async fn told(shared: &Shared, answer: ChangeAnswer, since: Since) -> Result<Changed, Problem> {
    let changed = match answer {
        ChangeAnswer::Planned(_) => return Err(Problem::Broken("the change came to a plan".to_owned())),
        ChangeAnswer::Invalid(invalid) => return Err(Problem::Invalid(invalid)),
        ChangeAnswer::Refused(why) => return Err(Problem::Refused(why)),
        ChangeAnswer::Same => {
            let generation = shared.handle.standing().await?.generation;
            let in_force =
                generation.map_or_else(String::new, |one| format!(": it is as generation {one} says"));
            plain("same", generation, format!("nothing to do{in_force}"))
        }
        ChangeAnswer::Pending(pending) => {
            let text = pending.words();
            let Pending { generation, waits: Waits { units, settings }, .. } = pending;
            let plan = plan_of(shared, generation).await;
            Changed { well: false, units, settings, plan, ..plain("pending", Some(generation), text) }
        }
        ChangeAnswer::WaitsToBeConfirmed { generation } => {
            let text = format!(
                "generation {generation} works, and goes back by itself unless `mcsup confirm` comes in time"
            );
            Changed {
                plan: plan_of(shared, generation).await,
                confirm_until: until(shared, generation, since).await,
                ..plain("unconfirmed", Some(generation), text)
            }
        }
        ChangeAnswer::Rejected { generation } => {
            plain("rejected", Some(generation), format!("generation {generation} is rejected"))
        }
        ChangeAnswer::Ended { generation, outcome, pending } => {
            let changed = ended(shared, generation, outcome, since).await?;
            return Ok(match pending {
                Some(pending) => less(changed, pending),
                None => changed,
            });
        }
    };
    Ok(changed)
}

async fn ended(
    shared: &Shared,
    generation: u64,
    outcome: ChangeOutcome,
    since: Since,
) -> Result<Changed, Problem> {
    let plan = plan_of(shared, generation).await;
    let summary = plan.as_ref().map_or_else(String::new, |plan| format!(": {}", plan.summary));
    Ok(match outcome {
        ChangeOutcome::Committed => {
            let text = format!("generation {generation} is committed{summary}");
            Changed { plan, ..plain("committed", Some(generation), text) }
        }
        ChangeOutcome::RolledBack { why, is_well } => {
            let end = match (plan.as_ref().and_then(|plan| plan.from), is_well) {
                (Some(from), true) => format!("; generation {from} is in force again"),
                (Some(from), false) => format!("; generation {from} is in force again, and not well"),
                (None, _) => String::new(),
            };
            let text = format!("generation {generation} is rolled back: {why}{end}");
            let incident = incident_of(shared, generation, since).await?;
            Changed { plan, well: false, incident, ..plain("rolled-back", Some(generation), text) }
        }
        ChangeOutcome::Kept { why } => {
            let text = format!("generation {generation} stays in force, and is not well: {why}");
            let incident = incident_of(shared, generation, since).await?;
            Changed { plan, well: false, incident, ..plain("kept", Some(generation), text) }
        }
        ChangeOutcome::Refused(why) => return Err(Problem::Refused(why.into())),
        ChangeOutcome::Interrupted => {
            let text = format!(
                "generation {generation} is interrupted by a shutdown; the next boot reads the directory anew"
            );
            Changed { well: false, ..plain("interrupted", Some(generation), text) }
        }
    })
}

/// A part of what was asked for waits.
fn less(changed: Changed, pending: Pending) -> Changed {
    let text = format!("{}; {}", changed.text, pending.words());
    let Waits { units, settings } = pending.waits;
    Changed { well: false, units, settings, text, ..changed }
}

fn plain(outcome: &str, generation: Option<u64>, text: String) -> Changed {
    Changed {
        outcome: outcome.to_owned(),
        well: true,
        generation,
        text,
        plan: None,
        units: Vec::new(),
        settings: Vec::new(),
        incident: None,
        confirm_until: None,
    }
}

/// What it does to what was there before; `None` where the disk does not tell.
async fn plan_of(shared: &Shared, generation: u64) -> Option<Plan> {
    let planned = generations::on_disk(shared, move |kept| {
        let one = kept.one(generation).ok()?;
        if one.verdict.is_ok_and(|verdict| verdict.word == Word::Pending) {
            let (current, planned) = kept.approving(generation).ok()?;
            return Some((planned, current));
        }
        let parent = one.manifest.ok()?.parent?;
        Some((kept.between(parent, generation).ok()?, parent))
    });
    let (planned, parent) = planned.await.ok()??;
    Some(shown::plan(&planned, Some(parent)))
}

/// The time counts from when it came into force, which is later than this.
async fn until(shared: &Shared, generation: u64, since: Since) -> Option<String> {
    let judged =
        generations::on_disk(shared, move |kept| Some(kept.one(generation).ok()?.verdict.ok()?.at_millis));
    let confirm = u64::try_from(since.confirm?.as_millis()).ok()?;
    Some(shown::date(judged.await.ok()??.saturating_add(confirm)))
}

/// What was written down of it by now.
async fn incident_of(shared: &Shared, generation: u64, since: Since) -> Result<Option<u64>, Problem> {
    let list = shared.handle.incidents(since.began).await?;
    let begins = format!("generation {generation} ");
    let is_its = |row: &&crate::supervisor::handle::Listed| {
        row.row.root.is_none() && row.row.failure.starts_with(&begins)
    };
    Ok(list.incidents.iter().find(is_its).map(|listed| listed.row.id))
}
