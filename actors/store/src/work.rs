//! What the actor was asked for, and how a blocking thread does it.

use std::{collections::BTreeMap, sync::Arc};

use moorline_kit::{Ask, Envelope, Panicked, off_thread};
use moorline_messages::{
    StoreAnswer, StoreBatch, StoreError, StoreOutcome, StoreQuery, StoreRequest, Weigh,
};
use tokio::sync::Mutex;

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
    fn input(&self, ticket: Ticket) -> Input {
        match self {
            Self::Request(request) => match request.peek() {
                StoreRequest::Persist { batch, .. } => Input::Write {
                    ticket,
                    weight_bytes: batch.weight_bytes(),
                    blocks: most_of_one_kind(batch),
                },
                StoreRequest::Load { .. }
                | StoreRequest::Find { .. }
                | StoreRequest::Walk { .. } => Input::Read { ticket },
            },
            Self::Query(_) => Input::Query { ticket },
        }
    }
}

fn most_of_one_kind(batch: &StoreBatch) -> usize {
    let StoreBatch { headers, bodies, receipts, canonical, .. } = batch;
    headers.len().max(bodies.len()).max(receipts.len()).max(canonical.len())
}

/// What was accepted and is not answered, each still in its place in its port. It outlives a restart.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    open: BTreeMap<Ticket, Work>,
    next: Ticket,
}

impl Accepted {
    pub(crate) fn add(&mut self, work: Work) -> Input {
        let ticket = self.next;
        self.next = ticket.wrapping_add(1);
        let input = work.input(ticket);
        self.open.insert(ticket, work);
        input
    }

    /// What a new core is to be told: everything, in the order in which it came.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        self.open.iter().map(|(ticket, work)| work.input(*ticket)).collect()
    }

    /// The requests behind tickets; they stay open.
    pub(crate) fn requests(
        &self,
        tickets: &[Ticket],
    ) -> Vec<(Ticket, Arc<Envelope<StoreRequest>>)> {
        let request = |ticket: &Ticket| match self.open.get(ticket) {
            Some(Work::Request(request)) => Some((*ticket, Arc::clone(request))),
            Some(Work::Query(_)) | None => None,
        };
        tickets.iter().filter_map(request).collect()
    }

    /// Something to read. A request stays open; a query goes along with whoever answers it.
    pub(crate) fn take_for_reading(&mut self, ticket: Ticket) -> Option<Work> {
        if let Some(Work::Request(request)) = self.open.get(&ticket) {
            return Some(Work::Request(Arc::clone(request)));
        }
        self.open.remove(&ticket)
    }

    /// A request that is answered now.
    pub(crate) fn close(&mut self, ticket: Ticket) -> Option<Arc<Envelope<StoreRequest>>> {
        match self.open.remove(&ticket) {
            Some(Work::Request(request)) => Some(request),
            Some(Work::Query(_)) | None => None,
        }
    }
}

/// Commits the batches of some requests, and says what came of each.
///
/// The turn is held until the backend is done, even if the actor restarts and forgets this job: were
/// it to end after a later commit, it would set the tip back.
pub(crate) async fn commit(
    backend: Arc<dyn Backend>,
    turn: Arc<Mutex<()>>,
    requests: Vec<(Ticket, Arc<Envelope<StoreRequest>>)>,
) -> Vec<(Ticket, StoreOutcome)> {
    let ids: Vec<_> = requests.iter().map(|(ticket, r)| (*ticket, r.peek().id())).collect();
    let turn = turn.lock_owned().await;
    let job = off_thread(move || {
        let _turn = turn;
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

/// Reads. The outcome is for an actor; an edge has its answer then, or has stopped waiting.
pub(crate) async fn read(backend: Arc<dyn Backend>, work: Work) -> Option<StoreOutcome> {
    match work {
        Work::Request(asked) => {
            let request = asked.peek().id();
            let result = off_thread(move || read_now(&*backend, asked.peek())).await;
            let result = result.unwrap_or_else(|error| Err(broken_off(error)));
            Some(result.unwrap_or_else(|error| StoreOutcome::Failed { request, error }))
        }
        Work::Query(query) => {
            let job = off_thread(move || {
                // its handling ends with the answer, off the actor's thread
                let (ask, _handling) = query.part();
                let (query, replier) = ask.open();
                if !replier.is_abandoned() {
                    replier.answer(backend.answer(&query));
                }
            });
            if let Err(error) = job.await {
                tracing::error!(error = %broken_off(error), "a query was dropped");
            }
            None
        }
    }
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

/// The database panicked, which sled does over damaged data.
fn broken_off(Panicked(panic): Panicked) -> StoreError {
    let why = crate::disk::first_line(&*panic);
    StoreError::Damaged(format!("the database broke off: {why}"))
}
