//! Whom somebody would ask who knows everything.

use super::*;
use model::{Model, Sizes};

/// It knows every peer's true pace, distance, work at hand, range and honesty, and when each will be
/// gone. Each request, first come, first served, goes at once to the peer that is done with it first.
/// It gives a peer no more than a second's work in a request.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    queue: VecDeque<FetchRequest>,
    out: BTreeMap<RequestId, PeerId>,
}

impl Oracle {
    pub(super) fn handle(
        &mut self,
        now: Instant,
        input: Input,
        peers: &mut [Model],
        sizes: Sizes,
        effects: &mut Vec<Effect>,
    ) {
        match input {
            Input::Fetch(request) => self.queue.push_back(request),
            Input::Session(SessionEvent::Answered { request, items, .. }) => {
                if let Some(peer) = self.out.remove(&request) {
                    let (peer, result) = (Some(peer), Ok(items));
                    effects.push(Effect::Outcome(FetchOutcome { id: request, peer, result }));
                }
            }
            Input::Session(SessionEvent::Closed { peer, .. }) => {
                for (id, _) in self.out.extract_if(.., |_, by| *by == peer) {
                    let result = Err(FetchError::Disconnected);
                    effects.push(Effect::Outcome(FetchOutcome { id, peer: Some(peer), result }));
                }
            }
            _ => {}
        }
        // what it gives out in one go, it counts as given
        let mut free_at: Vec<Instant> = peers.iter().map(|peer| peer.free_at).collect();
        let (out, mut waiting) = (&mut self.out, VecDeque::new());
        for request in self.queue.drain(..) {
            match best(now, &request, peers, &free_at, sizes) {
                Some((at, done, items)) => {
                    let peer = &peers[at];
                    free_at[at] = done - peer.speed.round_trip / 2;
                    out.insert(request.id, peer.id);
                    let session = peer.session.unwrap();
                    let request = request.id;
                    let fetch = SessionCommand::Fetch { session, request, items };
                    effects.push(Effect::Command(fetch));
                }
                None => waiting.push_back(request),
            }
        }
        self.queue = waiting;
    }
}

fn best(
    now: Instant,
    request: &FetchRequest,
    peers: &[Model],
    free_at: &[Instant],
    sizes: Sizes,
) -> Option<(usize, Instant, FetchItems)> {
    let able = peers.iter().enumerate().filter(|(_, peer)| {
        peer.session.is_some() && peer.serves(&request.items) && !request.avoid.contains(&peer.id)
    });
    let done = |at: usize, items: &FetchItems| {
        let (peer, half) = (&peers[at], peers[at].speed.round_trip / 2);
        free_at[at].max(now + half) + peer.work(now, sizes.of(items)) + half
    };
    let stays = |at: usize, by: Instant| peers[at].breaks_at.is_none_or(|breaks| by < breaks);
    let (_, at) = able.map(|(at, _)| (done(at, &request.items), at)).min()?;
    let items = second_of_work(now, &peers[at], &request.items, sizes);
    let by = done(at, &items);
    if stays(at, by) {
        return Some((at, by, items));
    }
    let able = peers.iter().enumerate().filter(|(at, peer)| {
        peer.session.is_some() && peer.serves(&request.items) && peers[*at].breaks_at.is_none()
    });
    let (by, at) = able.map(|(at, _)| (done(at, &request.items), at)).min()?;
    Some((at, by, request.items.clone()))
}

fn second_of_work(now: Instant, peer: &Model, items: &FetchItems, sizes: Sizes) -> FetchItems {
    let mut items = items.clone();
    let parts = (sizes.of(&items) as f64 / peer.bytes_per_s(now)).ceil().max(1.0) as usize;
    match &mut items {
        FetchItems::Headers { limit, .. } => *limit = limit.div_ceil(parts as u64),
        FetchItems::Bodies { blocks } | FetchItems::Receipts { blocks } => {
            blocks.truncate(blocks.len().div_ceil(parts));
        }
    }
    items
}
