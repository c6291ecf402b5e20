//! `mcsup edit UNIT`

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::api::changes::dto::{Plan, PlanOptions, UnitText};
use crate::api::dto::ProblemDocument;
use crate::api::parameters::encode;
use crate::cli::changed::tell;
use crate::cli::client::{Client, Reply, block_on, read};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::plan::shown;
use crate::cli::render::{ask_person, err, out};

/// Edit a unit's file: shows what is wrong with it, then what it would do, and asks
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The editor is VISUAL, else EDITOR, else vi; it gets a copy. What is not applied is kept, and named.\n\n\
    Example:\n  mcsup edit redis\n  EDITOR=nano mcsup edit --new cache"
)]
pub(crate) struct Args {
    /// The unit
    #[arg(value_name = "UNIT")]
    unit: String,
    /// There is no such unit yet
    #[arg(long)]
    new: bool,
    /// Apply what is fit without asking
    #[arg(long, short)]
    yes: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    let original = original(&client, args)?;
    let mut draft = Draft::new(&args.unit, &original)
        .map_err(|error| Failure::new(Exit::NotWell, format!("cannot make a file to edit: {error}")))?;
    let result = converse(&client, args, &original, &mut draft);
    let is_applied = result.as_ref().is_ok_and(|end| *end != End::GivenUp);
    if !is_applied && draft.text().is_ok_and(|text| text != original) {
        draft.is_kept = true;
        err(&format!("what you wrote is kept as {}\n", draft.path.display()));
    }
    Ok(match result? {
        End::Told(outcome) => outcome,
        End::GivenUp => Outcome::NotWell,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// What came of it.
    Told(Outcome),
    GivenUp,
}

fn original(client: &Client, args: &Args) -> Result<String, Failure> {
    let path = format!("/v1/units/{}/file", encode(&args.unit));
    match block_on(client.get(&path)) {
        Ok(_) if args.new => {
            let message = format!("there is a file of `{}` already", args.unit);
            Err(Failure::new(Exit::NotWell, message).help(format!("mcsup edit {}", args.unit)))
        }
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(failure) if args.new && failure.exit == Exit::NotWell => Ok(String::new()),
        // Nothing of a like name is there: it may be meant to be new.
        Err(failure) if failure.message.starts_with("no unit") && failure.help.is_none() => {
            Err(failure.help(format!("mcsup edit --new {}", args.unit)))
        }
        Err(failure) => Err(failure),
    }
}

fn converse(client: &Client, args: &Args, original: &str, draft: &mut Draft) -> Result<End, Failure> {
    loop {
        edit(&draft.path)?;
        let text = draft.text().map_err(|error| {
            Failure::new(Exit::NotWell, format!("cannot read what the editor left: {error}"))
        })?;
        if text == original {
            out("nothing is changed\n");
            return Ok(End::Told(Outcome::Done));
        }
        let unit = Some(UnitText { name: args.unit.clone(), text: text.clone() });
        let options = PlanOptions { dir: None, generation: None, unit };
        match block_on(client.change("/v1/plan", &options))? {
            Reply::Invalid(bytes) => {
                let document: ProblemDocument = read(&bytes)?;
                out(&format!("{}{}\n", document.diagnostics, document.detail));
                // Without an answer there is nobody who would mend it.
                match ask_person("edit again? [Y/n] ").as_deref() {
                    Some("" | "y" | "yes") => {}
                    Some(_) | None => return Ok(End::GivenUp),
                }
            }
            Reply::Good(bytes) => {
                let plan: Plan = read(&bytes)?;
                out(&shown(&plan));
                let answer = if args.yes { Some("y".to_owned()) } else { ask_person("apply? [y/N/e(dit)] ") };
                match answer.as_deref() {
                    Some("y" | "yes") => return apply(client, args, original, &text),
                    Some("e" | "edit") => {}
                    Some(_) | None => return Ok(End::GivenUp),
                }
            }
        }
    }
}

fn apply(client: &Client, args: &Args, original: &str, text: &str) -> Result<End, Failure> {
    let path = format!("/v1/units/{}", encode(&args.unit));
    block_on(async {
        // Who saved meanwhile shall not lose it.
        let now = match client.get(&format!("{path}/file")).await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(failure) if args.new && failure.exit == Exit::NotWell => String::new(),
            Err(failure) => return Err(failure),
        };
        if now != original {
            return Err(Failure::new(
                Exit::NotWell,
                format!("the file of `{}` was changed meanwhile", args.unit),
            )
            .help("edit it again, and bring both together"));
        }
        let reply = client.put(&format!("{path}?edited=true"), text).await?;
        match tell(&reply, false)? {
            Outcome::Done => Ok(End::Told(Outcome::Done)),
            // Kept in its generation, but what goes back does so in the directory too.
            Outcome::NotWell => Ok(End::GivenUp),
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "an editor is a process of the person's own, and waited for")]
fn edit(path: &Path) -> Result<(), Failure> {
    let chosen = ["VISUAL", "EDITOR"].into_iter().filter_map(std::env::var_os).find(|text| !text.is_empty());
    let editor = chosen.unwrap_or_else(|| "vi".into());
    // It may have arguments, so a shell splits it, as everybody does who runs one.
    let mut line = editor.clone();
    line.push(" \"$@\"");
    let status = std::process::Command::new("sh").arg("-c").arg(line).arg("editor").arg(path).status();
    let editor = editor.to_string_lossy();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(
            Exit::NotWell,
            format!("the editor `{editor}` failed: {status}; nothing is changed"),
        )
        .help("name another one: EDITOR=nano mcsup edit UNIT")),
        Err(error) => {
            Err(Failure::new(Exit::NotWell, format!("cannot start the editor `{editor}`: {error}")))
        }
    }
}

/// A copy that only this user may read, beside nothing of ours; gone in the end, unless it is kept.
#[derive(Debug)]
struct Draft {
    dir: PathBuf,
    path: PathBuf,
    is_kept: bool,
}

impl Draft {
    fn new(unit: &str, text: &str) -> io::Result<Self> {
        let base = std::env::temp_dir();
        let made = (0..TRIES).map(|number| base.join(format!("mcsup-edit-{}-{number}", std::process::id())));
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for dir in made {
            match fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => {
                    let draft = Self { path: dir.join(format!("{unit}.yaml")), dir, is_kept: false };
                    let mut file =
                        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.path)?;
                    file.write_all(text.as_bytes())?;
                    return Ok(draft);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn text(&self) -> io::Result<String> {
        fs::read_to_string(&self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            // An editor may have left files of its own there.
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

/// Names that somebody else may have taken.
const TRIES: u32 = 100;
