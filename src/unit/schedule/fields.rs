//! What the text of a schedule says: a set of values for each field, and the two rules that hang on stars.

use crate::unit::schedule::field::{Field, Values};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) seconds: Values,
    pub(super) minutes: Values,
    pub(super) hours: Values,
    pub(super) days: Values,
    pub(super) months: Values,
    /// Sunday is 0.
    pub(super) weekdays: Values,
    pub(super) day_rule: DayRule,
    pub(super) pace: Pace,
}

/// Which days count when day of month and day of week both say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DayRule {
    /// One of them begins with `*`: a day must be in both.
    Both,
    /// Neither does: a day that is in one of them is enough.
    Either,
}

/// What a schedule does when the clocks of its zone are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Minute and hour are both named: what a gap skips is made up for right after it, and a repeated
    /// hour repeats nothing.
    FixedTimes,
    /// One of them begins with `*`: it runs whenever the clock shows a time of it.
    RealTime,
}

impl Fields {
    /// Days that are named and are in none of the months that are named, when that leaves no day at all.
    pub(super) fn impossible_day(&self) -> Option<u8> {
        // Every date that exists falls on each day of the week in some year.
        let hangs_on_day = match self.day_rule {
            DayRule::Both => true,
            DayRule::Either => false,
        };
        let longest = self.months.iter().map(most_days).max()?;
        self.days.first().filter(|first| hangs_on_day && *first > longest)
    }
}

/// Of a month, in a leap year.
fn most_days(month: u8) -> u8 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Which fields begin with `*`, of the four for which that means something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stars {
    pub(super) minute: bool,
    pub(super) hour: bool,
    pub(super) day: bool,
    pub(super) weekday: bool,
}

impl Stars {
    pub(super) fn day_rule(self) -> DayRule {
        if self.day || self.weekday { DayRule::Both } else { DayRule::Either }
    }

    pub(super) fn pace(self) -> Pace {
        if self.minute || self.hour { Pace::RealTime } else { Pace::FixedTimes }
    }
}

impl Field {
    /// The smallest value: what a schedule without seconds has for them.
    pub(super) fn smallest(self) -> Values {
        Values::only(self.bounds().0)
    }
}
