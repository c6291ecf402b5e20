//! A unit's log, for callers that cannot read the files themselves.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;

use crate::api::Shared;
use crate::api::body::unfold;
use crate::api::caller::MayLook;
use crate::api::parameters::Parameters;
use crate::api::problem::{self, Problem};
use crate::api::status::named;
use crate::log::files::LogDir;
use crate::log::follow::{Watch, Woken};
use crate::log::read::Reader;
use crate::log::since;
use crate::log::start::Start;
use crate::supervisor::words::name_of;
use crate::unit::spec::UnitSet;

/// Read from the files at once.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces read ahead of a client that is slower than the disk.
const PIECES_AHEAD: usize = 4;

/// What a unit wrote, byte by byte.
#[utoipa::path(get, path = "/v1/units/{name}/logs",
    params(
        ("name" = String, Path, description = "The unit's name, or that of a group of one"),
        ("lines" = Option<u64>, Query, description = "Only this many last lines"),
        ("since" = Option<String>, Query, description = "`10m`, `today`, a date, or a time in RFC 3339"),
        ("follow" = Option<bool>, Query, description = "Go on with what the unit writes. Default false"),
    ),
    responses(
        (status = 200, body = String, content_type = "application/octet-stream"),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Broken, problem::Busy,
))]
pub(crate) async fn logs(
    _: MayLook,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["lines", "since", "follow"])?;
    let moment = parameters.one("since").map(|text| since::parse(text, since::now())).transpose();
    let start = Start { lines: parameters.number("lines")?, since: moment.map_err(Problem::BadRequest)? };
    let is_followed = parameters.flag("follow")?.unwrap_or(false);
    let set = shared.handle.status(Some(Vec::new())).await?.set;
    let name = one_of(&set, &name)?;
    let broken = |error: io::Error| Problem::Broken(format!("cannot read the log of `{name}`: {error}"));
    let (stop, stopped) = UnixStream::pair().map_err(broken)?;
    let (pieces, arriving) = mpsc::channel(PIECES_AHEAD);
    let log_dir = shared.context.log_dir.clone();
    let job = Job { unit: LogDir::new(&log_dir, &name), log_dir, start, is_followed, stopped, pieces };
    // Its end is known by the end of its pieces; it ends itself when `stop` goes with the response.
    shared.log_readers.try_begin(move || job.read()).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            Problem::Busy("too many clients read logs; try again".to_owned())
        } else {
            broken(error)
        }
    })?;
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    let body = unfold((arriving, stop), |(mut arriving, stop)| async move {
        let piece: Bytes = arriving.recv().await?;
        Some((piece, (arriving, stop)))
    });
    Ok((headers, body).into_response())
}

/// Bytes of several units would not be told apart: a group's logs are asked for one by one.
fn one_of(set: &UnitSet, name: &str) -> Result<String, Problem> {
    match named(set, name)?.as_slice() {
        [one] => Ok(name_of(set, *one).to_owned()),
        several => {
            let names: Vec<&str> = several.iter().map(|unit| name_of(set, *unit)).collect();
            let names = names.join(", ");
            Err(Problem::BadRequest(format!("a log is one unit's, and `{name}` means {names}")))
        }
    }
}

/// The reading of one log for one client, on a thread of its own.
#[derive(Debug)]
struct Job {
    log_dir: std::path::PathBuf,
    unit: LogDir,
    start: Start,
    is_followed: bool,
    /// Hangs up when the client is gone.
    stopped: UnixStream,
    pieces: mpsc::Sender<Bytes>,
}

impl Job {
    fn read(self) {
        if let Err(error) = self.send_all() {
            tracing::warn!("cannot read the log of {}: {error}", self.unit.path().display());
        }
    }

    fn send_all(&self) -> io::Result<()> {
        // Before the first look, so that nothing is missed between the two.
        let mut watch = match self.is_followed {
            true => Some(Watch::new(&self.log_dir, std::slice::from_ref(&self.unit))?),
            false => None,
        };
        let mut reader = Reader::new(self.unit.clone(), self.start)?;
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let got = reader.read(&mut buffer)?;
            if got > 0 {
                let is_gone = self.pieces.blocking_send(Bytes::copy_from_slice(&buffer[..got])).is_err();
                if is_gone {
                    return Ok(());
                }
                continue;
            }
            let Some(watch) = &mut watch else { return Ok(()) };
            match watch.wait(&[self.stopped.as_fd()])? {
                Woken::Changed => {}
                Woken::Ended => return Ok(()),
            }
        }
    }
}
