//! Expressions in CEL over facts in JSON. Who wrote the expression is trusted to mean well, not to write
//! well; who wrote the facts is not trusted at all. So a text is bounded before it is parsed, work and memory
//! are bounded while it runs, and it runs on a thread of its own with a stack that its bounds cannot exhaust.

pub(crate) mod parts;
pub(crate) mod functions;
pub(crate) mod program;
pub(crate) mod shortfall;
pub(crate) mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value as Json};
use tokio::sync::{Semaphore, oneshot};

use crate::expr::program::{Allowance, Program};
use crate::unit::spec::probe::Expression;

/// The names that an expression may use, with their values.
pub type Facts = Map<String, Json>;

/// Why an expression does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It is false.
    Unmet {
        /// The part of the conjunction that is.
        part: String,
        /// The values it was about: `json.models has 0 items`. Empty where the part says it all.
        found: String,
    },
    /// It has no value: a field is missing, types do not fit. `why` names the path.
    Mistake { part: String, why: String },
    /// It took longer than it may, or worked through more than it may, and was given up.
    Runaway(String),
    /// It was not evaluated.
    NotAsked(String),
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmet { part, found } if found.is_empty() => write!(f, "{part} is false"),
            Self::Unmet { part, found } => write!(f, "{found}: {part} is false"),
            Self::Mistake { part, why } => write!(f, "{why}, in {part}"),
            Self::Runaway(why) | Self::NotAsked(why) => f.write_str(why),
        }
    }
}

/// Evaluates on threads of its own, few at once. Cheap to clone; what was compiled is shared.
#[derive(Clone, Debug)]
pub struct Evaluator {
    free: Arc<Semaphore>,
    most_turns: u64,
    compiled: Arc<Mutex<BTreeMap<Box<str>, Arc<Program>>>>,
}

impl Default for Evaluator {
    fn default() -> Self {
        Self::new(MOST_TURNS)
    }
}

impl Evaluator {
    /// `most_turns`: of all loops of one evaluation together.
    fn new(most_turns: u64) -> Self {
        Self { free: Arc::new(Semaphore::new(AT_ONCE)), most_turns, compiled: Arc::default() }
    }

    /// Whether `expression` holds over the facts that `facts` gives, on the thread. What does not end within
    /// `limit` is told to stop and no longer waited for.
    ///
    /// # Errors
    /// Why it does not hold. `facts` may say instead why there are none.
    pub async fn evaluate(
        &self,
        expression: &Expression,
        limit: Duration,
        facts: impl FnOnce() -> Result<Facts, Miss> + Send + 'static,
    ) -> Result<(), Miss> {
        let deadline = tokio::time::timeout(limit, self.begin(expression.0.clone(), facts));
        match deadline.await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Miss::Runaway(format!(
                "the expression was given up: no value within {} ms",
                limit.as_millis()
            ))),
        }
    }

    async fn begin(
        &self,
        source: Box<str>,
        facts: impl FnOnce() -> Result<Facts, Miss> + Send + 'static,
    ) -> Result<(), Miss> {
        let no_thread = |error: io::Error| Miss::NotAsked(format!("cannot evaluate: no thread: {error}"));
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let permit = permit.map_err(|closed| Miss::NotAsked(closed.to_string()))?;
        let (answer, answered) = oneshot::channel();
        let given_up = GivenUp::default();
        let allowance = Allowance::new(self.most_turns, Arc::clone(&given_up.0));
        let compiled = Arc::clone(&self.compiled);
        let work = move || {
            let said = evaluate(&compiled, &source, &allowance, facts);
            drop(permit);
            // Nobody waits any more for what was given up.
            drop(answer.send(said));
        };
        let builder = std::thread::Builder::new().name("expression".to_owned()).stack_size(STACK_BYTES);
        builder.spawn(work).map(drop).map_err(no_thread)?;
        let broke_off = |_| Err(Miss::NotAsked("the evaluation broke off".to_owned()));
        let said = answered.await.unwrap_or_else(broke_off);
        drop(given_up);
        said
    }
}

/// Whoever asked has gone: the next turn of a loop ends the evaluation.
#[derive(Debug, Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn evaluate(
    compiled: &Mutex<BTreeMap<Box<str>, Arc<Program>>>,
    source: &str,
    allowance: &Allowance,
    facts: impl FnOnce() -> Result<Facts, Miss>,
) -> Result<(), Miss> {
    let known = compiled.lock().unwrap_or_else(PoisonError::into_inner).get(source).cloned();
    let program = match known {
        Some(program) => program,
        None => {
            let program = Arc::new(Program::compile(source).map_err(|why| {
                Miss::NotAsked(format!("the expression {} cannot be read: {why}", parts::one_line(source)))
            })?);
            let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
            if compiled.len() >= MOST_COMPILED {
                compiled.clear();
            }
            compiled.insert(source.into(), Arc::clone(&program));
            program
        }
    };
    program.holds(facts()?, allowance)
}

/// Whether `expression` uses the fact of this name.
pub fn speaks_of(expression: &Expression, name: &str) -> bool {
    // Where the word does not even stand, nothing has to be read for it.
    expression.0.contains(name)
        && Program::compile(&expression.0).is_ok_and(|program| program.speaks_of(name))
}

/// The paths whose disks `expression` asks for by `disk("/path")`, so that who gives the facts knows them:
/// the fact `disk` maps each path to its figures.
pub fn disks(expression: &Expression) -> Vec<String> {
    Program::compile(&expression.0).map(|program| program.texts_given_to("disk")).unwrap_or_default()
}

/// Twice over the longest list that a body of 1 MiB can hold.
const MOST_TURNS: u64 = 1_000_000;
/// More at once would only share the same processors.
const AT_ONCE: usize = 4;
/// Evaluating recurses where the parser does not: the deepest expression that is read was measured to need
/// less than 4 MiB in a debug build, twice what a thread has. Virtual; only what is touched is taken.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Far more than the expressions of a large set.
const MOST_COMPILED: usize = 1024;

#[cfg(test)]
mod tests;
