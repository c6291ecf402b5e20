//! `mcsup confirm` and `mcsup abandon`

use std::path::Path;

use serde_json::json;

use crate::cli::changed::tell;
use crate::cli::client::{Client, block_on};
use crate::cli::exit::{Failure, Outcome};

/// Say that the change under way is good, so that it stays
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup confirm")]
pub(crate) struct ConfirmArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Say that the change under way is not good, so that it goes back now
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup abandon")]
pub(crate) struct AbandonArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn confirm(args: &ConfirmArgs, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    tell(&block_on(client.change("/v1/confirm", &json!({})))?, args.json)
}

pub(crate) fn abandon(args: &AbandonArgs, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    tell(&block_on(client.change("/v1/abandon", &json!({})))?, args.json)
}
