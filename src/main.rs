//! The command `mcsup`. The two inner rings and the judge are started under hidden verbs, before any
//! argument parsing, so that the keeper's memory never holds more than the keeper.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(verb) if verb == mcsup::keeper::VERB => mcsup::keeper::main(),
        Some(verb) if verb == mcsup::cli::supervise::VERB => mcsup::cli::supervise::main(),
        Some(verb) if verb == mcsup::keeper::REHEARSE_VERB => mcsup::cli::supervise::rehearse(),
        Some(verb) if verb == mcsup::cli::judge::VERB => mcsup::cli::judge::main(),
        _ => mcsup::cli::run(),
    }
}
