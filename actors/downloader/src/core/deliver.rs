//! From proved parts to delivered blocks.

use std::{sync::Arc, time::Instant};

use moorline_messages::{
    ActorName, DownloadOutcome, PeerReport, RequestId, SealedHeader, StoreRequest,
};

use super::{DownloaderCore, Effect, chain::Chain, descent::Step};

impl DownloaderCore {
    /// Moves every download's frontier as far down as what is here allows.
    pub(super) fn advance(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let mut judgements = Vec::new();
        let mut failed = Vec::new();
        for at in 0..self.chains.len() {
            while let Some(chain) = self.chains.get_mut(at) {
                let (id, request) = (chain.id, chain.request);
                match chain.descent.advance(&self.spans, &mut judgements) {
                    Ok(Some(Step::Linked(headers))) => {
                        self.watchdog.moves(true);
                        if let Some(linked) = &mut self.linked_since_resumed {
                            *linked = linked.saturating_add(1);
                        }
                        self.keep(now, id, headers, effects);
                    }
                    Ok(Some(Step::Adopted(span))) => {
                        self.watchdog.moves(true);
                        chain.add_stored(span);
                    }
                    Ok(None) => break,
                    Err(reason) => {
                        failed.push((request, reason));
                        break;
                    }
                }
            }
        }
        for judged in judgements {
            self.watchdog.judged(judged.conduct);
            let report =
                PeerReport { peer: judged.peer, request: judged.fetch, conduct: judged.conduct };
            effects.push(Effect::Report(report));
        }
        for (request, reason) in failed {
            self.fail(request, reason, effects);
        }
    }

    /// Delivers what is whole, ascending, as far as the tree has room.
    pub(super) fn deliver(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let mut at = 0;
        while at < self.chains.len() {
            self.deliver_chain(now, at, effects);
            if self.chains.get(at).is_some_and(Chain::is_over) {
                let chain = self.chains.remove(at);
                // whoever waits for the end wants the last figures with it
                self.tell_at = Some(now);
                self.finish_set(&chain, effects);
                // what a dead tree wanted beside it
                self.take_back_needless(effects);
            } else {
                at = at.saturating_add(1);
            }
        }
        self.forget_delivered_spans();
    }

    /// The canonical index finds what is delivered; its spans are needed only by whoever is still on
    /// the way down to them.
    fn forget_delivered_spans(&mut self) {
        if self.chains.iter().all(|chain| chain.descent.is_done()) {
            for top in self.delivered.drain(..) {
                self.spans.remove(&top);
            }
        }
    }

    fn deliver_chain(&mut self, now: Instant, at: usize, effects: &mut Vec<Effect>) {
        while let Some(chain) = self.chains.get_mut(at).filter(|_| self.tree_has_room) {
            if let Some((span, blocks)) = chain.take_delivery() {
                let request = chain.request;
                self.watchdog.moves(true);
                self.delivered.push(span.top.hash);
                let remaining_blocks = chain.undelivered();
                match self.sets.get_mut(&request) {
                    Some(done) => done.extend(blocks),
                    None => effects.push(blocks_outcome(request, blocks, remaining_blocks)),
                }
                continue;
            }
            if !chain.must_read() {
                return;
            }
            let id = self.ids.take();
            let Some((top, limit)) = chain.read_next(id) else { return };
            let from = ActorName::Downloader;
            self.read(now, id, StoreRequest::Walk { id, from, top, limit }, effects);
            return;
        }
    }

    /// A set is delivered whole, so that its blocks ascend.
    fn finish_set(&mut self, ended: &Chain, effects: &mut Vec<Effect>) {
        let request = ended.request;
        if self.chains.iter().any(|chain| chain.request == request) {
            return;
        }
        if let Some(mut blocks) = self.sets.remove(&request) {
            blocks.sort_by_key(|header| (header.number, header.hash()));
            // a set that is asked for again while it is under way finds what was done in the store
            blocks.dedup_by_key(|header| header.hash());
            effects.push(blocks_outcome(request, blocks, 0));
        }
    }
}

fn blocks_outcome(
    request: RequestId,
    blocks: Vec<Arc<SealedHeader>>,
    remaining_blocks: u64,
) -> Effect {
    Effect::Tell(DownloadOutcome::Blocks { request, blocks, remaining_blocks })
}
