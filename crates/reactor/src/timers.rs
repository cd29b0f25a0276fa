//! Values that become due at an instant.

use std::num::NonZeroU32;

use crate::heap::{Entry, Heap};

/// Below this size stale entries aren't worth a sweep.
const SWEEP_FROM: usize = 64;

/// The number of no slot.
const NONE: u32 = u32::MAX;

/// Names one timer of one [`TimerQueue`]. Eight bytes, as is an `Option` of it.
///
/// A key never names another timer than the one it was made for: once that has been cancelled or
/// come due, the key names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    slot: u32,
    generation: NonZeroU32,
}

/// A queue of values ordered by deadline; equal deadlines come out in the order of insertion.
///
/// Deadlines are in nanoseconds on [the clock](crate::clock), though the queue never reads it and
/// any unit would do.
///
/// ```
/// use ferrio_reactor::TimerQueue;
///
/// let mut timers = TimerQueue::new();
/// timers.insert(300, "late");
/// let timeout = timers.insert(200, "timeout");
/// timers.insert(100, "early");
///
/// assert_eq!(timers.cancel(timeout), Some("timeout"));
/// assert_eq!(timers.cancel(timeout), None);
///
/// assert_eq!(timers.next_deadline(), Some(100));
/// assert_eq!(timers.pop_due(250), Some("early"));
/// assert_eq!(timers.pop_due(250), None);
/// assert_eq!(timers.len(), 1);
/// ```
///
/// # How it works
///
/// The values lie in slots that don't move; a heap orders their deadlines. Most timers of a network
/// program are timeouts, inserted to be cancelled, so cancelling touches the slot only: the value
/// is handed back at once and the heap's entry goes stale. Stale entries are dropped when they come
/// to the top, when they are the last (a timeout that is cancelled at once usually is, being the
/// furthest away), and all together when they are more than half of the heap: which costs a
/// cancellation a constant on average, and bounds the memory by twice the largest number of live
/// timers.
///
/// No value is ever dropped in here while the queue lives: all are handed out.
#[derive(Debug)]
pub struct TimerQueue<T> {
    slots: Vec<Slot<T>>,
    /// The first of the list of free slots, or `NONE`.
    free: u32,
    heap: Heap,
    live: usize,
    /// How many timers were ever inserted: what orders equal deadlines.
    inserted: u64,
}

#[derive(Debug)]
struct Slot<T> {
    /// Counts the timers that this slot has held.
    generation: NonZeroU32,
    /// While the slot is free: the next free one, or `NONE`.
    next: u32,
    /// While the slot is taken: the timer's.
    value: Option<T>,
}

impl<T> Slot<T> {
    fn holds(&self, key: TimerKey) -> bool {
        self.generation == key.generation && self.value.is_some()
    }
}

impl<T> TimerQueue<T> {
    /// An empty queue. Allocates nothing yet.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, heap: Heap::new(), live: 0, inserted: 0 }
    }

    /// Adds `value`, due at `deadline`, which may have passed. O(log n), O(1) when most others are
    /// due earlier.
    ///
    /// # Panics
    ///
    /// With four billion timers pending.
    pub fn insert(&mut self, deadline: u64, value: T) -> TimerKey {
        let key = self.fill_slot(value);
        self.heap.push(Entry { deadline, sequence: self.inserted, key });
        self.inserted += 1;
        self.live += 1;
        key
    }

    /// Takes the timer out and hands its value back; `None` if it has been cancelled or come due.
    /// O(1) on average.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let value = self.empty_slot(key)?;
        let slots = &self.slots;
        self.heap.trim(|key| is_live(slots, key));
        let stale = self.heap.len() - self.live;
        if stale > self.live && self.heap.len() >= SWEEP_FROM {
            self.heap.retain(|key| is_live(slots, key));
        }
        Some(value)
    }

    /// The value with the earliest deadline, if that is not after `now`. Call it until it returns
    /// `None` for all that are due.
    pub fn pop_due(&mut self, now: u64) -> Option<T> {
        if self.next_deadline()? > now {
            return None;
        }
        let entry = self.heap.pop()?;
        self.empty_slot(entry.key)
    }

    /// The earliest deadline, or `None` when nothing is pending. (Drops stale entries on the way,
    /// hence `&mut`.)
    pub fn next_deadline(&mut self) -> Option<u64> {
        while let Some(entry) = self.heap.peek() {
            if is_live(&self.slots, entry.key) {
                return Some(entry.deadline);
            }
            self.heap.pop();
        }
        None
    }

    /// How many timers are pending. Cancelled ones don't count.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether none is pending.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The pending values in no particular order, for example to show them to a garbage collector.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// Takes all pending values out, in the order in which they would have come due. The queue is
    /// empty afterwards, and usable.
    ///
    /// ```
    /// let mut timers = ferrio_reactor::TimerQueue::new();
    /// timers.insert(2, 'b');
    /// timers.insert(1, 'a');
    /// assert_eq!(timers.take_all(), ['a', 'b']);
    /// assert!(timers.is_empty());
    /// ```
    pub fn take_all(&mut self) -> Vec<T> {
        let mut entries = self.heap.take();
        entries.sort_unstable_by_key(Entry::order);
        entries.iter().filter_map(|entry| self.empty_slot(entry.key)).collect()
    }

    fn fill_slot(&mut self, value: T) -> TimerKey {
        if let Some(slot) = self.slots.get_mut(self.free as usize) {
            let key = TimerKey { slot: self.free, generation: slot.generation };
            self.free = slot.next;
            slot.value = Some(value);
            return key;
        }
        let key = TimerKey { slot: self.slots.len() as u32, generation: NonZeroU32::MIN };
        assert!(self.slots.len() < NONE as usize, "too many timers");
        self.slots.push(Slot { generation: key.generation, next: NONE, value: Some(value) });
        key
    }

    fn empty_slot(&mut self, key: TimerKey) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        self.live -= 1;
        // A slot whose generations are used up stays out of use, or a key of four billion timers
        // ago would come back to life.
        if let Some(generation) = slot.generation.checked_add(1) {
            slot.generation = generation;
            slot.next = self.free;
            self.free = key.slot;
        }
        Some(value)
    }
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn is_live<T>(slots: &[Slot<T>], key: TimerKey) -> bool {
    slots[key.slot as usize].holds(key)
}

#[cfg(test)]
mod tests;
