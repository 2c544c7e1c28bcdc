//! What the seam records, with an actor that passes on what it is told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture};
use moorline_messages::{
    ActorName, Lane, RefusedBecause, TraceEvent, TraceId, TraceRecord, Traced, Weigh,
};
use tokio::sync::mpsc;

use crate::{
    Alarm, Envelope, Inbox, Limit, Outlet, Port, Recorder, RestartPolicy, Slot, Tracer, Watchers,
    paused,
};

const WIDE: Limit = Limit { items: 100, bytes: 1_000 };

#[derive(Clone, Debug, PartialEq)]
enum Order {
    Pass,
    PassIn(Duration),
    WorkFor(Duration),
    Panic,
}

#[derive(Debug, PartialEq)]
struct Passed;

impl Weigh for Order {
    fn weight_bytes(&self) -> usize {
        7
    }
}

impl Traced for Order {
    fn label(&self) -> &'static str {
        "Order"
    }

    fn is_trouble(&self) -> bool {
        *self == Self::Panic
    }
}

impl Weigh for Passed {
    fn weight_bytes(&self) -> usize {
        0
    }
}

impl Traced for Passed {
    fn label(&self) -> &'static str {
        "Passed"
    }
}

struct Passer {
    out: Outlet<Passed>,
    alarm: Alarm,
}

impl Actor for Passer {
    type Context = Context<Self>;
}

impl Supervised for Passer {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.alarm.clear();
        self.out.tell(Passed);
    }
}

impl Handler<Envelope<Order>> for Passer {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Order>, ctx: &mut Context<Self>) {
        match envelope.peek() {
            Order::Pass => envelope.handle(|_| self.out.tell(Passed)),
            Order::PassIn(wait) => {
                let at = crate::now() + *wait;
                envelope.handle(|_| {
                    self.alarm.set(ctx, Some((at, "pass")), |passer, _| {
                        passer.alarm.clear();
                        passer.out.tell(Passed);
                    });
                });
            }
            Order::WorkFor(time) => {
                let work = tokio::time::sleep(*time).into_actor(self);
                envelope.handling().enter(|| ());
                ctx.spawn(work.map(move |(), passer, _| {
                    envelope.handling().enter(|| passer.out.tell(Passed));
                }));
            }
            Order::Panic => envelope.handle(|_| panic!("asked to")),
        }
    }
}

#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<TraceRecord>>>);

impl Recorder for Tape {
    fn record(&self, record: TraceRecord) {
        self.0.lock().unwrap().push(record);
    }
}

struct Stage {
    tape: Tape,
    tracer: Tracer,
    order: Port<Order>,
    passed: Inbox<Passed>,
    _gave_up: mpsc::UnboundedReceiver<crate::GaveUp>,
}

fn stage(room: usize) -> Stage {
    crate::keep_panics_to_one_line();
    let tape = Tape::default();
    let tracer = Tracer::new(tape.clone());
    let slot = Slot::<Passer>::traced(ActorName::Tree, tracer.clone());
    let order = slot.port("orders", WIDE).held_by(Lane::EngineApi);
    let (out, passed) = Port::channel("passed", Limit::new(room, 1));
    let out = out.traced(&tracer, Lane::Rlpx);
    let (gave_up, _gave_up) = mpsc::unbounded_channel();
    let watchers = Watchers { neighbours: Vec::new(), gave_up };
    slot.start(&actix::Arbiter::current(), RestartPolicy::default(), watchers, move || Passer {
        out: Outlet::new(out),
        alarm: Alarm::default(),
    })
    .unwrap();
    Stage { tape, tracer, order, passed, _gave_up }
}

#[derive(Debug, PartialEq)]
struct Sent {
    from: Lane,
    to: Lane,
    label: &'static str,
    message: TraceId,
    cause: u64,
    depth: u32,
}

impl Stage {
    fn events(&self) -> Vec<TraceEvent> {
        self.tape.0.lock().unwrap().iter().map(|record| record.event.clone()).collect()
    }

    fn sent(&self) -> Vec<Sent> {
        let sent = |event| match event {
            TraceEvent::Send { from, to, label, message, cause, depth, .. } => {
                Some(Sent { from, to, label, message, cause, depth })
            }
            _ => None,
        };
        self.events().into_iter().filter_map(sent).collect()
    }

    /// Wait, handling, and the rest of every message that is done, in milliseconds.
    fn done(&self) -> Vec<(u64, [u64; 3], bool)> {
        let done = |event| match event {
            TraceEvent::Done { id, wait_ns, busy_ns, async_ns, panicked, .. } => {
                Some((id, [wait_ns, busy_ns, async_ns].map(|ns| ns / 1_000_000), panicked))
            }
            _ => None,
        };
        self.events().into_iter().filter_map(done).collect()
    }
}

const fn trigger(id: u64) -> TraceId {
    TraceId { id, root: id }
}

#[test]
fn whatever_is_told_in_a_handler_is_caused_by_its_message() {
    paused(async {
        let mut stage = stage(9);
        stage.order.tell(Order::Pass).unwrap();
        stage.passed.next().await.unwrap();
        let sent = stage.sent();
        let order = sent[0].message;
        assert_eq!((sent[0].from, sent[0].to), (Lane::EngineApi, ActorName::Tree.into()));
        assert_eq!((sent[0].cause, order.root, sent[0].depth), (0, order.id, 1));
        assert_eq!((sent[1].from, sent[1].to), (ActorName::Tree.into(), Lane::Rlpx));
        assert_eq!((sent[1].cause, sent[1].message.root), (order.id, order.id));
        assert_eq!(stage.done().len(), 2);
    });
}

#[test]
fn a_message_that_waits_is_not_held_against_what_comes_between() {
    paused(async {
        let mut stage = stage(1);
        for _ in 0..3 {
            stage.order.tell(Order::Pass).unwrap();
        }
        for _ in 0..3 {
            stage.order.tell(Order::Pass).unwrap();
            stage.passed.next().await.unwrap();
        }
        let sent = stage.sent();
        let orders: Vec<_> = sent.iter().filter(|sent| sent.label == "Order").collect();
        let passed: Vec<_> = sent.iter().filter(|sent| sent.label == "Passed").collect();
        for (order, passed) in orders.iter().zip(&passed) {
            assert_eq!(passed.cause, order.message.id);
        }
        let refused = |event: &TraceEvent| {
            matches!(event, TraceEvent::Refuse { because: RefusedBecause::Full, .. })
        };
        assert_eq!(stage.events().iter().filter(|event| refused(event)).count(), 1);
    });
}

#[test]
fn work_that_goes_on_after_the_handler_is_accounted_for() {
    paused(async {
        let mut stage = stage(9);
        stage.order.tell(Order::WorkFor(Duration::from_millis(40))).unwrap();
        stage.passed.next().await.unwrap();
        tokio::task::yield_now().await;
        let sent = stage.sent();
        assert_eq!(sent[1].cause, sent[0].message.id);
        let done = stage.done().into_iter().find(|(id, ..)| *id == sent[0].message.id);
        let (_, [wait_ms, busy_ms, async_ms], _) = done.unwrap();
        assert_eq!((wait_ms, busy_ms), (0, 0));
        assert!((39..=45).contains(&async_ms), "{async_ms}");
    });
}

#[test]
fn a_timer_has_a_reason_and_a_cause_and_is_a_cause() {
    paused(async {
        let mut stage = stage(9);
        stage.order.tell(Order::PassIn(Duration::from_millis(5))).unwrap();
        stage.passed.next().await.unwrap();
        let sent = stage.sent();
        let order = sent[0].message.id;
        let timer = stage.events().into_iter().find_map(|event| match event {
            TraceEvent::Timer { reason, timer, cause, .. } => Some((reason, timer, cause)),
            _ => None,
        });
        let (reason, timer, cause) = timer.unwrap();
        assert_eq!((reason, cause, timer.root), ("pass", order, order));
        assert_eq!((sent[1].cause, sent[1].message.root), (timer.id, order));
    });
}

#[test]
fn a_panic_names_its_message_and_what_follows_is_caused_by_the_restart() {
    paused(async {
        let mut stage = stage(9);
        stage.order.tell(Order::Panic).unwrap();
        stage.passed.next().await.unwrap();
        let events = stage.events();
        let order = stage.sent()[0].message.id;
        let panic = events.iter().find_map(|event| match event {
            TraceEvent::Panic { id, incarnation, note, .. } => {
                Some((*id, *incarnation, note.clone()))
            }
            _ => None,
        });
        let (id, incarnation, note) = panic.unwrap();
        assert_eq!((id, incarnation), (order, 0));
        assert!(note.starts_with("asked to at "), "{note}");
        let restart = events.iter().find_map(|event| match event {
            TraceEvent::Restart { id, incarnation: 1, backoff_ns, .. } => Some((*id, *backoff_ns)),
            _ => None,
        });
        let (restart, backoff_ns) = restart.unwrap();
        assert_eq!(backoff_ns, 100_000_000);
        let said = &stage.sent()[1];
        assert_eq!((said.cause, said.message.root), (restart, restart));
        assert!(stage.done().iter().any(|(id, _, panicked)| *id == order && *panicked));
        // nothing is left in the middle of the message
        assert_eq!(stage.tracer.busy_lanes().unwrap().look().count(), 0);
    });
}

#[test]
fn what_is_never_handled_is_recorded_as_dropped() {
    paused(async {
        let tape = Tape::default();
        let tracer = Tracer::new(tape.clone());
        let (port, inbox) = Port::<Order>::channel("orders", WIDE);
        let port = port.traced(&tracer, Lane::Rlpx);
        port.tell(Order::Pass).unwrap();
        drop(inbox);
        port.tell(Order::Pass).unwrap_err();
        let events: Vec<_> = tape.0.lock().unwrap().iter().map(|r| r.event.clone()).collect();
        let [TraceEvent::Port(made), TraceEvent::Send { message, bytes, .. }, dropped, refused] =
            events.as_slice()
        else {
            panic!("{events:?}");
        };
        assert_eq!((made.name, made.to, made.items), ("orders", Lane::Rlpx, 100));
        assert_eq!((*message, *bytes), (trigger(1), 7));
        assert!(matches!(dropped, TraceEvent::Drop { id: 1, depth: 0, .. }), "{dropped:?}");
        let closed = RefusedBecause::Closed;
        assert!(matches!(refused, TraceEvent::Refuse { because, .. } if *because == closed));
    });
}
