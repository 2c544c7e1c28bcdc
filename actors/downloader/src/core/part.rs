//! What a block has beside its header, kind by kind.

use std::fmt::Debug;

use alloy_consensus::constants::EMPTY_RECEIPTS;
use alloy_primitives::B256;
use moorline_messages::{
    BlockNumHash, Body, Breach, Conduct, FetchItems, Receipts, SealedHeader, Weigh,
};
use moorline_rules::{
    ChainSpec,
    body::{BodyKey, body_key, validate_body},
    receipts::{ReceiptsKey, validate_receipts},
};

/// Names a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PartKind {
    Body,
    Receipts,
}

impl PartKind {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Body => Self::Receipts,
            Self::Receipts => Self::Body,
        }
    }
}

/// A kind of part: how it is asked for, and how it is proved against a header.
pub(super) trait Part: Weigh + Debug + Sized {
    const KIND: PartKind;
    /// What the header says of it: equal keys mean equal parts.
    type Key: Copy + Ord + Debug;
    /// What was computed from its bytes.
    type Proof: Debug;
    /// Most blocks in one request.
    const ITEMS_MAX: usize;
    /// What a peer did that sent one nobody asked for.
    const UNASKED: Conduct;

    fn ask(blocks: Vec<BlockNumHash>) -> FetchItems;
    fn key_in(header: &SealedHeader) -> Self::Key;
    /// `None` where the bytes make no sense.
    fn key_of(proof: &Self::Proof) -> Option<Self::Key>;
    /// Whether it is how a peer says, in the place of one that was asked for, that it has none.
    fn is_absence(proof: &Self::Proof) -> bool;
    /// Checks the rules that it must keep once its key is right.
    fn validate(
        spec: &ChainSpec,
        header: &SealedHeader,
        this: (&Self::Proof, &Self),
    ) -> Result<(), Breach>;
}

impl Part for Body {
    const KIND: PartKind = PartKind::Body;
    type Key = BodyKey;
    type Proof = BodyKey;
    const ITEMS_MAX: usize = FetchItems::MAX_BODIES;
    const UNASKED: Conduct = Conduct::UnaskedBody;

    fn ask(blocks: Vec<BlockNumHash>) -> FetchItems {
        FetchItems::Bodies { blocks }
    }

    fn key_in(header: &SealedHeader) -> BodyKey {
        body_key(header)
    }

    fn key_of(proof: &BodyKey) -> Option<BodyKey> {
        Some(*proof)
    }

    fn is_absence(_: &BodyKey) -> bool {
        false
    }

    fn validate(
        spec: &ChainSpec,
        header: &SealedHeader,
        (_, body): (&BodyKey, &Self),
    ) -> Result<(), Breach> {
        validate_body(spec, header, body)
    }
}

impl Part for Receipts {
    const KIND: PartKind = PartKind::Receipts;
    type Key = B256;
    type Proof = Option<ReceiptsKey>;
    const ITEMS_MAX: usize = FetchItems::MAX_RECEIPTS;
    const UNASKED: Conduct = Conduct::UnaskedReceipts;

    fn ask(blocks: Vec<BlockNumHash>) -> FetchItems {
        FetchItems::Receipts { blocks }
    }

    fn key_in(header: &SealedHeader) -> B256 {
        header.receipts_root
    }

    fn key_of(proof: &Option<ReceiptsKey>) -> Option<B256> {
        proof.map(|key| key.root)
    }

    /// Nethermind leaves no block out: of one it lacks it sends an empty list, and none is asked for whose
    /// list is empty.
    fn is_absence(proof: &Option<ReceiptsKey>) -> bool {
        proof.is_some_and(|key| key.root == EMPTY_RECEIPTS)
    }

    fn validate(
        spec: &ChainSpec,
        header: &SealedHeader,
        (proof, _): (&Option<ReceiptsKey>, &Self),
    ) -> Result<(), Breach> {
        // without a proof there is no key, and nothing to match
        proof.as_ref().map_or(Ok(()), |key| validate_receipts(spec, header, key))
    }
}
