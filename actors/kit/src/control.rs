//! The two orders every actor takes from whoever runs it.

use moorline_messages::{ActorName, Traced, Weigh};

/// The question that ends an actor: finish what you promised, then answer. An actor that answered has
/// nothing left to write or to say.
#[derive(Clone, Copy, Debug)]
pub struct Stop;

impl Weigh for Stop {
    fn weight_bytes(&self) -> usize {
        0
    }
}

impl Traced for Stop {
    fn label(&self) -> &'static str {
        "Stop"
    }
}

/// Panic now. How a demonstration and the tests show what supervision is worth.
#[derive(Clone, Copy, Debug)]
pub struct Crash;

impl Crash {
    /// Panics in the name of an actor.
    ///
    /// # Panics
    /// Always.
    #[allow(clippy::panic)]
    pub fn strike(self, actor: ActorName) -> ! {
        panic!("{actor} was ordered to crash")
    }
}

impl Weigh for Crash {
    fn weight_bytes(&self) -> usize {
        0
    }
}

impl Traced for Crash {
    fn label(&self) -> &'static str {
        "Crash"
    }
}
