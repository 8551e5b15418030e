//! What a worker remembers of the layers that it has written: compressed chunks, and where hashing
//! stood after each chunk of a layer.

use std::sync::Arc;

use sha2::Sha256;

use crate::cache::{Cache, Stats};
use crate::chunk::Key;

/// Digest states that are remembered, 300 bytes each: one per chunk, and a layer of a gigabyte has
/// some 1,800 chunks.
const MAX_STATES: u64 = 1 << 16;

/// What a worker remembers of the layers that it has written.
pub struct ChunkCache {
    pub(super) chunks: Cache<Key, Arc<CompressedChunk>>,
    pub(super) states: Cache<Key, StreamState>,
}

/// A chunk as it goes into a layer.
pub(super) struct CompressedChunk {
    /// `None` where the codec leaves the bytes as they are.
    pub(super) bytes: Option<Vec<u8>>,
    /// The ELF images that begin in the chunk, by entry number counted from the chunk's first entry.
    pub(super) machines: Vec<(usize, u16)>,
}

/// Where hashing stands after a number of chunks.
#[derive(Clone, Default)]
pub(super) struct StreamState {
    pub(super) plain: Sha256,
    pub(super) blob: Sha256,
    /// Bytes of the blob.
    pub(super) size: u64,
}

impl ChunkCache {
    /// A cache that holds at most `budget` bytes of compressed chunks.
    pub fn new(budget: u64) -> ChunkCache {
        ChunkCache { chunks: Cache::new(budget), states: Cache::new(MAX_STATES) }
    }

    /// How often chunks were known, and the bytes that they take.
    pub fn stats(&self) -> Stats {
        self.chunks.stats()
    }

    /// How many of the first chunks are known together, by the keys of the first, the first two and
    /// so on; and the state after them.
    pub(super) fn longest_prefix(&self, prefixes: &[Key]) -> (usize, StreamState) {
        let states = prefixes.iter().enumerate().rev().map(|(index, key)| (index + 1, self.states.get(key)));
        states.filter_map(|(count, state)| Some((count, state?))).next().unwrap_or_default()
    }
}

/// The keys of the first chunk, the first two chunks and so on, up to the first without a key.
pub(super) fn prefix_keys(keys: &[Option<Key>]) -> Vec<Key> {
    let mut prefix = Key([0; 32]);
    let keys = keys.iter().map_while(|key| *key);
    keys.map(|key| {
        prefix = prefix.then(&key);
        prefix
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key([number; 32])
    }

    #[test]
    fn prefixes_end_before_the_first_chunk_without_a_key() {
        let keys = [Some(key(1)), Some(key(2)), None, Some(key(4))];
        let prefixes = prefix_keys(&keys);
        assert_eq!(prefixes.len(), 2);
        assert!(prefixes == prefix_keys(&keys[..2]));
        assert!(prefixes != prefix_keys(&[Some(key(2)), Some(key(1))]), "the order counts");
    }

    #[test]
    fn the_longest_known_prefix_is_found() {
        let cache = ChunkCache::new(0);
        let prefixes = prefix_keys(&[Some(key(1)), Some(key(2)), Some(key(3))]);
        assert_eq!(cache.longest_prefix(&prefixes).0, 0);
        for (count, size) in [(1, 10), (2, 20)] {
            cache.states.put(prefixes[count - 1], StreamState { size, ..StreamState::default() }, 1);
        }
        let (count, state) = cache.longest_prefix(&prefixes);
        assert_eq!((count, state.size), (2, 20));
        let (count, state) = cache.longest_prefix(&prefixes[..1]);
        assert_eq!((count, state.size), (1, 10));
    }
}
