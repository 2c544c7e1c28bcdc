//! PeerManagerActor: from whom?
//!
//! It knows who is connected, how fast each of them is and what each has, and gives the downloader's
//! requests to them. It holds the clock of every request, ends sessions with peers that lie or fall
//! silent, and keeps dialling: the peers that the operator named for ever, those that discovery found as long
//! as there is room.
//!
//! In: `FetchRequest`, `FetchCommand` and `PeerReport` from the downloader, `SessionEvent` from the devp2p edge,
//! `DiscoveryEvent` from discovery, `PeerCommand` from the operator, `Lifecycle` from the supervisor. Out:
//! [`Ports`].
//!
//! Invariants:
//! - Cancelling makes nobody's turn come, and holds for a request that comes only afterwards.
//! - Every `FetchRequest` gets exactly one `FetchOutcome`, at the latest when its budget ends, time
//!   in the queue included. Only one that was cancelled, or whose downloader lost its memory, is owed
//!   nothing.
//! - No more than four requests that somebody waits for are out to one peer, and one to a peer that
//!   was just late. What is set aside (cancelled, late, or answered faster by another) takes no slot
//!   while it is no more than four, but its clock runs on: its answer teaches, its absence is a
//!   timeout, and until then it counts as work that the peer does first. No peer has more than
//!   sixteen requests to answer, overdue ones included.
//! - A peer answers in order: its time for a request begins anew with each answer to an earlier one,
//!   and ends no sooner than its time for those. A budget that ends before is nobody's fault, and
//!   what would be answered too late as a rule is not asked.
//! - A request of the tip that takes unusually long goes to another peer, too, and so does one of
//!   history that straggles, after what waits; never to more than two at a time. The first answer
//!   with anything in it is the outcome; a failure is one only when nobody else works on the request.
//! - A peer is asked for no more than it does in about a second: the first of the items, at least one.
//!   The rest is asked for again by whoever wants it.
//! - A peer is chosen by what it is expected to take: measured for headers, bodies and receipts
//!   each by itself, recent faults counted as time. Blocks below the range that it announced are never
//!   asked of it (EIP-7642); a peer to avoid is asked only when nobody else has the items. Alike peers
//!   take turns, and then the lower id decides, so that the same inputs give the same effects.
//! - Nobody starves: history goes to any peer that is free and has it, and measurements of an idle peer
//!   fade until it is tried again. Only the tip waits for a busy peer that is expected to be done
//!   sooner than any free one, and no longer than that peer usually takes.
//! - An answer is judged once.
//! - Timeouts of what was out together are one step towards the end of the session.
//! - A slow, partial or pruned peer is asked later, never banned. A peer that provably lied is
//!   disconnected at once and banned, with its address unless that is local: ten minutes the first time, twice as
//!   long each further time, a day at most. One that the operator named is banned for 15 seconds.
//! - There is one session per peer: the newer of two is ended. No more than two sessions are with one address and
//!   four with one /24 or /48, those of local networks and of peers that the operator named excepted.
//! - Nodes that were found are dialled as long as slots are free that peers may not open themselves: ten a second
//!   at most, sixteen at once, what served before the last start first, what failed later and later.
//! - Where all slots for peers that we dial are taken and others wait, one of those peers that was asked and of no
//!   use for two minutes makes room. Peers that dialled us may stay, whatever they are good for.
//!
//! A restart loses what was measured and the requests at hand; not bans, good peers, who was found, what was
//! counted, and what the operator ordered. The sessions stand, and introduce themselves again; the downloader
//! asks again; answers to what was asked before are ignored.

mod actor;
mod config;
mod core;
mod ports;
#[cfg(test)]
mod tests;

pub use actor::PeerManagerActor;
pub use config::PeerManagerConfig;
pub use ports::Ports;
