//! What is told, in which order, and how often.

use super::*;

fn row(run: u64) -> Row {
    Row {
        run,
        unit: "redis".into(),
        spawned_as: None,
        ordinal: 1,
        pid: 0,
        start_time: 0,
        spawned_at: 0,
        stage: Stage::Spawning,
        log: None,
        carries: Vec::new(),
        is_ready_shown: false,
        log_place: None,
    }
}

fn listening() -> Table {
    let mut table = Table::default();
    table.connected(false);
    assert_eq!(told(&mut table), [Report::HandedOver { rows: 0, notes: 0 }]);
    table
}

fn told(table: &mut Table) -> Vec<Report> {
    std::iter::from_fn(|| table.next_report()).collect()
}

fn exit(table: &mut Table, run: u64, is_empty: bool) {
    table.exited(run, Exit::Code(0), Usage::default(), is_empty, None);
}

fn exited(run: u64, is_empty: bool) -> Report {
    Report::Exited { run, exit: Exit::Code(0), usage: Usage::default(), is_empty, log_end: None }
}

const SPAWNED: Report = Report::Spawned { run: 1, pid: 10, start_time: 0, carries: Vec::new() };

#[test]
fn a_run_is_told_in_three_steps_each_once() {
    let mut table = listening();
    assert!(table.ordered(row(1)));
    assert_eq!(told(&mut table), []);
    table.spawned(1, 10, 0);
    assert_eq!(told(&mut table), [SPAWNED]);
    exit(&mut table, 1, false);
    assert_eq!(told(&mut table), [exited(1, false)]);
    table.emptied(1);
    assert_eq!(told(&mut table), [Report::Emptied { run: 1 }]);
    table.emptied(1);
    assert_eq!(told(&mut table), []);
}

#[test]
fn what_a_run_says_is_told_between_its_spawn_and_its_end() {
    let mut table = listening();
    table.ordered(row(1));
    table.spawned(1, 10, 0);
    table.notified(1, b"STATUS=a", false);
    table.notified(1, b"READY=1", true);
    table.ready_shown(1);
    exit(&mut table, 1, true);
    assert!(!table.has_passed_on(1, 2));
    let notified = |text: &[u8]| Report::Notified { run: 1, text: text.to_vec() };
    let all = [
        SPAWNED,
        notified(b"STATUS=a"),
        notified(b"READY=1"),
        Report::ReadyShown { run: 1 },
        exited(1, true),
    ];
    assert_eq!(told(&mut table), all);
    assert!(table.has_passed_on(1, 2));
}

#[test]
fn what_a_run_said_while_nobody_listened_is_told_to_the_next_supervisor() {
    let mut table = listening();
    table.ordered(row(1));
    table.spawned(1, 10, 0);
    assert_eq!(told(&mut table), [SPAWNED]);
    table.disconnected();
    for _ in 0..1000 {
        table.notified(1, b"WATCHDOG=1", false);
    }
    table.notified(1, b"READY=1", true);
    table.connected(false);
    let told = told(&mut table);
    assert!(matches!(&told[0], Report::Row(row) if row.is_ready_shown), "{told:?}");
    assert_eq!(told.len(), 4, "a thousand signs of life are one: {told:?}");
    assert_eq!(told[3], Report::Notified { run: 1, text: b"READY=1".to_vec() });
}

#[test]
fn a_run_that_floods_a_supervisor_that_does_not_read_is_not_read_itself() {
    let mut table = listening();
    table.ordered(row(1));
    table.spawned(1, 10, 0);
    let mut count = 0_usize;
    while !table.has_enough_of(1) {
        table.notified(1, format!("STATUS={count}").as_bytes(), false);
        count += 1;
    }
    assert_eq!(count, NOTICES_KEPT);
    told(&mut table);
    assert!(!table.has_enough_of(1));
}

#[test]
fn what_happened_while_nobody_read_is_told_in_order_and_without_what_it_made_moot() {
    let mut table = listening();
    table.ordered(row(1));
    table.spawned(1, 10, 0);
    exit(&mut table, 1, false);
    table.emptied(1);
    assert_eq!(told(&mut table), [SPAWNED, exited(1, true)]);
}

#[test]
fn an_exit_is_told_to_every_supervisor_until_it_is_released() {
    let mut table = listening();
    table.ordered(row(1));
    table.spawned(1, 10, 0);
    exit(&mut table, 1, true);
    assert_eq!(told(&mut table).len(), 2);
    for _ in 0..2 {
        table.disconnected();
        table.connected(false);
        let reports = told(&mut table);
        assert!(
            matches!(&reports[0], Report::Row(row) if matches!(row.stage, Stage::Exited { is_empty: true, .. })),
            "{reports:?}"
        );
        assert_eq!(reports[1..], [Report::HandedOver { rows: 1, notes: 0 }]);
    }
    table.release(1);
    assert!(table.row(1).is_none());
}

#[test]
fn a_release_before_the_end_forgets_the_run_when_it_is_over() {
    let mut table = listening();
    table.ordered(row(1));
    table.spawned(1, 10, 0);
    table.release(1);
    assert!(table.row(1).is_some());
    exit(&mut table, 1, false);
    assert!(table.row(1).is_some(), "something of it lives");
    table.emptied(1);
    assert!(table.row(1).is_none());
}

#[test]
fn news_during_the_handover_is_told_once() {
    let mut table = Table::default();
    for run in 1..=3 {
        table.ordered(row(run));
        table.spawned(run, 10, 0);
    }
    table.connected(false);
    assert!(matches!(table.next_report(), Some(Report::Row(row)) if row.run == 1));
    exit(&mut table, 1, true);
    exit(&mut table, 3, true);
    let rest = told(&mut table);
    assert!(matches!(&rest[0], Report::Row(row) if row.run == 2 && row.stage == Stage::Live));
    assert!(
        matches!(&rest[1], Report::Row(row) if row.run == 3 && matches!(row.stage, Stage::Exited { .. }))
    );
    assert_eq!(rest[2..], [Report::HandedOver { rows: 3, notes: 0 }, exited(1, true)]);
}

#[test]
fn notes_come_in_the_order_of_their_keys_and_an_empty_value_removes_one() {
    let mut table = Table::default();
    for (key, value) in [(b"b", b"1"), (b"a", b"2"), (b"c", b"3")] {
        table.remember(key.to_vec(), value.to_vec());
    }
    table.remember(b"c".to_vec(), Vec::new());
    table.connected(false);
    let note = |key: &[u8], value: &[u8]| Report::Note { key: key.to_vec(), value: value.to_vec() };
    let expected = [note(b"a", b"2"), note(b"b", b"1"), Report::HandedOver { rows: 0, notes: 2 }];
    assert_eq!(told(&mut table), expected);
}

#[test]
fn helpers_are_not_handed_over() {
    let mut table = Table::default();
    table.ordered(row(HELPER_BIT | 1));
    table.connected(false);
    assert_eq!(told(&mut table), [Report::HandedOver { rows: 0, notes: 0 }]);
}

#[test]
fn signals_wait_for_the_next_supervisor_and_do_not_pile_up() {
    let mut table = listening();
    table.disconnected();
    for _ in 0..1_000 {
        table.signalled(15, 1);
    }
    table.connected(false);
    let reports = told(&mut table);
    assert_eq!(reports.len(), 1 + SIGNALS_KEPT);
}

#[test]
fn the_same_run_is_not_ordered_twice() {
    let mut table = listening();
    assert!(table.ordered(row(1)));
    assert!(!table.ordered(row(1)));
}
