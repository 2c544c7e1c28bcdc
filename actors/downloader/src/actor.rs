//! The shell: translates messages, steps the core, dispatches what it wants done.

use std::sync::Arc;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Supervised,
    fut::wrap_future,
};
use moorline_kit::{Alarm, Ask, Crash, Envelope, Handling, Outlet, Stop, off_thread};
use moorline_messages::{
    ActorName, DownloadFailure, DownloadOutcome, FetchCommand, FetchError, FetchOutcome,
    FetchRequest, FetchedItems, Lifecycle, PeerId, PeerReport, RequestId, StoreOutcome,
    StoreRequest, TreeEvent,
};
use moorline_rules::{ChainSpec, body::key_of, receipts::receipts_key};

use crate::{
    core::{Budget, DownloaderCore, Effect, Input},
    ports::Ports,
};

/// What a downloader is built from, and rebuilt from after a panic.
#[derive(Clone, Debug)]
pub struct DownloaderConfig {
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// Bounds.
    pub budget: Budget,
}

/// Fetch it, prove it.
pub struct DownloaderActor {
    config: DownloaderConfig,
    incarnation: u32,
    core: DownloaderCore,
    alarm: Alarm,
    ports: Ports,
    outcomes: Outlet<DownloadOutcome>,
    fetches: Outlet<FetchRequest>,
    commands: Outlet<FetchCommand>,
    reports: Outlet<PeerReport>,
    store: Outlet<StoreRequest>,
    failed_last: Option<DownloadFailure>,
    effects: Vec<Effect>,
}

impl DownloaderActor {
    /// A downloader that knows nothing yet.
    pub fn new(config: DownloaderConfig, ports: Ports) -> Self {
        Self {
            core: core_of(&config, 0),
            config,
            incarnation: 0,
            alarm: Alarm::default(),
            outcomes: Outlet::new(ports.outcomes.clone()),
            fetches: Outlet::new(ports.fetches.clone()),
            commands: Outlet::new(ports.commands.clone()),
            reports: Outlet::new(ports.reports.clone()),
            store: Outlet::new(ports.store.clone()),
            ports,
            failed_last: None,
            effects: Vec::new(),
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = moorline_kit::now();
        let mut effects = std::mem::take(&mut self.effects);
        self.core.handle(now, input, &mut effects);
        for effect in effects.drain(..) {
            self.dispatch(effect);
        }
        if self.outcomes.retry_in().is_some() {
            self.core.handle(now, Input::TreeHasRoom(false), &mut effects);
            effects.drain(..).for_each(|effect| self.dispatch(effect));
        }
        self.effects = effects;
        let retry = [
            self.outcomes.retry_in(),
            self.fetches.retry_in(),
            self.commands.retry_in(),
            self.reports.retry_in(),
            self.store.retry_in(),
        ];
        let retry = retry.into_iter().flatten().min().and_then(moorline_kit::retry_at);
        let core = self.core.next_wakeup(now);
        self.alarm.set(ctx, core.into_iter().chain(retry).min(), Self::ring);
    }

    fn ring(&mut self, ctx: &mut Context<Self>) {
        self.alarm.clear();
        self.outcomes.flush();
        self.fetches.flush();
        self.commands.flush();
        self.reports.flush();
        self.store.flush();
        if self.outcomes.retry_in().is_none() {
            self.step(Input::TreeHasRoom(true), ctx);
        }
        self.step(Input::Wakeup, ctx);
    }

    fn dispatch(&mut self, effect: Effect) {
        match effect {
            Effect::Tell(outcome) => {
                match &outcome {
                    DownloadOutcome::Failed { request, reason } => {
                        self.log_failure(*request, reason);
                    }
                    DownloadOutcome::Blocks { .. } => self.failed_last = None,
                    DownloadOutcome::NewDownloadStarted { .. } => {}
                }
                self.outcomes.tell(outcome);
            }
            Effect::Fetch(request) => self.fetches.tell(request),
            Effect::Command(command) => self.commands.tell(command),
            Effect::Report(report) => self.reports.tell(report),
            Effect::Store(request) => self.store.tell(request),
            // a watcher that is behind needs only the next one
            Effect::Progress(report) => drop(self.ports.progress.tell(report)),
            Effect::Stalled(Some((stall, waited))) => {
                tracing::warn!(seconds = waited.as_secs(), "nothing comes: {stall}");
            }
            Effect::Stalled(None) => tracing::info!("the download goes on"),
        }
    }

    /// What fails again for the same reason, as the tree tries again and again, is loud only once.
    fn log_failure(&mut self, request: RequestId, reason: &DownloadFailure) {
        if self.failed_last.as_ref() == Some(reason) {
            tracing::debug!(%request, %reason, "download failed again");
        } else {
            tracing::warn!(%request, %reason, "download failed");
            self.failed_last = Some(reason.clone());
        }
    }

    /// Computes the keys of what came where the work does not hold up the mailbox.
    fn prove<P: Send + Sync + 'static, K: Send + 'static>(
        (fetch, peer): (RequestId, PeerId),
        parts: Vec<Arc<P>>,
        key: impl Fn(&P) -> K + Send + 'static,
        input: impl FnOnce(Vec<(K, Arc<P>)>) -> Input + 'static,
        handling: Handling,
        ctx: &mut Context<Self>,
    ) {
        let keys = off_thread(move || parts.into_iter().map(|part| (key(&part), part)).collect());
        ctx.spawn(wrap_future::<_, Self>(keys).map(move |keys, actor, ctx| {
            let input = match keys {
                Ok(keyed) => input(keyed),
                Err(error) => {
                    tracing::warn!(%error, "the proof of an answer was abandoned");
                    let error = FetchError::Disconnected;
                    Input::FetchFailed { fetch, peer: Some(peer), error }
                }
            };
            handling.enter(|| actor.step(input, ctx));
        }));
    }
}

fn core_of(config: &DownloaderConfig, incarnation: u32) -> DownloaderCore {
    let first_id = RequestId::first_of(incarnation);
    DownloaderCore::new(Arc::clone(&config.spec), config.budget, first_id)
}

impl Actor for DownloaderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.step(Input::Started, ctx);
    }
}

impl Supervised for DownloaderActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.incarnation = self.incarnation.saturating_add(1);
        self.core = core_of(&self.config, self.incarnation);
        self.alarm.clear();
    }
}

impl Handler<Envelope<TreeEvent>> for DownloaderActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<TreeEvent>, ctx: &mut Context<Self>) {
        envelope.handle(|TreeEvent::Download(request)| self.step(Input::Request(request), ctx));
    }
}

impl Handler<Envelope<FetchOutcome>> for DownloaderActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<FetchOutcome>, ctx: &mut Context<Self>) {
        let (FetchOutcome { id: fetch, peer, result }, handling) = envelope.part();
        let input = match (result, peer) {
            (Ok(FetchedItems::Bodies(bodies)), Some(peer)) => {
                let input = move |bodies| Input::Bodies { fetch, peer, bodies };
                return Self::prove((fetch, peer), bodies, key_of, input, handling, ctx);
            }
            (Ok(FetchedItems::Receipts(blocks)), Some(peer)) => {
                let input = move |receipts| Input::Receipts { fetch, peer, receipts };
                return Self::prove((fetch, peer), blocks, receipts_key, input, handling, ctx);
            }
            (Ok(FetchedItems::Headers(headers)), Some(peer)) => {
                Input::Headers { fetch, peer, headers }
            }
            (Err(error), peer) => Input::FetchFailed { fetch, peer, error },
            (Ok(_), None) => return,
        };
        handling.enter(|| self.step(input, ctx));
    }
}

impl Handler<Envelope<StoreOutcome>> for DownloaderActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<StoreOutcome>, ctx: &mut Context<Self>) {
        envelope.handle(|outcome| {
            if let StoreOutcome::Failed { request, error } = &outcome {
                // the store says it loudly itself
                tracing::debug!(%request, %error, "the store could not do it, trying again");
            }
            self.step(Input::Stored(outcome), ctx);
        });
    }
}

impl Handler<Envelope<Lifecycle>> for DownloaderActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Lifecycle>, ctx: &mut Context<Self>) {
        envelope.handle(|Lifecycle::Restarted { actor, .. }| {
            self.step(Input::Restarted(actor), ctx);
        });
    }
}

impl Handler<Envelope<Ask<Stop, ()>>> for DownloaderActor {
    type Result = ();

    /// The store writes whatever it was told before it was told to stop.
    fn handle(&mut self, envelope: Envelope<Ask<Stop, ()>>, ctx: &mut Context<Self>) {
        envelope.handle(|ask| {
            let (Stop, replier) = ask.open();
            self.step(Input::Stopping, ctx);
            replier.answer(());
            ctx.stop();
        });
    }
}

impl Handler<Envelope<Crash>> for DownloaderActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Crash>, _: &mut Context<Self>) {
        envelope.handle(|crash| crash.strike(ActorName::Downloader))
    }
}
