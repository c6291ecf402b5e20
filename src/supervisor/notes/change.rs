//! The note of a change under way: in sections, so that it may grow.

use std::time::Duration;

use crate::engine::event::{ChangeNote, ChangeRules};
use crate::engine::id::{GenerationId, IncidentId};
use crate::engine::state::Desired;
use crate::supervisor::notes::codes::{change_stage_code, change_stage_of, desired_code, desired_of};
use crate::supervisor::notes::reader::{Reader, Sections};
use crate::supervisor::notes::writer::Writer;
use crate::unit::name::UnitName;

pub(super) fn change_value(note: &ChangeNote) -> Vec<u8> {
    let ChangeNote {
        generation,
        previous,
        rules,
        rolls_back,
        stage,
        in_force_since,
        last_incident,
        was_unwell,
        reread,
        desires,
        done,
        is_confirmed,
    } = note;
    Writer::sectioned(|out| {
        out.section(1, |out| {
            out.u64(generation.0);
            out.u64(previous.0);
            out.u8(change_stage_code(*stage));
            out.u64(in_force_since.0);
        });
        out.section(2, |out| {
            let ChangeRules { verify, settle, rolls_back, confirm } = rules;
            out.duration(*verify);
            out.duration(*settle);
            out.flag(*rolls_back);
            out.option(*confirm, Writer::duration);
        });
        out.section(3, |out| out.option(rolls_back.as_deref(), Writer::text));
        out.section(4, |out| {
            out.u64(last_incident.0);
            out.flag(*is_confirmed);
            out.count(was_unwell.len());
            was_unwell.iter().for_each(|name| out.text(name.as_str()));
        });
        out.section(5, |out| {
            out.count(reread.len());
            reread.iter().for_each(|name| out.text(name.as_str()));
            out.count(desires.len());
            for (name, desired) in desires {
                out.text(name.as_str());
                out.u8(desired_code(*desired));
            }
        });
        out.section(6, |out| {
            out.count(done.len());
            done.iter().for_each(|name| out.text(name.as_str()));
        });
    })
}

impl Sections<'_> {
    pub(super) fn change(&self) -> Option<Box<ChangeNote>> {
        let (generation, previous, stage, in_force_since) = self.get(1, |input| {
            let numbers = (GenerationId(input.u64()?), GenerationId(input.u64()?));
            Some((numbers.0, numbers.1, change_stage_of(input.u8()?)?, input.time()?))
        })?;
        let rules = self.get(2, |input| {
            let (verify, settle) = (input.duration()?, input.duration()?);
            Some(ChangeRules {
                verify,
                settle,
                rolls_back: input.flag()?,
                confirm: input.option(Reader::duration)?,
            })
        })?;
        let rolls_back = self.get(3, |input| input.option(Reader::text)).flatten();
        let (last_incident, is_confirmed, was_unwell) = self.get(4, |input| {
            let (incident, is_confirmed) = (IncidentId(input.u64()?), input.flag()?);
            Some((incident, is_confirmed, names(input)?))
        })?;
        let (reread, desires) = self
            .get(5, |input| {
                let count = input.u64()?;
                let names = (0..count).map(|_| UnitName::new(&input.text()?).ok());
                let reread = names.collect::<Option<Vec<UnitName>>>()?;
                let count = input.u64()?;
                let pairs =
                    (0..count).map(|_| Some((UnitName::new(&input.text()?).ok()?, desired_of(input.u8()?)?)));
                Some((reread, pairs.collect::<Option<Vec<(UnitName, Desired)>>>()?))
            })
            .unwrap_or_default();
        let done = self.get(6, names).unwrap_or_default();
        Some(Box::new(ChangeNote {
            generation,
            previous,
            rules,
            rolls_back,
            stage,
            in_force_since,
            last_incident,
            was_unwell,
            reread,
            desires,
            done,
            is_confirmed,
        }))
    }
}

fn names(input: &mut Reader<'_>) -> Option<Vec<UnitName>> {
    let count = input.u64()?;
    (0..count).map(|_| UnitName::new(&input.text()?).ok()).collect()
}

impl Writer {
    fn duration(&mut self, duration: Duration) {
        self.u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Reader<'_> {
    fn duration(&mut self) -> Option<Duration> {
        self.u64().map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::change::Stage;
    use crate::engine::effect::Note;
    use crate::engine::state::DownSource;
    use crate::engine::time::Timestamp;
    use crate::supervisor::notes::{Remembered, decode, encode};

    #[test]
    fn a_change_comes_back_as_it_was_noted_and_none_is_nothing() {
        let set = crate::supervisor::notes::tests::empty_set();
        for stage in [Stage::Stopping, Stage::Clearing, Stage::Verifying, Stage::Confirming] {
            let note = ChangeNote {
                generation: GenerationId(42),
                previous: GenerationId(41),
                rules: ChangeRules {
                    verify: Duration::from_secs(30),
                    settle: Duration::from_millis(1500),
                    rolls_back: true,
                    confirm: Some(Duration::from_secs(600)),
                },
                rolls_back: Some("web is failed: exited with 1".into()),
                stage,
                in_force_since: Timestamp(7),
                last_incident: IncidentId(3),
                was_unwell: vec![UnitName::new("web").unwrap()],
                reread: vec![UnitName::new("db").unwrap()],
                desires: vec![(UnitName::new("web").unwrap(), Desired::Down(DownSource::Operator))],
                done: vec![UnitName::new("migrate").unwrap()],
                is_confirmed: true,
            };
            let (key, value) = encode(&Note::Change(Some(Box::new(note.clone()))), &set).unwrap();
            assert_eq!(decode(&key, &value, &set), Some(Remembered::Change(Box::new(note))));
        }
        let (_, value) = encode(&Note::Change(None), &set).unwrap();
        assert!(value.is_empty(), "the keeper forgets the pair");
    }
}
