//! What is told: an incident, and what has just become of it.

use serde::{Deserialize, Serialize};

/// One change of one incident. The JSON of this is what a webhook gets and what a command reads on stdin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Unique for one state directory; given by the outbox.
    pub number: u64,
    pub channel: String,
    pub host: String,
    pub incident: u64,
    pub change: Change,
    /// Of a change that comes more than once, which one: the n-th rung that was tried.
    pub step: u32,
    /// The unit concerned; of what is about the incident as a whole, where it began.
    pub unit: String,
    /// Milliseconds since 1970.
    pub at_millis: u64,
    /// What happened, for people.
    pub text: String,
    /// The most probable cause, for people; empty when there is none yet.
    pub cause: String,
    /// Units that it reached.
    pub affected: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    #[default]
    Opened,
    RungTried,
    GaveUp,
    /// It works again for good, or is done.
    Healed,
    /// It is part of another incident, which the text names; that one goes on.
    Merged,
    /// It is no longer wanted up; nothing healed.
    Ended,
}

/// Two messages with the same key say the same.
pub(super) type Key = (String, u64, Change, u32, u64);

impl Message {
    /// The incident's number alone may come again after the state was lost; not with the same time.
    pub(super) fn key(&self) -> Key {
        (self.channel.clone(), self.incident, self.change, self.step, self.at_millis)
    }
}
