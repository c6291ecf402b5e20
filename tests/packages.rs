//! What people install, installed: in a Debian of its own under a temporary directory, by dpkg and by rpm.
//!
//! The packages hold the binary of these tests, stripped; `packaging/build` alone takes one for release. Needs root,
//! and what `tests/run` fetches: the two tools that make packages, lintian, rpm, rpmlint and a fresh Debian in
//! `target/packages/debian`.

#![expect(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]
#![expect(clippy::disallowed_methods, reason = "processes are the subject")]

#[path = "packages/debian.rs"]
mod debian;
#[path = "packages/place.rs"]
mod place;
#[path = "packages/systemd.rs"]
mod systemd;

use std::path::Path;
use std::process::Command;

use crate::place::{Packages, is_root, output, packages, succeed};

const MCSUP: &str = env!("CARGO_BIN_EXE_mcsup");

/// Debian 11 (2.31) and RHEL 9 (2.34) are older; Ubuntu 22.04 and Debian 12 are not. It is `_dl_find_object`, by
/// which the compiler's archive unwinds.
const OLDEST_GLIBC: &str = "2.35";

/// As Debian splits glibc; all of them come with it.
const GLIBC: &[&str] = &["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"];

#[test]
fn the_binary_needs_glibc_alone() {
    let needed = output(Command::new("readelf").args(["-d", MCSUP]));
    let needed = needed.lines().filter(|line| line.contains("(NEEDED)"));
    let names: Vec<&str> = needed.filter_map(|line| line.split(['[', ']']).nth(1)).collect();
    assert!(names.contains(&"libc.so.6"), "{names:?}");
    let foreign: Vec<&&str> =
        names.iter().filter(|name| !GLIBC.contains(name) && !name.starts_with("ld-linux")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn the_oldest_glibc_is_the_one_that_is_promised() {
    let symbols = output(Command::new("objdump").args(["-T", MCSUP]));
    let version = |word: &str| {
        let numbers = word.split_once("GLIBC_")?.1;
        let (major, minor) = numbers.trim_end_matches(')').split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.split('.').next()?.parse::<u32>().ok()?))
    };
    let newest = symbols.split_whitespace().filter_map(version).max().unwrap();
    assert_eq!(format!("{}.{}", newest.0, newest.1), OLDEST_GLIBC, "say so in docs/PACKAGES.md");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PACKAGES.md")).unwrap();
    assert!(page.contains(&format!("glibc {OLDEST_GLIBC}")), "docs/PACKAGES.md promises another one");
}

#[test]
fn systemd_finds_no_fault_with_the_service() {
    // The program has to be where the service says, as in the package.
    let dir = place::scratch("verify");
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/mcsup.service")).unwrap();
    assert!(text.contains("=/usr/bin/mcsup "));
    let service = dir.join("mcsup.service");
    // Of the page it can only say that this host has none.
    let text = text.replace("/usr/bin/mcsup", MCSUP).replace("Documentation=man:mcsup(1)\n", "");
    std::fs::write(&service, text).unwrap();
    let verified =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&service).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && !said.contains("mcsup"), "{said}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn lintian_finds_nothing_in_the_deb() {
    let Some(Packages { deb, .. }) = packages() else { return };
    let judged = Command::new("lintian")
        .args(["--fail-on", "error,warning", "--allow-root"])
        .arg(deb)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(judged.status.success(), "{said}{}", String::from_utf8_lossy(&judged.stderr));
}

#[test]
fn rpmlint_finds_no_error_in_the_rpm() {
    let Some(Packages { rpm, .. }) = packages() else { return };
    let judged = Command::new("rpmlint").arg("--config").arg(config()).arg(rpm).output().unwrap();
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(said.contains(" 0 errors"), "{said}{}", String::from_utf8_lossy(&judged.stderr));
}

fn config() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/rpm/rpmlint.toml")
}

#[test]
fn rpm_installs_what_the_package_promises_and_takes_it_away_again() {
    let Some(Packages { rpm, .. }) = packages() else { return };
    let root = place::scratch("rpm");
    // No scripts: this root has no shell to run them. No dependencies: it has no packages.
    let rpm_command = || {
        let mut command = Command::new("rpm");
        command.arg("--root").arg(&root);
        command
    };
    succeed(rpm_command().args(["-i", "--noscripts", "--nodeps"]).arg(rpm));
    let there = |path: &str| root.join(path).exists();
    for path in [
        "usr/bin/mcsup",
        "usr/share/man/man1/mcsup.1.gz",
        "usr/share/man/man1/mcsup-doctor.1.gz",
        "usr/share/bash-completion/completions/mcsup",
        "usr/share/zsh/site-functions/_mcsup",
        "usr/share/fish/vendor_completions.d/mcsup.fish",
        "usr/lib/systemd/system/mcsup.service",
        "usr/share/mcsup/schemas/unit.schema.json",
        "usr/share/doc/mcsup/examples/quickstart/web.yaml",
        "etc/mcsup/units/mcsup.yaml",
    ] {
        assert!(there(path), "{path} is missing");
    }
    assert!(output(Command::new(root.join("usr/bin/mcsup")).arg("--version")).starts_with("mcsup "));
    let required = output(rpm_command().args(["-q", "--requires", "mcsup"]));
    assert!(required.contains(&format!("GLIBC_{OLDEST_GLIBC}")), "{required}");
    let settings = output(rpm_command().args(["-q", "--configfiles", "mcsup"]));
    assert_eq!(settings.trim(), "/etc/mcsup/units/mcsup.yaml");
    std::fs::write(root.join("etc/mcsup/units/web.yaml"), "command: [sleep, '1']\n").unwrap();
    succeed(rpm_command().args(["-e", "--noscripts", "mcsup"]));
    assert!(!there("usr/bin/mcsup") && there("etc/mcsup/units/web.yaml"));
    std::fs::remove_dir_all(root).unwrap();
}

/// What an engine gives to every container, then its first process.
const START: &str = "mount -t proc proc \"$0/proc\" && : > \"$0/dev/null\" && \
    mount --bind /dev/null \"$0/dev/null\" && exec chroot \"$0\" /usr/bin/mcsup init";

#[test]
fn an_image_from_scratch_boots_with_mcsup_as_its_first_process() {
    if !is_root() {
        return;
    }
    let tree = place::scratch("image");
    succeed(Command::new("packaging/scratch").arg(MCSUP).arg(&tree));
    let unit = "kind: task\ncommand: [/usr/bin/mcsup, --version]\n";
    std::fs::write(tree.join("etc/mcsup/units/hello.yaml"), unit).unwrap();
    let mut image = Command::new("unshare");
    image.args(["--pid", "--fork", "--kill-child=KILL", "--mount", "sh", "-c", START]).arg(&tree);
    let mut running = image.spawn().unwrap();
    let inside = |words: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(&tree).arg("/usr/bin/mcsup").args(words);
        command.output().unwrap()
    };
    let is_done = place::eventually(|| {
        let status = inside(&["status", "--json", "hello"]).stdout;
        String::from_utf8_lossy(&status).contains("\"completed\"").then_some(())
    });
    let log = std::fs::read_to_string(tree.join("var/log/mcsup/hello/current")).unwrap_or_default();
    let ended = inside(&["shutdown"]);
    let status = running.wait().unwrap();
    assert!(is_done.is_some() && log.starts_with("mcsup "), "the task says: {log}");
    assert!(ended.status.success() && status.success(), "{status}");
    remove(&tree);
}

fn remove(tree: &Path) {
    std::fs::remove_dir_all(tree).unwrap();
}
