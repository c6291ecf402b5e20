//! What workers send to the loop. Every worker ends with exactly one of these.

use tokio::sync::mpsc;

use crate::engine::event::Verdict;
use crate::engine::id::ProbeRunId;
use crate::keeper::wire::SpawnOrder;
use crate::supervisor::launch::Launch;
use crate::supervisor::lookup::{Cache, Miss};

#[derive(Debug)]
pub(crate) enum Inbox {
    /// What a launch needed to know was asked for.
    Prepared {
        launch: Launch,
        order: Box<Result<SpawnOrder, Miss>>,
        learnt: Cache,
    },
    ProbeFinished {
        probe: ProbeRunId,
        verdict: Verdict,
    },
}

/// Unbounded, as the number of workers is bounded and each sends one message.
pub(crate) type Outlet = mpsc::UnboundedSender<Inbox>;

/// Sends one message when dropped, so that a worker that panics still ends with its one event.
#[derive(Debug)]
pub(crate) struct Promise {
    outlet: Outlet,
    message: Option<Inbox>,
}

impl Promise {
    /// `otherwise` is what the loop hears if the promise is never kept.
    pub(crate) fn new(outlet: Outlet, otherwise: Inbox) -> Self {
        Self { outlet, message: Some(otherwise) }
    }

    pub(crate) fn keep(mut self, message: Inbox) {
        self.message = Some(message);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            // The loop has ended: nobody waits for the answer.
            drop(self.outlet.send(message));
        }
    }
}
