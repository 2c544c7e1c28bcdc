//! The one timer of a shell.

use std::time::Instant;

use actix::{Actor, AsyncContext, Context, SpawnHandle};

use crate::{Cause, trace};

/// Wakes a shell when its core next wants to be woken.
///
/// Setting it to a later moment than it is set to leaves it alone: the core is asked again when it
/// rings, which is cheaper than a new timer at every step.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Option<(Instant, SpawnHandle)>,
}

impl Alarm {
    /// Rings at `at` at the latest, by calling `ring`, for the reason given. `None` leaves it as it is.
    pub fn set<A>(
        &mut self,
        ctx: &mut Context<A>,
        at: Option<(Instant, &'static str)>,
        ring: fn(&mut A, &mut Context<A>),
    ) where
        A: Actor<Context = Context<A>>,
    {
        let Some((at, reason)) = at else { return };
        if let Some((earlier, handle)) = self.set {
            if earlier <= at {
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = at.saturating_duration_since(crate::now());
        let set_by = Cause::here();
        let handle = ctx.run_later(wait, move |actor, ctx| {
            trace::ring(set_by, reason, || ring(actor, ctx));
        });
        self.set = Some((at, handle));
    }

    /// Must be called first thing when it rings, and after a restart, which cancels every timer.
    pub const fn clear(&mut self) {
        self.set = None;
    }
}
