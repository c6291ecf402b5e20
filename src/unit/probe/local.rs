//! Probes that look at this machine: a file, the unit's own log.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::unit::diagnostic::Diagnostic;
use crate::unit::read::{At, FromYaml, Reader, mapping};
use crate::unit::spec::probe::{FileProbe, LogProbe, Pattern, ProbeKind};
use crate::unit::value::{Size, Word};
use crate::unit::yaml::{Node, Value};

mapping! {
    /// A file and how it must be.
    FileKeys {
        /// Relative to the unit's working directory.
        [required] path: Word;
        /// Written at most so long ago.
        max_age: Duration;
        /// At least so large.
        min_size: Size;
        /// At most so large.
        max_size: Size;
    }
}

/// A path alone, or with conditions.
#[derive(Clone, Debug)]
pub(crate) struct FileMap(FileKeys);

impl FromYaml for FileMap {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let keys = match &node.value {
            Value::Map(_) => FileKeys::read(node, reader)?,
            Value::Scalar(_) | Value::List(_) => {
                let path = At { key: node.place, place: node.place, value: Word::read(node, reader)? };
                FileKeys { path: Some(path), ..FileKeys::default() }
            }
        };
        keys.path.as_ref()?;
        if let (Some(min), Some(max)) = (&keys.min_size, &keys.max_size)
            && min.value.0 > max.value.0
        {
            reader.report(
                Diagnostic::error(
                    "bad-value",
                    min.place,
                    "no file is as large as this and as small as `max_size`",
                )
                .related(max.place, "the largest size")
                .help("make `min_size` at most `max_size`"),
            );
            return None;
        }
        Some(Self(keys))
    }

    fn schema() -> Json {
        json!({"anyOf": [Word::schema(), FileKeys::schema()]})
    }
}

impl FileMap {
    pub(crate) fn question(&self) -> ProbeKind {
        let FileKeys { path, max_age, min_size, max_size } = &self.0;
        ProbeKind::File(FileProbe {
            path: path.as_ref().map_or_else(|| "".into(), |at| at.value.0.clone()),
            max_age: max_age.as_ref().map(|at| at.value),
            min_size_bytes: min_size.as_ref().map(|at| at.value.0),
            max_size_bytes: max_size.as_ref().map(|at| at.value.0),
        })
    }
}

mapping! {
    /// What the unit's log must and must not say.
    LogKeys {
        /// Fails when nothing was written for this long: silence is a failure.
        within: Duration;
        /// With `within`: only lines that match this regular expression count.
        matches: Pattern;
        /// Fails when a line matches this regular expression.
        bad: Pattern;
    }
}

#[derive(Clone, Debug)]
pub(crate) struct LogMap(LogKeys);

impl FromYaml for LogMap {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let sound = reader.diagnostics.len();
        let keys = LogKeys::read(node, reader)?;
        if reader.diagnostics.len() > sound {
            return None;
        }
        if keys.within.is_none() {
            match &keys.matches {
                Some(matches) => reader.bad_value(
                    matches.key,
                    "`matches` waits for a line, and nothing says how long",
                    "add `within: 5m`, or write `bad` for lines that must not come",
                ),
                None if keys.bad.is_none() => reader.bad_value(
                    node.place,
                    "this probe does not say what is wrong with a log",
                    "give it `within` (silence), `bad` (a line that must not come), or both",
                ),
                None => return Some(Self(keys)),
            }
            return None;
        }
        if let Some(within) = keys.within.as_ref().filter(|within| within.value.is_zero()) {
            reader.bad_value(
                within.place,
                "`within: 0` leaves no time to write a line",
                "write how long silence may last",
            );
            return None;
        }
        Some(Self(keys))
    }

    fn schema() -> Json {
        LogKeys::schema()
    }
}

impl LogMap {
    pub(crate) fn question(&self) -> ProbeKind {
        let LogKeys { within, matches, bad } = &self.0;
        ProbeKind::Log(LogProbe {
            within: within.as_ref().map(|at| at.value),
            matches: matches.as_ref().map(|at| at.value.clone()),
            bad: bad.as_ref().map(|at| at.value.clone()),
        })
    }
}
