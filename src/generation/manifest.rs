//! What is written down of a generation: what it holds, which never changes, and what came of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `manifest.json`. Written once, before the generation has its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this form of it.
    pub version: u32,
    pub number: u64,
    /// The generation that was current when this one came.
    pub parent: Option<u64>,
    pub cause: Cause,
    pub who: Who,
    /// Since 1970.
    pub at_millis: u64,
    /// The directory that its files were read from; empty where they came from elsewhere.
    pub units_dir: String,
    /// By name.
    pub files: Vec<FileEntry>,
    /// In the order of their numbers in `named/`.
    pub named: Vec<NamedEntry>,
    /// Of all the rest: a manifest that somebody changed is none.
    pub sha256: String,
}

/// What brought a generation about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The directory had changed when mcsup came up, or there was no generation yet.
    Boot,
    /// Files were saved, and nobody said anything.
    Save,
    /// `mcsup reload`, or SIGHUP.
    Reload,
    Apply,
    Edit,
    /// One unit by the API.
    Put,
    /// To the content of an earlier one.
    Rollback(u64),
    /// Of one that waited, brought onto what had come into effect since.
    Approve(u64),
}

/// Who brought it about, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    pub uid: u32,
    pub user: String,
    /// Zero where there is none.
    pub pid: u32,
    /// In words: a terminal, the socket, a file.
    pub from: String,
}

/// One file of the units directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub name: String,
    pub sha256: String,
    pub bytes: u64,
    /// Permissions that it had in the units directory.
    pub mode: u32,
}

/// One file elsewhere that units name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedEntry {
    pub path: String,
    /// `None`: it was missing.
    pub sha256: Option<String>,
    pub bytes: u64,
}

/// `verdict.json`: what came of a generation. Replaced as it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub word: Word,
    /// Since 1970.
    pub at_millis: u64,
    /// A sentence for a person; empty where the word says all.
    pub why: String,
    /// Who said so; empty for mcsup itself.
    pub by: String,
    /// As they were shown.
    pub diagnostics: String,
    /// For whose sake it waits, or did until somebody rejected it, or until the end of the change that somebody
    /// approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
}

/// What must not change without somebody's approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// By name.
    pub units: Vec<String>,
    /// Keys of mcsup.yaml.
    pub settings: Vec<String>,
}

impl Waits {
    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && self.settings.is_empty()
    }

    /// `redis, web, `approvers` of mcsup.yaml`
    pub fn words(&self) -> String {
        let keys = self.settings.iter().map(|key| format!("`{key}` of mcsup.yaml"));
        self.units.iter().cloned().chain(keys).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Kept, and nothing was decided yet.
    Candidate,
    /// Somebody must approve of it first.
    Pending,
    /// In effect, and watched whether it holds.
    Verifying,
    /// It held.
    Committed,
    /// It was invalid, did not hold, or somebody said no.
    Rejected,
    /// Newer content came before it was its turn.
    Superseded,
}

impl Verdict {
    pub(super) fn candidate(at_millis: u64) -> Self {
        Self {
            word: Word::Candidate,
            at_millis,
            why: String::new(),
            by: String::new(),
            diagnostics: String::new(),
            waits: None,
        }
    }
}

impl Word {
    /// A change that is still under way needs it.
    pub fn is_open(self) -> bool {
        match self {
            Self::Candidate | Self::Pending | Self::Verifying => true,
            Self::Committed | Self::Rejected | Self::Superseded => false,
        }
    }
}

/// `pin.json`. That it is there keeps its generation, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    pub(super) label: String,
}

impl Manifest {
    pub const VERSION: u32 = 1;

    /// With the digest that belongs to the rest of it.
    pub(super) fn sealed(mut self) -> Result<Self, serde_json::Error> {
        self.sha256 = self.seal()?;
        Ok(self)
    }

    /// What is wrong with it, if anything is.
    pub(super) fn flaw(&self, number: u64) -> Option<String> {
        if self.version != Self::VERSION {
            return Some(format!(
                "its manifest has version {}, which this mcsup does not know",
                self.version
            ));
        }
        if self.seal().ok().as_ref() != Some(&self.sha256) {
            return Some("its manifest is not the one that was written".to_owned());
        }
        (self.number != number).then(|| format!("its manifest is that of generation {}", self.number))
    }

    fn seal(&self) -> Result<String, serde_json::Error> {
        let open = Self { sha256: String::new(), ..self.clone() };
        Ok(digest(&serde_json::to_vec(&open)?))
    }

    /// Of all files and all that is named.
    pub fn bytes(&self) -> u64 {
        let sizes =
            self.files.iter().map(|file| file.bytes).chain(self.named.iter().map(|named| named.bytes));
        sizes.fold(0, u64::saturating_add)
    }
}

/// SHA-256, in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    let nibble = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let digest = Sha256::digest(bytes);
    digest.iter().flat_map(|byte| [nibble(byte >> 4), nibble(byte & 15)]).collect()
}
