//! The one road of every change: found, planned and kept by a thread, decided by the engine, filed by a thread. One at
//! a time; what comes meanwhile waits, and of saves only the latest counts.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::aside::{Threads, wall_millis};
use crate::engine::effect::ChangeOutcome;
use crate::engine::event::{ChangeNote, ChangeRules, Event, Proposal};
use crate::engine::id::GenerationId;
use crate::generation::manifest::{Cause, Who};
use crate::generation::{Retention, Store};
use crate::supervisor::change::approval::{self, Held, Pending};
use crate::supervisor::change::candidate::{self, Findings, Found, Invalid, Kit, Planned, Source, Wanted};
use crate::supervisor::change::filing::{self, BootKept, Filed, Filing};
use crate::supervisor::change::looks::Looks;
use crate::supervisor::change::loss::{Loss, QUIET};
use crate::supervisor::change::progress::Progress;
use crate::supervisor::inbox::{Inbox, Outlet, Promise};
use crate::supervisor::loading::Render;
use crate::unit::SourceFile;
use crate::unit::spec::UnitSet;
use crate::unit::spec::changes::Changes;

/// What a person, a client or a save wants.
#[derive(Debug)]
pub struct Asked {
    pub what: What,
    pub who: Who,
    /// Nobody waits for an answer to a save.
    pub reply: Option<oneshot::Sender<ChangeAnswer>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Only shown.
    Plan(Source),
    /// `confirm`: a person must confirm it within this time, whatever the settings say.
    Apply {
        source: Source,
        cause: Cause,
        confirm: Option<Duration>,
    },
    /// A pending generation takes its turn.
    Approve(u64),
    Reject {
        generation: u64,
        why: String,
    },
}

impl What {
    /// It would put other definitions into force.
    pub(crate) fn is_another_change(&self) -> bool {
        match self {
            Self::Apply { .. } | Self::Approve(_) => true,
            Self::Plan(_) | Self::Reject { .. } => false,
        }
    }
}

/// Exactly one for each that waits.
#[derive(Debug)]
pub enum ChangeAnswer {
    Planned(Planned),
    /// What is in force says the same.
    Same,
    Invalid(Invalid),
    /// It waits for `mcsup approve`.
    Pending(Pending),
    /// `pending`: a part of it waits for `mcsup approve`.
    Ended {
        generation: u64,
        outcome: ChangeOutcome,
        pending: Option<Pending>,
    },
    /// It works, and waits for `mcsup confirm`.
    WaitsToBeConfirmed {
        generation: u64,
    },
    Rejected {
        generation: u64,
    },
    Refused(String),
}

/// How the units directory stands to what is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The generation in force; `None` while none could be kept.
    pub generation: Option<u64>,
    /// The change under way.
    pub under_way: Option<u64>,
    /// How far it is; filled in for who asks.
    pub progress: Option<Progress>,
    /// It cannot be used as it is.
    pub invalid: Option<Invalid>,
    /// What waits for approval, oldest first.
    pub pending: Vec<Pending>,
    /// Why the directory says something else, and that is not tried again by itself.
    pub differs: Option<String>,
    /// Why saves are not seen.
    pub unwatched: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Road {
    home: Where,
    outlet: Outlet,
    threads: Threads,
    stage: Stage,
    /// What waits for its turn, the next first.
    asked: VecDeque<Asked>,
    pub(crate) looks: Looks,
    boot_seal: Option<u64>,
    /// There may be an incident of a directory that cannot be used.
    is_trouble_told: bool,
    /// Files are being brought back.
    is_restoring: bool,
    /// What the boot runs from, until it is kept as a generation.
    boot: Option<Arc<[SourceFile]>>,
    /// It could not be kept just now: whoever waits is told why, and not made to wait for another try.
    is_unkept: bool,
    pub(crate) standing: Standing,
    /// Of the text of generations that may come into force.
    seals: BTreeMap<GenerationId, u64>,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Where {
    pub(crate) units_dir: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) render: Render,
}

#[derive(Debug)]
enum Stage {
    Idle,
    /// A thread looks what there is.
    Finding(Asked),
    /// The engine has it.
    UnderWay(Box<UnderWay>),
    /// It is decided, and a thread writes that down.
    Filing(Option<(oneshot::Sender<ChangeAnswer>, ChangeAnswer)>),
}

#[derive(Debug)]
struct UnderWay {
    generation: u64,
    previous: Option<u64>,
    is_from_elsewhere: bool,
    who: Who,
    /// A part of what was asked for waits.
    pending: Option<Pending>,
    reply: Option<oneshot::Sender<ChangeAnswer>>,
}

impl Road {
    /// `seal`: of the definitions in force.
    pub(crate) fn new(home: Where, outlet: Outlet, generation: Option<u64>, seal: Option<u64>) -> Self {
        let mut seals = BTreeMap::new();
        let looks = Looks::new(home.units_dir.clone(), outlet.clone());
        seals.extend(generation.zip(seal).map(|(generation, seal)| (GenerationId(generation), seal)));
        Self {
            home,
            outlet,
            threads: Threads::new("change", CHANGE_THREADS),
            stage: Stage::Idle,
            asked: VecDeque::new(),
            looks,
            boot_seal: seal,
            // Of an earlier supervisor.
            is_trouble_told: generation.is_some(),
            is_restoring: false,
            boot: None,
            is_unkept: false,
            standing: Standing { generation, ..Standing::default() },
            seals,
        }
    }

    /// Nothing is found, decided or written down, and nothing waits for its turn.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle) && self.asked.is_empty() && !self.is_restoring
    }

    /// A change of an earlier supervisor goes on.
    pub(crate) fn take_up(&mut self, note: &ChangeNote, seal: u64) {
        let ChangeNote { generation, previous, .. } = note;
        self.seals.insert(*generation, seal);
        self.standing.under_way = Some(generation.0);
        let store = Store::for_reading(&self.home.state);
        let is_from_elsewhere = store.is_from_elsewhere(generation.0, &self.home.units_dir);
        let (who, reply) = (Who::default(), None);
        let (generation, previous) = (generation.0, Some(previous.0));
        self.standing.pending = approval::waiting(&store, &self.home.units_dir);
        self.standing.pending.retain(|one| !approval::is_turn_of(&store, generation, one.generation));
        let under_way = UnderWay { generation, previous, is_from_elsewhere, who, pending: None, reply };
        self.stage = Stage::UnderWay(Box::new(under_way));
    }

    /// A change of an earlier supervisor was decided, and not all of that is written down.
    pub(crate) fn take_up_filing(&mut self, generation: u64, rules: &Changes) {
        let previous = self.standing.generation.replace(generation);
        self.seals.extend(self.boot_seal.map(|seal| (GenerationId(generation), seal)));
        let store = Store::for_reading(&self.home.state);
        let is_from_elsewhere = store.is_from_elsewhere(generation, &self.home.units_dir);
        let (why, who, retention) = (String::new(), Who::default(), retention(rules));
        let filing = Filing::Commit { generation, previous, is_from_elsewhere, why, who, retention };
        self.file(filing, None);
    }

    /// What these definitions run from, once they are in force.
    pub(crate) fn seal_of(&self, generation: GenerationId) -> Option<u64> {
        self.seals.get(&generation).copied()
    }

    /// The directory, or what it names, is another.
    pub(crate) fn look(&mut self, in_force: &Arc<UnitSet>) {
        self.looks.want();
        self.go_on(in_force);
    }

    pub(crate) fn ask(&mut self, asked: Asked, in_force: &Arc<UnitSet>) {
        // It touches nothing, so it need not wait for what a person may have to confirm.
        if matches!((&asked.what, &self.stage), (What::Plan(_), Stage::UnderWay(_))) {
            return self.show(asked, in_force);
        }
        self.asked.push_back(asked);
        self.go_on(in_force);
    }

    /// Begins the next one, when none is under way.
    fn go_on(&mut self, in_force: &Arc<UnitSet>) {
        if !matches!(self.stage, Stage::Idle) {
            return;
        }
        let has_work = !self.asked.is_empty() || self.looks.is_due();
        if has_work && self.boot.is_some() && !self.is_unkept {
            return self.keep_boot(); // or there would be nothing to go back to
        }
        let next = self.asked.pop_front().or_else(|| {
            let what = What::Apply { source: Source::Directory, cause: Cause::Save, confirm: None };
            self.looks.take_due().then(|| Asked { what, who: Who::default(), reply: None })
        });
        let Some(asked) = next else { return };
        if let What::Reject { generation, why } = &asked.what {
            let mut pending = self.standing.pending.iter();
            if pending.any(|one| one.generation == *generation && one.is_of_directory) {
                self.standing.differs = Some(as_rejected(*generation));
            }
            let filing = Filing::Reject { generation: *generation, why: why.clone(), who: asked.who.clone() };
            let answer = ChangeAnswer::Rejected { generation: *generation };
            return self.file(filing, asked.reply.map(|reply| (reply, answer)));
        }
        self.find(asked, in_force);
    }

    fn show(&self, asked: Asked, in_force: &Arc<UnitSet>) {
        // No generation is known to be what is in force now.
        let wanted = Wanted { current: None, ..self.wanted(&asked, in_force) };
        let threads = self.threads.clone();
        tokio::task::spawn_local(async move {
            let found = threads.ask(FIND_LIMIT, move || candidate::find(&wanted)).await;
            let answer = shown(found.unwrap_or_else(late));
            // Whoever asked may have gone.
            drop(asked.reply.map(|reply| reply.send(answer)));
        });
    }

    fn wanted(&self, asked: &Asked, in_force: &Arc<UnitSet>) -> Wanted {
        let (source, cause) = match &asked.what {
            What::Plan(source) => (source.clone(), Cause::Apply),
            What::Apply { source, cause, .. } => (source.clone(), *cause),
            What::Approve(generation) | What::Reject { generation, .. } => {
                (Source::Pending(*generation), Cause::Approve(*generation))
            }
        };
        let Where { units_dir, state, render } = self.home.clone();
        Wanted {
            source,
            cause,
            who: asked.who.clone(),
            units_dir,
            state,
            in_force: Arc::clone(in_force),
            current: self.standing.generation,
            is_asked: asked.reply.is_some() || cause == Cause::Reload,
            is_dry: matches!(asked.what, What::Plan(_)),
            waits: self.looks.waits(),
            at_millis: wall_millis(),
            render,
        }
    }

    fn find(&mut self, asked: Asked, in_force: &Arc<UnitSet>) {
        let wanted = self.wanted(&asked, in_force);
        self.stage = Stage::Finding(asked);
        let unknown = |found| Findings { found, pending: None };
        let otherwise = unknown(Found::Refused("the look at it broke off".to_owned()));
        let otherwise = Inbox::CandidateFound(Box::new(otherwise));
        let promise = Promise::new(self.outlet.clone(), otherwise);
        let threads = self.threads.clone();
        tokio::task::spawn_local(async move {
            let found = threads.ask(FIND_LIMIT, move || candidate::look(&wanted)).await;
            let found = found.unwrap_or_else(|| unknown(late()));
            promise.keep(Inbox::CandidateFound(Box::new(found)));
        });
    }

    /// What the thread found; the event for the engine, where it is to be decided.
    pub(crate) fn found(
        &mut self,
        Findings { found, pending }: Findings,
        in_force: &Arc<UnitSet>,
    ) -> (Option<Event>, Vec<String>) {
        self.standing.pending = pending.unwrap_or_else(|| std::mem::take(&mut self.standing.pending));
        let Stage::Finding(asked) = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return (None, Vec::new());
        };
        let is_of_directory = matches!(&asked.what, What::Apply { source: Source::Directory, .. });
        if is_of_directory {
            let loss = if let Found::Loses(loss) = &found { Some(&**loss) } else { None };
            self.looks.looked(loss);
            self.stand(&found);
        }
        let mut said = Vec::new();
        let answer = match found {
            Found::Ready(kit, held) => {
                let pending = match held {
                    Some(Held::Waits(pending)) => Some(pending),
                    Some(Held::Rejected(_)) | None => None,
                };
                said.extend(pending.as_ref().map(Pending::words));
                let event = self.begin(*kit, (asked, pending), in_force);
                return (Some(event), said);
            }
            Found::Same => ChangeAnswer::Same,
            Found::Invalid(invalid) => ChangeAnswer::Invalid(invalid),
            Found::RejectedBefore(generation) => {
                let text = format!(
                    "the units directory is as in generation {generation}, which was rejected; `mcsup apply` tries it again"
                );
                said.push(text.clone());
                ChangeAnswer::Refused(text)
            }
            Found::Planned(planned) => ChangeAnswer::Planned(planned),
            Found::Pending(pending) => {
                said.push(pending.words());
                ChangeAnswer::Pending(pending)
            }
            Found::Loses(loss) => ChangeAnswer::Refused(loss_words(&loss)),
            Found::LeftAlone(why) => ChangeAnswer::Refused(left_words(&why)),
            Found::Refused(why) => {
                said.push(format!("the change is not begun: {why}"));
                ChangeAnswer::Refused(why)
            }
        };
        if let Some(reply) = asked.reply {
            said.clear(); // whoever asked hears it
            drop(reply.send(answer));
        }
        self.go_on(in_force);
        (None, said)
    }

    /// What the directory is now, for `mcsup status`.
    fn stand(&mut self, found: &Found) {
        let standing = &mut self.standing;
        (standing.invalid, standing.differs) = (None, None);
        match found {
            Found::Same
            | Found::Planned(_)
            | Found::Ready(_, None | Some(Held::Waits(_)))
            | Found::Pending(_) => {}
            Found::Invalid(invalid) => standing.invalid = Some(invalid.clone()),
            Found::RejectedBefore(generation) | Found::Ready(_, Some(Held::Rejected(generation))) => {
                standing.differs = Some(as_rejected(*generation));
            }
            Found::Loses(loss) => standing.differs = Some(loss_words(loss)),
            Found::LeftAlone(why) => standing.differs = Some(left_words(why)),
            Found::Refused(why) => standing.differs = Some(why.clone()),
        }
    }

    fn begin(
        &mut self,
        kit: Kit,
        (asked, pending): (Asked, Option<Pending>),
        in_force: &Arc<UnitSet>,
    ) -> Event {
        let Kit { generation, planned, seal, is_from_elsewhere, seen } = kit;
        self.looks.read(seen);
        if let What::Approve(approved) = &asked.what {
            self.standing.pending.retain(|one| one.generation != *approved);
        }
        let confirm = match &asked.what {
            What::Apply { confirm, .. } => *confirm,
            What::Plan(_) | What::Approve(_) | What::Reject { .. } => None,
        };
        let rules = &in_force.changes;
        let rules = ChangeRules {
            verify: rules.verify,
            settle: rules.settle,
            rolls_back: rules.rolls_back,
            confirm: confirm.or(rules.confirm),
        };
        self.seals.insert(GenerationId(generation), seal);
        self.standing.under_way = Some(generation);
        let previous = self.standing.generation;
        let Asked { who, reply, .. } = asked;
        self.stage = Stage::UnderWay(Box::new(UnderWay {
            generation,
            previous,
            is_from_elsewhere,
            who,
            pending,
            reply,
        }));
        Event::ChangeProposed(Box::new(Proposal {
            generation: GenerationId(generation),
            previous: GenerationId(previous.unwrap_or_default()),
            set: planned.set,
            reread: planned.reread,
            rules,
        }))
    }

    /// Whoever waits need not wait for a person, and whoever asked for another one neither. Saves wait.
    pub(crate) fn waits_to_be_confirmed(&mut self, refusal: &str) {
        for asked in std::mem::take(&mut self.asked) {
            if !asked.what.is_another_change() || asked.reply.is_none() {
                self.asked.push_back(asked);
                continue;
            }
            let answer = ChangeAnswer::Refused(refusal.to_owned());
            // Whoever asked may have gone.
            drop(asked.reply.map(|reply| reply.send(answer)));
        }
        if let Stage::UnderWay(under_way) = &mut self.stage
            && let Some(reply) = under_way.reply.take()
        {
            drop(reply.send(ChangeAnswer::WaitsToBeConfirmed { generation: under_way.generation }));
        }
    }

    /// The engine goes back: the files of the failed generation give way meanwhile.
    pub(crate) fn restore(&mut self, rejected: GenerationId, to: GenerationId, why: &str) {
        let is_from_elsewhere =
            matches!(&self.stage, Stage::UnderWay(under_way) if under_way.is_from_elsewhere);
        let filing =
            Filing::Restore { rejected: rejected.0, to: to.0, why: why.to_owned(), is_from_elsewhere };
        self.is_restoring = true;
        self.run(filing);
    }

    pub(crate) fn is_restoring(&self) -> bool {
        self.is_restoring
    }

    /// The engine is done with it.
    pub(crate) fn ended(&mut self, generation: GenerationId, outcome: ChangeOutcome, rules: &Changes) {
        let retention = retention(rules);
        let Stage::UnderWay(under_way) = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
        let UnderWay { previous, is_from_elsewhere, who, pending, reply, .. } = *under_way;
        self.standing.under_way = None;
        let filing = match &outcome {
            ChangeOutcome::Committed | ChangeOutcome::Kept { .. } => {
                self.standing.generation = Some(generation.0);
                self.seals.retain(|known, _| *known == generation);
                let why = match &outcome {
                    ChangeOutcome::Kept { why } => why.to_string(),
                    ChangeOutcome::Committed
                    | ChangeOutcome::RolledBack { .. }
                    | ChangeOutcome::Refused(_)
                    | ChangeOutcome::Interrupted => String::new(),
                };
                Filing::Commit { generation: generation.0, previous, is_from_elsewhere, why, who, retention }
            }
            ChangeOutcome::RolledBack { .. } => {
                self.seals.remove(&generation);
                Filing::Settle
            }
            ChangeOutcome::Refused(why) => {
                self.seals.remove(&generation);
                Filing::Refused { generation: generation.0, why: why.to_string() }
            }
            ChangeOutcome::Interrupted => Filing::Settle,
        };
        let answer = ChangeAnswer::Ended { generation: generation.0, outcome, pending };
        self.file(filing, reply.map(|reply| (reply, answer)));
    }

    fn file(&mut self, filing: Filing, answer: Option<(oneshot::Sender<ChangeAnswer>, ChangeAnswer)>) {
        self.stage = Stage::Filing(answer);
        self.run(filing);
    }

    /// Filings go one after the other, in the order given: there is one thread for them.
    fn run(&mut self, filing: Filing) {
        let home = self.home.clone();
        let is_last = !matches!(filing, Filing::Restore { .. });
        let otherwise = Filed {
            said: vec!["writing down what came of a change broke off".to_owned()],
            is_last,
            is_left_alone: false,
            refused: None,
            pending: None,
        };
        let promise = Promise::new(self.outlet.clone(), Inbox::ChangeFiled(otherwise));
        let threads = self.threads.clone();
        tokio::task::spawn_local(async move {
            let late = || Filed {
                said: vec!["the disk does not take down what came of a change".to_owned()],
                is_last,
                is_left_alone: false,
                refused: None,
                pending: None,
            };
            let done = threads.ask(FILE_LIMIT, move || filing::file(&home, &filing, is_last)).await;
            promise.keep(Inbox::ChangeFiled(done.unwrap_or_else(late)));
        });
    }

    /// Written down: the next one may come. What it had to say is for people.
    pub(crate) fn filed(&mut self, filed: Filed, in_force: &Arc<UnitSet>) -> Vec<String> {
        // In turn: whatever is done now, that was done before.
        self.is_restoring = false;
        if filed.is_left_alone {
            self.looks.want(); // who looks says so
        }
        if filed.is_last {
            self.standing.pending =
                filed.pending.unwrap_or_else(|| std::mem::take(&mut self.standing.pending));
            if let Stage::Filing(answer) = std::mem::replace(&mut self.stage, Stage::Idle)
                && let Some((reply, answer)) = answer
            {
                drop(reply.send(filed.refused.map_or(answer, ChangeAnswer::Refused)));
            }
            self.looks.want_if_blind();
            self.go_on(in_force);
        }
        filed.said
    }

    /// What a boot runs from: to be kept when it is done, or when the first change comes.
    pub(crate) fn booted_from(&mut self, sources: Vec<SourceFile>) {
        self.boot = Some(sources.into());
    }

    /// Who has just started has the machine for a moment more.
    pub(crate) fn keep_boot_soon(&self) {
        let outlet = self.outlet.clone();
        tokio::task::spawn_local(async move {
            drop(tokio::time::timeout(AFTER_BOOT, std::future::pending::<()>()).await);
            // The loop has ended: the next boot keeps what it runs from.
            drop(outlet.send(Inbox::BootIsOver));
        });
    }

    /// The files that the boot runs from become a generation.
    pub(crate) fn keep_boot(&mut self) {
        let Some(sources) = self.boot.clone().filter(|_| matches!(self.stage, Stage::Idle)) else { return };
        self.stage = Stage::Filing(None);
        let said = vec!["keeping what the boot runs from broke off".to_owned()];
        let broke = BootKept { generation: None, said, pending: Vec::new() };
        let promise = Promise::new(self.outlet.clone(), Inbox::BootKept(broke));
        let (home, threads) = (self.home.clone(), self.threads.clone());
        tokio::task::spawn_local(async move {
            if let Some(kept) = threads.ask(FILE_LIMIT, move || filing::keep_boot(&home, &sources)).await {
                promise.keep(Inbox::BootKept(kept));
            }
        });
    }

    /// Where it could not be kept, each change tries again first.
    pub(crate) fn boot_kept(&mut self, kept: BootKept, in_force: &Arc<UnitSet>) -> Vec<String> {
        let BootKept { generation, said, pending } = kept;
        self.standing.pending = pending;
        self.stage = Stage::Idle;
        self.is_unkept = generation.is_none();
        if let Some(number) = generation {
            self.standing.generation = generation;
            self.boot = None;
            self.seals.extend(self.boot_seal.map(|seal| (GenerationId(number), seal)));
            self.looks.want_if_blind();
        }
        self.go_on(in_force);
        self.is_unkept = false;
        said
    }

    /// Nobody watches, for this reason: how to say that.
    pub(crate) fn is_blind(&mut self, error: &io::Error) -> String {
        let text = format!(
            "cannot watch the units directory: {error}; `mcsup apply` and SIGHUP take up what changes"
        );
        self.standing.unwatched = Some(text.clone());
        text
    }

    /// It was told that the directory cannot be used, and now it can. Once; what is wrong with a change is not mended
    /// by a directory that says the same.
    pub(crate) fn has_been_mended(&mut self) -> bool {
        let is_mended = self.is_trouble_told && self.standing.invalid.is_none();
        self.is_trouble_told &= !is_mended;
        is_mended
    }

    /// What to say of a directory that could not be used at that look, and that nobody has touched since.
    pub(crate) fn tell_trouble_since(&mut self, look: u64) -> Option<String> {
        let invalid = self.standing.invalid.as_ref().filter(|_| self.looks.count() == look)?;
        let errors =
            if invalid.errors == 1 { "1 error".to_owned() } else { format!("{} errors", invalid.errors) };
        let text = invalid.text.trim_end();
        self.is_trouble_told = true;
        Some(format!("the units directory cannot be used: {errors}; what runs is not touched\n{text}"))
    }
}

fn retention(rules: &Changes) -> Retention {
    Retention { count: usize::try_from(rules.keep_count).unwrap_or(usize::MAX), age: rules.keep_age }
}

fn loss_words(loss: &Loss) -> String {
    let Loss { units, of, .. } = loss;
    let what = if *units == 0 {
        "it has lost files".to_owned()
    } else {
        format!("it has lost {units} of {of} units")
    };
    format!("{what}; that counts when it has been quiet for {} s", QUIET.as_secs())
}

fn left_words(why: &str) -> String {
    format!("the directory could not be written: {why}")
}

fn as_rejected(generation: u64) -> String {
    format!("as rejected generation {generation}")
}

/// What was found for who only wants to see it.
pub(crate) fn shown(found: Found) -> ChangeAnswer {
    match found {
        Found::Same => ChangeAnswer::Same,
        Found::Invalid(invalid) => ChangeAnswer::Invalid(invalid),
        Found::Planned(planned) => ChangeAnswer::Planned(planned),
        Found::Refused(why) => ChangeAnswer::Refused(why),
        Found::RejectedBefore(_)
        | Found::Pending(_)
        | Found::Ready(..)
        | Found::Loses(_)
        | Found::LeftAlone(_) => ChangeAnswer::Refused("the plan came to more than a plan".to_owned()),
    }
}

fn late() -> Found {
    Found::Refused("the disk did not answer in time".to_owned())
}

/// In turn: two of them would write to one directory.
const CHANGE_THREADS: usize = 1;
/// Between the end of a boot and the writing of its files.
const AFTER_BOOT: Duration = Duration::from_millis(500);
/// A directory of thousands of files on a slow disk.
const FIND_LIMIT: Duration = Duration::from_secs(60);
const FILE_LIMIT: Duration = Duration::from_secs(60);
