//! The nodes that proved where they are, by distance from us.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use alloy_primitives::B256;
use moorline_messages::{PeerId, Subnet, is_local};

use crate::key::place_of;

/// Nodes in a bucket.
pub(crate) const BUCKET_NODES: usize = 16;
/// Nodes that wait for a place in a bucket.
pub(crate) const SPARES_PER_BUCKET: usize = 10;
/// Nodes of one /24 or /48 in a bucket.
pub(crate) const SUBNET_NODES_PER_BUCKET: usize = 2;
/// Nodes of one /24 or /48 in the table.
pub(crate) const SUBNET_NODES_PER_TABLE: usize = 10;
/// Everything nearer shares a bucket: by chance hardly anybody is.
const NEAREST_BUCKET: usize = 240;
/// A node that misses so many pings in a row leaves the table.
const MISSES_MAX: u8 = 2;

/// A node that answered a ping of ours from its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) id: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) tcp: u16,
    /// When it last answered.
    pub(crate) seen_at: Instant,
    misses: u8,
}

impl Node {
    pub(crate) fn new(id: PeerId, addr: SocketAddr, tcp: u16, seen_at: Instant) -> Self {
        Self { id, addr, tcp, seen_at, misses: 0 }
    }
}

#[derive(Debug, Default)]
struct Bucket {
    nodes: Vec<Node>,
    spares: VecDeque<Node>,
}

/// At most 17 buckets of 16 nodes and 10 spares.
#[derive(Debug)]
pub(crate) struct Table {
    place: B256,
    buckets: BTreeMap<usize, Bucket>,
}

impl Table {
    pub(crate) fn new(local: &PeerId) -> Self {
        Self { place: place_of(local), buckets: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes().count()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.buckets.values().flat_map(|bucket| &bucket.nodes)
    }

    /// The nodes nearest to a place, nearest first.
    pub(crate) fn closest(&self, place: B256, count: usize) -> Vec<Node> {
        let mut nodes: Vec<_> =
            self.nodes().map(|node| (distance(place_of(&node.id), place), *node)).collect();
        nodes.sort_unstable_by_key(|(distance, _)| *distance);
        nodes.into_iter().take(count).map(|(_, node)| node).collect()
    }

    /// Who has been silent for longest.
    pub(crate) fn stalest(&self) -> Option<Node> {
        self.nodes().min_by_key(|node| (node.seen_at, node.id)).copied()
    }

    /// A node answered. It takes its place, or waits for one where its bucket is full; where its
    /// neighbourhood has its share already it is not kept.
    pub(crate) fn answered(&mut self, node: Node) {
        let index = self.index_of(&node.id);
        if index == 0 {
            return;
        }
        let at_once = self.fits(index, &node);
        let bucket = self.buckets.entry(index).or_default();
        if let Some(known) = bucket.nodes.iter_mut().find(|known| known.id == node.id) {
            if at_once || known.addr.ip() == node.addr.ip() {
                *known = node;
            }
            return;
        }
        bucket.spares.retain(|spare| spare.id != node.id);
        if at_once && bucket.nodes.len() < BUCKET_NODES {
            bucket.nodes.push(node);
        } else if at_once {
            bucket.spares.push_back(node);
            if bucket.spares.len() > SPARES_PER_BUCKET {
                bucket.spares.pop_front();
            }
        }
    }

    /// A node did not answer. The second time in a row it leaves, and a spare takes its place.
    pub(crate) fn missed(&mut self, id: &PeerId) {
        let index = self.index_of(id);
        let Some(bucket) = self.buckets.get_mut(&index) else { return };
        let Some(node) = bucket.nodes.iter_mut().find(|node| node.id == *id) else { return };
        node.misses = node.misses.saturating_add(1);
        if node.misses < MISSES_MAX {
            return;
        }
        bucket.nodes.retain(|node| node.id != *id);
        let mut spares = std::mem::take(&mut bucket.spares);
        let newest_that_fits = spares.iter().rposition(|spare| self.fits(index, spare));
        let promoted = newest_that_fits.and_then(|at| spares.remove(at));
        let bucket = self.buckets.entry(index).or_default();
        bucket.nodes.extend(promoted);
        bucket.spares = spares;
    }

    fn index_of(&self, id: &PeerId) -> usize {
        let away = distance(place_of(id), self.place);
        let bits = 256_usize.saturating_sub(leading_zeros(away));
        if bits == 0 { 0 } else { bits.max(NEAREST_BUCKET) }
    }

    /// Local addresses are not counted: on a test network all nodes share one.
    fn fits(&self, index: usize, node: &Node) -> bool {
        if is_local(node.addr.ip()) {
            return true;
        }
        let subnet = Subnet::of(node.addr.ip());
        let of_subnet = |bucket: &Bucket| {
            let others = bucket.nodes.iter().filter(|other| other.id != node.id);
            others.filter(|other| Subnet::of(other.addr.ip()) == subnet).count()
        };
        let in_bucket = self.buckets.get(&index).map_or(0, of_subnet);
        let in_table: usize = self.buckets.values().map(of_subnet).sum();
        in_bucket < SUBNET_NODES_PER_BUCKET && in_table < SUBNET_NODES_PER_TABLE
    }
}

/// The distance of two places (Kademlia).
pub(crate) fn distance(one: B256, other: B256) -> B256 {
    one ^ other
}

fn leading_zeros(of: B256) -> usize {
    let zero_bytes = of.iter().take_while(|byte| **byte == 0).count();
    let rest = of.get(zero_bytes).map_or(0, |byte| byte.leading_zeros() as usize);
    zero_bytes.saturating_mul(8).saturating_add(rest)
}
