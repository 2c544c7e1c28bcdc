//! Many small byte strings in one allocation.

use alloy_primitives::Bytes;

/// Writes all items into one buffer, of which each is a slice.
pub(crate) fn slices<T>(items: &[T], mut write: impl FnMut(&T, &mut Vec<u8>)) -> Vec<Bytes> {
    let mut buffer = Vec::new();
    let mut ends = Vec::with_capacity(items.len());
    for item in items {
        write(item, &mut buffer);
        ends.push(buffer.len());
    }
    let buffer = Bytes::from(buffer);
    let mut start = 0;
    let slice = |end| {
        let slice = buffer.slice(start..end);
        start = end;
        slice
    };
    ends.into_iter().map(slice).collect()
}
