//! The life of the deb in a Debian that has never seen it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::place::{Packages, eventually, output, packages, scratch, succeed};

/// A copy of the Debian that `tests/run` made, with a process namespace and a /proc of its own while it lives.
#[derive(Debug)]
struct Debian {
    root: PathBuf,
    /// Keeps the namespaces; its end ends all within.
    first: Child,
}

impl Debian {
    fn new(name: &str) -> Self {
        let root = scratch(name);
        let fresh = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages/debian");
        assert!(fresh.exists(), "tests/run makes {}", fresh.display());
        succeed(Command::new("cp").args(["-a", "--reflink=auto"]).arg(fresh.join(".")).arg(&root));
        let script = "mount -t proc proc \"$0/proc\" && : > \"$0/up\" && exec chroot \"$0\" sleep infinity";
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child=KILL", "--mount", "sh", "-c", script]);
        let first = unshare.arg(&root).spawn().unwrap();
        let debian = Self { root, first };
        eventually(|| debian.root.join("up").exists().then_some(())).unwrap();
        debian
    }

    /// A command inside.
    fn command(&self, words: &[&str]) -> Command {
        // The child of `unshare` is the first process inside.
        let parent = self.first.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--target", children.trim(), "--root", "--wd=/"]);
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"]);
        command.args(words);
        command
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        output(&mut self.command(words))
    }

    fn has(&self, path: &str) -> bool {
        self.root.join(path).symlink_metadata().is_ok()
    }

    /// The same files under another version, as a package that somebody may have installed before.
    fn at_version(&self, deb: &Path, version: &str) -> String {
        let (tree, file) = (self.root.join("tmp/tree"), format!("/tmp/mcsup-{version}.deb"));
        drop(std::fs::remove_dir_all(&tree));
        succeed(Command::new("dpkg-deb").arg("--raw-extract").arg(deb).arg(&tree));
        let control = tree.join("DEBIAN/control");
        let text = std::fs::read_to_string(&control).unwrap();
        let line = |line: &str| {
            if line.starts_with("Version: ") { format!("Version: {version}\n") } else { format!("{line}\n") }
        };
        std::fs::write(&control, text.lines().map(line).collect::<String>()).unwrap();
        let target = self.root.join(&file[1..]);
        succeed(
            Command::new("dpkg-deb").args(["-Znone", "--root-owner-group", "--build"]).arg(&tree).arg(target),
        );
        file
    }

    /// The number of the process that a unit runs as.
    fn pid_of(&self, unit: &str) -> Option<u64> {
        let status = self.command(&["mcsup", "status", "--json", unit]).output().unwrap().stdout;
        let status: serde_json::Value = serde_json::from_slice(&status).ok()?;
        let unit = &status["units"][0];
        (unit["state"] == "ready").then(|| unit["pid"].as_u64())?
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        drop(self.first.kill());
        drop(self.first.wait());
        drop(std::fs::remove_dir_all(&self.root));
    }
}

#[test]
fn a_deb_is_installed_upgraded_under_its_services_removed_and_purged() {
    let Some(Packages { deb, .. }) = packages() else { return };
    let debian = Debian::new("deb");
    let (first, second) = (debian.at_version(deb, "0.0.1-1"), debian.at_version(deb, "0.0.2-1"));

    let said = debian.run(&["dpkg", "--install", &first]);
    assert!(said.contains("put unit files into /etc/mcsup/units"), "{said}");
    assert!(debian.run(&["mcsup", "--version"]).starts_with("mcsup "));
    assert!(debian.run(&["getent", "group", "mcsup"]).starts_with("mcsup:"));
    assert!(debian.run(&["mcsup", "check"]).len() < 4_096, "what is installed is well");
    assert!(debian.has("usr/share/man/man1/mcsup.1.gz"));

    let unit = "command: [sleep, infinity]\n";
    std::fs::write(debian.root.join("etc/mcsup/units/web.yaml"), unit).unwrap();
    let mut up = debian.command(&["mcsup", "up"]).spawn().unwrap();
    let before = eventually(|| debian.pid_of("web")).unwrap();
    let settings = debian.root.join("etc/mcsup/units/mcsup.yaml");
    let edited = format!("{}# Ours.\n", std::fs::read_to_string(&settings).unwrap());
    std::fs::write(&settings, &edited).unwrap();

    let said = debian.run(&["dpkg", "--install", &second]);
    let is_told = said.contains("the running mcsup is upgraded") || said.contains("the running mcsup stays");
    assert!(is_told, "{said}");
    assert_eq!(eventually(|| debian.pid_of("web")), Some(before), "the service was not touched");
    assert!(up.try_wait().unwrap().is_none(), "nor was mcsup stopped");
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), edited, "what a person wrote stays");

    let said = debian.run(&["dpkg", "--remove", "mcsup"]);
    assert!(said.contains("/etc/mcsup, /var/lib/mcsup and /var/log/mcsup stay"), "{said}");
    assert!(up.wait().unwrap().success(), "everything was stopped in order");
    assert!(!debian.has("usr/bin/mcsup") && !debian.has("usr/lib/systemd/system/mcsup.service"));
    assert!(debian.has("etc/mcsup/units/web.yaml") && debian.has("var/lib/mcsup/units-directory"));
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), edited);

    debian.run(&["dpkg", "--purge", "mcsup"]);
    for path in ["etc/mcsup", "var/lib/mcsup", "var/log/mcsup", "run/mcsup"] {
        assert!(!debian.has(path), "{path} is left");
    }
}
