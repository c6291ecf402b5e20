//! Where things live: units, state, run and log directories of one instance.

use std::path::PathBuf;

/// The four directories of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub units: PathBuf,
    pub state: PathBuf,
    pub run: PathBuf,
    pub log: PathBuf,
}

impl Home {
    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("mcsup.sock")
    }
}
