//! Both rings are replaced by the executable that lies where ours lay: asked for here, done by the keeper
//! (`keeper/replace.rs`). What this supervisor has to do is to say why not, and then to stand still.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use tokio::sync::oneshot;

use crate::keeper::image::Image;
use crate::keeper::replace::{IMAGE_FD, REHEARSED};
use crate::keeper::wire::{Order, Replacement, Report};
use crate::keeper::{inherited, version};
use crate::supervisor::clock;
use crate::supervisor::handle::{Notice, NoticeKind, Rehearsed};
use crate::supervisor::keeper_link::Incoming;
use crate::supervisor::loading;
use crate::supervisor::notes;
use crate::supervisor::run::Supervisor;
use crate::supervisor::start::Settings;

/// Where this supervisor stands in being replaced.
#[derive(Debug, Default)]
pub(crate) enum Replacing {
    #[default]
    No,
    Rehearsing(oneshot::Sender<Result<Rehearsed, String>>),
    /// The keeper was told to go on; nothing is begun any more.
    StandingBy {
        number: u32,
        to: String,
    },
}

impl Supervisor {
    pub(crate) fn reexec(&mut self, reply: oneshot::Sender<Result<Rehearsed, String>>) {
        match self.obstacle() {
            Some(why) => drop(reply.send(Err(why))),
            None => {
                self.replacing = Replacing::Rehearsing(reply);
                self.executor.send(&Order::Rehearse, &[]);
            }
        }
    }

    /// Why nothing may be replaced now.
    fn obstacle(&self) -> Option<String> {
        match &self.replacing {
            Replacing::No => {}
            Replacing::Rehearsing(_) | Replacing::StandingBy { .. } => {
                return Some("mcsup is being replaced already".to_owned());
            }
        }
        if self.executor.witness.keeper_pid == Some(1) {
            // There would be nobody to go back to: with process 1 everything ends.
            return Some("mcsup is process 1 here, which is replaced by the next boot only".to_owned());
        }
        if self.engine.overview().is_stopping {
            return Some("everything is being stopped".to_owned());
        }
        if !self.executor.road.is_idle() {
            return Some("a change is under way; `mcsup status` shows when it is over".to_owned());
        }
        None
    }

    /// The keeper's word about an executable, or that it could not become it after all.
    pub(crate) fn rehearsed(&mut self, number: u32, version: String, trouble: Option<String>) {
        let to = version;
        match (std::mem::take(&mut self.replacing), trouble.or_else(|| self.obstacle())) {
            (Replacing::Rehearsing(reply), Some(why)) => {
                self.tell_given_up(number, to, &why);
                drop(reply.send(Err(why)));
            }
            (Replacing::Rehearsing(reply), None) => {
                let rehearsed = Rehearsed { number, from: version::text().to_owned(), to: to.clone() };
                drop(reply.send(Ok(rehearsed)));
                self.executor.send(&Order::Replace, &[]);
                self.replacing = Replacing::StandingBy { number, to };
            }
            (Replacing::No | Replacing::StandingBy { .. }, Some(why)) => self.tell_given_up(number, to, &why),
            (other @ (Replacing::No | Replacing::StandingBy { .. }), None) => self.replacing = other,
        }
    }

    pub(crate) fn is_standing_by(&self) -> bool {
        matches!(self.replacing, Replacing::StandingBy { .. })
    }

    /// Begins nothing and decides nothing until the keeper hangs up, says that it could not, or dies. What it says
    /// meanwhile is in its table as well; it is heard if this supervisor goes on.
    pub(crate) async fn stand_by(&mut self) -> ControlFlow<()> {
        self.executor.flush();
        loop {
            // Whoever asked has the answer before anything else.
            tokio::task::yield_now().await;
            match self.executor.link.receive() {
                Incoming::Reports(reports) => {
                    let is_over =
                        reports.iter().any(|(report, _)| matches!(report, Report::Rehearsed { .. }));
                    self.early.extend(reports);
                    if is_over {
                        return ControlFlow::Continue(());
                    }
                }
                Incoming::Lost(error) => return self.relieved(error).await,
                Incoming::Nothing => {
                    let Self { executor, succession, .. } = self;
                    tokio::select! {
                        biased;
                        result = executor.link.readable() => drop(result),
                        () = succession.keeper_gone() => {
                            return self.relieved(io::ErrorKind::UnexpectedEof.into()).await;
                        }
                        result = executor.link.writable(), if executor.link.has_unsent() => {
                            drop(result);
                            self.executor.flush();
                        }
                    }
                }
            }
        }
    }

    /// Another one begins where this one ends; or the keeper died in becoming another, and this one goes on with a
    /// keeper of its own.
    async fn relieved(&mut self, error: io::Error) -> ControlFlow<()> {
        if !self.succession.keeper_died().await {
            return ControlFlow::Break(());
        }
        self.executor.lost.get_or_insert(error);
        if let Replacing::StandingBy { number, to } = std::mem::take(&mut self.replacing) {
            self.tell_given_up(number, to, "it died before it had taken over");
        }
        ControlFlow::Continue(())
    }

    fn tell_given_up(&mut self, number: u32, to: String, why: &str) {
        let (from, trouble) = (version::text().to_owned(), Some(why.to_owned()));
        self.replacement = Some(Replacement { number, from, to, trouble, is_news: false });
        self.tell_replacement();
    }

    /// After a handover, to the people in front.
    pub(crate) fn tell_replacement(&mut self) {
        let Some(last) = &self.replacement else { return };
        let text = told(last);
        let notice = Notice { kind: NoticeKind::Announced, unit: None, incident: None, text };
        self.executor.notice(clock::now(), notice);
    }
}

/// For people.
pub fn told(last: &Replacement) -> String {
    let Replacement { from, to, trouble, .. } = last;
    let other = if to.is_empty() { "the other executable".to_owned() } else { format!("version {to}") };
    match trouble {
        None => format!("mcsup {from} was replaced by {to}; services go on"),
        Some(why) => format!("mcsup {from} goes on: {other} was given up: {why}"),
    }
}

/// `mcsup __rehearse ARGUMENTS`: reads the image that another executable wrote, and what it needs of the disk, as if
/// it were to take over; touches nothing, and prints what it understood.
pub fn rehearse() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(2).collect();
    let told = Settings::from_arguments(&arguments)
        .ok_or_else(|| "the arguments of the supervisor make no sense".to_owned())
        .and_then(|settings| understand(&settings.home.state));
    match told {
        Ok(digest) => {
            #[expect(clippy::print_stdout, reason = "the answer to the keeper that started this")]
            {
                println!("{REHEARSED}{digest:016x} {}", version::text());
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            #[expect(clippy::print_stderr, reason = "as above")]
            {
                eprintln!("{why}");
            }
            ExitCode::FAILURE
        }
    }
}

fn understand(state: &Path) -> Result<u64, String> {
    let file = inherited(IMAGE_FD).map_err(|errno| format!("there is no image: {errno}"))?;
    let image = Image::read(file)?;
    let pairs = image.notes();
    let seal = pairs.iter().find_map(|(key, value)| notes::decode_accepted(key, value));
    if seal.is_none() && pairs.is_empty() {
        // Nothing was begun yet.
        return Ok(image.digest());
    }
    let accepted = loading::accepted(state, seal).ok_or_else(|| {
        "cannot read the units that are in force, as they are kept in the state directory".to_owned()
    })?;
    for (key, value) in &pairs {
        if !notes::is_whole(key) && notes::decode(key, value, &accepted.set).is_none() {
            return Err(format!("cannot read what is remembered as {}", String::from_utf8_lossy(key)));
        }
    }
    Ok(image.digest())
}
