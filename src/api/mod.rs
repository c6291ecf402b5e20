//! The control API: HTTP/1.1 and JSON over the unix socket, described by OpenAPI.
//!
//! Nothing here knows the engine's insides: every request becomes one message to the supervisor's
//! loop through [`Handle`], and its one answer becomes the response.

pub mod dto;
pub mod problem;
pub mod parameters;
mod sys;
mod impatient;
pub mod caller;
pub mod body;
mod status;
mod actions;
pub mod reexec;
pub mod changes;
mod events;
pub mod hooks;
mod incidents;
mod jobs;
mod logs;
pub mod routes;
pub mod openapi;
pub mod server;

use std::path::PathBuf;
use std::sync::Arc;

use crate::aside::Threads;
use crate::supervisor::handle::Handle;
use crate::supervisor::home::Home;

pub use server::{serve, serve_until};

/// What the routes need to know besides the loop.
#[derive(Clone, Debug)]
pub struct Context {
    /// The directory that holds one directory of logs per unit.
    pub log_dir: PathBuf,
    pub units_dir: PathBuf,
    /// Holds the generations.
    pub state_dir: PathBuf,
    pub rules: caller::Rules,
}

impl Context {
    /// With the rules of the running process: its own user may change things, the group `mcsup`
    /// may look.
    pub fn new(home: &Home) -> Self {
        let Home { units, state, log, .. } = home.clone();
        Self { log_dir: log, units_dir: units, state_dir: state, rules: caller::Rules::of_this_process() }
    }
}

/// What every route is given.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub handle: Handle,
    pub context: Arc<Context>,
    /// Each reader of logs holds one.
    pub log_readers: Threads,
    /// Whoever asks of generations holds one.
    pub disk: Threads,
    /// For what is asked of callers themselves.
    pub looks: Threads,
}
