//! `mcsup approve` and `mcsup reject`

use std::path::Path;

use crate::api::changes::dto::{RejectOptions, ReloadOptions};
use crate::cli::changed::tell;
use crate::cli::client::{Client, block_on};
use crate::cli::exit::{Failure, Outcome};

/// Let a generation that waits take its turn
#[derive(Debug, clap::Args)]
#[command(after_help = "`mcsup diff CURRENT GEN` shows what it changes.\n\nExample:\n  mcsup approve 43")]
pub(crate) struct ApproveArgs {
    /// Its number
    #[arg(value_name = "GEN")]
    generation: u64,
    /// Come back as soon as it is begun
    #[arg(long)]
    no_wait: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Say no to a generation that waits
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup reject 43 --why \"not on a Friday\"")]
pub(crate) struct RejectArgs {
    /// Its number
    #[arg(value_name = "GEN")]
    generation: u64,
    /// For who wrote it
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn approve(args: &ApproveArgs, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    let path = format!("/v1/generations/{}/approve", args.generation);
    let options = ReloadOptions { wait: Some(!args.no_wait) };
    tell(&block_on(client.change(&path, &options))?, args.json)
}

pub(crate) fn reject(args: RejectArgs, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    let path = format!("/v1/generations/{}/reject", args.generation);
    tell(&block_on(client.change(&path, &RejectOptions { why: args.why }))?, args.json)
}
