//! One compiled expression. Each turn of each loop in it, and all that it puts together, is charged to an
//! allowance: without that, five nested loops over a short list outlive everybody, or take all memory.

#![expect(clippy::wildcard_enum_match_arm, reason = "the library's own lists, of which a few matter here")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::objects::{Key, Map as CelMap};
use cel::{Context, ExecutionError, Value};
use serde_json::Value as Json;

use crate::expr::parts::{conjuncts, one_line};
use crate::expr::words::{found, in_words, short};
use crate::expr::{Facts, Miss, functions};
use crate::unit::expression;

/// What one evaluation may still spend.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    given_up: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Allowance {
    pub(crate) fn new(turns: u64, given_up: Arc<AtomicBool>) -> Self {
        Self {
            given_up,
            turns: Arc::new(AtomicU64::new(turns)),
            bytes: Arc::new(AtomicU64::new(MOST_BYTES_BUILT)),
        }
    }

    fn turn(&self) -> Result<bool, ExecutionError> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(exhausted());
        }
        spend(&self.turns, 1)?;
        Ok(true)
    }

    fn build(&self, value: Value) -> Result<Value, ExecutionError> {
        spend(&self.bytes, u64::try_from(weight(&value)).unwrap_or(u64::MAX))?;
        Ok(value)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.turns.load(Ordering::Relaxed) == 0 || self.bytes.load(Ordering::Relaxed) == 0
    }
}

/// Bytes that a value takes, about. As deep as facts and expressions nest.
fn weight(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(weight).fold(0, usize::saturating_add),
        Value::Map(map) => {
            map.map.values().map(|value| weight(value).saturating_add(64)).fold(0, usize::saturating_add)
        }
        _ => 0,
    };
    inner.saturating_add(64)
}

fn spend(purse: &AtomicU64, cost: u64) -> Result<(), ExecutionError> {
    // One thread spends: there is nobody to race.
    let left = purse.load(Ordering::Relaxed).saturating_sub(cost);
    purse.store(left, Ordering::Relaxed);
    if left == 0 { Err(exhausted()) } else { Ok(()) }
}

fn exhausted() -> ExecutionError {
    ExecutionError::InternalError("exhausted".to_owned())
}

/// Facts, laid out once for all that is asked about them.
pub(crate) struct Ground {
    context: Context<'static, 'static>,
    allowance: Allowance,
}

impl Ground {
    pub(crate) fn new(facts: Facts, allowance: &Allowance) -> Self {
        Self { context: context(facts, allowance), allowance: allowance.clone() }
    }

    /// The value of a piece of an expression, where it has one.
    pub(crate) fn value(&self, text: &str) -> Option<Value> {
        Value::resolve(&parse(text).ok()?, &self.context).ok()
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.allowance.is_spent() || self.allowance.given_up.load(Ordering::Relaxed)
    }
}

/// Why an expression does not hold, before it is put in words.
pub(crate) enum Trouble<'p> {
    False { text: &'p str },
    NoValue { text: &'p str, part: &'p IdedExpr, why: NoValue },
    Runaway,
}

pub(crate) enum NoValue {
    /// A value, but neither true nor false.
    Other(Value),
    Error(ExecutionError),
}

impl NoValue {
    pub(crate) fn in_words(&self, part: &IdedExpr) -> String {
        match self {
            Self::Other(value) => format!("{} is neither true nor false", short(value)),
            Self::Error(error) => in_words(error, part),
        }
    }
}

/// Taken apart into the parts of its conjunction, each with its own words.
#[derive(Debug)]
pub(crate) struct Program {
    parts: Vec<(String, IdedExpr)>,
}

impl Program {
    /// # Errors
    /// What is wrong with the text, in words.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        // The whole first: its parts alone may be sound where it is not.
        parse(source)?;
        let part = |text: &str| Ok((text.to_owned(), parse(text)?));
        Ok(Self { parts: conjuncts(source).into_iter().map(part).collect::<Result<_, String>>()? })
    }

    /// True when every part is; a false part outweighs one that has no value, as `&&` has it.
    pub(crate) fn holds(&self, facts: Facts, allowance: &Allowance) -> Result<(), Miss> {
        let ground = Ground::new(facts, allowance);
        self.weigh(&ground).map_err(|trouble| match trouble {
            Trouble::Runaway => {
                Miss::Runaway("the expression was given up: it works through more than it may".to_owned())
            }
            Trouble::False { text } => {
                Miss::Unmet { part: one_line(text), found: found(text, |text| ground.value(text)) }
            }
            Trouble::NoValue { text, part, why } => {
                Miss::Mistake { part: one_line(text), why: why.in_words(part) }
            }
        })
    }

    /// The first part that is false, else the first that has no value.
    pub(crate) fn weigh(&self, ground: &Ground) -> Result<(), Trouble<'_>> {
        let mut mistake = None;
        for (text, part) in &self.parts {
            let value = Value::resolve(part, &ground.context);
            if ground.is_spent() {
                return Err(Trouble::Runaway);
            }
            let why = match value {
                Ok(Value::Bool(true)) => continue,
                Ok(Value::Bool(false)) => return Err(Trouble::False { text }),
                Ok(other) => NoValue::Other(other),
                Err(error) => NoValue::Error(error),
            };
            mistake.get_or_insert(Trouble::NoValue { text, part, why });
        }
        mistake.map_or(Ok(()), Err)
    }

    pub(crate) fn speaks_of(&self, name: &str) -> bool {
        let mut is_found = false;
        for (_, part) in &self.parts {
            walk(part, &mut |expression| {
                is_found |= matches!(&expression.expr, Expr::Ident(ident) if ident == name);
            });
        }
        is_found
    }

    /// The literal texts that the function of this name is called with.
    pub(crate) fn texts_given_to(&self, function: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (_, part) in &self.parts {
            walk(part, &mut |expression| {
                if let Expr::Call(call) = &expression.expr
                    && call.func_name == function
                    && let [IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }] = &*call.args
                {
                    texts.push(text.inner().to_owned());
                }
            });
        }
        texts
    }
}

fn parse(source: &str) -> Result<IdedExpr, String> {
    let mut expression = expression::parse(source).map_err(|flaw| flaw.message)?;
    charge(&mut expression);
    Ok(expression)
}

fn context(facts: Facts, allowance: &Allowance) -> Context<'static, 'static> {
    let mut context = Context::default();
    let disks = facts.get("disk").cloned().unwrap_or_default();
    for (name, value) in facts {
        context.add_variable_from_value(name, value_of(value));
    }
    let (turns, sums) = (allowance.clone(), allowance.clone());
    let disk = move |path: Arc<String>| {
        let known = disks.get(&**path).cloned().map(value_of);
        known.ok_or_else(|| ExecutionError::function_error("disk", format!("nothing is known of {path}")))
    };
    let declared = context
        .add_function(TURN, move || turns.turn())
        .and_then(|()| context.add_function(SUM, move |value: Value| sums.build(value)))
        .and_then(|()| context.add_function("disk", disk));
    // None of the names is one of the language's own.
    drop(declared);
    functions::declare(&mut context);
    context
}

/// By hand, as a whole number should be an int whatever its sign.
fn value_of(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Arc::new(text)),
        Json::Array(items) => Value::List(Arc::new(items.into_iter().map(value_of).collect())),
        Json::Object(entries) => {
            let entry = |(key, value)| (Key::String(Arc::new(key)), value_of(value));
            Value::Map(CelMap { map: Arc::new(entries.into_iter().map(entry).collect()) })
        }
    }
}

/// Puts the allowance into every loop, every sum, and whatever is put into a list or a map.
///
/// A loop that only appends keeps the shape by which the interpreter knows it, or it would copy its list at
/// every turn. `turn ? x : y` and not `turn && x`, which would swallow the error.
fn charge(expression: &mut IdedExpr) {
    for child in children_mut(expression) {
        charge(child);
    }
    let id = expression.id;
    let turn = || IdedExpr { id, expr: call(TURN, Vec::new()) };
    let no = || IdedExpr { id, expr: Expr::Literal(LiteralValue::Boolean(false.into())) };
    match &mut expression.expr {
        Expr::Comprehension(comprehension) => {
            let accu = IdedExpr { id, expr: Expr::Ident(comprehension.accu_var.clone()) };
            let cond = std::mem::take(&mut comprehension.loop_cond);
            if !matches!(cond.expr, Expr::Literal(_)) {
                comprehension.loop_cond =
                    IdedExpr { id, expr: call(operators::CONDITIONAL, vec![turn(), cond, no()]) };
                return;
            }
            comprehension.loop_cond = cond;
            let step = &mut comprehension.loop_step;
            uncharge(step);
            match &mut step.expr {
                Expr::Call(choice)
                    if choice.func_name == operators::CONDITIONAL && choice.args.len() == 3 =>
                {
                    if let Some(guard) = choice.args.first_mut() {
                        let old = std::mem::take(guard);
                        *guard = IdedExpr { id, expr: call(operators::CONDITIONAL, vec![turn(), old, no()]) };
                    }
                    choice.args.iter_mut().for_each(uncharge);
                }
                _ => {
                    let old = std::mem::take(step);
                    *step = IdedExpr { id, expr: call(operators::CONDITIONAL, vec![turn(), old, accu]) };
                }
            }
        }
        Expr::Call(sum) if sum.func_name == operators::ADD && sum.args.len() == 2 => {
            let old = std::mem::take(&mut expression.expr);
            expression.expr = call(SUM, vec![IdedExpr { id, expr: old }]);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(pay),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    pay(&mut entry.value);
                }
            }
        }
        _ => {}
    }
}

/// What is already written in the expression costs nothing more.
fn pay(kept: &mut IdedExpr) {
    if !matches!(kept.expr, Expr::Literal(_)) {
        let (id, expr) = (kept.id, std::mem::take(&mut kept.expr));
        kept.expr = call(SUM, vec![IdedExpr { id, expr }]);
    }
}

/// The sum by which a loop appends is the loop's own, which its turn has paid for.
fn uncharge(step: &mut IdedExpr) {
    if let Expr::Call(sum) = &mut step.expr
        && sum.func_name == SUM
        && let Some(IdedExpr { expr: Expr::Call(inner), .. }) = sum.args.first()
        && matches!(inner.args.first().map(|first| &first.expr), Some(Expr::Ident(name)) if name.starts_with('@'))
        && let Some(inner) = sum.args.pop()
    {
        *step = inner;
    }
}

fn call(name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args })
}

fn children_mut(expression: &mut IdedExpr) -> Vec<&mut IdedExpr> {
    match &mut expression.expr {
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).collect(),
        Expr::Comprehension(it) => {
            vec![&mut it.iter_range, &mut it.accu_init, &mut it.loop_cond, &mut it.loop_step, &mut it.result]
        }
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Map(map) => map.entries.iter_mut().flat_map(|entry| entry_mut(&mut entry.expr)).collect(),
        Expr::Struct(it) => it.entries.iter_mut().flat_map(|entry| entry_mut(&mut entry.expr)).collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn entry_mut(entry: &mut EntryExpr) -> Vec<&mut IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&mut field.value],
        EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
    }
}

/// Every expression below `expression`, itself first.
pub(crate) fn walk<'a>(expression: &'a IdedExpr, visit: &mut impl FnMut(&'a IdedExpr)) {
    visit(expression);
    match &expression.expr {
        Expr::Call(call) => {
            call.target.as_deref().into_iter().chain(&call.args).for_each(|child| walk(child, visit));
        }
        Expr::Comprehension(it) => {
            for child in [&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result] {
                walk(child, visit);
            }
        }
        Expr::List(list) => list.elements.iter().for_each(|child| walk(child, visit)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| walk_entry(&entry.expr, visit)),
        Expr::Struct(it) => it.entries.iter().for_each(|entry| walk_entry(&entry.expr, visit)),
        Expr::Select(select) => walk(&select.operand, visit),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

fn walk_entry<'a>(entry: &'a EntryExpr, visit: &mut impl FnMut(&'a IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => walk(&field.value, visit),
        EntryExpr::MapEntry(entry) => {
            walk(&entry.key, visit);
            walk(&entry.value, visit);
        }
    }
}

/// Names that nobody can write.
const TURN: &str = "@turn";
const SUM: &str = "@sum";
/// What may be put together, all in all.
const MOST_BYTES_BUILT: u64 = 64 * 1024 * 1024;
