//! Whatever is asked in whatever order, the promises hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::{Place, assert_whole, contents, draft, verdict};
use crate::generation::manifest::Word;
use crate::generation::{Draft, Retention};

#[derive(Clone, Debug)]
enum Ask {
    /// The content by its number.
    Add(u8),
    /// Of the generations that are there, by place from the newest.
    Judge(u8, Word),
    MakeCurrent(u8),
    Pin(u8),
    Unpin(u8),
    Retire {
        count: usize,
        age_millis: u64,
    },
    Reopen,
}

fn asks() -> impl Strategy<Value = Ask> {
    let word = prop_oneof![
        Just(Word::Pending),
        Just(Word::Verifying),
        Just(Word::Rejected),
        Just(Word::Superseded),
        Just(Word::Committed),
        Just(Word::Committed),
    ];
    prop_oneof![
        4 => (0_u8..6).prop_map(Ask::Add),
        4 => (0_u8..4, word).prop_map(|(which, word)| Ask::Judge(which, word)),
        2 => (0_u8..4).prop_map(Ask::MakeCurrent),
        1 => (0_u8..4).prop_map(Ask::Pin),
        1 => (0_u8..4).prop_map(Ask::Unpin),
        2 => (0_usize..6, 0_u64..20).prop_map(|(count, age_millis)| Ask::Retire { count, age_millis }),
        1 => Just(Ask::Reopen),
    ]
}

/// What a person would say must be there.
#[derive(Default)]
struct Model {
    kept: BTreeMap<u64, Kept>,
    highest: u64,
    current: Option<u64>,
    now: u64,
}

struct Kept {
    text: String,
    came: u64,
    word: Word,
    parent: Option<u64>,
    is_pinned: bool,
}

impl Model {
    fn pick(&self, from_newest: u8) -> Option<u64> {
        self.kept.keys().rev().nth(usize::from(from_newest)).copied()
    }

    /// `previous_good` is another's claim: it is taken from the store before it retires.
    fn retire(&mut self, count: usize, age: u64, previous_good: Option<u64>) -> Vec<u64> {
        let newest: BTreeSet<u64> = self.kept.keys().rev().take(count).copied().collect();
        let waiting = self.kept.values().filter(|kept| kept.word == Word::Pending);
        let parents: BTreeSet<u64> = waiting.filter_map(|kept| kept.parent).collect();
        let stays = |number: &u64, kept: &Kept| {
            (newest.contains(number) && kept.came >= self.now.saturating_sub(age))
                || kept.is_pinned
                || kept.word.is_open()
                || parents.contains(number)
                || [self.current, previous_good].contains(&Some(*number))
        };
        let gone: Vec<u64> = self
            .kept
            .iter()
            .filter(|(number, kept)| !stays(number, kept))
            .map(|(number, _)| *number)
            .collect();
        gone.iter().for_each(|number| drop(self.kept.remove(number)));
        gone
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_numbers_contents_and_what_is_needed(asks in prop::collection::vec(asks(), 1..60)) {
        let place = Place::new();
        let mut store = place.store();
        let mut model = Model::default();
        for ask in asks {
            model.now += 1;
            match ask {
                Ask::Add(text) => {
                    let text = text.to_string();
                    let of = [("a.yaml", text.as_str()), ("same.yaml", "same")];
                    let number =
                        store.add(&Draft { parent: model.current, at_millis: model.now, ..draft(&of) }).unwrap();
                    prop_assert_eq!(number, model.highest + 1);
                    model.highest = number;
                    model.kept.insert(number, Kept { text, came: model.now, word: Word::Candidate, parent: model.current, is_pinned: false });
                }
                Ask::Judge(which, word) => if let Some(number) = model.pick(which) {
                    store.judge(number, &verdict(word)).unwrap();
                    model.kept.get_mut(&number).unwrap().word = word;
                },
                Ask::MakeCurrent(which) => if let Some(number) = model.pick(which) {
                    store.make_current(number).unwrap();
                    model.current = Some(number);
                },
                Ask::Pin(which) => if let Some(number) = model.pick(which) {
                    store.pin(number, "x").unwrap();
                    model.kept.get_mut(&number).unwrap().is_pinned = true;
                },
                Ask::Unpin(which) => if let Some(number) = model.pick(which) {
                    store.unpin(number).unwrap();
                    model.kept.get_mut(&number).unwrap().is_pinned = false;
                },
                Ask::Retire { count, age_millis } => {
                    let good = model.current.and_then(|current| store.previous_good(current));
                    let retention = Retention { count, age: Duration::from_millis(age_millis) };
                    let retired = store.retire(&retention, model.now).unwrap();
                    prop_assert_eq!(retired, model.retire(count, age_millis, good));
                }
                Ask::Reopen => store = place.store(),
            }
            prop_assert_eq!(store.current(), model.current);
        }
        assert_whole(&store);
        let list = store.list().unwrap();
        prop_assert_eq!(list.len(), model.kept.len());
        for (summary, (number, kept)) in list.iter().zip(&model.kept) {
            prop_assert_eq!(summary.number, *number);
            prop_assert_eq!(summary.verdict.as_ref().unwrap().word, kept.word);
            prop_assert_eq!(summary.pin.is_some(), kept.is_pinned);
            prop_assert_eq!(summary.is_current, model.current == Some(*number));
            prop_assert_eq!(&contents(&store, *number)["a.yaml"], &kept.text);
        }
    }
}
