//! The units directory as it lies on a disk, and what this host lacks.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use mcsup::supervisor::directory;
use mcsup::unit::diagnostic::{Diagnostic, LineIndex};

/// A directory of its own that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mcsup-directory-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn told(&self) -> Vec<Diagnostic> {
        directory::check(self.path()).unwrap().loaded.diagnostics
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(|one| format!("{} {}: {}", one.severity.as_str(), one.code, one.message)).collect()
}

#[test]
fn only_yaml_files_are_read_and_what_is_left_out_is_said() {
    let dir = Dir::new(&[
        ("b.yaml", "command: [sh]\n"),
        ("a.yaml", "command: [sh]\n"),
        ("old.yml", "command: ["),
        (".hidden.yaml", "command: ["),
        ("a.yaml~", "command: ["),
        ("README", "no unit"),
    ]);
    fs::create_dir(dir.path().join("more")).unwrap();
    let checked = directory::check(dir.path()).unwrap();
    let names: Vec<&str> = checked.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["a.yaml", "b.yaml"]);
    assert_eq!(checked.loaded.set.unwrap().units.len(), 2);
    assert_eq!(
        lines(&checked.loaded.diagnostics),
        [
            "warning not-read: `old.yml` is not read: it ends in `.yml`",
            "warning not-read: the subdirectory `more` is not read",
        ]
    );
}

#[test]
fn a_unit_reached_through_a_link_is_read() {
    let elsewhere = Dir::new(&[("real", "command: [sh]\n")]);
    let dir = Dir::new(&[]);
    symlink(elsewhere.path().join("real"), dir.path().join("linked.yaml")).unwrap();
    assert_eq!(dir.told(), []);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_a_pipe_holds_nobody_up() {
    let dir = Dir::new(&[("a.yaml", "command: [sh]\n")]);
    symlink("/nowhere/at/all", dir.path().join("dangling.yaml")).unwrap();
    let pipe = dir.path().join("pipe.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let checked = directory::check(dir.path()).unwrap();
    assert!(checked.loaded.set.is_none());
    let told = lines(&checked.loaded.diagnostics);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("error cannot-read: cannot read `dangling.yaml`: "), "{told:?}");
    assert_eq!(told[1], "error cannot-read: cannot read `pipe.yaml`: it is not a regular file");
}

#[test]
fn of_a_file_of_five_megabytes_only_the_beginning_is_read() {
    let dir = Dir::new(&[("big.yaml", &"# filler\n".repeat(600_000))]);
    let checked = directory::check(dir.path()).unwrap();
    assert_eq!(checked.sources[0].bytes.len(), (1 << 20) + 1);
    assert_eq!(
        lines(&checked.loaded.diagnostics),
        ["error file-too-large: this file is larger than 1 MiB and was not read"]
    );
}

#[test]
fn a_directory_that_is_not_there_is_an_error_of_its_own() {
    assert!(directory::check(Path::new("/nowhere/at/all")).is_err());
}

#[test]
fn what_this_host_lacks_is_a_warning() {
    let dir = Dir::new(&[
        (
            "a.yaml",
            "\
command: [no-such-program]
user: no-such-user
group: no-such-group
supplementary_groups: [no-such-group-either, 0]
working_dir: /no/such/dir
env_file: [/no/such/file, there.env]
",
        ),
        ("b.yaml", "command: [/no/such/program]\n"),
        ("c.yaml", "command: [./there.env]\n"),
        ("d.yaml", "command: [sh]\nuser: root\ngroup: '0'\n"),
        ("e.yaml", "command: [sh]\nenvironment: {PATH: /no/such/dir}\n"),
        ("f.yaml", "command: ['${HOME}/x']\n"),
        ("there.env", ""),
    ]);
    assert_eq!(
        lines(&dir.told()),
        [
            "warning missing-program: there is no program `no-such-program` in PATH",
            "warning missing-user: there is no user `no-such-user` on this host",
            "warning missing-group: there is no group `no-such-group` on this host",
            "warning missing-group: there is no group `no-such-group-either` on this host",
            "warning missing-directory: there is no directory `/no/such/dir` on this host",
            "warning missing-file: there is no file `/no/such/file` on this host",
            "warning missing-program: there is no program `/no/such/program` on this host",
            "warning missing-program: `./there.env` is not an executable file",
            "warning missing-program: there is no program `sh` in PATH",
        ]
    );
}

#[test]
fn copies_of_one_file_lack_a_program_once() {
    let dir = Dir::new(&[("a.yaml", "command: [no-such-program]\nreplicas: 5\n")]);
    assert_eq!(dir.told().len(), 1);
}

#[test]
fn a_schema_that_is_missing_is_a_warning_and_one_that_is_none_an_error() {
    let unit = |output: &str| format!("kind: job\ncommand: [sh]\nevery: 1h\noutput: {output}\n");
    let texts = [
        ("a.yaml", unit("{format: json, schema: gone.json}")),
        ("b.yaml", unit("{files: [{path: x, format: csv}, {path: y, format: json, schema: gone.json}]}")),
        (
            "c.yaml",
            unit("{format: json, schema: good.json, files: {path: x, format: yaml, schema: good.yaml}}"),
        ),
    ];
    let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let schemas =
        [("good.json", r#"{"required": ["a"]}"#), ("cut.json", "{"), ("wrong.json", r#"{"type": "objekt"}"#)];
    let dir = Dir::new(&files);
    for (name, text) in schemas {
        fs::write(dir.path().join(name), text).unwrap();
    }
    // Found beside the units, and read as a unit.
    fs::create_dir(dir.path().join("schemas")).unwrap();
    fs::write(dir.path().join("schemas/good.yaml"), "type: array\n").unwrap();
    let text = texts[2].1.replace("good.yaml", "schemas/good.yaml");
    fs::write(dir.path().join("c.yaml"), text).unwrap();
    let checked = directory::check(dir.path()).unwrap();
    assert!(checked.loaded.set.is_some(), "it may be there by the time of the run");
    let missing = "warning missing-file: there is no schema `gone.json` beside this unit";
    let told = lines(&checked.loaded.diagnostics);
    let at = |at: usize| {
        let place = checked.loaded.diagnostics[at].place;
        let source = &checked.sources[usize::try_from(place.file).unwrap()];
        let position = LineIndex::new(&source.bytes).position(place.start);
        (source.name.as_str(), position.line, position.column)
    };
    let missing: Vec<_> = (0..told.len()).filter(|one| told[*one] == missing).map(at).collect();
    assert_eq!(missing, [("a.yaml", 4, 32), ("b.yaml", 4, 74)]);
    for (schema, flaw) in [
        ("cut.json", "cannot read the schema"),
        ("wrong.json", "the schema is not one"),
        ("{type: objekt}", "the schema is not one"),
    ] {
        fs::write(dir.path().join("a.yaml"), unit(&format!("{{format: json, schema: {schema}}}"))).unwrap();
        let checked = directory::check(dir.path()).unwrap();
        let told = lines(&checked.loaded.diagnostics);
        assert!(
            told.iter().any(|line| line.starts_with("error bad-schema: ") && line.contains(flaw)),
            "{told:?}"
        );
        assert!(checked.loaded.set.is_none(), "no run of it could be judged");
    }
}

#[test]
fn a_webhook_without_its_secret_is_a_warning() {
    let dir = Dir::new(&[
        ("mcsup.yaml", "hooks: {listen: '127.0.0.1:8787'}\n"),
        ("a.yaml", "kind: job\ncommand: [sh]\nwebhook: {secret_file: hook.key}\n"),
        ("b.yaml", "kind: job\ncommand: [sh]\nwebhook: {secret_file: there.key}\n"),
        ("there.key", "secret"),
    ]);
    assert_eq!(lines(&dir.told()), ["warning missing-file: there is no file `hook.key` on this host"]);
}
