//! What a unit file says of the powers of its processes and of their share of the machine.

use serde_json::{Value as Json, json};

use crate::unit::diagnostic::Place;
use crate::unit::file::{Bound, UnitFile};
use crate::unit::nearest::nearest;
use crate::unit::output::Several;
use crate::unit::read::{At, FromYaml, Reader};
use crate::unit::spec::confinement::{Bounds, CAPABILITIES, Capability, Confinement, Credential};
use crate::unit::value::{PerMille, Word};
use crate::unit::yaml::{Node, Value};

/// The limits that a cgroup enforces.
#[derive(Clone, Debug, Default)]
pub(crate) struct BoundsFile {
    pub(crate) memory: Option<At<Bound>>,
    pub(crate) cpu: Option<At<PerMille>>,
    pub(crate) tasks: Option<At<Bound>>,
    pub(crate) required: Option<At<bool>>,
}

impl BoundsFile {
    /// Beside the names of getrlimit(2).
    pub(crate) const KEYS: [&str; 4] = ["memory", "cpu", "tasks", "required"];

    pub(crate) fn over(self, below: Self) -> Self {
        Self {
            memory: self.memory.or(below.memory),
            cpu: self.cpu.or(below.cpu),
            tasks: self.tasks.or(below.tasks),
            required: self.required.or(below.required),
        }
    }

    fn lower(&self) -> Bounds {
        let bound = |bound: &Option<At<Bound>>| bound.as_ref().and_then(|bound| bound.value.amount());
        Bounds {
            memory_bytes: bound(&self.memory),
            cpu_permille: self.cpu.as_ref().map(|cpu| cpu.value.0),
            tasks: bound(&self.tasks),
            is_required: self.required.as_ref().is_some_and(|required| required.value),
        }
    }
}

/// `None` when the unit says nothing of it.
pub(super) fn lower(unit: &UnitFile) -> Option<Box<Confinement>> {
    let mut capabilities = unit
        .capabilities
        .as_ref()
        .map(|list| list.value.iter().map(|capability| capability.value).collect::<Vec<_>>());
    if let Some(capabilities) = &mut capabilities {
        capabilities.sort_unstable();
        capabilities.dedup();
    }
    let mut cpu_affinity: Vec<u16> = unit
        .cpu_affinity
        .iter()
        .flat_map(|list| &list.value.0)
        .flat_map(|range| range.value.first..=range.value.last)
        .collect();
    cpu_affinity.sort_unstable();
    cpu_affinity.dedup();
    let mut credentials: Vec<Credential> =
        unit.credentials.iter().flat_map(|files| &files.value.0).map(|(_, file)| file.clone()).collect();
    credentials.sort_by(|one, two| one.name.cmp(&two.name));
    let confinement = Confinement {
        bounds: unit.limits.as_ref().map(|limits| limits.value.bounds.lower()).unwrap_or_default(),
        umask: unit.umask.as_ref().map(|mask| mask.value.0),
        nice: unit.nice.as_ref().map(|nice| nice.value.0),
        no_new_privileges: unit.no_new_privileges.as_ref().map(|at| at.value),
        capabilities,
        read_only: unit.read_only.as_ref().is_some_and(|at| at.value),
        writable: unit
            .writable
            .iter()
            .flat_map(|paths| &paths.value)
            .map(|path| path.value.0.clone())
            .collect(),
        private_tmp: unit.private_tmp.as_ref().is_some_and(|at| at.value),
        cpu_affinity,
        credentials,
    };
    (confinement != Confinement::default()).then(|| Box::new(confinement))
}

impl FromYaml for Capability {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let expected = "a capability such as `CAP_NET_BIND_SERVICE`";
        let text = &reader.scalar(node, expected)?.text;
        let capability = Self::parse(text);
        if capability.is_none() {
            let upper = text.to_ascii_uppercase();
            let long = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            let near = nearest(&long, CAPABILITIES.iter().copied());
            let help = near.map(|name| format!("did you mean `{name}`?"));
            reader.mismatch(node, expected, help.as_deref());
        }
        capability
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^([Cc][Aa][Pp]_)?[A-Za-z_]+$", "examples": CAPABILITIES})
    }
}

/// One processor, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// As many as sched_setaffinity(2) is asked for here.
const MOST_CPUS: u16 = 1024;

impl FromYaml for CpuRange {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let expected = "a processor such as `2`, or several such as `0-3`";
        let text = &reader.scalar(node, expected)?.text;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<u16>().ok()).flatten().filter(|number| *number < MOST_CPUS)
        };
        let range = match text.split_once('-') {
            Some((first, last)) => number(first).zip(number(last)),
            None => number(text).map(|number| (number, number)),
        };
        let range = range.filter(|(first, last)| first <= last);
        if range.is_none() {
            reader.mismatch(node, expected, None);
        }
        range.map(|(first, last)| Self { first, last })
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "pattern": "^[0-9]+(-[0-9]+)?$", "minimum": 0})
    }
}

/// The processors of a unit.
pub(crate) type Cpus = Several<CpuRange>;

/// Names with the files behind them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials(pub(crate) Vec<(Place, Credential)>);

impl FromYaml for Credentials {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            reader.mismatch(node, "a mapping of name to file, such as `{password: /etc/redis.secret}`", None);
            return None;
        };
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            let name = entry.key.as_ref();
            if name.is_empty() || name.starts_with('.') || name.len() > 128 || !name.chars().all(is_name) {
                let message = format!("`{name}` cannot name a credential");
                reader.bad_value(entry.key_place, message, "use letters, digits, `-`, `_` and `.` inside");
                continue;
            }
            let path = At::<Word>::entry(entry, reader);
            files.extend(path.map(|path| (path.place, Credential { name: name.into(), path: path.value.0 })));
        }
        Some(Self(files))
    }

    fn schema() -> Json {
        let path = Word::schema();
        json!({
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$", "maxLength": 128},
            "additionalProperties": path,
        })
    }
}
