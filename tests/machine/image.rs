//! What a machine finds in its memory when it starts: files in the kernel's own archive format, `newc` of `cpio`.
//!
//! Written here and not by a program, because devices and other people's files take no root this way.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// By number: user and group.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner(pub(crate) u32);

/// Paths sort so that every directory comes before what is in it.
#[derive(Debug, Default)]
pub(crate) struct Image {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    permissions: u32,
    owner: Owner,
}

#[derive(Debug)]
enum Kind {
    Directory,
    Text(String),
    /// Read when the image is written.
    Copy(PathBuf),
    Link(String),
    Console,
}

impl Image {
    /// With `busybox` under all its names, and the directories that an init mounts things on.
    pub(crate) fn new() -> Self {
        let mut image = Self::default();
        for dir in ["dev", "proc", "sys", "run", "root"] {
            image.directory(&format!("/{dir}"), Owner::default());
        }
        image.add("/tmp", Kind::Directory, 0o1777, Owner::default());
        // The kernel opens it for the first program, before anybody could mount anything.
        image.add("/dev/console", Kind::Console, 0o600, Owner::default());
        image.text("/etc/hosts", "127.0.0.1 localhost\n");
        image.program_as("busybox", "/bin/busybox");
        for applet in
            run(&[&find("busybox").display().to_string(), "--list"]).lines().filter(|name| *name != "busybox")
        {
            image.add(
                &format!("/bin/{applet}"),
                Kind::Link("/bin/busybox".to_owned()),
                0o777,
                Owner::default(),
            );
        }
        image
    }

    pub(crate) fn directory(&mut self, path: &str, owner: Owner) {
        self.add(path, Kind::Directory, 0o755, owner);
    }

    pub(crate) fn text(&mut self, path: &str, text: &str) {
        self.add(path, Kind::Text(text.to_owned()), 0o644, Owner::default());
    }

    pub(crate) fn script(&mut self, path: &str, text: &str) {
        self.add(path, Kind::Text(text.to_owned()), 0o755, Owner::default());
    }

    /// This host's program of this name or path, at the same place in the guest, with the libraries that it needs.
    pub(crate) fn program(&mut self, name: &str) {
        let path = find(name);
        self.program_as(name, &path.display().to_string());
    }

    /// The same, elsewhere.
    pub(crate) fn program_as(&mut self, name: &str, place: &str) {
        let path = find(name);
        self.copy(&path, place, Owner::default());
        self.libraries(&path);
    }

    /// All that this program of the host is linked with.
    pub(crate) fn libraries(&mut self, program: &Path) {
        for library in libraries(program) {
            self.copy(Path::new(&library), &library, Owner::default());
        }
    }

    /// A file as this host has it.
    pub(crate) fn copy(&mut self, from: &Path, place: &str, owner: Owner) {
        let metadata = fs::metadata(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        self.add(place, Kind::Copy(from.to_owned()), metadata.permissions().mode() & 0o7777, owner);
    }

    /// A directory with all that is in it. Links become what they point to.
    pub(crate) fn tree(&mut self, from: &Path, place: &str, owner: Owner) {
        let mode = fs::metadata(from).expect("a directory").permissions().mode();
        self.add(place, Kind::Directory, mode & 0o7777, owner);
        for entry in fs::read_dir(from).expect("a directory").flatten() {
            let name = entry.file_name();
            let inner = format!("{place}/{}", name.to_str().expect("a plain name"));
            if entry.path().is_dir() {
                self.tree(&entry.path(), &inner, owner);
            } else {
                self.copy(&entry.path(), &inner, owner);
            }
        }
    }

    /// What is there already makes way, but a directory stays one.
    fn add(&mut self, path: &str, kind: Kind, permissions: u32, owner: Owner) {
        let path = PathBuf::from(path.trim_start_matches('/'));
        for dir in path.ancestors().skip(1).filter(|dir| *dir != Path::new("")) {
            let parent = || Node { kind: Kind::Directory, permissions: 0o755, owner: Owner::default() };
            self.nodes.entry(dir.to_owned()).or_insert_with(parent);
        }
        self.nodes.insert(path, Node { kind, permissions, owner });
    }

    pub(crate) fn write(&self, to: &Path) {
        let write = || -> io::Result<()> {
            let mut file = BufWriter::new(File::create(to)?);
            for (number, (path, node)) in (1..).zip(&self.nodes) {
                let name = path.to_str().expect("a plain name");
                node.write(&mut file, number, name)?;
            }
            entry(&mut file, [0; 11], "TRAILER!!!", &[])?;
            file.flush()
        };
        write().unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    }
}

impl Node {
    fn write(&self, file: &mut impl Write, number: u32, name: &str) -> io::Result<()> {
        let (format, content) = match &self.kind {
            Kind::Directory => (0o040_000, Vec::new()),
            Kind::Text(text) => (0o100_000, text.clone().into_bytes()),
            Kind::Copy(from) => (0o100_000, fs::read(from)?),
            Kind::Link(target) => (0o120_000, target.clone().into_bytes()),
            Kind::Console => (0o020_000, Vec::new()),
        };
        let device = if matches!(self.kind, Kind::Console) { [5, 1] } else { [0, 0] };
        let Owner(owner) = self.owner;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mode = format | self.permissions;
        // Number, mode, user, group, links, time, size, device of the file, device that it is.
        let fields = [number, mode, owner, owner, 1, 0, size, 0, 0, device[0], device[1]];
        entry(file, fields, name, &content)
    }
}

/// A header of text, the name, the content; the last two up to a multiple of four.
fn entry(file: &mut impl Write, fields: [u32; 11], name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = String::from("070701");
    let checksum = 0;
    let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
    for field in fields.into_iter().chain([name_size, checksum]) {
        header.push_str(&format!("{field:08x}"));
    }
    header.push_str(name);
    header.push('\0');
    for part in [header.as_bytes(), content] {
        file.write_all(part)?;
        file.write_all(&[0; 3][..part.len().next_multiple_of(4) - part.len()])?;
    }
    Ok(())
}

/// A program by its path, or where people's programs and those of root are.
fn find(name: &str) -> PathBuf {
    if name.starts_with('/') {
        return PathBuf::from(name);
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = places.find_map(|dir| Some(dir.join(name)).filter(|path| path.is_file()));
    found.unwrap_or_else(|| panic!("no program {name}; tests/run installs it"))
}

/// Those that the loader would take, it among them; none of what was linked for good.
fn libraries(program: &Path) -> Vec<String> {
    let listed = output(&["ldd", &program.display().to_string()]);
    let words = listed.lines().filter_map(|line| {
        let place = line.split_once("=> ").map_or(line, |(_, place)| place);
        place.split_whitespace().next()
    });
    words.filter(|word| word.starts_with('/')).map(ToOwned::to_owned).collect()
}

/// Runs to its end, which has to be a good one.
pub(crate) fn run(words: &[&str]) -> String {
    let output =
        command(words).output().unwrap_or_else(|error| panic!("{words:?}: {error}; tests/run installs it"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {}\n{error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it says, however it ends: `ldd` takes a program without libraries for a failure.
fn output(words: &[&str]) -> String {
    let output = command(words).output().unwrap_or_else(|error| panic!("{words:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[expect(clippy::disallowed_methods, reason = "tools of a test")]
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir("/");
    command
}
