//! `mcsup shutdown`

use std::path::Path;
use std::time::Duration;

use crate::api::dto::{MachineEnd, Outcome as Answered, ShutdownOptions};
use crate::cli::act::{timeout, within};
use crate::cli::client::{Client, block_on};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::out;

/// Stop every unit in reverse order, then the supervisor
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup shutdown\n  mcsup shutdown --now\n  mcsup shutdown --reboot")]
pub(crate) struct Args {
    /// Kill everything at once instead
    #[arg(long)]
    now: bool,
    /// Then start the machine again; where mcsup is its process 1
    #[arg(long, group = "machine")]
    reboot: bool,
    /// Then switch the machine off; where mcsup is its process 1
    #[arg(long, group = "machine")]
    poweroff: bool,
    /// Then let the machine stand still, with its power on; where mcsup is its process 1
    #[arg(long, group = "machine")]
    halt: bool,
    /// The exit status of `mcsup up`
    #[arg(long, value_name = "STATUS", default_value_t = 0)]
    exit_code: u8,
    /// Come back at once
    #[arg(long)]
    no_wait: bool,
    /// Come back after this long at the latest, with exit status 5; the shutdown goes on
    #[arg(long, value_name = "TIME", value_parser = timeout, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
}

impl Args {
    fn machine_end(&self) -> Option<MachineEnd> {
        [
            (self.reboot, MachineEnd::Reboot),
            (self.poweroff, MachineEnd::PowerOff),
            (self.halt, MachineEnd::Halt),
        ]
        .into_iter()
        .find_map(|(is_asked, end)| is_asked.then_some(end))
    }
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    block_on(within(args.timeout, async {
        let mut events = client.stream("/v1/events?after=latest").await?;
        let options = ShutdownOptions {
            exit_code: Some(args.exit_code),
            now: Some(args.now),
            machine: args.machine_end(),
        };
        let answered = client.post::<_, Answered>("/v1/shutdown", &options).await;
        match answered {
            // It may be gone before its answer is.
            Err(failure) if failure.exit != Exit::NoSupervisor => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        if args.no_wait {
            return Ok(Outcome::Done);
        }
        loop {
            while events.next().await.is_some() {}
            // Another supervisor took over in the middle of it, or it is done.
            match client.stream("/v1/events?after=latest").await {
                Ok(next) => events = next,
                Err(_gone) => break,
            }
        }
        out("everything is stopped\n");
        Ok(Outcome::Done)
    }))
}
