//! One claim each.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Place, assert_whole, contents, draft, expected, files, keep, mode, named, verdict};
use crate::generation::compare::{FileChange, FileDifference};
use crate::generation::manifest::{Cause, Word, digest};
use crate::generation::verify::Flaw;
use crate::generation::{Draft, Error, Hook, Retention, Store, UnitsFile, read_named, read_units};

const ONE: &[(&str, &str)] = &[("a.yaml", "command: a\n"), ("notes.txt", "ours")];
const TWO: &[(&str, &str)] = &[("a.yaml", "command: b\n"), ("b.yaml", "command: b\n"), ("notes.txt", "ours")];

#[test]
fn a_generation_says_all_of_itself_and_gives_back_every_byte() {
    let place = Place::new();
    let store = place.store();
    let given = Draft {
        named: vec![named("/etc/redis.env", Some("SECRET=1")), named("none.env", None)],
        cause: Cause::Rollback(3),
        ..draft(ONE)
    };
    assert_eq!((store.current(), store.add(&given).unwrap()), (None, 1));
    store.make_current(1).unwrap();
    store.judge(1, &verdict(Word::Committed)).unwrap();
    store.pin(1, "before-upgrade").unwrap();
    assert_eq!(contents(&store, 1), expected(ONE));
    assert_eq!(store.named(1).unwrap(), given.named);
    let list = place.store().list().unwrap();
    let [summary] = &list[..] else { panic!("{list:?}") };
    assert!(summary.is_current);
    assert_eq!((summary.number, summary.pin.as_deref()), (1, Some("before-upgrade")));
    assert_eq!(summary.verdict, Ok(verdict(Word::Committed)));
    let manifest = summary.manifest.clone().unwrap();
    assert_eq!((manifest.cause, manifest.who, manifest.at_millis), (given.cause, given.who, 1_000));
    let dir = place.generations().join("000001");
    let modes = ["../../generations", "units", "units/a.yaml", "named/0000", "manifest.json"];
    assert_eq!(modes.map(|path| mode(&dir.join(path))), [0o700, 0o700, 0o440, 0o600, 0o440]);
    assert_eq!(fs::read_link(place.generations().join("current")).unwrap(), Path::new("000001"));
    assert_whole(&store);
}

#[test]
fn unchanged_files_are_shared_among_generations_and_every_sixteenth_stands_alone() {
    let place = Place::new();
    place.write(ONE);
    let store = place.store();
    for round in 0..16 {
        fs::write(place.units().join("a.yaml"), format!("command: {round}\n")).unwrap();
        keep(&store, &place, Word::Committed);
    }
    let inode =
        |number: u64, name: &str| fs::metadata(store.path_of(number).join("units").join(name)).unwrap().ino();
    assert_eq!(inode(15, "notes.txt"), inode(1, "notes.txt"));
    assert_ne!(inode(15, "a.yaml"), inode(14, "a.yaml"));
    assert_ne!(inode(16, "notes.txt"), inode(15, "notes.txt"), "a full copy");
    assert_eq!(fs::metadata(place.units().join("notes.txt")).unwrap().nlink(), 1, "never to the directory");
    assert_whole(&store);
}

#[test]
fn what_was_damaged_in_an_earlier_generation_is_not_shared_with_the_next() {
    let place = Place::new();
    let store = place.store();
    store.add(&draft(ONE)).unwrap();
    let kept = store.path_of(1).join("units/a.yaml");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&kept, "command: x\n").unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o440)).unwrap();
    assert_eq!(store.add(&draft(ONE)).unwrap(), 2);
    assert_eq!(contents(&store, 2), expected(ONE));
    assert!(matches!(store.sources(1), Err(Error::Damaged { number: 1, .. })));
}

#[test]
fn every_kind_of_damage_is_named() {
    let place = Place::new();
    let store = place.store();
    for round in 1..=6 {
        let text = round.to_string();
        store.add(&draft(&[("a.yaml", &text), ("b.yaml", &text)])).unwrap();
    }
    let path = |number: u64, name: &str| store.path_of(number).join(name);
    let spoil = |path: &Path, text: &str| {
        fs::remove_file(path).unwrap();
        fs::write(path, text).unwrap();
    };
    spoil(&path(1, "units/a.yaml"), "2");
    fs::remove_file(path(2, "units/b.yaml")).unwrap();
    fs::write(path(3, "units/c.yaml"), "3").unwrap();
    fs::hard_link(path(4, "units/a.yaml"), place.units().join("a.yaml")).unwrap();
    let manifest = fs::read_to_string(path(5, "manifest.json")).unwrap();
    spoil(&path(5, "manifest.json"), &manifest.replace("\"root\"", "\"toor\""));
    spoil(&path(6, "verdict.json"), "{");
    fs::write(path(6, "pin.json"), "{").unwrap();
    fs::write(place.generations().join("mine"), "").unwrap();
    let found = store.verify().unwrap();
    let kind = |flaw: &Flaw| match flaw {
        Flaw::Missing => "missing",
        Flaw::Extra => "extra",
        Flaw::Changed { .. } => "changed",
        Flaw::Unreadable(_) => "unreadable",
        Flaw::LinkedOutside { links: 2, known: 1 } => "linked",
        Flaw::LinkedOutside { .. } => "miscounted",
    };
    let named: Vec<_> = found
        .iter()
        .map(|damage| {
            let path = damage.path.strip_prefix(place.generations()).unwrap();
            (path.to_str().unwrap(), kind(&damage.flaw))
        })
        .collect();
    assert_eq!(
        named,
        [
            ("mine", "extra"),
            ("000001/units/a.yaml", "changed"),
            ("000002/units/b.yaml", "missing"),
            ("000003/units/c.yaml", "extra"),
            ("000004/units/a.yaml", "linked"),
            ("000005/manifest.json", "unreadable"),
            ("000006/pin.json", "unreadable"),
            ("000006/verdict.json", "unreadable"),
        ]
    );
    let list = store.list().unwrap();
    assert_eq!(list.len(), 6, "damaged ones are listed");
    assert!(list[4].manifest.as_ref().is_err_and(|why| why.contains("not the one that was written")));
    assert!(list[5].verdict.is_err());
    assert_eq!(list[5].pin.as_deref(), Some(""), "what says nothing still keeps it");
}

#[test]
fn a_change_of_any_byte_of_a_manifest_is_seen_or_changes_nothing() {
    let place = Place::new();
    let store = place.store();
    store.add(&Draft { named: vec![named("x", Some("1"))], ..draft(ONE) }).unwrap();
    let path = store.path_of(1).join("manifest.json");
    let (written, bytes) = (store.manifest(1).unwrap(), fs::read(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for at in 0..bytes.len() {
        let mut torn = bytes.clone();
        torn[at] ^= 0x11;
        fs::write(&path, &torn).unwrap();
        match store.manifest(1) {
            Err(Error::Damaged { number: 1, .. }) => {}
            read => assert_eq!(read.unwrap(), written, "byte {at}"),
        }
    }
}

#[test]
fn sameness_is_of_bytes_and_names() {
    let place = Place::new();
    let store = place.store();
    let env = || vec![named("/e", Some("1")), named("/none", None)];
    store.add(&Draft { named: env(), ..draft(ONE) }).unwrap();
    let other_mode =
        || files(ONE).into_iter().rev().map(|file| UnitsFile { mode: 0o600, ..file }).collect::<Vec<_>>();
    assert!(store.is_same_as(1, &files(ONE), &env()));
    assert!(store.is_same_as(1, &other_mode(), &env()));
    for (of, named) in [
        (TWO, env()),
        (&ONE[..1], env()),
        (&[("a.yaml", "command: b\n"), ONE[1]], env()),
        (&[("c.yaml", ONE[0].1), ONE[1]], env()),
        (ONE, vec![named("/e", Some("2")), named("/none", None)]),
        (ONE, vec![named("/e", Some("1")), named("/none", Some(""))]),
        (ONE, vec![named("/f", Some("1")), named("/none", None)]),
        (ONE, Vec::new()),
    ] {
        assert!(!store.is_same_as(1, &files(of), &named), "{of:?} {named:?}");
    }
    assert!(!store.is_same_as(2, &files(ONE), &env()), "there is none");
}

#[test]
fn differences_show_both_texts_of_what_differs() {
    let place = Place::new();
    let store = place.store();
    store.add(&draft(&[ONE[0], ONE[1], ("z.yaml", "gone")])).unwrap();
    store.add(&draft(TWO)).unwrap();
    let difference = |name: &str, change| FileDifference { name: name.into(), change };
    let changed = FileChange::Changed { before: "command: a\n".into(), after: "command: b\n".into() };
    assert_eq!(
        store.differences(1, 2).unwrap(),
        [
            difference("a.yaml", changed),
            difference("b.yaml", FileChange::OnlyAfter("command: b\n".into())),
            difference("notes.txt", FileChange::Same),
            difference("z.yaml", FileChange::OnlyBefore("gone".into())),
        ]
    );
    assert!(matches!(store.differences(1, 3), Err(Error::Unknown(3))));
}

#[test]
fn a_number_never_comes_twice_also_when_its_generation_is_gone() {
    let place = Place::new();
    let store = place.store();
    for _ in 0..3 {
        store.add(&draft(ONE)).unwrap();
    }
    for number in 1..=3 {
        store.judge(number, &verdict(Word::Rejected)).unwrap();
    }
    let none = Retention { count: 0, age: Duration::from_secs(1) };
    assert_eq!(store.retire(&none, 5_000).unwrap(), [1, 2, 3]);
    assert_eq!(place.store().add(&draft(ONE)).unwrap(), 4);
    fs::remove_dir_all(store.path_of(4)).unwrap();
    assert_eq!(store.add(&draft(ONE)).unwrap(), 5, "removed by hand");
}

#[test]
fn what_is_needed_outlives_every_limit() {
    let place = Place::new();
    let store = place.store();
    let words = [
        Word::Committed,
        Word::Committed, // the previous good one: the parent of the parent of the current
        Word::Rejected,
        Word::Committed, // current
        Word::Pending,
        Word::Verifying,
        Word::Rejected, // pinned
        Word::Superseded,
        Word::Candidate,
    ];
    for (number, word) in (1..).zip(words) {
        let parent = Some(number - 1).filter(|parent| *parent > 0);
        assert_eq!(store.add(&Draft { parent, ..draft(ONE) }).unwrap(), number);
        store.judge(number, &verdict(word)).unwrap();
    }
    store.make_current(4).unwrap();
    store.pin(7, "mine").unwrap();
    assert_eq!(store.previous_good(4), Some(2));
    assert_eq!(store.retire(&Retention::default(), 5_000).unwrap(), [0; 0]);
    let none = Retention { count: 0, age: Duration::ZERO };
    assert_eq!(store.retire(&none, 5_000).unwrap(), [1, 3, 8]);
    store.unpin(7).unwrap();
    assert_eq!(store.retire(&none, 5_000).unwrap(), [7]);
    assert_whole(&store);
}

#[test]
fn retention_goes_by_count_and_by_age() {
    let place = Place::new();
    let store = place.store();
    for number in 1..=6 {
        store.add(&Draft { at_millis: number * 1_000, ..draft(ONE) }).unwrap();
        store.judge(number, &verdict(Word::Rejected)).unwrap();
    }
    let by_count = Retention { count: 4, age: Duration::from_secs(3_600) };
    assert_eq!(store.retire(&by_count, 7_000).unwrap(), [1, 2]);
    let by_age = Retention { count: 50, age: Duration::from_secs(2) };
    assert_eq!(store.retire(&by_age, 7_000).unwrap(), [3, 4]);
    assert_eq!(store.numbers().unwrap(), [5, 6]);
}

#[test]
fn without_its_line_the_previous_good_one_is_the_newest_that_held() {
    let place = Place::new();
    let store = place.store();
    for (number, parent) in [(1, None), (2, None), (3, Some(2)), (4, Some(3))] {
        store.add(&Draft { parent, ..draft(ONE) }).unwrap();
        let word = if number == 3 { Word::Rejected } else { Word::Committed };
        store.judge(number, &verdict(word)).unwrap();
    }
    assert_eq!([4, 3, 2, 1].map(|number| store.previous_good(number)), [Some(2), Some(2), Some(1), None]);
    fs::remove_dir_all(store.path_of(3)).unwrap();
    assert_eq!(store.previous_good(4), Some(2));
}

#[test]
fn a_units_directory_is_read_with_all_that_a_person_would_call_a_file_of_it() {
    let place = Place::new();
    place.write(&[("a.yaml", "a"), ("README", "r"), (".a.yaml.swp", "s"), ("a.yaml~", "s")]);
    fs::create_dir(place.units().join("sub")).unwrap();
    fs::write(place.units().join("sub/x.yaml"), "x").unwrap();
    fs::write(place.0.join("elsewhere"), "linked").unwrap();
    symlink(place.0.join("elsewhere"), place.units().join("link.yaml")).unwrap();
    symlink("nowhere", place.units().join("dangling.yaml")).unwrap();
    symlink("sub", place.units().join("linked-sub")).unwrap();
    nix::unistd::mkfifo(&place.units().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.units().join("socket")).unwrap();
    fs::set_permissions(place.units().join("a.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    let read = read_units(&place.units()).unwrap();
    let read: Vec<_> = read.iter().map(|file| (&*file.name, &*file.bytes, file.mode)).collect();
    let linked = mode(&place.0.join("elsewhere"));
    let readme = mode(&place.units().join("README"));
    assert_eq!(
        read,
        [("README", &b"r"[..], readme), ("a.yaml", &b"a"[..], 0o640), ("link.yaml", &b"linked"[..], linked)]
    );
    assert_eq!(read_named(&place.units(), "a.yaml").unwrap(), named("a.yaml", Some("a")));
    let elsewhere = place.0.join("none");
    let elsewhere = elsewhere.to_str().unwrap();
    assert_eq!(read_named(&place.units(), elsewhere).unwrap(), named(elsewhere, None));
}

#[test]
fn what_is_too_large_is_refused_before_anything_is_written() {
    let place = Place::new();
    let store = place.store();
    let large = fs::File::create(place.units().join("dump")).unwrap();
    large.set_len((16 << 20) + 1).unwrap();
    let refused = [read_units(&place.units()).unwrap_err(), read_named(&place.units(), "dump").unwrap_err()];
    for error in refused {
        let expected = "dump`: it has more than 16 MiB; move it elsewhere if it is no unit file";
        assert!(error.to_string().ends_with(expected), "{error}");
    }
    large.set_len(16 << 20).unwrap();
    for number in 1..5 {
        fs::File::create(place.units().join(format!("dump{number}"))).unwrap().set_len(16 << 20).unwrap();
    }
    let error = read_units(&place.units()).unwrap_err().to_string();
    assert!(error.contains("its files have more than 64 MiB together"), "{error}");
    let file = |name: &str, bytes: usize| UnitsFile { name: name.into(), bytes: vec![0; bytes], mode: 0o644 };
    for files in [
        vec![file("a", (16 << 20) + 1)],
        (0..5).map(|at| file(&at.to_string(), 16 << 20)).collect(),
        vec![file("../a", 1)],
        vec![file("", 1)],
        vec![file("..", 1)],
        vec![file("a", 1), file("a", 1)],
    ] {
        let refused = store.add(&Draft { files, ..draft(&[]) }).unwrap_err();
        assert!(matches!(refused, Error::Refused(_)), "{refused}");
    }
    assert!(!place.generations().exists(), "nothing was written");
}

#[test]
fn what_is_not_there_is_unknown_to_every_question() {
    let place = Place::new();
    let store = place.store();
    assert_eq!((store.list().unwrap(), store.verify().unwrap(), store.current()), (vec![], vec![], None));
    let unknown = [
        store.manifest(7).map(drop),
        store.sources(7).map(drop),
        store.judge(7, &verdict(Word::Committed)),
        store.make_current(7),
        store.pin(7, ""),
        store.unpin(7),
        store.restore(&place.units(), 7, 8).map(drop),
    ];
    for answer in unknown {
        assert!(matches!(answer, Err(Error::Unknown(7))), "{answer:?}");
    }
}

#[test]
fn what_people_put_beside_generations_is_none() {
    let place = Place::new();
    let store = place.store();
    store.add(&draft(ONE)).unwrap();
    for name in ["7", "0000008", "000009.old", "-00001", "+00001"] {
        fs::create_dir(place.generations().join(name)).unwrap();
    }
    assert_eq!(store.numbers().unwrap(), [1]);
    assert_eq!(store.verify().unwrap().len(), 5);
    fs::create_dir(place.generations().join("1000000")).unwrap();
    assert_eq!(store.numbers().unwrap(), [1, 1_000_000]);
}

#[test]
fn a_current_one_that_was_removed_by_hand_is_said_and_is_none() {
    let place = Place::new();
    let store = place.store();
    store.add(&draft(ONE)).unwrap();
    store.make_current(1).unwrap();
    fs::remove_dir_all(store.path_of(1)).unwrap();
    let (store, said) = Store::open(&place.state()).unwrap();
    assert_eq!(said, ["generation 1 is the current one, and is not there any more"]);
    assert_eq!(store.current(), None);
    assert_eq!(store.add(&draft(ONE)).unwrap(), 2);
}

#[test]
fn digests_are_those_of_everybody_else() {
    // The first example of FIPS 180-2.
    let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digest(b"abc"), known);
}

/// A store that writes down its steps, and where it stands.
fn recorded(place: &Place) -> (Store, Arc<Mutex<Vec<String>>>) {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let (taken, base, above) = (Arc::clone(&steps), place.generations(), place.0.clone());
    let hook: Hook = Arc::new(move |what, path: &Path| {
        let path = path.strip_prefix(&base).or_else(|_| path.strip_prefix(&above)).unwrap().display();
        taken.lock().unwrap().push(format!("{what} {path}").trim_end().to_owned());
        Ok(())
    });
    (Store::open_watched(&place.state(), hook).unwrap().0, steps)
}

#[test]
fn nothing_has_its_name_before_it_is_on_the_disk() {
    let place = Place::new();
    place.store().add(&draft(ONE)).unwrap();
    let (store, steps) = recorded(&place);
    store.add(&draft(&[ONE[1], ("b.yaml", "new")])).unwrap();
    let steps = std::mem::take(&mut *steps.lock().unwrap());
    assert_eq!(
        steps,
        [
            "make-dir",
            "make-dir unfinished",
            "make-dir unfinished/units",
            "make-dir unfinished/named",
            "link unfinished/units/notes.txt",
            "create unfinished/units/b.yaml",
            "write unfinished/units/b.yaml",
            "create unfinished/manifest.json",
            "write unfinished/manifest.json",
            "create unfinished/verdict.json",
            "write unfinished/verdict.json",
            "sync-file unfinished/units/b.yaml",
            "sync-file unfinished/manifest.json",
            "sync-file unfinished/verdict.json",
            "sync-dir unfinished/units",
            "sync-dir unfinished/named",
            "sync-dir unfinished",
            "create highest.new",
            "write highest.new",
            "sync-file highest.new",
            "rename highest",
            "sync-dir",
            "rename 000002",
            "sync-dir",
        ]
    );
}

#[test]
fn many_files_cost_one_sync() {
    let place = Place::new();
    let (store, steps) = recorded(&place);
    let file = |at: usize| UnitsFile { name: format!("{at}.yaml"), bytes: b"x".to_vec(), mode: 0o644 };
    store.add(&Draft { files: (0..100).map(file).collect(), ..draft(&[]) }).unwrap();
    let steps = steps.lock().unwrap();
    let synced: Vec<&String> =
        steps.iter().filter(|step| step.starts_with("sync-") && !step.starts_with("sync-dir")).collect();
    assert_eq!(synced, ["sync-all unfinished", "sync-file highest.new"]);
    let place_of = |step: &str| steps.iter().position(|one| one == step).unwrap();
    assert!(place_of("sync-all unfinished") < place_of("rename 000001"));
}

#[test]
fn what_is_to_come_back_is_on_the_disk_before_anything_is_changed() {
    let place = Place::new();
    let store = place.store();
    store.add(&draft(&[("a.yaml", "good")])).unwrap();
    store.add(&draft(&[("a.yaml", "bad")])).unwrap();
    place.write(&[("a.yaml", "bad")]);
    let (store, steps) = recorded(&place);
    store.restore(&place.units(), 2, 1).unwrap();
    let steps = std::mem::take(&mut *steps.lock().unwrap());
    assert_eq!(
        steps,
        [
            "create restore.json.new",
            "write restore.json.new",
            "sync-file restore.json.new",
            "rename restore.json",
            "sync-dir",
            "make-dir units/.mcsup-restore.new",
            "create units/.mcsup-restore.new/0000.new",
            "write units/.mcsup-restore.new/0000.new",
            "sync-file units/.mcsup-restore.new/0000.new",
            "sync-dir units/.mcsup-restore.new",
            "rename units/.mcsup-restore",
            "sync-dir units",
            "exchange units/a.yaml",
            "remove-file units/.mcsup-restore/0000.new",
            "sync-dir units",
            "remove-dir units/.mcsup-restore",
            "sync-dir units",
            "remove-file restore.json",
            "sync-dir",
        ]
    );
}
