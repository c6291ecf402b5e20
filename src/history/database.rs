//! The tables, and every sentence of SQL. The schema uses nothing newer than what old sqlite3 tools read.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, Transaction, params};

use crate::history::row::{FactRow, IncidentRow, JobRunRow, Record, RunRow, Window};

/// How many rows of each table stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    pub(super) incidents: u32,
    pub(super) facts: u32,
    pub(super) runs: u32,
    pub(super) job_runs: u32,
}

impl Default for Keep {
    /// Some 30 MiB when all are full.
    fn default() -> Self {
        Self { incidents: 10_000, facts: 100_000, runs: 20_000, job_runs: 50_000 }
    }
}

/// Why a file is no use as it is.
#[derive(Debug)]
pub(super) enum Refusal {
    /// What is in it cannot be trusted.
    Damaged(String),
    /// It may work later.
    NotNow(String),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error.to_string()),
            Some(_) | None => Self::NotNow(error.to_string()),
        }
    }
}

/// A database that can be trusted and written to.
pub(super) fn open(path: &Path) -> Result<Connection, Refusal> {
    // SQLite would make it readable for everybody; its log gets the mode of the file.
    let mut options = OpenOptions::new();
    if let Err(error) = options.create(true).append(true).mode(0o600).open(path) {
        return Err(Refusal::NotNow(error.to_string()));
    }
    let mut database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    // Before the first table, or it has no effect.
    database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    // A file that shrinks under a mapping kills the process that reads it.
    database.pragma_update(None, "mmap_size", 0)?;
    database.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    database.pragma_update(None, "journal_size_limit", WAL_MOST_BYTES)?;
    let check: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Err(Refusal::Damaged(check));
    }
    let version: u32 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > VERSION {
        return Err(Refusal::Damaged(format!("version {version} of its tables is newer than {VERSION}")));
    }
    create(&mut database, version)?;
    Ok(database)
}

/// The tables as they are now, with what those of an older version hold; all of it or nothing.
fn create(database: &mut Connection, version: u32) -> rusqlite::Result<()> {
    let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'job_runs'";
    let is_old = version == 1 && transaction.query_row(sql, [], |row| row.get::<_, u32>(0))? == 1;
    if is_old {
        transaction.execute_batch("ALTER TABLE job_runs RENAME TO job_runs_1")?;
    }
    transaction.execute_batch(SCHEMA)?;
    if is_old {
        transaction.execute_batch(FROM_1)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Somebody reads the file with a tool.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);
const WAL_MOST_BYTES: i64 = 4 * 1024 * 1024;
const VERSION: u32 = 2;
const FROM_1: &str = "
INSERT INTO job_runs (id, unit, ordinal, trigger_words, began_millis, ended_millis, exit, verdict, why, kept)
  SELECT id, unit, ordinal, trigger_words, began_millis, ended_millis, exit, verdict, why, kept FROM job_runs_1;
DROP TABLE job_runs_1;
";
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS incidents (
  id INTEGER PRIMARY KEY,
  root TEXT,
  started_millis INTEGER NOT NULL,
  detected_millis INTEGER NOT NULL,
  recovered_millis INTEGER,
  affected TEXT NOT NULL,
  failure TEXT NOT NULL,
  cause TEXT NOT NULL,
  verdict TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS incidents_by_time ON incidents (detected_millis);
CREATE TABLE IF NOT EXISTS facts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_millis INTEGER NOT NULL,
  unit TEXT,
  incident INTEGER,
  kind TEXT NOT NULL,
  text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS facts_by_incident ON facts (incident) WHERE incident IS NOT NULL;
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  unit TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  started_millis INTEGER NOT NULL,
  ended_millis INTEGER,
  exit TEXT NOT NULL,
  user_micros INTEGER NOT NULL,
  system_micros INTEGER NOT NULL,
  most_memory_bytes INTEGER NOT NULL,
  UNIQUE (unit, ordinal, started_millis)
);
CREATE TABLE IF NOT EXISTS job_runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  unit TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  trigger_words TEXT NOT NULL,
  began_millis INTEGER NOT NULL,
  ended_millis INTEGER NOT NULL,
  exit TEXT NOT NULL,
  verdict TEXT NOT NULL,
  why TEXT NOT NULL,
  kept INTEGER,
  serial INTEGER NOT NULL DEFAULT 0,
  UNIQUE (unit, ordinal, began_millis, verdict, serial)
);
";

/// All of them or none.
pub(super) fn write(database: &mut Connection, records: &[Record]) -> rusqlite::Result<()> {
    let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    {
        let mut incidents = transaction.prepare(
            "INSERT OR REPLACE INTO incidents (id, root, started_millis, detected_millis, recovered_millis,
             affected, failure, cause, verdict) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        let mut facts = transaction
            .prepare("INSERT INTO facts (at_millis, unit, incident, kind, text) VALUES (?, ?, ?, ?, ?)")?;
        let mut runs = transaction.prepare(
            "INSERT INTO runs (unit, ordinal, started_millis, ended_millis, exit, user_micros, system_micros,
             most_memory_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (unit, ordinal, started_millis) DO UPDATE SET ended_millis = excluded.ended_millis,
             exit = excluded.exit, user_micros = excluded.user_micros,
             system_micros = excluded.system_micros, most_memory_bytes = excluded.most_memory_bytes",
        )?;
        let mut job_runs = transaction.prepare(
            "INSERT INTO job_runs (unit, ordinal, trigger_words, began_millis, ended_millis, exit, verdict, why, kept,
             serial) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (unit, ordinal, began_millis, verdict, serial) DO UPDATE SET ended_millis = excluded.ended_millis,
             exit = excluded.exit, why = excluded.why, kept = excluded.kept",
        )?;
        for record in records {
            match record {
                Record::Incident(row) => write_incident(&mut incidents, row)?,
                Record::Merged { from, into } => merge(&transaction, *from, *into)?,
                Record::Fact(FactRow { at_millis, unit, incident, kind, text }) => {
                    facts.execute(params![
                        integer(*at_millis),
                        unit,
                        incident.map(integer),
                        kind,
                        bounded(text)
                    ])?;
                }
                Record::Run(row) => write_run(&mut runs, row)?,
                Record::JobRun(row) => write_job_run(&mut job_runs, row)?,
            }
        }
    }
    transaction.commit()
}

fn write_incident(statement: &mut rusqlite::Statement<'_>, row: &IncidentRow) -> rusqlite::Result<()> {
    let affected = serde_json::to_string(&row.affected).unwrap_or_else(|_| "[]".to_owned());
    let values: [&dyn ToSql; 9] = [
        &integer(row.id),
        &row.root,
        &integer(row.started_millis),
        &integer(row.detected_millis),
        &row.recovered_millis.map(integer),
        &affected,
        &bounded(&row.failure),
        &bounded(&row.cause),
        &bounded(&row.verdict),
    ];
    statement.execute(values).map(drop)
}

fn merge(database: &Connection, from: u64, into: u64) -> rusqlite::Result<()> {
    database.execute("DELETE FROM incidents WHERE id = ?", [integer(from)])?;
    database.execute("UPDATE facts SET incident = ? WHERE incident = ?", [integer(into), integer(from)])?;
    Ok(())
}

fn write_run(statement: &mut rusqlite::Statement<'_>, row: &RunRow) -> rusqlite::Result<()> {
    let values: [&dyn ToSql; 8] = [
        &row.unit,
        &row.ordinal,
        &integer(row.started_millis),
        &row.ended_millis.map(integer),
        &row.exit,
        &integer(row.user_micros),
        &integer(row.system_micros),
        &integer(row.most_memory_bytes),
    ];
    statement.execute(values).map(drop)
}

fn write_job_run(statement: &mut rusqlite::Statement<'_>, row: &JobRunRow) -> rusqlite::Result<()> {
    let values: [&dyn ToSql; 10] = [
        &row.unit,
        &row.ordinal,
        &bounded(&row.trigger),
        &integer(row.began_millis),
        &integer(row.ended_millis),
        &row.exit,
        &row.verdict,
        &bounded(&row.why),
        &row.kept.map(integer),
        &integer(row.serial),
    ];
    statement.execute(values).map(drop)
}

/// Deletes what is more than may stay, and gives some of the room back.
pub(super) fn trim(database: &mut Connection, keep: Keep) -> rusqlite::Result<()> {
    let transaction: Transaction<'_> = database.transaction()?;
    let tables = [
        ("incidents", keep.incidents),
        ("facts", keep.facts),
        ("runs", keep.runs),
        ("job_runs", keep.job_runs),
    ];
    for (table, most) in tables {
        let sql = format!(
            "DELETE FROM {table} WHERE id <= (SELECT id FROM {table} ORDER BY id DESC LIMIT 1 OFFSET ?)"
        );
        transaction.execute(&sql, [most])?;
    }
    transaction.commit()?;
    // It answers with a row for each page that it gave back.
    let mut vacuum = database.prepare("PRAGMA incremental_vacuum(1000)")?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

pub(super) fn incidents(
    database: &Connection,
    since_millis: u64,
    most: u32,
) -> rusqlite::Result<Vec<IncidentRow>> {
    let sql = format!("{SELECT_INCIDENT} WHERE detected_millis >= ? ORDER BY id DESC LIMIT ?");
    database
        .prepare(&sql)?
        .query_map(params![integer(since_millis), most], incident_row)?
        .collect::<Result<_, _>>()
}

pub(super) fn incident(database: &Connection, id: u64) -> rusqlite::Result<Option<IncidentRow>> {
    let sql = format!("{SELECT_INCIDENT} WHERE id = ?");
    database.query_row(&sql, [integer(id)], incident_row).optional()
}

pub(super) fn last_incident(database: &Connection) -> rusqlite::Result<u64> {
    let last = database.query_row("SELECT max(id) FROM incidents", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(last.map_or(0, natural))
}

pub(super) fn facts_of(database: &Connection, incident: u64) -> rusqlite::Result<Vec<FactRow>> {
    let sql = "SELECT at_millis, unit, incident, kind, text FROM facts WHERE incident = ?
               ORDER BY id LIMIT 1000";
    let fact = |row: &Row<'_>| {
        Ok(FactRow {
            at_millis: natural(row.get(0)?),
            unit: row.get(1)?,
            incident: row.get::<_, Option<i64>>(2)?.map(natural),
            kind: row.get(3)?,
            text: row.get(4)?,
        })
    };
    database.prepare(sql)?.query_map([integer(incident)], fact)?.collect::<Result<_, _>>()
}

pub(super) fn runs_of(database: &Connection, unit: &str, most: u32) -> rusqlite::Result<Vec<RunRow>> {
    let sql = "SELECT unit, ordinal, started_millis, ended_millis, exit, user_micros, system_micros,
               most_memory_bytes FROM runs WHERE unit = ? ORDER BY id DESC LIMIT ?";
    let run = |row: &Row<'_>| {
        Ok(RunRow {
            unit: row.get(0)?,
            ordinal: row.get(1)?,
            started_millis: natural(row.get(2)?),
            ended_millis: row.get::<_, Option<i64>>(3)?.map(natural),
            exit: row.get(4)?,
            user_micros: natural(row.get(5)?),
            system_micros: natural(row.get(6)?),
            most_memory_bytes: natural(row.get(7)?),
        })
    };
    database.prepare(sql)?.query_map(params![unit, most], run)?.collect::<Result<_, _>>()
}

/// Of one job, or of all, the newest first.
pub(super) fn job_runs(
    database: &Connection,
    unit: Option<&str>,
    most: u32,
) -> rusqlite::Result<Vec<JobRunRow>> {
    let sql =
        "SELECT unit, ordinal, trigger_words, began_millis, ended_millis, exit, verdict, why, kept, serial
               FROM job_runs WHERE ?1 IS NULL OR unit = ?1 ORDER BY id DESC LIMIT ?2";
    let run = |row: &Row<'_>| {
        Ok(JobRunRow {
            unit: row.get(0)?,
            ordinal: row.get(1)?,
            trigger: row.get(2)?,
            began_millis: natural(row.get(3)?),
            ended_millis: natural(row.get(4)?),
            exit: row.get(5)?,
            verdict: row.get(6)?,
            why: row.get(7)?,
            kept: row.get::<_, Option<i64>>(8)?.map(natural),
            serial: natural(row.get(9)?),
        })
    };
    database.prepare(sql)?.query_map(params![unit, most], run)?.collect::<Result<_, _>>()
}

pub(super) fn window(database: &Connection, since: u64, until: u64) -> rusqlite::Result<Window> {
    let sql = "SELECT started_millis, detected_millis, recovered_millis FROM incidents
               WHERE detected_millis >= ? AND detected_millis < ?";
    let times = |row: &Row<'_>| {
        let recovered = row.get::<_, Option<i64>>(2)?.map(natural);
        Ok((natural(row.get(0)?), natural(row.get(1)?), recovered))
    };
    let times: Vec<(u64, u64, Option<u64>)> = database
        .prepare(sql)?
        .query_map([integer(since), integer(until)], times)?
        .collect::<Result<_, _>>()?;
    let detect = times.iter().map(|(started, detected, _)| detected.saturating_sub(*started));
    let recover = times.iter().filter_map(|(started, _, end)| Some((*end)?.saturating_sub(*started)));
    let (detect, recover) = (sorted(detect), sorted(recover));
    let (incidents, healed) = (length(&times), length(&recover));
    Ok(Window {
        incidents,
        open: incidents.saturating_sub(healed),
        mttd_mean_millis: mean(&detect),
        mttd_median_millis: median(&detect),
        mttr_mean_millis: mean(&recover),
        mttr_median_millis: median(&recover),
    })
}

const SELECT_INCIDENT: &str = "SELECT id, root, started_millis, detected_millis, recovered_millis, affected,
                               failure, cause, verdict FROM incidents";

fn incident_row(row: &Row<'_>) -> rusqlite::Result<IncidentRow> {
    let affected: String = row.get(5)?;
    Ok(IncidentRow {
        id: natural(row.get(0)?),
        root: row.get(1)?,
        started_millis: natural(row.get(2)?),
        detected_millis: natural(row.get(3)?),
        recovered_millis: row.get::<_, Option<i64>>(4)?.map(natural),
        affected: serde_json::from_str(&affected).unwrap_or_default(),
        failure: row.get(6)?,
        cause: row.get(7)?,
        verdict: row.get(8)?,
    })
}

fn sorted(numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

fn length<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

fn mean(sorted: &[u64]) -> Option<u64> {
    sorted.iter().fold(0u64, |sum, number| sum.saturating_add(*number)).checked_div(length(sorted))
}

/// Of an even number of values the mean of the middle two.
fn median(sorted: &[u64]) -> Option<u64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(lower.midpoint(upper))
}

/// SQLite's numbers are signed.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// One row is a sentence, not a log.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MOST_BYTES)]
}

const TEXT_MOST_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_medians_of_few_numbers() {
        let table: [(&[u64], Option<u64>, Option<u64>); 4] = [
            (&[], None, None),
            (&[7], Some(7), Some(7)),
            (&[1, 3], Some(2), Some(2)),
            (&[1, 2, 60], Some(21), Some(2)),
        ];
        for (numbers, expected_mean, expected_median) in table {
            assert_eq!((mean(numbers), median(numbers)), (expected_mean, expected_median), "{numbers:?}");
        }
    }
}
