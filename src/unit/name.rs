//! Names of units and phases.

use std::fmt;
use std::sync::Arc;

/// The name of a unit: its file's stem, with `@` and an instance for replicas and templates.
/// Matches `[a-z0-9][a-z0-9_.@-]{0,63}`; `mcsup` is reserved. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName(Arc<str>);

/// Why a text is not a unit's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    Empty,
    TooLong,
    Reserved,
    /// The first character that may not stand where it does, with its byte offset.
    Character(usize, char),
}

impl UnitName {
    /// # Errors
    /// When `text` does not match the pattern or is reserved; says where.
    pub fn new(text: &str) -> Result<Self, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        let first_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bad = text
            .char_indices()
            .find(|&(at, c)| !(first_ok(c) || (at > 0 && matches!(c, '_' | '.' | '@' | '-'))));
        match bad {
            Some((at, c)) => Err(BadName::Character(at, c)),
            None if text.len() > 64 => Err(BadName::TooLong),
            None if text == "mcsup" => Err(BadName::Reserved),
            None => Ok(Self(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
