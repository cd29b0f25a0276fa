//! What a reader has received and nobody has read.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PySlice};

use crate::ffi::{Slot, Traversal, Visit};

/// How much one landing takes: the most that asyncio receives at once.
const LANDING_SIZE: usize = 256 * 1024;

/// How many landings a thread keeps for the next ones.
const LANDINGS_KEPT: usize = 16;

/// Up to this many bytes are copied from the landing, beyond it the landing itself becomes the buffer.
const SMALL: usize = 16 * 1024;

/// How much memory an empty buffer keeps.
const KEPT: usize = 4 * 1024;

thread_local! {
    static LANDINGS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Where bytes land before it is known how many they are.
pub struct Landing(Vec<u8>);

impl Landing {
    /// One that nobody uses.
    #[inline]
    pub fn take() -> Self {
        let kept = LANDINGS.with_borrow_mut(Vec::pop);
        Landing(kept.unwrap_or_else(|| vec![0; LANDING_SIZE]))
    }

    /// Keeps `memory` if it was a landing.
    fn give_back(memory: Vec<u8>) {
        if memory.len() == LANDING_SIZE {
            // A thread that ends keeps nothing.
            let _ended = LANDINGS.try_with(|kept| {
                let mut kept = kept.borrow_mut();
                if kept.len() < LANDINGS_KEPT {
                    kept.push(memory);
                }
            });
        }
    }
}

impl Deref for Landing {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Landing {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        Landing::give_back(std::mem::take(&mut self.0));
    }
}

/// Bytes in the middle of some memory.
#[derive(Default)]
struct Queue {
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

impl Queue {
    fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn append(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        let end = self.end + bytes.len();
        self.memory[self.end..end].copy_from_slice(bytes);
        self.end = end;
    }

    fn make_room(&mut self, count: usize) {
        if self.memory.len() - self.end >= count {
            return;
        }
        let length = self.len();
        // Moving what is there must be cheap beside what was read since the last time.
        if length <= self.start && self.memory.len() - length >= count {
            self.memory.copy_within(self.start..self.end, 0);
        } else {
            let mut larger = vec![0; (length + count).max(2 * length)];
            larger[..length].copy_from_slice(self.as_slice());
            Landing::give_back(std::mem::replace(&mut self.memory, larger));
        }
        self.start = 0;
        self.end = length;
    }

    fn become_landing(&mut self, landing: &mut Landing, count: usize) {
        std::mem::swap(&mut self.memory, &mut landing.0);
        self.start = 0;
        self.end = count;
    }

    fn discard(&mut self, count: usize) {
        self.start += count;
        if self.start < self.end {
            return;
        }
        (self.start, self.end) = (0, 0);
        if self.memory.len() > KEPT {
            Landing::give_back(std::mem::take(&mut self.memory));
        }
    }
}

/// A reader's buffer.
///
/// Python code that asks for it, as asyncio's own and subclasses do, gets a `bytearray`, which is the buffer from then on.
#[derive(Default)]
pub struct Buffer {
    queue: RefCell<Queue>,
    shown: Slot,
}

impl Buffer {
    /// Reports what it owns to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.shown)
    }

    /// Drops everything.
    pub fn clear(&self) {
        drop(self.queue.take());
        self.shown.clear();
    }

    #[inline]
    fn shown<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyByteArray>> {
        if self.shown.is_empty() {
            return None;
        }
        self.shown.get(py)?.cast_into().ok()
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self, py: Python<'_>) -> usize {
        match self.shown(py) {
            Some(shown) => shown.len(),
            None => self.queue.borrow().len(),
        }
    }

    /// Runs `body`, which must not run Python code, on the bytes.
    #[inline]
    pub fn with<R>(&self, py: Python<'_>, body: impl FnOnce(&[u8]) -> R) -> R {
        match self.shown(py) {
            // SAFETY: `body` runs no Python code, so nobody changes the array meanwhile.
            Some(shown) => body(unsafe { shown.as_bytes() }),
            None => body(self.queue.borrow().as_slice()),
        }
    }

    /// Adds bytes at the end. Raises `BufferError` when Python code holds a view on the buffer.
    pub fn append(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        match self.shown(py) {
            Some(shown) => {
                shown.call_method1(intern!(py, "extend"), (PyBytes::new(py, bytes),)).map(drop)
            }
            None => {
                self.queue.borrow_mut().append(bytes);
                Ok(())
            }
        }
    }

    /// Adds the first `count` bytes of `landing` at the end. Raises as [`append`](Self::append) does.
    pub fn land(&self, py: Python<'_>, mut landing: Landing, count: usize) -> PyResult<()> {
        if count > SMALL && self.len(py) == 0 && self.shown.is_empty() {
            self.queue.borrow_mut().become_landing(&mut landing, count);
            return Ok(());
        }
        self.append(py, &landing[..count])
    }

    /// Takes the first bytes out, at most `count`. Raises `MemoryError`, and as [`append`](Self::append) does.
    #[inline]
    pub fn take<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyAny>> {
        let count = count.min(self.len(py));
        // Bytes are no container: making them doesn't run the collector while the queue is borrowed.
        let bytes = self.with(py, |all| PyBytes::new(py, &all[..count]));
        self.discard(py, count)?;
        Ok(bytes.into_any())
    }

    /// Drops the first bytes, at most `count`. Raises as [`append`](Self::append) does.
    pub fn discard(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        let count = count.min(self.len(py));
        match self.shown(py) {
            Some(shown) => shown.del_item(PySlice::new(py, 0, count as isize, 1)),
            None => {
                self.queue.borrow_mut().discard(count);
                Ok(())
            }
        }
    }

    /// The `bytearray` that is the buffer from now on.
    pub fn show<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        if self.shown.is_empty() {
            let array = PyByteArray::new(py, self.queue.borrow().as_slice());
            self.queue.take();
            self.shown.set(array.into_any());
        }
        self.shown.get_or_none(py)
    }

    /// Makes `array` the buffer.
    pub fn replace(&self, array: Bound<'_, PyByteArray>) {
        self.queue.take();
        self.shown.set(array.into_any());
    }
}
