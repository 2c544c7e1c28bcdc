//! Ports, slots and the supervisor, exercised with an actor that panics on demand.
#![allow(clippy::arithmetic_side_effects)]

mod trace;

use std::{sync::mpsc as std_mpsc, time::Duration};

use actix::{Actor, ActorContext, Context, Handler, Supervised};
use moorline_messages::{ActorName, Lifecycle, Traced, Weigh};
use tokio::sync::mpsc;

use crate::{
    Alarm, Ask, AskError, Envelope, Inbox, Limit, Outlet, Port, Refused, RestartPolicy, Slot, Stop,
    Watchers, paused,
};

#[derive(Debug, PartialEq)]
enum Say {
    Count,
    Panic,
    PanicLater(Duration),
}

impl Weigh for Say {
    fn weight_bytes(&self) -> usize {
        10
    }
}

impl Traced for Say {
    fn label(&self) -> &'static str {
        match self {
            Self::Count => "Say::Count",
            Self::Panic => "Say::Panic",
            Self::PanicLater(_) => "Say::PanicLater",
        }
    }
}

/// Counts messages; its count is lost when it panics, its seed is not.
struct Counter {
    count: u32,
    incarnation: u32,
    alarm: Alarm,
    told: std_mpsc::Sender<(u32, u32)>,
    panic_in_restarting: bool,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Supervised for Counter {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.incarnation += 1;
        self.count = 0;
        self.alarm.clear();
        assert!(!self.panic_in_restarting, "cannot be rebuilt");
    }
}

impl Handler<Envelope<Say>> for Counter {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Say>, ctx: &mut Context<Self>) {
        envelope.handle(|say| match say {
            Say::Count => {
                self.count += 1;
                self.told.send((self.incarnation, self.count)).unwrap();
            }
            Say::Panic => panic!("asked to"),
            Say::PanicLater(wait) => {
                let at = Some((crate::now() + wait, "panic"));
                self.alarm.set(ctx, at, |_, _| panic!("in a timer"));
            }
        });
    }
}

impl Handler<Envelope<Ask<Stop, ()>>> for Counter {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Ask<Stop, ()>>, ctx: &mut Context<Self>) {
        envelope.handle(|ask| {
            let (Stop, replier) = ask.open();
            replier.answer(());
            ctx.stop();
        });
    }
}

struct Rig {
    say: Port<Say>,
    stop: Port<Ask<Stop, ()>>,
    told: std_mpsc::Receiver<(u32, u32)>,
    lifecycle: Inbox<Lifecycle>,
    gave_up: mpsc::UnboundedReceiver<crate::GaveUp>,
}

fn counter(panic_in_restarting: bool) -> Rig {
    crate::keep_panics_to_one_line();
    let slot = Slot::<Counter>::new(ActorName::Tree);
    let say = slot.port("say", Limit::new(100, 1_000));
    let stop = slot.port("stop", Limit::new(1, 1));
    let (neighbour, lifecycle) = Port::channel("lifecycle", Limit::new(100, 1));
    let (gave_up_sender, gave_up) = mpsc::unbounded_channel();
    let (told_sender, told) = std_mpsc::channel();
    let watchers = Watchers { neighbours: vec![neighbour], gave_up: gave_up_sender };
    slot.start(&actix_rt::Arbiter::current(), RestartPolicy::default(), watchers, move || {
        Counter {
            count: 0,
            incarnation: 0,
            alarm: Alarm::default(),
            told: told_sender,
            panic_in_restarting,
        }
    })
    .unwrap();
    Rig { say, stop, told, lifecycle, gave_up }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[test]
fn a_full_port_gives_the_message_back_and_clones_share_the_bound() {
    let (port, mut inbox) = Port::<Say>::channel("test", Limit::new(2, 1_000));
    let clone = port.clone();
    port.tell(Say::Count).unwrap();
    clone.tell(Say::Count).unwrap();
    assert!(matches!(clone.clone().tell(Say::Panic), Err(Refused::Full(Say::Panic))));
    assert_eq!(port.depth(), 2);
    assert_eq!(inbox.try_next(), Some(Say::Count));
    clone.tell(Say::Count).unwrap();
}

#[test]
fn a_port_is_bounded_in_bytes_and_lets_one_heavy_message_through() {
    let (port, mut inbox) = Port::<Say>::channel("test", Limit::new(100, 25));
    port.tell(Say::Count).unwrap();
    port.tell(Say::Count).unwrap();
    assert!(matches!(port.tell(Say::Count), Err(Refused::Full(_))));
    inbox.try_next().unwrap();
    port.tell(Say::Count).unwrap();

    let (narrow, _inbox) = Port::<Say>::channel("narrow", Limit::new(100, 5));
    narrow.tell(Say::Count).unwrap();
    assert!(matches!(narrow.tell(Say::Count), Err(Refused::Full(_))));
}

#[test]
fn a_permit_is_held_until_the_envelope_is_opened() {
    paused(async {
        let (port, mut inbox) = Port::<Say>::channel("test", Limit::new(1, 1_000));
        port.tell(Say::Count).unwrap();
        let held = inbox.next_held().await.unwrap();
        assert!(matches!(port.tell(Say::Count), Err(Refused::Full(_))));
        drop(held);
        port.tell(Say::Count).unwrap();
    });
}

#[test]
fn a_port_whose_inbox_is_gone_is_closed() {
    let (port, inbox) = Port::<Say>::channel("test", Limit::new(1, 1_000));
    drop(inbox);
    assert!(matches!(port.tell(Say::Count), Err(Refused::Closed(Say::Count))));
}

#[test]
fn an_outlet_keeps_order_while_the_port_is_full() {
    let (port, mut inbox) = Port::<Say>::channel("test", Limit::new(1, 1_000));
    let mut outlet = Outlet::new(port);
    outlet.tell(Say::Count);
    outlet.tell(Say::Panic);
    outlet.tell(Say::Count);
    assert!(outlet.retry_in().is_some());
    assert_eq!(inbox.try_next(), Some(Say::Count));
    outlet.flush();
    assert_eq!(inbox.try_next(), Some(Say::Panic));
    outlet.flush();
    assert_eq!(inbox.try_next(), Some(Say::Count));
    assert!(outlet.retry_in().is_none());
}

#[test]
fn a_panic_in_a_handler_costs_one_message_and_no_address() {
    paused(async {
        let mut rig = counter(false);
        for say in [Say::Count, Say::Panic, Say::Count, Say::Count] {
            rig.say.tell(say).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(101)).await;
        assert_eq!(rig.told.try_iter().collect::<Vec<_>>(), [(0, 1), (1, 1), (1, 2)]);
        let restarted = Lifecycle::Restarted { actor: ActorName::Tree, incarnation: 1 };
        assert_eq!(rig.lifecycle.try_next(), Some(restarted));
        assert_eq!(rig.say.depth(), 0);
    });
}

#[test]
fn a_panic_in_a_timer_is_survived_too() {
    paused(async {
        let rig = counter(false);
        rig.say.tell(Say::PanicLater(Duration::from_secs(3))).unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        rig.say.tell(Say::Count).unwrap();
        settle().await;
        assert_eq!(rig.told.try_iter().collect::<Vec<_>>(), [(1, 1)]);
    });
}

#[test]
fn restarts_back_off_and_the_sixth_within_a_minute_gives_up() {
    paused(async {
        let mut rig = counter(false);
        let start = tokio::time::Instant::now();
        for _ in 0..5 {
            rig.say.tell(Say::Panic).unwrap();
        }
        rig.say.tell(Say::Count).unwrap();
        // 100 + 200 + 400 + 800 + 1600 ms
        tokio::time::sleep(Duration::from_millis(3_099)).await;
        assert_eq!(rig.told.try_iter().count(), 0);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(rig.told.try_iter().collect::<Vec<_>>(), [(5, 1)]);
        assert!(rig.gave_up.try_recv().is_err());

        rig.say.tell(Say::Panic).unwrap();
        let gave_up = rig.gave_up.recv().await.unwrap();
        assert_eq!(gave_up.actor, ActorName::Tree);
        assert!(gave_up.panic.starts_with("asked to at "), "{}", gave_up.panic);
        assert!(start.elapsed() < Duration::from_secs(60));
        settle().await;
        assert!(matches!(rig.say.tell(Say::Count), Err(Refused::Closed(_))));
    });
}

#[test]
fn an_actor_that_stood_for_a_minute_is_forgiven() {
    paused(async {
        let mut rig = counter(false);
        for _ in 0..12 {
            rig.say.tell(Say::Panic).unwrap();
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        assert!(rig.gave_up.try_recv().is_err());
        rig.say.tell(Say::Count).unwrap();
        settle().await;
        assert_eq!(rig.told.try_iter().collect::<Vec<_>>(), [(12, 1)]);
    });
}

#[test]
fn an_actor_that_cannot_be_rebuilt_is_given_up_rather_than_spun() {
    paused(async {
        let mut rig = counter(true);
        rig.say.tell(Say::Panic).unwrap();
        let gave_up = rig.gave_up.recv().await.unwrap();
        assert!(gave_up.panic.starts_with("cannot be rebuilt"), "{}", gave_up.panic);
    });
}

#[test]
fn a_stop_is_acknowledged_and_ends_the_actor() {
    paused(async {
        let rig = counter(false);
        rig.stop.ask(Stop).await.unwrap();
        settle().await;
        assert!(matches!(rig.say.tell(Say::Count), Err(Refused::Closed(_))));
        assert_eq!(rig.stop.ask(Stop).await, Err(AskError::Closed));
    });
}
