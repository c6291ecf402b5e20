//! Writes the files of incidents, one thing at a time and in order. What finds no room is dropped.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::incident::evidence::{Evidence, RungTried};
use crate::incident::store::{Archive, Moment, Store};
use crate::incident::times::Times;

/// What is to be written.
#[derive(Debug, PartialEq)]
pub(super) enum Writing {
    Moment(u64, Moment),
    Outcome(u64, Box<Outcome>),
}

/// What has become of an incident since its evidence was taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) times: Times,
    pub(super) affected: Vec<String>,
    pub(super) rungs: Vec<RungTried>,
    pub(super) healed_by: String,
    pub(super) alerted: Vec<String>,
}

impl Outcome {
    fn put_into(self, evidence: &mut Evidence) {
        let Self { times, affected, rungs, healed_by, alerted } = self;
        evidence.times = times;
        evidence.affected = affected;
        evidence.rungs = rungs;
        evidence.healed_by = healed_by;
        evidence.alerted = alerted;
    }
}

#[derive(Debug)]
pub(super) struct Scribe {
    pub(super) archive: Archive,
    /// Tells how the disk does, once for each change.
    pub(super) troubles: mpsc::UnboundedSender<Option<String>>,
}

impl Scribe {
    /// Until nobody can send any more.
    pub(super) async fn run(self, mut writings: mpsc::Receiver<Writing>) {
        let mut was_well = true;
        while let Some(first) = writings.recv().await {
            let mut moments: BTreeMap<u64, Vec<Moment>> = BTreeMap::new();
            let mut outcomes: BTreeMap<u64, Outcome> = BTreeMap::new();
            let mut next = Some(first);
            while let Some(writing) = next {
                match writing {
                    Writing::Moment(incident, moment) => moments.entry(incident).or_default().push(moment),
                    // The last one says it all.
                    Writing::Outcome(incident, outcome) => drop(outcomes.insert(incident, *outcome)),
                }
                next = writings.try_recv().ok();
            }
            let write = move |store: &Store| write(store, moments, outcomes);
            let written = self.archive.write(write, LIMIT).await;
            if written.is_ok() != was_well {
                was_well = written.is_ok();
                // Nobody listens any more: then nobody minds.
                drop(self.troubles.send(written.err().map(|error| error.to_string())));
            }
            if !writings.is_closed() {
                // What comes meanwhile goes together: each batch reads and writes files of its incidents anew.
                drop(tokio::time::timeout(PAUSE, std::future::pending::<()>()).await);
            }
        }
    }
}

/// On a thread. What fails keeps nothing else from being written.
fn write(
    store: &Store,
    moments: BTreeMap<u64, Vec<Moment>>,
    outcomes: BTreeMap<u64, Outcome>,
) -> io::Result<()> {
    let mut result = Ok(());
    for (incident, moments) in moments {
        let appended = store.append(incident, &moments);
        result = result.and(appended);
    }
    for (incident, outcome) in outcomes {
        let updated = store.update(incident, |evidence| outcome.put_into(evidence));
        result = result.and(updated);
    }
    result
}

/// A disk that takes longer is as good as full.
const LIMIT: Duration = Duration::from_secs(10);
/// After a batch. The first after a rest goes at once.
const PAUSE: Duration = Duration::from_millis(50);
/// What may wait for the disk.
pub(super) const QUEUE: usize = 4096;
