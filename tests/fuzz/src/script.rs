//! Bytes as a script: what a target does next is what the next bytes say.

/// What is left of a script. Beyond its end everything is zero and empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// A number below `below`, which is not zero.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        usize::from(self.byte()) % below
    }

    pub(crate) fn number(&mut self) -> u16 {
        let bytes = self.bytes(2);
        bytes.iter().fold(0, |number, byte| (number << 8) | u16::from(*byte))
    }

    /// So many bytes, or as many as there are.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Bytes whose count comes first.
    pub(crate) fn counted(&mut self) -> &'a [u8] {
        let count = self.number();
        self.bytes(count.into())
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.bytes(self.0.len())
    }
}

/// Bytes as [`Script::counted`] reads them.
pub(crate) fn counted(bytes: &[u8]) -> Vec<u8> {
    let count = u16::try_from(bytes.len()).expect("seeds are short");
    [&count.to_be_bytes(), bytes].concat()
}
