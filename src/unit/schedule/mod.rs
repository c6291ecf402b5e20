//! When a job runs: schedules in cron's language, on the wall clock of a zone.
//!
//! ```text
//! text -> parse (fields: sets of values, with places for what is wrong) -> Calendar (wall-clock times, by `cron`)
//!      -> slots (instants: what daylight saving makes of those times) -> next, previous, slots, count
//! ```

mod field;
mod fields;
mod dialect;
mod parse;
mod calendar;
mod zone;
mod slots;
mod timetable;
mod words;

use crate::unit::schedule::calendar::Calendar;
use crate::unit::schedule::fields::Fields;

pub use crate::unit::schedule::field::Field;
pub use crate::unit::schedule::parse::ScheduleError;
pub use crate::unit::schedule::slots::{Count, Slots};
pub use crate::unit::schedule::timetable::Timetable;
pub use crate::unit::schedule::zone::{UnknownZone, Zone};

/// An instant in whole seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub i64);

/// Times at which something runs. Two are equal when they run at the same times for the same reasons,
/// however they are written.
#[derive(Clone, Debug)]
pub struct Schedule {
    fields: Fields,
    calendar: Calendar,
    text: Box<str>,
}

impl Schedule {
    /// Five fields of cron, six with the second in front, or a name such as `@daily`.
    ///
    /// # Errors
    /// With all that is wrong, from left to right; never empty. A schedule that never runs is an error.
    pub fn parse(text: &str) -> Result<Self, Vec<ScheduleError>> {
        let fields = parse::parse(text)?;
        let Some(calendar) = Calendar::new(&fields) else {
            return Err(vec![ScheduleError {
                field: None,
                at: 0..text.len(),
                message: "no times can be computed from this".into(),
                help: "write it in another way".into(),
            }]);
        };
        Ok(Self { fields, calendar, text: text.into() })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Equal for equal schedules, however they are written.
    pub fn canonical(&self) -> String {
        format!("{:?}", self.fields)
    }

    /// When it runs, in English, without the zone: "at 06:00 every day".
    pub fn words(&self) -> String {
        words::of(&self.fields)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl Eq for Schedule {}

impl UnixTime {
    /// The second in which the nanosecond falls. The first run after either is the same.
    pub fn from_nanos(nanos: u64) -> Self {
        let seconds = nanos.checked_div(NANOS).unwrap_or(0);
        Self(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// Its first nanosecond; 0 before 1970, and the largest number from 2554 on.
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0).saturating_mul(NANOS)
    }
}

const NANOS: u64 = 1_000_000_000;
