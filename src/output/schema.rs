//! JSON Schema: compiled, asked, and its answers put in words.

#![expect(clippy::wildcard_enum_match_arm, reason = "the library's own list, which grows with each draft")]

use std::path::Path;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value as Json;

use crate::aside::files::whole;
use crate::output::read;
use crate::unit::spec::output::{Format, OutputSpec, Schema};

/// What does not fit, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// JSON pointer.
    pub(crate) path: String,
    pub(crate) words: String,
}

/// # Errors
/// What is wrong with the schema itself, in words.
pub(crate) fn compiled(schema: &Json) -> Result<Validator, String> {
    let options = jsonschema::options().should_validate_formats(true);
    options.build(schema).map_err(|error| match error.instance_path().as_str() {
        // What is wrong with the whole, such as a reference to elsewhere, is said best by the library.
        "" => format!("the schema is not one: {error}"),
        _ => format!("the schema is not one: {}", in_words(&error).words),
    })
}

/// What is wrong with a schema, for who checks a unit before it runs.
pub fn flaw(schema: &Schema, units_dir: &Path) -> Option<String> {
    match schema {
        Schema::Inline(schema) => compiled(schema).err(),
        Schema::File(name) => of_file(name, units_dir).err(),
    }
}

/// The first misfits, bounded, in the order of the document.
///
/// # Errors
/// When a pattern was given up: that says nothing about the document.
pub(crate) fn misfits(validator: &Validator, value: &Json) -> Result<Vec<Misfit>, String> {
    let mut misfits: Vec<Misfit> = Vec::new();
    for error in validator.iter_errors(value).take(MOST_MISFITS) {
        if let ValidationErrorKind::BacktrackLimitExceeded { .. }
        | ValidationErrorKind::RegexEngineFailure { .. } = error.kind()
        {
            let path = error.instance_path();
            return Err(format!("a pattern of the schema takes more than it may, at {}", path.as_str()));
        }
        let misfit = in_words(&error);
        if !misfits.contains(&misfit) {
            misfits.push(misfit);
        }
    }
    Ok(misfits)
}

/// The same spec with every schema that is a file read into it, so that who judges needs no file of the unit's.
///
/// # Errors
/// Which file cannot be read, or what is wrong in it.
pub fn resolved(spec: &OutputSpec, units_dir: &Path) -> Result<OutputSpec, String> {
    let mut spec = spec.clone();
    let contents = spec.stream.iter_mut().chain(spec.files.iter_mut().map(|file| &mut file.content));
    for content in contents {
        let Some(Schema::File(name)) = &content.schema else { continue };
        content.schema = Some(Schema::Inline(of_file(name, units_dir)?));
    }
    Ok(spec)
}

fn of_file(name: &str, units_dir: &Path) -> Result<Json, String> {
    let path = units_dir.join(name);
    let cannot = |why: String| format!("cannot read the schema {}: {why}", path.display());
    let bytes = whole(&path, MOST_SCHEMA_BYTES).map_err(|error| cannot(error.to_string()))?;
    let text = read::text(bytes).map_err(cannot)?;
    let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    let format = if is_yaml { Format::Yaml } else { Format::Json };
    let schema = read::parsed(&text, format).map_err(cannot)?.unwrap_or(Json::Null);
    compiled(&schema).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(schema)
}

fn in_words(error: &ValidationError<'_>) -> Misfit {
    match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            // Each branch has its own complaints; the one that got deepest was probably meant.
            if let Some(nearest) = nearest_branch(context) {
                return in_words(nearest);
            }
        }
        ValidationErrorKind::PropertyNames { error: inner } => {
            let path = error.instance_path().as_str().to_owned();
            return Misfit { words: format!("a name {}", in_words(inner).words), path };
        }
        _ => {}
    }
    let path = error.instance_path().as_str().to_owned();
    let place = if path.is_empty() { "the output" } else { &*path };
    let is = shown(error.instance());
    let words = match error.kind() {
        ValidationErrorKind::Required { property } => match property.as_str() {
            Some(name) => format!("{place} has no {name:?}"),
            None => format!("{place} has no {property}"),
        },
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            format!("{place} has {}, which is not in its schema", quoted(unexpected))
        }
        ValidationErrorKind::Type { kind } => format!("{place} is {is}, wanted {}", wanted(kind)),
        ValidationErrorKind::Enum { options } => {
            format!("{place} is {is}, wanted one of {}", clipped(options))
        }
        ValidationErrorKind::Constant { expected_value } => {
            format!("{place} is {is}, wanted {}", clipped(expected_value))
        }
        ValidationErrorKind::Minimum { limit } => format!("{place} is {is}, wanted >= {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("{place} is {is}, wanted <= {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("{place} is {is}, wanted > {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("{place} is {is}, wanted < {limit}"),
        ValidationErrorKind::MinItems { limit } => {
            format!("{place} has {}, wanted >= {limit}", counted(error.instance()))
        }
        ValidationErrorKind::MaxItems { limit } => {
            format!("{place} has {}, wanted <= {limit}", counted(error.instance()))
        }
        ValidationErrorKind::MinProperties { limit } => {
            format!("{place} has {}, wanted >= {limit}", counted(error.instance()))
        }
        ValidationErrorKind::MaxProperties { limit } => {
            format!("{place} has {}, wanted <= {limit}", counted(error.instance()))
        }
        ValidationErrorKind::MinLength { limit } => {
            format!("{place} is {is}, wanted at least {}", characters(*limit))
        }
        ValidationErrorKind::MaxLength { limit } => {
            format!("{place} is {is}, wanted at most {}", characters(*limit))
        }
        ValidationErrorKind::Pattern { pattern } => {
            format!("{place} is {is}, which does not match {pattern}")
        }
        ValidationErrorKind::Format { format } => format!("{place} is {is}, which is no {format}"),
        ValidationErrorKind::UniqueItems => format!("{place} has an item twice"),
        ValidationErrorKind::Contains => format!("no item of {place} is what one must be"),
        ValidationErrorKind::FalseSchema => format!("{place} may not be there"),
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            format!("{place} fits more than one of the things of which it must be one")
        }
        other => format!("{place} does not fit `{}` of its schema: {}", other.keyword(), error.masked()),
    };
    Misfit { path, words }
}

/// The deepest complaint of the branch that was meant: one whose tag fits, and of these the one that got deepest.
fn nearest_branch<'a>(context: &'a [Vec<ValidationError<'static>>]) -> Option<&'a ValidationError<'static>> {
    let depth = |error: &ValidationError<'_>| error.instance_path().as_str().matches('/').count();
    let is_tag = |error: &ValidationError<'_>| {
        matches!(error.kind(), ValidationErrorKind::Constant { .. } | ValidationErrorKind::Enum { .. })
    };
    let mut best: Option<(&'a ValidationError<'static>, (bool, usize, usize))> = None;
    for branch in context {
        let Some(deepest) = branch.iter().max_by_key(|error| depth(error)) else { continue };
        // A branch for another type was never meant: `null`, where something is.
        let top = context.iter().flatten().map(depth).min();
        let is_other_type = branch.iter().any(|error| {
            matches!(error.kind(), ValidationErrorKind::Type { .. }) && Some(depth(error)) == top
        });
        let fits = !is_other_type && !branch.iter().any(is_tag);
        let rank = (fits, depth(deepest), usize::MAX - branch.len());
        if best.as_ref().is_none_or(|(_, known)| rank > *known) {
            best = Some((deepest, rank));
        }
    }
    best.map(|(error, _)| error)
}

fn wanted(kind: &TypeKind) -> String {
    let name = |kind: &str| match kind {
        "array" => "a list",
        "object" => "a map",
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "null",
    };
    match kind {
        TypeKind::Single(kind) => name(kind.as_str()).to_owned(),
        TypeKind::Multiple(kinds) => {
            kinds.iter().map(|kind| name(kind.as_str())).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn counted(value: &Json) -> String {
    let count = match value {
        Json::Array(items) => items.len(),
        Json::Object(entries) => entries.len(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 0,
    };
    if count == 1 { "1 item".to_owned() } else { format!("{count} items") }
}

fn characters(count: u64) -> String {
    format!("{count} character{}", if count == 1 { "" } else { "s" })
}

fn shown(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("a list of {}", items.len()),
        Json::Object(entries) => format!("a map of {}", entries.len()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => clipped(value),
    }
}

fn clipped(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn quoted(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(5).map(|name| format!("{name:?}")).collect();
    shown.join(", ")
}

const MOST_MISFITS: usize = 20;
const LONGEST: usize = 80;
/// As large as a unit file may be.
const MOST_SCHEMA_BYTES: u64 = 1 << 20;
