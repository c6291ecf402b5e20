//! What people type: one file per command, and the tree that holds them.

pub(crate) mod exit;
pub(crate) mod render;
pub mod render_diagnostics;
pub(crate) mod client;
pub(crate) mod up;
pub(crate) mod init;
pub mod supervise;
pub mod judge;
pub(crate) mod check;
pub(crate) mod output;
pub(crate) mod graph;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod detail;
pub(crate) mod watch;
pub(crate) mod jobs;
pub(crate) mod run;
pub(crate) mod act;
pub(crate) mod logs;
pub(crate) mod events;
pub(crate) mod why;
pub(crate) mod incidents;
pub(crate) mod impact;
pub(crate) mod render_plan;
pub(crate) mod line_diff;
pub(crate) mod changed;
pub(crate) mod alone;
pub(crate) mod plan;
pub(crate) mod apply;
pub(crate) mod reload;
pub(crate) mod confirm;
pub(crate) mod rollback;
pub(crate) mod approve;
pub(crate) mod generations;
pub(crate) mod diff;
pub(crate) mod edit;
pub(crate) mod reexec;
pub(crate) mod shutdown;
pub(crate) mod doctor;
pub(crate) mod completions;
pub(crate) mod man;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::cgroup::Choice;
use crate::init::machine;

/// Mission Control for one machine: a supervisor that proves its services work.
#[derive(Debug, Parser)]
#[command(
    name = "mcsup",
    version = crate::keeper::version::text(),
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done, 1 the thing asked about is not well, 2 usage, 3 no supervisor, \
                  4 not permitted, 5 timed out.\n\nExample:\n  mcsup status redis"
)]
struct Cli {
    /// One directory with units, state, run and log in it; goes before MCSUP_HOME
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::UpArgs),
    Init(init::Args),
    Check(check::CheckArgs),
    Output(output::Args),
    Graph(graph::GraphArgs),
    Status(status::Args),
    Jobs(jobs::Args),
    Run(run::Args),
    Start(act::StartArgs),
    Stop(act::StopArgs),
    Restart(act::RestartArgs),
    Kill(act::KillArgs),
    Logs(logs::Args),
    Events(events::Args),
    Incidents(incidents::Args),
    Why(why::Args),
    Impact(impact::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Reload(reload::Args),
    Confirm(confirm::ConfirmArgs),
    Abandon(confirm::AbandonArgs),
    Rollback(rollback::Args),
    Approve(approve::ApproveArgs),
    Reject(approve::RejectArgs),
    Generations(generations::Args),
    Diff(diff::Args),
    Edit(edit::Args),
    Reexec(reexec::Args),
    Shutdown(shutdown::Args),
    Doctor(doctor::Args),
    Schema(schema::SchemaArgs),
    Completions(completions::Args),
    Man(man::Args),
}

pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // A kernel passes on every word that it does not know, and a machine has to boot all the same.
        Err(usage) if machine::is_here() => {
            drop(usage.print());
            return init::of_machine(None, None, Choice::Auto, None, false);
        }
        Err(usage) => {
            // Help and version are asked for, and go to the output; the rest is wrong usage, status 2.
            drop(usage.print());
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    cli.command.run(cli.home.as_deref())
}

impl Command {
    fn run(self, home: Option<&Path>) -> ExitCode {
        let result = match self {
            Self::Up(args) => up::up(&args, home),
            Self::Init(args) => return init::run(&args, home),
            Self::Check(args) => return check::run(args, home),
            Self::Output(args) => output::run(&args, home),
            Self::Graph(args) => return graph::run(args, home),
            Self::Status(args) => status::run(&args, home),
            Self::Jobs(args) => jobs::run(args, home),
            Self::Run(args) => run::run(args, home),
            Self::Start(args) => act::start(args, home),
            Self::Stop(args) => act::stop(args, home),
            Self::Restart(args) => act::restart(args, home),
            Self::Kill(args) => act::kill(args, home),
            Self::Logs(args) => logs::run(&args, home),
            Self::Events(args) => events::run(args, home),
            Self::Incidents(args) => incidents::run(&args, home),
            Self::Why(args) => why::run(&args, home),
            Self::Impact(args) => impact::run(&args, home),
            Self::Plan(args) => plan::run(&args, home),
            Self::Apply(args) => apply::run(&args, home),
            Self::Reload(args) => reload::run(&args, home),
            Self::Confirm(args) => confirm::confirm(&args, home),
            Self::Abandon(args) => confirm::abandon(&args, home),
            Self::Rollback(args) => rollback::run(&args, home),
            Self::Approve(args) => approve::approve(&args, home),
            Self::Reject(args) => approve::reject(args, home),
            Self::Generations(args) => generations::run(args, home),
            Self::Diff(args) => diff::run(&args, home),
            Self::Edit(args) => edit::run(&args, home),
            Self::Reexec(args) => reexec::run(&args, home),
            Self::Shutdown(args) => shutdown::run(&args, home),
            Self::Doctor(args) => doctor::run(&args, home),
            Self::Schema(args) => return schema::run(args),
            Self::Man(args) => man::run(&args, Cli::command()),
            Self::Completions(args) => Ok(completions::run(&args, &mut Cli::command())),
        };
        result.map_or_else(exit::Failure::told, ExitCode::from)
    }
}
