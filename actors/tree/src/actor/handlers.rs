//! What may be told to the tree.

use actix::{AsyncContext, Context, Handler};
use moorline_kit::{Ask, Crash, Envelope, Stop};
use moorline_messages::{
    ActorName, DownloadOutcome, Lifecycle, StoreOutcome, TreeRequest, TreeVerdict,
};

use super::{STOP_PATIENCE, TreeActor};
use crate::core::Input;

impl Handler<Envelope<Ask<TreeRequest, TreeVerdict>>> for TreeActor {
    type Result = ();

    fn handle(
        &mut self,
        envelope: Envelope<Ask<TreeRequest, TreeVerdict>>,
        ctx: &mut Context<Self>,
    ) {
        envelope.handle(|ask| {
            let (request, replier) = ask.open();
            self.answer(request, replier, ctx);
        });
    }
}

impl Handler<Envelope<DownloadOutcome>> for TreeActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<DownloadOutcome>, ctx: &mut Context<Self>) {
        // taking more in would put off the end, and none of it is lost: it is in the store
        if self.stopping.is_none() {
            self.deliveries.push_back(envelope);
            self.take_deliveries(ctx);
        }
    }
}

impl Handler<Envelope<StoreOutcome>> for TreeActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<StoreOutcome>, ctx: &mut Context<Self>) {
        envelope.handle(|outcome| self.step(Input::Stored(outcome), ctx));
        self.take_deliveries(ctx);
    }
}

impl Handler<Envelope<Lifecycle>> for TreeActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Lifecycle>, ctx: &mut Context<Self>) {
        envelope.handle(|Lifecycle::Restarted { actor, .. }| {
            self.step(Input::Restarted(actor), ctx);
        });
    }
}

impl Handler<Envelope<Ask<Stop, ()>>> for TreeActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Ask<Stop, ()>>, ctx: &mut Context<Self>) {
        envelope.handle(|ask| {
            let (Stop, replier) = ask.open();
            self.stopping = Some(replier);
            self.deliveries.clear();
            ctx.run_later(STOP_PATIENCE, |tree, ctx| tree.leave(ctx));
            self.settle(ctx);
        });
    }
}

impl Handler<Envelope<Crash>> for TreeActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Crash>, _: &mut Context<Self>) {
        envelope.handle(|crash| crash.strike(ActorName::Tree))
    }
}
