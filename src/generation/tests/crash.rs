//! The end at every single step on the disk, of the process and of the disk alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::{Place, assert_whole, contents, draft, expected, keep, named, texts, verdict};
use crate::generation::manifest::Word;
use crate::generation::{Draft, Error, Hook, Retention, Store};

const ONE: &[(&str, &str)] = &[("a.yaml", "one"), ("same.yaml", "same")];
const TWO: &[(&str, &str)] = &[("a.yaml", "two"), ("same.yaml", "same"), ("b.yaml", "new")];

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Nothing is done any more: that is a process which is gone.
    Gone,
    /// This one step fails, and whoever asked for it lives on.
    Full,
}

/// Counts steps from one, and ends at `last`.
fn ending(last: usize, end: End, steps: &Arc<AtomicUsize>) -> Hook {
    let steps = Arc::clone(steps);
    Arc::new(move |_what, _path: &Path| {
        let step = steps.fetch_add(1, Ordering::Relaxed) + 1;
        let is_over = match end {
            End::Gone => step >= last,
            End::Full => step == last,
        };
        if is_over { Err(Errno::NOSPC.into()) } else { Ok(()) }
    })
}

/// Does `act` on a place of its own for each step that it has, to its end there; then `check` has the place, what was
/// said, and whether it was whole.
fn at_every_step(
    end: End,
    prepare: impl Fn(&Place),
    act: impl Fn(&Store, &Place) -> Result<(), Error>,
    check: impl Fn(&Place, &Store, bool),
) -> usize {
    for last in 1..MOST_STEPS {
        let place = Place::new();
        prepare(&place);
        let steps = Arc::new(AtomicUsize::new(0));
        let (store, _) = Store::open_watched(&place.state(), ending(last, end, &steps)).unwrap();
        let acted = act(&store, &place);
        let is_through = steps.load(Ordering::Relaxed) < last;
        if is_through {
            acted.as_ref().unwrap();
        }
        let store = match end {
            End::Gone => reopened_in_spite_of_crashes(&place),
            // It lives on, and its disk takes everything again.
            End::Full => place.unopened(),
        };
        assert_whole(&store);
        check(&place, &store, acted.is_ok());
        if is_through {
            return last - 1;
        }
    }
    panic!("it has no end");
}

/// Opens it, at first with an end at each step that the opening itself takes.
fn reopened_in_spite_of_crashes(place: &Place) -> Store {
    for last in 1..MOST_STEPS {
        let steps = Arc::new(AtomicUsize::new(0));
        Store::open_watched(&place.state(), ending(last, End::Gone, &steps)).unwrap();
        if steps.load(Ordering::Relaxed) < last {
            let left = ["unfinished", "removed"].map(|name| place.generations().join(name).exists());
            assert_eq!(left, [false; 2], "something unfinished is left");
            return place.store();
        }
    }
    panic!("it is never open");
}

/// Far more than anything here takes.
const MOST_STEPS: usize = 2_000;

fn two_generations(place: &Place) {
    let store = place.store();
    place.write(ONE);
    let one = keep(&store, place, Word::Committed);
    store.make_current(one).unwrap();
    place.write(TWO);
    keep(&store, place, Word::Verifying);
}

#[test]
fn case_8_a_generation_comes_whole_or_not_at_all() {
    let third = Draft { named: vec![named("/e", Some("secret"))], ..draft(&[TWO[0], ("c.yaml", "third")]) };
    let add = |store: &Store, _: &Place| store.add(&third).map(drop);
    for end in [End::Gone, End::Full] {
        let steps = at_every_step(end, two_generations, add, |_, store, is_done| {
            let numbers = store.numbers().unwrap();
            if numbers.len() == 3 {
                assert_eq!(contents(store, numbers[2]), expected(&[TWO[0], ("c.yaml", "third")]));
                assert_eq!(store.named(numbers[2]).unwrap(), third.named);
                assert_eq!(store.verdict(numbers[2]).unwrap().word, Word::Candidate);
            } else {
                assert_eq!(numbers, [1, 2]);
                assert!(!is_done);
            }
            assert!(end == End::Gone || is_done == (numbers.len() == 3), "what failed leaves no trace");
            assert_eq!(store.current(), Some(1));
            assert_eq!([1, 2].map(|number| contents(store, number)), [expected(ONE), expected(TWO)]);
            let next = store.add(&draft(ONE)).unwrap();
            assert!(next > *numbers.last().unwrap());
        });
        assert!(steps > 20, "{steps}");
    }
}

#[test]
fn the_first_generation_comes_whole_or_not_at_all() {
    let add = |store: &Store, _: &Place| store.add(&draft(ONE)).map(drop);
    for end in [End::Gone, End::Full] {
        at_every_step(
            end,
            |_| {},
            add,
            |_, store, is_done| {
                let numbers = store.numbers().unwrap();
                assert!(!is_done || numbers.len() == 1);
                numbers.iter().for_each(|number| assert_eq!(contents(store, *number), expected(ONE)));
            },
        );
    }
}

#[test]
fn a_verdict_is_the_old_one_or_the_new_one() {
    let judge = |store: &Store, _: &Place| store.judge(2, &verdict(Word::Rejected));
    for end in [End::Gone, End::Full] {
        let steps = at_every_step(end, two_generations, judge, |_, store, is_done| {
            let word = store.verdict(2).unwrap().word;
            assert!(word == Word::Rejected || (word == Word::Verifying && !is_done), "{word:?}");
        });
        assert_eq!(steps, 5);
    }
}

#[test]
fn what_is_current_is_the_old_one_or_the_new_one() {
    let make_current = |store: &Store, _: &Place| store.make_current(2);
    for end in [End::Gone, End::Full] {
        let steps = at_every_step(end, two_generations, make_current, |_, store, is_done| {
            let current = store.current();
            assert!(current == Some(2) || (current == Some(1) && !is_done), "{current:?}");
        });
        assert_eq!(steps, 3);
    }
}

#[test]
fn a_pin_is_there_or_not() {
    let pin = |store: &Store, _: &Place| store.pin(2, "mine").and_then(|()| store.unpin(2));
    for end in [End::Gone, End::Full] {
        at_every_step(end, two_generations, pin, |_, store, is_done| {
            let pin = store.list().unwrap()[1].pin.clone();
            assert!(pin.is_none() || (pin.as_deref() == Some("mine") && !is_done), "{pin:?}");
        });
    }
}

#[test]
fn what_goes_goes_whole() {
    let prepare = |place: &Place| {
        two_generations(place);
        let store = place.store();
        for text in ["x", "y", "z"] {
            place.write(&[("a.yaml", text), TWO[1]]);
            keep(&store, place, Word::Rejected);
        }
    };
    let none = Retention { count: 0, age: Duration::ZERO };
    let retire = |store: &Store, _: &Place| store.retire(&none, 9_000).map(drop);
    for end in [End::Gone, End::Full] {
        let steps = at_every_step(end, prepare, retire, |_, store, is_done| {
            let numbers = store.numbers().unwrap();
            let states: [&[u64]; 4] = [&[1, 2, 3, 4, 5], &[1, 2, 4, 5], &[1, 2, 5], &[1, 2]];
            assert!(states.contains(&&numbers[..]), "{numbers:?}");
            assert!(!is_done || numbers == [1, 2]);
            assert_eq!([1, 2].map(|number| contents(store, number)), [expected(ONE), expected(TWO)]);
            assert_eq!(store.add(&draft(ONE)).unwrap(), 6);
        });
        assert!(steps > 20, "{steps}");
    }
}

const GOOD: &[(&str, &str)] =
    &[("changed.yaml", "good"), ("edited.yaml", "good"), ("gone.yaml", "good"), ("same.yaml", "same")];
const REJECTED: &[(&str, &str)] =
    &[("changed.yaml", "bad"), ("edited.yaml", "bad"), ("new.yaml", "bad"), ("same.yaml", "same")];
/// What is found when the files are to be brought back: a person has gone on.
const BEFORE: &[(&str, &str)] = &[
    (".hidden", "mine"),
    ("changed.yaml", "bad"),
    ("edited.yaml", "mine"),
    ("new.yaml", "bad"),
    ("other.yaml", "mine"),
    ("same.yaml", "same"),
];
const AFTER: &[(&str, &str)] = &[
    (".hidden", "mine"),
    ("changed.yaml", "good"),
    ("edited.yaml", "mine"),
    ("gone.yaml", "good"),
    ("other.yaml", "mine"),
    ("same.yaml", "same"),
];

fn rejected(place: &Place) {
    let store = place.store();
    place.write(GOOD);
    let good = keep(&store, place, Word::Committed);
    store.make_current(good).unwrap();
    place.write(REJECTED);
    keep(&store, place, Word::Rejected);
    place.write(BEFORE);
}

fn restore(store: &Store, place: &Place) -> Result<(), Error> {
    store.restore(&place.units(), 2, 1).map(drop)
}

#[test]
fn files_are_brought_back_all_or_none() {
    let steps = at_every_step(End::Gone, rejected, restore, |place, _, is_done| {
        let there = place.there();
        assert!(there == expected(AFTER) || (!is_done && there == expected(BEFORE)), "{there:#?}");
    });
    assert!(steps > 20, "{steps}");
}

#[test]
fn a_disk_that_refuses_once_is_made_up_for_by_the_next_call() {
    at_every_step(End::Full, rejected, restore, |place, store, is_done| {
        assert!(!is_done || place.there() == expected(AFTER));
        restore(store, place).unwrap();
        assert_eq!(place.there(), expected(AFTER));
        assert_whole(&place.store());
    });
}

#[test]
fn what_was_begun_is_left_at_once_when_something_else_is_in_effect_by_now() {
    let seen = RefCell::new(BTreeMap::new());
    let restore_and_go_on = |store: &Store, place: &Place| {
        let restored = restore(store, place);
        place.unopened().make_current(2).unwrap();
        let mut there = place.there();
        there.retain(|name, _| !name.starts_with(".mcsup"));
        seen.replace(there);
        restored
    };
    at_every_step(End::Gone, rejected, restore_and_go_on, |place, _, _| {
        assert_eq!(place.there(), *seen.borrow(), "files stay as they are, and nothing is left beside them");
    });
}

impl Place {
    /// Without a look at what is unfinished.
    fn unopened(&self) -> Store {
        Store::for_reading(&self.state())
    }
}

/// How a person saves.
#[derive(Clone, Copy, Debug)]
enum Save {
    InPlace,
    ByRename,
    AnewAfterDeletion,
}

fn save(how: Save, path: &Path, text: &str) {
    match how {
        Save::InPlace => fs::write(path, text).unwrap(),
        Save::ByRename => {
            let temporary = path.with_file_name(".person");
            fs::write(&temporary, text).unwrap();
            fs::rename(&temporary, path).unwrap();
        }
        Save::AnewAfterDeletion => {
            drop(fs::remove_file(path));
            fs::write(path, text).unwrap();
        }
    }
}

/// What a person knows to have written.
#[derive(Debug, Default)]
struct Written {
    first: AtomicBool,
    second: AtomicBool,
}

/// A person saves `name` at steps `at` and `at + 3`, and all ends at step `last`.
fn busy(
    place: &Place,
    name: &str,
    how: Save,
    at: usize,
    last: usize,
    exchanges: bool,
) -> (Hook, Arc<AtomicUsize>, Arc<Written>) {
    let (steps, written) = (Arc::new(AtomicUsize::new(0)), Arc::new(Written::default()));
    let note = Arc::clone(&written);
    let end = ending(last, End::Gone, &steps);
    let (path, counted) = (place.units().join(name), Arc::clone(&steps));
    let hook = move |what: &'static str, of: &Path| -> io::Result<()> {
        end(what, of)?;
        let step = counted.load(Ordering::Relaxed);
        if step == at {
            save(how, &path, "first");
            note.first.store(true, Ordering::Relaxed);
        }
        if step == at + 3 {
            // Over what the person sees there: their own words, or what was put in their place meanwhile.
            let is_over = fs::read_to_string(&path).is_ok_and(|text| text == "first");
            note.first.fetch_and(!is_over, Ordering::Relaxed);
            save(how, &path, "second");
            note.second.store(true, Ordering::Relaxed);
        }
        if what == "exchange" && !exchanges { Err(Errno::INVAL.into()) } else { Ok(()) }
    };
    (Arc::new(hook), steps, written)
}

/// The two saves at every step, and the end at every step from there.
fn nothing_is_lost(name: &str, how: Save, exchanges: bool) {
    for at in 1..MOST_STEPS {
        for last in at + 1.. {
            let place = Place::new();
            rejected(&place);
            let (hook, steps, written) = busy(&place, name, how, at, last, exchanges);
            let (store, _) = Store::open_watched(&place.state(), hook).unwrap();
            let restored = store.restore(&place.units(), 2, 1);
            let taken = steps.load(Ordering::Relaxed);
            if taken < at {
                return;
            }
            let (store, _) = Store::open(&place.state()).unwrap();
            assert_whole(&store);
            let there = place.there();
            let context = || format!("{name} {how:?} at {at}, end at {last}: {there:#?} {restored:#?}");
            for (is_due, saved) in [(&written.first, "first"), (&written.second, "second")] {
                let is_there = there.values().any(|text| text == saved);
                assert!(is_there || !is_due.load(Ordering::Relaxed), "{saved}: {}", context());
            }
            if restored.is_ok() && exchanges && written.second.load(Ordering::Relaxed) {
                assert_eq!(there.get(name).map(String::as_str), Some("second"), "{}", context());
            }
            assert!(!there.keys().any(|name| name.starts_with(".mcsup")), "{}", context());
            let others: BTreeMap<_, _> =
                there.iter().filter(|(other, _)| !other.starts_with(name)).map(clone).collect();
            let is_state = |state: &[(&str, &str)]| {
                let state = expected(state);
                others == state.iter().filter(|(other, _)| *other != name).map(clone).collect()
            };
            assert!(is_state(BEFORE) || is_state(AFTER), "{}", context());
            if taken < last {
                break;
            }
        }
    }
    panic!("it has no end");
}

fn clone((name, text): (&String, &String)) -> (String, String) {
    (name.clone(), text.clone())
}

#[test]
fn what_a_person_saves_at_any_moment_outlives_an_end_at_any_moment() {
    for how in [Save::InPlace, Save::ByRename, Save::AnewAfterDeletion] {
        for name in ["changed.yaml", "new.yaml", "gone.yaml"] {
            nothing_is_lost(name, how, true);
        }
    }
}

#[test]
fn nor_is_anything_lost_where_the_file_system_knows_no_exchange() {
    for name in ["changed.yaml", "new.yaml"] {
        nothing_is_lost(name, Save::ByRename, false);
    }
}

#[test]
fn without_an_exchange_files_are_brought_back_all_or_none_as_well() {
    for last in 1..MOST_STEPS {
        let place = Place::new();
        rejected(&place);
        // Nobody saves anything.
        let (hook, steps, _) = busy(&place, "none", Save::InPlace, usize::MAX - 9, last, false);
        let (store, _) = Store::open_watched(&place.state(), hook).unwrap();
        let is_done = restore(&store, &place).is_ok();
        let store = reopened_in_spite_of_crashes(&place);
        assert_whole(&store);
        let there = place.there();
        assert!(there == expected(AFTER) || (!is_done && there == expected(BEFORE)), "{last}: {there:#?}");
        if steps.load(Ordering::Relaxed) < last {
            assert!(is_done);
            assert_eq!(texts(&place.state().join("generations/000001/units")), expected(GOOD));
            return;
        }
    }
    panic!("it has no end");
}
