//! Questions that want an answer. For edges and tests: an actor tells, and is told.

use std::borrow::Cow;

use moorline_messages::{TraceKey, Traced, Weigh};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::Port;

/// A question, and where its answer goes.
#[derive(Debug)]
pub struct Ask<Q, A> {
    question: Q,
    reply: oneshot::Sender<A>,
}

impl<Q, A> Ask<Q, A> {
    /// Takes the question and the way back apart.
    pub fn open(self) -> (Q, Replier<A>) {
        (self.question, Replier { reply: self.reply })
    }
}

impl<Q: Weigh, A> Weigh for Ask<Q, A> {
    fn weight_bytes(&self) -> usize {
        self.question.weight_bytes()
    }
}

impl<Q: Traced, A> Traced for Ask<Q, A> {
    fn label(&self) -> &'static str {
        self.question.label()
    }

    fn key(&self) -> TraceKey {
        self.question.key()
    }

    fn note(&self) -> Option<Cow<'static, str>> {
        self.question.note()
    }

    fn is_trouble(&self) -> bool {
        self.question.is_trouble()
    }
}

/// The way back. Dropping it tells whoever asked that there will be no answer.
#[derive(Debug)]
pub struct Replier<A> {
    reply: oneshot::Sender<A>,
}

impl<A> Replier<A> {
    /// Answers. Whoever asked may have left; then the answer is dropped.
    pub fn answer(self, answer: A) {
        drop(self.reply.send(answer));
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Why a question has no answer. Neither is the asker's fault: the actor stopped or panicked.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AskError {
    /// The actor is gone for good.
    #[error("the actor has stopped")]
    Closed,
    /// The question was lost when the actor panicked. It may be asked again.
    #[error("the actor dropped the question")]
    Dropped,
}

impl<Q, A> Port<Ask<Q, A>>
where
    Q: Traced + Send + 'static,
    A: Send + 'static,
{
    /// Asks, and waits: for room in the port, and for the answer.
    pub async fn ask(&self, question: Q) -> Result<A, AskError> {
        let (reply, answer) = oneshot::channel();
        self.send(Ask { question, reply }).await.map_err(|_| AskError::Closed)?;
        answer.await.map_err(|_| AskError::Dropped)
    }
}
