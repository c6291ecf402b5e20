//! `mcsup graph`: phases and dependencies, drawn.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::check::{checked, units_dir};
use crate::cli::render::{err, out};
use crate::cli::render_diagnostics::Sources;
use crate::graph::{Format, Graph};
use crate::unit::diagnostic::Diagnostic;

/// Draw the phases and dependencies of a units directory. Needs no supervisor.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mcsup graph --format svg > units.svg")]
pub(crate) struct GraphArgs {
    /// The units directory; the default instance's when left out.
    pub(crate) dir: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub(crate) format: GraphFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// For reading in a terminal.
    Text,
    /// For Graphviz.
    Dot,
    /// For Markdown that draws Mermaid.
    Mermaid,
    /// A finished drawing.
    Svg,
}

pub(crate) fn run(args: GraphArgs, home: Option<&Path>) -> ExitCode {
    let Some(dir) = units_dir(args.dir, home) else { return ExitCode::from(1) };
    let Some(checked) = checked(&dir) else { return ExitCode::from(1) };
    let Some(set) = checked.loaded.set else {
        let errors: Vec<_> = checked.loaded.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
        err(&Sources::new(&checked.sources, &dir.to_string_lossy()).text(&errors, false));
        return ExitCode::from(1);
    };
    let format = match args.format {
        GraphFormat::Text => Format::Text,
        GraphFormat::Dot => Format::Dot,
        GraphFormat::Mermaid => Format::Mermaid,
        GraphFormat::Svg => Format::Svg,
    };
    out(&Graph::new(&set).draw(&set, format));
    ExitCode::SUCCESS
}
