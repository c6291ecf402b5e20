//! An instance whose units are changed, and what it has kept of that.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::instance::{Instance, Look, eventually};

pub(crate) const SLEEP: &str = "command: [sleep, '1000']\n";
/// Another program than [`SLEEP`], as good as it.
pub(crate) const OTHER: &str = "command: [sleep, '1001']\n";
/// Ends at once, each time.
pub(crate) const CRASH: &str = "command: ['false']\nrestart: {backoff: {initial: 10ms, max: 20ms}}\n";
/// Quick verdicts, and still time enough to do something in between.
pub(crate) const QUICK: &str = "apply: {verify: 4s, settle: 300ms}\n";

/// A booted instance with its first generation kept.
pub(crate) struct Site(pub(crate) Instance);

impl Deref for Site {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}

/// One generation, as it lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) word: String,
    pub(crate) why: String,
    pub(crate) cause: String,
}

impl Site {
    /// Of these units, under quick rules.
    pub(crate) fn new(test: &str, units: &[(&str, &str)]) -> Self {
        let mut all = vec![("mcsup", QUICK)];
        all.extend(units);
        Self::with_settings(test, &all)
    }

    pub(crate) fn with_settings(test: &str, units: &[(&str, &str)]) -> Self {
        let mut instance = Instance::new(&format!("change-{test}"), units);
        instance.up();
        Self::began(instance)
    }

    /// The same of one that was started otherwise.
    pub(crate) fn began(instance: Instance) -> Self {
        instance.wait("booted", |look| look.0["booted"] == true);
        let site = Self(instance);
        site.wait_for_word(1, "committed");
        site.wait_until("the first generation is current", || site.current() == Some(1));
        site
    }

    pub(crate) fn units(&self) -> PathBuf {
        self.path("units")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.units().join(format!("{name}.yaml"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// By rename, as most editors save.
    pub(crate) fn save(&self, name: &str, text: &str) {
        let beside = self.units().join(format!(".{name}.new"));
        fs::write(&beside, text).expect("a file");
        fs::rename(&beside, self.file(name)).expect("its place");
    }

    pub(crate) fn now(&self) -> Look {
        eventually(|| self.look()).unwrap_or_else(|| panic!("nobody answers:\n{}", self.printed()))
    }

    pub(crate) fn current(&self) -> Option<u64> {
        fs::read_link(self.path("state/generations/current")).ok()?.to_str()?.parse().ok()
    }

    pub(crate) fn generations(&self) -> Vec<Kept> {
        let entries = fs::read_dir(self.path("state/generations")).into_iter().flatten().flatten();
        let mut kept: Vec<Kept> = entries.filter_map(|entry| kept(&entry.path())).collect();
        kept.sort_by_key(|one| one.number);
        kept
    }

    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let found = eventually(|| condition().then_some(()));
        assert!(found.is_some(), "not so: {what}\n{}", self.story());
    }

    pub(crate) fn wait_for_word(&self, number: u64, word: &str) -> Kept {
        let is_it = |kept: &Kept| kept.number == number && kept.word == word;
        let found = eventually(|| self.generations().into_iter().find(is_it));
        found.unwrap_or_else(|| panic!("generation {number} is not {word}:\n{}", self.story()))
    }

    /// Generation `number` holds, is what a boot would run, and the directory says the same.
    pub(crate) fn wait_for_commit(&self, number: u64) {
        self.wait_for_word(number, "committed");
        self.wait_until("it is the current one", || self.current() == Some(number));
        self.wait_until("the directory is as it is kept", || self.agrees());
    }

    /// Generation `number` is rejected, and the directory is again what it was before.
    pub(crate) fn wait_for_return(&self, number: u64) -> Kept {
        let kept = self.wait_for_word(number, "rejected");
        self.wait_until("the directory is as it is kept", || self.agrees());
        self.wait_for_event(&format!("generation {number} was rolled back, and all is as before"));
        kept
    }

    /// The directory is read now, and that is over.
    pub(crate) fn look_again(&self) {
        drop(self.run(&["reload"]));
    }

    pub(crate) fn wait_for_event(&self, text: &str) {
        self.wait_until(text, || String::from_utf8_lossy(&self.run(&["events"]).stdout).contains(text));
    }

    /// The units directory holds what the current generation holds, and no other unit file.
    pub(crate) fn agrees(&self) -> bool {
        self.current().is_some_and(|current| {
            let kept = files_of(&self.path(&format!("state/generations/{current:06}/units")));
            let mut there = files_of(&self.units());
            there.retain(|name, _| name.ends_with(".yaml") || kept.contains_key(name));
            there == kept
        })
    }

    /// Nothing is under way, and nothing came of what happened so far but what `numbers` counts: the next change,
    /// of a file that is no unit, gets the next number.
    pub(crate) fn assert_last_is(&self, number: u64) {
        let sentinel = self.units().join("mcsup.yaml");
        let before = fs::read_to_string(&sentinel).unwrap_or_default();
        fs::write(&sentinel, format!("{before}# after {number}\n")).expect("a remark");
        let is_taken = || {
            let current = self.current()?;
            let kept = self.path(&format!("state/generations/{current:06}/units/mcsup.yaml"));
            (fs::read(kept).ok() == fs::read(&sentinel).ok()).then_some(current)
        };
        let next = eventually(is_taken);
        assert_eq!(next, Some(number + 1), "{}", self.story());
    }

    /// Everything that helps to understand a failure.
    pub(crate) fn story(&self) -> String {
        let kept: Vec<String> = self.generations().iter().map(|kept| format!("{kept:?}")).collect();
        let files = files_of(&self.units());
        let status = String::from_utf8_lossy(&self.run(&["status"]).stdout).into_owned();
        let current = self.current();
        format!("{}\ncurrent: {current:?}\n{files:#?}\n{status}\n{}", kept.join("\n"), self.printed())
    }

    /// The incidents that are open.
    pub(crate) fn open_incidents(&self) -> Vec<String> {
        let output = self.run(&["incidents", "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let rows = all["incidents"].as_array().cloned().unwrap_or_default();
        rows.iter().filter(|row| row["open"] == true).map(ToString::to_string).collect()
    }
}

fn kept(dir: &Path) -> Option<Kept> {
    let number = dir.file_name()?.to_str()?.parse().ok()?;
    let json = |name: &str| serde_json::from_slice::<Value>(&fs::read(dir.join(name)).ok()?).ok();
    let (verdict, manifest) = (json("verdict.json")?, json("manifest.json")?);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(Kept {
        number,
        word: text(&verdict["word"]),
        why: text(&verdict["why"]),
        cause: text(&manifest["cause"]),
    })
}

/// Files that count of a directory, with their bytes.
pub(crate) fn files_of(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().to_str()?.to_owned();
        let bytes = fs::read(entry.path()).ok().filter(|_| !name.starts_with('.'))?;
        Some((name, String::from_utf8_lossy(&bytes).into_owned()))
    };
    entries.filter_map(file).collect()
}
