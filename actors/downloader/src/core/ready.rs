//! What may be asked for next: the urgent first.

use std::collections::VecDeque;

use moorline_messages::BlockNumHash;

/// Two queues. A name may stand in both, or stand there although it was asked for since: whoever
/// takes one looks first.
#[derive(Debug, Default)]
pub(super) struct Ready {
    urgent: VecDeque<BlockNumHash>,
    others: VecDeque<BlockNumHash>,
}

impl Ready {
    const fn queue(&mut self, urgent: bool) -> &mut VecDeque<BlockNumHash> {
        if urgent { &mut self.urgent } else { &mut self.others }
    }

    pub(super) fn push_back(&mut self, block: BlockNumHash, urgent: bool) {
        self.queue(urgent).push_back(block);
    }

    /// What was taken out and is to go before its like.
    pub(super) fn push_front(&mut self, block: BlockNumHash, urgent: bool) {
        self.queue(urgent).push_front(block);
    }

    pub(super) fn front(&self) -> Option<BlockNumHash> {
        self.urgent.front().or_else(|| self.others.front()).copied()
    }

    pub(super) fn pop_front(&mut self) {
        if self.urgent.pop_front().is_none() {
            self.others.pop_front();
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&BlockNumHash) -> bool) {
        self.urgent.retain(&keep);
        self.others.retain(&keep);
    }
}
