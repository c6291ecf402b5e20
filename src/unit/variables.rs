//! `${NAME}` in commands and values: does anything define it?

use std::collections::{BTreeMap, BTreeSet};

use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::names::Draft;
use crate::unit::nearest::nearest;
use crate::unit::read::{At, ENOUGH_SUGGESTIONS};
use crate::unit::spec::{InheritEnv, Piece, Template};

/// Always there: from mcsup itself, and from the user that the unit runs as.
const BASICS: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ"];
const INSTANCE: &str = "MCSUP_INSTANCE";

pub(super) fn check(draft: &Draft, out: &mut Vec<Diagnostic>) {
    let unit = &draft.unit;
    let scope = Scope::new(draft);

    for (at, (name, value)) in unit.environment.iter().flat_map(|variables| &variables.value.0).enumerate() {
        for wanted in wanted(value) {
            let is_earlier = scope.own.get(wanted).is_some_and(|defined| *defined < at);
            if is_earlier || scope.is_passed_on(wanted) {
                continue;
            }
            out.push(if wanted == &**name {
                Diagnostic::error("variable-order", value.place, format!("`{name}` is defined by itself"))
                    .help(format!("pass the outer one on with `inherit_env: [{name}]`, or give a default: `${{{name}:-...}}`"))
            } else if scope.own.contains_key(wanted) {
                let message = format!("`{wanted}` is defined after `{name}`, which uses it");
                Diagnostic::error("variable-order", value.place, message)
                    .help("values may use earlier ones only: move it up")
            } else {
                scope.unknown(wanted, value.place, out.len() < ENOUGH_SUGGESTIONS)
            });
        }
    }
    for word in words(draft) {
        for wanted in wanted(word) {
            if !scope.own.contains_key(wanted) && !scope.is_passed_on(wanted) {
                let can_suggest = out.len() < ENOUGH_SUGGESTIONS;
                out.push(scope.unknown(wanted, word.place, can_suggest));
            }
        }
    }
}

/// Every text of a unit with variables in it, but for its environment.
fn words(draft: &Draft) -> Vec<&At<Template>> {
    let unit = &draft.unit;
    let stop = unit.stop.iter().filter_map(|stop| stop.value.0.command.as_ref());
    let restart = unit.restart.iter().filter_map(|restart| restart.value.0.command.as_ref());
    let commands = unit.command.iter().chain(&unit.start).chain(stop).chain(restart);
    let probes = unit.health.iter().flat_map(|health| &health.value.0);
    let recover = unit.recover.iter().flat_map(|recover| recover.value.templates());
    commands
        .flat_map(|command| &command.value.0)
        .chain(probes.flat_map(|probe| probe.value.templates()))
        .chain(recover)
        .chain(&unit.target)
        .collect()
}

struct Scope<'a> {
    /// With the position of each.
    own: BTreeMap<&'a str, usize>,
    inherited: BTreeSet<&'a str>,
    /// Variables that only a start can know of.
    is_open: bool,
    has_instance: bool,
}

impl<'a> Scope<'a> {
    fn new(draft: &'a Draft) -> Self {
        let unit = &draft.unit;
        let inherit = unit.inherit_env.as_ref().map(|inherit| &inherit.value);
        let variables = unit.environment.iter().flat_map(|variables| &variables.value.0);
        Self {
            own: variables.enumerate().map(|(at, (name, _))| (&**name, at)).collect(),
            inherited: match inherit {
                Some(InheritEnv::Names(names)) => names.iter().map(|name| &**name).collect(),
                Some(InheritEnv::Basics | InheritEnv::Everything) | None => BTreeSet::new(),
            },
            // A part that could not be read may have defined anything.
            is_open: unit.env_file.is_some() || inherit == Some(&InheritEnv::Everything) || !draft.is_sound,
            has_instance: unit.replicas.is_some() || draft.name.as_str().ends_with('@'),
        }
    }

    fn is_passed_on(&self, name: &str) -> bool {
        self.is_open
            || BASICS.contains(&name)
            || name.starts_with("LC_")
            || self.inherited.contains(name)
            || (name == INSTANCE && self.has_instance)
    }

    fn unknown(&self, name: &str, place: Place, can_suggest: bool) -> Diagnostic {
        let message = format!("nothing defines `{name}` for this unit");
        let known = self.own.keys().chain(&self.inherited).chain(BASICS).copied();
        let similar = if can_suggest { nearest(name, known) } else { None };
        let help = match similar {
            _ if name == INSTANCE => "only replicas and instances of a template have it".into(),
            Some(similar) => format!("did you mean `{similar}`?"),
            None => format!(
                "define it in `environment`, pass it on with `inherit_env: [{name}]`, or give a default: `${{{name}:-...}}`"
            ),
        };
        Diagnostic::error("unknown-variable", place, message).help(help)
    }
}

/// The variables without which `template` has no value.
fn wanted(template: &At<Template>) -> impl Iterator<Item = &str> {
    let pieces = match &template.value {
        Template::Plain(_) => &[][..],
        Template::Pieces(pieces) => pieces,
    };
    pieces.iter().filter_map(|piece| match piece {
        Piece::Variable { name, default: None } => Some(&**name),
        Piece::Variable { default: Some(_), .. } | Piece::Text(_) => None,
    })
}
