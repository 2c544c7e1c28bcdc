//! The shell: takes requests in, has the backend serve them from blocking threads, tells the outcomes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture,
};
use moorline_kit::{Alarm, Ask, Crash, Envelope, Replier, Stop};
use moorline_messages::{ActorName, Lifecycle, StoreError, StoreOutcome, StoreRequest};
use tokio::sync::Mutex;

use crate::{
    config::StoreConfig,
    core::{Core, Effect, Input, Ticket},
    ports::{Outlets, Ports},
    work::{self, Accepted, Query, Work},
};

/// How long the same failure is not logged again.
const COMPLAIN_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The actor.
#[derive(Debug)]
pub struct StoreActor {
    config: StoreConfig,
    core: Core,
    outlets: Outlets,
    accepted: Accepted,
    /// Held by the commit in flight, across restarts.
    turn: Arc<Mutex<()>>,
    stops: Vec<Replier<()>>,
    /// The last failure that was logged.
    complaint: Option<(StoreError, Instant)>,
    alarm: Alarm,
}

impl StoreActor {
    /// An actor over a backend that is open already.
    pub fn new(config: StoreConfig, ports: Ports) -> Self {
        Self {
            core: config.core(),
            config,
            outlets: Outlets::new(ports),
            accepted: Accepted::default(),
            turn: Arc::default(),
            stops: Vec::new(),
            complaint: None,
            alarm: Alarm::default(),
        }
    }

    /// Takes work on, unless the actor is stopping.
    fn accept(&mut self, work: Work, ctx: &mut Context<Self>) {
        if self.stops.is_empty() {
            let input = self.accepted.add(work);
            self.step(input, ctx);
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let mut effects = Vec::new();
        self.core.handle(moorline_kit::now(), input, &mut effects);
        self.set_alarm(ctx);
        for effect in effects {
            match effect {
                Effect::Commit(tickets) => self.commit(tickets, ctx),
                Effect::Read(ticket) => self.read(ticket, ctx),
                Effect::Stopped => {
                    self.outlets.flush();
                    self.stops.drain(..).for_each(|replier| replier.answer(()));
                    ctx.stop();
                }
            }
        }
    }

    fn commit(&mut self, tickets: Vec<Ticket>, ctx: &mut Context<Self>) {
        let requests = self.accepted.requests(&tickets);
        let job = work::commit(Arc::clone(&self.config.backend), Arc::clone(&self.turn), requests);
        ctx.spawn(job.into_actor(self).map(|outcomes, actor, ctx| {
            for (ticket, outcome) in outcomes {
                actor.tell(ticket, outcome, ctx);
            }
            actor.step(Input::Committed, ctx);
        }));
    }

    fn read(&mut self, ticket: Ticket, ctx: &mut Context<Self>) {
        let Some(work) = self.accepted.take_for_reading(ticket) else { return };
        let job = work::read(Arc::clone(&self.config.backend), work);
        ctx.spawn(job.into_actor(self).map(move |outcome, actor, ctx| {
            if let Some(outcome) = outcome {
                actor.tell(ticket, outcome, ctx);
            }
            actor.step(Input::HasRead { ticket }, ctx);
        }));
    }

    fn tell(&mut self, ticket: Ticket, outcome: StoreOutcome, ctx: &mut Context<Self>) {
        let Some(request) = self.accepted.close(ticket) else { return };
        if let StoreOutcome::Failed { error, .. } = &outcome {
            self.complain(error);
        }
        request.handling().enter(|| self.outlets.tell(request.peek().from(), outcome));
        self.set_alarm(ctx);
    }

    /// Loudly, but not as often as the request is tried again.
    fn complain(&mut self, error: &StoreError) {
        let now = moorline_kit::now();
        let said = |(text, at): &(StoreError, Instant)| {
            text == error && now.saturating_duration_since(*at) < COMPLAIN_AGAIN_AFTER
        };
        if !self.complaint.as_ref().is_some_and(said) {
            tracing::error!(%error, "the store cannot do what it is asked");
            self.complaint = Some((error.clone(), now));
        }
    }

    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let retry = self.outlets.retry_in().and_then(moorline_kit::retry_at);
        self.alarm.set(
            ctx,
            retry.into_iter().chain(self.core.next_wakeup()).min(),
            |actor, ctx| {
                actor.alarm.clear();
                actor.outlets.flush();
                actor.step(Input::Wake, ctx);
            },
        );
    }
}

impl Actor for StoreActor {
    type Context = Context<Self>;

    /// Takes up again what the incarnation before accepted and did not answer. Batches may have been
    /// written since; repeating them changes nothing.
    fn started(&mut self, ctx: &mut Context<Self>) {
        for input in self.accepted.inputs() {
            self.step(input, ctx);
        }
        if !self.stops.is_empty() {
            self.step(Input::Stop, ctx);
        }
        self.set_alarm(ctx);
    }
}

impl Supervised for StoreActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.core = self.config.core();
        self.alarm.clear();
    }
}

impl Handler<Envelope<StoreRequest>> for StoreActor {
    type Result = ();

    fn handle(&mut self, request: Envelope<StoreRequest>, ctx: &mut Context<Self>) {
        let request = Arc::new(request);
        request.handling().enter(|| self.accept(Work::Request(Arc::clone(&request)), ctx));
    }
}

impl Handler<Envelope<Query>> for StoreActor {
    type Result = ();

    fn handle(&mut self, query: Envelope<Query>, ctx: &mut Context<Self>) {
        self.accept(Work::Query(query), ctx);
    }
}

impl Handler<Envelope<Lifecycle>> for StoreActor {
    type Result = ();

    /// The store asks nobody for anything; whoever restarted asks again.
    fn handle(&mut self, _: Envelope<Lifecycle>, _: &mut Context<Self>) {}
}

impl Handler<Envelope<Ask<Stop, ()>>> for StoreActor {
    type Result = ();

    fn handle(&mut self, stop: Envelope<Ask<Stop, ()>>, ctx: &mut Context<Self>) {
        stop.handle(|ask| {
            let (Stop, replier) = ask.open();
            self.stops.push(replier);
            self.step(Input::Stop, ctx);
        });
    }
}

impl Handler<Envelope<Crash>> for StoreActor {
    type Result = ();

    fn handle(&mut self, crash: Envelope<Crash>, _: &mut Context<Self>) {
        crash.handle(|crash| crash.strike(ActorName::Store))
    }
}
