//! Which units a directory holds: files, templates and replicas as names.

use std::collections::{BTreeMap, BTreeSet};

use crate::unit::check::named_twice;
use crate::unit::diagnostic::{Diagnostic, Place, index};
use crate::unit::file::UnitFile;
use crate::unit::lower::id_at;
use crate::unit::name::{BadName, UnitName};
use crate::unit::nearest::nearest;
use crate::unit::read::ENOUGH_SUGGESTIONS;
use crate::unit::spec::{UnitId, UnitKind};

/// One unit file with the defaults of its kind mixed in.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) name: UnitName,
    pub(super) kind: UnitKind,
    pub(super) unit: UnitFile,
    pub(super) place: Place,
    /// False: something in the file could not be read, so what is missing may have been meant.
    pub(super) is_sound: bool,
}

/// One unit, as a file or a copy made by one.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: UnitName,
    pub(super) draft: usize,
    pub(super) instance: Option<Box<str>>,
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) drafts: Vec<Draft>,
    /// By `UnitId`: ordered by name, each once.
    pub(super) members: Vec<Member>,
    /// `web` for all of web@1 ... web@n, `agent` and `agent@` for all of a template.
    groups: BTreeMap<Box<str>, usize>,
    members_of: Vec<Vec<UnitId>>,
    /// Units whose files say nothing readable; naming them is not a second mistake.
    unreadable: BTreeSet<Box<str>>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Directory {
    pub(super) fn new(
        drafts: Vec<Draft>,
        unreadable: BTreeSet<Box<str>>,
        diagnostics: Vec<Diagnostic>,
    ) -> Self {
        let mut directory = Self { drafts, unreadable, diagnostics, ..Self::default() };
        let mut members = Vec::with_capacity(directory.drafts.len());
        for (at, draft) in directory.drafts.iter().enumerate() {
            let before = members.len();
            unfold(at, draft, &mut members, &mut directory.diagnostics);
            let is_group = members.len() != before.saturating_add(1) || draft.name.as_str().ends_with('@');
            let stem = draft.name.as_str();
            if is_group {
                directory.groups.insert(stem.into(), at);
                directory.groups.entry(stem.trim_end_matches('@').into()).or_insert(at);
            }
        }
        members.sort_by(|one, two| (&one.name, one.draft).cmp(&(&two.name, two.draft)));
        for pair in members.windows(2) {
            if let [one, two] = pair
                && one.name == two.name
            {
                directory.diagnostics.push(directory.twice(one, two));
            }
        }
        members.dedup_by(|two, one| one.name == two.name);
        directory.members_of = vec![Vec::new(); directory.drafts.len()];
        for (position, member) in members.iter().enumerate() {
            if let Some(list) = directory.members_of.get_mut(member.draft) {
                list.push(id_at(position));
            }
        }
        directory.members = members;
        directory
    }

    fn twice(&self, one: &Member, two: &Member) -> Diagnostic {
        let place =
            |member: &Member| self.drafts.get(member.draft).map(|draft| draft.place).unwrap_or_default();
        Diagnostic::error("duplicate-name", place(two), format!("there are two units named `{}`", one.name))
            .related(place(one), "the other one")
            .help("a file of this name and a copy of a template or replica collide: rename one")
    }

    /// The units that `name` means: one, or all copies of one file.
    pub(super) fn resolve(&self, name: &str, place: Place, diagnostics: &mut Vec<Diagnostic>) -> Vec<UnitId> {
        if let Ok(position) = self.members.binary_search_by(|member| member.name.as_str().cmp(name)) {
            return vec![id_at(position)];
        }
        if let Some(units) = self.groups.get(name).and_then(|draft| self.members_of.get(*draft)) {
            return units.clone();
        }
        let file_of_copy = name.split_once('@').map_or(name, |(stem, _)| stem);
        if self.unreadable.contains(name)
            || self.unreadable.contains(file_of_copy)
            || self.unreadable.contains(format!("{file_of_copy}@").as_str())
        {
            return Vec::new();
        }
        let known = self.members.iter().map(|member| member.name.as_str());
        let candidates = known.chain(self.groups.keys().map(|group| &**group));
        let similar = if diagnostics.len() < ENOUGH_SUGGESTIONS { nearest(name, candidates) } else { None };
        let help = match similar {
            Some(similar) => format!("did you mean `{similar}`?"),
            None => format!("a unit of this name would be the file `{name}.yaml` in this directory"),
        };
        diagnostics.push(
            Diagnostic::error("unknown-unit", place, format!("there is no unit named `{name}`")).help(help),
        );
        Vec::new()
    }

    pub(super) fn draft_of(&self, unit: UnitId) -> Option<&Draft> {
        self.drafts.get(self.members.get(index(unit.0))?.draft)
    }

    pub(super) fn name_of(&self, unit: UnitId) -> Option<&str> {
        self.members.get(index(unit.0)).map(|member| member.name.as_str())
    }

    pub(super) fn is_copy_of(&self, unit: UnitId, draft: usize) -> bool {
        self.members.get(index(unit.0)).is_some_and(|member| member.draft == draft)
    }
}

/// As many as `replicas` may make.
const MOST_COPIES: usize = 1000;

/// The units that one file makes.
fn unfold(at: usize, draft: &Draft, members: &mut Vec<Member>, diagnostics: &mut Vec<Diagnostic>) {
    let unit = &draft.unit;
    let mut add =
        |name: String, instance: &str, place: Place, diagnostics: &mut Vec<Diagnostic>| match UnitName::new(
            &name,
        ) {
            Ok(name) => members.push(Member { name, draft: at, instance: Some(instance.into()) }),
            Err(bad) => diagnostics.push(bad_name(&name, bad, place)),
        };
    if draft.name.as_str().ends_with('@') {
        if let Some(replicas) = &unit.replicas {
            diagnostics.push(
                Diagnostic::error(
                    "template",
                    replicas.key,
                    "a template names its copies, it does not count them",
                )
                .help("write `instances: [a, b]`"),
            );
        }
        match &unit.instances {
            Some(instances) => {
                if instances.value.len() > MOST_COPIES {
                    let message = format!("{} instances are more than {MOST_COPIES}", instances.value.len());
                    diagnostics.push(Diagnostic::error("template", instances.place, message));
                }
                let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
                for instance in instances.value.iter().take(MOST_COPIES) {
                    if let Some(earlier) = seen.insert(&instance.value.0, instance.place) {
                        diagnostics.push(named_twice(&instance.value.0, instance.place, earlier));
                        continue;
                    }
                    let name = format!("{}{}", draft.name, instance.value.0);
                    add(name, &instance.value.0, instance.place, diagnostics);
                }
            }
            None if draft.is_sound => diagnostics.push(
                Diagnostic::error("template", draft.place, "a template makes no unit without `instances`")
                    .help(format!("write `instances: [a]` for a unit `{}a`", draft.name)),
            ),
            None => {}
        }
        return;
    }
    if let Some(instances) = &unit.instances {
        diagnostics.push(
            Diagnostic::error("template", instances.key, "`instances` belongs into a template")
                .help(format!("name the file `{}@.yaml`, or write `replicas`", draft.name)),
        );
    }
    match unit.replicas.as_ref().map(|replicas| (replicas.value.0, replicas.place)) {
        None => members.push(Member { name: draft.name.clone(), draft: at, instance: None }),
        Some((1, _)) => {
            members.push(Member { name: draft.name.clone(), draft: at, instance: Some("1".into()) });
        }
        Some((count, place)) => {
            for number in 1..=count {
                add(format!("{}@{number}", draft.name), &number.to_string(), place, diagnostics);
            }
        }
    }
}

pub(super) fn bad_name(name: &str, bad: BadName, place: Place) -> Diagnostic {
    let message = match bad {
        BadName::Empty => "a unit needs a name before `.yaml`".into(),
        BadName::TooLong => format!("the unit's name `{name}` is longer than 64 characters"),
        BadName::Reserved => format!("the name `{name}` is mcsup's own"),
        BadName::Character(_, c) => format!("`{c}` may not stand there in the unit's name `{name}`"),
    };
    Diagnostic::error("bad-name", place, message)
        .help("names are lower-case letters and digits, and after the first character also `_ . @ -`")
}
