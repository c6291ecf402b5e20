//! What is kept can be looked at without a supervisor: that is when people need it most.

use std::path::Path;

use serde::Serialize;
use serde_json::json;

use crate::api::changes::dto::PlanOptions;
use crate::api::changes::offline::Kept;
use crate::api::problem::Problem;
use crate::cli::client::{Client, Reply, block_on, of_problem};
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::err;
use crate::cli::supervise::render;
use crate::supervisor::home::{Home, HomeError, Surroundings};

/// Who answers questions about generations.
#[derive(Debug)]
pub(crate) enum Source {
    Supervisor(Client),
    /// Nobody is there, but the files are.
    Files {
        kept: Kept,
        home: Home,
    },
}

impl Source {
    /// `dir`: an instance may be named by it.
    ///
    /// # Errors
    /// When there is neither.
    pub(crate) fn find(home: Option<&Path>, dir: Option<&Path>) -> Result<Self, Failure> {
        if let Some(client) = Client::new(home).ok().filter(Client::is_there) {
            return Ok(Self::Supervisor(client));
        }
        let found = state_of(home, dir)?;
        let kept = Kept::in_state(&found.state);
        if !kept.has_some() {
            let failure = Client::new(home)?.nobody_answers();
            let state = found.state.display();
            let message = format!("{}, and no generation is kept in `{state}`", failure.message);
            return Err(Failure { message, ..failure });
        }
        err("no supervisor answers; this is read from its state directory\n");
        Ok(Self::Files { kept, home: found })
    }

    /// All generations, as JSON.
    ///
    /// # Errors
    /// As the supervisor says them.
    pub(crate) fn list(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Supervisor(client) => block_on(client.get("/v1/generations")),
            Self::Files { kept, .. } => written(kept.list()),
        }
    }

    /// # Errors
    /// As [`Self::list`].
    pub(crate) fn one(&self, number: u64) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Supervisor(client) => block_on(client.get(&format!("/v1/generations/{number}"))),
            Self::Files { kept, .. } => written(kept.one(number)),
        }
    }

    /// # Errors
    /// As [`Self::list`].
    pub(crate) fn diff(&self, before: u64, after: u64, with_files: bool) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Supervisor(client) => {
                let path = format!("/v1/generations/{before}/diff/{after}?files={with_files}");
                block_on(client.get(&path))
            }
            Self::Files { kept, .. } => written(kept.diff(before, after, with_files)),
        }
    }

    /// # Errors
    /// As [`Self::list`].
    pub(crate) fn verify(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Supervisor(client) => block_on(client.post_bytes("/v1/generations/verify", &json!({}))),
            Self::Files { kept, .. } => written(kept.damages()),
        }
    }

    /// # Errors
    /// As [`Self::list`].
    pub(crate) fn plan(&self, dir: Option<&Path>, generation: Option<u64>) -> Result<Reply, Failure> {
        match self {
            Self::Supervisor(client) => {
                let dir = dir.map(|dir| dir.to_string_lossy().into_owned());
                block_on(client.change("/v1/plan", &PlanOptions { dir, generation, unit: None }))
            }
            Self::Files { kept, home } => {
                let units = dir.map_or_else(|| home.units_in_use(), Path::to_owned);
                let planned = match generation {
                    Some(generation) => kept.plan_of(generation),
                    None => kept.plan(&units, render),
                };
                match planned {
                    Err(problem @ Problem::Invalid(_)) => Ok(Reply::Invalid(json_of(&problem.document())?)),
                    planned => written(planned).map(Reply::Good),
                }
            }
        }
    }
}

fn state_of(home: Option<&Path>, dir: Option<&Path>) -> Result<Home, Failure> {
    let around = Surroundings::read();
    let chosen = Home::chosen(&around, home)
        .ok_or_else(|| Failure::new(Exit::NoSupervisor, HomeError::Homeless.to_string()))?;
    let named = dir.and_then(|dir| Home::for_up(&around, home, Some(dir)).ok());
    Ok(named.filter(|named| Kept::in_state(&named.state).has_some()).unwrap_or(chosen))
}

/// The answer as the supervisor would give it.
fn written<T: Serialize>(answer: Result<T, Problem>) -> Result<Vec<u8>, Failure> {
    match answer {
        Ok(answer) => json_of(&answer),
        Err(problem) => Err(of_problem(problem.status(), problem.document())),
    }
}

fn json_of<T: Serialize>(what: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(what)
        .map_err(|error| Failure::new(Exit::NotWell, format!("cannot write the answer: {error}")))
}
