//! What people type.

pub mod check;
pub mod graph;
pub mod schema;
pub(crate) mod render;
pub mod render_diagnostics;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "mcsup", version, about)]
struct Mcsup {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::CheckArgs),
    Graph(graph::GraphArgs),
    Schema(schema::SchemaArgs),
}

pub fn run() -> ExitCode {
    match Mcsup::parse().command {
        Command::Check(args) => check::run(args),
        Command::Graph(args) => graph::run(args),
        Command::Schema(args) => schema::run(args),
    }
}
