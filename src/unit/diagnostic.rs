//! What is wrong with a units directory, each with its place and its mend.

/// A range of bytes in one of the files that were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index in the list of files given to `unit::load`.
    pub file: u32,
    pub start: u32,
    pub end: u32,
}
