//! Whatever is written into the units directory: mcsup stays up, who is not meant is not touched, and each save ends in
//! exactly one generation, or in none that says why.
//!
//! `MCSUP_FUZZ_SECONDS` (default 20) and `MCSUP_FUZZ_SEED` (default 1) make it longer and other; with
//! `MCSUP_FUZZ_KILLS=1` the supervisor is killed now and then in the middle of it. A failure prints
//! its seed and the edits up to it; the same seed makes the same edits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use crate::instance::{Look, eventually};
use crate::site::{Site, files_of};

type Files = BTreeMap<String, String>;

struct Dice(u64);

impl Dice {
    /// Below `limit`, which is not zero (Knuth's generator, MMIX).
    fn roll(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(limit).expect("small")).expect("below it")
    }

    fn pick<'a>(&mut self, files: &'a Files) -> (&'a String, &'a String) {
        let at = self.roll(files.len());
        files.iter().nth(at).expect("one of them")
    }
}

/// What a step is to end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Same,
    Invalid,
    Generation,
}

struct Fuzz {
    site: Site,
    dice: Dice,
    /// Makes each definition another one.
    count: usize,
    /// Units whose text is no longer what was meant: nobody knows how they behave.
    spoilt: BTreeSet<String>,
    story: Vec<String>,
    killed: Option<Instant>,
    ended: BTreeMap<&'static str, usize>,
}

const KILL_EVERY: Duration = Duration::from_secs(31);
const SETTINGS: &str = "apply: {verify: 2s, settle: 100ms}\n";

impl Fuzz {
    fn sound(&mut self) -> String {
        self.count += 1;
        let extra = match self.dice.roll(5) {
            0 => "description: words\n",
            1 => "restart: {backoff: {initial: 50ms}}\n",
            2 => "environment: {A: b}\n",
            3 => "stop: {grace: 1s}\n",
            _ => "",
        };
        format!("command: [sleep, '{}']\n{extra}", 100_000 + self.count)
    }

    /// One edit of the texts.
    fn edit(&mut self, files: &mut Files) {
        let (name, text) = self.dice.pick(files);
        let (name, text) = (name.clone(), text.clone());
        let kind = self.dice.roll(14);
        self.count += 1;
        let count = self.count;
        self.story.push(format!("kind {kind} on {name}"));
        match kind {
            0..=2 => drop(files.insert(name, self.sound())),
            3 => drop(files.insert(name, format!("# remark {count}\n{text}"))),
            4 => drop(files.insert(name, format!("{text}labels: {{n: l{count}}}\n"))),
            5 | 6 => {
                let sound = self.sound();
                files.insert(format!("n{count}.yaml"), sound);
            }
            // A step that takes most of the units away waits for somebody who says so.
            7 if files.len() > 6 => drop(files.remove(&name)),
            8 => {
                files.remove(&name);
                files.insert(format!("r{count}.yaml"), text);
            }
            9 => {
                let (other, _) = self.dice.pick(files);
                let other = other.trim_end_matches(".yaml").to_owned();
                files.insert(name, format!("{}depends_on: [{other}]\n", without_edges(&text)));
            }
            10 => drop(files.insert(name, without_edges(&text))),
            11 => {
                let crash = "command: ['false']\nrestart: {backoff: {initial: 10ms, max: 20ms}}\n";
                files.insert(name, format!("{crash}description: c{count}\n"));
            }
            _ => {
                let spoilt = self.spoil(&text);
                files.insert(name, spoilt);
            }
        }
    }

    /// A change of the text that means nothing.
    fn spoil(&mut self, text: &str) -> String {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = self.dice.roll(lines.len().max(1));
        match self.dice.roll(5) {
            0 => return text.chars().take(self.dice.roll(text.chars().count().max(1))).collect(),
            1 => {
                let mut letters: Vec<char> = text.chars().collect();
                let place = self.dice.roll(letters.len().max(1));
                if let Some(letter) = letters.get_mut(place) {
                    *letter = [':', '\'', '[', '#', '\t', 'z', '0', '&'][self.dice.roll(8)];
                }
                return letters.into_iter().collect();
            }
            2 if !lines.is_empty() => drop(lines.remove(at)),
            3 if !lines.is_empty() => lines.insert(at, lines[at].clone()),
            _ => lines.insert(at.min(lines.len()), "  - {]".to_owned()),
        }
        lines.join("\n")
    }

    /// As somebody else's editor would.
    fn save(&mut self, before: &Files, after: &Files) {
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            fs::remove_file(self.site.units().join(name)).expect("it is there");
        }
        for (name, text) in after.iter().filter(|(name, text)| before.get(*name) != Some(text)) {
            let path = self.site.units().join(name);
            match self.dice.roll(3) {
                0 => fs::write(&path, text).expect("a file"),
                1 => {
                    drop(fs::remove_file(&path));
                    fs::write(&path, text).expect("a file");
                }
                _ => self.site.save(name.trim_end_matches(".yaml"), text),
            }
        }
    }

    fn step(&mut self) {
        let before = files_of(&self.site.units());
        let mut units = before.clone();
        units.remove("mcsup.yaml");
        for _ in 0..=self.dice.roll(3) {
            self.edit(&mut units);
        }
        let mut after = units;
        after.insert("mcsup.yaml".to_owned(), SETTINGS.to_owned());
        let expected = expected(&before, &after);
        let (look, number, killed) = (self.site.now(), self.last(), self.killed);
        self.save(&before, &after);
        self.story.push(format!("expected {expected:?} after {number}: {}", differing(&before, &after)));
        self.kill_perhaps();
        match expected {
            Expected::Same => {}
            Expected::Invalid => {
                self.wait("it says that it is invalid", |fuzz| fuzz.says("error"));
                assert_eq!(self.last(), number, "{}", self.tell());
                self.save(&after, &before);
                self.wait("it is as before", |fuzz| !fuzz.says("error"));
                *self.ended.entry("invalid").or_default() += 1;
            }
            Expected::Generation => self.end_generation(number + 1, self.killed != killed),
        }
        self.check(&before, &after, &look);
    }

    /// Between the save and long after it is decided.
    #[expect(
        clippy::disallowed_methods,
        reason = "three deaths within a minute mean safe mode, which sees no save"
    )]
    fn kill_perhaps(&mut self) {
        let pause = Duration::from_millis(u64::try_from(self.dice.roll(600)).unwrap_or(0));
        if number("MCSUP_FUZZ_KILLS", 0) == 0 || self.killed.is_some_and(|at| at.elapsed() < KILL_EVERY) {
            return;
        }
        std::thread::park_timeout(pause);
        self.story.push(format!("the supervisor is killed {pause:?} after the save"));
        self.site.lose_supervisor();
        self.killed = Some(Instant::now());
    }

    fn end_generation(&mut self, number: u64, is_killed: bool) {
        let is_over = |fuzz: &Self| {
            let kept = fuzz.site.generations();
            let last = kept.last()?;
            let is_decided = ["committed", "rejected"].contains(&&*last.word);
            let is_quiet = fuzz.site.look().is_some_and(|look| look.0["changes"].is_null());
            (last.number >= number && is_decided && is_quiet && fuzz.site.agrees()).then(|| last.clone())
        };
        let last = eventually(|| is_over(self)).unwrap_or_else(|| panic!("not over\n{}", self.tell()));
        let new = self.site.generations().iter().filter(|kept| kept.number >= number).count();
        assert_eq!(new, 1, "one save, one generation\n{}", self.tell());
        // Who dies while it is written has taken its number along.
        assert!(last.number == number || is_killed, "{last:?}\n{}", self.tell());
        self.story.push(format!("{last:?}"));
        *self.ended.entry(if last.word == "committed" { "committed" } else { "rejected" }).or_default() += 1;
    }

    /// Who is the same before and after has the same process; one process for each that runs.
    fn check(&mut self, before: &Files, tried: &Files, look: &Look) {
        let after = files_of(&self.site.units());
        let is_sound = |text: &String| text.contains("command: [sleep, '10") && !text.contains("  - {]");
        self.spoilt =
            after.iter().filter(|(_, text)| !is_sound(text)).map(|(name, _)| name.clone()).collect();
        let stays = |name: &&String| {
            let all = [before.get(*name), tried.get(*name), after.get(*name)];
            all.iter().all(|text| *text == all[0]) && !self.spoilt.contains(*name)
        };
        let now = self.site.now();
        for name in after.keys().filter(stays) {
            let unit = name.trim_end_matches(".yaml");
            if look.is(unit, "ready") {
                assert_eq!(
                    now.unit(unit)["pid"],
                    look.unit(unit)["pid"],
                    "{unit} was touched\n{}",
                    self.tell()
                );
            }
        }
    }

    fn says(&self, word: &str) -> bool {
        self.site
            .look()
            .is_some_and(|look| look.0["changes"].as_str().is_some_and(|text| text.contains(word)))
    }

    fn last(&self) -> u64 {
        self.site.generations().last().map_or(0, |last| last.number)
    }

    fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let found = eventually(|| condition(self).then_some(()));
        assert!(found.is_some(), "not so: {what}\n{}", self.tell());
    }

    fn tell(&self) -> String {
        let recent = self.story.iter().rev().take(12).rev().cloned().collect::<Vec<String>>().join("\n");
        format!("MCSUP_FUZZ_SEED={}\n{recent}\n{}", seed(), self.site.story())
    }
}

fn without_edges(text: &str) -> String {
    text.lines().filter(|line| !line.contains("depends_on")).map(|line| format!("{line}\n")).collect()
}

fn differing(before: &Files, after: &Files) -> String {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differs
        .map(|name| format!("{name}: {:?} -> {:?}", before.get(name), after.get(name)))
        .collect::<Vec<_>>()
        .join("\n  ")
}

/// By the loader's own word: what it makes of a text is tested elsewhere.
fn expected(before: &Files, after: &Files) -> Expected {
    let source = |(name, text): (&String, &String)| mcsup::unit::SourceFile {
        name: name.clone(),
        bytes: text.clone().into_bytes(),
    };
    let sources: Vec<mcsup::unit::SourceFile> = after.iter().map(source).collect();
    if before == after {
        Expected::Same
    } else if mcsup::graph::load(&sources).set.is_none() {
        Expected::Invalid
    } else {
        Expected::Generation
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seed() -> u64 {
    number("MCSUP_FUZZ_SEED", 1)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it goes on for a while")]
fn whatever_is_written_each_save_ends_once_and_touches_nobody_who_is_not_meant() {
    let mut units = vec![("mcsup".to_owned(), SETTINGS.to_owned())];
    units.extend((0..8).map(|at| (format!("u{at}"), format!("command: [sleep, '{}']\n", 100_000 - at))));
    let units: Vec<(&str, &str)> = units.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let site = Site::with_settings("fuzz", &units);
    let (supervisor, keeper) = (site.supervisor(), site.keeper());
    let mut fuzz = Fuzz {
        site,
        dice: Dice(seed()),
        count: 0,
        spoilt: BTreeSet::new(),
        story: Vec::new(),
        killed: None,
        ended: BTreeMap::new(),
    };
    let until = Instant::now() + Duration::from_secs(number("MCSUP_FUZZ_SECONDS", 20));
    let mut steps = 0;
    while Instant::now() < until {
        fuzz.step();
        steps += 1;
        if fuzz.killed.is_none() {
            assert_eq!(fuzz.site.supervisor(), supervisor, "it was never down\n{}", fuzz.tell());
        }
    }
    assert_eq!(fuzz.site.keeper(), keeper);
    println!("seed {}: {steps} steps, ended in {:?}", seed(), fuzz.ended);
}
