//! What was found, requirement by requirement, and what it comes to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What judging came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// What was looked at, in order; bounded, what failed first of all.
    pub points: Vec<Point>,
    /// Points that did not fit.
    #[serde(default)]
    pub more: usize,
    #[serde(default)]
    pub measures: Measures,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Verdict {
    Passed,
    /// At least one point is unmet.
    Rejected,
    /// Nothing is known to be wrong, and nothing is proven: the judge died, or was not given what it needs.
    NotJudged {
        why: String,
    },
}

/// One thing that was required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The file; `None` for the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What is required, as it is written: an expression, `format: json`, `contains "wins"`.
    pub requirement: String,
    pub standing: Standing,
    /// The operator's own words for its failure.
    #[serde(rename = "else", default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
    /// What was found; empty where there is nothing to add.
    #[serde(default)]
    pub found: String,
    /// JSON pointer into the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Met,
    Unmet,
    /// What it asks about is not there to be asked.
    Unasked,
}

/// How much was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measures {
    pub bytes: u64,
    pub lines: u64,
    /// Of a list or map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
}

impl Judgement {
    pub fn not_judged(why: impl Into<String>) -> Self {
        let verdict = Verdict::NotJudged { why: bounded(&why.into()) };
        Self { verdict, points: Vec::new(), more: 0, measures: Measures::default() }
    }

    /// Of a run that nothing is required of.
    pub fn nothing_required() -> Self {
        Self::of(Vec::new(), None, Measures::default())
    }

    /// A rejection for what nobody had to read.
    pub fn rejected(requirement: &str, found: &str) -> Self {
        Self::of(vec![Point::new(None, requirement, Standing::Unmet).found(found)], None, Measures::default())
    }

    pub(crate) fn of(points: Vec<Point>, trouble: Option<String>, measures: Measures) -> Self {
        let is_rejected = points.iter().any(|point| point.standing == Standing::Unmet);
        let verdict = match trouble {
            _ if is_rejected => Verdict::Rejected,
            Some(why) => Verdict::NotJudged { why },
            None => Verdict::Passed,
        };
        let (points, more) = few_enough(points);
        Self { verdict, points, more, measures }
    }

    /// The same points, which prove nothing. What was not judged before keeps its own reason.
    #[must_use]
    pub fn unproven(self, why: &str) -> Self {
        match self.verdict {
            Verdict::NotJudged { .. } => self,
            Verdict::Passed | Verdict::Rejected => {
                Self { verdict: Verdict::NotJudged { why: bounded(why) }, ..self }
            }
        }
    }

    pub fn is_passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }

    pub fn unmet(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|point| point.standing == Standing::Unmet)
    }
}

/// `passed`, `rejected: fewer than three trends: 2 trends, wanted >= 3`, `could not be judged: ...`.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Passed => f.write_str("passed"),
            Verdict::NotJudged { why } => write!(f, "could not be judged: {why}"),
            Verdict::Rejected => {
                f.write_str("rejected")?;
                let mut unmet = self.unmet();
                if let Some(first) = unmet.next() {
                    write!(f, ": {first}")?;
                }
                match unmet.count() {
                    0 => Ok(()),
                    more => write!(f, " (and {more} more)"),
                }
            }
        }
    }
}

impl Point {
    pub(crate) fn new(file: Option<&str>, requirement: &str, standing: Standing) -> Self {
        Self {
            file: file.map(bounded),
            requirement: bounded(requirement),
            standing,
            otherwise: None,
            found: String::new(),
            path: None,
        }
    }

    pub(crate) fn found(self, found: &str) -> Self {
        Self { found: bounded(found), ..self }
    }
}

/// What is wrong, in the operator's words where there are any.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        match (&self.otherwise, &*self.found) {
            (Some(words), "") => f.write_str(words),
            (Some(words), found) => write!(f, "{words}: {found}"),
            (None, "") => write!(f, "{} is false", self.requirement),
            (None, found) => f.write_str(found),
        }
    }
}

/// What failed stays, as far as there is room; the order stays too.
fn few_enough(points: Vec<Point>) -> (Vec<Point>, usize) {
    let all = points.len();
    let mut room = [MOST_POINTS, MOST_POINTS];
    let kept: Vec<Point> = points
        .into_iter()
        .filter(|point| {
            let room = &mut room[usize::from(point.standing == Standing::Unmet)];
            let fits = *room > 0;
            *room = room.saturating_sub(1);
            fits
        })
        .collect();
    let more = all.saturating_sub(kept.len());
    (kept, more)
}

/// What an output says of itself has no end.
fn bounded(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Of either kind: those that failed, and the others.
const MOST_POINTS: usize = 100;
/// Characters of one sentence.
const LONGEST: usize = 500;
