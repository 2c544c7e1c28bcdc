//! What a message weighs, so that queues can be bounded in bytes.

/// The memory a queued message keeps alive, beyond its own fixed size.
///
/// The figure is an estimate that is cheap to compute; it bounds queues, it does not bill them.
pub trait Weigh {
    /// Bytes held by this message on the heap.
    fn weight_bytes(&self) -> usize;
}
