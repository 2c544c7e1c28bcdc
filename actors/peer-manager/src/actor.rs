//! The shell: steps the core, dispatches what it wants done.

mod handlers;

use std::collections::BTreeMap;

use actix::{Actor, Context, Supervised};
use moorline_kit::{Alarm, Cause, Outlet};
use moorline_messages::{FetchOutcome, PeerBookReport, PeersReport, RequestId, SessionCommand};

use crate::{
    PeerManagerConfig, Ports,
    core::{Effect, Input, PeerManagerCore},
};

/// Decides who serves which request.
#[derive(Debug)]
pub struct PeerManagerActor {
    config: PeerManagerConfig,
    incarnation: u32,
    core: PeerManagerCore,
    alarm: Alarm,
    effects: Vec<Effect>,
    /// What open requests were asked for, for the trace. As many as the core holds.
    asked: BTreeMap<RequestId, Cause>,
    fetched: Outlet<FetchOutcome>,
    sessions: Outlet<SessionCommand>,
    peers: Outlet<PeersReport>,
    book: Outlet<PeerBookReport>,
}

impl PeerManagerActor {
    /// An actor that knows nobody yet but those its configuration names.
    pub fn new(config: PeerManagerConfig, ports: Ports) -> Self {
        Self {
            core: PeerManagerCore::new(config.clone(), 0),
            config,
            incarnation: 0,
            alarm: Alarm::default(),
            effects: Vec::new(),
            asked: BTreeMap::new(),
            fetched: Outlet::new(ports.fetched),
            sessions: Outlet::new(ports.sessions),
            peers: Outlet::new(ports.peers),
            book: Outlet::new(ports.book),
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = moorline_kit::now();
        self.core.handle(now, input, &mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Outcome(outcome) => {
                    let asked = self.asked.remove(&outcome.id);
                    // a clock or a lost session is not what a failure is about
                    let cause = asked.filter(|_| outcome.result.is_err());
                    cause.unwrap_or_else(Cause::here).scope(|| self.fetched.tell(outcome));
                }
                Effect::Command(command) => {
                    // whoever made room for a request is not why it is sent
                    let cause = match &command {
                        SessionCommand::Fetch { request, .. } => self.asked.get(request).copied(),
                        _ => None,
                    };
                    cause.unwrap_or_else(Cause::here).scope(|| self.sessions.tell(command));
                }
                Effect::Peers(report) => self.peers.tell(report),
                Effect::Book(book) => self.book.tell(book),
                Effect::Note(note) => note.log(),
            }
        }
        let retry = [
            self.fetched.retry_in(),
            self.sessions.retry_in(),
            self.peers.retry_in(),
            self.book.retry_in(),
        ];
        let retry = retry.into_iter().flatten().min().and_then(moorline_kit::retry_at);
        let wakeup = self.core.next_wakeup();
        self.alarm.set(ctx, [retry, wakeup].into_iter().flatten().min(), Self::ring);
    }

    fn ring(&mut self, ctx: &mut Context<Self>) {
        self.alarm.clear();
        self.fetched.flush();
        self.sessions.flush();
        self.peers.flush();
        self.book.flush();
        self.step(Input::Wakeup, ctx);
    }
}

impl Actor for PeerManagerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.step(Input::Started, ctx);
    }
}

impl Supervised for PeerManagerActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.incarnation = self.incarnation.saturating_add(1);
        // whoever lied does not come back by making us panic
        let (book, handover) = self.core.hand_over(moorline_kit::now());
        self.config.book = book;
        self.core = PeerManagerCore::new(self.config.clone(), self.incarnation).going_on(handover);
        self.effects.clear();
        self.asked.clear();
        self.alarm.clear();
    }
}
