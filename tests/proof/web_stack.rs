//! PostgreSQL, Redis, and nginx in front: booted, asked, killed and stopped for real.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::copies::copy_example;
use crate::instance::{Instance, eventually, is_alive, kill, mcsup};
use crate::place::{free_ports, public_home};

struct Stack {
    instance: Instance,
    data: PathBuf,
    postgres: u16,
    redis: u16,
    nginx: u16,
}

impl Stack {
    fn new() -> Self {
        let instance = Instance::at(public_home("web-stack"), &[]);
        let data = instance.path("data");
        fs::create_dir(&data).expect("a directory");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("permissions");
        let [postgres, redis, nginx] = free_ports();
        let mut replaced =
            vec![("47432", postgres.to_string()), ("47379", redis.to_string()), ("47080", nginx.to_string())];
        if !rustix::process::geteuid().is_root() {
            // Everything belongs to whoever runs the test.
            replaced.push(("user: postgres\n", String::new()));
            replaced.push(("user: redis\n", String::new()));
            replaced.push((" -o postgres -g postgres", String::new()));
            replaced.push((" -o redis -g redis", String::new()));
            replaced.push(("--auth=trust", "--auth=trust --username=postgres".to_owned()));
        }
        copy_example(&instance, "web-stack", &replaced);
        Self { instance, data, postgres, redis, nginx }
    }

    fn answers(&self, unit: &str) -> bool {
        let port = |port: u16| port.to_string();
        match unit {
            "postgres" => {
                let arguments =
                    ["-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-Atc", "select 6 * 7"];
                said("psql", &[&arguments[..], &["-p", &port(self.postgres)]].concat()) == "42"
            }
            "redis" => {
                let redis = port(self.redis);
                let ask = |words: &[&str]| said("redis-cli", &[&["-p", &redis], words].concat());
                ask(&["set", "key", "value"]) == "OK" && ask(&["get", "key"]) == "value"
            }
            "nginx" => said("curl", &["-sS", &format!("http://127.0.0.1:{}/", self.nginx)]) == "it works",
            other => panic!("no question for {other}"),
        }
    }

    fn assert_answers(&self, unit: &str) {
        let answered = eventually(|| self.answers(unit).then_some(()));
        assert!(answered.is_some(), "{unit} does not answer:\n{}", self.instance.printed());
    }

    /// What the unit has written so far.
    fn log(&self, unit: &str) -> String {
        fs::read_to_string(self.instance.path("log").join(unit).join("current")).unwrap_or_default()
    }

    fn kill_and_heal(&self, unit: &str) {
        let before = self.instance.look().expect("a status").pid(unit);
        kill(before);
        self.instance.wait("healed", |look| look.is(unit, "ready") && look.pid(unit) != before);
        self.assert_answers(unit);
    }
}

/// What a program printed, without the line's end; empty when it failed.
#[expect(clippy::disallowed_methods, reason = "clients of what is tested")]
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs it"));
    if output.status.success() {
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    } else {
        String::new()
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

const UNITS: [&str; 3] = ["postgres", "redis", "nginx"];

#[test]
fn case_19_the_web_stack_boots_answers_heals_and_stops_in_order() {
    let mut stack = Stack::new();
    let mut up = mcsup(&stack.instance.dir.clone());
    stack.instance.up_by(up.env("WEB_STACK_DIR", &stack.data));
    let look = stack.instance.wait("booted", |look| look.0["booted"] == true);
    assert!(look.is("directories", "completed") && look.is("cluster", "completed"), "{look:?}");
    for unit in UNITS {
        assert!(look.is(unit, "ready"), "{unit}: {look:?}");
        assert_eq!(look.unit(unit)["health"], "passing");
        stack.assert_answers(unit);
    }

    let workers = children(look.pid("nginx"));
    assert!(!workers.is_empty(), "nginx has a worker, which holds the port");
    for unit in UNITS {
        stack.kill_and_heal(unit);
    }
    for worker in workers {
        assert!(!is_alive(worker), "worker {worker} of the dead master was swept");
    }
    let healed = stack.instance.look().expect("a status");
    assert_eq!(healed.unit("redis")["restarts"], 1, "{:?}", healed.unit("redis"));

    stack.instance.done(&["shutdown"]);
    assert_eq!(stack.instance.ended().code(), Some(0));
    let printed = stack.instance.printed();
    let at = |text: &str| printed.rfind(text).unwrap_or_else(|| panic!("no `{text}` in:\n{printed}"));
    for data in ["postgres", "redis"] {
        let (front, behind) = (at("nginx stopping -> inactive"), at(&format!("{data} ready -> stopping")));
        assert!(front < behind, "the door closes first:\n{printed}");
    }
    assert!(
        stack.log("postgres").trim_end().ends_with("database system is shut down"),
        "{}",
        stack.log("postgres")
    );
    assert!(stack.instance.processes().is_empty());
}
