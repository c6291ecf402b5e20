//! What a restore does to the units directory, and where it keeps its hands off.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

use super::{Place, assert_whole, expected, keep, mode};
use crate::generation::manifest::Word;
use crate::generation::restore::Restored;
use crate::generation::{Error, Store};
use crate::unit::SourceFile;

const GOOD: &[(&str, &str)] = &[("a.yaml", "good"), ("gone.yaml", "good"), ("same.yaml", "same")];
const BAD: &[(&str, &str)] = &[("a.yaml", "bad"), ("new.yaml", "bad"), ("same.yaml", "same")];

/// Generation 1 is good and in effect, 2 is rejected and in the directory.
fn rejected() -> (Place, Store) {
    let place = Place::new();
    let store = place.store();
    place.write(GOOD);
    fs::set_permissions(place.units().join("gone.yaml"), fs::Permissions::from_mode(0o604)).unwrap();
    keep(&store, &place, Word::Committed);
    store.make_current(1).unwrap();
    place.write(BAD);
    keep(&store, &place, Word::Rejected);
    (place, store)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn files_come_back_with_the_rights_and_the_owner_that_they_had() {
    let (place, store) = rejected();
    let changed = place.units().join("a.yaml");
    fs::set_permissions(&changed, fs::Permissions::from_mode(0o640)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        chown(&changed, Some(12), Some(34)).unwrap();
    }
    let untouched = fs::metadata(place.units().join("same.yaml")).unwrap();
    let restored = store.restore(&place.units(), 2, 1).unwrap();
    let all = names(&["a.yaml", "gone.yaml", "new.yaml"]);
    assert_eq!(restored, Restored { restored: all, ..Restored::default() });
    assert_eq!(place.there(), expected(GOOD));
    assert_eq!((mode(&changed), mode(&place.units().join("gone.yaml"))), (0o640, 0o604));
    if is_root {
        let owner = fs::metadata(&changed).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (12, 34));
    }
    let same = fs::metadata(place.units().join("same.yaml")).unwrap();
    assert_eq!(
        (same.ino(), same.ctime_nsec()),
        (untouched.ino(), untouched.ctime_nsec()),
        "not touched at all"
    );
    assert_whole(&place.store());
    assert_eq!(
        store.restore(&place.units(), 2, 1).unwrap(),
        Restored::default(),
        "there is nothing left to do"
    );
}

#[test]
fn what_a_person_wrote_or_removed_meanwhile_stays_and_is_told() {
    let (place, store) = rejected();
    let now = [("gone.yaml", "mine"), ("new.yaml", "mine too"), ("same.yaml", "changed"), ("z.yaml", "z")];
    place.write(&now);
    let restored = store.restore(&place.units(), 2, 1).unwrap();
    let file = |name: &str, text: &str| SourceFile { name: name.into(), bytes: text.into() };
    let displaced = vec![file("gone.yaml", "mine"), file("new.yaml", "mine too")];
    assert_eq!(restored, Restored { displaced, ..Restored::default() });
    assert_eq!(place.there(), expected(&now));
}

#[test]
fn what_is_no_file_is_nobodys_to_replace() {
    let (place, store) = rejected();
    fs::remove_file(place.units().join("a.yaml")).unwrap();
    fs::create_dir(place.units().join("a.yaml")).unwrap();
    fs::create_dir(place.units().join("gone.yaml")).unwrap();
    let restored = store.restore(&place.units(), 2, 1).unwrap();
    assert_eq!(restored, Restored { restored: names(&["new.yaml"]), ..Restored::default() });
    assert!(place.units().join("a.yaml").is_dir() && place.units().join("gone.yaml").is_dir());
}

#[test]
fn many_files_come_back_at_once() {
    let place = Place::new();
    let store = place.store();
    let fill = |text: &str| {
        for at in 0..300 {
            fs::write(place.units().join(format!("{at}.yaml")), format!("{text}{at}")).unwrap();
        }
    };
    fill("good");
    keep(&store, &place, Word::Committed);
    let good = place.there();
    fill("bad");
    keep(&store, &place, Word::Rejected);
    let restored = store.restore(&place.units(), 2, 1).unwrap();
    assert_eq!((restored.restored.len(), restored.displaced.len()), (300, 0));
    assert_eq!(place.there(), good);
}

/// Says why, and nothing has changed, in the state directory neither.
#[track_caller]
fn assert_left_alone(store: &Store, units: &std::path::Path, why: &str) {
    let before = super::texts(units);
    let restored = store.restore(units, 2, 1).unwrap();
    let said = restored.left_alone.clone().unwrap_or_default();
    assert!(said.contains(why), "{restored:?}");
    assert_eq!(restored, Restored { left_alone: Some(said), ..Restored::default() });
    assert_eq!(super::texts(units), before);
    assert_whole(store);
    assert!(store.restoring().is_none());
}

#[test]
fn a_directory_that_is_reached_through_a_link_is_left_alone() {
    let (place, store) = rejected();
    let link = place.0.join("link");
    symlink(&place.0, &link).unwrap();
    let why = format!("it is reached through the symbolic link `{}`", link.display());
    assert_left_alone(&store, &link.join("units"), &why);
    let direct = place.0.join("direct");
    symlink(place.units(), &direct).unwrap();
    assert_left_alone(&store, &direct, "direct`");
}

#[test]
fn a_directory_whose_files_are_put_there_as_a_whole_is_left_alone() {
    let (place, store) = rejected();
    symlink("..2026_11", place.units().join("..data")).unwrap();
    assert_left_alone(&store, &place.units(), "by way of `..data`");
    fs::remove_file(place.units().join("..data")).unwrap();
    fs::rename(place.units().join("a.yaml"), place.0.join("a")).unwrap();
    symlink(place.0.join("a"), place.units().join("a.yaml")).unwrap();
    assert_left_alone(&store, &place.units(), "`a.yaml` in it is a symbolic link");
}

#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    let (place, store) = rejected();
    // Nobody else can give it away.
    if rustix::process::geteuid().is_root() {
        chown(place.units(), Some(12), None).unwrap();
        assert_left_alone(&store, &place.units(), "it belongs to user 12, and mcsup is user 0");
    }
    let state = place.state();
    let units = fs::canonicalize("/proc/self").unwrap();
    let why = Store::open(&state).unwrap().0.restore(&units, 2, 1).unwrap().left_alone.unwrap();
    assert!(!why.is_empty());
}

#[test]
fn a_directory_that_is_gone_is_said_to_be() {
    let (place, store) = rejected();
    fs::remove_dir_all(place.units()).unwrap();
    let why = store.restore(&place.units(), 2, 1).unwrap().left_alone.unwrap();
    assert!(why.starts_with("it cannot be looked at: No such file"), "{why}");
}

#[test]
fn leftovers_that_nobody_knows_of_are_not_taken_for_ones_own() {
    let (place, store) = rejected();
    let leftovers = place.units().join(".mcsup-restore");
    fs::create_dir(&leftovers).unwrap();
    fs::write(leftovers.join("0000.new"), "whose?").unwrap();
    let why = store.restore(&place.units(), 2, 1).unwrap().left_alone.unwrap();
    assert!(why.contains("look whether anything in it is still needed, and remove it"), "{why}");
    assert_eq!(fs::read_to_string(leftovers.join("0000.new")).unwrap(), "whose?");
    assert_eq!(fs::read_to_string(place.units().join("a.yaml")).unwrap(), "bad");
}

#[test]
fn a_damaged_generation_is_not_brought_back() {
    let (place, store) = rejected();
    let kept = store.path_of(1).join("units/gone.yaml");
    fs::remove_file(&kept).unwrap();
    fs::write(&kept, "spoilt").unwrap();
    let error = store.restore(&place.units(), 2, 1).unwrap_err();
    assert!(matches!(error, Error::Damaged { number: 1, .. }), "{error}");
    assert_eq!(place.there(), expected(BAD), "not one file of it");
}
