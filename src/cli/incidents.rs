//! `mcsup incidents`

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::dto::{Incident, IncidentDetail, IncidentTimes, Incidents};
use crate::api::parameters::encode;
use crate::cli::client::{Client, block_on, read};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::{
    Cell, Colour, Paint, Table, ago, cell, is_terminal, local, local_date, one_line, out, terminal_size,
};
use crate::engine::time::Pretty;
use crate::log::since;

/// Show what went wrong; one incident alone with its cause and timeline
#[derive(Debug, clap::Args)]
#[command(after_help = "Ends with 1 while an incident that is shown is open, else with 0.\n\n\
    Example:\n  mcsup incidents --since today\n  mcsup incidents 7\n  mcsup incidents 7 --postmortem > 7.md")]
pub(crate) struct Args {
    /// One incident, by its number
    #[arg(value_name = "ID")]
    id: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// As a page in Markdown: what happened, whom it reached, why, what ended it
    #[arg(long, requires = "id", conflicts_with = "json")]
    postmortem: bool,
    /// Only those since then: `10m` ago, `today`, `06:00`, `2026-11-20 06:00`
    #[arg(long, value_name = "T", conflicts_with = "id")]
    since: Option<String>,
    /// Only those that are not over
    #[arg(long, conflicts_with = "id")]
    open: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    if let Some(text) = &args.since {
        since::parse(text, since::now()).map_err(|why| Failure::new(Exit::Usage, why))?;
    }
    let client = Client::new(home)?;
    block_on(async {
        match args.id {
            Some(id) if args.postmortem => {
                let bytes = client.get(&format!("/v1/incidents/{id}/postmortem")).await?;
                out(&String::from_utf8_lossy(&bytes));
                Ok(Outcome::Done)
            }
            Some(id) => one(&client, id, args.json).await,
            None => list(&client, args).await,
        }
    })
}

async fn list(client: &Client, args: &Args) -> Result<Outcome, Failure> {
    let since = args.since.as_ref().map(|since| format!("&since={}", encode(since))).unwrap_or_default();
    let bytes = client.get(&format!("/v1/incidents?open={}{since}", args.open)).await?;
    let found: Incidents = read(&bytes)?;
    if args.json {
        out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
    } else {
        let width = is_terminal().then(terminal_size).flatten().map(|(columns, _)| columns);
        out(&table(&found, since::now(), Paint::for_output(), width));
    }
    Ok((!found.incidents.iter().any(|incident| incident.open)).into())
}

async fn one(client: &Client, id: u64, is_json: bool) -> Result<Outcome, Failure> {
    let bytes = client.get(&format!("/v1/incidents/{id}")).await?;
    let detail: IncidentDetail = read(&bytes)?;
    if is_json {
        out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
    } else {
        out(&block(&detail, since::now(), Paint::for_output()));
    }
    Ok((!detail.incident.open).into())
}

fn table(found: &Incidents, now: Timestamp, paint: Paint, width: Option<usize>) -> String {
    let mut text = summary(&found.times) + "\n";
    if !found.gap.is_empty() {
        text += &format!("older ones may be missing: {}\n", one_line(&found.gap));
    }
    if found.incidents.is_empty() {
        return text;
    }
    let mut table = Table::new(["", ">ID", "BEGAN", ">LASTED", "UNIT", ">REACHED", "CAUSE"]);
    for incident in &found.incidents {
        table.whole_row(row(incident, now));
    }
    text + "\n" + &table.text(paint, width)
}

fn row(incident: &Incident, now: Timestamp) -> [Cell<'_>; 7] {
    let mark = if incident.open { cell("!", Colour::Bad) } else { cell(" ", Colour::Plain) };
    let cause = match (incident.cause.as_str(), incident.failure.as_str()) {
        ("", failure) => failure,
        (cause, _) => cause,
    };
    [
        mark,
        cell(incident.id.to_string(), Colour::Plain),
        cell(local(&incident.started, now), Colour::Plain),
        cell(lasted(incident, now), Colour::Plain),
        cell(incident.unit.as_deref().unwrap_or("mcsup"), Colour::Plain),
        cell(incident.affected.len().to_string(), Colour::Plain),
        cell(one_line(cause), Colour::Plain),
    ]
}

/// `12s`, or `for 12s` while it lasts.
fn lasted(incident: &Incident, now: Timestamp) -> String {
    let began = &incident.started;
    match &incident.recovered {
        Some(end) => end.parse().map_or_else(|_unreadable| "?".to_owned(), |end| ago(began, end)),
        None if incident.open => format!("for {}", ago(began, now)),
        None => "-".to_owned(),
    }
}

/// `3 incidents, 1 open; detected within 2s, mended within 31s (medians)`
fn summary(times: &IncidentTimes) -> String {
    let plural = if times.incidents == 1 { "" } else { "s" };
    let mut text = format!("{} incident{plural}, {} open", times.incidents, times.open);
    let parts: Vec<String> = [("MTTD", times.mttd_mean_ms), ("MTTR", times.mttr_mean_ms)]
        .into_iter()
        .filter_map(|(name, ms)| Some(format!("{name} {}", Pretty(Duration::from_millis(ms?)))))
        .collect();
    if !parts.is_empty() {
        text += &format!("; {}", parts.join(", "));
    }
    text
}

fn block(detail: &IncidentDetail, now: Timestamp, paint: Paint) -> String {
    let incident = &detail.incident;
    let unit = incident.unit.as_deref().unwrap_or("mcsup");
    let standing = if incident.open { paint.paint(Colour::Bad, "open") } else { "over".to_owned() };
    let mut text = format!("incident {} of {}, {standing}\n", incident.id, paint.paint(Colour::Strong, unit));
    for (label, value) in fields(detail, now) {
        let label = paint.paint(Colour::Faint, &format!("{label:<10}"));
        text += &format!("  {label} {}\n", one_line(&value));
    }
    if !detail.timeline.is_empty() {
        text += &format!("  {}\n", paint.paint(Colour::Faint, "timeline"));
    }
    let skipped = detail.timeline.len().saturating_sub(MOMENTS_SHOWN);
    if skipped > 0 {
        text += &format!("    {skipped} earlier moments: mcsup incidents {} --json\n", incident.id);
    }
    for moment in detail.timeline.iter().skip(skipped) {
        let unit = moment.unit.as_deref().unwrap_or("mcsup");
        text += &format!("    {}  {unit:<12}  {}\n", local(&moment.at, now), one_line(&moment.text));
    }
    text
}

fn fields(detail: &IncidentDetail, now: Timestamp) -> Vec<(&'static str, String)> {
    let incident = &detail.incident;
    let mut fields = vec![("failure", incident.failure.clone())];
    match detail.causes.first() {
        Some(cause) => {
            fields.push(("cause", cause.text.clone()));
            fields.push(("rests on", cause.rests_on.clone()));
        }
        None => fields.push(("cause", "no rule found one".to_owned())),
    }
    fields.extend(detail.causes.iter().skip(1).take(2).map(|cause| ("or", cause.text.clone())));
    fields.push(("began", local_date(&incident.started)));
    fields.push(("lasted", lasted(incident, now)));
    if !incident.affected.is_empty() {
        fields.push(("reached", incident.affected.join(", ")));
    }
    if !incident.verdict.is_empty() {
        fields.push(("ended", incident.verdict.clone()));
    }
    if !detail.missing.is_empty() {
        fields.push(("missing", detail.missing.join("; ")));
    }
    if detail.evidence.is_some() {
        fields.push(("evidence", detail.directory.clone()));
    }
    fields
}

/// What fits on a screen; the rest is for --json.
const MOMENTS_SHOWN: usize = 30;
