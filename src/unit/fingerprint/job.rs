//! When a job runs and what its runs must prove.

use crate::unit::fingerprint::{Hash, name_of};
use crate::unit::schedule::Timetable;
use crate::unit::spec::UnitSet;
use crate::unit::spec::job::{After, AfterEnd, CatchUp, JobSpec, Overlap, PathTrigger, Webhook};

impl Hash {
    pub(super) fn job(&mut self, job: Option<&JobSpec>, set: &UnitSet) {
        // The kind is counted already. Nothing is added to other units: what is kept of them stays true.
        let Some(job) = job else { return };
        let JobSpec {
            timetable,
            every,
            on_boot,
            run_at_load,
            after,
            paths,
            webhook,
            catch_up,
            deadline,
            overlap,
            jitter,
            retries,
            weight,
            output,
        } = job;
        let Timetable { schedules, zone } = timetable;
        self.number(schedules.len());
        schedules.iter().for_each(|schedule| self.text(&schedule.canonical()));
        self.text(zone.name());
        self.optional_duration(*every);
        self.flags(&[*on_boot, *run_at_load]);
        self.number(after.len());
        // All of them must have ended so, in whatever order they are named.
        let mut after: Vec<&After> = after.iter().collect();
        after.sort_by_key(|after| name_of(after.unit, set));
        for After { unit, when, place: _ } in after {
            self.unit(*unit, set);
            self.number(match when {
                AfterEnd::Succeeded => 0_u8,
                AfterEnd::Failed => 1,
                AfterEnd::Finished => 2,
            });
        }
        self.number(paths.len());
        for PathTrigger { path, debounce } in paths {
            self.text(path);
            self.duration(*debounce);
        }
        self.number(webhook.is_some());
        if let Some(Webhook { secret_file, per_minute }) = webhook {
            self.text(secret_file);
            self.number(*per_minute);
        }
        self.optional_number(match catch_up {
            CatchUp::None => None,
            CatchUp::Once => Some(0),
            CatchUp::All { most } => Some(u64::from(*most)),
        });
        self.optional_duration(*deadline);
        self.number(match overlap {
            Overlap::Skip => 0_u32,
            Overlap::Queue => 1,
            Overlap::Replace => u32::MAX,
            Overlap::Allow { most } => *most,
        });
        self.duration(*jitter);
        self.number(*retries);
        self.number(*weight);
        // Names of our own types, and JSON with its keys in order: as stable as the definition itself.
        self.optional(output.as_ref().map(|output| format!("{output:?}")).as_deref());
    }
}
