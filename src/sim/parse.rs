//! Reads the commands of scenario files.

use std::time::Duration;

use crate::engine::event::{Ask, ExitStatus, Judgement, Notice, SpawnStep};
use crate::sim::actor::{
    ERRNOS, Evidence, EvidenceScript, Healing, Leftover, ProbeAnswer, Repair, RepairScript, STEPS,
    SpawnOutcome, StopCommand, StopCommandScript, Trait, spawn_failure,
};
use crate::sim::command::{CHANGE_RULES, Command};
use crate::unit::name::UnitName;
use crate::unit::spec::SignalNumber;

/// What the scripted judge says.
pub const REJECTED: &str = "2 trends, wanted >= 3";
pub const CANNOT: &str = "the judge ended";

/// One command: its words are separated by blanks.
///
/// # Errors
/// A sentence for the author of the scenario.
pub fn command(text: &str) -> Result<Command, String> {
    let mut words = Words { rest: text.split_whitespace().collect(), text };
    let verb = words.take("a verb")?;
    let parsed = match verb {
        "boot" => Command::Boot,
        "wake" => Command::Wake,
        "hang-up" => Command::HangUp,
        "start" | "stop" | "restart" | "run-now" | "kill" | "shutdown" | "shutdown-now" => {
            ask(verb, &mut words)?
        }
        "exit" => exit(&mut words)?,
        "confirm" => Command::Ask(Ask::Confirm),
        "abandon" => Command::Ask(Ask::Abandon),
        "change" => change(&mut words)?,
        "empty" => Command::Empty { unit: words.unit()? },
        "clock" => clock(&mut words)?,
        "crash" => crash(&mut words)?,
        "late" => late(&mut words)?,
        "says" => Command::Says { unit: words.unit()?, notice: notice(&mut words)? },
        "shows" => Command::Shows { unit: words.unit()? },
        "connect" => Command::Connect { unit: words.unit()? },
        "trigger" => Command::Trigger { unit: words.unit()? },
        "link-takes" => Command::LinkTakes(words.duration()?),
        "wakes-late" => Command::WakesLate(words.duration()?),
        "cancelled-probes-answer" => Command::CancelledProbesAnswer(words.take("on or off")? == "on"),
        _ => {
            let unit = words.unit()?;
            Command::Behave { unit, what: behaviour(verb, &mut words)? }
        }
    };
    words.end()?;
    Ok(parsed)
}

fn change(words: &mut Words<'_>) -> Result<Command, String> {
    let name = words.take("the name of a generation")?.into();
    let mut rules = CHANGE_RULES;
    while !words.rest.is_empty() {
        let word = words.take("a rule")?;
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let time = || duration(value).ok_or_else(|| format!("`{value}` is no duration"));
        match key {
            "keep" => rules.rolls_back = false,
            "confirm" => rules.confirm = Some(time()?),
            "verify" => rules.verify = time()?,
            "settle" => rules.settle = time()?,
            _ => return Err(format!("`{word}` is no rule of a change")),
        }
    }
    Ok(Command::Change { name, rules })
}

/// `1m30s`, `250ms`: what `engine::time::Pretty` writes, and fractions such as `5.5s`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(letters)?;
        let size: u64 = match unit {
            "d" => 86_400_000_000_000,
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        total = total.checked_add(whole.parse::<u64>().ok()?.checked_mul(size)?)?;
        let mut place = size;
        for digit in fraction.chars() {
            place = place.checked_div(10)?;
            total = total.checked_add(u64::from(digit.to_digit(10)?).checked_mul(place)?)?;
        }
        rest = next;
    }
    if text.is_empty() { None } else { Some(Duration::from_nanos(total)) }
}

struct Words<'a> {
    rest: std::collections::VecDeque<&'a str>,
    text: &'a str,
}

impl<'a> Words<'a> {
    fn take(&mut self, what: &str) -> Result<&'a str, String> {
        self.rest.pop_front().ok_or_else(|| format!("`{}` lacks {what}", self.text))
    }

    fn unit(&mut self) -> Result<UnitName, String> {
        let word = self.take("a unit")?;
        UnitName::new(word).map_err(|_bad| format!("`{word}` in `{}` is no unit's name", self.text))
    }

    fn duration(&mut self) -> Result<Duration, String> {
        let word = self.take("a duration")?;
        duration(word).ok_or_else(|| format!("`{word}` in `{}` is no duration", self.text))
    }

    /// Takes `name=value` from wherever it stands.
    fn option(&mut self, name: &str) -> Option<&'a str> {
        let found = |word: &&str| word.split_once('=').is_some_and(|(key, _)| key == name);
        let at = self.rest.iter().position(found)?;
        self.rest.remove(at)?.split_once('=').map(|(_, value)| value)
    }

    fn duration_option(&mut self, name: &str) -> Result<Option<Duration>, String> {
        match self.option(name) {
            None => Ok(None),
            Some(word) => {
                duration(word).map(Some).ok_or_else(|| format!("`{word}` in `{}` is no duration", self.text))
            }
        }
    }

    /// Takes a bare word from wherever it stands.
    fn flag(&mut self, name: &str) -> bool {
        match self.rest.iter().position(|word| *word == name) {
            Some(at) => self.rest.remove(at).is_some(),
            None => false,
        }
    }

    fn exit(&mut self) -> Result<ExitStatus, String> {
        if let Some(code) = self.option("code") {
            return code.parse().map(ExitStatus::Code).map_err(|error| format!("{code}: {error}"));
        }
        if let Some(name) = self.option("signal") {
            let signal = SignalNumber::parse(name).ok_or_else(|| format!("no signal {name}"))?;
            return Ok(ExitStatus::Signal { signal, dumped_core: false });
        }
        if self.flag("unknown") {
            return Ok(ExitStatus::Unknown);
        }
        Err(format!("`{}` lacks code=N, signal=NAME or unknown", self.text))
    }

    fn end(&self) -> Result<(), String> {
        match self.rest.front() {
            None => Ok(()),
            Some(word) => Err(format!("`{word}` in `{}` is not understood", self.text)),
        }
    }
}

fn ask(verb: &str, words: &mut Words<'_>) -> Result<Command, String> {
    let wait = !words.flag("--no-wait");
    let only = words.flag("--only");
    let exit_code = match words.option("code") {
        None => 0,
        Some(code) => code.parse().map_err(|error| format!("{code}: {error}"))?,
    };
    let mut signal = SignalNumber::KILL;
    if verb == "kill"
        && let Some(found) = words.rest.back().copied().filter(|word| word.starts_with("SIG"))
    {
        signal = SignalNumber::parse(found).ok_or_else(|| format!("no signal {found}"))?;
        words.rest.pop_back();
    }
    let mut units = Vec::new();
    while !words.rest.is_empty() {
        units.push(words.unit()?);
    }
    Ok(Command::Ask(match verb {
        "start" => Ask::Start { units, wait },
        "stop" => Ask::Stop { units, only, wait },
        "restart" => Ask::Restart { units, wait },
        "run-now" => Ask::Run { units, wait },
        "kill" => Ask::Kill { units, signal },
        "shutdown" => Ask::Shutdown { exit_code },
        _ => Ask::ShutdownNow { exit_code },
    }))
}

fn exit(words: &mut Words<'_>) -> Result<Command, String> {
    let exit = words.exit()?;
    let word = words.take("a unit or a run")?;
    let (name, ordinal) = match word.split_once('#') {
        Some((name, number)) => (name, Some(number.parse().map_err(|error| format!("{word}: {error}"))?)),
        None => (word, None),
    };
    let unit = UnitName::new(name).map_err(|_bad| format!("`{name}` is no unit's name"))?;
    Ok(Command::Exit { unit, ordinal, exit })
}

fn clock(words: &mut Words<'_>) -> Result<Command, String> {
    let word = words.take("a signed duration")?;
    let by = word.get(1..).and_then(duration).ok_or_else(|| format!("`{word}` is no signed duration"))?;
    Ok(Command::Clock { forward: word.starts_with('+'), by })
}

fn crash(words: &mut Words<'_>) -> Result<Command, String> {
    match words.take("`supervisor` or `keeper`")? {
        "supervisor" => {}
        "keeper" => return Ok(Command::CrashKeeper),
        other => return Err(format!("a ring can crash, not `{other}`")),
    }
    let carried = match words.option("after") {
        None => None,
        Some(count) => Some(count.parse().map_err(|error| format!("{count}: {error}"))?),
    };
    Ok(Command::Crash { carried, down: words.duration_option("for")?.unwrap_or_default() })
}

fn late(words: &mut Words<'_>) -> Result<Command, String> {
    let what = words.take("exit, spawn or probe")?;
    let unit = words.unit()?;
    match what {
        "exit" => Ok(Command::LateExit { unit }),
        "spawn" => Ok(Command::LateSpawn { unit }),
        "probe" => Ok(Command::LateProbe { unit }),
        "ready" => Ok(Command::LateReady { unit }),
        other => Err(format!("`late {other}` is not understood")),
    }
}

fn behaviour(verb: &str, words: &mut Words<'_>) -> Result<Trait, String> {
    Ok(match verb {
        "spawn-takes" => Trait::SpawnTakes(words.duration()?),
        "spawn-works" => Trait::Spawn(SpawnOutcome::Works),
        "spawn-hangs" => Trait::Spawn(SpawnOutcome::Hangs),
        "spawn-fails" => spawn_fails(words)?,
        "ends" => Trait::Ends(Some((words.duration_option("after")?.unwrap_or_default(), words.exit()?))),
        "stays-up" => Trait::Ends(None),
        "ready-after" => Trait::ReadyAfter(words.duration()?),
        "probe" => match words.option("at") {
            None => Trait::Probe(probe(words)?),
            Some(index) => {
                let index = index.parse().map_err(|error| format!("at={index}: {error}"))?;
                Trait::ProbeAt(index, probe(words)?)
            }
        },
        "probe-takes" => Trait::ProbeTakes(words.duration()?),
        "stops-in" => Trait::StopsIn(words.duration()?),
        "ignores-term" => Trait::IgnoresTerm(true),
        "heeds-term" => Trait::IgnoresTerm(false),
        "unkillable" => Trait::Unkillable(true),
        "killable" => Trait::Unkillable(false),
        "leaves-child" => Trait::Leaves(Some(Leftover {
            ends_after: words.duration_option("for")?,
            ignores_term: words.flag("ignoring-term"),
        })),
        "leaves-nothing" => Trait::Leaves(None),
        "stop-command" => Trait::StopCommand(stop_command(words)?),
        "start-lever" => Trait::StartLever(stop_command(words)?),
        "restart-lever" => Trait::RestartLever(stop_command(words)?),
        "shows-ready" => Trait::ShowsReady(Some(words.duration_option("after")?.unwrap_or_default())),
        "never-shows-ready" => Trait::ShowsReady(None),
        "goes-silent" => Trait::Silent(true),
        "keeps-alive" => Trait::Silent(false),
        "runs-outside" => Trait::Outside(true),
        "is-gone-outside" => Trait::Outside(false),
        "evidence" => evidence(words)?,
        "repair" => repair(words)?,
        "reload" => Trait::Reload(match words.take("what it does")? {
            "ends-it" => None,
            word => Some(healing(word)?),
        }),
        "judge" => Trait::Judge(match words.take("a judgement")? {
            "holds" => Some(Judgement::Holds),
            "rejects" => Some(Judgement::Rejected(REJECTED.into())),
            "cannot" => Some(Judgement::NotJudged(CANNOT.into())),
            "never" => None,
            other => return Err(format!("a judge cannot `{other}`")),
        }),
        "calm" => Trait::Calm,
        other => return Err(format!("no command `{other}`")),
    })
}

fn spawn_fails(words: &mut Words<'_>) -> Result<Trait, String> {
    let name = words.take("a step")?;
    let step = STEPS
        .iter()
        .find(|step: &&SpawnStep| step.to_string() == name)
        .ok_or_else(|| format!("no step `{name}`"))?;
    let errno = match words.rest.pop_front() {
        None => 0,
        Some(word) => match ERRNOS.iter().find(|(name, _, _)| *name == word) {
            Some((_, number, _)) => *number,
            None => word.parse().map_err(|_bad| format!("no errno `{word}`"))?,
        },
    };
    Ok(Trait::Spawn(SpawnOutcome::Fails(spawn_failure(*step, errno))))
}

fn probe(words: &mut Words<'_>) -> Result<ProbeAnswer, String> {
    if let Some(counts) = words.option("flap") {
        let parsed =
            counts.split_once('/').and_then(|(fail, pass)| Some((fail.parse().ok()?, pass.parse().ok()?)));
        let (fail, pass) = parsed.ok_or_else(|| format!("`flap={counts}` is not flap=N/M"))?;
        return Ok(ProbeAnswer::Flap { fail, pass });
    }
    match words.take("an answer")? {
        "pass" => Ok(ProbeAnswer::Pass),
        "fail" => Ok(ProbeAnswer::Fail),
        "error" => Ok(ProbeAnswer::Error),
        "hang" => Ok(ProbeAnswer::Hang),
        other => Err(format!("a probe cannot `{other}`")),
    }
}

fn notice(words: &mut Words<'_>) -> Result<Notice, String> {
    let text = words.take("what it says")?;
    let bad = || format!("`{text}` is nothing that a service says");
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let span = || duration(value).ok_or_else(bad);
    match (key, value) {
        ("READY", "") => Ok(Notice::Ready),
        ("STATUS", _) => Ok(Notice::Status(value.replace('_', " ").into())),
        ("RELOADING", "") => Ok(Notice::Reloading),
        ("STOPPING", "") => Ok(Notice::Stopping),
        ("ERRNO", _) => value.parse().map(Notice::Errno).map_err(|_bad| bad()),
        ("EXTEND_TIMEOUT", _) => span().map(Notice::ExtendTimeout),
        ("WATCHDOG", "") => Ok(Notice::Watchdog),
        ("WATCHDOG", "trigger") => Ok(Notice::WatchdogTrigger),
        ("WATCHDOG_TIMEOUT", _) => span().map(Notice::WatchdogTimeout),
        ("MAINPID", _) => value.parse().map(Notice::MainPid).map_err(|_bad| bad()),
        _ => Err(bad()),
    }
}

fn stop_command(words: &mut Words<'_>) -> Result<StopCommand, String> {
    let takes = words.duration_option("takes")?.unwrap_or_default();
    let outcome = match words.take("an outcome")? {
        "works" => StopCommandScript::Works,
        "fails" => StopCommandScript::Fails,
        "hangs" => StopCommandScript::Hangs,
        "not-started" => StopCommandScript::NotStarted,
        other => return Err(format!("a stop command cannot `{other}`")),
    };
    Ok(StopCommand { takes, outcome })
}

fn evidence(words: &mut Words<'_>) -> Result<Trait, String> {
    let takes = words.duration_option("takes")?.unwrap_or_default();
    let outcome = match words.take("an outcome")? {
        "complete" => EvidenceScript::Complete,
        "incomplete" => EvidenceScript::Incomplete,
        "never" => EvidenceScript::Never,
        other => return Err(format!("evidence cannot be `{other}`")),
    };
    Ok(Trait::Evidence(Evidence { takes, outcome }))
}

fn repair(words: &mut Words<'_>) -> Result<Trait, String> {
    let takes = words.duration_option("takes")?.unwrap_or_default();
    let outcome = match words.take("an outcome")? {
        "fails" => RepairScript::Fails,
        "not-started" => RepairScript::NotStarted,
        "hangs" => RepairScript::Hangs,
        word => RepairScript::Ends(healing(word)?),
    };
    Ok(Trait::Repair(Repair { takes, outcome }))
}

fn healing(word: &str) -> Result<Healing, String> {
    match word {
        "heals" => Ok(Healing::Heals),
        "does-not-help" => Ok(Healing::DoesNotHelp),
        other => Err(format!("nothing `{other}` a unit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_read_back_as_it_is_written() {
        let texts = [
            "boot",
            "wake",
            "start a b --no-wait",
            "stop a --only",
            "restart a",
            "kill a",
            "kill a SIGHUP",
            "shutdown",
            "shutdown code=3",
            "shutdown-now",
            "exit a#2 code=1",
            "exit a signal=SIGSEGV",
            "exit a unknown",
            "empty a",
            "clock +1h",
            "clock -1m30s",
            "crash supervisor",
            "crash supervisor after=2 for=3s",
            "crash keeper",
            "late exit a",
            "late spawn a",
            "late probe a",
            "link-takes 5ms",
            "wakes-late 3ms",
            "cancelled-probes-answer on",
            "hang-up",
            "spawn-takes a 10ms",
            "spawn-works a",
            "spawn-hangs a",
            "spawn-fails a exec ENOENT",
            "ends a after=5s code=1",
            "stays-up a",
            "ready-after a 2s",
            "probe a pass",
            "probe a error",
            "probe a flap=2/1",
            "probe a fail at=1",
            "probe a flap=1/3 at=0",
            "probe-takes a 50ms",
            "stops-in a 3s",
            "ignores-term a",
            "heeds-term a",
            "unkillable a",
            "killable a",
            "leaves-child a for=2s ignoring-term",
            "leaves-nothing a",
            "stop-command a fails takes=1s",
            "evidence a never",
            "evidence a incomplete takes=1s",
            "repair a does-not-help takes=5s",
            "repair a not-started",
            "reload a heals",
            "reload a ends-it",
            "judge a rejects",
            "judge a never",
            "run-now a --no-wait",
            "trigger a",
            "calm a",
        ];
        texts.iter().for_each(|text| is_read_back(text));
    }

    fn is_read_back(text: &str) {
        assert_eq!(command(text).map(|parsed| parsed.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn what_runs_say_and_who_comes_is_read_back_too() {
        let texts = [
            "start-lever a hangs",
            "restart-lever a not-started",
            "shows-ready a after=2s",
            "never-shows-ready a",
            "goes-silent a",
            "keeps-alive a",
            "runs-outside a",
            "is-gone-outside a",
            "says a READY",
            "says a STATUS=loading_keys",
            "says a RELOADING",
            "says a STOPPING",
            "says a ERRNO=2",
            "says a EXTEND_TIMEOUT=5s",
            "says a WATCHDOG",
            "says a WATCHDOG=trigger",
            "says a WATCHDOG_TIMEOUT=2s",
            "says a MAINPID=77",
            "shows a",
            "late ready a",
            "connect a",
        ];
        texts.iter().for_each(|text| is_read_back(text));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(command("stop a --onyl"), Err("`--onyl` in `stop a --onyl` is no unit's name".to_owned()));
        assert_eq!(command("probe a maybe"), Err("a probe cannot `maybe`".to_owned()));
        assert_eq!(command("wake a"), Err("`a` in `wake a` is not understood".to_owned()));
        assert_eq!(command("dance a"), Err("no command `dance`".to_owned()));
    }

    #[test]
    fn durations_may_have_fractions() {
        assert_eq!(duration("5.5s"), Some(Duration::from_millis(5500)));
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("5"), None);
        assert_eq!(duration(""), None);
    }
}
