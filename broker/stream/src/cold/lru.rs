use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A cache with a budget in bytes that forgets what was used longest ago. Pure.
///
/// The newest entry always stays, however large: a reader must get on.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    budget: u64,
    bytes: u64,
    uses: u64,
    entries: HashMap<K, Entry<V>>,
    by_use: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<K: Hash + Eq + Copy, V> Lru<K, V> {
    pub(super) fn new(budget: u64) -> Self {
        Lru { budget, bytes: 0, uses: 0, entries: HashMap::new(), by_use: BTreeMap::new() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn clear(&mut self) {
        *self = Lru::new(self.budget);
    }

    /// Looks an entry up, which counts as a use.
    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        self.by_use.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(self.uses, *key);
        Some(&entry.value)
    }

    /// Adds an entry; what had to go for it is returned.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: u64) -> Vec<V> {
        let mut gone: Vec<V> = self.remove(&key).into_iter().collect();
        self.uses += 1;
        self.bytes += bytes;
        self.entries.insert(key, Entry { value, bytes, used: self.uses });
        self.by_use.insert(self.uses, key);
        while self.bytes > self.budget && self.entries.len() > 1 {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            let entry = self.entries.remove(&oldest).expect("both maps have the same keys");
            self.bytes -= entry.bytes;
            gone.push(entry.value);
        }
        gone
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.by_use.remove(&entry.used);
        self.bytes -= entry.bytes;
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut lru = Lru::new(10);
        assert!(lru.insert('a', 1, 4).is_empty());
        assert!(lru.insert('b', 2, 4).is_empty());
        assert_eq!(lru.get(&'a'), Some(&1));
        assert_eq!(lru.insert('c', 3, 4), [2]);
        assert_eq!(lru.get(&'a'), Some(&1));
        assert_eq!(lru.get(&'b'), None);
        assert_eq!(lru.bytes(), 8);
    }

    #[test]
    fn an_entry_larger_than_the_budget_stays_until_the_next() {
        let mut lru = Lru::new(10);
        lru.insert('a', 1, 4);
        assert_eq!(lru.insert('b', 2, 40), [1]);
        assert_eq!(lru.get(&'b'), Some(&2));
        assert_eq!(lru.insert('c', 3, 1), [2]);
        assert_eq!(lru.bytes(), 1);
    }

    #[test]
    fn the_same_key_again_replaces() {
        let mut lru = Lru::new(10);
        lru.insert('a', 1, 4);
        assert_eq!(lru.insert('a', 2, 5), [1]);
        assert_eq!(lru.get(&'a'), Some(&2));
        assert_eq!(lru.bytes(), 5);
    }
}
