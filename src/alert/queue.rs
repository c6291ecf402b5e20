//! Which message goes next, and when: sums that know no disk and no network.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::alert::message::Message;

/// Messages that may wait for one channel.
pub(super) const MOST_WAITING: usize = 1000;
/// How long a message is tried.
pub(super) const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(5 * 60);

/// Times are measured from the outbox's own beginning.
#[derive(Debug, Default)]
pub(super) struct Queue {
    channels: BTreeMap<String, VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    /// Failed so often.
    attempts: u32,
    is_saved: bool,
    is_under_way: bool,
    not_before: Duration,
    give_up_at: Duration,
}

/// What a failed delivery leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    RetryIn(Message, Duration),
    GaveUp(Message),
    /// It is no longer here.
    Unknown,
}

impl Queue {
    /// What had to leave for it. `patience`: what is left of it.
    pub(super) fn push(
        &mut self,
        message: Message,
        is_saved: bool,
        now: Duration,
        patience: Duration,
    ) -> Option<Message> {
        let channel = self.channels.entry(message.channel.clone()).or_default();
        let give_up_at = now.saturating_add(patience);
        let waiting =
            Waiting { message, attempts: 0, is_saved, is_under_way: false, not_before: now, give_up_at };
        channel.push_back(waiting);
        if channel.len() <= MOST_WAITING {
            return None;
        }
        // The oldest that nobody is about to take: news are worth more than history.
        let at = channel.iter().position(|waiting| !waiting.is_under_way)?;
        channel.remove(at).map(|waiting| waiting.message)
    }

    /// It is on disk, or will not be: either way it may go.
    pub(super) fn saved(&mut self, number: u64) {
        if let Some(waiting) = self.find(number) {
            waiting.is_saved = true;
        }
    }

    /// The head of each channel that may go now; they count as under way.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Message> {
        let heads = self.channels.values_mut().filter_map(VecDeque::front_mut);
        let due = heads.filter(|head| head.is_saved && !head.is_under_way && head.not_before <= now);
        due.map(|head| {
            head.is_under_way = true;
            head.message.clone()
        })
        .collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let heads = self.channels.values().filter_map(VecDeque::front);
        heads.filter(|head| head.is_saved && !head.is_under_way).map(|head| head.not_before).min()
    }

    pub(super) fn delivered(&mut self, number: u64) -> Option<Message> {
        self.take(number)
    }

    pub(super) fn failed(&mut self, number: u64, now: Duration) -> Next {
        let Some(waiting) = self.find(number) else { return Next::Unknown };
        waiting.is_under_way = false;
        if now >= waiting.give_up_at {
            return self.take(number).map_or(Next::Unknown, Next::GaveUp);
        }
        let delay = delay_after(waiting.attempts);
        waiting.attempts = waiting.attempts.saturating_add(1);
        // The last attempt is at the end of the patience, not after it.
        waiting.not_before = now.saturating_add(delay).min(waiting.give_up_at);
        Next::RetryIn(waiting.message.clone(), waiting.not_before.saturating_sub(now))
    }

    pub(super) fn waiting(&self, channel: &str) -> usize {
        self.channels.get(channel).map_or(0, VecDeque::len)
    }

    fn find(&mut self, number: u64) -> Option<&mut Waiting> {
        self.channels.values_mut().flatten().find(|waiting| waiting.message.number == number)
    }

    fn take(&mut self, number: u64) -> Option<Message> {
        self.channels.values_mut().find_map(|channel| {
            let at = channel.iter().position(|waiting| waiting.message.number == number)?;
            channel.remove(at).map(|waiting| waiting.message)
        })
    }
}

/// 1 s, 2 s, 4 s, ... 5 min.
fn delay_after(attempts: u32) -> Duration {
    let factor = 1u32.checked_shl(attempts).unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn message(number: u64, channel: &str) -> Message {
        Message { number, channel: channel.into(), ..Message::default() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_delay_doubles_from_a_second_to_five_minutes() {
        let delays: Vec<u64> = (0..11).map(|attempts| delay_after(attempts).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay_after(u32::MAX), LONGEST_DELAY);
    }

    #[test]
    fn a_message_that_fails_holds_up_its_channel_and_no_other() {
        let mut queue = Queue::default();
        for (number, channel) in [(1, "ops"), (2, "ops"), (3, "boss")] {
            assert_eq!(queue.push(message(number, channel), true, NOW, PATIENCE), None);
        }
        let numbers =
            |messages: Vec<Message>| messages.iter().map(|message| message.number).collect::<Vec<_>>();
        assert_eq!(numbers(queue.due(NOW)), [3, 1]);
        assert_eq!(numbers(queue.due(NOW)), [0; 0], "they are under way");
        assert_eq!(queue.failed(1, NOW), Next::RetryIn(message(1, "ops"), seconds(1)));
        assert!(queue.delivered(3).is_some());
        assert_eq!(numbers(queue.due(NOW)), [0; 0]);
        assert_eq!(queue.next_deadline(), Some(NOW + seconds(1)));
        assert_eq!(numbers(queue.due(NOW + seconds(1))), [1]);
        assert!(queue.delivered(1).is_some());
        assert_eq!(numbers(queue.due(NOW + seconds(1))), [2]);
    }

    #[test]
    fn after_a_day_it_is_given_up_with_a_last_attempt_at_the_end() {
        let mut queue = Queue::default();
        queue.push(message(1, "ops"), true, NOW, PATIENCE);
        let (mut now, mut attempts) = (NOW, 0);
        loop {
            assert_eq!(queue.due(now).len(), 1);
            attempts += 1;
            match queue.failed(1, now) {
                Next::RetryIn(_, delay) => now += delay,
                Next::GaveUp(message) => break assert_eq!(message.number, 1),
                Next::Unknown => panic!("it is there"),
            }
        }
        assert_eq!(now, NOW + PATIENCE);
        assert_eq!(attempts, 297);
        assert_eq!(queue.failed(1, now), Next::Unknown);
    }

    #[test]
    fn what_is_not_on_disk_yet_waits_and_a_full_channel_loses_its_oldest() {
        let mut queue = Queue::default();
        queue.push(message(1, "ops"), false, NOW, PATIENCE);
        assert_eq!((queue.due(NOW).len(), queue.next_deadline()), (0, None));
        queue.saved(1);
        assert_eq!(queue.due(NOW).len(), 1);
        for number in 2..=1000 {
            assert_eq!(queue.push(message(number, "ops"), true, NOW, PATIENCE), None);
        }
        let left = queue.push(message(1001, "ops"), true, NOW, PATIENCE);
        assert_eq!(left.map(|message| message.number), Some(2), "the first one is under way");
        assert_eq!(queue.waiting("ops"), 1000);
    }
}
