//! The one timer of a shell.

use std::time::Instant;

use actix::{Actor, AsyncContext, Context, SpawnHandle};

/// Wakes a shell when its core next wants to be woken.
///
/// Setting it to a later moment than it is set to leaves it alone: the core is asked again when it
/// rings, which is cheaper than a new timer at every step.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Option<(Instant, SpawnHandle)>,
}

impl Alarm {
    /// Rings at `at` at the latest, by calling `ring`. `None` leaves it as it is.
    pub fn set<A>(
        &mut self,
        ctx: &mut Context<A>,
        at: Option<Instant>,
        ring: fn(&mut A, &mut Context<A>),
    ) where
        A: Actor<Context = Context<A>>,
    {
        let Some(at) = at else { return };
        if let Some((earlier, handle)) = self.set {
            if earlier <= at {
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = at.saturating_duration_since(crate::now());
        self.set = Some((at, ctx.run_later(wait, ring)));
    }

    /// Must be called first thing when it rings, and after a restart, which cancels every timer.
    pub const fn clear(&mut self) {
        self.set = None;
    }
}
