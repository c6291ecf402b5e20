//! Time zones by their IANA names, from the database that is compiled in: a container without zone files
//! runs its jobs at the same instants as every other machine with this version.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::unit::nearest::nearest;
use crate::unit::schedule::UnixTime;

/// The wall clock of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A name that no zone has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownZone {
    /// "`Europe/Berlim` is no time zone"
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// A stretch of time over which a zone keeps one distance to UTC. All in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its first instant; `None` when it has always been so.
    pub(super) start: Option<i64>,
    /// The first instant of the next one.
    pub(super) end: Option<i64>,
    /// What the wall clock is ahead of UTC; behind it where negative.
    pub(super) offset: i64,
    /// The offset of the segment before; the own one where there is none.
    pub(super) offset_before: i64,
}

impl Segment {
    /// What the wall clock shows first in it.
    pub(super) fn first_wall(self) -> Option<i64> {
        self.start.and_then(|start| start.checked_add(self.offset))
    }
}

impl Zone {
    pub const UTC: Self = Self(TimeZone::UTC);

    /// # Errors
    /// When no zone has this name, with the nearest that is one. Case does not matter.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let zones = TimeZoneDatabase::bundled();
        match zones.get(name) {
            // jiff has a zone for "nobody knows", which would silently be UTC.
            Ok(zone) if !zone.is_unknown() => Ok(Self(zone)),
            Ok(_) | Err(_) => Err(unknown(name, &zones)),
        }
    }

    /// `Europe/Berlin`; `local` for a zone of this machine that has no name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("local")
    }

    /// `Sat 2026-11-21 06:00 CET`; with seconds where there are any.
    pub fn show(&self, at: UnixTime) -> String {
        let Ok(instant) = Timestamp::from_second(at.0) else { return "beyond all calendars".to_owned() };
        let format =
            if at.0.rem_euclid(60) == 0 { "%a %Y-%m-%d %H:%M %Z" } else { "%a %Y-%m-%d %H:%M:%S %Z" };
        instant.to_zoned(self.0.clone()).strftime(format).to_string()
    }

    /// For who shows times in it.
    pub fn time_zone(&self) -> &TimeZone {
        &self.0
    }

    /// The segment in which `at` lies; `None` beyond the year 9999 and before -9999.
    pub(super) fn segment(&self, at: UnixTime) -> Option<Segment> {
        let instant = Timestamp::from_second(at.0).ok()?;
        let next_second = Timestamp::from_second(at.0.checked_add(1)?).ok()?;
        let end = self.0.following(instant).next().map(|change| change.timestamp().as_second());
        let Some(change) = self.0.preceding(next_second).next() else {
            let offset = i64::from(self.0.to_offset(instant).seconds());
            return Some(Segment { start: None, end, offset, offset_before: offset });
        };
        let start = change.timestamp().as_second();
        let before = Timestamp::from_second(start.checked_sub(1)?).ok()?;
        Some(Segment {
            start: Some(start),
            end,
            offset: i64::from(change.offset().seconds()),
            offset_before: i64::from(self.0.to_offset(before).seconds()),
        })
    }
}

/// The zone of this machine, which whoever touches machines has found out.
impl From<TimeZone> for Zone {
    fn from(zone: TimeZone) -> Self {
        Self(zone)
    }
}

/// No zone is further from UTC than this: the bound of jiff, just below 26 h.
pub(super) const LARGEST_OFFSET_SECONDS: i64 = 26 * 3600;

fn unknown(name: &str, zones: &TimeZoneDatabase) -> UnknownZone {
    UnknownZone { message: format!("`{name}` is no time zone"), help: help(name, zones) }
}

fn help(name: &str, zones: &TimeZoneDatabase) -> String {
    const BY_PLACE: &str = "zones are named by a place, such as `Europe/Berlin`, or `UTC`";
    let known: Vec<String> = zones.available().map(|zone| zone.as_str().to_owned()).collect();
    let by_city = |city: &str| {
        known
            .iter()
            .find(|zone| zone.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(city)))
            .cloned()
    };
    let city = name.rsplit('/').next().unwrap_or(name).trim().replace(' ', "_");
    let hours = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    if let (Some(sign), Some(hours)) = (hours.chars().next(), whole_hours(hours)) {
        // POSIX counts them the other way round, and so do the names.
        let turned = if sign == '+' { '-' } else { '+' };
        return format!("UTC{sign}{hours} is `Etc/GMT{turned}{hours}` (its sign is turned); {BY_PLACE}");
    }
    if name.len() <= 5 && name.len() >= 2 && name.chars().all(|c| c.is_ascii_uppercase()) {
        return format!("an abbreviation does not say when clocks change; {BY_PLACE}");
    }
    let near = by_city(&city).or_else(|| nearest(name, known.iter().map(String::as_str)).map(str::to_owned));
    near.map_or_else(|| BY_PLACE.to_owned(), |zone| format!("did you mean `{zone}`?"))
}

/// Of `+2`, `-05` or `+02:00`, where there is a zone of that distance.
fn whole_hours(text: &str) -> Option<u8> {
    let digits = text.strip_prefix(['+', '-'])?;
    let digits = digits.strip_suffix(":00").unwrap_or(digits);
    digits.parse().ok().filter(|hours| (1..=12).contains(hours))
}
