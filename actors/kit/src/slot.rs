//! Addresses first, actors second.

use actix::{
    Actor, Addr, Context, Handler, Supervised,
    dev::channel::{AddressReceiver, AddressSender, channel},
};
use actix_rt::ArbiterHandle;
use moorline_messages::{ActorName, Traced};

use crate::{
    Envelope, Limit, Port, Tracer,
    supervise::{RestartPolicy, Watchers, supervise},
};

/// actix wants a nominal capacity; the bound that holds is the port's.
const MAILBOX_CAPACITY: usize = 16;

/// The place of an actor that does not exist yet: its address can be handed round already.
pub struct Slot<A: Actor> {
    name: ActorName,
    addr: Addr<A>,
    receiver: AddressReceiver<A>,
    tracer: Tracer,
}

impl<A> Slot<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    /// An empty slot, whose actor will leave no trace.
    pub fn new(name: ActorName) -> Self {
        Self::traced(name, Tracer::OFF)
    }

    /// An empty slot, and where the traffic through its ports and the fate of its actor are recorded.
    pub fn traced(name: ActorName, tracer: Tracer) -> Self {
        let (sender, receiver): (AddressSender<A>, _) = channel(MAILBOX_CAPACITY);
        Self { name, addr: Addr::new(sender), receiver, tracer }
    }

    /// A port into the actor that will stand here.
    pub fn port<M>(&self, name: &'static str, limit: Limit) -> Port<M>
    where
        M: Traced + Send + 'static,
        A: Handler<Envelope<M>>,
    {
        let trace = (&self.tracer, self.name.into());
        Port::to_actor(name, self.addr.clone().recipient(), limit, trace)
    }

    /// Builds the actor on an arbiter and supervises it there until it stops or is given up.
    ///
    /// # Errors
    /// The arbiter has stopped.
    pub fn start(
        self,
        arbiter: &ArbiterHandle,
        policy: RestartPolicy,
        watchers: Watchers,
        build: impl FnOnce() -> A + Send + 'static,
    ) -> Result<(), ArbiterStopped> {
        let Self { name, addr, receiver, tracer } = self;
        let spawned = arbiter.spawn_fn(move || {
            let context = Context::with_receiver(receiver);
            let running = context.into_future(build());
            // the address keeps the mailbox connected for as long as the actor is supervised
            actix_rt::spawn(async move {
                supervise(name, running, policy, watchers, tracer).await;
                drop(addr);
            });
        });
        if spawned { Ok(()) } else { Err(ArbiterStopped(name)) }
    }
}

/// The arbiter that an actor should have started on has stopped.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the arbiter for actor {0} has stopped")]
pub struct ArbiterStopped(pub ActorName);
