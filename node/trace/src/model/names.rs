//! Tables of names, each name once, with bounds.

use std::collections::HashMap;

/// A name's number, by the name; and the other way round.
#[derive(Clone, Debug)]
pub(super) struct Names {
    names: Vec<String>,
    index: HashMap<Box<[u8]>, u32>,
    /// Where a name with these few bytes was found the last time, so that most names need no hashing.
    recent: Vec<u32>,
    most: u32,
    text_bytes: usize,
    most_text_bytes: usize,
}

const RECENT: usize = 1024;

impl Names {
    /// A table of so many names at most, and so many bytes of them.
    pub(super) fn new(most: u32, most_text_bytes: usize) -> Self {
        Self {
            names: Vec::new(),
            index: HashMap::new(),
            recent: vec![u32::MAX; RECENT],
            most,
            text_bytes: 0,
            most_text_bytes,
        }
    }

    pub(super) fn all(&self) -> &[String] {
        &self.names
    }

    /// The number of a name, which is put into the table if it is new. Beyond the bound, `None`.
    pub(super) fn number(&mut self, name: &[u8]) -> Option<u32> {
        let slot = slot(name);
        let recent = self.recent.get(slot).copied().unwrap_or(u32::MAX);
        if self.names.get(recent as usize).is_some_and(|known| known.as_bytes() == name) {
            return Some(recent);
        }
        let number = match self.index.get(name) {
            Some(number) => *number,
            None => self.insert(name)?,
        };
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = number;
        }
        Some(number)
    }

    /// The number of a name that is in the table.
    pub(super) fn known(&self, name: &[u8]) -> Option<u32> {
        self.index.get(name).copied()
    }

    fn insert(&mut self, name: &[u8]) -> Option<u32> {
        let number = u32::try_from(self.names.len()).ok().filter(|number| *number < self.most)?;
        let text_bytes = self.text_bytes.saturating_add(name.len());
        if text_bytes > self.most_text_bytes {
            return None;
        }
        self.text_bytes = text_bytes;
        self.names.push(String::from_utf8_lossy(name).into_owned());
        self.index.insert(name.into(), number);
        Some(number)
    }
}

fn slot(name: &[u8]) -> usize {
    let at = |index: usize| name.get(index).copied().map_or(0, usize::from);
    let half = name.len() / 2;
    let mixed = name
        .len()
        .wrapping_mul(131)
        .wrapping_add(at(half).wrapping_mul(31))
        .wrapping_add(at(name.len().wrapping_sub(1)).wrapping_mul(17))
        .wrapping_add(at(name.len().wrapping_sub(4)).wrapping_mul(7))
        .wrapping_add(at(0));
    mixed % RECENT
}
