//! What a unit file says. Pure: text in, a `UnitSet` or all diagnostics out.

pub mod name;
pub mod spec;
pub mod diagnostic;
pub(crate) mod nearest;
