//! Bodies for `engine_getPayloadBodies`.

use moorline_messages::{Body, PayloadBlocks, StoreError, Weigh};

use super::{Ledger, RecordLog, Records};
use crate::{backend::READ_ITEMS_MAX, group::Known, index::Index};

impl<I: Index, L: RecordLog> Ledger<I, L> {
    /// A body for each block, none where it is not here or not canonical; `None` where they weigh more
    /// than the budget.
    pub(super) fn payload_bodies(
        &self,
        blocks: &PayloadBlocks,
        budget_bytes: usize,
    ) -> Result<Option<Vec<Option<Body>>>, StoreError> {
        let known = self.payload_blocks(blocks)?;
        let mut records = Records::new(&self.log);
        let mut bodies = Vec::with_capacity(known.len());
        let mut gathered_bytes = 0_usize;
        for known in known {
            let body = match known {
                Some(known) => records.body(&known)?,
                None => None,
            };
            let weight = body.as_ref().map_or(0, Weigh::weight_bytes);
            gathered_bytes = gathered_bytes.saturating_add(weight);
            if gathered_bytes > budget_bytes {
                return Ok(None);
            }
            bodies.push(body);
        }
        Ok(Some(bodies))
    }

    /// The canonical ones among the blocks, all by the same canonical chain.
    fn payload_blocks(&self, blocks: &PayloadBlocks) -> Result<Vec<Option<Known>>, StoreError> {
        let asked = match blocks {
            PayloadBlocks::Hashes(hashes) => u64::try_from(hashes.len()).unwrap_or(u64::MAX),
            PayloadBlocks::Range { count, .. } => *count,
        };
        if asked > READ_ITEMS_MAX {
            return Err(StoreError::Rejected(format!(
                "{asked} bodies were asked for at once, and {READ_ITEMS_MAX} are allowed"
            )));
        }
        let _view = self.view();
        match blocks {
            PayloadBlocks::Hashes(hashes) => {
                let mut all = Vec::with_capacity(hashes.len());
                for hash in hashes {
                    // what no head has been named over may be invalid, and is not handed on
                    all.push(match self.index.known_by_hash(*hash)? {
                        Some(known) if self.is_canonical(&known)? => Some(known),
                        _ => None,
                    });
                }
                Ok(all)
            }
            PayloadBlocks::Range { start, count } => {
                let end =
                    start.saturating_add(*count).min(self.index.tip()?.number.saturating_add(1));
                (*start..end).map(|number| self.index.canonical(number)).collect()
            }
        }
    }
}
