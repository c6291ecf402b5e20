//! JSON Schemas of the two kinds of files, from the types that read them.

use serde_json::{Value as Json, json};

use crate::unit::file::UnitFile;
use crate::unit::needed_key;
use crate::unit::read::FromYaml;
use crate::unit::settings::SettingsFile;
use crate::unit::spec::UnitKind;

/// The schema of a unit file.
pub fn unit() -> Json {
    let mut schema = titled(UnitFile::schema(), "mcsup unit");
    if let Some(object) = schema.as_object_mut() {
        object.insert("allOf".into(), Json::Array(KINDS.iter().map(|kind| needs(*kind)).collect()));
    }
    schema
}

const KINDS: &[UnitKind] =
    &[UnitKind::Service, UnitKind::Task, UnitKind::Job, UnitKind::External, UnitKind::Gate];

/// What a unit of this kind cannot be without; no kind at all is a service.
fn needs(kind: UnitKind) -> Json {
    let needed: Vec<&str> = needed_key(kind).into_iter().collect();
    let named = if kind == UnitKind::Service { json!([]) } else { json!(["kind"]) };
    json!({
        "if": {"properties": {"kind": {"const": kind.to_string()}}, "required": named},
        "then": {"required": needed},
    })
}

/// The schema of mcsup.yaml.
pub fn settings() -> Json {
    titled(SettingsFile::schema(), "mcsup.yaml")
}

/// Draft 7 is what editors know best, and nothing here needs more.
fn titled(mut schema: Json, title: &str) -> Json {
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".into(), json!("http://json-schema.org/draft-07/schema#"));
        object.insert("title".into(), title.into());
    }
    schema
}
