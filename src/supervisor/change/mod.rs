//! Changes of the units while mcsup runs: noticed (`watch`, `looks`), found and planned (`candidate`), held back where
//! somebody must approve (`approval`), put on the one road that the
//! engine decides on (`road`, `turn`), carried over to whoever holds definitions (`redefine`), written down (`filing`).

pub(crate) mod watch;
pub(crate) mod seen;
mod way;
pub(crate) mod remote;
pub(crate) mod candidate;
mod loss;
mod looks;
pub(crate) mod progress;
pub(crate) mod approval;
pub(crate) mod road;
mod turn;
pub(crate) mod begun;
pub(crate) mod redefine;
pub(crate) mod filing;
mod audit;
