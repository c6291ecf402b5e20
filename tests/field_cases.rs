//! `docs/FIELD-CASES.md` names tests that exist, and says their numbers as they do.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Cases that today's units can meet.
const CASES: [std::ops::RangeInclusive<u32>; 3] = [1..=30, 34..=35, 38..=40];

fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

/// The tests that the table names for each case.
fn table() -> BTreeMap<u32, Vec<String>> {
    let text = read("docs/FIELD-CASES.md").unwrap();
    let mut table = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, claim, tests, _] = cells[..] else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        assert!(!claim.is_empty(), "case {number} claims nothing");
        let tests = tests.split(", ").map(|test| test.trim_matches('`').to_owned()).collect();
        assert!(table.insert(number, tests).is_none(), "case {number} stands there twice");
    }
    table
}

/// What is wrong with this reference to a test of case `number`.
fn trouble(number: u32, test: &str) -> Option<String> {
    let Some((path, name)) = test.split_once("::") else {
        let Some(text) = read(test) else { return Some("no such file".to_owned()) };
        let says = text.split("case ").skip(1).any(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
            digits.is_some_and(|digits| digits.parse() == Ok(number))
        });
        return (!says).then(|| format!("does not say `case {number}`"));
    };
    let Some(text) = read(path) else { return Some("no such file".to_owned()) };
    if !name.starts_with(&format!("case_{number}_")) {
        return Some(format!("its name does not begin with `case_{number}_`"));
    }
    let declared = format!("fn {name}()");
    let is_test = text.split("#[test]").skip(1).any(|part| part.contains(&declared));
    (!is_test).then(|| "no such test in that file".to_owned())
}

#[test]
fn every_test_that_a_case_names_exists_and_says_its_number() {
    let table = table();
    assert!(table.len() >= 31, "only {} cases were read", table.len());
    let troubles: Vec<String> = table
        .iter()
        .flat_map(|(number, tests)| tests.iter().map(move |test| (*number, test)))
        .filter_map(|(number, test)| Some(format!("case {number}: {test}: {}", trouble(number, test)?)))
        .collect();
    assert!(troubles.is_empty(), "{}", troubles.join("\n"));
}

#[test]
fn every_case_that_todays_units_can_meet_is_there() {
    let table = table();
    let missing: Vec<u32> =
        CASES.into_iter().flatten().filter(|number| table.get(number).is_none_or(Vec::is_empty)).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}

#[test]
fn a_reference_that_is_wrong_in_any_way_is_noticed() {
    let scenario = "tests/scenarios/clock_jumps_move_no_delay.txt";
    let test = "tests/e2e/journal.rs::case_8_a_torn_last_line_is_no_empty_list";
    assert_eq!((trouble(34, scenario), trouble(8, test)), (None, None));
    for (number, wrong) in [
        (33, scenario),
        (9, test),
        (8, "tests/e2e/nowhere.rs::case_8_a_torn_last_line_is_no_empty_list"),
        (8, "tests/e2e/journal.rs::case_8_no_such_test"),
        (34, "tests/scenarios/no_such_file.txt"),
    ] {
        assert!(trouble(number, wrong).is_some(), "case {number}: {wrong}");
    }
}
