//! What one generation changed, on top of another one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::generation::manifest::Word;
use crate::generation::tests::{Place, draft, expected, files, keep, verdict};
use crate::generation::{Draft, Retention, Store, UnitsFile};
use crate::unit::SourceFile;

type Files<'a> = &'a [(&'a str, &'a str)];

/// Generation 1, what one side made of it, and what the other one did.
fn both(store: &Store, before: Files<'_>, theirs: Files<'_>, ours: Files<'_>) -> (u64, u64) {
    let add = |parent, of| store.add(&Draft { parent, ..draft(of) }).unwrap();
    let first = add(None, before);
    (add(Some(first), theirs), add(Some(first), ours))
}

#[track_caller]
fn assert_merged(before: Files<'_>, theirs: Files<'_>, ours: Files<'_>, all: Files<'_>) {
    let place = Place::new();
    let store = place.store();
    let (patch, onto) = both(&store, before, theirs, ours);
    let merged = store.merge(patch, onto).unwrap();
    let found = store.files_of(&merged).unwrap();
    assert!(merged.is_of(&found));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let found: BTreeMap<String, String> =
        found.into_iter().map(|file| (file.name, text(file.bytes))).collect();
    assert_eq!(found, expected(all));
    assert_eq!(store.holds(onto, &merged).unwrap(), found == expected(ours));
    assert_eq!(store.holds(patch, &merged).unwrap(), found == expected(theirs));
}

#[test]
fn files_that_one_side_changed_are_as_that_side_has_them() {
    let before = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
    let theirs = [("a", "2"), ("b", "1"), ("c", "1"), ("new", "2")];
    let ours = [("a", "1"), ("b", "3"), ("d", "1"), ("other", "3")];
    let all = [("a", "2"), ("b", "3"), ("new", "2"), ("other", "3")];
    assert_merged(&before, &theirs, &ours, &all);
    assert_merged(&before, &before, &ours, &ours);
    assert_merged(&before, &theirs, &before, &theirs);
    assert_merged(&before, &theirs, &theirs, &theirs);
}

#[test]
fn a_file_that_both_sides_changed_is_named_with_both() {
    let cases: [(Files<'_>, Files<'_>, Files<'_>); 4] = [
        (&[("a", "1")], &[("a", "2")], &[("a", "3")]),
        (&[("a", "1")], &[("b", "1")], &[("a", "3")]),
        (&[("a", "1")], &[("a", "2")], &[("b", "1")]),
        (&[("b", "1")], &[("a", "2"), ("b", "1")], &[("a", "3"), ("b", "1")]),
    ];
    for (before, theirs, ours) in cases {
        let place = Place::new();
        let store = place.store();
        let (patch, onto) = both(&store, before, theirs, ours);
        let why = store.merge(patch, onto).unwrap_err().to_string();
        assert_eq!(why, "generation 2 changes `a`, which generation 3 has changed otherwise since");
    }
}

#[test]
fn it_is_told_by_its_unit_files_alone_what_a_boot_would_run() {
    let place = Place::new();
    let store = place.store();
    let (patch, onto) =
        both(&store, &[("a.yaml", "1"), ("e.env", "1")], &[("a.yaml", "2")], &[("a.yaml", "1")]);
    let merged = store.merge(patch, onto).unwrap();
    let sources = |of: Files<'_>| -> Vec<SourceFile> {
        let source = |file: UnitsFile| (file.name, file.bytes);
        files(of).into_iter().map(source).map(|(name, bytes)| SourceFile { name, bytes }).collect()
    };
    assert!(merged.is_of_sources(&sources(&[("a.yaml", "2")])));
    assert!(!merged.is_of_sources(&sources(&[("a.yaml", "1")])));
    assert!(!merged.is_of_sources(&sources(&[("a.yaml", "2"), ("b.yaml", "2")])));
}

#[test]
fn what_waits_stays_with_what_it_came_from() {
    let place = Place::new();
    let store = place.store();
    place.write(&[("a", "1")]);
    let first = keep(&store, &place, Word::Committed);
    store.make_current(first).unwrap();
    place.write(&[("a", "2")]);
    let waits = keep(&store, &place, Word::Pending);
    for text in ["3", "4", "5"] {
        place.write(&[("a", "1"), ("b", text)]);
        let number = keep(&store, &place, Word::Committed);
        store.make_current(number).unwrap();
    }
    let retention = Retention { count: 1, age: Duration::MAX };
    assert_eq!(store.retire(&retention, 0).unwrap(), [3], "the current one and the one before it stay, too");
    let merged = store.merge(waits, 5).unwrap();
    assert!(merged.is_of(&files(&[("a", "2"), ("b", "5")])));
    store.judge(waits, &verdict(Word::Superseded)).unwrap();
    assert_eq!(store.retire(&retention, 0).unwrap(), [1, 2]);
}
