//! `apply`, `approval`, `approvers` and `retention` of mcsup.yaml: how a change takes effect, and how it can be undone.

use std::time::Duration;

use crate::unit::diagnostic::Diagnostic;
use crate::unit::read::{counts, mapping, words};
use crate::unit::settings::SettingsFile;
use crate::unit::spec::changes::Changes;

/// Of `confirm: required`, where nothing else is said.
const CONFIRM_WITHIN: Duration = Duration::from_secs(600);

mapping! {
    /// How a change of the units directory takes effect, and what proves it.
    ApplyFile {
        /// Time in which everything that a change touches, and what depends on it, must be well; at least 1s.
        verify: Duration = "30s";
        /// All of it must be well for so long; longer where a probe needs longer to ask again.
        settle: Duration = "5s";
        /// What becomes of a change that is not well in time: `rollback`, or `keep` and an incident.
        on_failure: OnFailure = "rollback";
        /// `required`: each change goes back unless a person runs `mcsup confirm` in time.
        confirm: Confirm = "none";
        /// That time.
        confirm_within: Duration = "10m";
    }
}

mapping! {
    /// Which generations are kept. The one in force, the last good one before it and those that are pinned always are.
    RetentionFile {
        /// The newest so many; 2 to 10000.
        count: KeptGenerations = 50;
        /// None that is older.
        age: Duration = "90d";
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    Rollback,
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    None,
    Required,
}

/// Which changes wait for `mcsup approve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    Protected,
    Required,
}

words!(OnFailure { "rollback" => Self::Rollback, "keep" => Self::Keep });
words!(Confirm { "none" => Self::None, "required" => Self::Required });
words!(Approval { "protected" => Self::Protected, "required" => Self::Required });

counts! {
    /// How many generations are kept.
    KeptGenerations: 2, 10_000;
}

pub(super) fn lower(settings: &SettingsFile) -> Changes {
    let default = Changes::default();
    let apply = settings.apply.as_ref().map(|apply| &apply.value);
    let retention = settings.retention.as_ref().map(|retention| &retention.value);
    let within = apply.and_then(|apply| Some(apply.confirm_within.as_ref()?.value)).unwrap_or(CONFIRM_WITHIN);
    let must_confirm = apply.and_then(|apply| Some(apply.confirm.as_ref()?.value)) == Some(Confirm::Required);
    Changes {
        verify: apply.and_then(|apply| Some(apply.verify.as_ref()?.value)).unwrap_or(default.verify),
        settle: apply.and_then(|apply| Some(apply.settle.as_ref()?.value)).unwrap_or(default.settle),
        rolls_back: apply.and_then(|apply| Some(apply.on_failure.as_ref()?.value)) != Some(OnFailure::Keep),
        confirm: must_confirm.then_some(within),
        needs_approval: settings.approval.as_ref().map(|approval| approval.value) == Some(Approval::Required),
        approvers: settings
            .approvers
            .iter()
            .flat_map(|list| &list.value)
            .map(|name| name.value.0.clone())
            .collect(),
        keep_count: retention
            .and_then(|kept| Some(kept.count.as_ref()?.value.0))
            .unwrap_or(default.keep_count),
        keep_age: retention.and_then(|kept| Some(kept.age.as_ref()?.value)).unwrap_or(default.keep_age),
    }
}

/// What contradicts itself.
pub(super) fn check(settings: &SettingsFile, out: &mut Vec<Diagnostic>) {
    let Some(apply) = settings.apply.as_ref().map(|apply| &apply.value) else { return };
    let Changes { verify, settle, .. } = lower(settings);
    if let Some(short) = apply.verify.as_ref().filter(|verify| verify.value < Duration::from_secs(1)) {
        out.push(
            Diagnostic::error("bad-value", short.place, "`verify` is shorter than 1s")
                .help("nothing can be proven in that time; `on_failure: keep` is how to do without a proof"),
        );
    }
    if let Some(long) = apply.settle.as_ref().or(apply.verify.as_ref()).filter(|_| settle > verify) {
        out.push(
            Diagnostic::error(
                "bad-value",
                long.place,
                "`settle` is longer than `verify`: no change could be well in time",
            )
            .help("make `verify` at least as long as `settle`"),
        );
    }
    if let Some(within) = apply.confirm_within.as_ref().filter(|within| within.value <= verify) {
        out.push(
            Diagnostic::error("bad-value", within.place, "`confirm_within` is over before `verify` is")
                .help("give a person more time than the machine takes"),
        );
    }
}
