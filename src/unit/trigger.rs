//! What starts a job besides the clock and other units: files that appear or change, and calls from outside.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::unit::listen;
use crate::unit::read::{FromYaml, Reader, mapping};
use crate::unit::spec::job::{Hooks, PathTrigger, Webhook};
use crate::unit::spec::listen::ListenAddress;
use crate::unit::spec::probe::Address;
use crate::unit::value::{Calls, Word};
use crate::unit::yaml::{Node, Value};

/// Editors and copies write in many small steps; a reader that begins at the first sees half a file.
const DEBOUNCE: Duration = Duration::from_millis(500);
/// Who writes without a pause for so long would never start a run.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(3600);
const PER_MINUTE: u32 = 60;

mapping! {
    /// Files whose appearance or change starts a run.
    PathMap {
        /// Relative to the working directory; `*` and `?` may stand in its last part.
        [required] path: WatchedPath;
        /// So long without another change; at most 1h, and 0 starts at the first.
        debounce: Debounce = "500ms";
    }
}

/// `path` as written.
#[derive(Clone, Debug)]
pub(crate) struct PathFile(pub(crate) PathTrigger);

impl FromYaml for PathFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Value::Map(_) = &node.value else {
            let WatchedPath(path) = WatchedPath::read(node, reader)?;
            return Some(Self(PathTrigger { path, debounce: DEBOUNCE }));
        };
        let PathMap { path, debounce } = PathMap::read(node, reader)?;
        let debounce = debounce.map_or(DEBOUNCE, |debounce| debounce.value.0);
        Some(Self(PathTrigger { path: path?.value.0, debounce }))
    }

    fn schema() -> Json {
        json!({"anyOf": [WatchedPath::schema(), PathMap::schema()]})
    }
}

/// A path that can be watched from one directory.
#[derive(Clone, Debug)]
pub(crate) struct WatchedPath(Box<str>);

impl FromYaml for WatchedPath {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Word(text) = Word::read(node, reader)?;
        let (above, last) = text.rsplit_once('/').unwrap_or(("", &text));
        let flaw = if last.is_empty() || last == ".." || last == "." {
            Some(("this is a directory, and a job is started by files", "add `/*` for all in it"))
        } else if above.contains(['*', '?']) {
            Some(("`*` and `?` may stand in the last part alone", "write a path for each directory"))
        } else if text.contains("${") || text.contains("{date}") || text.contains("{run.id}") {
            Some((
                "nothing is put in for braces here",
                "write the path itself, or `*` for a part of its name",
            ))
        } else {
            None
        };
        if let Some((message, help)) = flaw {
            reader.bad_value(node.place, message, help);
            return None;
        }
        Some(Self(text))
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Debounce(Duration);

impl FromYaml for Debounce {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let debounce = Duration::read(node, reader)?;
        if debounce > LONGEST_DEBOUNCE {
            reader.bad_value(
                node.place,
                "`debounce` is longer than 1h",
                "write how long a writer pauses at most",
            );
            return None;
        }
        Some(Self(debounce))
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

mapping! {
    /// Calls that start a run: `POST /v1/hooks/NAME`, signed, at the address of mcsup.yaml's `hooks`.
    WebhookFile {
        /// The file that the secret of the signature is in; relative as `env_file` is.
        [required] secret_file: Word;
        /// Most calls in a minute; 1 to 6000. More are refused.
        per_minute: Calls = 60;
    }
}

impl WebhookFile {
    pub(super) fn lower(&self) -> Option<Webhook> {
        Some(Webhook {
            secret_file: self.secret_file.as_ref()?.value.0.clone(),
            per_minute: self.per_minute.as_ref().map_or(PER_MINUTE, |most| most.value.0),
        })
    }
}

mapping! {
    /// Where calls of webhooks are listened for.
    HooksFile {
        /// An address and a port: `127.0.0.1:8787` for this machine alone.
        [required] listen: HookAddress;
    }
}

impl HooksFile {
    pub(super) fn lower(&self) -> Option<Hooks> {
        Some(Hooks { listen: self.listen.as_ref()?.value.0.clone() })
    }
}

/// An address that is named: a port alone would be open to everybody without anybody having said so.
#[derive(Clone, Debug)]
pub(crate) struct HookAddress(pub(crate) Address);

impl FromYaml for HookAddress {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let expected = "an address such as `127.0.0.1:8787`";
        let text = &*reader.scalar(node, expected)?.text;
        match listen::address(text) {
            Some(ListenAddress::Tcp(address)) if text.contains(':') && !text.starts_with(':') => {
                Some(Self(address))
            }
            Some(ListenAddress::Tcp(address)) => {
                let help = format!("write `127.0.0.1:{}`, or `[::]:{0}` for everybody", address.port);
                reader.mismatch(node, expected, Some(&help));
                None
            }
            Some(ListenAddress::Udp(_) | ListenAddress::Unix { .. }) | None => {
                reader.mismatch(node, expected, None);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[^:/].*:[0-9]+$"})
    }
}
