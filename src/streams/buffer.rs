//! What a reader has received and nobody has read.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PySlice};

use crate::ffi::buffer::KeptBytes;
use crate::ffi::{Slot, Traversal, Visit};

/// The most that a stream socket is asked for at once.
///
/// Not the 256 KiB of asyncio: on a loopback interface, whose packets take 65,483 bytes, an echo of that much ends in a packet
/// of a few hundred bytes, and that costs nearly as much as a full one.
pub const RECEIVE_SIZE: usize = 250 * 1024;

/// How much one landing takes.
const LANDING_SIZE: usize = RECEIVE_SIZE;

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

/// What holds the bytes.
enum Memory {
    Own(Vec<u8>),
    /// A block as it was received: who reads all of it gets the object itself.
    Block(KeptBytes),
}

impl Default for Memory {
    fn default() -> Self {
        Memory::Own(Vec::new())
    }
}

/// Bytes in the middle of some memory.
#[derive(Default)]
struct Queue {
    memory: Memory,
    start: usize,
    end: usize,
}

impl Queue {
    fn as_slice(&self) -> &[u8] {
        match &self.memory {
            Memory::Own(memory) => &memory[self.start..self.end],
            Memory::Block(block) => &block.as_ref()[self.start..self.end],
        }
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn append(&mut self, bytes: &[u8]) {
        let memory = self.make_room(bytes.len());
        memory[..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Where the next bytes go; at least `count` of them have room.
    fn make_room(&mut self, count: usize) -> &mut [u8] {
        let length = self.len();
        let fits = match &mut self.memory {
            Memory::Own(memory) if memory.len() - self.end >= count => true,
            // Moving what is there must be cheap beside what was read since the last time.
            Memory::Own(memory) if length <= self.start && memory.len() - length >= count => {
                memory.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, length);
                true
            }
            _ => false,
        };
        if !fits {
            let mut larger = vec![0; (length + count).max(2 * length)];
            larger[..length].copy_from_slice(self.as_slice());
            self.hold(Memory::Own(larger), length);
        }
        match &mut self.memory {
            Memory::Own(memory) => &mut memory[self.end..],
            Memory::Block(_) => &mut [],
        }
    }

    /// Makes the first `count` bytes of `memory` what there is.
    fn hold(&mut self, memory: Memory, count: usize) {
        if let Memory::Own(old) = std::mem::replace(&mut self.memory, memory) {
            Landing::give_back(old);
        }
        (self.start, self.end) = (0, count);
    }

    /// The object that is all there is, if at most `count` bytes are, and all of them are one object.
    fn take_block<'py>(&mut self, py: Python<'py>, count: usize) -> Option<Bound<'py, PyAny>> {
        let Memory::Block(block) = &mut self.memory else { return None };
        if self.start > 0 || count < self.end {
            return None;
        }
        let block = block.take(py);
        self.hold(Memory::default(), 0);
        block
    }

    fn discard(&mut self, count: usize) {
        self.start += count;
        if self.start < self.end {
            return;
        }
        (self.start, self.end) = (0, 0);
        if !matches!(&self.memory, Memory::Own(memory) if memory.len() <= KEPT) {
            self.hold(Memory::default(), 0);
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
            let memory = std::mem::take(&mut landing.0);
            self.queue.borrow_mut().hold(Memory::Own(memory), count);
            return Ok(());
        }
        self.append(py, &landing[..count])
    }

    /// Adds a block at the end, without a copy if nothing is there. Raises as [`append`](Self::append) does.
    pub fn add_block(&self, block: Bound<'_, PyBytes>) -> PyResult<()> {
        let py = block.py();
        if self.len(py) > 0 || !self.shown.is_empty() {
            return self.append(py, block.as_bytes());
        }
        let length = block.as_bytes().len();
        self.queue.borrow_mut().hold(Memory::Block(KeptBytes::new(block)), length);
        Ok(())
    }

    /// Takes the first bytes out, at most `count`. Raises `MemoryError`, and as [`append`](Self::append) does.
    #[inline]
    pub fn take<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyAny>> {
        if let Some(block) = self.queue.borrow_mut().take_block(py, count) {
            return Ok(block);
        }
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
