//! `mcsup init`: process 1, of a units directory or of one command alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cgroup::Choice;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::err;
use crate::cli::up::{self, CgroupArgs};
use crate::init::{alone, emergency, machine};
use crate::keeper::use_little_memory;
use crate::unit::spec::SignalNumber;

/// The same as `up`, as process 1; with a command in place of units, what tini does
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mcsup init /etc/mcsup/units\n  mcsup init -g -- sh -c 'worker & worker & wait'"
)]
pub(crate) struct Args {
    /// Units directory; the home's own when left out
    #[arg(value_name = "DIR")]
    units: Option<PathBuf>,
    /// Take in orphans even where this is not process 1 (as TINI_SUBREAPER in the environment)
    #[arg(short = 's', requires = "command")]
    is_subreaper: bool,
    /// Get this signal when the parent ends
    #[arg(short = 'p', value_name = "SIGNAL", requires = "command", value_parser = signal)]
    parent_death: Option<SignalNumber>,
    /// Say what happens; up to three times (as TINI_VERBOSITY=2, 3, 4)
    #[arg(short = 'v', action = clap::ArgAction::Count, requires = "command")]
    verbosity: u8,
    /// Say which orphans were waited for
    #[arg(short = 'w', requires = "command")]
    warns_of_orphans: bool,
    /// Pass signals on to the command's process group (as TINI_KILL_PROCESS_GROUP)
    #[arg(short = 'g', requires = "command")]
    is_to_group: bool,
    /// End with 0 where the command ends with this status; may be repeated
    #[arg(short = 'e', value_name = "STATUS", requires = "command")]
    good_statuses: Vec<u8>,
    /// On a machine: run this shell at the console where units cannot be had (as mcsup.emergency_shell on the kernel's
    /// command line)
    #[arg(long, value_name = "SHELL", num_args = 0..=1, require_equals = true, default_missing_value = machine::SHELL)]
    emergency_shell: Option<PathBuf>,
    #[command(flatten)]
    cgroups: CgroupArgs,
    /// Wait first, as the last try failed
    #[arg(long, hide = true)]
    after_failure: bool,
    /// A command to run alone: it gets the signals, and its exit status is ours
    #[arg(last = true, value_name = "CMD", conflicts_with = "units")]
    command: Vec<OsString>,
}

/// Refused where this is not process 1, so that nobody takes it for something else; but for a command alone.
pub(crate) fn run(args: &Args, home: Option<&Path>) -> ExitCode {
    if !args.command.is_empty() {
        use_little_memory();
        return alone::run(&args.command, &args.options()).into();
    }
    if std::process::id() != 1 {
        let refused = Failure::new(Exit::Usage, "cannot be init: this is not process 1");
        return refused.help("`mcsup up` runs the same under another init").told();
    }
    if machine::is_here() {
        let shell = args.emergency_shell.as_deref();
        return of_machine(args.units.as_deref(), home, args.cgroups.choice(), shell, args.after_failure);
    }
    up::init(args.units.as_deref(), home, args.cgroups.choice(), Vec::new()).told()
}

/// Does not come back: what cannot begin is tried again, and a person may be asked for help meanwhile.
pub(crate) fn of_machine(
    units: Option<&Path>,
    home: Option<&Path>,
    choice: Choice,
    shell: Option<&Path>,
    is_after_failure: bool,
) -> ExitCode {
    machine::prepare();
    let asked_of_kernel = machine::emergency_shell();
    let shell = shell.or(asked_of_kernel.as_deref());
    if is_after_failure {
        emergency::hold(shell);
    }
    loop {
        err(&up::init(units, home, choice, again(units, home, choice, shell)).to_string());
        emergency::hold(shell);
    }
}

impl Args {
    fn options(&self) -> alone::Options {
        let is_set = |name: &str| std::env::var_os(name).is_some();
        let verbosity = std::env::var("TINI_VERBOSITY").ok().and_then(|text| text.trim().parse().ok());
        alone::Options {
            is_subreaper: self.is_subreaper || is_set("TINI_SUBREAPER"),
            parent_death: self.parent_death.map(|signal| signal.0),
            verbosity: verbosity.unwrap_or_else(|| self.verbosity.saturating_add(1)),
            warns_of_orphans: self.warns_of_orphans,
            is_to_group: self.is_to_group || is_set("TINI_KILL_PROCESS_GROUP"),
            good_statuses: self.good_statuses.iter().copied().collect(),
        }
    }
}

/// For who could not keep, to try again.
fn again(units: Option<&Path>, home: Option<&Path>, choice: Choice, shell: Option<&Path>) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(home) = home {
        words.extend(["--home".into(), home.into()]);
    }
    words.extend(["init".into(), "--after-failure".into()]);
    words.extend(["--cgroups".into(), choice.word().into()]);
    if let Some(shell) = shell {
        let mut word = OsString::from("--emergency-shell=");
        word.push(shell);
        words.push(word);
    }
    words.extend(units.map(OsString::from));
    words
}

fn signal(text: &str) -> Result<SignalNumber, String> {
    SignalNumber::parse(text).ok_or_else(|| "not a signal, such as SIGKILL".to_owned())
}
