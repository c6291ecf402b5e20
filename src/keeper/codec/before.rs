//! What version 1 of the link said otherwise: descriptors were told apart by their position alone.

use super::{Wire, wire};
use crate::keeper::wire::{Carried, Credentials, Exit, Given, Limit, LogOrder, Stage};

pub(super) enum Order {
    Spawn { order: Box<SpawnOrder> },
    Adopt { order: Box<AdoptOrder> },
}

pub(super) enum Report {
    Row { row: Box<Row> },
    Spawned { run: u64, pid: u32, start_time: u64 },
}

pub(super) struct SpawnOrder {
    run: u64,
    unit: String,
    ordinal: u32,
    program: Vec<u8>,
    argv: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
    working_dir: Vec<u8>,
    credentials: Option<Credentials>,
    limits: Vec<Limit>,
    oom_score_adjust: Option<i16>,
    log: Option<LogOrder>,
    timeout_ms: u64,
}

pub(super) struct AdoptOrder {
    run: u64,
    unit: String,
    ordinal: u32,
    pid: u32,
    start_time: u64,
    spawned_at: u64,
    exit: Option<Exit>,
    log: Option<LogOrder>,
}

pub(super) struct Row {
    run: u64,
    unit: String,
    ordinal: u32,
    pid: u32,
    start_time: u64,
    spawned_at: u64,
    stage: Stage,
    log: Option<LogOrder>,
}

choice!(Order { 1 => Spawn { order }, 5 => Adopt { order } });

choice!(Report { 1 => Row { row }, 4 => Spawned { run, pid, start_time } });

record!(SpawnOrder {
    run,
    unit,
    ordinal,
    program,
    argv,
    env,
    working_dir,
    credentials,
    limits,
    oom_score_adjust,
    log,
    timeout_ms
});
record!(AdoptOrder { run, unit, ordinal, pid, start_time, spawned_at, exit, log });
record!(Row { run, unit, ordinal, pid, start_time, spawned_at, stage, log });

/// The pidfd came first, then the pipe.
const BY_POSITION: [Carried; 2] = [Carried::Pidfd, Carried::Output];

impl From<Order> for wire::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Spawn { order } => Self::Spawn(Box::new((*order).into())),
            Order::Adopt { order } => Self::Adopt(Box::new((*order).into())),
        }
    }
}

impl From<Report> for wire::Report {
    fn from(report: Report) -> Self {
        match report {
            Report::Row { row } => Self::Row(Box::new((*row).into())),
            Report::Spawned { run, pid, start_time } => {
                Self::Spawned { run, pid, start_time, carries: BY_POSITION.to_vec() }
            }
        }
    }
}

impl From<SpawnOrder> for wire::SpawnOrder {
    fn from(order: SpawnOrder) -> Self {
        let SpawnOrder { run, unit, ordinal, program, argv, env, working_dir, credentials, .. } = order;
        let SpawnOrder { limits, oom_score_adjust, log, timeout_ms, .. } = order;
        // Ran without a log into whatever came along, if anything did.
        let given = if log.is_none() { vec![Given::Output] } else { Vec::new() };
        Self {
            run,
            unit,
            ordinal,
            program,
            argv,
            env,
            working_dir,
            credentials,
            limits,
            oom_score_adjust,
            log,
            timeout_ms,
            given,
            notify: false,
            log_place: None,
        }
    }
}

impl From<AdoptOrder> for wire::AdoptOrder {
    fn from(order: AdoptOrder) -> Self {
        let AdoptOrder { run, unit, ordinal, pid, start_time, spawned_at, exit, log } = order;
        let carries = BY_POSITION.to_vec();
        Self {
            run,
            unit,
            ordinal,
            pid,
            start_time,
            spawned_at,
            exit,
            log,
            carries,
            is_ready_shown: false,
            log_place: None,
        }
    }
}

impl From<Row> for wire::Row {
    fn from(row: Row) -> Self {
        let Row { run, unit, ordinal, pid, start_time, spawned_at, stage, log } = row;
        let carries = BY_POSITION.to_vec();
        Self {
            run,
            unit,
            ordinal,
            pid,
            start_time,
            spawned_at,
            stage,
            log,
            carries,
            is_ready_shown: false,
            log_place: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::codec::Message as _;

    #[test]
    fn what_version_1_said_is_understood_by_its_positions() {
        let mut spawned = vec![4];
        7_u64.put(&mut spawned);
        8_u32.put(&mut spawned);
        9_u64.put(&mut spawned);
        let carries = vec![Carried::Pidfd, Carried::Output];
        let expected = wire::Report::Spawned { run: 7, pid: 8, start_time: 9, carries };
        assert_eq!(wire::Report::decode(&spawned), Some(expected));
        let row = Row {
            run: 1,
            unit: "redis".into(),
            ordinal: 2,
            pid: 3,
            start_time: 4,
            spawned_at: 5,
            stage: Stage::Live,
            log: None,
        };
        let mut bytes = vec![1];
        row.put(&mut bytes);
        let Some(wire::Report::Row(row)) = wire::Report::decode(&bytes) else { panic!("not a row") };
        assert_eq!((row.run, row.pid, row.is_ready_shown), (1, 3, false));
        assert_eq!(wire::Report::decode(&bytes[..bytes.len() - 1]), None);
    }
}
