//! A PostgreSQL cluster, made on the host: in a machine that is emulated it would take longer than all the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::machine::run;

/// Where Debian keeps the newest.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) programs: PathBuf,
    pub(crate) libraries: PathBuf,
    pub(crate) share: PathBuf,
}

pub(crate) fn installed() -> Installed {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = entries.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists()).max();
    let newest = newest.expect("no PostgreSQL in /usr/lib/postgresql; tests/run installs it");
    let version = newest.file_name().expect("a version");
    let share = Path::new("/usr/share/postgresql").join(version);
    Installed { programs: newest.join("bin"), libraries: newest.join("lib"), share }
}

/// Nobody is asked for a password. Kept for the next time.
pub(crate) fn cluster() -> &'static Path {
    static CLUSTER: OnceLock<PathBuf> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine-cluster-1");
        if kept.exists() {
            return kept;
        }
        let made = std::env::temp_dir().join(format!("mcsup-{}-machine-cluster", std::process::id()));
        fs::create_dir_all(&made).expect("a directory");
        let (made_text, data) = (made.display().to_string(), made.join("data").display().to_string());
        let initdb = installed().programs.join("initdb").display().to_string();
        let mut words = Vec::new();
        if rustix::process::geteuid().is_root() {
            // It refuses to be root.
            run(&["chown", "postgres:", &made_text]);
            words.extend(["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]);
        }
        // A time zone that takes no file.
        words.extend(["env", "TZ=GMT"]);
        words.extend([&initdb, "-D", &data, "-U", "postgres", "--no-sync", "--wal-segsize=1"]);
        words.extend(["--locale=C", "--encoding=UTF8", "--auth=trust"]);
        run(&words);
        // Whole or not at all, whoever else makes one at the same time.
        let copied = kept.with_extension(std::process::id().to_string());
        run(&["cp", "-a", &data, &copied.display().to_string()]);
        let is_first = fs::rename(&copied, &kept).is_ok();
        for rest in [Some(&made), (!is_first).then_some(&copied)].into_iter().flatten() {
            fs::remove_dir_all(rest).expect("no rest");
        }
        kept
    })
}
