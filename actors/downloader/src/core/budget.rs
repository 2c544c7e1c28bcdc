//! How much may be under way at once.

/// Bounds of the downloader, from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that the answers under way may bring, as far as they can be foreseen.
    pub in_flight_bytes: usize,
    /// Bytes that may be held on the way to the disk: unlinked headers, and what is proved.
    pub buffer_bytes: usize,
    /// Blocks whose bodies, and receipts, may be wanted at once.
    pub queue_items: usize,
    /// Header fetches that may be out at once.
    pub header_fetches: usize,
    /// Fetches that may be out at once of bodies, and as many of receipts.
    pub body_fetches: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            in_flight_bytes: 48 << 20,
            buffer_bytes: 64 << 20,
            queue_items: 32_768,
            header_fetches: 32,
            body_fetches: 64,
        }
    }
}
