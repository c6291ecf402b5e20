//! The one door to the terminal for what commands print.

use std::io::{self, IsTerminal, Write};

/// Prints to stdout. A reader that went away (`mcsup graph | head`) is no failure.
pub(crate) fn out(text: &str) {
    quietly(io::stdout().lock(), text);
}

/// Prints to stderr, for what is not the answer itself.
pub(crate) fn err(text: &str) {
    quietly(io::stderr().lock(), text);
}

fn quietly(mut stream: impl Write, text: &str) {
    // Neither stream has another one to complain on.
    drop(stream.write_all(text.as_bytes()).and_then(|()| stream.flush()));
}

/// Colour only for people, and only if they want it.
pub(crate) fn is_coloured() -> bool {
    io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
