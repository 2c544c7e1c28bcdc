//! Compression of message data: snappy's block format (EIP-706).

use snap::raw::{Decoder, Encoder, decompress_len};
use thiserror::Error;

/// The most that one element of a snappy block expands: three bytes into 64.
const MAX_RATIO: usize = 22;

/// Why compressed data is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SnappyError {
    /// It says that it expands to more than is allowed, or than its size can give.
    #[error("{compressed} compressed bytes claim to hold {declared}, and {limit} are allowed")]
    Length {
        /// Size of the compressed data.
        compressed: usize,
        /// Size it declares.
        declared: usize,
        /// Size allowed.
        limit: usize,
    },
    /// It is not a snappy block.
    #[error("malformed snappy data: {0}")]
    Malformed(String),
}

impl From<snap::Error> for SnappyError {
    fn from(error: snap::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Expands a block. The length it declares is checked before anything is allocated.
pub fn decompress(data: &[u8], limit: usize) -> Result<Vec<u8>, SnappyError> {
    check_length(data, limit)?;
    Ok(Decoder::new().decompress_vec(data)?)
}

/// Checks the length that a block declares, and expands nothing.
pub(crate) fn check_length(data: &[u8], limit: usize) -> Result<(), SnappyError> {
    let declared = decompress_len(data)?;
    let compressed = data.len();
    if declared > limit || declared > compressed.saturating_mul(MAX_RATIO) {
        return Err(SnappyError::Length { compressed, declared, limit });
    }
    Ok(())
}

/// Compresses a message's data.
pub fn compress(encoder: &mut Encoder, data: &[u8]) -> Result<Vec<u8>, SnappyError> {
    Ok(encoder.compress_vec(data)?)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_by_its_declared_length() {
        // a block that declares 4 GiB - 1 in its five-byte preamble
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00];
        let refused = decompress(&bomb, 10 << 20);
        assert!(
            matches!(refused, Err(SnappyError::Length { declared: 0xffff_ffff, .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_length_within_the_limit_that_the_data_cannot_give_is_refused() {
        // declares 8 MiB in six bytes
        let bomb = [0x80, 0x80, 0x80, 0x04, 0x00, 0x00];
        assert!(
            matches!(decompress(&bomb, 10 << 20), Err(SnappyError::Length { declared, .. }) if declared == 8 << 20)
        );
    }

    #[test]
    fn the_most_compressible_data_still_passes() {
        let zeros = vec![0; 10 << 20];
        let packed = compress(&mut Encoder::new(), &zeros).unwrap();
        assert_eq!(decompress(&packed, 10 << 20).unwrap(), zeros);
        assert!(decompress(&packed, (10 << 20) - 1).is_err());
    }
}
