//! What may stand in mcsup.yaml.

use std::time::Duration;

use crate::unit::alerts::{Alerts, HeartbeatFile};
use crate::unit::changes::{ApplyFile, Approval, RetentionFile};
use crate::unit::file::{Defaults, LogFile};
use crate::unit::job::Weight;
use crate::unit::read::{At, mapping};
use crate::unit::spec::WhenFull;
use crate::unit::trigger::HooksFile;
use crate::unit::value::{Account, Kept, Size, Word};

/// The file that configures the supervisor; it is no unit.
pub(crate) const SETTINGS_FILE: &str = "mcsup.yaml";

mapping! {
    /// The settings of mcsup for one units directory.
    SettingsFile {
        /// Phases in boot order. Each starts when every unit of the one before that blocks it is ready or completed.
        phases: Vec<At<Word>> = ["main"];
        /// The phase of units that name none. Default: the last one.
        default_phase: Word;
        /// What holds for units that do not say otherwise.
        defaults: KindDefaults;
        /// How long a phase may stay shut before that is an incident.
        boot_timeout: Duration = "5m";
        /// How long a shutdown may take before everything left is killed.
        shutdown_timeout: Duration = "60s";
        /// Logs of all units, where the unit does not say otherwise, and the bound on all together.
        log: LogSettings;
        /// How much all runs of jobs at once may weigh; each weighs 1 where it says nothing. Default: any number.
        concurrency: Weight;
        /// Where webhooks of jobs are listened for: `{listen: 127.0.0.1:8787}`.
        hooks: HooksFile;
        /// Where alerts go, by the name that `recover` uses: `{ops: {webhook: https://...}}` or `{ops: {exec: [...]}}`.
        alerts: Alerts;
        /// How a change takes effect, what proves it, and what becomes of one that is not proven.
        apply: ApplyFile;
        /// Which changes wait for `mcsup approve`: those of `protected` units, or all of them, by `required`.
        approval: Approval = "protected";
        /// Users who may approve; not their own changes. Default: whoever may change things.
        approvers: Vec<At<Account>>;
        /// Which generations are kept.
        retention: RetentionFile;
        /// Pings an outside watcher, so that a dead host is not silent.
        heartbeat: HeartbeatFile;
    }
}

mapping! {
    /// By kind of unit; mappings such as `environment` and `restart` mix with the unit's key by key.
    KindDefaults {
        /// For services.
        service: Defaults;
        /// For tasks.
        task: Defaults;
        /// For jobs.
        job: Defaults;
        /// For what is watched and not owned.
        external: Defaults;
        /// For gates.
        gate: Defaults;
    }
}

mapping! {
    /// Logs.
    LogSettings {
        /// Rotated at a line end when larger.
        max_size: Size = "10M";
        /// Rotated also when older than this.
        max_age: Duration;
        /// Old files that are kept.
        keep: Kept = 5;
        /// When a log cannot be written: `drop` bytes and count them, or `block` the writer.
        when_full: WhenFull = "drop";
        /// Most bytes that all logs together may hold.
        total: Size = "1G";
    }
}

impl LogSettings {
    /// The part that a unit may override.
    pub(crate) fn for_units(&self) -> LogFile {
        LogFile {
            max_size: self.max_size.clone(),
            max_age: self.max_age.clone(),
            keep: self.keep.clone(),
            when_full: self.when_full.clone(),
        }
    }
}
