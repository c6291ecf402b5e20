//! Where things live: units, state, run and log directories of one instance.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::aside::files::{replace, unless_full};
use crate::supervisor::hash::{fnv, fold};
use crate::supervisor::socket::connect;

/// The four directories of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub units: PathBuf,
    pub state: PathBuf,
    pub run: PathBuf,
    pub log: PathBuf,
}

/// Why a home cannot be used, in words for the person who typed the command.
#[derive(Debug)]
pub enum HomeError {
    /// Neither root nor a user with a home directory.
    Homeless,
    NoUnits {
        units: PathBuf,
        cause: io::Error,
    },
    /// The state directory was made for another units directory.
    OtherUnits {
        state: PathBuf,
        recorded: PathBuf,
        asked: PathBuf,
    },
    Io {
        verb: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
}

impl HomeError {
    /// A disk that takes nothing.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Io { cause, .. } => cause.kind() == io::ErrorKind::ReadOnlyFilesystem,
            Self::Homeless | Self::NoUnits { .. } | Self::OtherUnits { .. } => false,
        }
    }
}

/// Why a client does not know whom to talk to.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens at the default socket, and no instance lives.
    NobodyLives {
        tried: PathBuf,
    },
    /// Several instances live: one must be named.
    Several(Vec<Home>),
    Homeless,
}

/// The parts of the surroundings that choose directories; its own type so that tests need no environment.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub is_root: bool,
    pub mcsup_home: Option<PathBuf>,
    pub home: Option<PathBuf>,
    pub config_home: Option<PathBuf>,
    pub state_home: Option<PathBuf>,
    pub runtime_dir: Option<PathBuf>,
}

impl Surroundings {
    pub fn read() -> Self {
        let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            is_root: rustix::process::geteuid().is_root(),
            mcsup_home: env::var_os("MCSUP_HOME").filter(|text| !text.is_empty()).map(PathBuf::from),
            home: absolute("HOME"),
            config_home: absolute("XDG_CONFIG_HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
        }
    }
}

impl Home {
    /// Tells instances on one machine apart, by their state directories.
    pub fn number(&self) -> u64 {
        fnv(self.state.as_os_str().as_bytes())
    }

    /// What `mcsup up [DIR]` runs on. `home` is `--home`; it wins over `MCSUP_HOME`.
    ///
    /// # Errors
    /// When there is no units directory, or no home to derive one from.
    pub fn for_up(
        around: &Surroundings,
        home: Option<&Path>,
        units: Option<&Path>,
    ) -> Result<Self, HomeError> {
        let base = Self::chosen(around, home).ok_or(HomeError::Homeless)?;
        let named_by_dir = home.is_none() && around.mcsup_home.is_none();
        let Some(asked) = units else {
            let units = Found::units(&base.units)?.named;
            return Ok(Self { units, ..base });
        };
        let found = Found::units(asked)?;
        let is_default = fs::canonicalize(&base.units).is_ok_and(|default| default == found.real);
        if named_by_dir && !is_default {
            Ok(base.instance(found))
        } else {
            Ok(Self { units: found.named, ..base })
        }
    }

    /// What process 1 runs on: as [`Self::for_up`], but a units directory may be missing where nobody named it on the
    /// command line. The generation that held last is better than no machine.
    ///
    /// # Errors
    /// As `for_up`.
    pub fn for_init(
        around: &Surroundings,
        home: Option<&Path>,
        units: Option<&Path>,
    ) -> Result<Self, HomeError> {
        match Self::for_up(around, home, units) {
            Err(HomeError::NoUnits { units: missing, cause }) if units.is_none() => {
                let base = Self::chosen(around, home).ok_or(HomeError::Homeless)?;
                let has_generations = base.state.join("generations").is_dir();
                if has_generations { Ok(base) } else { Err(HomeError::NoUnits { units: missing, cause }) }
            }
            other => other,
        }
    }

    /// The same with state and log beside the control socket, where nothing outlives the machine: for disks that are
    /// read-only.
    #[must_use]
    pub fn in_memory(self) -> Self {
        Self { state: self.run.join("state"), log: self.run.join("log"), ..self }
    }

    /// Whom a client talks to: the home it was given, else the default one, else the only instance that answers.
    ///
    /// # Errors
    /// When nobody answers, or several do and none was named.
    pub fn for_client(around: &Surroundings, home: Option<&Path>) -> Result<Self, ClientError> {
        if let Some(named) = Self::named(around, home) {
            return Ok(named);
        }
        let default = Self::default_for(around).ok_or(ClientError::Homeless)?;
        if connect(&default.socket()).is_ok() {
            return Ok(default);
        }
        let mut alive = default.instances();
        alive.retain(|instance| connect(&instance.socket()).is_ok());
        match (alive.pop(), alive.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                alive.push(last);
                Err(ClientError::Several(alive))
            }
            (None, _) => Err(ClientError::NobodyLives { tried: default.socket() }),
        }
    }

    /// The one that is named, else the default one.
    pub fn chosen(around: &Surroundings, home: Option<&Path>) -> Option<Self> {
        Self::named(around, home).or_else(|| Self::default_for(around))
    }

    fn named(around: &Surroundings, home: Option<&Path>) -> Option<Self> {
        let home = home.or(around.mcsup_home.as_deref())?;
        Some(Self::under(&std::path::absolute(home).unwrap_or_else(|_nowhere| home.to_path_buf())))
    }

    /// All four directories under one.
    pub fn under(home: &Path) -> Self {
        Self {
            units: home.join("units"),
            state: home.join("state"),
            run: home.join("run"),
            log: home.join("log"),
        }
    }

    /// The system's directories for root, the XDG ones for others.
    pub fn default_for(around: &Surroundings) -> Option<Self> {
        if around.is_root {
            return Some(Self {
                units: "/etc/mcsup/units".into(),
                state: "/var/lib/mcsup".into(),
                run: "/run/mcsup".into(),
                log: "/var/log/mcsup".into(),
            });
        }
        let under_home = |rest: &str| around.home.as_ref().map(|home| home.join(rest));
        let config = around.config_home.clone().or_else(|| under_home(".config"))?;
        let state = around.state_home.clone().or_else(|| under_home(".local/state"))?.join("mcsup");
        let run = around.runtime_dir.as_ref().map_or_else(|| state.join("run"), |dir| dir.join("mcsup"));
        Some(Self { units: config.join("mcsup/units"), log: state.join("log"), run, state })
    }

    /// The units directory that this state was made for; else the one that it would be made for.
    pub fn units_in_use(&self) -> PathBuf {
        recorded_units(&self.state).unwrap_or_else(|| self.units.clone())
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("mcsup.sock")
    }

    /// mcsup's own log.
    pub fn own_log(&self) -> PathBuf {
        self.log.join("mcsup.log")
    }

    /// True for the instance that `mcsup up` without arguments runs: its units' working directory is `/`.
    pub fn is_default(&self, around: &Surroundings) -> bool {
        Self::default_for(around).is_some_and(|default| default.state == self.state)
    }

    /// State, run and log of an instance that is named by its units directory.
    fn instance(self, units: Found) -> Self {
        let name = instance_name(&units.real);
        Self {
            state: self.state.join(INSTANCES).join(&name),
            run: self.run.join(INSTANCES).join(&name),
            log: self.log.join(INSTANCES).join(&name),
            units: units.named,
        }
    }

    /// Every instance that ever ran beside this default home and has a run directory.
    fn instances(&self) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(self.run.join(INSTANCES)) else { return Vec::new() };
        let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        let instance = |name: OsString| {
            let state = self.state.join(INSTANCES).join(&name);
            Self {
                units: recorded_units(&state).unwrap_or_default(),
                run: self.run.join(INSTANCES).join(&name),
                log: self.log.join(INSTANCES).join(&name),
                state,
            }
        };
        names.into_iter().map(instance).collect()
    }

    /// Makes what is missing and binds the state directory to its units directory.
    ///
    /// # Errors
    /// When a directory cannot be made, or the state belongs to another units directory.
    pub fn prepare(&self) -> Result<(), HomeError> {
        for (path, mode) in [(&self.state, 0o700), (&self.run, 0o755), (&self.log, 0o750)] {
            fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|cause| HomeError::Io {
                verb: "make",
                path: path.clone(),
                cause,
            })?;
        }
        match recorded_units(&self.state) {
            Some(recorded) if is_same_directory(&recorded, &self.units) => Ok(()),
            Some(recorded) => {
                Err(HomeError::OtherUnits { state: self.state.clone(), recorded, asked: self.units.clone() })
            }
            None => {
                let path = self.state.join(UNITS_RECORD);
                unless_full(replace(&path, self.units.as_os_str().as_bytes()))
                    .map_err(|cause| HomeError::Io { verb: "write", path, cause })
            }
        }
    }
}

/// A units directory that is there.
struct Found {
    /// As it was named. Links in it are followed each time anew: who swaps one gives mcsup other units.
    named: PathBuf,
    /// Where the links lead now. Whoever names one directory in two ways means one instance.
    real: PathBuf,
}

impl Found {
    fn units(units: &Path) -> Result<Self, HomeError> {
        let no_units = |cause| HomeError::NoUnits { units: units.to_path_buf(), cause };
        let real = fs::canonicalize(units).map_err(no_units)?;
        if !real.is_dir() {
            return Err(no_units(io::ErrorKind::NotADirectory.into()));
        }
        // Without a slash at its end and dots, in which the same path may differ.
        let named = std::path::absolute(units).map_err(no_units)?.components().collect();
        Ok(Self { named, real })
    }
}

fn is_same_directory(recorded: &Path, asked: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    recorded == asked || real(recorded).is_some_and(|recorded| Some(recorded) == real(asked))
}

fn recorded_units(state: &Path) -> Option<PathBuf> {
    let bytes = fs::read(state.join(UNITS_RECORD)).ok().filter(|bytes| !bytes.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(&bytes)))
}

/// A stem that people recognise and a hash that keeps two directories of one name apart.
fn instance_name(units: &Path) -> String {
    let last = units.file_name().unwrap_or_default().to_string_lossy();
    let stem: String = last
        .chars()
        .take(32)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' })
        .collect();
    format!("{stem}-{:08x}", fold(fnv(units.as_os_str().as_bytes())))
}

const INSTANCES: &str = "instances";
const UNITS_RECORD: &str = "units-directory";

impl fmt::Display for HomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Homeless => f.write_str(
                "cannot choose directories: neither root nor a HOME\nhelp: give one with --home DIR",
            ),
            Self::NoUnits { units, cause } => write!(
                f,
                "cannot read units directory {}: {cause}\nhelp: name one: mcsup up DIR",
                units.display()
            ),
            Self::OtherUnits { state, recorded, asked } => write!(
                f,
                "cannot run {}: the state in {} belongs to the units directory {}\nhelp: give each its own --home DIR",
                asked.display(),
                state.display(),
                recorded.display()
            ),
            Self::Io { verb, path, cause } => write!(f, "cannot {verb} {}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for HomeError {}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyLives { tried } => write!(
                f,
                "no supervisor answers at {}\nhelp: start one with `mcsup up DIR`, or name its home with --home DIR",
                tried.display()
            ),
            Self::Several(homes) => {
                f.write_str("several supervisors live; name one, as in `mcsup --home DIR status`:")?;
                homes.iter().try_for_each(|home| {
                    write!(f, "\n  {}  ({})", home.socket().display(), home.units.display())
                })
            }
            Self::Homeless => f.write_str(
                "cannot choose a supervisor: neither root nor a HOME\nhelp: name its home with --home DIR",
            ),
        }
    }
}

impl std::error::Error for ClientError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = env::temp_dir().join(format!("mcsup-home-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(dir.join("units")).unwrap();
        fs::canonicalize(dir).unwrap()
    }

    #[test]
    fn a_directory_that_is_not_the_default_gets_an_instance_of_its_own() {
        let dir = scratch("instance");
        let around = Surroundings { home: Some(dir.clone()), ..Surroundings::default() };
        let home = Home::for_up(&around, None, Some(&dir.join("units"))).unwrap();
        assert!(home.state.starts_with(dir.join(".local/state/mcsup/instances")));
        assert!(home.state.file_name().unwrap().to_string_lossy().starts_with("units-"));
        assert!(!home.is_default(&around));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_home_holds_all_four_and_takes_units_from_elsewhere_when_told() {
        let dir = scratch("home");
        let around = Surroundings { mcsup_home: Some(dir.join("h")), ..Surroundings::default() };
        let home = Home::for_up(&around, None, Some(&dir.join("units"))).unwrap();
        assert_eq!(home, Home { units: dir.join("units"), ..Home::under(&dir.join("h")) });
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_units_directory_that_is_a_link_stays_the_same_when_the_link_is_swapped() {
        let dir = scratch("link");
        fs::create_dir_all(dir.join("other")).unwrap();
        let swap = |target: &str| {
            drop(fs::remove_file(dir.join("link")));
            std::os::unix::fs::symlink(target, dir.join("link")).unwrap();
        };
        let around = Surroundings { mcsup_home: Some(dir.join("h")), ..Surroundings::default() };
        let up = || Home::for_up(&around, None, Some(&dir.join("link/./"))).unwrap();
        swap("units");
        assert_eq!(up().units, dir.join("link"));
        up().prepare().unwrap();
        swap("other");
        up().prepare().unwrap();
        // Which is what it is now.
        Home { units: dir.join("other"), ..up() }.prepare().unwrap();
        assert!(matches!(
            Home { units: dir.join("units"), ..up() }.prepare(),
            Err(HomeError::OtherUnits { .. })
        ));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_state_directory_refuses_another_units_directory() {
        let dir = scratch("refuses");
        fs::create_dir_all(dir.join("other")).unwrap();
        let first = Home { units: dir.join("units"), ..Home::under(&dir) };
        first.prepare().unwrap();
        first.prepare().unwrap();
        let second = Home { units: dir.join("other"), ..Home::under(&dir) };
        assert!(matches!(second.prepare(), Err(HomeError::OtherUnits { .. })));
        fs::remove_dir_all(dir).unwrap();
    }
}
