//! 12: what the answers of probes make of a unit's health.

use std::collections::BTreeMap;

use crate::engine::event::Verdict;
use crate::engine::id::UnitId;
use crate::engine::invariants::{Auditor, Look};
use crate::engine::state::Health;
use crate::engine::time::Timestamp;
use crate::unit::spec::probe::ProbeSpec;

/// The counted answers of one probe since its unit was started or adopted, the newest last.
#[derive(Clone, Debug, Default)]
struct Answers {
    failures: Vec<bool>,
    has_passed: bool,
}

/// Answers of all probes.
#[derive(Clone, Debug, Default)]
pub(super) struct Polls {
    of: BTreeMap<(UnitId, u16), Answers>,
    /// Runs in which a probe has passed: `start_period` is over.
    over: BTreeMap<UnitId, bool>,
}

impl Polls {
    pub(super) fn begin(&mut self, unit: UnitId, is_start_over: bool) {
        self.of.retain(|(of, _), _| *of != unit);
        self.over.insert(unit, is_start_over);
    }

    pub(super) fn learn(
        &mut self,
        now: Timestamp,
        ordered_at: Timestamp,
        (unit, index): (UnitId, u16),
        spec: &ProbeSpec,
        verdict: &Verdict,
    ) {
        let is_over = self.over.entry(unit).or_default();
        let answers = self.of.entry((unit, index)).or_default();
        match verdict {
            Verdict::Pass(_) => {
                *is_over = true;
                answers.has_passed = true;
                answers.failures.push(false);
            }
            Verdict::Fail(_) => {
                let is_forgiven = !*is_over && now.since(ordered_at) < spec.start_period;
                if !is_forgiven {
                    answers.failures.push(true);
                }
            }
            Verdict::Error(_) => {}
        }
        let most = usize::from(spec.retries.of);
        let extra = answers.failures.len().saturating_sub(most);
        answers.failures.drain(..extra);
    }

    fn failures(&self, unit: UnitId, index: u16) -> usize {
        self.of.get(&(unit, index)).map_or(0, |answers| answers.failures.iter().filter(|it| **it).count())
    }
}

impl Auditor {
    /// Failing needs as many failures as the definition says; passing a pass of every probe.
    pub(super) fn health(&self, look: &mut Look<'_>, id: UnitId, health: Health) {
        let Some(spec) = self.shadow.spec(id) else { return };
        let polls = &self.shadow.polls;
        let mut probes = (0_u16..).zip(&spec.health);
        let fails =
            |(index, probe): (u16, &ProbeSpec)| polls.failures(id, index) >= usize::from(probe.retries.count);
        match health {
            Health::Unknown => {}
            Health::Failing => {
                if !probes.any(fails) {
                    look.violate(12, format!("{} is called failing after too few failures", spec.name));
                }
            }
            Health::Passing => {
                let passed = |index| polls.of.get(&(id, index)).is_some_and(|answers| answers.has_passed);
                if probes.any(|(index, _)| !passed(index)) {
                    look.violate(12, format!("{} is called passing and a probe never passed", spec.name));
                }
            }
        }
    }
}
