use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use mcsup::engine::event::Verdict;
use mcsup::expr::Facts;
use mcsup::probe::log::LogQuestion;
use mcsup::probe::question::{FileQuestion, Question};
use mcsup::probe::{Clock, Prober};
use mcsup::unit::spec::probe::{Expression, LogProbe, Pattern};
use serde_json::json;

use crate::world::{CLOCK, Dir, LIMIT, ask, errs, fails, passes, runtime};

#[test]
fn a_file_has_to_be_there_and_fresh_and_large_enough() {
    let dir = Dir::new("file");
    let path = dir.write("backup", "0123456789");
    let question =
        FileQuestion { path: path.into(), max_age: None, min_size_bytes: None, max_size_bytes: None };
    let file = |question: FileQuestion| ask(Question::File(question));
    passes(&file(question.clone()), "10 bytes, written ");
    fails(&file(FileQuestion { path: dir.0.join("none"), ..question.clone() }), "is not there");
    fails(&file(FileQuestion { min_size_bytes: Some(11), ..question.clone() }), "at least 11 are wanted");
    errs(&file(FileQuestion { path: dir.0.join("backup/x"), ..question.clone() }), "cannot look at");
    let old = FileQuestion { max_age: Some(Duration::from_secs(60)), ..question };
    passes(&file(old.clone()), "10 bytes");
    let later = Clock { wall: || (CLOCK.wall)() + Duration::from_secs(120), ..CLOCK };
    let verdict = runtime().block_on(Prober::default().ask(Question::File(old), LIMIT, later));
    fails(&verdict, "ago, at most 1m");
}

/// A unit's log, and one prober that looks at it again and again.
struct Log {
    dir: Dir,
    prober: Prober,
    runtime: tokio::runtime::Runtime,
}

impl Log {
    fn new(name: &str) -> Self {
        let dir = Dir::new(name);
        fs::create_dir_all(dir.0.join("u")).expect("a log directory");
        Self { dir, prober: Prober::default(), runtime: runtime() }
    }

    fn write(&self, text: &str) {
        let path = self.dir.0.join("u/current");
        let mut file = File::options().create(true).append(true).open(path).expect("the log");
        file.write_all(text.as_bytes()).expect("writing");
    }

    fn rotate(&self, to: &str) {
        fs::rename(self.dir.0.join("u/current"), self.dir.0.join("u").join(to)).expect("a rotation");
    }

    fn look(&self, run: u64, probe: &LogProbe) -> Verdict {
        self.look_at(run, probe, CLOCK)
    }

    fn look_at(&self, run: u64, probe: &LogProbe, clock: Clock) -> Verdict {
        let question =
            LogQuestion { unit: "u".into(), index: 0, run, dir: self.dir.0.join("u"), probe: probe.clone() };
        self.runtime.block_on(self.prober.ask(Question::Log(question), LIMIT, clock))
    }
}

const ANY: LogProbe = LogProbe { within: None, matches: None, bad: None };

#[test]
fn a_bad_line_is_told_once_also_through_rotations() {
    let log = Log::new("log-bad");
    let probe = LogProbe { bad: Some(Pattern("panic|fatal".into())), ..ANY };
    log.write("panic: of an earlier run\n");
    passes(&log.look(1, &probe), "");
    log.write("fine\nfatal: disk\nfine\npan");
    fails(&log.look(1, &probe), "it wrote: fatal: disk");
    passes(&log.look(1, &probe), "");
    // A line may end in a later look, and after a rotation.
    log.write("ic: at the seam\n");
    fails(&log.look(1, &probe), "it wrote: panic: at the seam");
    log.write("panic: before the rotation\n");
    log.rotate("00000001");
    log.write("fine\n");
    log.rotate("00000002");
    log.write("fine\n");
    fails(&log.look(1, &probe), "it wrote: panic: before the rotation");
    passes(&log.look(1, &probe), "");
    log.rotate("00000003");
    log.write("panic: in the new one\n");
    fails(&log.look(1, &probe), "it wrote: panic: in the new one");
    // What is deleted before anybody looked is lost; what was known is not told again.
    log.rotate("00000004");
    fs::remove_file(log.dir.0.join("u/00000004")).expect("the keeper's own rule");
    log.write("panic: after a gap\n");
    fails(&log.look(1, &probe), "it wrote: panic: after a gap");
    passes(&log.look(1, &probe), "");
    // Another run begins after what is there.
    log.write("panic: the last words\n");
    passes(&log.look(2, &probe), "");
}

#[test]
fn what_a_run_writes_before_the_first_look_is_its_own() {
    let log = Log::new("log-mark");
    let probe = LogProbe { bad: Some(Pattern("panic".into())), ..ANY };
    log.write("panic: of an earlier run\n");
    let verdict = log.runtime.block_on(async {
        log.prober.run_begins("u", 7, &log.dir.0);
        // A question that asks nothing of the log, to see that the thread has had its turn.
        let path = log.dir.0.join("u/current");
        let size = FileQuestion { path, max_age: None, min_size_bytes: Some(1), max_size_bytes: None };
        log.prober.ask(Question::File(size), LIMIT, CLOCK).await
    });
    passes(&verdict, "");
    passes(&log.look(7, &probe), "");
    log.write("panic: its own\n");
    fails(&log.look(7, &probe), "it wrote: panic: its own");
}

#[test]
fn silence_is_a_failure() {
    let log = Log::new("log-silence");
    let minute = Some(Duration::from_secs(60));
    let any = LogProbe { within: minute, ..ANY };
    let beat = LogProbe { within: minute, matches: Some(Pattern("heartbeat".into())), ..ANY };
    let later = Clock { wall: || (CLOCK.wall)() + Duration::from_secs(61), ..CLOCK };
    passes(&log.look(1, &any), "no line yet");
    log.write("hello\n");
    passes(&log.look(1, &any), "last line ");
    fails(&log.look_at(1, &any, later), "no line for 1m");
    passes(&log.look(2, &beat), "no line that matches yet");
    log.write("heartbeat 1\n");
    passes(&log.look(2, &beat), "last line that matches ");
    log.write("something else\n");
    fails(&log.look_at(2, &beat, later), "no line that matches for 1m");
}

#[test]
fn a_flood_costs_a_bounded_look() {
    let log = Log::new("log-flood");
    let probe = LogProbe { bad: Some(Pattern("panic".into())), ..ANY };
    log.write("begin\n");
    passes(&log.look(1, &probe), "");
    log.write(&"x".repeat(1000).repeat(9000));
    log.write("\npanic: at the end\n");
    fails(&log.look(1, &probe), "panic: at the end");
    passes(&log.look(1, &probe), "");
    // Emptied by hand.
    File::create(log.dir.0.join("u/current")).expect("an empty log");
    log.write("panic: again\n");
    fails(&log.look(1, &probe), "panic: again");
}

#[test]
fn a_check_holds_over_the_facts_that_it_is_given() {
    let Some(facts) =
        json!({"guard": {"level": 3}, "units": {"db": {"state": "ready"}}}).as_object().cloned()
    else {
        panic!("an object")
    };
    let check =
        |source: &str, facts: Facts| ask(Question::Check { expression: Expression(source.into()), facts });
    passes(&check("guard.level < 4 && units.db.state == 'ready'", facts.clone()), "the check holds");
    fails(
        &check("units.db.state == 'ready' && guard.level < 2", facts.clone()),
        "guard.level is 3: guard.level < 2 is false",
    );
    errs(&check("guard.level <", facts), "cannot be read");
}
