//! `mcsup init` as process 1 of containers that offer less and less.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::instance::{Look, eventually};
use crate::place::{Scratch, compiled, namespaces};

/// A container: what `unshare` started, and what is process 1 inside of it.
#[derive(Debug)]
struct Container {
    scratch: Scratch,
    outer: Child,
}

/// With one service that says how it was told to end, and one that leaves orphans.
const WEB: &str =
    "command: [sh, -c, 'trap \"echo stopped; exit 0\" TERM; echo begun; while :; do sleep 0.02; done']\n";
const DB: &str = "phase: first\ncommand: [sh, -c, 'trap \"echo stopped; exit 0\" TERM; while :; do sh -c \"sleep 0.01 &\"; sleep 0.02; done']\n";
const SETTINGS: &str = "phases: [first, second]\n";
const UNITS: [(&str, &str); 3] = [("mcsup", SETTINGS), ("web", WEB), ("db", DB)];

impl Container {
    /// `prepare` (shell) is done inside of the namespaces, before `words` become process 1.
    fn start(scratch: Scratch, more: &[&str], prepare: &str, words: &[&str]) -> Self {
        let log = fs::File::create(scratch.0.join("console")).expect("a file");
        let mut command = namespaces(more);
        command
            .args(["sh", "-ec", &format!("{prepare}\nexec \"$@\""), "sh"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        let outer = command.spawn().expect("unshare");
        Self { scratch, outer }
    }

    /// With units in a home.
    fn up(name: &str, units: &[(&str, &str)], more: &[&str], prepare: &str) -> Self {
        let scratch = Scratch::new(name);
        let home = scratch.0.join("home");
        fs::create_dir_all(home.join("units")).expect("a home");
        for (unit, text) in units {
            fs::write(home.join(format!("units/{unit}.yaml")), text).expect("a unit");
        }
        let home = home.display().to_string();
        Self::start(scratch, more, prepare, &[env!("CARGO_BIN_EXE_mcsup"), "--home", &home, "init"])
    }

    fn home(&self) -> PathBuf {
        self.scratch.0.join("home")
    }

    /// As it is seen from outside.
    fn init(&self) -> i32 {
        let children = format!("/proc/{0}/task/{0}/children", self.outer.id());
        let found = eventually(|| fs::read_to_string(&children).ok()?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("nobody is process 1:\n{}", self.said()))
    }

    fn said(&self) -> String {
        fs::read_to_string(self.scratch.0.join("console")).unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "a client from outside")]
    fn look(&self) -> Option<Look> {
        let output = Command::new(env!("CARGO_BIN_EXE_mcsup"))
            .args(["--home", &self.home().display().to_string(), "status", "--json"])
            .output()
            .expect("mcsup");
        serde_json::from_slice(&output.stdout).ok().map(Look)
    }

    #[track_caller]
    fn wait(&self, what: &str, condition: impl Fn(&Look) -> bool) -> Look {
        let found = eventually(|| self.look().filter(|look| condition(look)));
        found.unwrap_or_else(|| panic!("not {what}:\n{}", self.said()))
    }

    #[track_caller]
    fn booted(&self) -> Look {
        self.wait("booted", |look| look.0["booted"] == true)
    }

    #[expect(clippy::disallowed_methods, reason = "the shell sends signals that have no name here")]
    fn signal(&self, signal: i32) {
        let kill = format!("kill -{signal} {}", self.init());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh").success(), "{kill}");
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        let status = eventually(|| self.outer.try_wait().expect("a child"));
        status.unwrap_or_else(|| panic!("it did not end:\n{}", self.said()))
    }

    fn log(&self, unit: &str) -> String {
        fs::read_to_string(self.home().join(format!("log/{unit}/current"))).unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Its child goes with it, and with that the namespace.
        drop(self.outer.kill());
        drop(self.outer.wait());
    }
}

#[test]
fn every_signal_that_means_an_end_stops_everything_in_reverse_order() {
    // SIGTERM, SIGINT, SIGPWR, and SIGRTMIN+3 to 5.
    for signal in [15, 2, 30, 37, 38] {
        let mut container = Container::up(&format!("signal-{signal}"), &UNITS, &[], "");
        container.booted();
        container.signal(signal);
        let status = container.ended();
        let said = container.said();
        assert_eq!(status.code(), Some(0), "signal {signal}: {said}");
        assert!(container.log("web").ends_with("stopped\n"), "signal {signal}: {said}");
        let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("no `{text}`:\n{said}"));
        assert!(
            place("web stopping -> inactive") < place("db ready -> stopping"),
            "signal {signal}:\n{said}"
        );
    }
}

#[test]
fn at_once_means_that_nobody_is_asked() {
    let deaf = "command: [sh, -c, 'trap \"\" TERM; while :; do sleep 0.02; done']\nstop: {grace: 1h}\n";
    let mut container = Container::up("now", &[("deaf", deaf)], &[], "");
    container.booted();
    container.signal(48); // SIGRTMIN+14
    assert_eq!(container.ended().code(), Some(0), "{}", container.said());
}

#[test]
fn a_container_that_is_to_start_again_says_so_to_its_runtime() {
    let mut container = Container::up("reboot", &UNITS, &[], "");
    container.booted();
    container.signal(39); // SIGRTMIN+5
    // The kernel ends the namespace as if by SIGHUP, which is how runtimes know; unshare passes that on.
    let status = container.ended();
    let is_hangup =
        std::os::unix::process::ExitStatusExt::signal(&status) == Some(1) || status.code() == Some(129);
    assert!(is_hangup, "{status}: {}", container.said());
    assert!(container.log("web").ends_with("stopped\n"), "{}", container.said());
}

#[test]
fn the_status_is_that_of_the_essential_unit() {
    for (script, status) in
        [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$; sleep 9", 143)]
    {
        let unit = format!(
            "kind: task\nessential: true\nrestart: {{policy: never}}\ncommand: [sh, -c, '{script}']\n"
        );
        let mut container = Container::up(&format!("essential-{status}"), &[("main", &unit)], &[], "");
        assert_eq!(container.ended().code(), Some(status), "{script}: {}", container.said());
    }
}

/// Everything else of the host's file system is seen, and nothing can be written but in the home.
const READ_ONLY: &str =
    "mount --bind \"$HOME_DIR\" \"$HOME_DIR\"; mount --make-rprivate /; mount -o remount,bind,ro /";

#[test]
fn without_a_place_to_write_to_but_one_it_runs() {
    let scratch = Scratch::new("read-only");
    let home = scratch.0.join("home");
    fs::create_dir_all(home.join("units")).expect("a home");
    fs::write(home.join("units/web.yaml"), WEB).expect("a unit");
    let prepare =
        READ_ONLY.replace("$HOME_DIR", &home.display().to_string()) + "\n! touch /nothing 2>/dev/null";
    let home_word = home.display().to_string();
    let words = [env!("CARGO_BIN_EXE_mcsup"), "--home", &home_word, "init"];
    let mut container = Container::start(scratch, &["--mount"], &prepare, &words);
    container.booted();
    container.signal(15);
    assert_eq!(container.ended().code(), Some(0), "{}", container.said());
}

#[test]
fn what_cannot_be_kept_on_a_read_only_disk_is_kept_in_memory() {
    let scratch = Scratch::new("in-memory");
    let home = scratch.0.join("home");
    fs::create_dir_all(home.join("units")).expect("a home");
    fs::create_dir_all(home.join("run")).expect("a home");
    fs::write(home.join("units/web.yaml"), WEB).expect("a unit");
    let home = home.display().to_string();
    let prepare = format!(
        "mount --make-rprivate /; mount --bind '{home}' '{home}'; mount -o remount,bind,ro '{home}'; \
         mount -t tmpfs run '{home}/run'"
    );
    let words = [env!("CARGO_BIN_EXE_mcsup"), "--home", &home, "init"];
    let mut container = Container::start(scratch, &["--mount"], &prepare, &words);
    let begun = eventually(|| container.said().contains("web starting -> ready").then_some(()));
    assert!(begun.is_some(), "{}", container.said());
    assert!(
        container.said().contains("read-only") || container.said().contains("Read-only"),
        "{}",
        container.said()
    );
    assert!(!Path::new(&home).join("state/lock").exists());
    container.signal(15);
    assert_eq!(container.ended().code(), Some(0), "{}", container.said());
}

#[test]
fn with_devices_that_a_runtime_gives_and_no_others_it_runs() {
    // As small as `/dev` can be: null, and nothing else; no cgroup can be written either.
    let prepare = "mount -t tmpfs bare /mnt; touch /mnt/null; mount --bind /dev/null /mnt/null; \
                   mount --move /mnt /dev; test ! -e /dev/tty; test ! -e /dev/pts; \
                   mount -t tmpfs -o ro none /sys/fs/cgroup";
    let mut container =
        Container::up("bare-dev", &UNITS, &["--mount"], &format!("mount --make-rprivate /; {prepare}"));
    container.booted();
    container.signal(15);
    assert_eq!(container.ended().code(), Some(0), "{}", container.said());
}

#[test]
fn without_any_device_it_runs() {
    let prepare = "mount --make-rprivate /; exec 2>&1; mount -t tmpfs -o ro none /sys/fs/cgroup; mount -t tmpfs bare /dev";
    let mut container = Container::up("no-dev", &[("web", WEB)], &["--mount"], prepare);
    container.booted();
    container.signal(15);
    assert_eq!(container.ended().code(), Some(0), "{}", container.said());
}

#[test]
fn as_root_of_a_namespace_of_users_and_nothing_else_it_runs() {
    let mut container =
        Container::up("users", &UNITS, &["--user", "--map-root-user", "--mount", "--net"], "");
    let look = container.booted();
    assert!(look.is("web", "ready") && look.is("db", "ready"), "{look:#?}");
    container.signal(15);
    assert_eq!(container.ended().code(), Some(0), "{}", container.said());
}

#[test]
fn where_clone3_is_forbidden_processes_are_made_in_the_old_way() {
    let scratch = Scratch::new("no-clone3");
    let forbid = scratch.0.join("forbid");
    compiled("tests/init/forbid.c", &forbid);
    let home = scratch.0.join("home");
    fs::create_dir_all(home.join("units")).expect("a home");
    fs::write(home.join("units/web.yaml"), WEB).expect("a unit");
    if rustix::process::geteuid().is_root() {
        // Who becomes somebody else is made in another way.
        let other = "kind: task\nuser: nobody\nrestart: {policy: never}\ncommand: [id, -u]\n";
        fs::write(home.join("units/other.yaml"), other).expect("a unit");
    }
    let (forbid, home) = (forbid.display().to_string(), home.display().to_string());
    let words = [&*forbid, env!("CARGO_BIN_EXE_mcsup"), "--home", &home, "init"];
    let mut container = Container::start(scratch, &[], "", &words);
    let look = container.booted();
    assert!(look.is("web", "ready"), "{look:#?}");
    if rustix::process::geteuid().is_root() {
        container.wait("other ran", |look| look.is("other", "completed"));
        assert_eq!(container.log("other"), "65534\n");
    }
    container.signal(15);
    assert_eq!(container.ended().code(), Some(0), "{}", container.said());
}

#[test]
fn orphans_of_strangers_are_waited_for() {
    let mut container = Container::up("strangers", &UNITS, &[], "");
    container.booted();
    // Somebody enters the container, and leaves a child behind that ends.
    let init = container.init().to_string();
    #[expect(clippy::disallowed_methods, reason = "somebody who enters the container")]
    let output = Command::new("nsenter")
        .args(["--target", &init, "--pid", "--mount", "sh", "-c", "sleep 0.05 > /dev/null & echo $!"])
        .output();
    if !rustix::process::geteuid().is_root() {
        // Only root may enter what it did not make.
        return;
    }
    let pid = String::from_utf8_lossy(&output.expect("nsenter").stdout).trim().to_owned();
    assert!(!pid.is_empty());
    let stat = format!("/proc/{init}/root/proc/{pid}/stat");
    let is_gone = eventually(|| fs::read_to_string(&stat).is_err().then_some(()));
    assert!(is_gone.is_some(), "{stat} is there");
    container.signal(15);
    container.ended();
}

#[test]
fn who_is_not_process_1_has_no_machine_to_end() {
    let mut instance = crate::instance::Instance::booted("no-machine", &[("web", WEB)]);
    for word in ["--reboot", "--poweroff", "--halt"] {
        let output = instance.run(&["shutdown", word]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("process 1"), "{word}: {output:?}");
    }
    // And nothing was stopped.
    instance.wait("up", |look| look.is("web", "ready"));
    instance.done(&["shutdown"]);
    assert_eq!(instance.ended().code(), Some(0));
}

#[test]
fn a_container_whose_units_are_gone_boots_from_what_held_last() {
    let scratch = Scratch::new("gone");
    let home = scratch.0.join("home");
    fs::create_dir_all(home.join("units")).expect("a home");
    fs::write(home.join("units/web.yaml"), WEB).expect("a unit");
    let home_word = home.display().to_string();
    let words = [env!("CARGO_BIN_EXE_mcsup"), "--home", &home_word, "init"];
    let mut container = Container::start(scratch, &[], "", &words);
    container.booted();
    let is_kept = eventually(|| home.join("state/generations").is_dir().then_some(()));
    assert!(is_kept.is_some());
    container.signal(15);
    container.ended();
    fs::rename(home.join("units"), home.join("elsewhere")).expect("a rename");
    let again = Scratch(container.scratch.0.clone());
    let mut second = Container::start(again, &[], "", &words);
    let look = second.booted();
    assert!(look.is("web", "ready"), "{look:#?}");
    second.signal(15);
    assert_eq!(second.ended().code(), Some(0), "{}", second.said());
}
