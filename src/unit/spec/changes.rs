//! How a change of the definitions takes effect.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Time in which everything that a change touches must be well. Default 30 s.
    pub verify: Duration,
    /// All of it must be well for so long. Default 5 s.
    pub settle: Duration,
    /// What is not well in time goes back; otherwise it stays. Default true.
    pub rolls_back: bool,
    /// Time in which a person must confirm each change. `None`: nobody has to.
    pub confirm: Option<Duration>,
    /// Every change waits for a person's approval, and not only those of protected units.
    pub needs_approval: bool,
    /// Users who may approve. Empty: whoever may change things.
    pub approvers: Vec<Box<str>>,
    /// Generations that are kept. Default 50.
    pub keep_count: u32,
    /// How long they are kept. Default 90 days.
    pub keep_age: Duration,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            verify: Duration::from_secs(30),
            settle: Duration::from_secs(5),
            rolls_back: true,
            confirm: None,
            needs_approval: false,
            approvers: Vec::new(),
            keep_count: 50,
            keep_age: Duration::from_secs(90 * 86_400),
        }
    }
}
