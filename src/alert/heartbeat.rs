//! Tells an outside watcher, again and again, that this machine lives. The watcher does the alarm.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::alert::post::{LIMIT, Web};

/// One ping at a time: one that takes longer than the pause makes the next one late, never a second one.
#[derive(Debug)]
pub struct Heartbeat {
    url: String,
    every: Duration,
    web: Web,
    due: Instant,
    /// At most one; ends with this.
    under_way: JoinSet<Result<(), String>>,
}

/// How one ping went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    Told,
    Failed { why: String },
}

impl Heartbeat {
    /// The first ping is due at once.
    pub fn new(url: String, every: Duration) -> Self {
        Self { url, every, web: Web::new(), due: Instant::now(), under_way: JoinSet::new() }
    }

    /// The next ping that went, well or not. Safe to drop at any await: the ping goes on.
    pub async fn next(&mut self) -> Beat {
        if self.under_way.is_empty() {
            if let Some(pause) = self.due.checked_duration_since(Instant::now()) {
                drop(tokio::time::timeout(pause, std::future::pending::<()>()).await);
            }
            // What was missed, asleep or busy, is not made up for.
            self.due = Instant::now() + self.every;
            let (web, url, limit) = (self.web.clone(), self.url.clone(), self.every.min(LIMIT));
            self.under_way.spawn(async move {
                let ping = tokio::time::timeout(limit, web.ping(&url, limit)).await;
                ping.unwrap_or_else(|_late| Err("no answer in time".to_owned()))
            });
        }
        match self.under_way.join_next().await {
            Some(Ok(Ok(()))) => Beat::Told,
            Some(Ok(Err(why))) => Beat::Failed { why },
            Some(Err(error)) => Beat::Failed { why: error.to_string() },
            None => Beat::Failed { why: "it did not begin".to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::alert::tests_server::{Mood, Server};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test);
        runtime.shutdown_background();
    }

    #[test]
    fn a_watcher_is_pinged_again_and_again_and_a_failure_is_only_told() {
        let server = Server::start(Mood::Answer(200));
        run(async {
            // Also how long an answer may take, which a busy machine needs.
            let mut heartbeat = Heartbeat::new(server.url(), Duration::from_secs(1));
            assert_eq!(heartbeat.next().await, Beat::Told);
            server.set(Mood::Answer(404));
            assert_eq!(heartbeat.next().await, Beat::Failed { why: "answered 404".to_owned() });
            server.set(Mood::Answer(200));
            assert_eq!(heartbeat.next().await, Beat::Told);
            let requests = server.requests();
            assert_eq!(requests.len(), 3);
            assert!(requests.iter().all(|request| request.head.starts_with("GET /hook ")));
        });
    }

    #[test]
    fn a_watcher_that_hangs_is_asked_once_at_a_time() {
        let server = Server::start(Mood::Hang);
        run(async {
            let mut heartbeat = Heartbeat::new(server.url(), Duration::from_millis(100));
            for _ in 0..50 {
                // The loop looks away and comes back: that begins no second ping.
                drop(tokio::time::timeout(Duration::from_micros(100), heartbeat.next()).await);
                assert!(heartbeat.under_way.len() <= 1);
            }
            assert_eq!(heartbeat.next().await, Beat::Failed { why: "no answer in time".to_owned() });
        });
    }
}
