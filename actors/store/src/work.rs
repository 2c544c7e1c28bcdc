//! What the actor was asked for, and how a blocking thread does it.

use std::sync::Arc;

use moorline_kit::{Ask, Envelope};
use moorline_messages::{
    StoreAnswer, StoreBatch, StoreError, StoreOutcome, StoreQuery, StoreRequest, Weigh,
};
use tokio::task::{JoinError, spawn_blocking};

use crate::{
    backend::Backend,
    core::{Input, Ticket},
};

/// A question by an edge, and the way back.
pub(crate) type Query = Ask<StoreQuery, Result<StoreAnswer, StoreError>>;

/// Something accepted. It keeps its place in its port until it is dropped.
#[derive(Debug)]
pub(crate) enum Work {
    /// A request by an actor; answered once, by an outcome.
    Request(Arc<Envelope<StoreRequest>>),
    /// A question by an edge.
    Query(Envelope<Query>),
}

impl Work {
    /// What the core is to be told of it.
    pub(crate) fn input(&self, ticket: Ticket) -> Input {
        match self {
            Self::Request(request) => match request.peek() {
                StoreRequest::Persist { batch, .. } => {
                    Input::Write { ticket, weight_bytes: batch.weight_bytes() }
                }
                StoreRequest::Load { .. }
                | StoreRequest::Find { .. }
                | StoreRequest::Walk { .. } => Input::Read { ticket },
            },
            Self::Query(_) => Input::Query { ticket },
        }
    }
}

/// Commits the batches of some requests, and says what came of each.
pub(crate) async fn commit(
    backend: Arc<dyn Backend>,
    requests: Vec<(Ticket, Arc<Envelope<StoreRequest>>)>,
) -> Vec<(Ticket, StoreOutcome)> {
    let ids: Vec<_> = requests.iter().map(|(ticket, r)| (*ticket, r.peek().id())).collect();
    let job = spawn_blocking(move || {
        let batches: Vec<&StoreBatch> =
            requests.iter().filter_map(|(_, request)| batch_of(request.peek())).collect();
        backend.commit(&batches)
    });
    let verdicts = match job.await {
        Ok(verdicts) => verdicts,
        Err(error) => vec![Err(broken_off(error)); ids.len()],
    };
    ids.into_iter()
        .zip(verdicts)
        .map(|((ticket, request), verdict)| match verdict {
            Ok(()) => (ticket, StoreOutcome::Persisted { request }),
            Err(error) => (ticket, StoreOutcome::Failed { request, error }),
        })
        .collect()
}

const fn batch_of(request: &StoreRequest) -> Option<&StoreBatch> {
    match request {
        StoreRequest::Persist { batch, .. } => Some(batch),
        StoreRequest::Load { .. } | StoreRequest::Find { .. } | StoreRequest::Walk { .. } => None,
    }
}

/// Reads for an actor.
pub(crate) async fn read(
    backend: Arc<dyn Backend>,
    asked: Arc<Envelope<StoreRequest>>,
) -> StoreOutcome {
    let request = asked.peek().id();
    let result = spawn_blocking(move || read_now(&*backend, asked.peek())).await;
    result
        .unwrap_or_else(|error| Err(broken_off(error)))
        .unwrap_or_else(|error| StoreOutcome::Failed { request, error })
}

fn read_now(backend: &dyn Backend, asked: &StoreRequest) -> Result<StoreOutcome, StoreError> {
    let request = asked.id();
    match asked {
        StoreRequest::Load { .. } => {
            backend.load().map(|state| StoreOutcome::Loaded { request, state })
        }
        StoreRequest::Find { hashes, .. } => {
            backend.find(hashes).map(|blocks| StoreOutcome::Found { request, blocks })
        }
        StoreRequest::Walk { top, limit, .. } => {
            backend.walk(*top, *limit).map(|blocks| StoreOutcome::Walked { request, blocks })
        }
        StoreRequest::Persist { batch, .. } => backend
            .commit(&[batch])
            .pop()
            .unwrap_or(Ok(()))
            .map(|()| StoreOutcome::Persisted { request }),
    }
}

/// Answers an edge, unless it stopped waiting. A restart of the actor does not lose the answer.
pub(crate) async fn answer(backend: Arc<dyn Backend>, query: Envelope<Query>) {
    let job = spawn_blocking(move || {
        let (query, replier) = query.open().open();
        if !replier.is_abandoned() {
            replier.answer(backend.answer(&query));
        }
    });
    if let Err(error) = job.await {
        tracing::error!(error = %broken_off(error), "a query was dropped");
    }
}

/// The database panicked, which sled does over damaged data.
fn broken_off(error: JoinError) -> StoreError {
    let why = match error.try_into_panic() {
        Ok(panic) => crate::disk::first_line(&*panic),
        Err(error) => error.to_string(),
    };
    StoreError::Damaged(format!("the database broke off: {why}"))
}
