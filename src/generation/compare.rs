//! Whether two contents of the units directory are the same, and where they differ.

use std::collections::{BTreeMap, BTreeSet};

use crate::generation::add::{Named, UnitsFile};
use crate::generation::error::Error;
use crate::generation::manifest::digest;
use crate::generation::{Store, manifest::FileEntry};

/// One file of two generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDifference {
    pub name: String,
    pub change: FileChange,
}

/// Texts are those of the files; bytes that are no UTF-8 are shown as such by U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    Same,
    Changed { before: String, after: String },
    OnlyBefore(String),
    OnlyAfter(String),
}

impl Store {
    /// The same bytes under the same names, in the units directory and elsewhere. Permissions and order say
    /// nothing. One that cannot be read is like no other.
    pub fn is_same_as(&self, number: u64, files: &[UnitsFile], named: &[Named]) -> bool {
        let Ok(manifest) = self.manifest(number) else { return false };
        if (manifest.files.len(), manifest.named.len()) != (files.len(), named.len()) {
            return false;
        }
        let kept: BTreeMap<&str, &str> =
            manifest.files.iter().map(|file| (file.name.as_str(), file.sha256.as_str())).collect();
        let kept_named: BTreeSet<(&str, Option<&str>)> =
            manifest.named.iter().map(|named| (named.path.as_str(), named.sha256.as_deref())).collect();
        let is_kept = |file: &UnitsFile| kept.get(file.name.as_str()) == Some(&digest(&file.bytes).as_str());
        let is_named = |named: &Named| {
            let sha256 = named.bytes.as_deref().map(digest);
            kept_named.contains(&(named.path.as_str(), sha256.as_deref()))
        };
        files.iter().all(is_kept) && named.iter().all(is_named)
    }

    /// Every file that either has, by name.
    ///
    /// # Errors
    /// When there is no such generation, or one of them is damaged.
    pub fn differences(&self, before: u64, after: u64) -> Result<Vec<FileDifference>, Error> {
        let (old, new) = (self.entries(before)?, self.entries(after)?);
        let text = |number: u64, entry: &FileEntry| {
            Ok::<String, Error>(String::from_utf8_lossy(&self.bytes_of(number, entry)?).into_owned())
        };
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut differences = Vec::with_capacity(names.len());
        for name in names {
            let change = match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) if old.sha256 == new.sha256 => FileChange::Same,
                (Some(old), Some(new)) => {
                    FileChange::Changed { before: text(before, old)?, after: text(after, new)? }
                }
                (Some(old), None) => FileChange::OnlyBefore(text(before, old)?),
                (None, Some(new)) => FileChange::OnlyAfter(text(after, new)?),
                (None, None) => continue,
            };
            differences.push(FileDifference { name: name.clone(), change });
        }
        Ok(differences)
    }

    /// What it holds, by name.
    pub(super) fn entries(&self, number: u64) -> Result<BTreeMap<String, FileEntry>, Error> {
        let files = self.manifest(number)?.files;
        Ok(files.into_iter().map(|file| (file.name.clone(), file)).collect())
    }
}
