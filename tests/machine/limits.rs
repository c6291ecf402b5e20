//! Limits of units where the kernel enforces them: groups of version 2 with all their controllers.

use mcsup::incident::cause::Rule;
use mcsup::incident::evidence::{Evidence, OomVerdict};
use serde_json::Value;

use crate::machine::{INIT, Image, Machine, Owner, WORDS, mcsup};

#[test]
fn limits_hold_change_without_a_restart_and_the_kill_of_who_exceeds_them_is_evidence() {
    let mut image = Image::new();
    image.script("/init", INIT);
    image.text("/story", &format!("{WORDS}{STORY}"));
    image.text("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    image.text("/home/units/web.yaml", WEB);
    image.text("/wider.yaml", &WEB.replace("64M", "96M").replace("tasks: 5", "tasks: 9"));
    image.text("/home/units/greedy.yaml", GREEDY);
    image.script("/grows", "#!/bin/sh\nx=0123456789abcdef\nwhile :; do x=$x$x; done\n");
    image.text("/home/units/crowd.yaml", CROWD);
    image.script("/forks", "#!/bin/sh\nfor i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done\nexec sleep 1000\n");
    image.copy(mcsup(), "/bin/mcsup", Owner::default());
    image.libraries(mcsup());
    let mut machine = Machine::boot("limits", &image, 384);

    assert_eq!(numbers(&mut machine, "limits"), ["67108864", "50000", "100000", "5"]);
    assert_eq!(numbers(&mut machine, "wider"), ["100663296", "9"]);
    let [before, after] = ["before", "after"].map(|name| machine.told(name));
    assert!(
        before == after && before.trim().parse::<u32>().is_ok(),
        "it was restarted: {before}{after}\n{machine}"
    );

    let status = json(&mut machine, "status");
    let limited = status["cgroups"]["limits"].as_array().map(Vec::len);
    assert!(status["cgroups"]["used"] == true && limited == Some(3), "{status:#}");
    let web = status["units"].as_array().and_then(|units| units.iter().find(|unit| unit["name"] == "web"));
    let used = web.map_or(&Value::Null, |web| &web["used"]);
    assert!(used["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{status:#}");
    assert_eq!(used["tasks"], 1, "{status:#}");

    let incident = json(&mut machine, "incident");
    let evidence: Evidence = serde_json::from_value(incident["evidence"].clone()).expect("evidence");
    assert_eq!(evidence.unit, "greedy");
    assert_eq!(evidence.out_of_memory.verdict, OomVerdict::Killed, "{:?}", evidence.out_of_memory);
    assert_eq!(evidence.causes.first().map(|cause| cause.rule), Some(Rule::OutOfMemory), "{evidence:#?}");
    assert!(machine.told("crowd").contains("fork"), "{machine}");
    machine.ended();
}

fn numbers(machine: &mut Machine, name: &str) -> Vec<String> {
    machine.told(name).split_whitespace().map(str::to_owned).collect()
}

fn json(machine: &mut Machine, name: &str) -> Value {
    let text = machine.told(name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{name}`: {error}\n{text}\n{machine}"))
}

const WEB: &str = "command: [sleep, '1000']\nlimits: {memory: 64M, cpu: 0.5, tasks: 5, required: true}\n";
const CROWD: &str = "command: [/forks]\nenabled: false\nrestart: never\nlimits: {tasks: 5, required: true}\n";
const GREEDY: &str =
    "command: [/grows]\nenabled: false\nrestart: never\nlimits: {memory: 32M, required: true}\n";

const STORY: &str = r#"
export MCSUP_HOME=/home
mcsup up 2>&1 | cat > /dev/console 2>&1 &
is_ready() { mcsup status web --json | grep -q '"state": *"ready"'; }
wait_for is_ready
group=$(echo /sys/fs/cgroup/mcsup-*/u-web)
tell limits cat $group/memory.max $group/cpu.max $group/pids.max
pid() { mcsup status web --json | sed 's/.*"pid": *\([0-9]*\).*/\1/'; }
tell before pid
cp /wider.yaml /home/units/web.yaml
is_wider() { test "$(cat $group/memory.max)" = 100663296; }
wait_for is_wider
is_wide() { test "$(cat $group/pids.max)" = 9; }
wait_for is_wide
tell wider cat $group/memory.max $group/pids.max
tell after pid
tell status mcsup status --used --json
mcsup start greedy --no-wait
is_told() { mcsup incidents 1 --json | grep -q 'want of memory'; }
wait_for is_told
tell incident mcsup incidents 1 --json
mcsup start crowd --no-wait
is_full() { grep -q fork /home/log/crowd/current; }
wait_for is_full
tell crowd cat /home/log/crowd/current
mcsup shutdown
"#;
