//! What workers send to the loop. Every worker ends with exactly one of these.

use tokio::sync::{mpsc, oneshot};

use crate::engine::effect::Answer;
use crate::engine::event::{Judgement, SpawnFailure, Verdict};
use crate::engine::id::{IncidentId, ProbeRunId, RequestId, RunId, UnitId};
use crate::incident::evidence::Evidence;
use crate::keeper::wire::SpawnOrder;
use crate::supervisor::change::candidate::Findings;
use crate::supervisor::change::filing::{BootKept, Filed};
use crate::supervisor::handle::Notice;
use crate::supervisor::jobs::Case;
use crate::supervisor::launch::Launch;
use crate::supervisor::listeners::Sockets;
use crate::supervisor::lookup::{Cache, Miss};

#[derive(Debug)]
pub(crate) enum Inbox {
    /// What a launch needed to know was asked for.
    Prepared {
        launch: Launch,
        order: Box<Result<SpawnOrder, Miss>>,
        learnt: Cache,
    },
    /// Whoever asked this has hung up.
    Abandoned {
        request: RequestId,
    },
    ProbeFinished {
        probe: ProbeRunId,
        verdict: Verdict,
    },
    /// What an order to capture came to; `None`: there was nothing to capture it of, or it is kept already.
    EvidenceCaptured {
        incident: IncidentId,
        unit: UnitId,
        run: Option<RunId>,
        evidence: Option<Box<Evidence>>,
        is_complete: bool,
    },
    /// What people are told besides the engine's facts. The chronicle sends any number of these.
    Notice(Notice),
    /// The command of a channel is to be run with `body` on its input.
    RunChannel {
        message: u64,
        command: Vec<String>,
        body: Vec<u8>,
    },
    /// The sockets of a lazy unit, for it to wait at.
    SocketsOpened {
        unit: UnitId,
        opened: Result<Sockets, SpawnFailure>,
    },
    /// Somebody connects to a lazy unit.
    Connected {
        unit: UnitId,
    },
    /// What a run is judged by lies ready, or cannot be had.
    JudgePrepared {
        run: u64,
        case: Result<Case, String>,
    },
    /// What a judge found, and the number under which the output is kept.
    Judged {
        run: u64,
        judgement: Judgement,
        kept: Option<u64>,
    },
    /// What a run wrote that no judge looked at is where it belongs, or cannot be kept.
    OutputKept {
        unit: UnitId,
        ordinal: u32,
        kept: Option<u64>,
    },
    /// A path of an armed job is another than before.
    PathChanged {
        unit: UnitId,
        path: Box<str>,
    },
    /// What is known of jobs was written, or why not.
    PastKept {
        trouble: Option<String>,
    },
    /// The units directory, or what it names, was changed and is quiet.
    Look,
    /// What a person should know of how changes are seen.
    Remarked(String),
    /// Saves are seen again.
    SafeModeIsOver,
    /// The boot was over a moment ago.
    BootIsOver,
    /// What a change would be.
    CandidateFound(Box<Findings>),
    /// What came of a change is written down, as far as the disk takes it.
    ChangeFiled(Filed),
    BootKept(BootKept),
    /// A moment after a units directory that cannot be used was found.
    StillInvalid {
        look: u64,
    },
    /// The line came that says that the run is ready.
    ReadyLine {
        run: u64,
    },
}

/// Unbounded, as the number of workers is bounded and each sends one message.
pub(crate) type Outlet = mpsc::UnboundedSender<Inbox>;

/// Passes the answer on to who asked, or tells the loop that nobody waits for it any more.
pub(crate) async fn attend(
    request: RequestId,
    mut client: oneshot::Sender<Answer>,
    answered: oneshot::Receiver<Answer>,
    outlet: Outlet,
) {
    let answer = tokio::select! {
        biased;
        answer = answered => answer,
        () = client.closed() => {
            // The loop has ended: nobody is left to be told.
            return drop(outlet.send(Inbox::Abandoned { request }));
        }
    };
    if let Ok(answer) = answer {
        // Hung up at the last moment.
        drop(client.send(answer));
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_hangs_up_is_told_to_the_loop_and_one_that_waits_gets_its_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (outlet, mut inbox) = mpsc::unbounded_channel();
            let (client, reply) = oneshot::channel();
            let (_loop, answered) = oneshot::channel();
            drop(reply);
            attend(RequestId(7), client, answered, outlet.clone()).await;
            assert!(matches!(inbox.try_recv(), Ok(Inbox::Abandoned { request: RequestId(7) })));

            let (client, reply) = oneshot::channel();
            let (answer, answered) = oneshot::channel();
            answer.send(Answer::Done(Vec::new())).unwrap();
            attend(RequestId(8), client, answered, outlet).await;
            assert_eq!(reply.await, Ok(Answer::Done(Vec::new())));
            assert!(inbox.try_recv().is_err());
        });
    }
}
