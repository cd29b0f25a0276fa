//! The heap that orders a [`TimerQueue`](crate::TimerQueue).
//!
//! Not the standard library's: this one has four children a node, so that a million timers are ten
//! levels and not twenty, with the four side by side in memory; and it gives access to its last
//! entry, which can go without any reordering.

use crate::TimerKey;

const CHILDREN: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) deadline: u64,
    /// Of two equal deadlines the one with the smaller sequence number comes first.
    pub(crate) sequence: u64,
    pub(crate) key: TimerKey,
}

impl Entry {
    pub(crate) fn order(&self) -> (u64, u64) {
        (self.deadline, self.sequence)
    }
}

/// The smallest entry is the first; every entry is smaller than its children.
#[derive(Debug)]
pub(crate) struct Heap {
    entries: Vec<Entry>,
}

impl Heap {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn peek(&self) -> Option<&Entry> {
        self.entries.first()
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1);
    }

    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let last = self.entries.pop()?;
        let Some(first) = self.entries.first_mut() else {
            return Some(last);
        };
        let first = std::mem::replace(first, last);
        self.sift_down(0);
        Some(first)
    }

    /// Drops entries off the end until the last one's key is `live`. A heap without its last entry
    /// is a heap.
    pub(crate) fn trim(&mut self, live: impl Fn(TimerKey) -> bool) {
        while self.entries.last().is_some_and(|entry| !live(entry.key)) {
            self.entries.pop();
        }
    }

    /// Drops every entry whose key isn't `live`. O(n).
    pub(crate) fn retain(&mut self, live: impl Fn(TimerKey) -> bool) {
        self.entries.retain(|entry| live(entry.key));
        let parents = self.entries.len().saturating_sub(1).div_ceil(CHILDREN);
        for parent in (0..parents).rev() {
            self.sift_down(parent);
        }
    }

    /// Takes all entries out, in no particular order.
    pub(crate) fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }

    fn sift_up(&mut self, mut place: usize) {
        let entry = self.entries[place];
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.entries[parent].order() <= entry.order() {
                break;
            }
            self.entries[place] = self.entries[parent];
            place = parent;
        }
        self.entries[place] = entry;
    }

    fn sift_down(&mut self, mut place: usize) {
        let entry = self.entries[place];
        loop {
            let first = place * CHILDREN + 1;
            let end = (first + CHILDREN).min(self.entries.len());
            let Some(child) = (first..end).min_by_key(|&child| self.entries[child].order()) else {
                break;
            };
            if entry.order() <= self.entries[child].order() {
                break;
            }
            self.entries[place] = self.entries[child];
            place = child;
        }
        self.entries[place] = entry;
    }
}

#[cfg(test)]
mod tests;
