//! Where the road of changes meets the loop.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::effect::ChangeOutcome;
use crate::engine::event::Event;
use crate::engine::id::{GenerationId, UnitId};
use crate::engine::time::Now;
use crate::generation::manifest::{Cause, Who};
use crate::supervisor::change::candidate::{Findings, Found, Source};
use crate::supervisor::change::filing::{BootKept, Filed};
use crate::supervisor::change::progress::Progress;
use crate::supervisor::change::road::{Asked, ChangeAnswer, What};
use crate::supervisor::change::seen::Seen;
use crate::supervisor::clock;
use crate::supervisor::executor::Executor;
use crate::supervisor::inbox::Inbox;
use crate::supervisor::run::Supervisor;
use crate::unit::SourceFile;
use crate::unit::spec::UnitSet;

/// A file that is half written is soon whole: only what stays unusable for so long is an incident.
const STAYS_INVALID: Duration = Duration::from_secs(2);
const SAFE_MODE: &str = "safe mode: saves are not seen for a minute; `mcsup apply` takes up what changes";

impl Executor {
    pub(crate) fn use_definitions(&mut self, generation: GenerationId, set: &Arc<UnitSet>) {
        let seal = self.road.seal_of(generation);
        self.redefine(set, seal);
        self.road.looks.follow(set);
    }

    pub(crate) fn restore_generation(&mut self, rejected: GenerationId, to: GenerationId, why: &str) {
        self.road.restore(rejected, to, why);
    }

    /// A change goes back, and the files that its units read are not back yet.
    pub(crate) fn are_files_on_their_way(&self, unit: UnitId) -> bool {
        self.road.is_restoring() && self.ground.set.unit(unit).is_some_and(|spec| !spec.env_file.is_empty())
    }

    /// All that could be brought back is back.
    fn files_are_back(&mut self, now: Now) {
        for unit in self.starts.parked() {
            if !self.are_sockets_on_their_way(unit) {
                self.unpark(now, unit);
            }
        }
    }

    pub(crate) fn change_ended(&mut self, generation: GenerationId, outcome: ChangeOutcome) {
        let ground = Arc::clone(&self.ground);
        self.road.ended(generation, outcome, &ground.set.changes);
    }
}

impl Supervisor {
    /// `unkept`: what runs, where there is no generation of it.
    pub(crate) fn begin_changes(&mut self, unkept: Option<Vec<SourceFile>>, is_boot: bool) {
        if let Some(sources) = unkept {
            self.executor.road.booted_from(sources);
        }
        // A boot runs what the directory says.
        if !is_boot {
            self.look();
        }
    }

    /// From here on what changes is seen. `None`, in safe mode: not before whoever supervises has shown that they live.
    pub(crate) fn watch(&mut self, seen: Option<Seen>) {
        let Executor { road, ears, observer, .. } = &mut self.executor;
        let Some(seen) = seen else {
            road.standing.unwatched = Some(SAFE_MODE.to_owned());
            return road.looks.watch_later();
        };
        if let Err(error) = road.looks.watch(ears, seen) {
            observer.announce(&road.is_blind(&error));
        }
    }

    pub(crate) fn safe_mode_is_over(&mut self) {
        let Executor { road, ears, observer, .. } = &mut self.executor;
        road.standing.unwatched = None;
        observer.announce("safe mode is over: saves are seen again");
        if let Err(error) = road.looks.watch_anew(ears, self.engine.set()) {
            observer.announce(&road.is_blind(&error));
        }
    }

    /// The directory, or what it names, was changed and is quiet.
    pub(crate) fn look(&mut self) {
        let set = Arc::clone(self.engine.set());
        self.executor.road.look(&set);
    }

    /// Who asks for another change while one waits for a person is told so at once; a save has nobody to tell, and waits.
    pub(crate) fn ask_change(&mut self, asked: Asked) {
        let confirming = Progress::of(&self.engine, clock::now()).filter(Progress::waits_to_be_confirmed);
        if let (Some(progress), true, Some(_)) = (&confirming, asked.what.is_another_change(), &asked.reply) {
            let answer = ChangeAnswer::Refused(progress.refusal());
            // Whoever asked may have gone.
            return drop(asked.reply.map(|reply| reply.send(answer)));
        }
        let set = Arc::clone(self.engine.set());
        self.executor.road.ask(asked, &set);
    }

    /// As SIGHUP asks for it.
    pub(crate) fn reload(&mut self) {
        let what = What::Apply { source: Source::Directory, cause: Cause::Reload, confirm: None };
        self.ask_change(Asked { what, who: Who::default(), reply: None });
    }

    pub(crate) fn candidate_found(&mut self, found: Findings) {
        let set = Arc::clone(self.engine.set());
        let is_invalid = matches!(found.found, Found::Invalid(_));
        let (event, said) = self.executor.road.found(found, &set);
        for text in said {
            self.executor.observer.announce(&text);
        }
        match event {
            Some(event) => self.feed(event),
            None if is_invalid => self.look_again_later(),
            None if self.executor.road.has_been_mended() => {
                self.feed(Event::DirectoryFound { trouble: None });
            }
            None => {}
        }
    }

    fn look_again_later(&self) {
        let (outlet, look) = (self.executor.outlet.clone(), self.executor.road.looks.count());
        tokio::task::spawn_local(async move {
            // Nothing ends this wait but time.
            drop(tokio::time::timeout(STAYS_INVALID, std::future::pending::<()>()).await);
            // The loop has ended: nobody is left to be told.
            drop(outlet.send(Inbox::StillInvalid { look }));
        });
    }

    pub(crate) fn still_invalid(&mut self, look: u64) {
        if let Some(text) = self.executor.road.tell_trouble_since(look) {
            self.executor.observer.announce(&text);
            let cause = text.lines().next().unwrap_or_default().into();
            self.feed(Event::DirectoryFound { trouble: Some(cause) });
        }
    }

    pub(crate) fn change_filed(&mut self, filed: Filed) {
        let set = Arc::clone(self.engine.set());
        for text in self.executor.road.filed(filed, &set) {
            self.executor.observer.announce(&text);
        }
        if !self.executor.road.is_restoring() {
            self.executor.files_are_back(clock::now());
        }
    }

    pub(crate) fn boot_kept(&mut self, kept: BootKept) {
        let set = Arc::clone(self.engine.set());
        self.executor.is_over_its_boot = true; // what that took can be given back
        for text in self.executor.road.boot_kept(kept, &set) {
            self.executor.observer.announce(&text);
        }
    }
}
