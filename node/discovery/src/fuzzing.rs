//! Doors for `tests/fuzz` to what lies behind hashes and signatures, and to the state machines. Built
//! with the feature `fuzzing` alone.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use alloy_eip2124::{ForkFilter, ForkId};
use alloy_primitives::{B256, B512, keccak256};
use alloy_rlp::{Encodable, Header};
use moorline_messages::PeerId;
use tokio::sync::{mpsc, watch};

use crate::{
    Bounds, Candidate, DropReason, Via,
    counters::SharedCounters,
    discv4::{Discv4, Effect, Input, Now, Seed, wire},
    dns::{self, Found, Label, Root, TreeLink, Walk},
    gate::Gate,
    key::NodeKey,
    limits::PacketLimits,
    record::{self, LocalRecord, SignedRecord},
};

const START_UNIX_S: u64 = 1_800_000_000;

/// A node with a key, an address and a signed record of its own.
#[derive(Clone, Debug)]
pub struct Node {
    key: NodeKey,
    addr: SocketAddr,
    local: LocalRecord,
    signed: SignedRecord,
}

impl Node {
    /// None unless the bytes are a private key.
    pub fn new(secret: &[u8; 32], addr: SocketAddr, fork_id: ForkId) -> Option<Self> {
        let key = NodeKey::new(secret)?;
        let port = addr.port();
        let local = LocalRecord::new(key.clone(), Some(addr.ip()), port, port, fork_id, 1).ok()?;
        let signed = SignedRecord::new(local.enr().clone())?;
        Some(Self { key, addr, local, signed })
    }

    /// Its id.
    pub fn id(&self) -> PeerId {
        self.key.id()
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its record.
    pub fn record_rlp(&self) -> Vec<u8> {
        self.local.rlp()
    }

    /// Its record as text.
    pub fn record_text(&self) -> String {
        self.local.text()
    }

    /// A record of the node's whose items, after the signature, are these.
    pub fn sign_record(&self, items: &[u8]) -> Vec<u8> {
        let list = |payload: &[u8]| {
            let mut out = Vec::new();
            Header { list: true, payload_length: payload.len() }.encode(&mut out);
            [&out, payload].concat()
        };
        let [signature @ .., _] = self.key.sign(keccak256(list(items)));
        let mut signed = Vec::new();
        signature.as_slice().encode(&mut signed);
        list(&[&signed, items].concat())
    }

    /// Its public key, compressed.
    pub fn compressed_key(&self) -> [u8; 33] {
        let mut out = [0; 33];
        let id = self.id().0.0;
        for (to, from) in out.iter_mut().skip(1).zip(id) {
            *to = from;
        }
        let [first, ..] = &mut out;
        *first = 2 | (id.last().map_or(0, |last| last & 1));
        out
    }

    /// A discv4 packet of this type and these items, signed by the node.
    pub fn datagram(&self, kind: u8, data: &[u8]) -> Vec<u8> {
        let typed = [&[kind], data].concat();
        let signed = [&self.key.sign(keccak256(&typed))[..], &typed].concat();
        [keccak256(&signed).as_slice(), &signed].concat()
    }
}

/// Reads a discv4 datagram.
pub fn read_datagram(datagram: &[u8]) -> Result<(), DropReason> {
    wire::decode(datagram).map(drop)
}

/// Reads what follows a discv4 packet's signature: its type, and its items.
pub fn read_packet(kind: u8, mut data: &[u8]) -> Result<(), DropReason> {
    wire::decode_data(kind, &mut data).map(drop)
}

/// Reads a record's RLP and all that is ever looked up in it. A record that is good has no other
/// encoding: discv5 finds the next one of a list by the length that it encodes to.
pub fn read_record(rlp: &[u8]) -> bool {
    SignedRecord::decode(rlp).is_some_and(|record| {
        let mut again = Vec::new();
        record.enr().encode(&mut again);
        assert_eq!(again, rlp);
        look_at(&record)
    })
}

/// The same for a record as text.
pub fn read_record_text(text: &str) -> bool {
    SignedRecord::from_text(text).is_some_and(|record| look_at(&record))
}

/// Reads a record's `eth` entry.
pub fn read_eth_entry(entry: &[u8]) -> Option<ForkId> {
    record::read_eth_entry(entry)
}

fn look_at(record: &SignedRecord) -> bool {
    record.fork_id();
    record.is_consensus_node();
    record.udp_addr();
    let ip = record.tcp_addr().map_or(IpAddr::from([1, 2, 3, 4]), |addr| addr.ip());
    record.tcp_port(ip);
    record.id() != PeerId(B512::ZERO)
}

/// A datagram that the core of discv4 sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Where to.
    pub to: SocketAddr,
    /// The packet's type.
    pub kind: u8,
    /// The packet's hash, by which an answer names it.
    pub hash: B256,
}

/// The core of discv4, with time in the caller's hand. It signs nothing that it sends.
#[derive(Debug)]
pub struct Discv4Core {
    core: Discv4,
    start: Instant,
    now: Now,
    sent: Vec<Sent>,
    found: usize,
}

impl Discv4Core {
    /// The core of this node, which knows some others to begin with.
    pub fn new(node: &Node, seeds: &[Node], start: Instant) -> Self {
        let seed = |node: &Node| Seed { id: node.id(), addr: node.addr, tcp: node.addr.port() };
        let now = Now { at: start, unix_s: START_UNIX_S };
        let seeds = seeds.iter().map(seed).collect();
        let bounds = Bounds::default();
        let core = Discv4::new(node.key.clone().mute(), &node.local, seeds, false, &bounds, 7, now);
        Self { core, start, now, sent: Vec::new(), found: 0 }
    }

    /// Lets time pass, and wakes the core once.
    pub fn pass(&mut self, time: Duration) {
        self.now.at = self.now.at.checked_add(time).unwrap_or(self.now.at);
        let passed_s = self.now.at.saturating_duration_since(self.start).as_secs();
        self.now.unix_s = START_UNIX_S.saturating_add(passed_s);
        self.step(Input::Wakeup);
    }

    /// Unix time, in seconds.
    pub fn unix_s(&self) -> u64 {
        self.now.unix_s
    }

    /// Hands it a datagram.
    pub fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.step(Input::Datagram { from, bytes });
    }

    /// Hands it a packet as it is after its hash and signature were found right. False where it is
    /// dropped.
    pub fn packet(
        &mut self,
        from: SocketAddr,
        sender: PeerId,
        hash: B256,
        kind: u8,
        mut data: &[u8],
    ) -> bool {
        let Ok(packet) = wire::decode_data(kind, &mut data) else { return false };
        let received = wire::Received { sender, hash, packet };
        let mut effects = Vec::new();
        let taken = self.core.received(self.now, from, received, &mut effects).is_ok();
        self.note(effects);
        self.step(Input::Wakeup);
        taken
    }

    /// What was sent since the last call.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// How many records it found.
    pub fn found(&self) -> usize {
        self.found
    }

    /// How many nodes are in its table.
    pub fn table_nodes(&self) -> usize {
        self.core.table_nodes()
    }

    fn step(&mut self, input: Input<'_>) {
        let mut effects = Vec::new();
        self.core.handle(self.now, input, &mut effects);
        self.note(effects);
    }

    fn note(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, bytes } => {
                    let hash = bytes.first_chunk().copied().unwrap_or_default();
                    let kind = bytes.get(97).copied().unwrap_or_default();
                    self.sent.push(Sent { to, kind, hash: B256::from(hash) });
                }
                Effect::Found { .. } => self.found = self.found.saturating_add(1),
            }
        }
    }
}

/// The name of a text in a DNS list: its hash, or the beginning of it.
pub fn dns_label(text: &str) -> String {
    let hash = keccak256(text.as_bytes());
    let (label, _) = hash.split_at(16);
    data_encoding::BASE32_NOPAD.encode(label)
}

/// Reads a list's link.
pub fn read_dns_link(text: &str) -> bool {
    text.parse::<TreeLink>().is_ok_and(|link| link.to_string().parse() == Ok(link))
}

/// Reads the root of the list with this link.
pub fn read_dns_root(text: &str, link: &str) -> bool {
    link.parse().is_ok_and(|link| Root::verified(text, &link).is_ok())
}

/// Reads a text that is found under this label.
pub fn read_dns_entry(text: &str, label: &str) -> bool {
    Label::parse(label).is_ok_and(|label| dns::Entry::verified(text, &label).is_ok())
}

/// Signs the root of a list with the node's key; gives the root's text.
pub fn sign_dns_root(node: &Node, signed: &str) -> String {
    let signature = node.key.sign(keccak256(signed.as_bytes()));
    format!("{signed} sig={}", data_encoding::BASE64URL_NOPAD.encode(&signature))
}

/// The link of a list that the node signs.
pub fn dns_link(node: &Node, domain: &str) -> String {
    let key = data_encoding::BASE32_NOPAD.encode(&node.compressed_key());
    format!("enrtree://{key}@{domain}")
}

/// A list's link, read once for many walks.
#[derive(Clone, Debug)]
pub struct DnsLink(TreeLink);

impl DnsLink {
    /// None where the text is no link.
    pub fn new(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// A walk through DNS lists.
#[derive(Debug)]
pub struct DnsWalk {
    walk: Walk,
    question: Option<dns::Question>,
    link: TreeLink,
}

impl DnsWalk {
    /// Through the list with this link, and those it links to.
    pub fn new(DnsLink(link): &DnsLink, recheck_every: Duration, now: Instant) -> Self {
        let walk = Walk::new([link.clone()], recheck_every, 7, now);
        Self { walk, question: None, link: link.clone() }
    }

    /// The next name to ask for, until it is answered.
    pub fn next(&mut self, now: Instant) -> Option<String> {
        self.question = self.walk.next_question(now);
        self.question.as_ref().map(|question| question.name.clone())
    }

    /// Nobody knows.
    pub fn unanswered(&mut self, now: Instant) {
        if let Some(question) = self.question.take() {
            self.walk.unanswered(question, now);
        }
    }

    /// Texts of the name. Whether they bring anything.
    pub fn answered(&mut self, texts: &[String], now: Instant) -> bool {
        let Some(question) = self.question.take() else { return false };
        matches!(self.walk.answered(question, texts, now), Ok(Found::Record(_) | Found::Nothing))
    }

    /// A root of the first list, as it is after its signature was found right.
    pub fn root(&mut self, records: &str, links: &str, seq: u64) {
        if let (Ok(records), Ok(links)) = (Label::parse(records), Label::parse(links)) {
            self.walk.take_root(&self.link.clone(), Root { records, links, seq });
        }
    }
}

/// The gate that all nodes found go through, and the limits of packets.
#[derive(Debug)]
pub struct Gates {
    gate: Gate,
    candidates: mpsc::Receiver<Candidate>,
    _forks: watch::Sender<ForkFilter>,
    limits: PacketLimits,
}

impl Gates {
    /// For a node at this address and on this fork.
    pub fn new(local: &Node, forks: ForkFilter, bounds: Bounds, now: Instant) -> Self {
        let (sender, forks) = watch::channel(forks);
        let counters = SharedCounters::default();
        let (gate, candidates) =
            Gate::new(forks, local.id(), Some(local.addr.ip()), bounds, counters, now);
        let limits =
            PacketLimits::new(bounds.packets_per_sender_per_second, bounds.packets_per_second, now);
        Self { gate, candidates, _forks: sender, limits }
    }

    /// Offers a node that was found.
    pub fn offer(&mut self, node: &Node, seen_at: Option<IpAddr>, via: Via, now: Instant) {
        self.gate.offer(&node.signed, seen_at, via, now);
    }

    /// The next node that is handed on.
    pub fn take(&mut self) -> Option<Candidate> {
        self.candidates.try_recv().ok()
    }

    /// Whether a packet of this sender is looked at.
    pub fn admit(&mut self, ip: IpAddr, now: Instant) -> bool {
        self.limits.admit(ip, now)
    }
}
