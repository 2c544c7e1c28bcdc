//! Messages on their way into the core.

use actix::{ActorContext, Context, Handler};
use moorline_kit::{Ask, Cause, Crash, Envelope, Stop};
use moorline_messages::{
    ActorName, DiscoveryEvent, FetchCommand, FetchRequest, Lifecycle, PeerCommand, PeerReport,
    SessionEvent,
};

use super::PeerManagerActor;
use crate::core::Input;

impl Handler<Envelope<FetchRequest>> for PeerManagerActor {
    type Result = ();

    fn handle(&mut self, request: Envelope<FetchRequest>, ctx: &mut Context<Self>) {
        request.handle(|request| {
            let id = request.id;
            self.asked.insert(id, Cause::here());
            self.step(Input::Fetch(request), ctx);
            if !self.core.holds(id) {
                self.asked.remove(&id);
            }
        });
    }
}

impl Handler<Envelope<FetchCommand>> for PeerManagerActor {
    type Result = ();

    fn handle(&mut self, command: Envelope<FetchCommand>, ctx: &mut Context<Self>) {
        command.handle(|command| {
            let FetchCommand::Cancel { ids } = &command;
            for id in ids {
                self.asked.remove(id);
            }
            self.step(Input::Command(command), ctx);
        });
    }
}

impl Handler<Envelope<PeerReport>> for PeerManagerActor {
    type Result = ();

    fn handle(&mut self, report: Envelope<PeerReport>, ctx: &mut Context<Self>) {
        report.handle(|report| self.step(Input::Report(report), ctx));
    }
}

impl Handler<Envelope<SessionEvent>> for PeerManagerActor {
    type Result = ();

    fn handle(&mut self, event: Envelope<SessionEvent>, ctx: &mut Context<Self>) {
        event.handle(|event| self.step(Input::Session(event), ctx));
    }
}

impl Handler<Envelope<DiscoveryEvent>> for PeerManagerActor {
    type Result = ();

    fn handle(&mut self, event: Envelope<DiscoveryEvent>, ctx: &mut Context<Self>) {
        event.handle(|event| self.step(Input::Discovery(event), ctx));
    }
}

impl Handler<Envelope<PeerCommand>> for PeerManagerActor {
    type Result = ();

    fn handle(&mut self, command: Envelope<PeerCommand>, ctx: &mut Context<Self>) {
        command.handle(|command| {
            // a panic must not undo what the operator ordered
            self.config.apply(command);
            self.step(Input::Operator(command), ctx);
        });
    }
}

impl Handler<Envelope<Lifecycle>> for PeerManagerActor {
    type Result = ();

    fn handle(&mut self, event: Envelope<Lifecycle>, ctx: &mut Context<Self>) {
        event.handle(|event| {
            if matches!(event, Lifecycle::Restarted { actor: ActorName::Downloader, .. }) {
                // its requests are forgotten without an outcome
                self.asked.clear();
            }
            self.step(Input::Lifecycle(event), ctx);
        });
    }
}

impl Handler<Envelope<Ask<Stop, ()>>> for PeerManagerActor {
    type Result = ();

    fn handle(&mut self, stop: Envelope<Ask<Stop, ()>>, ctx: &mut Context<Self>) {
        stop.handle(|ask| {
            let (Stop, replier) = ask.open();
            self.step(Input::Stop, ctx);
            replier.answer(());
            ctx.stop();
        });
    }
}

impl Handler<Envelope<Crash>> for PeerManagerActor {
    type Result = ();

    fn handle(&mut self, crash: Envelope<Crash>, _: &mut Context<Self>) {
        crash.handle(|crash| crash.strike(ActorName::PeerManager))
    }
}
