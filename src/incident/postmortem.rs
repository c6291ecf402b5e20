//! The story of an incident in Markdown: what happened, whom it reached, why, and what ended it.

use std::fmt::Write as _;
use std::time::Duration;

use crate::engine::time::Pretty;
use crate::incident::evidence::{Evidence, Exit, Neighbour};
use crate::incident::store::Moment;

/// Everything that a program said is shown as code, so that it cannot pass for the story itself.
pub fn write(evidence: &Evidence, timeline: &[Moment]) -> String {
    let mut page = Page::default();
    page.heading(evidence);
    page.impact(evidence);
    page.cause(evidence);
    page.recovery(evidence);
    page.timeline(evidence, timeline);
    page.evidence(evidence);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
        self.0.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.line(format!("\n## {title}\n"));
    }

    fn heading(&mut self, evidence: &Evidence) {
        let times = evidence.times;
        self.line(format!("# Incident {}: {}\n", evidence.incident, evidence.unit));
        let said = if evidence.failure.said.is_empty() { "trouble" } else { &evidence.failure.said };
        self.line(format!("{}: {}.\n", evidence.unit, code(said)));
        self.line("| | |\n|---|---|");
        self.line(format!("| started | {} |", instant(times.started_millis)));
        let detect = span(times.to_detect());
        self.line(format!("| detected | {} (MTTD {detect}) |", instant(times.detected_millis)));
        match times.recovered_millis.zip(times.to_recover()) {
            Some((at, after)) => {
                self.line(format!("| recovered | {} (MTTR {}) |", instant(at), span(after)));
            }
            None => self.line("| recovered | not yet |"),
        }
        if let Some(exit) = evidence.exit {
            self.line(format!("| exit | {} |", ended(exit)));
        }
        if !evidence.run.is_empty() {
            self.line(format!("| run | {} |", code(&evidence.run)));
        }
    }

    fn impact(&mut self, evidence: &Evidence) {
        self.section("Impact");
        if evidence.affected.is_empty() {
            self.line(format!("Only {} was affected.", evidence.unit));
            return;
        }
        let count = evidence.affected.len();
        let units = if count == 1 { "unit" } else { "units" };
        self.line(format!("{} and {count} more {units}:\n", evidence.unit));
        for name in &evidence.affected {
            let known = evidence.dependents.iter().find(|unit| unit.unit == *name);
            self.line(known.map_or_else(|| format!("- {name}"), |unit| format!("- {}", neighbour(unit))));
        }
    }

    fn cause(&mut self, evidence: &Evidence) {
        self.section("Probable cause");
        let Some((first, others)) = evidence.causes.split_first() else {
            self.line("No rule found one.");
            return;
        };
        self.line(format!("{}.\n", capitalized(&first.sentence)));
        self.line(format!("It rests on: {}", code(&first.fact)));
        if !others.is_empty() {
            self.line("\nLess probable:\n");
        }
        for cause in others {
            self.line(format!("- {}: {}", cause.sentence, code(&cause.fact)));
        }
        if let Some(change) = &evidence.change {
            let (at, what) = (instant(change.at_millis), code(&change.what));
            self.line(format!("\nLast change of the configuration: {at}, {what}"));
        }
    }

    fn recovery(&mut self, evidence: &Evidence) {
        self.section("What healed it");
        for rung in &evidence.rungs {
            let outcome = if rung.outcome.is_empty() { "outcome not known" } else { &rung.outcome };
            self.line(format!("- {} {}: {outcome}", instant(rung.at_millis), code(&rung.rung)));
        }
        if !evidence.rungs.is_empty() {
            self.line("");
        }
        let end = match (evidence.healed_by.as_str(), evidence.times.recovered_millis) {
            ("", Some(_)) => "It recovered by itself.".to_owned(),
            ("", None) => "It has not recovered.".to_owned(),
            (healed, _) => format!("{}.", capitalized(healed)),
        };
        self.line(end);
    }

    fn timeline(&mut self, evidence: &Evidence, timeline: &[Moment]) {
        self.section("Timeline");
        let own = |at_millis, text: &str| Moment {
            at_millis,
            unit: evidence.unit.clone(),
            kind: String::new(),
            text: text.to_owned(),
        };
        let times = evidence.times;
        let mut moments =
            vec![own(times.started_millis, "trouble began"), own(times.detected_millis, "detected")];
        moments.extend(timeline.iter().cloned());
        moments.extend(times.recovered_millis.map(|at| own(at, "recovered")));
        // Stable: what happened in one millisecond keeps its order.
        moments.sort_by_key(|moment| moment.at_millis);
        for Moment { at_millis, unit, kind, text } in moments {
            let kind = if kind.is_empty() { String::new() } else { format!("{kind}: ") };
            self.line(format!("- {} {unit}: {kind}{}", instant(at_millis), one_line(&text)));
        }
    }

    fn evidence(&mut self, evidence: &Evidence) {
        self.section("Evidence");
        if evidence.is_complete() {
            self.line("Complete.");
        } else {
            let missing =
                evidence.incomplete.iter().map(|missing| format!("{} ({})", missing.what, missing.why));
            self.line(format!("Incomplete: {}.", missing.collect::<Vec<_>>().join(", ")));
        }
        if let Some(group) = &evidence.control_group {
            let shared = if group.is_shared { ", which mcsup is in too" } else { "" };
            let events = group.events.iter().map(|(name, count)| format!("{name} {count}"));
            let events = events.collect::<Vec<_>>().join(", ");
            self.line(format!("\nControl group {}{shared}: {events}", code(&group.path)));
        }
        for unit in &evidence.dependencies {
            self.line(format!("\nNeeds {}", neighbour(unit)));
        }
        for answer in evidence.probes.iter().rev().take(PROBES) {
            let took = answer
                .took_micros
                .map_or_else(String::new, |micros| format!(" after {}", span(Duration::from_micros(micros))));
            let (at, verdict, said) = (instant(answer.at_millis), &answer.verdict, code(&answer.said));
            self.line(format!("\nProbe {} at {at}: {verdict}{took}, {said}", answer.probe));
        }
        if !evidence.log.lines.is_empty() {
            let lines = &evidence.log.lines;
            let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
            self.line(format!("\nLast lines of its log:\n\n{}", fenced(last)));
        }
    }
}

fn ended(exit: Exit) -> String {
    let core = if exit.dumped_core { ", core dumped" } else { "" };
    let by = if exit.is_ours { ", sent by mcsup" } else { "" };
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}{by}{core}"),
        (None, None) => "not known".to_owned(),
    }
}

fn neighbour(Neighbour { unit, state, reason, .. }: &Neighbour) -> String {
    if reason.is_empty() { format!("{unit}: {state}") } else { format!("{unit}: {state}, {}", code(reason)) }
}

/// In backticks, more of them than it has in a row.
fn code(text: &str) -> String {
    let text = one_line(text);
    if !text.contains('`') {
        return format!("`{text}`");
    }
    let ticks = "`".repeat(longest_ticks(&text) + 1);
    format!("{ticks} {text} {ticks}")
}

fn fenced(lines: &[String]) -> String {
    let longest = lines.iter().map(|line| longest_ticks(line)).max().unwrap_or(0);
    let fence = "`".repeat(longest.saturating_add(1).max(3));
    let mut text = format!("{fence}text\n");
    for line in lines {
        // Appending to a String cannot fail.
        writeln!(text, "{}", line.replace(char::is_control, " ")).ok();
    }
    text + &fence
}

fn longest_ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Whole milliseconds; days at most.
fn span(time: Duration) -> String {
    Pretty(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))).to_string()
}

/// `2026-11-20 11:00:01.250Z`
fn instant(millis: u64) -> String {
    let stamp = i64::try_from(millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    stamp.map_or_else(|| "?".to_owned(), |stamp| stamp.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string())
}

/// The newest; older ones say the same.
const PROBES: usize = 5;
const LOG_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use crate::incident::cause;
    use crate::incident::evidence::{Answer, Failure, FailureKind, Missing, Port, RungTried};
    use crate::incident::times::Times;

    use super::*;

    const AT: u64 = 1_795_172_401_250;

    fn sample() -> (Evidence, Vec<Moment>) {
        let taken = "Could not create server TCP listening socket *:6379: bind: Address already in use";
        let unit = |unit: &str, state: &str| Neighbour {
            unit: unit.into(),
            state: state.into(),
            reason: "redis is not ready".into(),
            ..Neighbour::default()
        };
        let mut evidence = Evidence {
            incident: 7,
            unit: "redis".into(),
            run: "redis#4:19".into(),
            times: Times {
                started_millis: AT,
                detected_millis: AT + 750,
                recovered_millis: Some(AT + 61_000),
            },
            failure: Failure {
                kind: FailureKind::Exited,
                said: "exited with 1".into(),
                ..Failure::default()
            },
            exit: Some(Exit { code: Some(1), ..Exit::default() }),
            affected: vec!["api".into(), "web".into()],
            dependents: vec![unit("api", "waiting")],
            rungs: vec![RungTried {
                at_millis: AT + 800,
                unit: "redis".into(),
                rung: "restart".into(),
                outcome: "helped".into(),
            }],
            healed_by: "restart helped".into(),
            incomplete: vec![Missing { what: "stacks".into(), why: "not allowed".into() }],
            ..Evidence::default()
        };
        evidence.strangers = vec![Port {
            protocol: "tcp".into(),
            address: "0.0.0.0:6379".into(),
            port: 6379,
            pid: Some(77),
            process: "valkey".into(),
            ..Port::default()
        }];
        evidence.probes = vec![Answer {
            at_millis: AT + 700,
            probe: "redis".into(),
            verdict: "fail".into(),
            said: "connection refused".into(),
            took_micros: Some(1500),
        }];
        evidence.log.lines = vec!["Redis is starting".into(), taken.into(), "a ``` fence\u{1b}[0m".into()];
        evidence.causes = cause::rank(&evidence);
        let moment = |at_millis, unit: &str, kind: &str, text: &str| Moment {
            at_millis,
            unit: unit.into(),
            kind: kind.into(),
            text: text.into(),
        };
        let timeline = vec![
            moment(AT + 750, "redis", "opened", "incident 7"),
            moment(AT + 760, "api", "joined", "redis is not ready"),
            moment(AT + 800, "redis", "rung", "restart"),
        ];
        (evidence, timeline)
    }

    #[test]
    fn the_whole_story_as_it_is_written() {
        let (evidence, timeline) = sample();
        assert_eq!(write(&evidence, &timeline), GOLDEN);
    }

    #[test]
    fn an_incident_of_which_little_is_known_is_a_short_page() {
        let page = write(&Evidence { incident: 1, unit: "a".into(), ..Evidence::default() }, &[]);
        assert!(page.contains("Only a was affected.") && page.contains("No rule found one."), "{page}");
        assert!(page.contains("| recovered | not yet |") && page.contains("It has not recovered."), "{page}");
    }

    const GOLDEN: &str = "\
# Incident 7: redis

redis: `exited with 1`.

| | |
|---|---|
| started | 2026-11-20 11:00:01.250Z |
| detected | 2026-11-20 11:00:02.000Z (MTTD 750ms) |
| recovered | 2026-11-20 11:01:02.250Z (MTTR 1m1s) |
| exit | code 1 |
| run | `redis#4:19` |

## Impact

redis and 2 more units:

- api: waiting, `redis is not ready`
- web

## Probable cause

0.0.0.0:6379 is taken by valkey (pid 77).

It rests on: `Could not create server TCP listening socket *:6379: bind: Address already in use`

## What healed it

- 2026-11-20 11:00:02.050Z `restart`: helped

Restart helped.

## Timeline

- 2026-11-20 11:00:01.250Z redis: trouble began
- 2026-11-20 11:00:02.000Z redis: detected
- 2026-11-20 11:00:02.000Z redis: opened: incident 7
- 2026-11-20 11:00:02.010Z api: joined: redis is not ready
- 2026-11-20 11:00:02.050Z redis: rung: restart
- 2026-11-20 11:01:02.250Z redis: recovered

## Evidence

Incomplete: stacks (not allowed).

Probe redis at 2026-11-20 11:00:01.950Z: fail after 1ms, `connection refused`

Last lines of its log:

````text
Redis is starting
Could not create server TCP listening socket *:6379: bind: Address already in use
a ``` fence [0m
````
";
}
