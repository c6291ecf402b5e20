//! The six fields of a schedule, and sets of their values.

use std::fmt;

/// A field, in the order they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Only in schedules of six fields; elsewhere second 0.
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    /// Sunday is 0, and 7 as well.
    DayOfWeek,
}

impl Field {
    pub const ALL: [Self; 6] =
        [Self::Second, Self::Minute, Self::Hour, Self::DayOfMonth, Self::Month, Self::DayOfWeek];

    /// As people call it, in messages and documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        }
    }

    /// Its smallest and its largest value; Sunday counts as 0.
    pub(super) fn bounds(self) -> (u8, u8) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 6),
        }
    }

    /// The largest number that may be written for it.
    pub(super) fn largest_written(self) -> u8 {
        match self {
            Self::DayOfWeek => 7,
            Self::Second | Self::Minute | Self::Hour | Self::DayOfMonth | Self::Month => self.bounds().1,
        }
    }

    /// Values that may be written as words, the first for the smallest value.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Second | Self::Minute | Self::Hour | Self::DayOfMonth => &[],
            Self::Month => {
                &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
            }
            Self::DayOfWeek => &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
        }
    }

    /// What may stand there, for a person who wrote something else.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Second => "seconds are 0 to 59",
            Self::Minute => "minutes are 0 to 59",
            Self::Hour => "hours are 0 to 23",
            Self::DayOfMonth => "days of the month are 1 to 31",
            Self::Month => "months are 1 to 12, or jan to dec",
            Self::DayOfWeek => "days of the week are 0 to 7 (0 and 7 are Sunday), or sun to sat",
        }
    }

    /// All of its values.
    pub(super) fn everything(self) -> Values {
        let (smallest, largest) = self.bounds();
        (smallest..=largest).collect()
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of values from 0 to 63, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Values(u64);

impl Values {
    pub(super) fn only(value: u8) -> Self {
        Self(1_u64.checked_shl(u32::from(value)).unwrap_or(0))
    }

    #[must_use]
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn holds(self, value: u8) -> bool {
        self.0 & Self::only(value).0 != 0
    }

    pub(super) fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// From small to large.
    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = u8> {
        (0..64).filter(move |value| self.holds(*value))
    }

    pub(super) fn first(self) -> Option<u8> {
        self.iter().next()
    }

    pub(super) fn last(self) -> Option<u8> {
        self.iter().next_back()
    }
}

impl FromIterator<u8> for Values {
    fn from_iter<I: IntoIterator<Item = u8>>(values: I) -> Self {
        values.into_iter().fold(Self::default(), |all, value| all.with(Self::only(value)))
    }
}
