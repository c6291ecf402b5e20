//! Schedules, zones and instants by seed.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Splitmix64: the same numbers everywhere and for ever.
pub(crate) struct Draw(u64);

/// Zones with all kinds of changes: by one hour, by half an hour, at midnight, never, every few weeks.
pub(crate) const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Europe/Moscow",
    "Europe/Istanbul",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Africa/Monrovia",
    "America/New_York",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "America/Asuncion",
    "America/Caracas",
    "America/Nuuk",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Gaza",
    "Asia/Beirut",
    "Asia/Amman",
    "Asia/Pyongyang",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Auckland",
    "Pacific/Norfolk",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Pacific/Kiritimati",
];

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.number() % (most - least + 1)
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.number().is_multiple_of(times)
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.number()).unwrap() % words.len()]
    }

    pub(crate) fn zone(&mut self) -> &'static str {
        self.one_of(ZONES)
    }

    /// A schedule that runs at some time. Every third has seconds, where they are wanted.
    pub(crate) fn expression(&mut self, with_seconds: bool) -> String {
        loop {
            let mut fields = Vec::new();
            if with_seconds && self.once_in(3) {
                fields.push(self.field(0, 59, 4));
            }
            fields.push(self.field(0, 59, 4));
            // Most clocks are changed in these hours.
            fields.push(if self.once_in(3) { self.field(0, 4, 9) } else { self.field(0, 23, 3) });
            fields.push(if self.once_in(2) { "*".into() } else { self.field(1, 31, 4) });
            fields.push(if self.once_in(3) { self.months() } else { "*".into() });
            fields.push(if self.once_in(2) { "*".into() } else { self.weekdays() });
            let text = fields.join(" ");
            // The rest are steps of which only the first value is left, and days that no month has.
            if mcsup::unit::schedule::Schedule::parse(&text).is_ok() {
                return text;
            }
        }
    }

    fn field(&mut self, least: u64, most: u64, star_once_in: u64) -> String {
        if self.once_in(star_once_in) {
            return self.one_of(&["*", "*", "*/2", "*/5", "*/7", "*/10", "*/15"]).to_owned();
        }
        let members = 1 + self.number() % 6 / 4 + self.number() % 8 / 7;
        let list: Vec<String> = (0..members).map(|_| self.member(least, most)).collect();
        list.join(",")
    }

    fn member(&mut self, least: u64, most: u64) -> String {
        let first = self.between(least, most);
        if !self.once_in(4) {
            return first.to_string();
        }
        let last = self.between(first, most);
        if last > first + 2 && self.once_in(2) {
            return format!("{first}-{last}/{}", self.between(1, last - first - 1));
        }
        format!("{first}-{last}")
    }

    fn months(&mut self) -> String {
        if self.once_in(3) {
            let names = ["jan", "FEB", "mar", "oct-nov", "mar,oct", "nov", "*/3", "3-11", "4,9"];
            return self.one_of(&names).to_owned();
        }
        self.field(1, 12, 9)
    }

    fn weekdays(&mut self) -> String {
        let names =
            ["sun", "SUN", "0", "7", "mon-fri", "sat,sun", "5-7", "*/2", "1-7/3", "0,3", "6", "sun-tue"];
        self.one_of(&names).to_owned()
    }

    /// From 1976 to 2036, every other one within a day of a change of the zone's clocks.
    pub(crate) fn instant(&mut self, zone: &TimeZone) -> i64 {
        let any = i64::try_from(self.between(200_000_000, 2_100_000_000)).unwrap();
        if self.once_in(2) {
            return any;
        }
        let change = zone.following(Timestamp::from_second(any).unwrap()).next();
        // What has no change after it has some before it, or none.
        let change = change.or_else(|| zone.preceding(Timestamp::from_second(any).unwrap()).next());
        let around = change.map(|change| change.timestamp().as_second()).filter(|at| *at > 200_000_000);
        let hour = i64::try_from(self.between(0, 30)).unwrap() - 24;
        let second = if self.once_in(2) { 0 } else { i64::try_from(self.between(0, 3599)).unwrap() };
        around.map_or(any, |at| at + hour * 3600 + second)
    }
}
