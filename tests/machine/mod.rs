//! A machine that `qemu` emulates: an [`Image`] to boot, and what it tells while it runs.
//!
//! Its first serial line is the console, for the kernel and for people who look for what went wrong. The second is
//! the story's: sections that the guest's `tell NAME COMMAND...` writes and [`Machine::told`] reads. The kernel
//! writes into the first whenever it likes, so nothing is read from there.

mod image;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(crate) use image::{Image, Owner, run};

/// From power on to power off, on a busy host and without any help by its processor.
const PATIENCE: Duration = Duration::from_secs(170);

/// Ended with the value.
#[derive(Debug)]
pub(crate) struct Machine {
    dir: PathBuf,
    qemu: Child,
    deadline: Instant,
}

impl Machine {
    /// Power on, with this much memory. The image's `/init` is what the kernel starts.
    pub(crate) fn boot(name: &str, image: &Image, memory_mib: u32) -> Self {
        Self::boot_with(name, image, memory_mib, "")
    }

    /// The same with more words on the kernel's command line.
    #[expect(clippy::disallowed_methods, reason = "a machine, and the deadline of a test")]
    pub(crate) fn boot_with(name: &str, image: &Image, memory_mib: u32, words: &str) -> Self {
        let kernel = kernel();
        let dir =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).expect("a directory");
        let initramfs = dir.join("initramfs");
        image.write(&initramfs);
        let serial = |name: &str| format!("file:{}", dir.join(name).display());
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            // Nothing is asked of the host's processor: the same everywhere, if slow.
            .args(["-accel", "tcg", "-cpu", "max,la57=off", "-smp", "1", "-m", &format!("{memory_mib}M")])
            .args(["-serial", &serial("console"), "-serial", &serial("story")])
            // A kernel that panics reboots, and a reboot ends the machine. On a busy host an emulated timer does not
            // tick while the kernel watches, which it would take for a broken one.
            .args(["-append", &format!("console=ttyS0 panic=-1 no_timer_check {words}")])
            .arg("-kernel")
            .arg(&kernel)
            .arg("-initrd")
            .arg(&initramfs)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("qemu-system-x86_64: {error}; tests/run installs it"));
        Self { dir, qemu, deadline: Instant::now() + PATIENCE }
    }

    /// What the guest told under this name, once it told all of it.
    #[track_caller]
    pub(crate) fn told(&mut self, name: &str) -> String {
        loop {
            // Asked before the last look: what was told on the way out counts.
            let ended = self.qemu.try_wait().expect("a child");
            if let Some(section) = section(&self.story(), name) {
                return section;
            }
            assert_eq!(ended, None, "the machine ended and never told `{name}`\n{self}");
            self.wait_for(&format!("`{name}`"));
        }
    }

    /// The machine switched itself off. All of both serial lines: the console, and the story.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (String, String) {
        loop {
            let ended = self.qemu.try_wait().expect("a child");
            if let Some(status) = ended {
                assert!(ExitStatus::success(&status), "{status}\n{self}");
                return (read(&self.dir.join("console")), self.story());
            }
            self.wait_for("power off");
        }
    }

    /// A moment, within the machine's time.
    #[track_caller]
    #[expect(clippy::disallowed_methods, reason = "the deadline of a test")]
    fn wait_for(&self, what: &str) {
        assert!(Instant::now() < self.deadline, "no {what} within {PATIENCE:?}\n{self}");
        std::thread::park_timeout(Duration::from_millis(50));
    }

    fn story(&self) -> String {
        read(&self.dir.join("story"))
    }
}

/// Both serial lines, as far as they came.
impl std::fmt::Display for Machine {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let console = read(&self.dir.join("console"));
        write!(to, "-- console\n{console}\n-- story\n{}", self.story())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.qemu.kill());
        drop(self.qemu.wait());
        if std::thread::panicking() {
            // What it told stays; what it was made of is large.
            drop(fs::remove_file(self.dir.join("initramfs")));
        } else {
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

/// From Debian's package, unpacked and not installed: the machine that tests boots its own.
fn kernel() -> PathBuf {
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/machine/vmlinuz");
    assert!(kernel.exists(), "no kernel at {}; tests/run puts it there", kernel.display());
    kernel
}

/// The program without what only debuggers read, which is two thirds of it.
pub(crate) fn mcsup() -> &'static Path {
    static SMALL: OnceLock<PathBuf> = OnceLock::new();
    SMALL.get_or_init(|| {
        let small = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine-mcsup");
        let made = small.with_extension(std::process::id().to_string());
        run(&["strip", "-o", &made.display().to_string(), env!("CARGO_BIN_EXE_mcsup")]);
        fs::rename(&made, &small).expect("a small program");
        small
    })
}

/// A serial line ends its lines as a terminal wants it.
fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\r', "")
}

/// What stands between the lines that begin and end it.
fn section(story: &str, name: &str) -> Option<String> {
    let (_, rest) = story.split_once(&format!("@@@ {name}\n"))?;
    let (text, _) = rest.split_once("@@@ end\n")?;
    Some(text.to_owned())
}

/// The first program of a guest. It makes the place habitable, plays `/story`, and switches the machine off.
pub(crate) const INIT: &str = r#"#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
ip link set lo up
sh /story > /dev/ttyS1 2>&1
poweroff -f
"#;

/// What every story may say.
pub(crate) const WORDS: &str = r#"
# tell NAME COMMAND...: what the command says to what is no terminal, under a name.
tell() {
  echo "@@@ $1"
  shift
  "$@" 2>&1 | cat
  echo
  echo "@@@ end"
}
# wait_for COMMAND...: until it succeeds; a story in which it does not within a minute ends here.
wait_for() {
  latest=$(($(date +%s) + 60))
  until "$@" > /dev/null 2>&1; do
    if [ "$(date +%s)" -gt $latest ]; then
      echo "never came: $*"
      mcsup status | cat
      find "$MCSUP_HOME/log" -type f -not -name '*.index' | xargs tail -n 20
      exit 1
    fi
    sleep 0.1
  done
}
"#;
