//! The units directory: its files read, and what they name looked for on this host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::aside::files;
use crate::generation::{MOST_BYTES, UnitsFile};
use crate::graph;
use crate::output::schema;
use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::spec::job::JobSpec;
use crate::unit::spec::output::Schema;
use crate::unit::spec::{Template, UnitSet, UnitSpec};
use crate::unit::{KeyPlaces, Loaded, MAX_FILE_BYTES, SourceFile};

/// The files of a directory, and what is odd about it.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Every `*.yaml` that is not hidden, by name.
    pub(crate) files: Vec<UnitsFile>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A directory that was read, loaded and compared with the host.
#[derive(Debug)]
pub struct Checked {
    pub sources: Vec<SourceFile>,
    pub loaded: Loaded,
}

/// Everything: reads, loads, and looks for what the units name on this host.
///
/// # Errors
/// When the directory itself cannot be read.
pub fn check(dir: &Path) -> io::Result<Checked> {
    let Checked { sources, mut loaded } = load(dir)?;
    if let Some(set) = &loaded.set {
        loaded.diagnostics.extend(lint(set, &loaded.places, dir));
        loaded.diagnostics.sort_by(Diagnostic::reading_order);
        loaded.diagnostics.dedup();
        if loaded.diagnostics.iter().any(Diagnostic::is_error) {
            loaded.set = None;
        }
    }
    Ok(Checked { sources, loaded })
}

/// Reads and loads, without a look at the host.
///
/// # Errors
/// When the directory itself cannot be read.
pub fn load(dir: &Path) -> io::Result<Checked> {
    let Listing { files, diagnostics } = read(dir)?;
    let sources: Vec<SourceFile> =
        files.into_iter().map(|file| SourceFile { name: file.name, bytes: file.bytes }).collect();
    let loaded = judge(&sources, diagnostics);
    Ok(Checked { sources, loaded })
}

/// What these files define, where nothing was odd about their directory that makes them less than all.
pub(crate) fn judge(sources: &[SourceFile], diagnostics: Vec<Diagnostic>) -> Loaded {
    let mut loaded = graph::load(sources);
    if diagnostics.iter().any(Diagnostic::is_error) {
        loaded.set = None;
    }
    loaded.diagnostics.extend(diagnostics);
    loaded.diagnostics.sort_by(Diagnostic::reading_order);
    loaded
}

/// Reads the files, and of each no more than shows that it is too large. The one reader of unit files: a boot, a
/// change and who only checks are told the same of the same directory. Links to files are followed. What is there
/// under the name of a unit file and is none says nothing of its unit, least of all that it is to go: that is an error.
///
/// # Errors
/// When the directory itself cannot be read.
pub(crate) fn read(dir: &Path) -> io::Result<Listing> {
    let mut names: Vec<OsString> = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name());
    }
    names.sort();
    let mut listing = Listing::default();
    let mut bytes = 0_usize;
    for name in names {
        let Some(name) = name.to_str() else {
            let message = format!("`{}` is not read: its name is not UTF-8", name.to_string_lossy());
            listing.diagnostics.push(Diagnostic::warning("not-read", Place::DIRECTORY, message));
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        if !name.ends_with(".yaml") {
            listing.diagnostics.extend(left_out(dir, name));
            continue;
        }
        match read_file(&dir.join(name)) {
            Ok(Some((text, mode))) => {
                bytes = bytes.saturating_add(text.len());
                listing.files.push(UnitsFile { name: name.into(), bytes: text, mode });
            }
            Ok(None) => {}
            Err(cause) => listing.diagnostics.push(
                Diagnostic::error("cannot-read", Place::DIRECTORY, format!("cannot read `{name}`: {cause}"))
                    .help("mend it, or remove it to remove what it defined"),
            ),
        }
        if bytes > MOST_BYTES {
            let message = format!("the unit files have more than {} MiB together", MOST_BYTES >> 20);
            listing.diagnostics.push(Diagnostic::error("directory-too-large", Place::DIRECTORY, message));
            break;
        }
    }
    Ok(listing)
}

/// What somebody may take for a unit.
fn left_out(dir: &Path, name: &str) -> Option<Diagnostic> {
    if let Some(stem) = name.strip_suffix(".yml") {
        let message = format!("`{name}` is not read: it ends in `.yml`");
        let told = Diagnostic::warning("not-read", Place::DIRECTORY, message);
        return Some(told.help(format!("rename it to `{stem}.yaml`")));
    }
    let is_dir = fs::metadata(dir.join(name)).is_ok_and(|there| there.is_dir());
    let message = || format!("the subdirectory `{name}` is not read");
    is_dir.then(|| {
        Diagnostic::warning("not-read", Place::DIRECTORY, message())
            .help("unit files stand directly in the units directory")
    })
}

/// With its permissions. `None`: it went away since its name was read.
fn read_file(path: &Path) -> Result<Option<(Vec<u8>, u32)>, String> {
    let file = match files::regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Ok(target) = fs::read_link(path) else { return Ok(None) };
            return Err(format!("it is a link that leads to no file (`{}`)", target.display()));
        }
        Err(error) => return Err(error.to_string()),
    };
    let text = |error: io::Error| error.to_string();
    let metadata = file.metadata().map_err(text)?;
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let expected = usize::try_from(metadata.len().min(limit)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(expected);
    file.take(limit).read_to_end(&mut bytes).map_err(text)?;
    Ok(Some((bytes, metadata.permissions().mode() & 0o7777)))
}

/// What the units name and this host does not have. Warnings: it may be there by the time of the start. A schema that
/// is there and is none is an error.
pub fn lint(set: &UnitSet, places: &[KeyPlaces], dir: &Path) -> Vec<Diagnostic> {
    let mut host = Host::default();
    let mut out = Vec::new();
    for (unit, keys) in set.units.iter().zip(places) {
        executable(unit, keys, dir, &mut host, &mut out);
        accounts(unit, keys, &mut host, &mut out);
        let missing = |path: &str, host: &mut Host| !host.exists(&dir.join(path));
        if let (Some(path), Some(place)) = (&unit.working_dir, keys.working_dir)
            && missing(path, &mut host)
        {
            let message = format!("there is no directory `{path}` on this host");
            out.push(
                Diagnostic::warning("missing-directory", place, message)
                    .help("it must be there when the unit starts"),
            );
        }
        for (path, place) in unit.env_file.iter().zip(&keys.env_file) {
            if missing(path, &mut host) {
                let message = format!("there is no file `{path}` on this host");
                out.push(
                    Diagnostic::warning("missing-file", *place, message)
                        .help("it must be there when the unit starts"),
                );
            }
        }
        if let Some(job) = &unit.job {
            if let (Some(webhook), Some(place)) = (&job.webhook, keys.secret_file)
                && missing(&webhook.secret_file, &mut host)
            {
                let message = format!("there is no file `{}` on this host", webhook.secret_file);
                out.push(
                    Diagnostic::warning("missing-file", place, message)
                        .help("without the secret in it, no call is answered"),
                );
            }
            schemas(job, keys, dir, &mut host, &mut out);
        }
    }
    out
}

fn schemas(job: &JobSpec, keys: &KeyPlaces, dir: &Path, host: &mut Host, out: &mut Vec<Diagnostic>) {
    let Some(output) = &job.output else { return };
    let contents = output.stream.iter().chain(output.files.iter().map(|file| &file.content));
    for (schema, place) in contents.filter_map(|content| content.schema.as_ref()).zip(&keys.schemas) {
        if let Schema::File(name) = schema
            && !host.exists(&dir.join(&**name))
        {
            let message = format!("there is no schema `{name}` beside this unit");
            out.push(
                Diagnostic::warning("missing-file", *place, message)
                    .help("without it, no output of this job could be judged"),
            );
        } else if let Some(flaw) = schema::flaw(schema, dir) {
            out.push(Diagnostic::error("bad-schema", *place, flaw));
        }
    }
}

fn executable(unit: &UnitSpec, keys: &KeyPlaces, dir: &Path, host: &mut Host, out: &mut Vec<Diagnostic>) {
    let (Some(Template::Plain(program)), Some(place)) = (unit.command.first(), keys.command) else { return };
    let own_path = unit.environment.iter().find(|(name, _)| &**name == "PATH").map(|(_, value)| value);
    let message = if program.contains('/') {
        let base = unit
            .working_dir
            .as_deref()
            .map_or_else(|| dir.to_path_buf(), |working_dir| dir.join(working_dir));
        let path = base.join(&**program);
        if host.is_executable(&path) {
            return;
        }
        if host.exists(&path) {
            format!("`{program}` is not an executable file")
        } else {
            format!("there is no program `{program}` on this host")
        }
    } else {
        let search = match own_path {
            Some(Template::Plain(path)) => path.to_string(),
            // What it expands to is known at the start.
            Some(Template::Pieces(_)) => return,
            None => std::env::var("PATH").unwrap_or_default(),
        };
        if host.is_in_path(program, &search) {
            return;
        }
        format!("there is no program `{program}` in PATH")
    };
    out.push(
        Diagnostic::warning("missing-program", place, message).help("it must be there when the unit starts"),
    );
}

fn accounts(unit: &UnitSpec, keys: &KeyPlaces, host: &mut Host, out: &mut Vec<Diagnostic>) {
    if let (Some(user), Some(place)) = (&unit.user, keys.user)
        && !host.has_user(user)
    {
        let message = format!("there is no user `{user}` on this host");
        out.push(
            Diagnostic::warning("missing-user", place, message).help("it must be there when the unit starts"),
        );
    }
    let groups = unit.supplementary_groups.iter().zip(keys.supplementary_groups.iter().copied());
    for (group, place) in unit.group.iter().zip(keys.group).chain(groups) {
        if !host.has_group(group) {
            let message = format!("there is no group `{group}` on this host");
            out.push(
                Diagnostic::warning("missing-group", place, message)
                    .help("it must be there when the unit starts"),
            );
        }
    }
}

/// Answers about the host; a thousand units ask the same few questions.
#[derive(Debug, Default)]
struct Host {
    exists: BTreeMap<PathBuf, bool>,
    executables: BTreeMap<PathBuf, bool>,
    in_path: BTreeMap<(String, String), bool>,
    users: BTreeMap<String, bool>,
    groups: BTreeMap<String, bool>,
}

impl Host {
    fn exists(&mut self, path: &Path) -> bool {
        *self.exists.entry(path.into()).or_insert_with(|| path.exists())
    }

    fn is_executable(&mut self, path: &Path) -> bool {
        *self.executables.entry(path.into()).or_insert_with(|| {
            fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
    }

    fn is_in_path(&mut self, program: &str, search: &str) -> bool {
        let key = (program.to_string(), search.to_string());
        if let Some(known) = self.in_path.get(&key) {
            return *known;
        }
        let found = std::env::split_paths(search).any(|dir| self.is_executable(&dir.join(program)));
        self.in_path.insert(key, found);
        found
    }

    /// A number needs no name.
    fn has_user(&mut self, user: &str) -> bool {
        let look = || user.parse::<u32>().is_ok() || !matches!(nix::unistd::User::from_name(user), Ok(None));
        *self.users.entry(user.into()).or_insert_with(look)
    }

    fn has_group(&mut self, group: &str) -> bool {
        let look =
            || group.parse::<u32>().is_ok() || !matches!(nix::unistd::Group::from_name(group), Ok(None));
        *self.groups.entry(group.into()).or_insert_with(look)
    }
}
