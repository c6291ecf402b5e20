//! The facts that a gate's expression is about, gathered when it is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::aside::Threads;
use crate::engine::Engine;
use crate::engine::id::ProbeRunId;
use crate::engine::state::StateName;
use crate::engine::time::Now;
use crate::expr::{self, Facts};
use crate::guard::Guard;
use crate::guard::disk::{Disk, disk_within};
use crate::probe::question::Question;
use crate::supervisor::evidence::date;
use crate::supervisor::executor::Executor;
use crate::unit::spec::UnitSet;
use crate::unit::spec::probe::Expression;

impl Executor {
    /// Asks whether a gate's expression holds.
    pub(crate) fn begin_check(
        &mut self,
        now: Now,
        probe: ProbeRunId,
        expression: Expression,
        limit: Duration,
        engine: &Engine,
    ) {
        let units = speaks_of(&expression, "units").then(|| units(engine, &self.ground.set, now));
        let (guard, disks) = (self.witness.guard.clone(), self.probes.disks.clone());
        // What comes too late is missing, and the expression says what it misses.
        let share = limit / 2;
        let facts = async move {
            let mut facts = Facts::new();
            facts.extend(units.map(|units| ("units".to_owned(), units)));
            facts.extend(host(&guard, &expression, now, share).await);
            let paths = if speaks_of(&expression, "disk") { expr::disks(&expression) } else { Vec::new() };
            if !paths.is_empty() {
                facts.insert("disk".to_owned(), room(&disks, paths, share).await);
            }
            Ok(Question::Check { expression, facts })
        };
        self.probes.ask(probe, limit, facts);
    }
}

fn speaks_of(expression: &Expression, name: &str) -> bool {
    expression.0.contains(name)
}

/// Each unit by its name.
pub(crate) fn units(engine: &Engine, set: &UnitSet, now: Now) -> Value {
    let unit = |id| {
        let (spec, status) = (set.unit(id)?, engine.status(id)?);
        let facts = json!({
            "state": status.state.as_str(),
            "ready": status.state == StateName::Ready,
            "health": status.health.map(|health| health.as_str()),
            "restarts": status.restarts,
            "since": date(now, status.since) / 1000,
            "seconds": now.mono.since(status.since).as_secs(),
        });
        Some((spec.name.to_string(), facts))
    };
    Value::Object(set.present().filter_map(unit).collect::<Map<_, _>>())
}

/// The host is looked at only for who asks for it.
async fn host(guard: &Guard, expression: &Expression, now: Now, limit: Duration) -> Facts {
    if !speaks_of(expression, "guard") && !speaks_of(expression, "host") {
        return Facts::new();
    }
    match guard.ask(now, limit).await.map(|figures| figures.context()) {
        Some(Value::Object(facts)) => facts,
        Some(_) | None => Facts::new(),
    }
}

/// By path, what [`expr::disks`] asks for. A path that cannot be looked at has no figures.
async fn room(threads: &Threads, paths: Vec<String>, limit: Duration) -> Value {
    let mut found = BTreeMap::new();
    for path in paths.into_iter().take(MOST_PATHS) {
        if let Ok(disk) = disk_within(threads, PathBuf::from(&path), limit).await {
            found.insert(path, figures(&disk));
        }
    }
    json!(found)
}

fn figures(disk: &Disk) -> Value {
    json!({"used": disk.used_percent, "free": disk.free_bytes, "total": disk.total_bytes})
}

/// How many of the runtime's threads gates may take.
pub(crate) const GATE_THREADS: usize = 2;
const MOST_PATHS: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::engine::state::Health;
    use crate::engine::time::{Timestamp, WallTime};
    use crate::engine::{BugPolicy, Options};
    use crate::unit::SourceFile;
    use crate::unit::expression::shape::{self, Shape};

    use super::*;

    fn names_of(shape: &Shape) -> BTreeSet<&str> {
        shape.field_names().into_iter().collect()
    }

    fn keys_of(facts: &Value) -> BTreeSet<&str> {
        facts.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn an_expression_may_name_what_is_told_and_nothing_else() {
        let file = SourceFile { name: "a.yaml".into(), bytes: b"command: [x]\n".to_vec() };
        let set = std::sync::Arc::new(crate::graph::load(&[file]).set.unwrap());
        let options = Options { seed: 1, bug_policy: BugPolicy::Panic };
        let engine = Engine::new(std::sync::Arc::clone(&set), options);
        let now = Now { mono: Timestamp(0), wall: WallTime(0) };
        assert_eq!(keys_of(&units(&engine, &set, now)["a"]), names_of(&shape::UNIT));
        let disk = Disk { used_percent: 0.0, free_bytes: 1, total_bytes: 1 };
        assert_eq!(keys_of(&figures(&disk)), names_of(&shape::DISK));
        let words = |field: &str| shape::UNIT.at(field).unwrap().words();
        assert_eq!(words("state"), StateName::ALL.map(StateName::as_str));
        let healths = [Health::Unknown, Health::Passing, Health::Failing];
        assert_eq!(words("health"), healths.map(Health::as_str));
    }
}
