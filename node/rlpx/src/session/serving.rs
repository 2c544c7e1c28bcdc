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
    pub(super) pace: ServingPace,
    pub(super) counters: NetworkCounters,
}

impl Serving {
    pub(super) async fn run(self, mut questions: mpsc::Receiver<(u64, Question)>) {
        let slots = Arc::new(Semaphore::new(MAX_SERVING));
        let pace = Arc::new(Mutex::new(self.pace));
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

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use std::time::Duration;

    use alloy_primitives::{B256, Bytes};
    use futures_util::future::BoxFuture;
    use moorline_messages::{Body, HashOrNumber, Receipts};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::pace::Bucket;

    const BODY_BYTES: usize = 100_000;

    /// Gives a body of so many bytes for each hash.
    struct Bodies;

    impl ChainSource for Bodies {
        fn headers(
            &self,
            _: HashOrNumber,
            _: u64,
            _: u64,
            _: bool,
            _: usize,
        ) -> BoxFuture<'_, Vec<Bytes>> {
            Box::pin(async { Vec::new() })
        }

        fn bodies(&self, hashes: Vec<B256>, _: usize) -> BoxFuture<'_, Vec<Body>> {
            let body = Body {
                transactions: vec![vec![2; BODY_BYTES].into()],
                ommers: Body::NO_OMMERS,
                withdrawals: None,
            };
            Box::pin(async move { vec![body; hashes.len()] })
        }

        fn receipts(&self, _: Vec<B256>, _: usize) -> BoxFuture<'_, Vec<Receipts>> {
            Box::pin(async { Vec::new() })
        }
    }

    struct Rig {
        questions: mpsc::Sender<(u64, Question)>,
        answers: mpsc::Receiver<Outgoing>,
        counters: NetworkCounters,
        _serving: JoinHandle<()>,
    }

    fn serving(requests: Bucket, bytes: Bucket) -> Rig {
        let (questions, question_queue) = mpsc::channel(999);
        let (outgoing, answers) = mpsc::channel(999);
        let counters = NetworkCounters::default();
        let serving = Serving {
            version: 70,
            chain: Arc::new(Bodies),
            outgoing,
            pace: ServingPace::of(requests, bytes),
            counters: counters.clone(),
        };
        let _serving = tokio::spawn(serving.run(question_queue));
        Rig { questions, answers, counters, _serving }
    }

    impl Rig {
        /// Asks so often for so many bodies, and takes all answers. Returns how long that took.
        async fn ask(&mut self, requests: u64, bodies: usize) -> Duration {
            let started = Instant::now();
            for request_id in 0..requests {
                let question = Question::Bodies(vec![B256::ZERO; bodies]);
                self.questions.send((request_id, question)).await.unwrap();
            }
            for _ in 0..requests {
                let answer = self.answers.recv().await.unwrap();
                assert_eq!(answer.served.unwrap().1, bodies);
            }
            started.elapsed()
        }
    }

    const AMPLE: u64 = 1 << 40;

    #[tokio::test(start_paused = true)]
    async fn who_asks_too_often_is_answered_later_and_in_full() {
        let now = Instant::now();
        let mut peer = serving(Bucket::new(10, 20, now), Bucket::new(AMPLE, AMPLE, now));
        assert_eq!(peer.ask(20, 0).await, Duration::ZERO);
        assert_eq!(peer.counters.requests_delayed(), 0);
        let took = peer.ask(30, 0).await;
        assert!(took.abs_diff(Duration::from_secs(3)) < Duration::from_millis(50), "{took:?}");
        assert_eq!(peer.counters.requests_delayed(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_much_read_is_answered_later_and_in_full() {
        let now = Instant::now();
        let bytes = u64::try_from(BODY_BYTES).unwrap();
        let mut peer =
            serving(Bucket::new(AMPLE, AMPLE, now), Bucket::new(10 * bytes, 20 * bytes, now));
        assert_eq!(peer.ask(2, 10).await, Duration::ZERO);
        // two are read at once, so one of them is ahead of the count
        let took = peer.ask(11, 10).await;
        assert!(took >= Duration::from_secs(8) && took <= Duration::from_secs(11), "{took:?}");
        assert!(peer.counters.requests_delayed() >= 4);
    }
}
