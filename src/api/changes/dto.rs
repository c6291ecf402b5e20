//! What is said of changes and of generations. Names are fixed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the units directory stands to what is in force.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// In force; null while none could be kept.
    pub generation: Option<u64>,
    /// The one that is being put into force, and verified.
    pub under_way: Option<u64>,
    /// How far that is; null where none is under way.
    #[serde(default)]
    pub change: Option<ChangeUnderWay>,
    /// What waits for approval, oldest first.
    pub pending: Vec<Pending>,
    /// The directory cannot be used as it is; what runs is not touched.
    pub invalid: Option<InvalidUnits>,
    /// Why the directory says something else, and that is not tried again by itself.
    pub differs: Option<String>,
    /// All of it in a sentence; null where the directory says what is in force.
    pub text: Option<String>,
}

/// A change that is not over.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangeUnderWay {
    pub generation: u64,
    /// `applying`, `verifying`, `confirming`: it works and waits for a person; `going-back`.
    pub stage: String,
    /// When that is over at the latest, in RFC 3339; null where nobody knows how long what must end takes.
    pub until: Option<String>,
    /// Of `going-back`: why.
    pub why: Option<String>,
}

/// It stands for what it changes of what was in force when it came, whatever comes into force meanwhile.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Pending {
    pub generation: u64,
    /// Those that it would change, and that need approval.
    pub units: Vec<String>,
    /// Keys of mcsup.yaml that it would change, and that need approval.
    pub settings: Vec<String>,
    /// The units directory says it, and what is saved there next takes its place; false: somebody asked for it.
    pub of_directory: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct InvalidUnits {
    pub errors: u64,
    /// As `mcsup check` shows them.
    pub diagnostics: String,
}

/// Of what a plan is wanted: one of these, or, where all are left out, the units directory as it is.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanOptions {
    /// An absolute path. Only for who may change things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// The files of one that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The units directory with another text for one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitText>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnitText {
    pub name: String,
    /// Of its file.
    pub text: String,
}

/// What a change would do, or did. Units that are not in it are not touched.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The generation that it starts from; null while none is kept.
    pub from: Option<u64>,
    /// Nothing differs, not even in a comment.
    pub same: bool,
    /// In the order in which units start; those that go come last.
    pub steps: Vec<PlanStep>,
    /// Of `mcsup.yaml`, besides what it says of units.
    pub settings: Vec<KeyDifference>,
    /// Units to which nothing happens.
    pub untouched: u64,
    /// Units for whose sake somebody must approve.
    pub approval: Vec<String>,
    /// Keys of mcsup.yaml for whose sake somebody must approve.
    pub approval_settings: Vec<String>,
    /// Warnings, as `mcsup check` shows them.
    pub warnings: String,
    /// `2 restart, 1 starts; 997 untouched`
    pub summary: String,
}

/// What happens to one unit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlanStep {
    pub unit: String,
    /// `start`, `add`, `remove`, `restart`, `enable`, `disable`, `live`, `metadata`, `rename`, `follow-restart` or
    /// `follow-stop`.
    pub action: String,
    /// The same in words, with why.
    pub text: String,
    /// The unit that it follows; null where it differs itself.
    pub follows: Option<String>,
    /// Of `rename`: the name that it had.
    pub was: Option<String>,
    pub differences: Vec<KeyDifference>,
}

/// One key that says something else.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyDifference {
    pub key: String,
    /// The key with the way to what differs in it: `health[0].interval`.
    pub path: String,
    /// `metadata`, `live` or `restart`.
    pub class: String,
    /// Why it has that class.
    pub why: String,
    /// As YAML in one line; empty where nothing is said. What is called a secret is `(hidden)`.
    pub before: String,
    pub after: String,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyOptions {
    /// An absolute path of a directory whose files are to be those of the units directory. Default: the units
    /// directory as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// It goes back unless it is confirmed within this time. Default: what `apply` of mcsup.yaml says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_ms: Option<u64>,
    /// Answer only when it is over, or waits for a person. Default true; false answers with what it will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadOptions {
    /// Answer only when it is over, or waits for a person. Default true; false answers with what it will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackOptions {
    /// Default: the last before the one in force that held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// It goes back unless it is confirmed within this time. Default: what `apply` of mcsup.yaml says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_ms: Option<u64>,
    /// Answer only when it is over, or waits for a person. Default true; false answers with what it will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectOptions {
    /// For who wrote it. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinOptions {
    /// Why it is kept.
    pub label: String,
}

/// What came of a change.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// `committed`, where a part may wait for approval; `same`: there was nothing to do; `pending`: it waits for approval; `unconfirmed`: it works, and
    /// waits to be confirmed; `rolled-back`; `kept`: it is not well, and stays in force as `apply` wants it;
    /// `rejected`; `interrupted`: a shutdown came in between; `begun`: nobody waits for its end; `confirmed`;
    /// `going-back`.
    pub outcome: String,
    /// What was asked for is done, or begun. False: it is not in force, or is and not well.
    pub well: bool,
    /// The one that was made; null where none was.
    pub generation: Option<u64>,
    /// In a sentence.
    pub text: String,
    /// What it did, or was to do.
    pub plan: Option<Plan>,
    /// The units for whose sake all of it waits, or, of `committed`, the rest of it.
    pub units: Vec<String>,
    /// Keys of mcsup.yaml, likewise.
    pub settings: Vec<String>,
    /// Of `rolled-back` and `kept`: the incident that tells why, where it is known by now.
    pub incident: Option<u64>,
    /// Of `unconfirmed`: it stays at least until then, in RFC 3339.
    pub confirm_until: Option<String>,
}

/// All that are kept, oldest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Generations {
    pub generations: Vec<Generation>,
}

/// One content of the units directory that is kept.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Generation {
    pub number: u64,
    /// It is in effect.
    pub current: bool,
    /// When it came, in RFC 3339; null where its manifest is damaged.
    pub at: Option<String>,
    /// `boot`, `save`, `reload`, `apply`, `edit`, `put`, `rollback to 41`, `approve 41`; null where its manifest is damaged.
    pub cause: Option<String>,
    /// Who brought it about; null where nobody is known.
    pub who: Option<Person>,
    /// The one that was in effect when it came.
    pub parent: Option<u64>,
    pub files: u64,
    pub bytes: u64,
    /// `candidate`, `pending`, `verifying`, `committed`, `rejected` or `superseded`; null where that is damaged.
    pub verdict: Option<String>,
    pub judged_at: Option<String>,
    /// Who said so; null for mcsup itself.
    pub judged_by: Option<String>,
    /// A sentence; empty where the verdict says all.
    pub why: String,
    /// The label of its pin; null where it is not pinned.
    pub pin: Option<String>,
    /// What of it cannot be read.
    pub damaged: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Person {
    pub uid: u32,
    pub user: String,
    /// Zero where there is none.
    pub pid: u32,
    /// Such as `the control socket`.
    pub from: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct GenerationDetail {
    pub generation: Generation,
    /// By name.
    pub files: Vec<GenerationFile>,
    /// What its units name elsewhere.
    pub named: Vec<NamedFile>,
    /// Of its verdict, as they were shown.
    pub diagnostics: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct GenerationFile {
    pub name: String,
    pub sha256: String,
    pub bytes: u64,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NamedFile {
    pub path: String,
    /// Null: it was missing.
    pub sha256: Option<String>,
    pub bytes: u64,
}

/// In what the later one differs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct GenerationDiff {
    pub before: u64,
    pub after: u64,
    /// What it does to go from the one to the other.
    pub plan: Plan,
    /// Those that differ, by name; null where they were not asked for.
    pub files: Option<Vec<FileDiff>>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct FileDiff {
    pub name: String,
    /// Null: there is none.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// What is not as it was kept.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Damages {
    pub damaged: Vec<Damage>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Damage {
    /// Null: beside the generations.
    pub generation: Option<u64>,
    pub text: String,
}
