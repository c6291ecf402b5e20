//! mcsup as process 1 of a machine: from the kernel's first program to the power switch.

use serde_json::Value;

use crate::machine::{Image, Machine, Owner, WORDS, mcsup};

/// Memory of a machine whose programs are all in it.
const MEMORY_MIB: u32 = 512;

const SETTINGS: &str = "phases: [early, core, late]\n";
/// A file system that somebody has to unmount.
const DATA: &str =
    "kind: task\nphase: early\ncommand: [sh, -c, 'mkdir -p /data && mount -t tmpfs data /data']\n";
/// Says on the story's line when it is told to end.
const SERVICE: &str = "phase: PHASE\ncommand: [/service, NAME]\nrestart: {backoff: {initial: 0s}}\nREST";
const SERVICE_SCRIPT: &str = "#!/bin/sh\n\
                              trap 'echo \"stopped $1\" > /dev/ttyS1; exit 0' TERM\n\
                              while :; do sleep 0.2; done\n";
const STORY: &str = "kind: task\nphase: late\nrestart: {policy: never}\n\
                     depends_on: [web]\n\
                     command: [sh, -c, 'sh /story > /dev/ttyS1 2>&1']\n";

const PLAY: &str = r#"
tell uptime cat /proc/uptime
tell mounts cat /proc/mounts
tell host hostname
tell loopback ping -c 1 -W 5 127.0.0.1
tell first cat /proc/1/comm
tell environment sh -c "tr '\0' '\n' < /proc/$$/environ"

pid_of() { mcsup status "$1" --json | tr ',' '\n' | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -n 1; }
is_new() { new=$(pid_of "$1"); [ -n "$new" ] && [ "$new" != "$2" ]; }
core=$(pid_of core)
kill -9 "$core"
wait_for is_new core "$core"
tell healed mcsup status core --json

web=$(pid_of web)
sed 's/web/web, changed/' /etc/mcsup/units/web.yaml > /etc/mcsup/units/.new
mv /etc/mcsup/units/.new /etc/mcsup/units/web.yaml
wait_for is_new web "$web"
tell changed sh -c "tr '\0' ' ' < /proc/$(pid_of web)/cmdline"

core=$(pid_of core)
# In brackets, so that whoever looks is not found.
supervisor() { grep -l '_[_]supervisor' /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3 | head -n 1; }
old=$(supervisor)
kill -9 "$old"
another() { new=$(supervisor); [ -n "$new" ] && [ "$new" != "$old" ] && [ -n "$(pid_of core)" ]; }
wait_for another
tell same echo "$core $(pid_of core)"

# Nobody's, and deaf: it outlives every unit, and is ended last.
env -i /bin/setsid /bin/sh -c 'trap "" TERM; exec /bin/sleep 100000' < /dev/null > /dev/null 2>&1 &
# As systemd and container runtimes say it: SIGRTMIN+4.
kill -38 1
"#;

/// A machine without any init but mcsup.
fn image(units: &[(&str, &str)], story: &str) -> Image {
    let mut image = Image::new();
    image.copy(mcsup(), "/bin/mcsup", Owner::default());
    image.libraries(mcsup());
    image.text("/etc/hostname", "apollo\n");
    image.text("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    image.script("/service", SERVICE_SCRIPT);
    image.text("/story", &format!("{WORDS}{story}"));
    for (name, text) in units {
        image.text(&format!("/etc/mcsup/units/{name}.yaml"), text);
    }
    image
}

fn service(name: &str, phase: &str, rest: &str) -> String {
    SERVICE.replace("PHASE", phase).replace("NAME", name).replace("REST", rest)
}

fn unit(machine: &mut Machine, section: &str) -> Value {
    let told = machine.told(section);
    let table: Value =
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}\n{machine}"));
    table["units"][0].clone()
}

#[test]
fn process_1_of_a_machine_boots_heals_takes_changes_and_switches_it_off() {
    let core = service("core", "core", "");
    let web = service("web", "late", "depends_on: [core]\n");
    let units = [("mcsup", SETTINGS), ("data", DATA), ("core", &core), ("web", &web), ("story", STORY)];
    let words = "rdinit=/bin/mcsup -- init";
    let mut machine = Machine::boot_with("init", &image(&units, PLAY), MEMORY_MIB, words);

    let uptime = machine.told("uptime");
    println!(
        "{} s from the start of the kernel to the last phase",
        uptime.split(' ').next().unwrap_or_default()
    );
    let mounts = machine.told("mounts");
    for place in
        ["/proc proc", "/sys sysfs", "/dev devtmpfs", "/run tmpfs", "/sys/fs/cgroup cgroup2", "/data tmpfs"]
    {
        assert!(mounts.contains(&format!(" {place} ")), "{place} is missing in\n{mounts}\n{machine}");
    }
    assert_eq!(machine.told("host").trim(), "apollo");
    assert!(machine.told("loopback").contains("1 packets received"), "{machine}");
    assert_eq!(machine.told("first").trim(), "mcsup");
    assert!(machine.told("environment").contains("PATH=/usr/local/sbin:"), "{machine}");

    let core = unit(&mut machine, "healed");
    assert!(core["restarts"] == 1 && core["state"] != "failed", "{core:#}");
    assert!(machine.told("changed").contains("web changed"), "{machine}");
    let same = machine.told("same");
    let pids: Vec<&str> = same.split_whitespace().collect();
    assert!(pids.len() == 2 && pids[0] == pids[1], "the service has another process: {same}\n{machine}");

    let (console, story) = machine.ended();
    let stopped: Vec<&str> = story.lines().filter(|line| line.starts_with("stopped ")).collect();
    // The change has ended one web, and in the end the one that needs the other goes first.
    assert_eq!(stopped, ["stopped web", "stopped web", "stopped core"], "{story}");
    assert!(console.contains("unmounted 1, 0 left"), "{console}");
    assert!(console.contains("the power goes off"), "{console}");
    assert!(!console.contains("Kernel panic"), "{console}");
}

/// Mends what is wrong as a person would, at the console, and leaves somebody there who is no unit's: whoever is may only
/// look.
const RESCUE: &str = "#!/bin/sh\n\
                      { echo '@@@ rescue'; tty; cat /proc/$$/stat; echo '@@@ end'; } > /dev/ttyS1 2>&1\n\
                      printf 'kind: task\\nrestart: {policy: never}\\ncommand: [sh, -c, \"sh /story > /dev/ttyS1 2>&1\"]\\n' \
                      > /etc/mcsup/units/story.yaml\n\
                      { until [ -e /mended ]; do sleep 0.2; done; mcsup shutdown --reboot > /dev/ttyS1 2>&1; } < /dev/null &\n";

#[test]
fn without_units_a_machine_gives_a_shell_where_that_was_asked_for_and_boots_when_it_is_left() {
    let story = "tell mended mcsup status\ntouch /mended\n";
    let mut image = image(&[("story", "command: [")], story);
    image.script("/rescue", RESCUE);
    // The kernel passes on what it does not know, and mcsup does not know it either.
    let words = "rdinit=/bin/mcsup mcsup.emergency_shell=/rescue unknown_word";
    let mut machine = Machine::boot_with("emergency", &image, MEMORY_MIB, words);
    let rescue = machine.told("rescue");
    let terminal = rescue.lines().next().unwrap_or_default();
    assert!(terminal.starts_with("/dev/"), "a terminal: {rescue}\n{machine}");
    let stat: Vec<&str> = rescue.lines().nth(1).unwrap_or_default().split(' ').collect();
    assert!(stat.len() > 7 && stat[6] != "0", "it has a terminal of its own: {rescue}\n{machine}");
    assert!(machine.told("mended").contains("story"), "{machine}");
    let (console, _) = machine.ended();
    assert!(console.contains("the machine starts again") && !console.contains("Kernel panic"), "{console}");
}
