//! `alerts` and `heartbeat` of mcsup.yaml: who hears of trouble, and who notices that nobody says anything.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::unit::check::is_phase_name;
use crate::unit::diagnostic::Diagnostic;
use crate::unit::probe::link_parts;
use crate::unit::read::{At, FromYaml, Reader, mapping};
use crate::unit::spec::Template;
use crate::unit::spec::recover::{Channel, Heartbeat, Route};
use crate::unit::value::Word;
use crate::unit::words::Command;
use crate::unit::yaml::{Node, shorten};

/// Channels by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alerts(BTreeMap<Box<str>, Route>);

mapping! {
    /// Where a channel leads: exactly one of webhook and exec.
    RouteMap {
        /// The message is POSTed there as JSON.
        webhook: Link;
        /// This program gets the message as JSON on its stdin.
        exec: Command;
    }
}

impl FromYaml for Alerts {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let mut channels = BTreeMap::new();
        for entry in reader.entries(node, "a mapping of channels")? {
            if !is_phase_name(&entry.key) {
                let message = format!("`{}` cannot name a channel", shorten(&entry.key));
                reader.report(
                    Diagnostic::error("bad-name", entry.key_place, message)
                        .help("use lower-case letters, digits, `-` and `_`; at most 64"),
                );
            }
            let before = reader.diagnostics.len();
            let Some(map) = At::<RouteMap>::entry(entry, reader) else { continue };
            let is_sound = reader.diagnostics.len() == before;
            match route(map, is_sound, reader) {
                Some(route) => channels.insert(entry.key.as_ref().into(), route),
                None => continue,
            };
        }
        Some(Self(channels))
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": RouteMap::schema()})
    }
}

fn route(map: At<RouteMap>, is_sound: bool, reader: &mut Reader) -> Option<Route> {
    match (map.value.webhook, map.value.exec) {
        (Some(webhook), Some(exec)) => {
            let (first, second) =
                if webhook.key < exec.key { (webhook.key, exec.key) } else { (exec.key, webhook.key) };
            reader.report(
                Diagnostic::error(
                    "two-routes",
                    second,
                    "a channel leads to one place, and this is its second",
                )
                .related(first, "the first")
                .help("make it a channel of its own, and list both in `recover`"),
            );
            None
        }
        (Some(webhook), None) => Some(Route::Webhook { url: webhook.value.0 }),
        (None, Some(exec)) => {
            let words = exec.value.0.into_iter().map(|word| match word.value {
                Template::Plain(text) => Some(text),
                Template::Pieces(_) => {
                    reader.bad_value(word.place, "a channel has no variables", "write the value itself");
                    None
                }
            });
            words.collect::<Option<_>>().map(|command| Route::Exec { command })
        }
        (None, None) => {
            if is_sound {
                reader.bad_value(map.place, "this channel leads nowhere", "give it `webhook` or `exec`");
            }
            None
        }
    }
}

impl Alerts {
    pub(super) fn lower(&self) -> Vec<Channel> {
        self.0.iter().map(|(name, route)| Channel { name: name.clone(), route: route.clone() }).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }
}

mapping! {
    /// A sign of life for a watcher outside.
    HeartbeatFile {
        /// Asked with GET; http or https.
        [required] url: Link;
        /// At least 1s.
        every: Duration = "1m";
    }
}

impl HeartbeatFile {
    pub(super) fn lower(&self) -> Option<Heartbeat> {
        let every = self.every.as_ref().map_or(Duration::from_secs(60), |every| every.value);
        Some(Heartbeat { url: self.url.as_ref()?.value.0.clone(), every })
    }
}

/// A link that a message can be sent to.
#[derive(Clone, Debug)]
pub(crate) struct Link(Box<str>);

impl FromYaml for Link {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Word(text) = Word::read(node, reader)?;
        if link_parts(&text).is_none() {
            reader.mismatch(node, "a link that begins with `https://` or `http://`", None);
            return None;
        }
        Some(Self(text))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^https?://[^/ ]+(/[^ ]*)?$"})
    }
}
