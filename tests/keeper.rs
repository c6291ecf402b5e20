//! The real keeper, driven over its link.

mod keeper_host;

use std::fs;

use keeper_host::{TestKeeper, eventually, is_alive, shell};
use mcsup::keeper::wire::{Exit, Order, Report, Scope};

#[test]
fn a_process_is_started_reaped_and_reported_with_its_status() {
    let mut keeper = TestKeeper::start();
    let pid = keeper.spawn(shell(1, "exit 7"));
    assert!(pid > 0);
    assert_eq!(keeper.exit_of(1), (Exit::Code(7), true));
}

#[test]
fn what_it_wrote_is_in_the_log_before_its_exit_is_told() {
    let mut keeper = TestKeeper::start();
    let log = Some(keeper.log("test"));
    keeper.spawn(mcsup::keeper::wire::SpawnOrder {
        log,
        ..shell(1, "echo out; echo err >&2; printf 'last words'")
    });
    assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(keeper.current_log("test"), b"out\nerr\nlast words");
}
