//! A worker's cache of earlier layers: compressed chunks, and the hash states after each chunk of a
//! layer.

use std::sync::Arc;

use sha2::Sha256;

use super::lift::Verdict;
use crate::cache::{Cache, Stats};
use crate::chunk::Key;
use crate::toc::Sums;

/// Maximum number of cached digest states, of 300 bytes each. There is one per chunk, and a layer of a
/// gigabyte has about 1,800 chunks.
const MAX_STATES: u64 = 1 << 16;

/// Maximum size of the cached verdicts, of 100 bytes each and 16 for each part of the file.
const MAX_VERDICT_BYTES: u64 = 8 << 20;

/// Caches compressed chunks, digest states and verified wheels across layers.
pub struct ChunkCache {
    pub(super) chunks: Cache<Key, Arc<CompressedChunk>>,
    pub(super) states: Cache<Key, StreamState>,
    /// By the key of the first chunk with the file's content.
    pub(super) verdicts: Cache<Key, Verdict>,
}

/// A compressed chunk.
pub(super) struct CompressedChunk {
    /// `None` if the codec does not compress.
    pub(super) bytes: Option<Vec<u8>>,
    /// Of the uncompressed chunk, if a table of contents has them.
    pub(super) sums: Option<Sums>,
    /// The ELF images that begin in the chunk, by entry number relative to the chunk's first entry.
    pub(super) machines: Vec<(usize, u16)>,
}

/// The state of both hashes after some chunks.
#[derive(Clone, Default)]
pub(super) struct StreamState {
    pub(super) plain: Sha256,
    pub(super) blob: Sha256,
    /// The size of the blob so far, in bytes.
    pub(super) size: u64,
}

impl ChunkCache {
    /// A cache that holds at most `budget` bytes of compressed chunks.
    pub fn new(budget: u64) -> ChunkCache {
        ChunkCache {
            chunks: Cache::new(budget),
            states: Cache::new(MAX_STATES),
            verdicts: Cache::new(MAX_VERDICT_BYTES),
        }
    }

    /// The statistics of the chunks.
    pub fn stats(&self) -> Stats {
        self.chunks.stats()
    }

    /// The length of the longest cached prefix in chunks, and the state after it. `prefixes` are the keys
    /// of the first chunk, the first two chunks, and so on.
    pub(super) fn longest_prefix(&self, prefixes: &[Key]) -> (usize, StreamState) {
        let states = prefixes.iter().enumerate().rev().map(|(index, key)| (index + 1, self.states.get(key)));
        states.filter_map(|(count, state)| Some((count, state?))).next().unwrap_or_default()
    }
}

/// The keys of the first chunk, the first two chunks, and so on, up to the first chunk without a key.
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
