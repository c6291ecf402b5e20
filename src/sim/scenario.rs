//! Scenario files: units, commands, and the trace that must come of them.
//!
//! ```text
//! # a comment says which rule or case this is about
//! settings
//!   phases: [core, apps]
//! units
//!   redis: {command: r, restart: {policy: always, backoff: {initial: 1s, jitter: 0}}}
//! units 2
//!   redis: {command: r2}
//! boot
//! ----
//! 0s      redis inactive -> starting -> ready     spawn redis#1
//!
//! at 5s exit redis#1 code=1; run 10s
//! ----
//!
//! at 1m change 2; run-to-rest
//! ----
//! ```
//! What stands under `units NAME` (and `settings NAME`, else the settings of the first) is another generation of the
//! directory, for `change NAME`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::id::UnitId;
use crate::engine::time::{Pretty, Timestamp};
use crate::sim::command::Command;
use crate::sim::parse;
use crate::sim::trace::{clock, compact};
use crate::sim::world::World;
use crate::unit::spec::UnitSet;

#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Comments and the definitions, as they stand in the file.
    pub head: String,
    /// `mcsup.yaml` and one file per unit, as a units directory would hold them.
    pub files: Vec<(String, String)>,
    /// The same of other generations, by their names.
    pub candidates: Vec<(String, Vec<(String, String)>)>,
    pub blocks: Vec<Block>,
}

/// Some commands and what must come of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// As written.
    pub text: String,
    pub steps: Vec<Step>,
    pub expected: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `at 5s ...`
    At(Timestamp),
    /// `run 10s`
    Run(Duration),
    /// `run-to-rest`: until nothing but probes is left to happen.
    RunToRest,
    /// `status`: one line a unit.
    Status,
    /// `why redis`
    Why(String),
    Do(Command),
}

/// How long `run-to-rest` goes on before it says that there is no rest.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

impl Scenario {
    /// # Errors
    /// What cannot be read, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scenario =
            Self { head: String::new(), files: Vec::new(), candidates: Vec::new(), blocks: Vec::new() };
        let mut lines = text.lines().enumerate().peekable();
        let mut definitions = Vec::new();
        while let Some((_, line)) = lines.peek() {
            let is_head = line.is_empty()
                || line.starts_with('#')
                || line.starts_with(' ')
                || ["units", "settings"].contains(line)
                || line.starts_with("units ")
                || line.starts_with("settings ");
            if !is_head {
                break;
            }
            definitions.push(*line);
            scenario.head.push_str(line);
            scenario.head.push('\n');
            lines.next();
        }
        scenario.read_definitions(&definitions);
        let mut is_expected = false;
        for (number, line) in lines {
            if line == "----" {
                is_expected = true;
                continue;
            }
            let is_trace = line.is_empty() || line.starts_with(|c: char| c.is_ascii_digit() || c == ' ');
            if is_expected && is_trace {
                if let Some(block) = scenario.blocks.last_mut().filter(|_| !line.is_empty()) {
                    block.expected.push_str(line);
                    block.expected.push('\n');
                }
                continue;
            }
            if is_expected || scenario.blocks.is_empty() {
                let block = Block { text: String::new(), steps: Vec::new(), expected: String::new() };
                scenario.blocks.push(block);
                is_expected = false;
            }
            let Some(block) = scenario.blocks.last_mut() else { continue };
            block.text.push_str(line);
            block.text.push('\n');
            if !line.is_empty() && !line.starts_with('#') {
                read_line(line, &mut block.steps)
                    .map_err(|error| format!("line {}: {error}", number.saturating_add(1)))?;
            }
        }
        Ok(scenario)
    }

    /// Each generation begins with its `settings` or its `units`.
    fn read_definitions(&mut self, lines: &[&str]) {
        let name_of = |line: &str| {
            let rest = line.strip_prefix("units").or_else(|| line.strip_prefix("settings"))?;
            Some(rest.trim().to_owned())
        };
        let mut parts: Vec<(String, Vec<&str>)> = vec![(String::new(), Vec::new())];
        for line in lines {
            let named = name_of(line).filter(|_| !line.starts_with([' ', '#']));
            if let Some(name) = named.filter(|name| parts.last().is_some_and(|(last, _)| last != name)) {
                parts.push((name, Vec::new()));
            }
            let word = line.split(' ').next().unwrap_or_default();
            let line = if line.starts_with(' ') { line } else { word };
            if let Some((_, part)) = parts.last_mut() {
                part.push(line);
            }
        }
        let mut parts = parts.into_iter().map(|(name, lines)| (name, files(&lines)));
        self.files = parts.next().map(|(_, files)| files).unwrap_or_default();
        let settings = self.files.iter().find(|(name, _)| name == "mcsup.yaml").cloned();
        for (name, mut files) in parts {
            if !files.iter().any(|(name, _)| name == "mcsup.yaml") {
                files.extend(settings.clone());
            }
            self.candidates.push((name, files));
        }
    }

    /// Runs the scenario: what came of each block, and the world as it was left.
    pub fn play(&self, set: &Arc<UnitSet>, candidates: &[(String, Arc<UnitSet>)]) -> (Vec<String>, World) {
        let mut stage = Stage { world: World::new(Arc::clone(set), 0), shown: 0, text: String::new() };
        for (name, candidate) in candidates {
            stage.world.add_candidate(name.as_str().into(), Arc::clone(candidate));
        }
        let mut parts = Vec::new();
        for block in &self.blocks {
            for step in &block.steps {
                stage.step(step);
            }
            stage.show();
            for violation in stage.world.violations.clone() {
                // Writing into a string cannot fail.
                writeln!(stage.text, "{violation}").unwrap_or_default();
            }
            parts.push(std::mem::take(&mut stage.text));
        }
        (parts, stage.world)
    }

    /// The file with other expected parts.
    pub fn with_expected(&self, parts: &[String]) -> String {
        let mut text = self.head.clone();
        for (at, (block, part)) in self.blocks.iter().zip(parts).enumerate() {
            if at > 0 {
                text.push('\n');
            }
            text.push_str(&block.text);
            text.push_str("----\n");
            text.push_str(part);
        }
        text
    }
}

struct Stage {
    world: World,
    /// Entries of the trace that were shown already.
    shown: usize,
    text: String,
}

impl Stage {
    fn step(&mut self, step: &Step) {
        match step {
            Step::At(at) => self.world.run_until(*at),
            Step::Run(delay) => {
                let until = self.world.now().after(*delay);
                self.world.run_until(until);
            }
            Step::RunToRest => self.run_to_rest(),
            Step::Status => {
                self.show();
                let set = Arc::clone(self.world.set());
                for id in set.ids() {
                    self.status(id);
                }
            }
            Step::Why(name) => self.why(name),
            Step::Do(command) => {
                self.world.apply(command);
                self.world.run_until(self.world.now());
            }
        }
    }

    fn run_to_rest(&mut self) {
        let limit = self.world.now().after(PATIENCE);
        while !self.world.is_at_rest() {
            match self.world.next_happening().filter(|at| *at <= limit) {
                Some(at) if self.world.violations.is_empty() => self.world.run_until(at),
                Some(_) | None => break,
            }
        }
        self.show();
        let word = if self.world.is_at_rest() { "at rest" } else { "no rest" };
        self.line(word);
    }

    /// Prints the steps since the last time.
    fn show(&mut self) {
        let entries = self.world.trace.entries.get(self.shown..).unwrap_or(&[]);
        self.text.push_str(&compact(entries, self.world.set(), self.world.run_names()));
        self.shown = self.world.trace.entries.len();
    }

    fn line(&mut self, words: &str) {
        // Writing into a string cannot fail.
        writeln!(self.text, "{:<7} {words}", clock(self.world.now())).unwrap_or_default();
    }

    fn status(&mut self, id: UnitId) {
        let Some((spec, status)) =
            self.world.set().unit(id).zip(self.world.engine().and_then(|engine| engine.status(id)))
        else {
            return;
        };
        let health = status.health.map_or_else(String::new, |health| format!(", {}", health.as_str()));
        let words = format!("{} is {}{health}: {}", spec.name, status.state, status.reason);
        self.line(&words);
    }

    fn why(&mut self, name: &str) {
        self.show();
        let set = Arc::clone(self.world.set());
        let Some(engine) = self.world.engine() else { return self.line("nobody can say why") };
        let links = set.find(name).map(|id| engine.why(id)).unwrap_or_default();
        for link in links {
            let unit = set.unit(link.unit).map_or_else(String::new, |spec| spec.name.to_string());
            self.line(&format!("why: {unit} is {}: {}", link.state, link.text));
        }
    }
}

fn read_line(line: &str, steps: &mut Vec<Step>) -> Result<(), String> {
    let rest = match line.strip_prefix("at ") {
        None => line,
        Some(timed) => {
            let (time, rest) = timed.split_once(' ').unwrap_or((timed, ""));
            let at = parse::duration(time).ok_or_else(|| format!("`{time}` is no time"))?;
            steps.push(Step::At(Timestamp(0).after(at)));
            rest
        }
    };
    for part in rest.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        steps.push(read_step(part)?);
    }
    Ok(())
}

fn read_step(text: &str) -> Result<Step, String> {
    match text.split_once(' ').unwrap_or((text, "")) {
        ("run-to-rest", _) => Ok(Step::RunToRest),
        ("status", _) => Ok(Step::Status),
        ("why", name) => Ok(Step::Why(name.to_owned())),
        ("run", time) => {
            parse::duration(time).map(Step::Run).ok_or_else(|| format!("`{time}` is no duration"))
        }
        _ => parse::command(text).map(Step::Do),
    }
}

/// `settings` is mcsup.yaml; under `units` each key of the first level is a file of its own.
fn files(lines: &[&str]) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut is_settings = false;
    for line in lines {
        match *line {
            "settings" => {
                is_settings = true;
                files.push(("mcsup.yaml".to_owned(), String::new()));
            }
            "units" => is_settings = false,
            _ => {
                let Some(line) = line.strip_prefix("  ") else { continue };
                let begins = !is_settings && !line.starts_with([' ', '#']);
                if let Some((name, rest)) = line.split_once(':').filter(|_| begins) {
                    files.push((format!("{name}.yaml"), format!("{}\n", rest.trim_start())));
                } else if let Some((_, text)) = files.last_mut() {
                    text.push_str(if is_settings { line } else { line.strip_prefix("  ").unwrap_or(line) });
                    text.push('\n');
                }
            }
        }
    }
    files
}

/// A history as a scenario, for people and for `tests/scenarios`.
pub fn write(head: &str, commands: &[(Timestamp, Command)]) -> String {
    let mut text = head.to_owned();
    for (at, command) in commands {
        if *command == Command::Boot {
            text.push_str("boot\n");
        } else {
            let at = Pretty(Duration::from_nanos(at.0));
            // Writing into a string cannot fail.
            writeln!(text, "at {at} {command}").unwrap_or_default();
        }
    }
    text.push_str("run-to-rest\n----\n");
    text
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "an index that is wrong is a test that fails")]
mod tests {
    use super::*;

    const FILE: &str = "# a claim\n\nsettings\n  phases: [a]\nunits\n  one: {command: x}\n  two:\n    command: y\n\
                        boot\n----\n0s      one inactive\n\nat 5.5s stop one; run 1s\nstatus\n----\n6s      more\n";

    #[test]
    fn a_file_falls_into_definitions_commands_and_expected_parts() {
        let scenario = Scenario::parse(FILE).unwrap();
        let files: Vec<(&str, &str)> = scenario.files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            files,
            [("mcsup.yaml", "phases: [a]\n"), ("one.yaml", "{command: x}\n"), ("two.yaml", "\ncommand: y\n")]
        );
        assert_eq!(scenario.blocks.len(), 2);
        assert_eq!(scenario.blocks[1].steps.len(), 4);
        assert_eq!(scenario.blocks[1].expected, "6s      more\n");
    }

    #[test]
    fn blessing_with_the_same_parts_changes_nothing() {
        let scenario = Scenario::parse(FILE).unwrap();
        let parts: Vec<String> = scenario.blocks.iter().map(|block| block.expected.clone()).collect();
        assert_eq!(scenario.with_expected(&parts), FILE);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        assert_eq!(
            Scenario::parse("units\n  a: {command: x}\nboot\nstop a --onyl\n"),
            Err("line 4: `--onyl` in `stop a --onyl` is no unit's name".to_owned())
        );
    }
}
