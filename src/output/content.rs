//! One stream or file against what it must hold, point by point.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use regex::RegexBuilder;
use serde_json::{Map, Value as Json};

use crate::expr::program::{Allowance, Ground, Program};
use crate::expr::shortfall::{Runaway, shortfall};
use crate::output::judgement::{Judgement, Measures, Point, Standing};
use crate::output::{Taken, read, schema};
use crate::unit::spec::output::{Content, Count, Format, Requirement, Schema, Sought};

/// Collects the points of one judgement.
pub(crate) struct Bench {
    common: BTreeMap<&'static str, Option<Json>>,
    points: Vec<Point>,
    trouble: Option<String>,
}

impl Bench {
    /// `common`: facts beside the content; `None` for those that nobody knows here.
    pub(crate) fn new(common: BTreeMap<&'static str, Option<Json>>) -> Self {
        Self { common, points: Vec::new(), trouble: None }
    }

    pub(crate) fn met(&mut self, file: Option<&str>, requirement: &str) {
        self.points.push(Point::new(file, requirement, Standing::Met));
    }

    pub(crate) fn unmet(&mut self, file: Option<&str>, requirement: &str, found: &str) {
        self.points.push(Point::new(file, requirement, Standing::Unmet).found(found));
    }

    /// Why nothing can be proven; the first reason stays.
    pub(crate) fn trouble(&mut self, why: &str) {
        self.trouble.get_or_insert_with(|| why.to_owned());
    }

    pub(crate) fn judgement(self, measures: Measures) -> Judgement {
        Judgement::of(self.points, self.trouble, measures)
    }

    /// `file` is its path, `None` the stream.
    pub(crate) fn judge(
        &mut self,
        file: Option<&str>,
        content: &Content,
        taken: Taken,
        previous: Option<Vec<u8>>,
    ) -> Measures {
        let Some(bytes) = self.sized(file, content, taken) else {
            self.leave_unasked(file, content);
            return Measures::default();
        };
        let mut measures = Measures { bytes: length(bytes.len()), ..Measures::default() };
        let requirement = format!("format: {}", content.format.as_str());
        let read = read::text(bytes).and_then(|text| {
            measures.lines = length(text.lines().count());
            // An empty one was allowed; there is nothing in it to be read.
            let output = if text.is_empty() { None } else { read::parsed(&text, content.format)? };
            Ok((text, output))
        });
        let (text, output) = match read {
            Ok(read) => read,
            Err(why) => {
                self.unmet(file, &requirement, &why);
                self.leave_unasked(file, content);
                return measures;
            }
        };
        if content.format != Format::Text {
            self.met(file, &requirement);
        }
        if let (Some(Schema::Inline(schema)), Some(output)) = (&content.schema, &output) {
            self.fits(file, schema, output);
        } else if let Some(Schema::File(name)) = &content.schema {
            self.trouble(&format!("nobody read the schema {name}"));
        }
        measures.items = output.as_ref().and_then(items);
        for count in &content.counts {
            self.counts(file, count, &text);
        }
        if !content.require.is_empty() {
            self.require(file, content, text, output, previous);
        }
        measures
    }

    /// The bytes, where there are as many as there must be.
    fn sized(&mut self, file: Option<&str>, content: &Content, taken: Taken) -> Option<Vec<u8>> {
        let (most, least) = (content.max_size_bytes.min(Content::MOST_BYTES), content.min_size_bytes);
        let wanted = format!("max_size: {}", bytes_in_words(most));
        let too_large = |size: u64| match (bytes_in_words(size), bytes_in_words(most)) {
            // A stream is kept up to the first byte too many: how large it was nobody knows.
            (size, most) if size == most => format!("too large: more than {most}"),
            (size, most) => format!("too large: {size}, wanted <= {most}"),
        };
        let bytes = match taken {
            Taken::Bytes(bytes) => bytes,
            Taken::TooLarge(size) => {
                self.unmet(file, &wanted, &too_large(size));
                return None;
            }
            Taken::Unreadable(why) => {
                self.unmet(file, "it can be read", &why);
                return None;
            }
        };
        let size = length(bytes.len());
        if size > most {
            self.unmet(file, &wanted, &too_large(size));
            return None;
        }
        let wanted = format!("min_size: {}", bytes_in_words(least));
        if size < least {
            let found = match size {
                0 => "it is empty".to_owned(),
                size => format!("too small: {}, wanted >= {}", bytes_in_words(size), bytes_in_words(least)),
            };
            self.unmet(file, &wanted, &found);
        } else if least > 0 {
            self.met(file, &wanted);
        }
        (size > 0 || least == 0).then_some(bytes)
    }

    /// What nothing can be said of while the rest is as it is.
    fn leave_unasked(&mut self, file: Option<&str>, content: &Content) {
        let schema = content.schema.iter().map(|_| SCHEMA.to_owned());
        let counts = content.counts.iter().map(written);
        let require = content.require.iter().map(|one| one.that.0.to_string());
        for requirement in schema.chain(counts).chain(require) {
            self.points.push(Point::new(file, &requirement, Standing::Unasked));
        }
    }

    fn fits(&mut self, file: Option<&str>, schema: &Json, output: &Json) {
        let judged = schema::compiled(schema).and_then(|validator| schema::misfits(&validator, output));
        let misfits = match judged {
            Ok(misfits) => misfits,
            Err(why) => {
                self.points.push(Point::new(file, SCHEMA, Standing::Unasked).found(&why));
                return self.trouble(&why);
            }
        };
        if misfits.is_empty() {
            self.met(file, SCHEMA);
        }
        for misfit in misfits {
            let point = Point::new(file, SCHEMA, Standing::Unmet).found(&misfit.words);
            self.points.push(Point { path: Some(misfit.path), ..point });
        }
    }

    fn counts(&mut self, file: Option<&str>, count: &Count, text: &str) {
        let most_needed =
            count.at_most.map_or(count.at_least, |most| most.saturating_add(1).max(count.at_least));
        let most_needed = usize::try_from(most_needed).unwrap_or(usize::MAX);
        let found = match &count.what {
            Sought::Text(sought) => text.matches(&**sought).take(most_needed).count(),
            Sought::Pattern(pattern) => match RegexBuilder::new(&pattern.0).build() {
                Ok(pattern) => pattern.find_iter(text).take(most_needed).count(),
                Err(error) => {
                    return self.trouble(&format!("cannot read the pattern {}: {error}", pattern.0));
                }
            },
        };
        let found = length(found);
        let is_met = found >= count.at_least && count.at_most.is_none_or(|most| found <= most);
        let standing = if is_met { Standing::Met } else { Standing::Unmet };
        let mut point = Point::new(file, &written(count), standing);
        if !is_met {
            point.otherwise = count.otherwise.as_deref().map(ToOwned::to_owned);
            let times = match found {
                0 => "not found".to_owned(),
                1 => "found once".to_owned(),
                more if count.at_most.is_some_and(|most| more > most) => "found more often".to_owned(),
                more => format!("found {more} times"),
            };
            let what = match &count.what {
                Sought::Text(text) => format!("{:?}", &**text),
                Sought::Pattern(pattern) => format!("/{}/", pattern.0),
            };
            point = point.found(&format!("{what} is {times}, wanted {}", times_in_words(count)));
        }
        self.points.push(point);
    }

    fn require(
        &mut self,
        file: Option<&str>,
        content: &Content,
        text: String,
        output: Option<Json>,
        previous: Option<Vec<u8>>,
    ) {
        let mut programs = Vec::new();
        for one in &content.require {
            match Program::compile(&one.that.0) {
                Ok(program) => programs.push((one, program)),
                Err(why) => self.trouble(&format!("cannot read the expression {}: {why}", one.that.0)),
            }
        }
        let speaks_of = |name: &str| programs.iter().any(|(_, program)| program.speaks_of(name));
        let mut facts = Map::new();
        // Large facts are laid out only for those who ask for them.
        if speaks_of("lines") {
            facts.insert("lines".to_owned(), text.lines().map(Json::from).collect());
        }
        if speaks_of("output") {
            let output = output.unwrap_or_else(|| Json::String(text.clone()));
            facts.insert("output".to_owned(), output);
        }
        if speaks_of("text") {
            facts.insert("text".to_owned(), Json::String(text));
        }
        if speaks_of("previous") {
            let previous = previous.and_then(|bytes| as_output(bytes, content.format));
            facts.insert("previous".to_owned(), previous.unwrap_or(Json::Null));
        }
        let known = self.common.iter().filter(|(name, _)| speaks_of(name));
        facts.extend(known.filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?))));
        let ground = Ground::new(facts, &Allowance::new(MOST_TURNS, Arc::new(AtomicBool::new(false))));
        for (one, program) in &programs {
            self.ask(file, one, program, &ground);
        }
    }

    fn ask(&mut self, file: Option<&str>, one: &Requirement, program: &Program, ground: &Ground) {
        let point = |standing| Point::new(file, &one.that.0, standing);
        let unknown = self.common.iter().find(|(name, value)| value.is_none() && program.speaks_of(name));
        if let Some((name, _)) = unknown {
            let why = format!("it asks for `{name}`, which only a running supervisor knows");
            self.points.push(point(Standing::Unasked).found(&why));
            return;
        }
        match shortfall(program, ground) {
            Ok(None) => self.points.push(point(Standing::Met)),
            Ok(Some(short)) => {
                let otherwise = one.otherwise.as_deref().map(ToOwned::to_owned);
                let found = match short.found {
                    found if found.is_empty() => format!("{} is false", short.part),
                    found => found,
                };
                let point = point(Standing::Unmet).found(&found);
                self.points.push(Point { otherwise, path: short.path, ..point });
            }
            Err(Runaway) => {
                let why = format!("an expression works through more than it may: {}", one.that.0);
                self.points.push(point(Standing::Unasked).found("it works through more than it may"));
                self.trouble(&why);
            }
        }
    }
}

/// What was good before the format changed is as good as none.
fn as_output(bytes: Vec<u8>, format: Format) -> Option<Json> {
    let text = read::text(bytes).ok()?;
    read::parsed(&text, format).ok()?.or(Some(Json::String(text)))
}

/// As it stands in the unit file.
fn written(count: &Count) -> String {
    let what = match &count.what {
        Sought::Text(text) => format!("contains {:?}", &**text),
        Sought::Pattern(pattern) => format!("matches /{}/", pattern.0),
    };
    if count.at_least == 1 && count.at_most.is_none() {
        return what;
    }
    format!("{what} {}", times_in_words(count))
}

fn times_in_words(count: &Count) -> String {
    match (count.at_least, count.at_most) {
        (least, None) => format!("at least {least} times"),
        (0, Some(0)) => "never".to_owned(),
        (0, Some(most)) => format!("at most {most} times"),
        (least, Some(most)) if least == most => format!("{least} times"),
        (least, Some(most)) => format!("{least} to {most} times"),
    }
}

/// `512 bytes`, `3.4 KiB`, `70.0 MiB`.
pub(crate) fn bytes_in_words(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit).replace(".0", "");
    match bytes {
        1 => "1 byte".to_owned(),
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{} KiB", tenths(1 << 10)),
        _ => format!("{} MiB", tenths(1 << 20)),
    }
}

fn items(value: &Json) -> Option<u64> {
    match value {
        Json::Array(items) => Some(length(items.len())),
        Json::Object(entries) => Some(length(entries.len())),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

const SCHEMA: &str = "schema";
/// Five times what the supervisor itself allows: here a limit on processor time stands behind it.
const MOST_TURNS: u64 = 5_000_000;
