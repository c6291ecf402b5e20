use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;

use hmac::{Hmac, KeyInit as _, Mac as _};

use rustix::process::Signal;
use serde_json::Value;
use sha2::Sha256;

use crate::instance::{Instance, eventually, kill, mcsup, signal};

/// `None`: nobody answers, as between two supervisors.
fn answered(instance: &Instance, name: &str) -> Option<Value> {
    let output = instance.run(&["jobs", "--json", name]);
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(answer["jobs"][0].clone())
}

fn job(instance: &Instance, name: &str) -> Value {
    answered(instance, name).unwrap_or_default()
}

fn wait(instance: &Instance, name: &str, what: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
    let found = eventually(|| answered(instance, name).filter(|job| is(job)));
    found.unwrap_or_else(|| panic!("{what}: {:#}\n{}", job(instance, name), instance.printed()))
}

fn lines(instance: &Instance, file: &str) -> usize {
    fs::read_to_string(instance.path(file)).map_or(0, |text| text.lines().count())
}

fn last_good(instance: &Instance, name: &str) -> Option<String> {
    fs::read_to_string(instance.path(&format!("state/output/{name}/last-good/output"))).ok()
}

#[test]
fn a_schedule_of_seconds_runs_on_time_and_again() {
    let unit = "kind: job\nschedule: '* * * * * *'\ncommand: [sh, -c, 'date +%s.%N >> runs']\n";
    let instance = Instance::booted("job-seconds", &[("tick", unit)]);
    let found = eventually(|| (lines(&instance, "units/runs") >= 3).then_some(()));
    assert!(found.is_some(), "{:#}\n{}", job(&instance, "tick"), instance.printed());
    let text = fs::read_to_string(instance.path("units/runs")).expect("runs");
    let mut seconds: Vec<u64> =
        text.lines().filter_map(|line| line.split('.').next()?.parse().ok()).collect();
    seconds.dedup();
    assert!(seconds.len() >= 2, "one in each second, and not all at once: {text}");
    let told = job(&instance, "tick");
    assert_eq!(told["job"]["verdict"], "passed", "{told:#}");
    assert!(told["job"]["next"].is_string(), "{told:#}");
    assert_eq!(told["runs"][0]["trigger"], "its schedule");
}

#[test]
fn an_interval_counts_from_the_last_start() {
    let unit = "kind: job\nevery: 1s\nrun_at_load: true\ncommand: [sh, -c, 'echo x >> runs']\n";
    let instance = Instance::booted("job-every", &[("poll", unit)]);
    assert!(eventually(|| (lines(&instance, "units/runs") >= 3).then_some(())).is_some());
    let told = job(&instance, "poll");
    assert!(
        told["runs"].as_array().expect("runs").iter().any(|run| run["trigger"] == "its interval"),
        "{told:#}"
    );
    assert!(
        told["runs"].as_array().expect("runs").iter().any(|run| run["trigger"] == "being armed"),
        "{told:#}"
    );
}

const TRENDS: &str = "kind: job\ncommand: [sh, -c, 'cat trends; echo noise >&2']\n\
    output:\n  format: json\n  require:\n    - that: size(output.trends) >= 3\n      else: too few trends\n";

#[test]
fn what_passes_is_kept_and_what_is_garbage_is_rejected_and_replaces_nothing() {
    let instance = Instance::booted("job-judged", &[("trends", TRENDS)]);
    let good = "{\"trends\": [1, 2, 3]}\n";
    fs::write(instance.path("units/trends"), good).expect("an output");
    let output = instance.run(&["run", "trends"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), good, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "trends#1 passed\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(last_good(&instance, "trends").as_deref(), Some(good));

    for (garbage, said) in [
        ("", "empty"),
        ("{\"trends\": [1,", "it is not JSON"),
        ("{\"trends\": [1, 2]}\n", "too few trends"),
        ("{\"other\": 1}\n", "trends"),
    ] {
        fs::write(instance.path("units/trends"), garbage).expect("an output");
        let output = instance.run(&["run", "trends"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("rejected: ") && told.contains(said), "{said}: {told}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), garbage);
        assert_eq!(last_good(&instance, "trends").as_deref(), Some(good), "consumers never read garbage");
    }
    let look = instance.look().expect("a status");
    assert!(look.is("trends", "unhealthy"), "{look:?}");
    let told = job(&instance, "trends");
    assert_eq!(
        (&told["job"]["verdict"], &told["job"]["streak"]),
        (&"rejected".into(), &4.into()),
        "{told:#}"
    );
    assert_eq!(told["runs"].as_array().map(Vec::len), Some(5), "{told:#}");
    assert_eq!(told["runs"][1]["why"], "too few trends: 2 trends, wanted >= 3", "{told:#}");
    assert_eq!(told["runs"][4]["trigger"], "a person");
    let logged = fs::read_to_string(instance.path("log/trends/current")).expect("a log");
    assert!(logged.contains("noise") && logged.contains("[1, 2, 3]"), "both streams are logged: {logged}");

    fs::write(instance.path("units/trends"), good).expect("an output");
    assert_eq!(instance.run(&["run", "trends"]).status.code(), Some(0));
    assert!(instance.look().expect("a status").is("trends", "ready"), "well again");
}

#[test]
fn a_file_of_yesterday_proves_nothing() {
    let unit = "kind: job\ncommand: [sh, -c, 'test -e write && echo \"{}\" > report.json; true']\n\
                output: {files: [{path: report.json, format: json}]}\n";
    let instance = Instance::booted("job-file", &[("report", unit)]);
    fs::write(instance.path("units/report.json"), "{}").expect("an old file");
    let old = fs::File::options().write(true).open(instance.path("units/report.json")).expect("it");
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)).expect("a date");
    let output = instance.run(&["run", "report"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("before this run began"), "{told}");
    fs::write(instance.path("units/write"), "").expect("a file");
    let output = instance.run(&["run", "report"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let kept: PathBuf = instance.path("state/output/report/last-good/files/0/report.json");
    assert_eq!(fs::read_to_string(kept).expect("kept"), "{}\n");
}

#[test]
fn a_file_that_is_replaced_while_it_is_judged_is_never_the_last_good_one() {
    let unit = "kind: job\ncommand: ['true']\noutput: {files: [{path: report.json, format: json, written: any-time}]}\n";
    let instance = Instance::booted("job-replaced", &[("report", unit)]);
    let report = instance.path("units/report.json");
    fs::write(&report, "{\"still\": 1}").expect("a file");
    assert_eq!(instance.run(&["run", "report"]).status.code(), Some(0));

    let is_over = std::sync::atomic::AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let next = instance.path("units/next");
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                fs::write(&next, "{\"moved\": 1}").expect("a file");
                fs::rename(&next, &report).expect("replaced");
            }
        });
        let output = instance.run(&["run", "report"]);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        output
    });
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("it changed while it was judged"), "{told}");
    assert_eq!(output.status.code(), Some(1), "{told}");
    let kept = instance.path("state/output/report/last-good/files/0/report.json");
    assert_eq!(fs::read_to_string(kept).expect("kept"), "{\"still\": 1}");
}

#[test]
fn what_cannot_be_kept_has_not_passed_and_a_last_good_output_that_cannot_be_read_is_not_none() {
    let unit = "kind: job\ncommand: [cat, number]\n\
                output: {format: json, require: ['output > 0', 'previous == null || output >= previous']}\n";
    let instance = Instance::booted("job-unkept", &[("counts", unit)]);
    let run = |number: &str| {
        fs::write(instance.path("units/number"), number).expect("an output");
        let output = instance.run(&["run", "counts"]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // It stands for a full disk: nothing can be put there either.
    let runs = instance.path("state/output/counts/runs");
    fs::create_dir_all(runs.parent().expect("a directory")).expect("a directory");
    fs::write(&runs, "").expect("a file");
    let (code, told) = run("5");
    assert!(code == Some(1) && told.contains("it cannot be kept: "), "{told}");
    assert!(!told.contains("os error"), "{told}");
    let (_, told) = run("0");
    assert!(told.contains("rejected: "), "a judgement stands although it cannot be kept: {told}");
    let verdict = job(&instance, "counts");
    assert_eq!(verdict["runs"][1]["verdict"], "not-judged", "{verdict:#}");
    assert_eq!(verdict["runs"][0]["verdict"], "rejected", "{verdict:#}");

    fs::remove_file(&runs).expect("room again");
    assert_eq!(run("5"), (Some(0), "counts#3 passed\n".to_owned()));
    let good = instance.path("state/output/counts/last-good/output");
    fs::remove_file(&good).expect("it");
    fs::create_dir(&good).expect("no file");
    let (code, told) = run("4");
    assert!(code == Some(1) && told.contains("the last good output cannot be read: "), "{told}");
}

#[test]
fn a_verdict_stands_on_a_line_of_its_own() {
    let instance = Instance::booted("job-line", &[("half", "kind: job\ncommand: [printf, half]\n")]);
    let place = instance.path("both");
    let both = fs::File::create(&place).expect("a file");
    let other = both.try_clone().expect("the same file");
    let mut command = mcsup(&instance.path(""));
    let ended = command.args(["run", "half"]).stdin(Stdio::null()).stdout(both).stderr(other).status();
    assert!(ended.expect("mcsup").success());
    let text = fs::read_to_string(&place).expect("both");
    assert_eq!(text, "half\nhalf#1 passed\n");
    let apart = instance.run(&["run", "half"]);
    assert_eq!(String::from_utf8_lossy(&apart.stdout), "half", "what it wrote, byte for byte");
    assert_eq!(String::from_utf8_lossy(&apart.stderr), "half#2 passed\n");
}

#[test]
fn a_run_that_takes_too_long_is_ended_and_what_it_said_is_kept() {
    let unit = "kind: job\ntimeout: 1s\nstop: {grace: 1s}\ncommand: [sh, -c, 'echo began; sleep 1000']\n";
    let instance = Instance::booted("job-timeout", &[("slow", unit)]);
    let output = instance.run(&["run", "slow"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("timed out after 1s"), "{told}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "began\n");
    assert!(eventually(|| instance.processes().is_empty().then_some(())).is_some(), "nothing of it lives");
}

#[test]
fn a_second_run_while_the_first_works_is_skipped_and_recorded() {
    let unit = "kind: job\ncommand: [sh, -c, 'echo x >> runs; while ! [ -e go ]; do sleep 0.01; done']\n";
    let instance = Instance::booted("job-overlap", &[("long", unit)]);
    instance.done(&["run", "--no-wait", "long"]);
    assert!(eventually(|| (lines(&instance, "units/runs") == 1).then_some(())).is_some());
    let output = instance.run(&["run", "long"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("long#1 has not ended"), "{told}");
    fs::write(instance.path("units/go"), "").expect("a file");
    let told = wait(&instance, "long", "passes", |told| told["job"]["verdict"] == "passed");
    let verdicts: Vec<&str> =
        told["runs"].as_array().expect("runs").iter().filter_map(|run| run["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["passed", "skipped"], "{told:#}");
    assert_eq!(lines(&instance, "units/runs"), 1);
}

#[test]
fn five_steps_run_one_after_the_other_and_a_failed_one_stops_what_follows() {
    let step = |name: &str, after: &str| {
        let after = if after.is_empty() { String::new() } else { format!("after: {{{after}: succeeded}}\n") };
        format!(
            "kind: job\n{after}command: [sh, -c, 'echo {name} >> order; ! [ -e break-{name} ] && echo done']\n\
             output: {{contains: done}}\n"
        )
    };
    let names = ["create", "format", "plan", "post", "analyse"];
    let units: Vec<(&str, String)> = names
        .iter()
        .enumerate()
        .map(|(at, name)| (*name, step(name, at.checked_sub(1).map_or("", |before| names[before]))))
        .collect();
    let units: Vec<(&str, &str)> = units.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let instance = Instance::booted("job-pipeline", &units);
    instance.done(&["run", "create"]);
    wait(&instance, "analyse", "the last step", |told| told["job"]["verdict"] == "passed");
    let order = fs::read_to_string(instance.path("units/order")).expect("an order");
    assert_eq!(order.lines().collect::<Vec<_>>(), names);

    fs::write(instance.path("units/break-plan"), "").expect("a file");
    instance.done(&["run", "create"]);
    wait(&instance, "plan", "breaks", |told| told["job"]["verdict"] == "failed");
    let told = wait(&instance, "post", "says so", |told| told["runs"][0]["verdict"] == "skipped");
    assert!(told["runs"][0]["why"].as_str().unwrap_or_default().contains("plan"), "{told:#}");
    let order = fs::read_to_string(instance.path("units/order")).expect("an order");
    assert_eq!(order.lines().count(), 8, "{order}");
}

#[test]
fn a_supervisor_killed_in_the_middle_of_a_run_loses_no_word_of_it() {
    let unit = "kind: job\ncommand: [sh, -c, 'echo before; echo x >> runs; while ! [ -e go ]; do sleep 0.01; done; \
                echo after']\noutput: {require: ['lines == [\"before\", \"after\"]']}\n";
    let instance = Instance::booted("job-crash", &[("long", unit)]);
    instance.done(&["run", "--no-wait", "long"]);
    assert!(eventually(|| (lines(&instance, "units/runs") == 1).then_some(())).is_some());
    let supervisor = instance.supervisor();
    // Held down while the run ends: what it says meanwhile is the keeper's to keep.
    signal(supervisor, Signal::STOP);
    fs::write(instance.path("units/go"), "").expect("a file");
    kill(supervisor);
    let told = wait(&instance, "long", "passes", |told| told["job"]["verdict"] == "passed");
    assert_ne!(instance.supervisor(), supervisor);
    assert_eq!(last_good(&instance, "long").as_deref(), Some("before\nafter\n"));
    assert_eq!(lines(&instance, "units/runs"), 1, "no second run: {told:#}");
    assert_eq!(told["job"]["streak"], 1, "{told:#}");
}

#[test]
fn a_supervisor_killed_in_the_middle_of_a_judgement_judges_again_and_runs_nothing_twice() {
    let unit = "kind: job\ncommand: [sh, -c, 'echo x >> runs; echo result']\n\
                output: {matches: {pattern: '(a|aa)+$', at_least: 0}, contains: result}\n";
    let instance = Instance::booted("job-crash-judge", &[("judged", unit)]);
    for round in 1..=5 {
        instance.done(&["run", "--no-wait", "judged"]);
        // Anywhere between its order and its verdict.
        let reached = eventually(|| (lines(&instance, "units/runs") == round).then_some(()));
        assert!(reached.is_some(), "{}", instance.printed());
        let supervisor = instance.supervisor();
        kill(supervisor);
        let back = eventually(|| instance.ring("__supervisor").filter(|pid| *pid != supervisor));
        assert!(back.is_some(), "{}", instance.printed());
        let told = wait(&instance, "judged", "passes", |told| {
            told["job"]["streak"] == round && told["job"]["running"].as_array().is_some_and(Vec::is_empty)
        });
        assert_eq!(told["job"]["verdict"], "passed", "{told:#}");
        assert_eq!(lines(&instance, "units/runs"), round, "no second run: {told:#}");
    }
}

#[test]
fn slots_that_nobody_was_there_for_are_made_up_once_and_told() {
    let unit = "kind: job\nschedule: '0 * * * *'\ncommand: [sh, -c, 'echo x >> runs']\n";
    let mut instance = Instance::booted("job-missed", &[("hourly", unit)]);
    instance.done(&["shutdown"]);
    instance.ended();
    let path = instance.path("state/jobs.json");
    let mut past: Value = serde_json::from_slice(&fs::read(&path).expect("jobs.json")).expect("JSON");
    let slot = past["hourly"]["last_slot"].as_u64().expect("a slot");
    past["hourly"]["last_slot"] = (slot - 5 * 3_600_000_000_000).into();
    fs::write(&path, past.to_string()).expect("a write");
    instance.up();
    let told = wait(&instance, "hourly", "made up", |told| told["job"]["verdict"] == "passed");
    assert_eq!(lines(&instance, "units/runs"), 1, "once for all: {told:#}");
    let runs = told["runs"].as_array().expect("runs");
    assert!(runs.iter().any(|run| run["verdict"] == "missed"), "{told:#}");
    assert_eq!(runs[0]["trigger"], "its schedule", "{told:#}");
}

#[test]
fn what_will_run_is_told_without_a_supervisor() {
    let unit = "kind: job\nschedule: '0 6 * * *'\ntimezone: Europe/Berlin\ncommand: 'true'\n";
    let instance = Instance::new("job-next", &[("brief", unit)]);
    let units = instance.path("units");
    let units = units.to_str().expect("a path");
    let output = instance.run(&["jobs", "--next", "2", "--from", "2026-03-27T12:00:00Z", "--dir", units]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said,
        "Sat 2026-03-28 06:00 CET   brief\nSun 2026-03-29 06:00 CEST  brief\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_slots_of_what_is_no_job_are_refused_by_name() {
    let units = [("hourly", "kind: job\nschedule: '0 * * * *'\ncommand: [x]\n"), ("web", "command: [x]\n")];
    let instance = Instance::new("job-nope", &units);
    let dir = instance.path("units");
    for (name, said) in [("nope", "no unit is called `nope`"), ("web", "`web` is no job")] {
        let output = instance.run(&["jobs", name, "--next", "3", "--dir", dir.to_str().expect("a path")]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(said), "{told}");
        assert_eq!(output.status.code(), Some(1), "{told}");
    }
}

#[test]
fn a_keeper_killed_in_the_middle_of_a_run_loses_no_word_of_it_and_the_next_one_judges() {
    let unit = "kind: job\ncommand: [sh, -c, 'echo before; echo x >> runs; while ! [ -e go ]; do sleep 0.01; done; \
                echo after']\noutput: {require: ['lines == [\"before\", \"after\"]']}\n";
    let instance = Instance::booted("job-keeper", &[("long", unit)]);
    instance.done(&["run", "--no-wait", "long"]);
    assert!(eventually(|| (lines(&instance, "units/runs") == 1).then_some(())).is_some());
    let keeper = instance.keeper();
    kill(keeper);
    let next = eventually(|| instance.ring("__keeper").filter(|pid| *pid != keeper));
    assert!(next.is_some(), "a new keeper: {}", instance.printed());
    fs::write(instance.path("units/go"), "").expect("a file");
    // How it ended nobody may be able to tell any more; what it wrote is there.
    let told = wait(&instance, "long", "ends", |told| told["job"]["verdict"].is_string());
    let kept = told["runs"][0]["kept"].as_u64().expect("it is kept");
    let output = instance.path(&format!("state/output/long/runs/{kept:06}/output"));
    assert_eq!(fs::read_to_string(output).expect("an output"), "before\nafter\n");
    assert_eq!(lines(&instance, "units/runs"), 1, "no second run: {told:#}");
    // And the new keeper starts judges.
    let output = instance.run(&["run", "long"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_output_that_takes_the_judge_all_its_memory_is_not_judged_and_the_supervisor_lives() {
    let unit = "kind: job\ncommand: [sh, bomb]\noutput: {format: json, max_size: 64M}\n";
    let instance = Instance::new("job-bomb", &[("bomb", unit)]);
    // Thirty million numbers: small as bytes, and gigabytes as a tree.
    let script = "printf '['; yes 1, | head -c 60000000 | tr -d '\\n'; printf '1]'\n";
    fs::write(instance.path("units/bomb"), script).expect("a script");
    let mut instance = instance;
    instance.up();
    instance.wait("booted", |look| look.0["booted"] == true);
    let output = instance.run(&["run", "bomb"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("could not be judged: it takes more than"), "{told}");
    let told = job(&instance, "bomb");
    assert_eq!(told["job"]["verdict"], "not-judged", "{told:#}");
    assert!(instance.look().expect("the supervisor lives").is("bomb", "unhealthy"));
}

#[test]
fn a_file_that_appears_starts_a_run_and_a_new_supervisor_watches_on() {
    let unit =
        "kind: job\npath: {path: 'inbox/*.csv', debounce: 20ms}\ncommand: [sh, -c, 'echo x >> runs']\n";
    let instance = Instance::booted("job-path", &[("import", unit)]);
    fs::create_dir(instance.path("units/inbox")).expect("a directory");
    fs::write(instance.path("units/inbox/other.txt"), "x").expect("a file");
    fs::write(instance.path("units/inbox/one.csv"), "x").expect("a file");
    let told = wait(&instance, "import", "runs", |told| told["job"]["verdict"] == "passed");
    assert_eq!(told["runs"][0]["trigger"], "a change of inbox/*.csv", "{told:#}");
    let supervisor = instance.supervisor();
    kill(supervisor);
    let back = eventually(|| instance.ring("__supervisor").filter(|pid| *pid != supervisor));
    assert!(back.is_some(), "{}", instance.printed());
    let mut looks = 0_u32;
    let found = eventually(|| {
        looks += 1;
        // Not at each look, of which two are in one debounce: what never rests starts nothing.
        if looks % 20 == 1 {
            // Each is another file, until somebody watches again.
            fs::write(instance.path("units/inbox/two.csv"), looks.to_string()).ok()?;
            let one = fs::OpenOptions::new().append(true).open(instance.path("units/inbox/one.csv"));
            one.ok()?.write_all(b"x").ok()?;
        }
        (lines(&instance, "units/runs") >= 2).then_some(())
    });
    assert!(found.is_some(), "{:#}\n{}", job(&instance, "import"), instance.printed());
}

fn post(port: u16, path: &str, headers: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).expect("a request");
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn signed(secret: &str, at: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(format!("{at}.{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X-Mcsup-Timestamp: {at}\r\nX-Mcsup-Signature: sha256={hex}\r\n")
}

fn unix_now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(now.tv_sec).expect("after 1970")
}

#[test]
fn a_signed_call_starts_a_run_that_reads_its_body_and_no_other_call_does() {
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let settings = format!("hooks: {{listen: '127.0.0.1:{port}'}}\n");
    let unit = "kind: job\noverlap: queue\nwebhook: {secret_file: secret, per_minute: 3}\ncommand: [sh, -c, 'cat; cat > /dev/null']\n";
    let mut instance = Instance::new("job-hook", &[("deploy", unit), ("mcsup", &settings)]);
    fs::write(instance.path("units/secret"), "s3cret\n").expect("a secret");
    instance.up();
    instance.wait("booted", |look| look.0["booted"] == true);
    let listens = || TcpStream::connect(("127.0.0.1", port)).ok().map(drop);
    assert!(eventually(listens).is_some(), "{}", instance.printed());

    let (now, body) = (unix_now(), "{\"ref\": \"main\"}");
    let good = signed("s3cret", now, body);
    let refused = [
        ("another secret", post(port, "/v1/hooks/deploy", &signed("guess", now, body), body)),
        ("another body", post(port, "/v1/hooks/deploy", &good, "{}")),
        ("no signature", post(port, "/v1/hooks/deploy", "", body)),
        ("too old", post(port, "/v1/hooks/deploy", &signed("s3cret", now - 400, body), body)),
        ("too new", post(port, "/v1/hooks/deploy", &signed("s3cret", now + 400, body), body)),
        ("another job", post(port, "/v1/hooks/other", &good, body)),
    ];
    for (what, status) in refused {
        assert_eq!(status, 403, "{what}");
    }
    assert_eq!(post(port, "/v1/status", &good, body), 404, "nothing else is there");
    assert_eq!(job(&instance, "deploy")["runs"].as_array().map(Vec::len), Some(0), "nobody ran");

    assert_eq!(post(port, "/v1/hooks/deploy", &good, body), 202, "{}", instance.printed());
    let told = wait(&instance, "deploy", "runs", |told| told["job"]["verdict"] == "passed");
    assert_eq!(told["runs"][0]["trigger"], "its webhook");
    let output = instance.path("state/output/deploy/last-good/output");
    let read = eventually(|| fs::read_to_string(&output).ok());
    assert_eq!(read.as_deref(), Some(body), "the run reads the body");
    assert_eq!(post(port, "/v1/hooks/deploy", &good, body), 409, "taken once");

    let large = "x".repeat((1 << 20) + 1);
    assert_eq!(post(port, "/v1/hooks/deploy", &signed("s3cret", now, &large), &large), 413);
    let largest = "y".repeat(1 << 20);
    assert_eq!(post(port, "/v1/hooks/deploy", &signed("s3cret", now, &largest), &largest), 202);
    assert_eq!(post(port, "/v1/hooks/deploy", &signed("s3cret", now, "3"), "3"), 202);
    assert_eq!(
        post(port, "/v1/hooks/deploy", &signed("s3cret", now, "4"), "4"),
        429,
        "the fourth in a minute"
    );
    wait(&instance, "deploy", "all run", |told| told["job"]["streak"] == 3);
    instance.done(&["stop", "deploy"]);
}
