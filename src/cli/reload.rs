//! `mcsup reload`

use std::path::Path;

use crate::api::changes::dto::ReloadOptions;
use crate::cli::changed::tell;
use crate::cli::client::{Client, block_on};
use crate::cli::exit::{Failure, Outcome};

/// Read the units directory again, now
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A save is seen by itself; this is for file systems that tell nobody, and for who wants to hear what comes of it.\n\n\
    Example:\n  mcsup reload"
)]
pub(crate) struct Args {
    /// Come back as soon as it is begun
    #[arg(long)]
    no_wait: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    let options = ReloadOptions { wait: Some(!args.no_wait) };
    tell(&block_on(client.change("/v1/reload", &options))?, args.json)
}
