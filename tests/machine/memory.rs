//! Servers that the kernel kills for want of memory: of their own group's, and of the whole machine's.
//!
//! Groups are of version 2 here, whatever the host has.

use std::path::Path;

use mcsup::incident::cause::Rule;
use mcsup::incident::evidence::{Evidence, OomVerdict};
use serde_json::Value;

use crate::cluster::{cluster, installed};
use crate::machine::{INIT, Image, Machine, Owner, WORDS, mcsup};

const REDIS: Owner = Owner(102);
const POSTGRES: Owner = Owner(101);
const USERS: &str = "root:x:0:0::/root:/bin/sh\n\
                     postgres:x:101:101::/data:/bin/sh\n\
                     redis:x:102:102::/data:/bin/sh\n";

#[test]
fn a_redis_that_outgrew_its_group_is_back_and_the_want_of_memory_is_the_cause() {
    // Its own group has the limit, and no other does.
    let mut image =
        image("redis", REDIS, &redis_unit("limits: {memory: 64M, required: true}\n"), "max", REDIS_GROWS);
    image.script("/start", &START.replace(JOIN, "").replace("USER", &REDIS.0.to_string()));
    redis_programs(&mut image);
    let machine = Machine::boot("redis-group", &image, 512);
    assert_healed(machine, "redis", "Memory cgroup out of memory: Killed process");
}

#[test]
fn a_redis_that_outgrew_the_machine_is_back_and_nothing_else_was_killed() {
    let mut image = image("redis", REDIS, &redis_unit("oom_score_adjust: 1000\n"), "max", REDIS_GROWS);
    redis_programs(&mut image);
    let machine = Machine::boot("redis-machine", &image, 512);
    assert_healed(machine, "redis", "Out of memory: Killed process");
}

#[test]
fn a_postgres_that_outgrew_its_group_is_back_and_the_want_of_memory_is_the_cause() {
    let installed = installed();
    let server = installed.programs.join("postgres").display().to_string();
    let psql = installed.programs.join("psql").display().to_string();
    // What the server starts is not doomed as it is itself: the kernel takes the server, not the greedy session.
    let unit = format!(
        "command: [/start, /doomed, {server}, -D, /data/cluster, -k, /tmp, -c, shared_buffers=8MB, -c, fsync=off]\n\
         environment: {{PG_OOM_ADJUST_FILE: /proc/self/oom_score_adj}}\n\
         stop: {{signal: SIGINT, grace: 5s}}\n\
         health: {{postgres: {{port: 5432, query: select 1}}, {HEALTH}}}\n{PERSISTENT}"
    );
    let grows = format!("{psql} -h /tmp -U postgres -f /grows.sql");
    let mut image = image("postgres", POSTGRES, &unit, "96M", &grows);
    image.text("/grows.sql", POSTGRES_GROWS);
    image.script("/doomed", DOOMED);
    for program in [&server, &psql] {
        image.program(program);
    }
    image.tree(
        &installed.share.join("timezonesets"),
        &share(&installed.share, "timezonesets"),
        Owner::default(),
    );
    // It looks for these, and reads them when somebody asks for what is in them.
    image.directory(&installed.libraries.display().to_string(), Owner::default());
    image.tree(cluster(), "/data/cluster", POSTGRES);
    let machine = Machine::boot("postgres-group", &image, 768);
    assert_healed(machine, "postgres", "Memory cgroup out of memory: Killed process");
}

fn share(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

/// Besides the question.
const HEALTH: &str = "interval: 500ms, timeout: 300ms, retries: 3, start_period: 60s, start_interval: 200ms";
/// Nobody waits for the evidence of a run that has ended: the pause is longer than an emulated machine takes for it.
const PERSISTENT: &str = "start_timeout: 90s\n\
                          restart: {backoff: {initial: 3s, max: 3s, jitter: 0}}\n\
                          recover: {rungs: [restart], settle: 5s}\n";

/// Ten megabytes at a time, so that it answers its probe until the end.
const REDIS_GROWS: &str = "for i in $(seq 100); do /usr/bin/redis-cli setrange $i 10000000 x || break; done";
const POSTGRES_GROWS: &str = "set work_mem = '1GB';\n\
                              select count(*) from (select repeat('x', 1000) || g as s \
                              from generate_series(1, 1000000) g order by 1) q;\n";

/// Told by its own user: what root says, a user's processes may not take back, and the server's are to.
const DOOMED: &str = "#!/bin/sh\necho 1000 > /proc/self/oom_score_adj\nexec \"$@\"\n";

fn redis_unit(more: &str) -> String {
    format!(
        "command: [/start, /usr/bin/redis-server, --dir, /data, --save, '']\n\
         health: {{redis: {{port: 6379}}, {HEALTH}}}\n{PERSISTENT}{more}"
    )
}

fn redis_programs(image: &mut Image) {
    for program in ["/usr/bin/redis-server", "/usr/bin/redis-cli"] {
        image.program(program);
    }
}

/// A machine with this one unit, whose processes may use so much memory, and the command that makes it grow.
fn image(unit: &str, user: Owner, definition: &str, most: &str, grows: &str) -> Image {
    let mut image = Image::new();
    image.script("/init", INIT);
    let start = START.replace("USER", &user.0.to_string());
    image.script("/start", &start);
    let story = STORY.replace("UNIT", unit).replace("MOST", most).replace("GROWS", grows);
    image.text("/story", &format!("{WORDS}{story}"));
    image.text("/etc/passwd", USERS);
    image.text(&format!("/home/units/{unit}.yaml"), definition);
    image.directory("/data", user);
    image.copy(mcsup(), "/bin/mcsup", Owner::default());
    image.libraries(mcsup());
    for program in ["/usr/bin/setpriv", "/usr/bin/date"] {
        image.program(program);
    }
    image
}

/// Detected, seen before anything began anew, healed, and all of it one incident.
#[track_caller]
fn assert_healed(mut machine: Machine, unit: &str, kernel_says: &str) {
    let incident = json(&mut machine, "incident");
    let evidence: Evidence = serde_json::from_value(incident["evidence"].clone()).expect("evidence");
    assert_out_of_memory(&evidence, unit, kernel_says);
    let [from, until] = ["from", "until"].map(|name| millis(&mut machine, name));
    let detected = evidence.times.detected_millis;
    assert!((from..=until + LATEST_MILLIS).contains(&detected), "{from}..{until}, detected at {detected}");

    // What was on the disk when the second run began.
    let seen: Evidence = serde_json::from_value(json(&mut machine, "seen")).expect("evidence");
    assert_out_of_memory(&seen, unit, kernel_says);
    let began = millis(&mut machine, "began");
    assert!(seen.captured_millis <= began, "captured at {}, begun at {began}", seen.captured_millis);

    assert!(
        evidence.times.recovered_millis >= Some(began) && !evidence.healed_by.is_empty(),
        "{evidence:#?}"
    );
    let listed = json(&mut machine, "incidents");
    assert_eq!(listed["incidents"].as_array().map(Vec::len), Some(1), "{listed:#}");
    let status = json(&mut machine, "status");
    let units = status["units"].as_array().expect("units");
    assert!(units.len() == 1 && units[0]["state"] == "ready" && units[0]["restarts"] == 1, "{status:#}");
    let kills = machine.told("kills");
    let mut kills = kills.lines().filter(|line| !line.is_empty()).peekable();
    let is_alone = kills.peek().is_some() && kills.all(|line| line.contains(&format!("({unit}")));
    assert!(is_alone, "something else was killed, or nothing:\n{machine}");
    let why = machine.told("why");
    assert!(why.contains("ready"), "{why}");
    let page = machine.told("page");
    assert!(page.contains("the kernel killed it for want of memory"), "{page}");
    machine.ended();
}

#[track_caller]
fn assert_out_of_memory(evidence: &Evidence, unit: &str, kernel_says: &str) {
    assert_eq!(evidence.unit, unit);
    assert!(evidence.is_complete(), "{:?}", evidence.incomplete);
    assert_eq!(evidence.causes.first().map(|cause| cause.rule), Some(Rule::OutOfMemory), "{evidence:#?}");
    assert!(evidence.exit.is_some_and(|exit| exit.signal == Some(9) && !exit.is_ours), "{:?}", evidence.exit);
    let found = &evidence.out_of_memory;
    assert_eq!(found.verdict, OomVerdict::Killed, "{found:?}");
    assert!(found.text.starts_with(kernel_says) && found.text.contains(unit), "{found:?}");
}

fn json(machine: &mut Machine, name: &str) -> Value {
    let text = machine.told(name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{name}`: {error}\n{text}\n{machine}"))
}

fn millis(machine: &mut Machine, name: &str) -> u64 {
    let text = machine.told(name);
    text.trim().parse().unwrap_or_else(|error| panic!("`{name}`: {error}\n{text}\n{machine}"))
}

/// After the client was hung up on: what the probe would have needed, three times 500 ms, 300 ms and 500 ms more.
const LATEST_MILLIS: u64 = 2300;

/// Into the group that the story made.
const JOIN: &str = "echo $$ > /sys/fs/cgroup/unit/cgroup.procs\n";

/// Keeps what is known of earlier trouble when a run begins, joins the group, and becomes the server.
const START: &str = r#"#!/bin/sh
to="/seen/${MCSUP_RUN%%:*}"
mkdir -p "$to"
cp -r /home/state/incidents/. "$to/" 2> /dev/null
/usr/bin/date +%s%3N > "$to/at"
echo $$ > /sys/fs/cgroup/unit/cgroup.procs
exec /usr/bin/setpriv --reuid USER --regid USER --clear-groups -- "$@"
"#;

const STORY: &str = r#"
mkdir /sys/fs/cgroup/unit
echo MOST > /sys/fs/cgroup/unit/memory.max
export MCSUP_HOME=/home
mcsup up 2>&1 | cat > /dev/console 2>&1 &
is_ready() { mcsup status UNIT --json | grep -q '"state": *"ready"'; }
wait_for is_ready
tell from /usr/bin/date +%s%3N
{ GROWS; } > /grows.log 2>&1
tell until /usr/bin/date +%s%3N
tell client cat /grows.log
wait_for test -e '/seen/UNIT#2/at'
wait_for is_ready
# Ends well once it is over.
wait_for mcsup incidents 1
tell seen cat '/seen/UNIT#2/000001/evidence.json'
tell began cat '/seen/UNIT#2/at'
tell incident mcsup incidents 1 --json
tell incidents mcsup incidents --json
tell status mcsup status --json
tell why mcsup why UNIT
tell kills sh -c 'dmesg | grep "Killed process"'
tell page mcsup incidents 1
mcsup shutdown
"#;
