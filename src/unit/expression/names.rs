//! Who an expression speaks of: every name and function known, and yes or no as its answer.

use std::ops::Range;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use crate::unit::expression::shape::{self, Shape, is_units, text as text_of};
use crate::unit::expression::tokens::{self, Token};
use crate::unit::expression::{Flaw, Known, Vocabulary};
use crate::unit::nearest::nearest;
use crate::unit::pattern;

/// Functions that every expression has.
const FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
];
/// Types stand as names where `type(x)` is compared.
const TYPES: &[&str] =
    &["int", "uint", "double", "string", "bytes", "bool", "list", "map", "null_type", "type"];
/// Functions whose answer is neither yes nor no.
const NO_ANSWERS: &[&str] = &["size", "int", "uint", "double", "string", "bytes", "type"];

pub(super) fn check(text: &str, expression: &IdedExpr, vocabulary: &Vocabulary) -> Result<Known, Flaw> {
    let mut walk =
        Walk { text, tokens: tokens::all(text), vocabulary, bound: Vec::new(), known: Known::default() };
    walk.visit(expression)?;
    walk.known.needs = shape::needs(&expression.expr).into_iter().map(Into::into).collect();
    if let Some(what) = no_answer(&expression.expr) {
        let message = format!("this expression gives {what}, and must give true or false");
        let flaw = Flaw {
            range: 0..text.len(),
            code: "bad-expression",
            message,
            help: Some("compare it with something".into()),
        };
        return Err(flaw);
    }
    Ok(walk.known)
}

/// What an expression gives that can be neither true nor false.
fn no_answer(expression: &Expr) -> Option<&'static str> {
    match expression {
        Expr::Literal(literal) => match literal {
            LiteralValue::Boolean(_) => None,
            LiteralValue::Bytes(_) | LiteralValue::String(_) => Some("a text"),
            LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Some("a number"),
            LiteralValue::Null => Some("null"),
        },
        Expr::List(_) => Some("a list"),
        Expr::Map(_) | Expr::Struct(_) => Some("a mapping"),
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            let is_arithmetic = matches!(
                name,
                operators::ADD
                    | operators::SUBSTRACT
                    | operators::MULTIPLY
                    | operators::DIVIDE
                    | operators::MODULO
                    | operators::NEGATE
            );
            (is_arithmetic || NO_ANSWERS.contains(&name)).then_some("a value")
        }
        Expr::Unspecified | Expr::Comprehension(_) | Expr::Ident(_) | Expr::Select(_) => None,
    }
}

/// Of the vocabulary of gates.
const DISK: &str = "disk";

struct Walk<'a> {
    text: &'a str,
    tokens: Vec<(Range<usize>, Token)>,
    vocabulary: &'a Vocabulary,
    /// Names that macros such as `exists` introduce, innermost last.
    bound: Vec<&'a str>,
    known: Known,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, expression: &'a IdedExpr) -> Result<(), Flaw> {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                if is_units(&select.operand.expr) {
                    let range = self.member(&select.operand.expr, &select.field);
                    self.known.units.push((select.field.as_str().into(), range));
                }
                self.visit(&select.operand)?;
                self.field(&select.operand.expr, &select.field, || {
                    self.member(&select.operand.expr, &select.field)
                })
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(record) => {
                self.name(&record.type_name)?;
                record.entries.iter().try_for_each(|entry| self.entry(&entry.expr))
            }
            Expr::Comprehension(inner) => {
                self.visit(&inner.iter_range)?;
                self.visit(&inner.accu_init)?;
                let before = self.bound.len();
                self.bound.extend([inner.iter_var.as_str(), inner.accu_var.as_str()]);
                self.bound.extend(inner.iter_var2.as_deref());
                self.visit(&inner.loop_cond)?;
                self.visit(&inner.loop_step)?;
                self.visit(&inner.result)?;
                self.bound.truncate(before);
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: &'a EntryExpr) -> Result<(), Flaw> {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key)?;
                self.visit(&entry.value)
            }
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<(), Flaw> {
        let name = call.func_name.as_str();
        // Operators are calls whose names no person can write.
        let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if is_word && !FUNCTIONS.contains(&name) && !self.vocabulary.functions.contains(&name) {
            let range = self.word(name, call.target.is_some());
            let known = FUNCTIONS.iter().chain(self.vocabulary.functions).copied();
            return Err(unknown(range, "function", name, known));
        }
        if let (operators::INDEX, [of, key]) = (name, call.args.as_slice())
            && is_units(&of.expr)
            && let Some(unit) = text_of(&key.expr)
        {
            self.known.units.push((unit.into(), self.literal(unit)));
        }
        if name == "matches"
            && let Some(last) = call.args.last()
            && let Some(written) = text_of(&last.expr)
            && let Some(flaw) = pattern::flaw(written)
        {
            let message = format!("not a regular expression: {}", flaw.message);
            return Err(Flaw { range: self.literal(written), code: "bad-pattern", message, help: None });
        }
        if name == DISK {
            self.path(call.args.as_slice())?;
        }
        call.target.iter().try_for_each(|target| self.visit(target))?;
        call.args.iter().try_for_each(|argument| self.visit(argument))?;
        match (name, call.args.as_slice()) {
            (operators::INDEX, [of, key]) => match text_of(&key.expr) {
                Some(key) => self.field(&of.expr, key, || self.literal(key)),
                None => Ok(()),
            },
            (operators::EQUALS | operators::NOT_EQUALS, [one, two]) => {
                self.compared(one, two)?;
                self.compared(two, one)
            }
            (operators::IN, [one, IdedExpr { expr: Expr::List(list), .. }]) => {
                list.elements.iter().try_for_each(|element| self.compared(one, element))
            }
            (_, _) => Ok(()),
        }
    }

    /// What `expression` holds, as far as that is known.
    fn shape(&self, expression: &Expr) -> &'static Shape {
        match expression {
            Expr::Ident(name) if !self.bound.contains(&name.as_str()) => self.vocabulary.shape(name),
            Expr::Select(select) if !select.test => {
                self.shape(&select.operand.expr).at(&select.field).unwrap_or(&shape::ANY)
            }
            Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
                (operators::INDEX, [of, key]) => {
                    let of = self.shape(&of.expr);
                    let inner = text_of(&key.expr).map_or_else(|| Some(of.at_some()), |key| of.at(key));
                    inner.unwrap_or(&shape::ANY)
                }
                (DISK, _) if self.vocabulary.functions.contains(&DISK) => &shape::DISK,
                (_, _) => &shape::ANY,
            },
            Expr::Unspecified
            | Expr::Ident(_)
            | Expr::Select(_)
            | Expr::Literal(_)
            | Expr::List(_)
            | Expr::Map(_)
            | Expr::Struct(_)
            | Expr::Comprehension(_) => &shape::ANY,
        }
    }

    /// That `of` has a field of this name.
    fn field(&self, of: &Expr, field: &str, place: impl Fn() -> Range<usize>) -> Result<(), Flaw> {
        let shape = self.shape(of);
        if shape.at(field).is_some() {
            return Ok(());
        }
        let known = shape.field_names();
        if known.is_empty() {
            let message = format!("there is no field `{field}` here: what stands before it has none");
            let help = Some("remove it".into());
            return Err(Flaw { range: place(), code: "unknown-field", message, help });
        }
        let flaw = unknown(place(), "field", field, known.into_iter());
        Err(Flaw { code: "unknown-field", ..flaw })
    }

    /// That `text` is one of the texts that `side` can be.
    fn compared(&self, side: &IdedExpr, text: &IdedExpr) -> Result<(), Flaw> {
        let (words, Some(written)) = (self.shape(&side.expr).words(), text_of(&text.expr)) else {
            return Ok(());
        };
        if words.is_empty() || words.contains(&written) {
            return Ok(());
        }
        let help = match nearest(written, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it is one of: {}", words.join(", ")),
        };
        let message = format!("this is never `{written}`");
        Err(Flaw { range: self.literal(written), code: "bad-value", message, help: Some(help) })
    }

    /// That the disk of one whole path is asked for, which is looked at before the expression is evaluated.
    fn path(&self, arguments: &[IdedExpr]) -> Result<(), Flaw> {
        let flaw = |range, message: &str, help: &str| {
            let (message, help) = (message.to_owned(), Some(help.to_owned()));
            Err(Flaw { range, code: "bad-value", message, help })
        };
        match arguments {
            [argument] => match text_of(&argument.expr) {
                Some(path) if path.starts_with('/') => Ok(()),
                Some(path) => flaw(
                    self.literal(path),
                    "the path of a disk is a whole one",
                    "begin it with `/`: there is no directory that it could be relative to",
                ),
                None => flaw(
                    self.word(DISK, false),
                    "the path of a disk stands in quotes",
                    "write it out, as in disk('/var').free",
                ),
            },
            _ => flaw(self.word(DISK, false), "`disk` takes one path", "as in disk('/var').free"),
        }
    }

    fn name(&self, name: &str) -> Result<(), Flaw> {
        let known = || self.vocabulary.names.iter().map(|(known, _)| *known);
        if known().any(|known| known == name)
            || TYPES.contains(&name)
            || self.bound.contains(&name)
            || name.starts_with('@')
        {
            return Ok(());
        }
        let candidates = known().chain(self.bound.iter().copied());
        let range = self.word(name, false);
        let before = self.text.get(..range.start).unwrap_or("");
        let mut flaw = unknown(range, "name", name, candidates);
        // `units.auto-repair.state` is a subtraction to CEL.
        if before.ends_with('-') && before.contains("units.") {
            flaw.help = Some("a unit with `-` in its name is written units['a-b']".into());
        }
        Err(flaw)
    }

    /// Where `word` stands first, behind a point or not.
    fn word(&self, word: &str, is_member: bool) -> Range<usize> {
        let mut behind_point = false;
        for (range, token) in &self.tokens {
            let written = self.text.get(range.clone()).unwrap_or("");
            if *token == Token::Word && written == word && behind_point == is_member {
                return range.clone();
            }
            behind_point = written == ".";
        }
        0..self.text.len()
    }

    /// Where `field` stands first behind a point behind `of`.
    fn member(&self, of: &Expr, field: &str) -> Range<usize> {
        let last = match of {
            Expr::Ident(name) => Some(name.as_str()),
            Expr::Select(select) => Some(select.field.as_str()),
            Expr::Call(call) if call.func_name == operators::INDEX => Some("]"),
            Expr::Call(_) => Some(")"),
            Expr::Unspecified
            | Expr::Literal(_)
            | Expr::List(_)
            | Expr::Map(_)
            | Expr::Struct(_)
            | Expr::Comprehension(_) => None,
        };
        let written = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or("");
        let found = self.tokens.windows(3).find_map(|tokens| match tokens {
            [(of, _), (point, _), (word, Token::Word)] => {
                let is_it = last == Some(written(of)) && written(point) == "." && written(word) == field;
                is_it.then(|| word.clone())
            }
            _ => None,
        });
        found.unwrap_or_else(|| self.word(field, true))
    }

    /// Where the text literal `inner` stands first.
    fn literal(&self, inner: &str) -> Range<usize> {
        let is_it = |(range, token): &&(Range<usize>, Token)| {
            *token == Token::Text
                && self.text.get(range.clone()).is_some_and(|written| written.contains(inner))
        };
        self.tokens.iter().find(is_it).map_or(0..self.text.len(), |(range, _)| range.clone())
    }
}

fn unknown<'a>(
    range: Range<usize>,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Flaw {
    let visible = known.filter(|known| !known.starts_with('@'));
    let help = match nearest(name, visible.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", visible.collect::<Vec<_>>().join(", ")),
    };
    let message = format!("there is no {what} `{name}` in this expression");
    Flaw { range, code: "unknown-name", message, help: Some(help) }
}
