//! What the tree wants: taken up, taken over, dropped, failed.

use std::time::Instant;

use alloy_primitives::B256;
use moorline_messages::{
    ActorName, BlockNumHash, DownloadFailure, DownloadOutcome, DownloadRequest, RequestId,
    StoreRequest,
};

use super::{CHAINS_MAX, Chain, DownloaderCore, Effect, part::PartKind};

impl DownloaderCore {
    pub(super) fn on_request(
        &mut self,
        now: Instant,
        request: DownloadRequest,
        effects: &mut Vec<Effect>,
    ) {
        match request {
            DownloadRequest::BlockSet { id, hashes } => {
                let is_new = |hash: &&B256| {
                    !self.chains.iter().any(|chain| chain.head == **hash && chain.count == 1)
                };
                let new = hashes.iter().filter(is_new).count();
                // a part of it would end as if it were the whole
                if self.chains.len().saturating_add(new) > CHAINS_MAX {
                    return;
                }
                for hash in hashes {
                    self.begin(now, id, hash, 1, effects);
                }
                if self.chains.iter().filter(|chain| chain.request == id).count() > 1 {
                    self.sets.entry(id).or_default();
                }
            }
            DownloadRequest::BlockRange { id, head, count } => {
                self.begin(now, id, head, count.max(1), effects);
                self.drop_orphans(id, effects);
            }
            DownloadRequest::Cancel { id } => self.end(id, effects),
        }
    }

    /// Takes a download up, unless it is under way. A tree that restarted asks for the same blocks by
    /// an id of its own: it gets them all, and nothing is fetched for it again.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        request: RequestId,
        head: B256,
        count: u64,
        effects: &mut Vec<Effect>,
    ) {
        let same = |chain: &Chain| chain.head == head && chain.count == count;
        if self.chains.iter().any(|chain| same(chain) && chain.request == request) {
            return;
        }
        let of_the_dead =
            |chain: &Chain| same(chain) && chain.request.incarnation() < request.incarnation();
        let dead = self.chains.iter_mut().find(|chain| of_the_dead(chain));
        if let Some(chain) = dead.filter(|chain| chain.delivered == 0) {
            chain.request = request;
            effects.push(started(chain));
            return;
        }
        self.drop_chains(of_the_dead, effects);
        if self.chains.len() >= CHAINS_MAX {
            return;
        }
        let id = self.ids.take();
        let chain = Chain::new(id, request, head, count);
        effects.push(started(&chain));
        // the shorter one is nearer to the head, and must not wait for a long history to end
        let at = self.chains.partition_point(|other| other.count <= count);
        let find = StoreRequest::Find { id, from: ActorName::Downloader, hashes: vec![head] };
        self.read(now, id, find, effects);
        self.chains.insert(at, chain);
    }

    /// A tree that restarted has told again what it wants: what its dead incarnations wanted would
    /// only stand in the way.
    fn drop_orphans(&mut self, request: RequestId, effects: &mut Vec<Effect>) {
        let incarnation = request.incarnation();
        self.drop_chains(|chain| chain.request.incarnation() < incarnation, effects);
        self.sets.retain(|id, _| id.incarnation() >= incarnation);
    }

    /// Drops downloads and takes back their header fetches. Another download is about to want most of
    /// their bodies, so those stay until it ends.
    pub(super) fn drop_chains(
        &mut self,
        which: impl Fn(&Chain) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        self.chains.retain(|chain| !which(chain));
        self.take_back_orphaned(effects);
    }

    /// Drops a download, and whatever only it wanted.
    pub(super) fn end(&mut self, request: RequestId, effects: &mut Vec<Effect>) {
        self.chains.retain(|chain| chain.request != request);
        self.sets.remove(&request);
        self.take_back_needless(effects);
    }

    pub(super) fn fail(
        &mut self,
        request: RequestId,
        reason: DownloadFailure,
        effects: &mut Vec<Effect>,
    ) {
        self.end(request, effects);
        effects.push(Effect::Tell(DownloadOutcome::Failed { request, reason }));
    }

    /// Fails every download that waits for a part of a block.
    pub(super) fn fail_block(
        &mut self,
        (block, kind): (&BlockNumHash, PartKind),
        reason: &DownloadFailure,
        effects: &mut Vec<Effect>,
    ) {
        let waiting = self.chains.iter().filter(|chain| chain.misses(*block, kind));
        let requests: Vec<_> = waiting.map(|chain| chain.request).collect();
        match kind {
            PartKind::Body => self.bodies.forget(block),
            PartKind::Receipts => self.receipts.forget(block),
        }
        for request in requests {
            self.fail(request, reason.clone(), effects);
        }
    }
}

fn started(chain: &Chain) -> Effect {
    Effect::Tell(DownloadOutcome::NewDownloadStarted {
        request: chain.request,
        target: chain.head,
        remaining_blocks: chain.remaining(),
    })
}
