//! `mcsup schema`: what editors complete and check by.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::render::out;
use crate::unit::schema;

/// Print the JSON Schema of unit files or of mcsup.yaml.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "Example:\n  mcsup schema unit > unit.schema.json")]
pub(crate) struct SchemaArgs {
    #[arg(value_enum, default_value_t = SchemaOf::Unit)]
    pub(crate) of: SchemaOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// A unit file.
    Unit,
    /// The file mcsup.yaml.
    Mcsup,
}

pub(crate) fn run(args: SchemaArgs) -> ExitCode {
    let schema = match args.of {
        SchemaOf::Unit => schema::unit(),
        SchemaOf::Mcsup => schema::settings(),
    };
    out(&format!("{schema:#}\n"));
    ExitCode::SUCCESS
}
