//! `mcsup completions SHELL`

use clap_complete::Shell;

use crate::cli::exit::Outcome;
use crate::cli::render::out;

/// Print what completes commands in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup completions bash > /etc/bash_completion.d/mcsup")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, command: &mut clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "mcsup", &mut script);
    out(&String::from_utf8_lossy(&script));
    Outcome::Done
}
