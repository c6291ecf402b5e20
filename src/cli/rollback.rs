//! `mcsup rollback`

use std::path::Path;
use std::time::Duration;

use crate::api::changes::dto::RollbackOptions;
use crate::cli::act::timeout;
use crate::cli::apply::millis;
use crate::cli::changed::tell;
use crate::cli::client::{Client, block_on};
use crate::cli::exit::{Failure, Outcome};

/// Go back to an earlier generation: a change as any other, planned and verified
#[derive(Debug, clap::Args)]
#[command(after_help = "`mcsup plan --generation GEN` shows what it would do.\n\n\
    Example:\n  mcsup rollback\n  mcsup rollback 41")]
pub(crate) struct Args {
    /// Its number; the last before the one in force that held when left out
    #[arg(value_name = "GEN")]
    to: Option<u64>,
    /// Go forth again unless `mcsup confirm` comes within this time
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    confirm: Option<Duration>,
    /// Come back as soon as it is begun
    #[arg(long)]
    no_wait: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    let options =
        RollbackOptions { to: args.to, confirm_ms: args.confirm.map(millis), wait: Some(!args.no_wait) };
    tell(&block_on(client.change("/v1/rollback", &options))?, args.json)
}
