//! How a supervisor comes to life: descriptors, log, units, what outlived the last one, then the loop.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::aside::wall_millis;
use crate::engine::event::{Event, HandedChange};
use crate::engine::{BugPolicy, Engine, Options};
use crate::keeper::wire::{Order, VERSION};
use crate::keeper::{give_memory_back, inherited, make_room_for_descriptors, use_little_memory};
use crate::supervisor::cgroups::{self, Cgroups};
use crate::supervisor::change::begun::{Begun, UnderWay};
use crate::supervisor::change::candidate::paths_of;
use crate::supervisor::change::road::{Road, Where};
use crate::supervisor::change::seen::Seen;
use crate::supervisor::chronicle::{self, Beginning, Chronicle};
use crate::supervisor::clock::{self, Alarm, WallAlarm};
use crate::supervisor::descriptors;
use crate::supervisor::display::Display;
use crate::supervisor::evidence::{EVIDENCE_THREADS, Witness};
use crate::supervisor::executor::{Executor, Told};
use crate::supervisor::gates::GATE_THREADS;
use crate::supervisor::handle::Handle;
use crate::supervisor::handover::{Legacy, Takeover};
use crate::supervisor::hash::fnv;
use crate::supervisor::home::Home;
use crate::supervisor::identity::Epoch;
use crate::supervisor::jobs::{self, OUTPUT_THREADS};
use crate::supervisor::journal::{Journal, Recorded};
use crate::supervisor::keeper_link::{Heirloom, KeeperLink};
use crate::supervisor::launch::Ground;
use crate::supervisor::loading::{self, Loaded, Render};
use crate::supervisor::notes;
use crate::supervisor::observer::Observer;
use crate::supervisor::own_log::OwnLog;
use crate::supervisor::probes::PROBE_THREADS;
use crate::supervisor::reexec::Replacing;
use crate::supervisor::run::{Api, Ending, Supervisor};
use crate::supervisor::starts::LOOKUP_THREADS;
use crate::supervisor::successor::Succession;
use crate::unit::spec::UnitSet;

/// The hidden first argument under which this binary is the supervisor.
pub const VERB: &str = "__supervisor";

/// What the supervisor takes from those above it.
#[derive(Clone, Copy, Debug)]
pub struct Face {
    pub render: Render,
    pub serve: Serve,
}

/// Answers clients until told to end, and then finishes what it has begun.
pub type Serve =
    fn(tokio::net::UnixListener, Handle, &Home, oneshot::Receiver<()>) -> Pin<Box<dyn Future<Output = ()>>>;

/// Where the keeper puts what a supervisor is born with.
const LINK_FD: i32 = 3;
const LOCK_FD: i32 = 4;
const LISTENER_FD: i32 = 5;

/// What the keeper passes on from `mcsup up` without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub home: Home,
    /// Of units that name none.
    pub working_dir: PathBuf,
    pub cgroups: Result<PathBuf, String>,
}

impl Settings {
    pub fn to_arguments(&self) -> Vec<OsString> {
        let Home { units, state, run, log } = &self.home;
        let paths = [units, state, run, log, &self.working_dir].map(|path| path.clone().into_os_string());
        paths.into_iter().chain([cgroups::to_argument(self.cgroups.clone())]).collect()
    }

    fn ground(&self, set: &Arc<UnitSet>) -> Ground {
        let Self { home, working_dir, cgroups } = self;
        let cgroups = Cgroups::new(cgroups.clone());
        Ground::new(Arc::clone(set), &home.units, working_dir.clone(), &home.log, &home.state, cgroups)
    }

    pub(crate) fn from_arguments(arguments: &[OsString]) -> Option<Self> {
        let [units, state, run, log, working_dir, rest @ ..] = arguments else { return None };
        let home = Home { units: units.into(), state: state.into(), run: run.into(), log: log.into() };
        // A keeper of the version before knows of none.
        let cgroups =
            cgroups::from_argument(rest.first().map_or_else(|| OsStr::new(""), OsString::as_os_str));
        Some(Self { home, working_dir: working_dir.into(), cgroups })
    }
}

/// `mcsup __supervisor ARGUMENTS`, as the keeper calls it.
pub fn main(face: Face) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    let Some(settings) = Settings::from_arguments(&arguments) else {
        complain("__supervisor is started by the keeper, not by people: see `mcsup up`");
        return ExitCode::from(2);
    };
    use_little_memory();
    let original_nofile = descriptors::raise_limit();
    ignore_signals();
    let (link, lock, listener) = match (inherited(LINK_FD), inherited(LOCK_FD), inherited(LISTENER_FD)) {
        (Ok(link), lock, listener) => (link, lock.ok(), listener.ok()),
        (Err(error), _, _) => {
            complain(&format!("cannot talk to the keeper: {error}"));
            return ExitCode::FAILURE;
        }
    };
    make_room_for_descriptors(&link);
    let heirloom = Heirloom { lock, listener, arguments, original_nofile };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MOST_THREADS)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .thread_stack_size(THREAD_STACK_BYTES)
        .on_thread_stop(tidier())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start the supervisor: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = LocalSet::new().block_on(&runtime, supervise(&face, &settings, link, heirloom));
    // A worker that hangs (a dead file server) must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&format!("the supervisor ends: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn supervise(face: &Face, settings: &Settings, link: OwnedFd, heirloom: Heirloom) -> io::Result<u8> {
    let began = clock::mono();
    let mut link = KeeperLink::new(link)?;
    link.send(&Order::Hello { version: VERSION, pid: std::process::id() }, &[])?;
    link.flush()?;
    // Without its own log the supervisor still supervises.
    let own_log = OwnLog::open(&settings.home.own_log());
    let mut legacy = Legacy::receive(&mut link).await?;
    let is_takeover = !legacy.is_cold();
    let seen = Seen::of(&settings.home.units);
    let read = load(face, &settings.home, is_takeover, legacy.seal()).and_then(|loaded| {
        if !is_takeover {
            legacy.recorded = Some(recorded(&settings.home.state)?);
        } else if !legacy.is_whole() {
            // Where the journal cannot be read either, the table is all there is.
            legacy.recorded = recorded(&settings.home.state).ok();
        }
        Ok(loaded)
    });
    let loaded = match read {
        Ok(loaded) => loaded,
        Err(why) => {
            complain(&why);
            link.send(&Order::CannotBegin { code: 1 }, &[])?;
            drop(tokio::time::timeout(FAREWELL, link.say_goodbye()).await);
            return Ok(1);
        }
    };
    let mut begun = if is_takeover {
        Begun::anew(&loaded, legacy.change(), legacy.seal(), &settings.home.state)
    } else {
        Begun::at_boot(&loaded)
    };
    let display = Display::new(Arc::clone(&begun.set), began, is_takeover);
    let warnings = loaded.warnings.clone();
    let sources = loaded.files.clone();
    let named: Vec<PathBuf> =
        paths_of(&begun.set).into_iter().map(|path| settings.home.units.join(&*path)).collect();
    let (is_safe_mode, committed) = (legacy.is_safe_mode, loaded.committed);
    let kept = if is_takeover {
        None
    } else {
        let state = &settings.home.state;
        // A full disk is told of by what comes next.
        drop(loaded.note_changes(state, wall_millis()));
        Some(loaded.keep(state))
    };
    legacy.accepted = kept.as_ref().and_then(|kept| kept.as_ref().ok().copied());
    if !is_takeover {
        (begun.seal, begun.generation) = (legacy.accepted, committed);
    }
    // Where nothing could be kept so far, and what runs is known.
    let is_to_be_kept = begun.generation.is_none() && !(is_takeover && sources.is_empty());
    let mut supervisor = take_over(face, settings, heirloom, link, legacy, display, begun)?;
    supervisor.watch((!is_safe_mode).then(|| seen.with_named(named)));
    supervisor.begin_changes(is_to_be_kept.then_some(sources), !is_takeover && committed.is_none());
    supervisor.tell(&warnings, own_log.as_ref().err(), kept.and_then(Result::err));
    let ending = supervisor.run().await;
    let code = match ending {
        Ending::Done(code) => {
            tracing::info!("the supervisor ends with {code}");
            supervisor.quit(code).await;
            code
        }
        Ending::MakeRoom => {
            supervisor.make_room().await;
            1
        }
    };
    drop(own_log);
    Ok(code)
}

/// A supervisor that stands where the last one fell.
fn take_over(
    face: &Face,
    settings: &Settings,
    heirloom: Heirloom,
    link: KeeperLink,
    mut legacy: Legacy,
    display: Display,
    begun: Begun,
) -> io::Result<Supervisor> {
    let set = Arc::clone(&begun.set);
    let home = &settings.home;
    let ground = Arc::new(settings.ground(&set));
    let epoch = Epoch::read();
    let (pings, news) = (std::mem::take(&mut legacy.pings), std::mem::take(&mut legacy.news));
    let (keeper_pid, is_safe_mode, restarts) = (legacy.keeper_pid, legacy.is_safe_mode, legacy.restarts);
    let accepted = legacy.accepted;
    let replacement = legacy.replacement.take();
    let mut takeover = match legacy.recorded.take() {
        Some(recorded) => from_journal(&recorded, &ground, epoch),
        None => Takeover::from_keeper(legacy, &set, epoch),
    };
    takeover.accepted = accepted;
    // As with helpers: time makes numbers that nobody on this machine has given.
    takeover.number_runs_from(clock::mono().0);
    takeover.handover.last_incident = chronicle::last_incident(&home.state);
    takeover.handover.jobs = jobs::past::read(&home.state);
    let is_replaced = replacement.as_ref().is_some_and(|last| last.is_news);
    if restarts > 0 && !is_replaced {
        let runs = takeover.handover.runs.len();
        takeover.announcements.push(format!("the supervisor was started again; {runs} runs are taken over"));
    }
    if is_safe_mode {
        takeover.announcements.push("safe mode: the supervisor died three times within a minute".to_owned());
    }
    let (outlet, inbox) = mpsc::unbounded_channel();
    let (asker, queries) = mpsc::channel(QUERIES);
    let journal = Journal::begin(&home.state, std::mem::take(&mut takeover.image));
    let observer = Observer::new(Arc::clone(&set), display, takeover.first_event);
    let beginning = Beginning::after(&takeover.handover.notes, &set, clock::now());
    let chronicle = Chronicle::begin(&home.state, Arc::clone(&set), outlet.clone(), beginning);
    let witness = Witness::new(&home.state, chronicle.archive.clone(), outlet.clone());
    let options = Options { seed: fnv(home.state.as_os_str().as_bytes()), bug_policy: BugPolicy::Record };
    let place = Where { units_dir: home.units.clone(), state: home.state.clone(), render: face.render };
    let mut road = Road::new(place, outlet.clone(), begun.generation, begun.seal);
    if let Some(UnderWay { note, other, seal }) = begun.change {
        road.take_up(&note, seal);
        takeover.handover.change = Some(Box::new(HandedChange { note, other }));
    } else if let Some(generation) = begun.unfiled {
        road.take_up_filing(generation, &set.changes);
    }
    let (definitions, in_force) = watch::channel(Arc::clone(&set));
    let api = serve_api(face, &heirloom, Handle::new(asker, in_force), home)?;
    let told = Told { observer, witness, chronicle };
    let mut supervisor = Supervisor {
        engine: Engine::new(set, options),
        executor: Executor::new(ground, link, journal, told, outlet, definitions, road),
        inbox,
        queries,
        alarm: Alarm::new()?,
        dates: WallAlarm::new()?,
        succession: Succession::new(heirloom),
        early: news.into(),
        next_request: clock::mono().0,
        interrupts: 0,
        api,
        replacing: Replacing::No,
        replacement,
    };
    supervisor.keeper_is(keeper_pid);
    for number in pings {
        supervisor.executor.send(&Order::Pong { number }, &[]);
    }
    supervisor.executor.above.ready();
    supervisor.begin(takeover);
    if is_replaced {
        supervisor.tell_replacement();
    }
    Ok(supervisor)
}

impl Supervisor {
    fn begin(&mut self, takeover: Takeover) {
        let Takeover {
            bodies,
            mut handover,
            holdings,
            adopt,
            listening,
            forget,
            announcements,
            accepted,
            ..
        } = takeover;
        let executor = &mut self.executor;
        executor.set_up();
        if let Some(seal) = accepted {
            let (key, value) = notes::encode_accepted(seal);
            executor.remember_pair(key, value);
        }
        executor.is_over_its_boot = !holdings.is_empty();
        executor.is_booted = !holdings.is_empty();
        executor.holdings.runs =
            holdings.into_iter().map(|(run, holding)| (run, Box::new(holding))).collect();
        for (order, descriptors) in adopt {
            executor.adopt(order, descriptors);
        }
        executor.inherit_sockets(listening);
        executor.say_whole();
        for run in forget {
            executor.send(&Order::Release { run }, &[]);
        }
        for text in announcements {
            executor.observer.announce(&text);
        }
        executor.sweep_streams();
        executor.inherit_bodies(bodies);
        executor.jobs.pasts.begin(handover.jobs.clone());
        // Whoever has a note has lived in this boot, and knows better.
        handover.jobs.retain(|name, _| !handover.notes.units.contains_key(name));
        self.feed(Event::KeeperConnected(Box::new(handover)));
        self.close_idle_sockets();
        // Behind all that was decided just now.
        self.executor.send(&Order::Ready, &[]);
    }

    fn tell(&mut self, warnings: &str, log_trouble: Option<&io::Error>, keep_trouble: Option<io::Error>) {
        let observer = &mut self.executor.observer;
        if !warnings.is_empty() {
            observer.announce(warnings.trim_end());
        }
        if let Some(error) = keep_trouble {
            observer.announce(&format!(
                "cannot keep the accepted units in the state directory: {error}; \
                 a supervisor that is started again reads the units directory instead"
            ));
        }
        if let Some(error) = log_trouble {
            observer.announce(&format!("cannot write mcsup.log: {error}; services are not affected"));
        }
    }
}

/// At a boot, what the directory says. At a takeover what the boot accepted, so that the death of a
/// supervisor puts no edit into effect.
fn load(face: &Face, home: &Home, is_takeover: bool, seal: Option<u64>) -> Result<Loaded, String> {
    if is_takeover && let Some(loaded) = loading::accepted(&home.state, seal) {
        return Ok(loaded);
    }
    match loading::from_directory(&home.units, face.render) {
        // Mostly one that is not mounted yet: an empty list is never trusted.
        Ok(loaded) if !is_takeover && loaded.set.units.is_empty() => {
            Ok(loading::committed(&home.state, "there is no unit file in it").unwrap_or(loaded))
        }
        Ok(loaded) if !is_takeover && let Some(number) = loading::unproven(&home.state, &loaded.files) => {
            let why = format!(
                "it is as in generation {number}, which did not hold, or that nobody has approved of"
            );
            Ok(loading::committed(&home.state, &why).unwrap_or(loaded))
        }
        Ok(loaded) if !is_takeover && let Some(why) = loading::left_alone(&home.state, &loaded.files) => {
            let why = format!("it says what was taken back, and could not be written: {why}");
            Ok(loading::committed(&home.state, &why).unwrap_or(loaded))
        }
        Ok(loaded) => Ok(loaded),
        // Services run: better to hold them unnamed than to end them.
        Err(diagnostics) if is_takeover => Ok(Loaded::nothing(&diagnostics)),
        // What held last is better than nothing at all.
        Err(diagnostics) => loading::committed(&home.state, &diagnostics).ok_or(diagnostics),
    }
}

/// What may still run from before. A journal that cannot be read leaves that open, and whoever starts
/// everything anew then starts twins.
fn recorded(state: &Path) -> Result<Recorded, String> {
    Recorded::read(state).map_err(|error| {
        format!(
            "cannot read the journal in {}: {error}; services of the last time may still run, so nothing is started\n\
             help: mend the disk; or, once nothing of them runs any more, remove the file `journal` there",
            state.display()
        )
    })
}

fn from_journal(recorded: &Recorded, ground: &Ground, epoch: Option<Epoch>) -> Takeover {
    let log_order = |unit: &str, run: u64| {
        let spec = ground.set.unit(ground.set.find(unit)?)?;
        Some(ground.log_order(spec, run))
    };
    let mut takeover = Takeover::from_journal(recorded, &ground.set, epoch, &log_order);
    if recorded.bad_lines > 0 {
        takeover.announcements.push(format!(
            "the journal has {} lines that make no sense; one may be torn by a kill, more are damage: \
             what they said is not known",
            recorded.bad_lines
        ));
    }
    takeover
}

/// The control API, on the listener that the keeper holds; without one nobody can ask, and all else works.
fn serve_api(face: &Face, heirloom: &Heirloom, handle: Handle, home: &Home) -> io::Result<Option<Api>> {
    let Some(listener) = &heirloom.listener else { return Ok(None) };
    let listener = UnixListener::from(listener.try_clone()?);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let (end, is_ending) = oneshot::channel();
    let worker = tokio::task::spawn_local((face.serve)(listener, handle, home, is_ending));
    Ok(Some(Api { end, worker }))
}

/// Gives memory back when a thread of the runtime ends. Whatever is more than routine needs such a thread: a
/// client whose rights are looked up, a probe, a capture. So this comes `THREAD_KEEP_ALIVE` after the last of
/// it, and wakes nobody for its own sake. Not more often than that: who ends sooner after another had nothing
/// to do in between.
fn tidier() -> impl Fn() + Send + Sync + 'static {
    let pause = u64::try_from(THREAD_KEEP_ALIVE.as_nanos()).unwrap_or(u64::MAX);
    let last = AtomicU64::new(0);
    move || {
        let now = clock::mono().0;
        let is_due = |last: u64| (now.saturating_sub(last) >= pause).then_some(now);
        if last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok() {
            give_memory_back();
        }
    }
}

/// Shutdown is the keeper's to hear of; whoever signals all processes of a group means us no harm.
fn ignore_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2] {
        // A flag that nobody reads: unlike an ignored signal it is not passed on through exec.
        drop(signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))));
    }
}

/// To whoever started us; there is no log yet, or nobody would look into it.
fn complain(text: &str) {
    // Nobody listens.
    drop(writeln!(io::stderr(), "mcsup: {text}"));
}

/// None of the runtime's threads lives at rest. Together what each takes at most, so that nobody ever takes one of
/// the others'.
const MOST_THREADS: usize =
    LOOKUP_THREADS + PROBE_THREADS + EVIDENCE_THREADS + GATE_THREADS + OUTPUT_THREADS + OTHER_THREADS;
/// Of the API, the journal, the outbox and the guard.
const OTHER_THREADS: usize = 10;
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(1);
const THREAD_STACK_BYTES: usize = 512 * 1024;
/// Questions that wait for the loop; more wait in their own connection.
const QUERIES: usize = 256;
const FAREWELL: Duration = Duration::from_secs(5);
