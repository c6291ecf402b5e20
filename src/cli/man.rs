//! `mcsup man DIR`, for packages: nobody types it, so the help does not show it.

use std::path::PathBuf;

use crate::cli::exit::{Exit, Failure, Outcome};

/// Write the manual pages, one per command
#[derive(Debug, clap::Args)]
#[command(hide = true, after_help = "Example:\n  mcsup man /usr/share/man/man1")]
pub(crate) struct Args {
    /// A directory that is there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &Args, command: clap::Command) -> Result<Outcome, Failure> {
    let written = clap_mangen::generate_to(command, &args.dir);
    written.map(|()| Outcome::Done).map_err(|cause| {
        Failure::new(Exit::NotWell, format!("cannot write manual pages to {}: {cause}", args.dir.display()))
    })
}
