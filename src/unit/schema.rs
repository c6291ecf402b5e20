//! JSON Schemas of the two kinds of files, from the types that read them.

use serde_json::{Value as Json, json};

use crate::unit::file::UnitFile;
use crate::unit::read::FromYaml;
use crate::unit::settings::SettingsFile;

/// The schema of a unit file.
pub fn unit() -> Json {
    titled(UnitFile::schema(), "mcsup unit")
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
