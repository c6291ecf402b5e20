//! Who an expression speaks of: every name and function known, and yes or no as its answer.

use std::ops::Range;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

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
                    let range = self.word(&select.field, true);
                    self.known.units.push((select.field.as_str().into(), range));
                }
                self.visit(&select.operand)
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
        call.target.iter().try_for_each(|target| self.visit(target))?;
        call.args.iter().try_for_each(|argument| self.visit(argument))
    }

    fn name(&self, name: &str) -> Result<(), Flaw> {
        let known = self.vocabulary.names;
        if known.contains(&name)
            || TYPES.contains(&name)
            || self.bound.contains(&name)
            || name.starts_with('@')
        {
            return Ok(());
        }
        let candidates = known.iter().copied().chain(self.bound.iter().copied());
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

    /// Where the text literal `inner` stands first.
    fn literal(&self, inner: &str) -> Range<usize> {
        let is_it = |(range, token): &&(Range<usize>, Token)| {
            *token == Token::Text
                && self.text.get(range.clone()).is_some_and(|written| written.contains(inner))
        };
        self.tokens.iter().find(is_it).map_or(0..self.text.len(), |(range, _)| range.clone())
    }
}

fn is_units(expression: &Expr) -> bool {
    matches!(expression, Expr::Ident(name) if name == "units")
}

fn text_of(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        Expr::Literal(_)
        | Expr::Unspecified
        | Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::Ident(_)
        | Expr::List(_)
        | Expr::Map(_)
        | Expr::Select(_)
        | Expr::Struct(_) => None,
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
