//! The hidden verb under which the keeper starts the supervisor, and what that is given of the face:
//! the supervisor itself knows neither the API nor how people are shown things.

use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;

use tokio::net::UnixListener;
use tokio::sync::oneshot;

use crate::api::{Context, hooks, serve_until};
use crate::cli::render_diagnostics::Sources;
use crate::supervisor::handle::Handle;
use crate::supervisor::home::Home;
use crate::supervisor::start::{self, Face};
use crate::unit::SourceFile;
use crate::unit::diagnostic::Diagnostic;

pub use crate::supervisor::start::VERB;

pub fn main() -> ExitCode {
    start::main(Face { render, serve })
}

/// See `supervisor::reexec`.
pub fn rehearse() -> ExitCode {
    crate::supervisor::reexec::rehearse()
}

pub(crate) fn render(files: &[SourceFile], diagnostics: &[Diagnostic], units: &Path) -> String {
    Sources::new(files, &units.to_string_lossy()).text(diagnostics, false)
}

fn serve(
    listener: UnixListener,
    handle: Handle,
    home: &Home,
    end: oneshot::Receiver<()>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let (context, units) = (Context::new(home), home.units.clone());
    Box::pin(async move {
        let (over, is_over) = oneshot::channel::<()>();
        let calls = hooks::serve(handle.clone(), units, async { drop(is_over.await) });
        // Told to end, or the supervisor is gone: the same to those who ask.
        let end = async {
            drop(end.await);
            drop(over);
        };
        tokio::join!(serve_until(listener, handle, context, end), calls);
    })
}
