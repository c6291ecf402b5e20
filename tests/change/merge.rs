//! Numbers of units over changes.

use std::collections::BTreeMap;

use mcsup::graph::Graph;
use mcsup::unit::name::UnitName;
use mcsup::unit::spec::recover::Rung;
use mcsup::unit::spec::{PhaseId, UnitId, UnitSet, UnitSpec};
use proptest::prelude::*;

use crate::sets::{change, directory, id, names, set, unit};

#[test]
fn who_stays_keeps_its_number_whoever_comes_and_goes() {
    let before = set(&[("b", "command: [x]"), ("d", "command: [y]\ndepends_on: [b]"), ("f", "command: [z]")]);
    let next = set(&[
        ("a", "command: [u]"),
        ("d", "command: [y]\ndepends_on: [a, f]"),
        ("e", "command: [v]\nconflicts: [zz]\nrecover: [{restart: {with: [a, f]}}]"),
        ("f", "command: [w]"),
        ("j", "kind: job\ncommand: [w]\nafter: [t]"),
        ("t", "kind: task\ncommand: [w]"),
        ("zz", "command: [w]\nenabled: false"),
    ]);
    let merged = before.followed_by(&next).set;
    for name in ["d", "f"] {
        assert_eq!(id(&merged, name), id(&before, name), "{name}");
    }
    assert_eq!(names(&merged), ["d", "f", "a", "e", "j", "t", "zz"], "what is new stands behind");
    assert_eq!(merged.find("b"), None);
    assert_eq!(merged.named("b"), []);
    let other = |id: UnitId| merged.unit(id).unwrap().name.as_str();
    let edges: Vec<&str> = unit(&merged, "d").depends_on.iter().map(|edge| other(edge.unit)).collect();
    assert_eq!(edges, ["f", "a"], "by number");
    assert_eq!(other(unit(&merged, "e").conflicts[0]), "zz");
    let Rung::Restart { with } = &unit(&merged, "e").recover.rungs[0] else { panic!("a restart") };
    assert_eq!(with.iter().map(|unit| other(*unit)).collect::<Vec<_>>(), ["a", "f"]);
    assert_eq!(other(unit(&merged, "j").job.as_ref().unwrap().after[0].unit), "t");
}

#[test]
fn what_is_left_of_a_removed_unit_does_nothing_and_is_nobodys() {
    let before = set(&[
        ("mcsup", "phases: [early, late]\n"),
        (
            "a",
            "command: [x]\nphase: early\nessential: true\nprotected: true\nhealth: {tcp: 1}\nlisten: 8080\nconflicts: [n]",
        ),
        ("b", "command: [x]\ndepends_on: [a]\n"),
        (
            "c",
            "kind: job\ncommand: [x]\nevery: 1h\non_boot: true\nschedule: '@daily'\npath: in\nafter: [t]\n",
        ),
        ("n", "command: [x]\nenabled: false"),
        ("t", "kind: task\ncommand: [x]"),
    ]);
    let next = set(&[("mcsup", "phases: [late]\n"), ("b", "command: [x]\n"), ("n", "command: [x]")]);
    let merged = before.followed_by(&next).set;
    assert_eq!(names(&merged), ["b", "n"]);
    let graph = Graph::new(&merged);
    for name in ["a", "c"] {
        let id = id(&before, name);
        let left = merged.unit(id).unwrap();
        assert!(left.is_removed && !left.enabled && !left.blocks_phase && !left.essential && !left.protected);
        assert_eq!(
            (left.name.as_str(), left.phase),
            (name, PhaseId(0)),
            "its phase is gone, so the last one"
        );
        assert!(left.depends_on.is_empty() && left.conflicts.is_empty() && left.health.is_empty());
        assert!(left.listen.sockets.is_empty() && left.recover.rungs.is_empty());
        assert_eq!((graph.dependents(id), graph.conflicts_of(id)), (&[][..], &[][..]));
        assert!(!graph.units_of(PhaseId(0)).contains(&id));
    }
    let job = merged.unit(id(&before, "c")).unwrap().job.as_deref().unwrap();
    assert!(job.timetable.schedules.is_empty() && job.every.is_none() && !job.on_boot);
    assert!(job.after.is_empty() && job.paths.is_empty());
    assert_eq!(graph.start_order(&merged), [id(&merged, "b"), id(&merged, "n")]);
}

#[test]
fn a_file_with_another_name_and_the_same_words_is_the_same_unit() {
    let before = set(&[("a", "command: [x]"), ("b", "command: [y]"), ("m", "command: [z]\ndepends_on: [a]")]);
    let next = set(&[("b", "command: [y]"), ("m", "command: [z]\ndepends_on: [z]"), ("z", "command: [x]")]);
    let merged = before.followed_by(&next);
    assert_eq!(merged.renamed, [(UnitId(0), UnitName::new("a").unwrap())]);
    assert_eq!(names(&merged.set), ["z", "b", "m"]);
    assert_eq!(merged.set.units.len(), 3);
    assert_eq!(unit(&merged.set, "m").depends_on[0].unit, UnitId(0));
    // Names are found although they are no longer in order, and the old one is free for another.
    for (name, at) in [("z", 0), ("b", 1), ("m", 2)] {
        assert_eq!(merged.set.find(name), Some(UnitId(at)), "{name}");
    }
    assert_eq!(merged.set.find("a"), None);
    let again = merged.set.followed_by(&set(&[("a", "command: [q]"), ("z", "command: [x]")])).set;
    assert_eq!((again.find("a"), again.find("z")), (Some(UnitId(3)), Some(UnitId(0))));
}

#[test]
fn a_rename_is_followed_through_those_who_name_each_other() {
    let before = set(&[("a", "command: [x]"), ("b", "command: [y]\ndepends_on: [a]")]);
    let next = set(&[("p", "command: [x]"), ("q", "command: [y]\ndepends_on: [p]")]);
    let merged = before.followed_by(&next);
    assert_eq!(merged.renamed.len(), 2);
    assert_eq!(names(&merged.set), ["p", "q"]);
}

#[test]
fn what_may_mean_something_else_under_another_name_is_no_rename() {
    for (before, next, why) in [
        (vec![("a", "command: [x]"), ("b", "command: [x]")], vec![("c", "command: [x]")], "two were it"),
        (vec![("a", "command: [x]")], vec![("b", "command: [x]"), ("c", "command: [x]")], "two are it"),
        (vec![("a", "command: [x]")], vec![("b", "command: [y]")], "they differ"),
        (
            vec![("a", "command: sh -c 'echo $MCSUP_UNIT'")],
            vec![("b", "command: sh -c 'echo $MCSUP_UNIT'")],
            "it asks",
        ),
        (
            vec![("a", "command: [x]\nlisten: 80")],
            vec![("b", "command: [x]\nlisten: 80")],
            "its socket has its name",
        ),
        (
            vec![("a@", "command: [x]\ninstances: [i]")],
            vec![("b@", "command: [x]\ninstances: [i]")],
            "a copy",
        ),
    ] {
        let merged = set(&before).followed_by(&set(&next));
        assert_eq!(merged.renamed, [], "{why}");
    }
    // A name that was there before has a slot that it gets back.
    let removed = set(&[("a", "command: [x]")]).followed_by(&set(&[("b", "command: [y]")])).set;
    let back = removed.followed_by(&set(&[("a", "command: [y]")]));
    assert_eq!((back.set.find("a"), back.renamed.len()), (Some(UnitId(0)), 0));
}

/// Every number of another unit in a definition, wherever it stands, as the name that it means.
fn with_names(set: &UnitSet, spec: &UnitSpec) -> Vec<String> {
    let text = format!("{spec:?}");
    let number = |rest: &str| rest.split(')').next().unwrap().parse().unwrap();
    let name = |rest| set.unit(UnitId(number(rest))).unwrap().name.to_string();
    let mut names: Vec<String> = text.split("UnitId(").skip(1).map(name).collect();
    names.sort();
    names
}

fn slots(set: &UnitSet) -> BTreeMap<UnitId, String> {
    set.ids().map(|id| (id, set.unit(id).unwrap().name.to_string())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_that_follows_itself_is_itself(one in directory(), two in directory()) {
        prop_assert_eq!(&one.followed_by(&one).set, &one);
        let merged = one.followed_by(&two).set;
        prop_assert_eq!(&merged.followed_by(&two).set, &merged);
        prop_assert_eq!(&merged.followed_by(&merged).set, &merged);
    }

    #[test]
    fn every_unit_that_is_there_is_the_one_of_the_next_set((one, two) in change()) {
        let merged = one.followed_by(&two);
        prop_assert_eq!(&merged, &one.followed_by(&two), "the same every time");
        let merged = merged.set;
        let mut there = names(&merged);
        there.sort();
        prop_assert_eq!(there, names(&two));
        prop_assert_eq!(&merged.phases, &two.phases);
        for unit in two.present_units() {
            let id = merged.find(unit.name.as_str()).unwrap();
            let other = merged.unit(id).unwrap();
            prop_assert_eq!(unit.fingerprint, other.fingerprint);
            prop_assert_eq!((unit.phase, unit.place), (other.phase, other.place));
            prop_assert_eq!(with_names(&merged, other), with_names(&two, unit));
        }
        let graph = Graph::new(&merged);
        prop_assert_eq!(graph.start_order(&merged).len(), two.units.len());
        for id in merged.ids().filter(|id| merged.unit(*id).unwrap().is_removed) {
            prop_assert_eq!(with_names(&merged, merged.unit(id).unwrap()), Vec::<String>::new());
            prop_assert!(graph.dependents(id).is_empty());
        }
    }

    #[test]
    fn a_number_never_means_another_unit(sets in prop::collection::vec(directory(), 2..6)) {
        let mut merged = sets[0].clone();
        for next in &sets[1..] {
            let before = slots(&merged);
            let now = merged.followed_by(next);
            let renamed: BTreeMap<UnitId, UnitName> = now.renamed.into_iter().collect();
            let after = slots(&now.set);
            for (id, name) in before {
                let was = renamed.get(&id).map_or_else(|| after[&id].as_str(), UnitName::as_str);
                prop_assert_eq!(was, name.as_str());
            }
            let mut all: Vec<&String> = after.values().collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), after.len(), "no name has two slots");
            merged = now.set;
        }
    }

    #[test]
    fn there_and_back_again_gives_the_same_definitions_at_the_same_numbers((one, two) in change()) {
        let back = one.followed_by(&two).set.followed_by(&one).set;
        prop_assert_eq!(&back.units[..one.units.len()], &one.units[..]);
        prop_assert!(back.units[one.units.len()..].iter().all(|unit| unit.is_removed));
    }
}
