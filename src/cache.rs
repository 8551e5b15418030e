//! A bounded LRU cache.
//!
//! A worker caches compiled groups, manifests, compressed chunks and digest states. No cache can change
//! a layer's bytes: a key contains everything that determines the value. For a file, that is the digest
//! from Bazel and the file's [stamp](crate::stamp). A file that has no digest, or may have changed since
//! its stamp was taken, is not cached.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// A cache's hit counts and size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub entries: usize,
    /// The sum of the entries' costs.
    pub cost: u64,
}

/// An LRU cache that bounds the total cost of its entries.
pub struct Cache<K, V> {
    budget: u64,
    entries: Mutex<Entries<K, V>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Entries<K, V> {
    by_key: LruCache<K, (V, u64)>,
    cost: u64,
    evictions: u64,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// A cache whose entries have a total cost of at most `budget`: bytes, or a count if each costs 1.
    pub fn new(budget: u64) -> Cache<K, V> {
        Cache {
            budget,
            entries: Mutex::new(Entries { by_key: LruCache::unbounded(), cost: 0, evictions: 0 }),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The cached value of `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        let value = self.lock().by_key.get(key).map(|(value, _)| value.clone());
        let counter = if value.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        value
    }

    /// Caches `value`, and evicts the least recently used entries until the total cost is within the
    /// budget.
    pub fn put(&self, key: K, value: V, cost: u64) {
        let mut entries = self.lock();
        if cost > self.budget {
            return;
        }
        if let Some((_, old)) = entries.by_key.put(key, (value, cost)) {
            entries.cost -= old;
        }
        entries.cost += cost;
        while entries.cost > self.budget {
            let Some((_, (_, old))) = entries.by_key.pop_lru() else { break };
            entries.cost -= old;
            entries.evictions += 1;
        }
    }

    /// The maximum total cost.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// The statistics so far.
    pub fn stats(&self) -> Stats {
        let entries = self.lock();
        Stats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: entries.evictions,
            entries: entries.by_key.len(),
            cost: entries.cost,
        }
    }

    /// No code that holds the lock calls foreign code, so the entries are consistent even after a panic.
    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::new(100);
        cache.put(1, 'a', 40);
        cache.put(2, 'b', 40);
        assert_eq!(cache.get(&1), Some('a'));
        cache.put(3, 'c', 40);
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some('a'), None, Some('c')));
        assert_eq!(cache.stats(), Stats { hits: 3, misses: 1, evictions: 1, entries: 2, cost: 80 });
    }

    #[test]
    fn replacing_an_entry_counts_once() {
        let cache = Cache::new(100);
        cache.put(1, 'a', 40);
        cache.put(1, 'b', 50);
        assert_eq!((cache.get(&1), cache.stats().cost), (Some('b'), 50));
    }

    #[test]
    fn an_entry_larger_than_the_budget_is_not_cached() {
        let cache = Cache::new(100);
        cache.put(1, 'a', 40);
        cache.put(2, 'b', 101);
        assert_eq!((cache.get(&1), cache.get(&2)), (Some('a'), None));
    }
}
