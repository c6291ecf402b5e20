//! What proves that a run did its work: judged good and bad, in the process that judges, at the command line, and
//! kept so that nobody reads garbage.

#![expect(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

#[path = "output/table.rs"]
mod table;
#[path = "output/process.rs"]
mod process;
#[path = "output/files.rs"]
mod files;
#[path = "output/store.rs"]
mod store;
#[path = "output/command.rs"]
mod command;
#[path = "output/nine.rs"]
mod nine;

use mcsup::output::judgement::Judgement;
use mcsup::output::{Material, Moment, Taken, judge};
use mcsup::unit::SourceFile;
use mcsup::unit::output::of_unit;
use mcsup::unit::spec::output::OutputSpec;
use serde_json::json;

const MCSUP: &str = env!("CARGO_BIN_EXE_mcsup");

/// `output` as it stands in a unit file.
#[track_caller]
fn spec(output: &str) -> OutputSpec {
    let indented: String = output.lines().map(|line| format!("  {line}\n")).collect();
    let source = SourceFile { name: "job.yaml".into(), bytes: format!("output:\n{indented}").into() };
    let (spec, diagnostics) = of_unit(&source);
    spec.unwrap_or_else(|| panic!("{output}: {diagnostics:?}"))
}

/// What is known beside the output in all these stories.
fn around() -> Material {
    Material {
        units: Some(json!({"redis": {"state": "ready"}, "db": {"state": "failed"}})),
        guard: Some(json!({"level": "normal"})),
        now: Moment {
            unix: 1_795_154_400,
            date: "2026-11-20".into(),
            time: "06:00:00".into(),
            weekday: "friday".into(),
        },
        started_nanos: Some(1_795_154_390_000_000_000),
        ..Material::default()
    }
}

fn judged(output: &str, bytes: &[u8], previous: Option<&[u8]>) -> Judgement {
    let mut material = Material { stream: Some(Taken::Bytes(bytes.to_vec())), ..around() };
    material.previous.stream = previous.map(<[u8]>::to_vec);
    judge(&spec(output), material)
}
