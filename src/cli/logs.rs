//! `mcsup logs UNIT…`

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use axum::body::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::api::parameters::encode;
use crate::cli::client::{Client, block_on};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::is_terminal;
use crate::cli::status;
use crate::log::files::LogDir;
use crate::log::follow::{Watch, Woken};
use crate::log::print::{Printer, Style};
use crate::log::read::Reader;
use crate::log::since;
use crate::log::start::Start;
use crate::unit::nearest::nearest;

/// Show what units wrote
#[derive(Debug, clap::Args)]
#[command(after_help = "Into a pipe or a file goes exactly what the unit wrote; on a terminal, what would \
    confuse it is escaped. Lines of several units stand behind their names.\n\n\
    Example:\n  mcsup logs redis\n  mcsup logs -f -n 20 web worker\n  mcsup logs --since 10m redis | grep -c ERROR")]
pub(crate) struct Args {
    /// The units
    #[arg(value_name = "UNIT", required = true)]
    units: Vec<String>,
    /// Go on with what they write
    #[arg(long, short)]
    follow: bool,
    /// Only the last N lines of each. Default: everything, with -f and without --since the last 10
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<u64>,
    /// Not what is older: `10m` (ago), `today`, `06:00`, `2026-11-20 06:00` or RFC 3339. As near as the log's
    /// index tells, and rather a little more
    #[arg(long, value_name = "T")]
    since: Option<String>,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let moment = args.since.as_deref().map(|text| since::parse(text, since::now())).transpose();
    let moment = moment.map_err(|why| Failure::new(Exit::Usage, why))?;
    let lines = args.lines.or_else(|| (args.follow && moment.is_none()).then_some(10));
    let start = Start { lines, since: moment };
    let client = Client::new(home)?;
    let Some(names) = names_of_files(&client, args)? else {
        return block_on(through_supervisor(&client, args, start));
    };
    let units: Vec<LogDir> = names.iter().map(|unit| LogDir::new(&client.home.log, unit)).collect();
    match from_files(&client, &names, &units, start, args.follow) {
        Ok(()) => Ok(Outcome::Done),
        // Nobody reads any more: `mcsup logs redis | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Outcome::Done),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            block_on(through_supervisor(&client, args, start))
        }
        Err(error) => Err(Failure::new(Exit::NotWell, format!("cannot read the log: {error}"))),
    }
}

/// The units whose logs are meant; `None` where the files are not for us to read.
fn names_of_files(client: &Client, args: &Args) -> Result<Option<Vec<String>>, Failure> {
    let mut names = Vec::new();
    for name in &args.units {
        match std::fs::read_dir(LogDir::new(&client.home.log, name).path()) {
            Ok(_readable) => names.push(name.clone()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(_missing) => names.extend(named(client, name)?),
        }
    }
    Ok(Some(names))
}

/// A name without a log may be that of a unit that has written nothing yet, or of a group; only the supervisor
/// knows. Without one, what lies there has to do.
fn named(client: &Client, name: &str) -> Result<Vec<String>, Failure> {
    match block_on(status::named(client, &[name.to_owned()])) {
        Ok(names) => Ok(names),
        Err(failure) if failure.exit != Exit::NoSupervisor => Err(failure),
        Err(nobody) => {
            let failure =
                Failure::new(Exit::NoSupervisor, format!("no log of `{name}`, and {}", nobody.message));
            let entries = std::fs::read_dir(&client.home.log).into_iter().flatten().flatten();
            let names: Vec<String> =
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            let is_copy =
                |other: &&String| other.strip_prefix(name).is_some_and(|copy| copy.starts_with('@'));
            let mut copies: Vec<String> = names.iter().filter(is_copy).cloned().collect();
            if !copies.is_empty() {
                copies.sort();
                return Ok(copies);
            }
            Err(match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => failure.help(format!("did you mean `{near}`?")),
                None => failure,
            })
        }
    }
}

fn from_files(
    client: &Client,
    names: &[String],
    units: &[LogDir],
    start: Start,
    follow: bool,
) -> io::Result<()> {
    // Before the first look, so that nothing is missed between the two.
    let mut watch = if follow { Some(Watch::new(&client.home.log, units)?) } else { None };
    let mut printers = printers(names);
    let readers: io::Result<Vec<Reader>> =
        units.iter().map(|unit| Reader::new(unit.clone(), start)).collect();
    let mut readers = readers?;
    let mut buffer = vec![0; 64 << 10];
    let mut out = io::stdout().lock();
    loop {
        for (reader, printer) in readers.iter_mut().zip(&mut printers) {
            loop {
                let got = reader.read(&mut buffer)?;
                if got == 0 {
                    break;
                }
                printer.write(&buffer[..got], &mut out)?;
            }
        }
        out.flush()?;
        let Some(watch) = &mut watch else { break };
        if watch.wait(&[io::stdout().as_fd()])? == Woken::Ended {
            break;
        }
    }
    for printer in &mut printers {
        printer.finish(&mut out)?;
    }
    out.flush()
}

/// For callers who may look and cannot read the files.
async fn through_supervisor(client: &Client, args: &Args, start: Start) -> Result<Outcome, Failure> {
    let units = status::named(client, &args.units).await?;
    let (pieces, mut arriving) = mpsc::channel::<(usize, Bytes)>(4);
    let mut readers = JoinSet::new();
    for (index, name) in units.iter().enumerate() {
        let mut query = format!("follow={}", args.follow);
        if let Some(lines) = start.lines {
            query += &format!("&lines={lines}");
        }
        if let Some(since) = &args.since {
            query += &format!("&since={}", encode(since));
        }
        let mut stream = client.stream(&format!("/v1/units/{}/logs?{query}", encode(name))).await?;
        let pieces = pieces.clone();
        readers.spawn(async move {
            while let Some(piece) = stream.next().await {
                if pieces.send((index, piece)).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(pieces);
    let mut printers = printers(&units);
    while let Some((index, piece)) = arriving.recv().await {
        let mut out = io::stdout().lock();
        if printers[index].write(&piece, &mut out).and_then(|()| out.flush()).is_err() {
            return Ok(Outcome::Done);
        }
    }
    for printer in &mut printers {
        // Nobody may be reading any more.
        drop(printer.finish(&mut io::stdout().lock()));
    }
    Ok(Outcome::Done)
}

fn printers(names: &[String]) -> Vec<Printer> {
    let style = if is_terminal() { Style::Escaped } else { Style::Exact };
    let widest = names.iter().map(String::len).max().unwrap_or(0);
    let prefix = |name: &String| if names.len() > 1 { format!("{name:widest$} | ") } else { String::new() };
    names.iter().map(|name| Printer::new(style, prefix(name))).collect()
}
