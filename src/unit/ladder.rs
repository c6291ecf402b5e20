//! `recover`: the rungs for a unit that does not work.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::read::{At, FromYaml, Reader, mapping};
use crate::unit::spec::recover::Reload;
use crate::unit::spec::{SignalNumber, Template};
use crate::unit::value::Word;
use crate::unit::words::{Command, plain_words};
use crate::unit::yaml::{Node, Value};

mapping! {
    /// Rungs, and how soon each must have helped.
    LadderMap {
        /// What is tried, in this order.
        [required] rungs: Rungs;
        /// A rung has helped when the unit is ready again within this time.
        settle: Duration = "10s";
    }
}

/// `recover` as written.
#[derive(Clone, Debug)]
pub(crate) struct LadderFile(pub(super) LadderMap);

#[derive(Clone, Debug)]
pub(crate) struct Rungs(pub(super) Vec<At<RungFile>>);

/// One rung, with the place of its word.
#[derive(Clone, Debug)]
pub(crate) enum RungFile {
    Exec { command: Vec<At<Template>>, timeout: Option<At<Duration>> },
    Restart { with: Vec<At<Word>> },
    Reload(ReloadFile),
    Stop,
    Alert(At<Word>),
}

mapping! {
    /// A rung that has more to say than its name: exactly one of exec, restart, reload and alert.
    RungMap {
        /// A repair program, told unit, cause and incident by its environment.
        exec: Command;
        /// With `exec`: killed with everything it started after this long.
        timeout: Duration = "1m";
        /// Stops the unit and starts it again; `{with: [db]}` does that to these units first.
        restart: RestartMap;
        /// A signal for the main process, or a command as a list.
        reload: ReloadFile;
        /// A channel of mcsup.yaml's `alerts` is told, and the next rung follows at once.
        alert: Word;
    }
}

mapping! {
    /// What is restarted too.
    RestartMap {
        /// Units that are restarted first.
        with: Vec<At<Word>>;
    }
}

impl FromYaml for LadderFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let is_one_rung = |entries: &[crate::unit::yaml::Entry<'_>]| {
            entries.iter().any(|entry| RungMap::KEYS.contains(&&*entry.key))
        };
        let map = match &node.value {
            Value::Map(entries) if !is_one_rung(entries) => LadderMap::read(node, reader)?,
            Value::Map(_) | Value::Scalar(_) | Value::List(_) => {
                let rungs = At { key: node.place, place: node.place, value: Rungs::read(node, reader)? };
                LadderMap { rungs: Some(rungs), settle: None }
            }
        };
        map.rungs.as_ref()?;
        Some(Self(map))
    }

    fn schema() -> Json {
        json!({"anyOf": [Rungs::schema(), LadderMap::schema()]})
    }
}

impl LadderFile {
    pub(super) fn rungs(&self) -> &[At<RungFile>] {
        self.0.rungs.as_ref().map_or(&[], |rungs| &rungs.value.0)
    }

    /// Every text with variables in it.
    pub(super) fn templates(&self) -> impl Iterator<Item = &At<Template>> {
        self.rungs().iter().flat_map(|rung| match &rung.value {
            RungFile::Exec { command, .. } | RungFile::Reload(ReloadFile::Command(command)) => {
                command.as_slice()
            }
            RungFile::Reload(ReloadFile::Signal(_))
            | RungFile::Restart { .. }
            | RungFile::Stop
            | RungFile::Alert(_) => &[],
        })
    }
}

impl FromYaml for Rungs {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(node),
        };
        let rungs = items.iter().map(|item| {
            let (key, value) = rung(item, reader)?;
            Some(At { key, place: item.place, value })
        });
        // All of them are read, so that all mistakes are told.
        let rungs: Vec<Option<At<RungFile>>> = rungs.collect();
        rungs.into_iter().collect::<Option<_>>().map(Self)
    }

    fn schema() -> Json {
        let one = json!({"anyOf": [{"enum": ["restart", "stop"]}, RungMap::schema()]});
        json!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

fn rung(node: &Node<'_>, reader: &mut Reader) -> Option<(Place, RungFile)> {
    if let Value::Scalar(scalar) = &node.value {
        let help = match &*scalar.text {
            "exec" => "write `{exec: [/path/to/program]}`",
            "reload" => "write `{reload: SIGHUP}`, or a command as a list",
            "alert" => "write `{alert: CHANNEL}`",
            _ => {
                let words = [("restart", true), ("stop", false)];
                let rung = if reader.word(node, &words)? {
                    RungFile::Restart { with: Vec::new() }
                } else {
                    RungFile::Stop
                };
                return Some((node.place, rung));
            }
        };
        reader.mismatch(node, "a rung", Some(help));
        return None;
    }
    if let Value::List(_) = &node.value {
        reader.mismatch(node, "`restart`, `stop` or a mapping", Some("a repair program is `{exec: [...]}`"));
        return None;
    }
    let before = reader.diagnostics.len();
    let RungMap { exec, timeout, restart, reload, alert } = RungMap::read(node, reader)?;
    let mut found: Vec<(Place, RungFile)> = Vec::new();
    if let (Some(timeout), None) = (&timeout, &exec) {
        reader.bad_value(timeout.key, "only `exec` has a `timeout`", "remove it");
    }
    found.extend(exec.map(|at| (at.key, RungFile::Exec { command: at.value.0, timeout })));
    found.extend(restart.map(|at| {
        (at.key, RungFile::Restart { with: at.value.with.map(|with| with.value).unwrap_or_default() })
    }));
    found.extend(reload.map(|at| (at.key, RungFile::Reload(at.value))));
    found.extend(alert.map(|at| (at.key, RungFile::Alert(at))));
    if reader.diagnostics.len() > before {
        return None;
    }
    found.sort_by_key(|(place, _)| *place);
    if let [(first, _), (second, _), ..] = found.as_slice() {
        reader.report(
            Diagnostic::error("two-rungs", *second, "a rung does one thing, and this is its second")
                .related(*first, "the first")
                .help("write a list of rungs: each is tried where the one before did not help"),
        );
        return None;
    }
    let rung = found.pop();
    if rung.is_none() {
        reader.bad_value(
            node.place,
            "this rung does not say what to do",
            "give it one of `exec`, `restart`, `reload` and `alert`",
        );
    }
    rung
}

/// `SIGHUP`, or a command as a list.
#[derive(Clone, Debug)]
pub(crate) enum ReloadFile {
    Signal(At<SignalNumber>),
    Command(Vec<At<Template>>),
}

impl FromYaml for ReloadFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::List(_) => Command::read(node, reader).map(|command| Self::Command(command.0)),
            Value::Scalar(scalar) if scalar.text.contains(['/', ' ']) => {
                reader.mismatch(
                    node,
                    "a signal such as `SIGHUP`, or a command",
                    Some("write a command as a list"),
                );
                None
            }
            Value::Scalar(_) | Value::Map(_) => {
                let value = SignalNumber::read(node, reader)?;
                Some(Self::Signal(At { key: node.place, place: node.place, value }))
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [SignalNumber::schema(), {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1}]})
    }
}

impl ReloadFile {
    pub(super) fn lower(&self) -> Reload {
        match self {
            Self::Signal(signal) => Reload::Signal(signal.value),
            Self::Command(words) => Reload::Command(plain_words(words)),
        }
    }
}
