//! Files that units name elsewhere, brought back.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Place, assert_whole, draft, mode, named, texts};
use crate::generation::{Draft, Hook, Named, RestoredNamed, Store};

const UNIT: &[(&str, &str)] = &[("a.yaml", "command: a\n")];

/// Generation 1 is good, 2 is rejected; both name these, as (name, good, bad). The bad ones are there.
fn rejected(files: &[(&str, Option<&str>, Option<&str>)]) -> (Place, PathBuf) {
    let place = Place::new();
    let store = place.store();
    let etc = place.units().with_file_name("etc");
    fs::create_dir(&etc).unwrap();
    let path = |name: &str| etc.join(name).display().to_string();
    let good: Vec<Named> = files.iter().map(|(name, good, _)| named(&path(name), *good)).collect();
    let bad: Vec<Named> = files.iter().map(|(name, _, bad)| named(&path(name), *bad)).collect();
    store.add(&Draft { named: good, ..draft(UNIT) }).unwrap();
    store.add(&Draft { named: bad, ..draft(UNIT) }).unwrap();
    for (name, _, bad) in files {
        if let Some(bad) = bad {
            fs::write(etc.join(name), bad).unwrap();
        }
    }
    (place, etc)
}

#[test]
fn each_file_gets_back_what_it_was_with_the_owner_and_the_rights_that_it_has() {
    let (place, etc) = rejected(&[
        ("changed", Some("good"), Some("bad")),
        ("gone", Some("good"), None),
        ("new", None, Some("bad")),
        ("same", Some("same"), Some("same")),
        ("written", Some("good"), Some("bad")),
    ]);
    fs::write(etc.join("written"), "mine").unwrap();
    let real = etc.join("real");
    fs::rename(etc.join("changed"), &real).unwrap();
    symlink("real", etc.join("changed")).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        chown(&real, Some(12), Some(34)).unwrap();
    }
    let store = place.store();
    let restored = store.restore_named(&place.units(), 2, 1).unwrap();
    let paths = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| etc.join(name).display().to_string()).collect()
    };
    let expected = RestoredNamed {
        restored: paths(&["changed", "gone", "new"]),
        displaced: paths(&["written"]),
        ..RestoredNamed::default()
    };
    assert_eq!(restored, expected);
    let there = super::expected(&[
        ("changed", "good"),
        ("real", "good"),
        ("gone", "good"),
        ("same", "same"),
        ("written", "mine"),
    ]);
    assert_eq!(texts(&etc), there);
    assert!(fs::symlink_metadata(etc.join("changed")).unwrap().is_symlink());
    assert_eq!((mode(&real), mode(&etc.join("gone"))), (0o640, 0o600));
    if is_root {
        let owner = fs::metadata(&real).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (12, 34));
    }
    let again = RestoredNamed { displaced: paths(&["written"]), ..RestoredNamed::default() };
    assert_eq!(store.restore_named(&place.units(), 2, 1).unwrap(), again, "nothing is left to do");
    assert_whole(&store);
}

#[test]
fn what_stands_in_the_directory_itself_is_left_to_who_brings_that_back() {
    let place = Place::new();
    let store = place.store();
    for text in ["good", "bad"] {
        let files = [("a.yaml", "command: a\n"), ("words.env", text)];
        store.add(&Draft { named: vec![named("words.env", Some(text))], ..draft(&files) }).unwrap();
    }
    place.write(&[("words.env", "bad")]);
    assert_eq!(store.restore_named(&place.units(), 2, 1).unwrap(), RestoredNamed::default());
    assert_eq!(place.there(), super::expected(&[("words.env", "bad")]));
}

#[test]
fn what_cannot_be_written_is_told_with_its_path_and_holds_up_no_other() {
    let (place, etc) = rejected(&[("away/x", Some("good"), None), ("y", Some("good"), Some("bad"))]);
    let restored = place.store().restore_named(&place.units(), 2, 1).unwrap();
    let [(path, why)] = &restored.refused[..] else { panic!("{restored:?}") };
    assert!(path.ends_with("away/x") && why.contains("No such file"), "{restored:?}");
    assert_eq!(fs::read_to_string(etc.join("y")).unwrap(), "good");
}

/// Every step on the disk: `at` hears of it before it is taken.
fn with_steps(
    place: &Place,
    at: impl Fn(usize) -> io::Result<()> + Send + Sync + 'static,
) -> (Store, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let hook: Hook = Arc::new(move |_, _| at(counted.fetch_add(1, Ordering::Relaxed)));
    let (store, said) = Store::open_watched(&place.state(), hook).unwrap();
    assert_eq!(said, [""; 0]);
    (store, count)
}

const KINDS: [(Option<&str>, Option<&str>); 3] =
    [(Some("good"), Some("bad")), (Some("good"), None), (None, Some("bad"))];

#[test]
fn wherever_it_ends_the_file_is_whole_and_the_next_one_finishes_it_and_leaves_nothing_behind() {
    for (good, bad) in KINDS {
        let mut ended = None;
        for end in 0..MOST_STEPS {
            let (place, etc) = rejected(&[("x", good, bad)]);
            let refuse = move |step| if step < end { Ok(()) } else { Err(io::Error::other("the end")) };
            let (store, steps) = with_steps(&place, refuse);
            drop(store.restore_named(&place.units(), 2, 1));
            let there = fs::read_to_string(etc.join("x")).ok();
            assert!(there.as_deref() == good || there.as_deref() == bad, "{end}: {there:?}");
            let is_over = steps.load(Ordering::Relaxed) <= end;
            place.store().restore_named(&place.units(), 2, 1).unwrap();
            let expected: Vec<(&str, &str)> = good.map(|good| ("x", good)).into_iter().collect();
            assert_eq!(texts(&etc), super::expected(&expected), "{end}");
            if is_over {
                ended = Some(end);
                break;
            }
        }
        assert!(ended.is_some_and(|end| end > 1), "{good:?} {bad:?}: {ended:?}");
    }
}

#[test]
fn whenever_a_person_writes_their_bytes_are_what_stays() {
    for (good, bad) in KINDS {
        for is_by_rename in [false, true] {
            let mut has_ended = false;
            for at in 0..MOST_STEPS {
                let (place, etc) = rejected(&[("x", good, bad)]);
                let path = etc.join("x");
                let write = move |step| {
                    if step != at {
                        return Ok(());
                    }
                    if !is_by_rename {
                        return fs::write(&path, "mine");
                    }
                    let aside = path.with_file_name("aside");
                    fs::write(&aside, "mine")?;
                    fs::rename(&aside, &path)
                };
                let (store, steps) = with_steps(&place, write);
                store.restore_named(&place.units(), 2, 1).unwrap();
                has_ended = steps.load(Ordering::Relaxed) <= at;
                if has_ended {
                    break;
                }
                let there = texts(&etc);
                assert_eq!(there, super::expected(&[("x", "mine")]), "{good:?} {bad:?} {is_by_rename} {at}");
            }
            assert!(has_ended);
        }
    }
}

/// More than there are.
const MOST_STEPS: usize = 40;
