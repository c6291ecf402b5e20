//! The cgroups of units, as far as this machine has any for us: what can be limited, and what was used.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::cgroup::{self, Controllers};
use crate::engine::event::SpawnStep;
use crate::keeper::wire::CgroupOrder;
use crate::supervisor::lookup::Miss;
use crate::unit::spec::UnitSpec;
use crate::unit::spec::confinement::Bounds;

pub use crate::cgroup::Used;

/// Where they are, or why there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    base: Result<PathBuf, Box<str>>,
    controllers: Controllers,
}

/// As it is passed from ring to ring: a path from the root, or in words why there is none.
pub(crate) fn to_argument(base: Result<PathBuf, String>) -> OsString {
    base.map_or_else(OsString::from, PathBuf::into_os_string)
}

pub(crate) fn from_argument(word: &OsStr) -> Result<PathBuf, String> {
    let path = Path::new(word);
    if path.is_absolute() { Ok(path.to_path_buf()) } else { Err(word.to_string_lossy().into_owned()) }
}

impl Cgroups {
    pub fn new(base: Result<PathBuf, String>) -> Self {
        match base {
            Ok(base) => Self { controllers: Controllers::of(&base), base: Ok(base) },
            Err(why) => Self { base: Err(why.into()), controllers: Controllers::default() },
        }
    }

    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref().ok()
    }

    /// What can be limited, by the keys of `limits`.
    pub fn limited(&self) -> Vec<&'static str> {
        let Controllers { memory, cpu, tasks } = self.controllers;
        let all = [(memory, "memory"), (cpu, "cpu"), (tasks, "tasks")];
        all.into_iter().filter_map(|(is_there, key)| is_there.then_some(key)).collect()
    }

    /// In one line, for people.
    pub fn in_words(&self) -> String {
        let limited = self.limited();
        match (&self.base, limited.is_empty()) {
            (Err(why), _) => format!("no cgroups: {why}"),
            (Ok(_), true) => "cgroups, which limit nothing here".to_owned(),
            (Ok(_), false) => format!("cgroups, which limit {}", limited.join(", ")),
        }
    }

    /// Those of its limits that nothing here enforces, by their keys.
    pub fn unenforced(&self, bounds: &Bounds) -> Vec<&'static str> {
        let Controllers { memory, cpu, tasks } = self.controllers;
        let Bounds { memory_bytes, cpu_permille, tasks: most_tasks, is_required: _ } = bounds;
        let asked = [
            ("memory", memory_bytes.is_some() && !memory),
            ("cpu", cpu_permille.is_some() && !cpu),
            ("tasks", most_tasks.is_some() && !tasks),
        ];
        asked.into_iter().filter_map(|(key, is_missing)| is_missing.then_some(key)).collect()
    }

    /// What a run of this unit is born into.
    ///
    /// # Errors
    /// When it must have a limit that cannot be enforced.
    pub(crate) fn order(&self, spec: &UnitSpec) -> Result<Option<CgroupOrder>, Miss> {
        let bounds = spec.confinement.as_ref().map(|confinement| confinement.bounds).unwrap_or_default();
        let missing = self.unenforced(&bounds);
        if bounds.is_required && !missing.is_empty() {
            let cause =
                format!("limits.{} cannot be enforced here: {}", missing.join(", limits."), self.in_words());
            return Err(Miss::failed(SpawnStep::Cgroup, 0, cause));
        }
        let settings = if bounds.is_any() { self.settings(&bounds) } else { Vec::new() };
        Ok(self.base().map(|_| CgroupOrder { settings }))
    }

    fn settings(&self, bounds: &Bounds) -> Vec<(String, String)> {
        let Controllers { memory, cpu, tasks } = self.controllers;
        let settings = [
            (memory, cgroup::memory_setting(bounds.memory_bytes)),
            (cpu, cgroup::cpu_setting(bounds.cpu_permille)),
            (tasks, cgroup::tasks_setting(bounds.tasks)),
        ];
        settings.into_iter().filter_map(|(is_there, setting)| is_there.then_some(setting)).collect()
    }

    fn unit_directory(&self, unit: &str) -> Option<PathBuf> {
        Some(cgroup::unit_directory(self.base()?, unit))
    }

    /// Files with what is to be written to them, so that these bounds hold for what runs already.
    pub(crate) fn live_settings(&self, unit: &str, bounds: &Bounds) -> Vec<(PathBuf, String)> {
        let Some(directory) = self.unit_directory(unit) else { return Vec::new() };
        self.settings(bounds).into_iter().map(|(file, value)| (directory.join(file), value)).collect()
    }

    /// Nothing where there is no group, or none yet.
    pub fn used(&self, unit: &str) -> Used {
        self.unit_directory(unit).map(|directory| cgroup::used(&directory)).unwrap_or_default()
    }

    /// The unit's own group, where it counts whom the kernel killed for memory.
    pub(crate) fn evidence_of(&self, unit: &str) -> Option<PathBuf> {
        if self.controllers.memory { self.unit_directory(unit) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_or_a_reason_is_passed_on_as_it_is() {
        for found in [Ok(PathBuf::from("/sys/fs/cgroup/x")), Err("it is switched off".to_owned())] {
            assert_eq!(from_argument(&to_argument(found.clone())), found);
        }
    }

    fn with(controllers: Controllers) -> Cgroups {
        Cgroups { base: Ok("/base".into()), controllers }
    }

    #[test]
    fn which_limits_hold_is_said() {
        let all = Bounds {
            memory_bytes: Some(1 << 20),
            cpu_permille: Some(500),
            tasks: Some(3),
            is_required: false,
        };
        let none = Cgroups::new(Err("no cgroup v2 is mounted here".to_owned()));
        assert_eq!(none.unenforced(&all), ["memory", "cpu", "tasks"]);
        assert_eq!(none.in_words(), "no cgroups: no cgroup v2 is mounted here");
        let some = with(Controllers { memory: true, cpu: false, tasks: true });
        assert_eq!(some.unenforced(&all), ["cpu"]);
        assert_eq!(some.unenforced(&Bounds::default()), [""; 0]);
        assert_eq!(some.in_words(), "cgroups, which limit memory, tasks");
        let files: Vec<String> = some
            .live_settings("web", &all)
            .into_iter()
            .map(|(file, value)| format!("{}={value}", file.display()))
            .collect();
        assert_eq!(files, ["/base/u-web/memory.max=1048576", "/base/u-web/pids.max=3"]);
    }
}
