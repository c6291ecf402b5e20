//! A keeper as an image, and out of one again.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::keeper::args::Arguments;
use crate::keeper::clock::Patience;
use crate::keeper::enclosure::Enclosure;
use crate::keeper::holdings::{Holding, Main, Role, Tidings};
use crate::keeper::image::{
    BarrierImage, Blob, EndedImage, Image, Kept, MainImage, Number, RoleImage, SeenImage, SlotImage,
    TidingsImage,
};
use crate::keeper::notify::Barrier;
use crate::keeper::process::Process;
use crate::keeper::pump::Source;
use crate::keeper::reap::SWEEP_FIRST;
use crate::keeper::replace::{Former, Stage};
use crate::keeper::run::{Keeper, Watch};
use crate::keeper::spawn::Context;
use crate::keeper::sys::{self, Ended, OomScore};
use crate::keeper::table::Table;
use crate::keeper::version;
use crate::keeper::wire::{Limit, LogOrder, Replacement};

/// What an executable is given by the one whose place it takes.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) image: Image,
    /// `None`: it is the one of before itself, and goes on.
    pub(super) former: Option<OwnedFd>,
    /// Why it goes on.
    pub(super) trouble: Option<String>,
}

/// The descriptors that an image names.
#[derive(Default)]
struct Handed<'a>(Vec<BorrowedFd<'a>>);

impl<'a> Handed<'a> {
    fn add(&mut self, descriptor: &'a OwnedFd) -> Number {
        self.0.push(descriptor.as_fd());
        Some(descriptor.as_raw_fd())
    }

    fn any(&mut self, descriptor: Option<&'a OwnedFd>) -> Number {
        descriptor.and_then(|descriptor| self.add(descriptor))
    }

    fn shared(&mut self, descriptor: Option<&'a Arc<OwnedFd>>) -> Number {
        descriptor.and_then(|descriptor| self.add(descriptor))
    }
}

impl Keeper {
    /// All but what the pump has in hand, with every descriptor that it names.
    pub(super) fn image(&self, to: String) -> (Image, Vec<BorrowedFd<'_>>) {
        let mut handed = Handed::default();
        let Arguments { lock, listener, attach, supervisor, cgroup, shutdown_ms, patience, .. } =
            &self.arguments;
        let slots = self.holdings.iter().filter(|(_, holding)| holding.role != Role::Rehearsal);
        let slots = slots.map(|(slot, holding)| {
            let is_lingering = self.holdings.lingering.contains(&slot);
            slot_image(slot, holding, is_lingering, &mut handed)
        });
        let slots = slots.collect();
        let listening = self.store.all_listening().map(|(key, socket)| Kept {
            key: key.clone(),
            name: String::new(),
            descriptor: handed.add(socket),
        });
        let listening = listening.collect();
        let stored = self.store.all_stored().map(|(unit, name, descriptor)| Kept {
            key: unit.to_owned(),
            name: name.to_owned(),
            descriptor: handed.add(descriptor),
        });
        let stored = stored.collect();
        let barriers = self.barriers.iter().map(|barrier| BarrierImage {
            run: barrier.run,
            after: barrier.after,
            descriptor: handed.add(&barrier.waited_for),
        });
        let barriers = barriers.collect();
        let (restarts, deaths) = self.supervisor.troubles();
        let image = Image {
            from: version::text().to_owned(),
            to,
            path: Blob(self.replacing.path.as_os_str().as_bytes().to_vec()),
            lock: handed.any(lock.as_ref()),
            listener: handed.any(listener.as_ref()),
            attach: handed.any(attach.as_ref()),
            supervisor: supervisor.as_ref().map(|path| Blob(path.as_bytes().to_vec())),
            cgroup: cgroup.as_deref().map(blob),
            shutdown_ms: *shutdown_ms,
            patience: patience.divisor,
            nofile: (self.context.nofile.soft, self.context.nofile.hard),
            oom_score: Blob(self.context.oom_score.text.clone()),
            link: self.link.as_ref().map(|link| {
                handed.0.push(link.as_fd());
                link.as_raw_fd()
            }),
            restarts,
            deaths,
            replacement: self.table.replacement.clone(),
            tries: self.replacing.tries,
            table: self.table.image(),
            last_slot: self.holdings.last_slot(),
            slots,
            listening,
            stored,
            barriers,
            pump: crate::keeper::image::PumpImage::default(),
        };
        (image, handed.0)
    }

    /// Goes on where the executable before us stopped. Nothing is started before all of it is in place.
    ///
    /// # Errors
    /// When a descriptor did not come along, or the kernel refuses to watch it.
    pub(super) fn resume(&mut self, given: Given, link: Option<OwnedFd>, now: u64) -> io::Result<()> {
        let Given { image, former, trouble } = given;
        let number = image.tries;
        self.replacing.tries = number;
        self.table = Table::of_image(image.table);
        let own = version::text().to_owned();
        let (from, to) = match &trouble {
            None => (image.from.clone(), own),
            // On a way back: whoever of the two is not us was given up, if it wrote an image at all.
            Some(_) if image.from == own => (own, image.to),
            Some(_) => (own, image.from.clone()),
        };
        self.table.replacement = Some(Replacement { number, from, to, trouble, is_news: true });
        self.supervisor.had_troubles(image.restarts, &image.deaths);
        self.pump.resume(&image.pump);
        for Kept { key, descriptor, .. } in image.listening {
            self.store.hold(key, taken(descriptor)?);
        }
        for Kept { key, name, descriptor } in image.stored {
            self.store.store(&key, &name, vec![taken(descriptor)?]);
        }
        for BarrierImage { run, after, descriptor } in image.barriers {
            self.barriers.push(Barrier { run, after, waited_for: taken(descriptor)? });
        }
        let channels: BTreeMap<u64, (bool, bool)> =
            image.pump.channels.iter().map(|one| (one.key, (one.has_written, one.is_spoiled))).collect();
        for slot in image.slots {
            self.resume_slot(slot, &channels, now)?;
        }
        for (Blob(dir), Blob(bytes)) in image.pump.held {
            self.pump.hold(String::new(), &dir.into(), bytes);
        }
        if !self.holdings.lingering.is_empty() {
            self.sweep_at(now, SWEEP_FIRST);
        }
        let former = former.map(|executable| Former { executable, version: image.from });
        self.replacing.stage = Stage::Relieving { former };
        // From here on nobody can mistake us for the one of before.
        drop(link);
        // What it had asked for by helpers, the next supervisor asks again.
        self.disconnect();
        self.relieve(now);
        Ok(())
    }

    fn resume_slot(
        &mut self,
        image: SlotImage,
        channels: &BTreeMap<u64, (bool, bool)>,
        now: u64,
    ) -> io::Result<()> {
        let (slot, is_lingering) = (image.slot, image.is_lingering);
        let holding = holding_of(image)?;
        let (role, output, kept) = (holding.role, holding.output.clone(), holding.kept.clone());
        self.resume_watch(slot, holding, now);
        if is_lingering {
            self.linger(slot);
        }
        match role {
            Role::Run(run) => {
                if let (Some(pipe), Some((unit, log))) = (output, self.table.log_of(run)) {
                    self.resume_pump(slot, unit, log, pipe, kept, channels);
                }
            }
            Role::Supervisor => self.supervisor.is_of_before(slot),
            Role::Disowned | Role::Stillborn | Role::Rehearsal => {}
        }
        Ok(())
    }

    fn resume_watch(&mut self, slot: u64, holding: Holding, now: u64) {
        // Its end was waited for: it shows for ever, and is known.
        let is_over = holding.ended.is_some();
        let main = holding.main().map(|main| (Arc::clone(&main.pidfd), main.is_first_gone));
        let (pidfd, status) = (Arc::clone(&holding.pidfd), holding.status.clone());
        self.holdings.add_at(slot, holding);
        let is_first_gone = main.as_ref().is_some_and(|(_, is_gone)| *is_gone);
        if !is_over && !is_first_gone {
            self.watch_slot(&pidfd, slot, Watch::Pidfd, now);
        }
        if let (Some((main, _)), false) = (main, is_over) {
            self.watch_slot(&main, slot, Watch::Main, now);
        }
        if let Some(status) = status {
            self.watch_slot(&status, slot, Watch::Status, now);
        }
        self.watch_tidings(slot, now);
    }

    fn resume_pump(
        &self,
        key: u64,
        unit: String,
        log: LogOrder,
        pipe: Arc<OwnedFd>,
        kept: Option<Arc<OwnedFd>>,
        channels: &BTreeMap<u64, (bool, bool)>,
    ) {
        let of = |key| channels.get(&key).copied();
        let kept_key = crate::keeper::pump::kept_key(key);
        let (own, apart) = (of(key), of(kept_key));
        if own.is_none() && apart.is_none() {
            // Every writer was gone.
            return;
        }
        let has_written = own.or(apart).is_some_and(|(has_written, _)| has_written)
            || apart.is_some_and(|(has_written, _)| has_written);
        let is_spoiled = apart.is_some_and(|(_, is_spoiled)| is_spoiled);
        self.pump.add(Source { key, unit, log, pipe, kept, is_adopted: true, has_written, is_spoiled });
    }
}

/// The arguments of before, as far as they are not in the words that we were started with.
///
/// # Errors
/// When a descriptor did not come along.
pub(super) fn arguments(image: &Image, supervisor_arguments: Vec<OsString>) -> io::Result<Arguments> {
    let any = |number: Number| number.map(|number| taken(Some(number))).transpose();
    Ok(Arguments {
        lock: any(image.lock)?,
        listener: any(image.listener)?,
        adopted_link: None,
        attach: any(image.attach)?,
        supervisor: image.supervisor.as_ref().map(|Blob(path)| OsString::from_vec(path.clone())),
        cgroup: image.cgroup.as_ref().map(path_of),
        shutdown_ms: image.shutdown_ms,
        patience: Patience { divisor: image.patience },
        init_again: Vec::new(),
        supervisor_arguments,
        resume: None,
    })
}

pub(super) fn context(image: &Image, resource: u32) -> Context {
    let (soft, hard) = image.nofile;
    let oom_score = OomScore { text: image.oom_score.0.clone(), is_required: false };
    Context { nofile: Limit { resource, soft, hard }, oom_score }
}

pub(super) fn path(image: &Image) -> PathBuf {
    path_of(&image.path)
}

fn path_of(bytes: &Blob) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.0.clone()))
}

fn blob(path: &Path) -> Blob {
    Blob(path.as_os_str().as_bytes().to_vec())
}

/// Becomes the executable of before again: this one cannot go on. Comes back only when that fails too.
pub(super) fn turn_back(
    image: i32,
    former: i32,
    why: &str,
    init_again: &[OsString],
    supervisor_arguments: &[OsString],
) -> io::Error {
    let number = image.to_string();
    let words = ["mcsup", crate::keeper::VERB, "--resume-fd", &number, "--trouble", why].map(OsString::from);
    let again = init_again.iter().flat_map(|word| ["--init-again".into(), word.clone()]);
    let words: Vec<OsString> = words.into_iter().chain(again).chain(["--".into()]).collect();
    let text = |word: &OsString| CString::new(word.as_bytes()).map_err(io::Error::from);
    let argv = words.iter().chain(supervisor_arguments).map(text).collect::<Result<_, _>>();
    let env = crate::keeper::replace::environment();
    match (argv, env) {
        (Ok(argv), Ok(env)) => match sys::borrowed_copy(former) {
            Ok(former) => sys::become_executable(former.as_fd(), argv, env).into(),
            Err(errno) => errno.into(),
        },
        (Err(error), _) | (_, Err(error)) => error,
    }
}

fn taken(number: Number) -> io::Result<OwnedFd> {
    let number = number.ok_or_else(|| io::Error::other("a descriptor is not named"))?;
    sys::take(number).map_err(|errno| {
        io::Error::other(format!("descriptor {number} did not come along: {}", io::Error::from(errno)))
    })
}

fn shared(number: Number) -> io::Result<Option<Arc<OwnedFd>>> {
    number.map(|number| taken(Some(number)).map(Arc::new)).transpose()
}

fn slot_image<'a>(slot: u64, holding: &'a Holding, is_lingering: bool, handed: &mut Handed<'a>) -> SlotImage {
    SlotImage {
        slot,
        role: match holding.role {
            Role::Run(run) => RoleImage::Run { run },
            Role::Disowned | Role::Rehearsal => RoleImage::Disowned,
            Role::Stillborn => RoleImage::Stillborn,
            Role::Supervisor => RoleImage::Supervisor,
        },
        pid: holding.pid,
        pidfd: handed.add(&holding.pidfd),
        status: handed.shared(holding.status.as_ref()),
        output: handed.shared(holding.output.as_ref()),
        kept: handed.shared(holding.kept.as_ref()),
        tidings: holding.tidings.as_deref().map(|tidings| TidingsImage {
            unit: tidings.unit.clone(),
            uid: tidings.uid,
            notify: handed.shared(tidings.notify.as_ref()),
            ready: handed.shared(tidings.ready.as_ref()),
            main: tidings.main.as_ref().map(|main| MainImage {
                pid: main.pid,
                pidfd: handed.add(&main.pidfd),
                ended: main.ended.map(ended_image),
                is_first_gone: main.is_first_gone,
            }),
        }),
        tag: holding.tag.clone(),
        is_child: holding.is_child,
        reaper: holding.reaper,
        exec_by: holding.exec_by,
        kill_at: holding.kill_at,
        ended: holding.ended.map(ended_image),
        tell_at: holding.tell_at,
        is_group_gone: holding.is_group_gone,
        seen: holding.seen.iter().map(seen_image).collect(),
        is_doomed: holding.is_doomed,
        is_lingering,
        waited: holding.waited.map(ended_image),
        cgroup: holding.enclosure.as_ref().map(|enclosure| blob(enclosure.directory())),
    }
}

fn holding_of(image: SlotImage) -> io::Result<Holding> {
    let main = |main: MainImage| {
        let (pid, is_first_gone, ended) = (main.pid, main.is_first_gone, main.ended.map(ended_of));
        io::Result::Ok(Main { pid, pidfd: Arc::new(taken(main.pidfd)?), ended, is_first_gone })
    };
    let tidings = |tidings: TidingsImage| {
        io::Result::Ok(Box::new(Tidings {
            unit: tidings.unit,
            uid: tidings.uid,
            notify: shared(tidings.notify)?,
            ready: shared(tidings.ready)?,
            main: tidings.main.map(main).transpose()?,
        }))
    };
    Ok(Holding {
        role: match image.role {
            RoleImage::Run { run } => Role::Run(run),
            RoleImage::Disowned => Role::Disowned,
            RoleImage::Stillborn => Role::Stillborn,
            RoleImage::Supervisor => Role::Supervisor,
        },
        pid: image.pid,
        pidfd: Arc::new(taken(image.pidfd)?),
        status: shared(image.status)?,
        output: shared(image.output)?,
        kept: shared(image.kept)?,
        tidings: image.tidings.map(tidings).transpose()?,
        tag: image.tag,
        is_child: image.is_child,
        reaper: image.reaper,
        exec_by: image.exec_by,
        kill_at: image.kill_at,
        ended: image.ended.map(ended_of),
        tell_at: image.tell_at,
        is_group_gone: image.is_group_gone,
        seen: image.seen.into_iter().map(seen_of).collect(),
        is_doomed: image.is_doomed,
        waited: image.waited.map(ended_of),
        // One that went meanwhile encloses nobody.
        enclosure: image.cgroup.and_then(|directory| Enclosure::open(path_of(&directory)).ok()).map(Box::new),
    })
}

fn ended_image(ended: Ended) -> EndedImage {
    EndedImage { pid: ended.pid, exit: ended.exit, usage: ended.usage }
}

fn ended_of(image: EndedImage) -> Ended {
    Ended { pid: image.pid, exit: image.exit, usage: image.usage }
}

fn seen_image(seen: &Process) -> SeenImage {
    let Process { pid, parent, group, session, start_time, is_zombie } = *seen;
    SeenImage { pid, parent, group, session, start_time, is_zombie }
}

fn seen_of(image: SeenImage) -> Process {
    let SeenImage { pid, parent, group, session, start_time, is_zombie } = image;
    Process { pid, parent, group, session, start_time, is_zombie }
}

/// Of an image that was handed on, for whoever becomes the keeper.
pub(super) fn link(image: &Image) -> io::Result<Option<OwnedFd>> {
    image.link.map(|number| taken(Some(number))).transpose()
}
