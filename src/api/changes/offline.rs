//! The same answers where no supervisor is there to give them: from the state directory itself.

use std::path::Path;

use crate::api::changes::dto::{Damages, GenerationDetail, GenerationDiff, Generations as List, Plan};
use crate::api::changes::{generations, shown};
use crate::api::problem::Problem;
use crate::supervisor::generations::{Generations, Word};
use crate::supervisor::handle::ChangeAnswer;
use crate::supervisor::loading::Render;

/// What one state directory has kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    generations: Generations,
}

impl Kept {
    pub(crate) fn in_state(state: &Path) -> Self {
        Self { generations: Generations::new(state) }
    }

    /// There is something to look at, and it can be.
    pub(crate) fn has_some(&self) -> bool {
        self.generations.list().is_ok_and(|list| !list.is_empty())
    }

    /// # Errors
    /// When none can be read.
    pub(crate) fn list(&self) -> Result<List, Problem> {
        generations::list(&self.generations).map_err(generations::problem)
    }

    /// # Errors
    /// When there is no such generation.
    pub(crate) fn one(&self, number: u64) -> Result<GenerationDetail, Problem> {
        Ok(generations::detail(&self.generations.one(number).map_err(generations::problem)?))
    }

    /// # Errors
    /// When one of them is not there, or damaged.
    pub(crate) fn diff(&self, before: u64, after: u64, with_files: bool) -> Result<GenerationDiff, Problem> {
        generations::compared(&self.generations, (before, after), with_files).map_err(generations::problem)
    }

    /// # Errors
    /// When none can be read.
    pub(crate) fn damages(&self) -> Result<Damages, Problem> {
        generations::damages(&self.generations).map_err(generations::problem)
    }

    /// From the current generation to what another one says.
    ///
    /// # Errors
    /// When there is none of them.
    pub(crate) fn plan_of(&self, number: u64) -> Result<Plan, Problem> {
        let from = self.generations.current().ok_or_else(|| {
            Problem::Refused("no generation is in effect, so there is nothing to compare with".to_owned())
        })?;
        let one = self.generations.one(number).map_err(generations::problem)?;
        let planned = if one.verdict.is_ok_and(|verdict| verdict.word == Word::Pending) {
            self.generations.approving(number).map(|(_, planned)| planned)
        } else {
            self.generations.between(from, number)
        };
        Ok(shown::plan(&planned.map_err(generations::problem)?, Some(from)))
    }

    /// From the current generation to what this directory says.
    ///
    /// # Errors
    /// Also that it cannot be used.
    pub(crate) fn plan(&self, dir: &Path, render: Render) -> Result<Plan, Problem> {
        let from = self.generations.current();
        match self.generations.plan(dir, render).map_err(generations::problem)? {
            ChangeAnswer::Planned(planned) => Ok(shown::plan(&planned, from)),
            ChangeAnswer::Same => Ok(shown::no_plan(from, 0)),
            ChangeAnswer::Invalid(invalid) => Err(Problem::Invalid(invalid)),
            ChangeAnswer::Refused(why) => Err(Problem::Refused(why)),
            ChangeAnswer::Pending(_)
            | ChangeAnswer::Ended { .. }
            | ChangeAnswer::WaitsToBeConfirmed { .. }
            | ChangeAnswer::Rejected { .. } => {
                Err(Problem::Broken("the plan came to more than a plan".to_owned()))
            }
        }
    }
}
