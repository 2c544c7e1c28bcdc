//! The actix shell: translate, step the core, dispatch effects.

mod handlers;

use std::{collections::VecDeque, time::Duration};

use actix::{Actor, ActorContext, Context, Supervised};
use moorline_kit::{Alarm, Envelope, Outlet, Replier};
use moorline_messages::{
    ActorName, DownloadOutcome, RequestId, StoreRequest, TreeEvent, TreeReport, TreeRequest,
    TreeVerdict,
};

use crate::{
    Ports, TreeConfig,
    core::{Core, Effect, Input},
};

/// How long a tree that was told to stop waits for the store to confirm what it owes.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What is missing? See the crate's documentation.
#[derive(Debug)]
pub struct TreeActor {
    config: TreeConfig,
    incarnation: u32,
    core: Core,
    download: Outlet<TreeEvent>,
    store: Outlet<StoreRequest>,
    status: Option<Outlet<TreeReport>>,
    alarm: Alarm,
    /// Deliveries that wait for the store to catch up. Each keeps its place in its port, so that a
    /// slow disk slows the downloader.
    deliveries: VecDeque<Envelope<DownloadOutcome>>,
    stopping: Option<Replier<()>>,
}

impl TreeActor {
    /// A tree that has asked nothing yet.
    pub fn new(config: TreeConfig, ports: Ports) -> Self {
        Self {
            core: Core::new(config.clone(), RequestId::first_of(0)),
            config,
            incarnation: 0,
            download: Outlet::new(ports.download),
            store: Outlet::new(ports.store),
            status: ports.status.map(Outlet::new),
            alarm: Alarm::default(),
            deliveries: VecDeque::new(),
            stopping: None,
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let mut effects = Vec::new();
        self.core.handle(moorline_kit::now(), input, &mut effects);
        self.dispatch(effects);
        self.settle(ctx);
    }

    /// Answers the consensus client before anything that follows from what it asked.
    fn answer(
        &mut self,
        request: TreeRequest,
        replier: Replier<TreeVerdict>,
        ctx: &mut Context<Self>,
    ) {
        let mut effects = Vec::new();
        replier.answer(self.core.answer(moorline_kit::now(), request, &mut effects));
        self.dispatch(effects);
        self.settle(ctx);
    }

    fn dispatch(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit(event) => self.download.tell(event),
                Effect::Store(request) => self.store.tell(request),
                Effect::Report(report) => {
                    if let Some(status) = &mut self.status {
                        status.tell(report);
                    }
                }
                Effect::Note(text) => tracing::info!(actor = %ActorName::Tree, "{text}"),
                Effect::Warn(text) => tracing::warn!(actor = %ActorName::Tree, "{text}"),
            }
        }
    }

    /// Takes in what was delivered, as far as there is room.
    fn take_deliveries(&mut self, ctx: &mut Context<Self>) {
        while self.core.has_room()
            && let Some(delivery) = self.deliveries.pop_front()
        {
            delivery.handle(|outcome| self.step(Input::Downloaded(outcome), ctx));
        }
    }

    /// Flushes, sets the alarm, and leaves if that was asked and nothing is owed.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        self.download.flush();
        self.store.flush();
        if let Some(status) = &mut self.status {
            status.flush();
        }
        let status_retry = self.status.as_ref().and_then(Outlet::retry_in);
        let retry = [self.download.retry_in(), self.store.retry_in(), status_retry]
            .into_iter()
            .flatten()
            .min()
            .and_then(moorline_kit::retry_at);
        let wakeup = self.core.next_wakeup();
        let at = [retry, wakeup].into_iter().flatten().min();
        self.alarm.set(ctx, at, Self::ring);
        if self.core.is_settled() && self.store.retry_in().is_none() {
            self.leave(ctx);
        }
    }

    /// Answers whoever asked for the end, and ends.
    fn leave(&mut self, ctx: &mut Context<Self>) {
        if let Some(replier) = self.stopping.take() {
            replier.answer(());
            ctx.stop();
        }
    }

    fn ring(&mut self, ctx: &mut Context<Self>) {
        self.alarm.clear();
        self.step(Input::Wakeup, ctx);
    }
}

impl Actor for TreeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.step(Input::Started, ctx);
    }
}

impl Supervised for TreeActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.incarnation = self.incarnation.saturating_add(1);
        self.core = Core::new(self.config.clone(), RequestId::first_of(self.incarnation));
        self.alarm.clear();
        // they answer requests of the one that panicked
        self.deliveries.clear();
    }
}
