//! The package's service under a real systemd, which is process 1 of a Debian with namespaces and a cgroup of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::place::{Packages, eventually, output, packages, scratch, succeed};

/// Binds what an engine would, and becomes systemd. `$0` is the tree.
const START: &str = r#"
mount --bind "$0" "$0"
mount -t proc proc "$0/proc"
mount --rbind /sys "$0/sys"
umount -R "$0/sys/fs/cgroup"
mount -t cgroup2 none "$0/sys/fs/cgroup"
mount -t tmpfs run "$0/run"
mount -t tmpfs dev "$0/dev"
for name in null zero full random urandom tty; do
  : > "$0/dev/$name" && mount --bind "/dev/$name" "$0/dev/$name"
done
exec env -i container=tests PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$0" /lib/systemd/systemd --system
"#;

#[derive(Debug)]
struct Machine {
    root: PathBuf,
    cgroup: PathBuf,
    first: Child,
}

impl Machine {
    /// `None` on a host whose cgroups of version 2 are not ours: there is no systemd without.
    fn boot(deb: &Path) -> Option<Self> {
        let cgroup = cgroup_of_its_own()?;
        let root = scratch("systemd");
        let fresh = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages/debian");
        succeed(Command::new("cp").args(["-a", "--reflink=auto"]).arg(fresh.join(".")).arg(&root));
        std::fs::copy(deb, root.join("mcsup.deb")).unwrap();
        std::fs::create_dir_all(root.join("etc/mcsup/units")).unwrap();
        std::fs::write(root.join("etc/mcsup/units/web.yaml"), "command: [sleep, infinity]\n").unwrap();
        // Terminals and devices are the host's.
        for unit in ["getty.target", "console-getty.service", "systemd-udevd.service"] {
            let place = root.join("etc/systemd/system").join(unit);
            std::os::unix::fs::symlink("/dev/null", place).unwrap();
        }
        let script = "echo $$ > \"$0/cgroup.procs\" && exec unshare --pid --fork --mount --cgroup \
                      --uts --ipc --kill-child=KILL sh -c \"$2\" \"$1\"";
        let mut start = Command::new("sh");
        start.args(["-c", script]).arg(&cgroup).arg(&root).arg(START).stdin(Stdio::null());
        let first = start.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let machine = Self { root, cgroup, first };
        let is_up = eventually(|| {
            let state = machine.command(&["systemctl", "is-system-running"])?.output().ok()?.stdout;
            ["running\n", "degraded\n"].iter().any(|up| up.as_bytes() == state).then_some(())
        });
        assert!(is_up.is_some(), "systemd does not come up");
        Some(machine)
    }

    fn command(&self, words: &[&str]) -> Option<Command> {
        let parent = self.first.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--cgroup", "--target", children.trim(), "--root", "--wd=/"]);
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]).args(words);
        Some(command)
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        output(&mut self.command(words).unwrap())
    }

    /// A property of mcsup's service.
    fn shows(&self, name: &str) -> String {
        self.run(&["systemctl", "show", "-P", name, "mcsup"]).trim().to_owned()
    }

    fn pid_of_web(&self) -> Option<u64> {
        let status = self.command(&["mcsup", "status", "--json", "web"])?.output().ok()?.stdout;
        let status: serde_json::Value = serde_json::from_slice(&status).ok()?;
        let unit = &status["units"][0];
        (unit["state"] == "ready").then(|| unit["pid"].as_u64())?
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.first.kill());
        drop(self.first.wait());
        // Groups go when their last process has, and from the leaves.
        let groups = || Command::new("find").arg(&self.cgroup).args(["-depth", "-type", "d"]).output();
        eventually(|| {
            for group in String::from_utf8_lossy(&groups().ok()?.stdout).lines() {
                drop(std::fs::remove_dir(group));
            }
            (!self.cgroup.exists()).then_some(())
        });
        drop(std::fs::remove_dir_all(&self.root));
    }
}

fn cgroup_of_its_own() -> Option<PathBuf> {
    let name = format!("mcsup-tests-{}", std::process::id());
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    let mount = mounts.into_iter().find(|mount| mount.join("cgroup.controllers").exists())?;
    let group = mount.join(name);
    std::fs::create_dir(&group).ok().map(|()| group)
}

#[test]
fn systemd_starts_it_watches_whoever_keeps_and_stops_it_in_order() {
    let Some(Packages { deb, .. }) = packages() else { return };
    let Some(machine) = Machine::boot(deb) else { return };
    machine.run(&["dpkg", "--install", "/mcsup.deb"]);
    assert_eq!(machine.shows("ActiveState"), "inactive", "what is installed is not started");
    machine.run(&["systemctl", "start", "mcsup"]);
    assert_eq!(machine.shows("ActiveState"), "active");
    let web = eventually(|| machine.pid_of_web()).unwrap();
    let booted = eventually(|| (machine.shows("StatusText") == "booted").then_some(()));
    assert!(booted.is_some(), "systemd knows of the boot: {}", machine.shows("StatusText"));

    let keeper = machine.shows("MainPID");
    machine.run(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", "mcsup"]);
    let next = eventually(|| {
        let main = machine.shows("MainPID");
        (machine.shows("ActiveState") == "active" && main != keeper && main != "0").then_some(main)
    });
    assert!(next.is_some(), "systemd watches the keeper that took over");
    assert_eq!(eventually(|| machine.pid_of_web()), Some(web), "no service was touched");
    machine.run(&["systemctl", "reload", "mcsup"]);

    // An upgrade with the running version, which is one too.
    machine.run(&["dpkg", "--install", "/mcsup.deb"]);
    assert_eq!(eventually(|| machine.pid_of_web()), Some(web));

    machine.run(&["systemctl", "stop", "mcsup"]);
    assert_eq!(machine.shows("ActiveState"), "inactive");
    let mut looks = machine.command(&["test", "-e", &format!("/proc/{web}")]).unwrap();
    assert_eq!(looks.status().unwrap().code(), Some(1), "the service has ended too");
    let log = std::fs::read_to_string(machine.root.join("var/log/mcsup/mcsup.log")).unwrap();
    assert!(log.contains("web stopping -> inactive: mcsup is shutting down"), "{log}");
}
