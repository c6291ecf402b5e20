//! One execution of a probe: a question in, one verdict out.
//!
//! `Fail` is an answer about the unit (refused, timed out, wrong). `Error` is about us (no descriptor,
//! no resolver, a file of authorities that cannot be read): it never counts against the unit.
//!
//! Nothing outlives its question: a connection is driven by whoever asks over it and ends with them.

pub mod question;
pub mod resolve;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod http;
pub(crate) mod redis;
pub(crate) mod postgres;
pub(crate) mod grpc;
pub(crate) mod file;
pub mod log;
pub mod exec;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use crate::aside::Threads;
use crate::engine::event::Verdict;
use crate::engine::time::Pretty;
use crate::expr::{Evaluator, Miss};
use crate::probe::log::Logs;
use crate::probe::question::Question;
use crate::probe::resolve::Resolver;
use crate::probe::stream::{Place, Stream};
use crate::probe::tls::Connectors;
use crate::unit::spec::probe::Pattern;

/// The clocks that answers are measured by.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Since some fixed instant; never steps.
    pub steady: fn() -> Duration,
    /// Since 1970; what files are dated by.
    pub wall: fn() -> Duration,
}

/// Asks every kind of question but a command. Owns what questions share; nothing is built before it is needed.
#[derive(Debug)]
pub struct Prober {
    resolver: Resolver,
    connectors: Connectors,
    evaluator: Evaluator,
    /// For bodies that are searched.
    judges: Threads,
    files: Threads,
    patterns: Patterns,
    logs: Logs,
}

impl Default for Prober {
    fn default() -> Self {
        Self::new(Resolver::default())
    }
}

impl Prober {
    pub fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            connectors: Connectors::default(),
            evaluator: Evaluator::default(),
            judges: Threads::new("judge", JUDGES),
            files: Threads::new("file probe", FILES),
            patterns: Patterns::default(),
            logs: Logs::default(),
        }
    }

    /// A run is about to be spawned: what its log holds already is not its own. Only for units with log probes.
    pub fn run_begins(&self, unit: &str, run: u64, log_dir: &Path) {
        self.logs.run_begins(unit, run, log_dir);
    }

    /// Asks once, over connections of its own, and answers within `limit` and a little.
    pub async fn ask(&self, question: Question, limit: Duration, clock: Clock) -> Verdict {
        let began = (clock.steady)();
        match self.try_ask(question, limit, began, clock).await {
            Ok(words) => Verdict::Pass(words.into()),
            Err(Trouble::Theirs(words)) => Verdict::Fail(words.into()),
            Err(Trouble::Ours(words)) => Verdict::Error(words.into()),
        }
    }

    async fn try_ask(&self, question: Question, limit: Duration, began: Duration, clock: Clock) -> Answer {
        let place = self.place_of(&question, limit).await?;
        let trust = self.trust_of(&question, limit).await?;
        let left = limit.saturating_sub((clock.steady)().saturating_sub(began));
        let took = || took((clock.steady)().saturating_sub(began));
        let asked = async {
            match question {
                Question::Tcp(_) | Question::Unix(_) => {
                    Stream::connect(&place).await?;
                    Ok(format!("connected in {}", took()))
                }
                Question::Http(question) => {
                    let exchange = http::Exchange { prober: self, question: &question, trust, limit };
                    exchange.ask(place, took).await
                }
                Question::Redis(question) => {
                    redis::ask(&place, &question).await.map(|what| format!("PONG in {}{what}", took()))
                }
                Question::Postgres(question) => {
                    postgres::ask(&place, &question).await.map(|what| format!("{what} in {}", took()))
                }
                Question::Grpc(question) => grpc::ask(&place, &question, trust.as_ref())
                    .await
                    .map(|what| format!("{what} in {}", took())),
                Question::File(question) => file::ask(&self.files, question, limit, clock).await,
                Question::Log(question) => self.logs.ask(&self.patterns, question, limit, clock).await,
                Question::Check { expression, facts } => {
                    // What it may take lies within the deadline of all questions, so that it has words of its own.
                    let limit = left.saturating_sub(left / 16);
                    let holds = self.evaluator.evaluate(&expression, limit, move || Ok(facts)).await;
                    holds.map(|()| "the check holds".to_owned()).map_err(|miss| missed(&miss))
                }
            }
        };
        // Named before what it bounds, or a deadline and an answer at the same instant would race.
        tokio::time::timeout(left, asked).await.unwrap_or_else(|_elapsed| Err(no_answer(limit)))
    }

    /// That a name cannot be resolved says nothing about the service behind it, so it is asked for first.
    async fn place_of(&self, question: &Question, limit: Duration) -> Result<Place, Trouble> {
        match question.target() {
            Some(target) => Place::find(&self.resolver, target, limit).await,
            None => Ok(Place::default()),
        }
    }

    async fn trust_of(&self, question: &Question, limit: Duration) -> Result<Option<tls::Trust>, Trouble> {
        match question.tls() {
            Some(wanted) => self.connectors.trust(wanted, limit).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Words for a pass, or whose trouble it is.
type Answer = Result<String, Trouble>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Of the service: the probe fails.
    Theirs(String),
    /// Of ours: it could not be asked.
    Ours(String),
}

fn theirs(words: impl Into<String>) -> Trouble {
    Trouble::Theirs(words.into())
}

fn ours(words: impl Into<String>) -> Trouble {
    Trouble::Ours(words.into())
}

fn no_answer(limit: Duration) -> Trouble {
    theirs(format!("no answer within {}", Pretty(limit)))
}

/// What is asked over a connection that is driven here meanwhile, and ends with the question.
async fn driven<T>(asked: impl Future<Output = T>, connection: impl Future) -> T {
    let mut asked = std::pin::pin!(asked);
    {
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            said = &mut asked => return said,
            _ended = &mut connection => {}
        }
        // Let go of here: whoever still waits for an answer hears that there will be none.
    }
    asked.await
}

/// That facts do not fit an expression is their fault; that it could not be evaluated is ours.
fn missed(miss: &Miss) -> Trouble {
    match miss {
        Miss::Unmet { .. } | Miss::Mistake { .. } => theirs(miss.to_string()),
        Miss::Runaway(_) | Miss::NotAsked(_) => ours(miss.to_string()),
    }
}

/// True for what a machine under strain says, and not the service that was asked.
fn is_our_side(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EADDRNOTAVAIL
                | libc::EACCES
                | libc::EPERM
        )
    )
}

/// Whose trouble an error of the system is.
fn of_system(error: &io::Error) -> Trouble {
    if is_our_side(error) { ours(in_words(error)) } else { theirs(in_words(error)) }
}

/// Whose trouble an error of hyper is; `nonsense` says what it means where the system had none.
fn of_protocol(error: &hyper::Error, nonsense: &str) -> Trouble {
    match system_error(error) {
        Some(cause) if cause.raw_os_error().is_some() => of_system(cause),
        Some(_) | None => theirs(nonsense),
    }
}

/// The error of the system at the bottom of a library's own, if there is one.
fn system_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut cause = Some(error);
    let mut found = None;
    while let Some(error) = cause {
        found = error.downcast_ref::<io::Error>().or(found);
        cause = error.source();
    }
    found
}

/// `connection refused` rather than `Connection refused (os error 111)`.
fn in_words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the connection was closed early".to_owned();
    }
    let full = error.to_string();
    let bare = full.split(" (os error").next().unwrap_or(&full);
    let mut chars = bare.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// A time as a verdict shows it: whole milliseconds, below that tenths.
fn took(time: Duration) -> String {
    let micros = time.as_micros();
    if micros >= 1000 { format!("{} ms", micros / 1000) } else { format!("0.{} ms", micros / 100) }
}

/// What somebody else wrote, in one line of at most 120 characters.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// Patterns, compiled once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns(Arc<Mutex<BTreeMap<Box<str>, Regex>>>);

impl Patterns {
    /// # Errors
    /// When the pattern is not sound, which whoever loaded the unit should have said.
    fn get(&self, pattern: &Pattern) -> Result<Regex, Trouble> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = known.get(&pattern.0) {
            return Ok(regex.clone());
        }
        let compiled = RegexBuilder::new(&pattern.0).size_limit(MOST_PATTERN_BYTES).build();
        let regex = compiled
            .map_err(|error| ours(format!("the pattern cannot be used: {}", quoted(&error.to_string()))))?;
        if known.len() >= MOST_PATTERNS {
            known.clear();
        }
        known.insert(pattern.0.clone(), regex.clone());
        Ok(regex)
    }
}

/// How many of the runtime's threads questions may take.
pub const THREADS: usize = resolve::AT_ONCE + tls::AT_ONCE + log::AT_ONCE + JUDGES + FILES;
const JUDGES: usize = 4;
const FILES: usize = 8;
/// Compiled; a pattern that needs more is no pattern for a line.
const MOST_PATTERN_BYTES: usize = 1024 * 1024;
const MOST_PATTERNS: usize = 1024;
