//! A real web stack, and a typing error in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::copies::copy_example;
use crate::instance::{Instance, eventually, mcsup, timed};
use crate::place::{free_ports, public_home};
use crate::site::Site;

struct Stack {
    site: Site,
    redis: u16,
    nginx: u16,
    taken: u16,
}

fn stack() -> Stack {
    let mut instance = Instance::at(public_home("bad-port"), &[]);
    let data = instance.path("data");
    fs::create_dir(&data).expect("a directory");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("permissions");
    let [postgres, redis, nginx] = free_ports();
    let mut replaced =
        vec![("47432", postgres.to_string()), ("47379", redis.to_string()), ("47080", nginx.to_string())];
    if !rustix::process::geteuid().is_root() {
        replaced.push(("user: postgres\n", String::new()));
        replaced.push(("user: redis\n", String::new()));
        replaced.push((" -o postgres -g postgres", String::new()));
        replaced.push((" -o redis -g redis", String::new()));
        replaced.push(("--auth=trust", "--auth=trust --username=postgres".to_owned()));
    }
    copy_example(&instance, "web-stack", &replaced);
    let mut up = mcsup(&instance.dir);
    instance.up_by(up.env("WEB_STACK_DIR", &data));
    Stack { site: Site::began(instance), redis, nginx, taken: postgres }
}

#[expect(clippy::disallowed_methods, reason = "clients of what is tested")]
fn answers(program: &str, arguments: &[&str], expected: &str) -> bool {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs it"));
    String::from_utf8_lossy(&output.stdout).trim_end() == expected
}

#[test]
fn case_40_a_bad_redis_port_in_the_web_stack_comes_back_by_itself_and_nobody_else_notices() {
    let Stack { site, redis, nginx, taken } = stack();
    let before = site.now();
    let good = site.text("redis");
    // PostgreSQL listens there.
    let bad = good.replace(&format!("--port, \"{redis}\""), &format!("--port, \"{taken}\""));
    assert_ne!(bad, good);
    let ((), took) = timed(|| {
        site.save("redis", &bad);
        site.wait_for_word(2, "rejected");
        site.wait("it answers again", |look| {
            look.is("redis", "ready") && look.pid("redis") != before.pid("redis")
        });
        let port = redis.to_string();
        let pong = || answers("redis-cli", &["-p", &port, "ping"], "PONG").then_some(());
        assert!(eventually(pong).is_some(), "{}", site.story());
    });
    println!("from the save of the bad port until Redis answers again: {took:?}");
    assert!(took < Duration::from_secs(30), "within the window: {took:?}");
    site.wait_for_event("generation 2 was rolled back, and all is as before");
    let after = site.now();
    for unit in ["postgres", "nginx"] {
        assert_eq!(after.pid(unit), before.pid(unit), "{unit} is another process");
        assert_eq!(after.unit(unit)["restarts"], before.unit(unit)["restarts"], "{unit}");
    }
    assert_eq!(site.text("redis"), good);
    assert!(site.agrees(), "{}", site.story());
    assert!(answers("curl", &["-sS", &format!("http://127.0.0.1:{nginx}/")], "it works"));
    site.wait_until("no incident is left", || site.open_incidents().is_empty());
    for command in ["status", "incidents", "generations"] {
        println!("$ mcsup {command}\n{}", String::from_utf8_lossy(&site.run(&[command]).stdout));
    }
    for kept in site.generations() {
        println!("{kept:?}");
    }
}
