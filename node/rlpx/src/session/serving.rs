//! The peer's requests: a few at a time, and no faster than its share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{MAX_SERVING, Outgoing};
use crate::{
    Message, NetworkCounters,
    pace::ServingPace,
    serve::{self, ChainSource, Question},
};

/// Answers the peer's requests.
pub(super) struct Serving {
    pub(super) version: u8,
    pub(super) chain: Arc<dyn ChainSource>,
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) counters: NetworkCounters,
}

impl Serving {
    pub(super) async fn run(self, mut questions: mpsc::Receiver<(u64, Question)>) {
        let slots = Arc::new(Semaphore::new(MAX_SERVING));
        let pace = Arc::new(Mutex::new(ServingPace::new(Instant::now())));
        // whatever is under way ends with the session
        let mut answers = JoinSet::new();
        while let Some((request_id, question)) = questions.recv().await {
            while answers.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let wait = locked(&pace).begin(Instant::now());
            if !wait.is_zero() {
                // meanwhile requests queue up, and then the peer finds that we do not read on
                self.counters.count_delayed();
                sleep(wait).await;
            }
            let (chain, outgoing, version) =
                (Arc::clone(&self.chain), self.outgoing.clone(), self.version);
            let pace = Arc::clone(&pace);
            answers.spawn(async move {
                let answer = serve::answer(chain.as_ref(), version, request_id, question).await;
                locked(&pace).read(answer.read_bytes, Instant::now());
                let served = Some((answer.kind, answer.items, slot));
                // fails only when the session is over, and the answer with it
                let _ =
                    outgoing.send(Outgoing { message: Message::Eth(answer.message), served }).await;
            });
        }
    }
}

fn locked(pace: &Mutex<ServingPace>) -> MutexGuard<'_, ServingPace> {
    // every change is whole, so a panic elsewhere leaves nothing half done
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}
