//! The supervisor dies at each of its calls that change a file, from before a save to after the change is filed: whichever
//! it is, in the end all is as in the old generation or as in the new one.
//!
//! `steps.py` follows all threads of the supervisor, lists these calls in the order in which they are made, and kills
//! in place of the Nth. Every so many are tried, from a place that `MCSUP_STEPS_SEED` (default 1) moves;
//! with `MCSUP_STEPS=all` each.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use crate::instance::{eventually, is_alive};
use crate::site::{CRASH, OTHER, SLEEP, Site};

/// Each road tries about so many of its calls, where not all are wanted: a second or two each.
const SAMPLE: usize = 10;
/// Mostly they wait for a verdict, so there may be more than there are processors.
const AT_ONCE: usize = 3;
const QUICKER: &str = "apply: {verify: 3s, settle: 100ms}\n";
const PROTECTED: &str = "command: [sleep, '1000']\nprotected: true\n";
const PROTECTED_OTHER: &str = "command: [sleep, '1001']\nprotected: true\n";
/// What comes after the change that was cut off, of the unit `c`.
const FURTHER: &str = "command: [sleep, '1005']\n";

/// One way that a change takes.
struct Road {
    name: &'static str,
    /// What the unit `a` says before.
    from: &'static str,
    begin: fn(&Site),
    /// What the unit `a` may say in the end.
    ends: &'static [&'static str],
    /// What a person wrote, which must not be lost.
    written: &'static [&'static str],
}

/// Follows a supervisor.
struct Tracer {
    child: Child,
    said: PathBuf,
}

impl Tracer {
    /// Of the calls below the state directory and the units directory, the `last` one is not made; 0: all are.
    #[expect(clippy::disallowed_methods, reason = "a test starts what it tests with")]
    fn follow(site: &Site, last: usize) -> Self {
        let said = site.path("steps.txt");
        let output = File::create(&said).expect("a file");
        let child = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/changes/steps.py"))
            .args([site.supervisor().to_string(), last.to_string()])
            // Which has ways of its own to be whole again, and is no part of the road.
            .arg(site.path("state/history.db"))
            .args([site.path("state"), site.path("units")])
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor"))
            .stderr(output)
            .spawn()
            .expect("python3");
        let tracer = Self { child, said };
        site.wait_until("it is followed", || tracer.lines().first().is_some_and(|line| line == "attached"));
        tracer
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.said).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The calls, without the home.
    fn calls(&self, site: &Site) -> Vec<String> {
        let home = format!("{}/", site.dir.display());
        self.lines().iter().skip(1).map(|line| line.replace(&home, "")).collect()
    }

    fn has_killed(&self) -> bool {
        self.lines().last().is_some_and(|line| line == "killed")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// As the generation in force has it.
fn text_of(unit: &str, site: &Site) -> Option<String> {
    let current = site.current()?;
    fs::read_to_string(site.path(&format!("state/generations/{current:06}/units/{unit}.yaml"))).ok()
}

/// The change is decided and filed, or waits for somebody as before.
fn is_over(site: &Site, road: &Road) -> bool {
    let kept = site.generations();
    let is_open = kept.iter().any(|one| ["candidate", "verifying"].contains(&&*one.word));
    let is_quiet = site.look().is_some_and(|look| {
        let sentence = look.0["changes"].as_str().unwrap_or_default();
        sentence.is_empty() || sentence.starts_with("generation 2 waits for `mcsup approve 2`")
    });
    is_quiet
        && !is_open
        && site.agrees()
        && text_of("a", site).is_some_and(|text| road.ends.contains(&&*text))
}

/// The process of `unit` is that of this text, `b` is the one that it was, and there is one of each.
fn assert_runs(site: &Site, (unit, text): (&str, &str), untouched: u32, what: &str) {
    let word = text.split('\'').nth(1).expect("a word");
    let is_there = || {
        let look = site.look().filter(|look| ["a", "b", "c"].iter().all(|name| look.is(name, "ready")))?;
        let pid = look.unit(unit)["pid"].as_u64()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        String::from_utf8_lossy(&line).contains(word).then_some(look)
    };
    let look = eventually(is_there);
    let look = look.unwrap_or_else(|| panic!("{what}: {unit} is not {word}\n{}", site.story()));
    assert_eq!(look.pid("b"), untouched, "{what}: b is untouched\n{}", site.story());
    let all = site.processes();
    assert_eq!(all.len(), 3, "{what}: {all:?}\n{}", site.story());
}

impl Road {
    fn site(&self, at: usize) -> Site {
        let units = [("mcsup", QUICKER), ("a", self.from), ("b", SLEEP), ("c", SLEEP)];
        let site = Site::with_settings(&format!("steps-{}-{at}", self.name), &units);
        fs::create_dir_all(site.path("elsewhere")).expect("a directory");
        for (name, text) in units {
            let text = if name == "a" { self.from.replace("1000", "1001") } else { text.to_owned() };
            fs::write(site.path("elsewhere").join(format!("{name}.yaml")), text).expect("a file");
        }
        site
    }

    /// What a whole change calls, when nobody dies.
    fn calls(&self) -> Vec<String> {
        let site = self.site(0);
        let tracer = Tracer::follow(&site, 0);
        (self.begin)(&site);
        site.wait_until("it is over", || site.generations().len() > 1 && is_over(&site, self));
        // What is still written down after the last word of it.
        site.look_again();
        tracer.calls(&site)
    }

    /// Whether the supervisor got as far as that call.
    fn dies_at(&self, at: usize) -> bool {
        let site = self.site(at);
        let (untouched, supervisor) = (site.now().pid("b"), site.supervisor());
        let tracer = Tracer::follow(&site, at);
        (self.begin)(&site);
        // The last calls are not the same each time.
        let is_out = || tracer.has_killed() || (site.generations().len() > 1 && is_over(&site, self));
        site.wait_until("it dies or comes to its end", is_out);
        let has_died = tracer.has_killed();
        let what = format!(
            "{} at {at}: {:?}",
            self.name,
            tracer.calls(&site).iter().rev().take(4).collect::<Vec<_>>()
        );
        if has_died {
            site.wait_until("it is dead", || !is_alive(supervisor));
        }
        drop(tracer);
        let answers = eventually(|| site.look());
        assert!(answers.is_some(), "{what}: nobody answers\n{}", site.printed());
        // Comes back when what goes before it is decided.
        site.look_again();
        let settled = eventually(|| is_over(&site, self).then_some(()));
        assert!(settled.is_some(), "{what}: it does not end\n{}", site.story());
        let text = text_of("a", &site).expect("a text");
        assert_eq!(site.text("a"), text, "{what}");
        assert_runs(&site, ("a", &text), untouched, &what);
        self.assert_kept(&site, &what);
        let verified = site.run(&["generations", "verify"]);
        assert!(verified.status.success(), "{what}: {verified:?}");
        site.save("c", FURTHER);
        let goes_on = || (text_of("c", &site)? == FURTHER && site.agrees()).then_some(());
        assert!(eventually(goes_on).is_some(), "{what}: a further save is not taken\n{}", site.story());
        assert_runs(&site, ("c", FURTHER), untouched, &what);
        assert_eq!(text_of("a", &site), Some(text), "{what}");
        has_died
    }

    /// What a person wrote is in the directory, or in a generation.
    fn assert_kept(&self, site: &Site, what: &str) {
        let kept = site.generations();
        let mut texts: BTreeSet<String> = kept
            .iter()
            .filter_map(|one| {
                fs::read_to_string(site.path(&format!("state/generations/{:06}/units/a.yaml", one.number)))
                    .ok()
            })
            .collect();
        texts.insert(site.text("a"));
        for text in self.written {
            assert!(texts.contains(*text), "{what}: {text:?} is lost\n{}", site.story());
        }
    }

    #[expect(clippy::print_stdout, reason = "which calls were tried belongs to the story of a failure")]
    fn is_walked(&self) {
        let calls = self.calls();
        assert!(calls.len() > 20, "{}: {calls:#?}", self.name);
        let wants_all = std::env::var("MCSUP_STEPS").is_ok_and(|word| word == "all");
        let seed: usize =
            std::env::var("MCSUP_STEPS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let every = if wants_all { 1 } else { calls.len().div_ceil(SAMPLE) };
        let mut places: Vec<usize> = (1..=calls.len()).filter(|at| at % every == seed % every).collect();
        println!(
            "{}: {} calls, {} of them tried\n{}",
            self.name,
            calls.len(),
            places.len(),
            calls.join("\n")
        );
        let tried = places.len();
        places.reverse();
        let places = Mutex::new(places);
        let died = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let Some(at) = places.lock().expect("unharmed").pop() else { return };
                        let has_died = self.dies_at(at);
                        *died.lock().expect("unharmed") += usize::from(has_died);
                    }
                });
            }
        });
        let died = died.into_inner().expect("unharmed");
        println!("{}: {died} of {tried} died", self.name);
        // Their number differs by a few, so that the last of one run may be none of another.
        assert!(died * 2 > tried, "{}: only {died} of {tried} died", self.name);
    }
}

#[test]
fn whichever_call_is_the_last_one_a_good_save_ends_committed() {
    let begin = |site: &Site| site.save("a", OTHER);
    Road { name: "good", from: SLEEP, begin, ends: &[OTHER], written: &[SLEEP, OTHER] }.is_walked();
}

#[test]
fn whichever_call_is_the_last_one_a_bad_save_ends_as_before() {
    let begin = |site: &Site| site.save("a", CRASH);
    Road { name: "bad", from: SLEEP, begin, ends: &[SLEEP], written: &[SLEEP, CRASH] }.is_walked();
}

/// Who asked is told nothing; the files are still where they were.
#[test]
fn whichever_call_is_the_last_one_what_is_applied_from_elsewhere_ends_as_before_or_committed() {
    let begin = |site: &Site| drop(site.run(&["apply", &site.path("elsewhere").display().to_string()]));
    Road { name: "elsewhere", from: SLEEP, begin, ends: &[SLEEP, OTHER], written: &[SLEEP] }.is_walked();
}

#[test]
fn whichever_call_is_the_last_one_what_is_approved_of_ends_as_before_or_committed() {
    let begin = |site: &Site| {
        drop(site.run(&["apply", &site.path("elsewhere").display().to_string()]));
        drop(site.run(&["approve", "2"]));
    };
    let ends = &[PROTECTED, PROTECTED_OTHER];
    Road { name: "approved", from: PROTECTED, begin, ends, written: &[PROTECTED] }.is_walked();
}
