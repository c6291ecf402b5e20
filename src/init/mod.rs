//! What only process 1 does: run one command alone, as small inits of containers do.
//!
//! A leaf: it knows no unit, no engine and no other ring. What reads its arguments is `cli/init.rs`.
#![deny(clippy::disallowed_types, clippy::float_arithmetic, clippy::cast_possible_truncation)]

pub(crate) mod alone;
mod sys;

/// To whoever watches our standard error; there may be nobody.
fn say(text: &str) {
    rustix::io::write(std::io::stderr(), format!("mcsup: {text}\n").as_bytes()).ok();
}
