//! Node lists in DNS (EIP-1459).

mod entry;
mod resolver;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub(crate) use entry::TreeLink;
#[cfg(feature = "fuzzing")]
pub(crate) use entry::{Entry, Label, Root};
pub use resolver::{ResolveError, SystemResolver, TxtResolver};
#[cfg(feature = "fuzzing")]
pub(crate) use walk::Question;
pub(crate) use walk::{Found, Walk};

use crate::{Via, counters::SharedCounters, gate::Gate};

/// How long one question may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// With nothing to ask, or nobody who takes nodes, how long until the next look.
const IDLE: Duration = Duration::from_secs(1);

/// Walks the lists for as long as the node runs, at no more than so many requests a second.
pub(crate) async fn run(
    mut walk: Walk,
    resolver: Arc<dyn TxtResolver>,
    gate: Arc<Mutex<Gate>>,
    counters: SharedCounters,
    requests_per_second: u32,
    stop: CancellationToken,
) {
    let pause = Duration::from_secs(1).checked_div(requests_per_second.max(1)).unwrap_or(IDLE);
    loop {
        let has_room = gate.lock().unwrap_or_else(PoisonError::into_inner).has_room();
        let question = if has_room { walk.next_question(Instant::now().into_std()) } else { None };
        let wait = match question {
            Some(question) => {
                let asked = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    asked = tokio::time::timeout(ANSWER_WAIT, resolver.txt(&question.name)) => asked,
                };
                let texts = asked.unwrap_or(Err(ResolveError::Timeout));
                take(&mut walk, question, texts, &gate, &counters);
                pause
            }
            None => IDLE,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn take(
    walk: &mut Walk,
    question: walk::Question,
    texts: Result<Vec<String>, ResolveError>,
    gate: &Mutex<Gate>,
    counters: &SharedCounters,
) {
    let now = Instant::now().into_std();
    let name = question.name.clone();
    let failure = match texts {
        Err(error) => {
            walk.unanswered(question, now);
            Some(error.to_string())
        }
        Ok(texts) => match walk.answered(question, &texts, now) {
            Ok(Found::Record(record)) => {
                let mut gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
                gate.offer(&record, None, Via::Dns, now);
                None
            }
            Ok(Found::Nothing) => None,
            Err(error) => Some(error.to_string()),
        },
    };
    let mut counters = counters.lock();
    counters.dns_requests = counters.dns_requests.saturating_add(1);
    if let Some(error) = failure {
        counters.dns_failures = counters.dns_failures.saturating_add(1);
        debug!(name, error, "a text of a DNS list could not be had");
    }
}
