//! How a command ends: the six exit statuses, and what is said with them.

use std::fmt;
use std::process::ExitCode;

use crate::cli::render::err;

/// How a command that was carried out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Carried out, and what was asked about is not well.
    NotWell,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    NotWell,
    Usage,
    NoSupervisor,
    NotPermitted,
    TimedOut,
}

/// Said on standard error, with a line of help where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub exit: Exit,
    pub message: String,
    pub help: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: None }
    }

    /// Says it, and is over.
    pub(crate) fn told(self) -> ExitCode {
        err(&self.to_string());
        self.exit.into()
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        match &self.help {
            Some(help) => writeln!(f, "help: {help}"),
            None => Ok(()),
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::from(0),
            Outcome::NotWell => Self::from(1),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::NotWell => 1,
            Exit::Usage => 2,
            Exit::NoSupervisor => 3,
            Exit::NotPermitted => 4,
            Exit::TimedOut => 5,
        })
    }
}

impl From<bool> for Outcome {
    fn from(is_well: bool) -> Self {
        if is_well { Self::Done } else { Self::NotWell }
    }
}
