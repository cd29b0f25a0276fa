//! `StreamReader`: what a transport has received, until somebody reads it.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyNotImplementedError, PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use super::buffer::{Buffer, Landing};
use super::{Face, FaceCell, create_future, none};
use crate::ffi::buffer::ReadableBuffer;
use crate::ffi::{Class, ClassCell, Ref, Slot, Traversal, Visit, error};
use crate::task::future;

/// The limit, in bytes, of a reader that is given none: asyncio's own.
pub(super) const DEFAULT_LIMIT: usize = 64 * 1024;

/// The fields of `ferrio.StreamReader`.
#[derive(Default)]
pub struct StreamReader {
    pub(super) event_loop: Slot,
    pub(super) buffer: Buffer,
    /// What ends when something comes, while a coroutine waits for that.
    pub(super) waiter: Slot,
    pub(super) exception: Slot,
    pub(super) transport: Slot,
    pub(super) source_traceback: Slot,
    /// The limit as it was given, if that is no plain size.
    pub(super) odd_limit: Slot,
    pub(super) limit: Cell<usize>,
    pub(super) eof: Cell<bool>,
    /// Whether the transport was told to pause.
    pub(super) paused: Cell<bool>,
}

static READER: ClassCell = ClassCell::new();
static FACE: FaceCell = FaceCell::new();

impl Class for StreamReader {
    const NAME: &'static CStr = c"ferrio._ferrio.StreamReader";

    fn class() -> &'static ClassCell {
        &READER
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.buffer.traverse(visit)?;
        self.slots().into_iter().try_for_each(|slot| visit.slot(slot))
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
        self.buffer.clear();
    }
}

impl Face for StreamReader {
    const SHOWN: &'static str = "StreamReader";
    const DOC: &'static str = "The way in of a stream: what has come is read by coroutines.";

    fn face() -> &'static FaceCell {
        &FACE
    }
}

impl StreamReader {
    fn slots(&self) -> [&Slot; 6] {
        [
            &self.event_loop,
            &self.waiter,
            &self.exception,
            &self.transport,
            &self.source_traceback,
            &self.odd_limit,
        ]
    }

    /// Whether nothing more will come.
    #[inline]
    pub(super) fn at_end(&self) -> bool {
        self.eof.get()
    }

    /// The limit in bytes: half of what the buffer may hold before the transport pauses.
    #[inline]
    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    /// Where the reader was made, in debug mode.
    pub(super) fn source_traceback(&self) -> &Slot {
        &self.source_traceback
    }

    pub(super) fn set_limit(&self, limit: &Bound<'_, PyAny>) -> PyResult<()> {
        if limit.le(0)? {
            return Err(PyValueError::new_err("Limit cannot be <= 0"));
        }
        self.note_limit(limit);
        Ok(())
    }

    pub(super) fn note_limit(&self, limit: &Bound<'_, PyAny>) {
        let py = limit.py();
        let size = error::ok(limit.extract::<usize>(), py);
        self.odd_limit.set_opt(size.is_none().then(|| limit.clone()), py);
        // A float's conversion rounds down and saturates.
        let rounded = || error::ok(limit.extract::<f64>(), py).map(|limit| limit as usize);
        self.limit.set(size.or_else(rounded).unwrap_or(usize::MAX));
    }
}

impl<'py> Ref<'_, 'py, StreamReader> {
    /// The exception that was set. `None` stands for none.
    #[inline]
    pub(super) fn exception(self) -> Option<Bound<'py, PyAny>> {
        self.exception.get(self.py())
    }

    /// Raises the exception that was set.
    #[inline]
    pub(super) fn check_exception(self) -> PyResult<()> {
        match self.exception() {
            None => Ok(()),
            Some(exception) => Err(raised(&exception)),
        }
    }

    /// Takes the first `count` bytes of `landing`: what a transport received.
    ///
    /// Raises what the transport's `pause_reading()` raises, and `BufferError` when Python code holds a view on the buffer.
    pub fn receive(self, landing: Landing, count: usize) -> PyResult<()> {
        self.check_open()?;
        self.buffer.land(self.py(), landing, count)?;
        self.received()
    }

    /// Takes `block`, which a transport received. Raises as [`receive`](Self::receive) does.
    pub fn receive_block(self, block: Bound<'py, PyBytes>) -> PyResult<()> {
        self.check_open()?;
        self.buffer.add_block(block)?;
        self.received()
    }

    /// Whether there is something to read.
    pub(super) fn has_more(self) -> bool {
        self.buffer.len(self.py()) > 0
    }

    fn check_open(self) -> PyResult<()> {
        if self.eof.get() {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        Ok(())
    }

    /// Looks after bytes that were added to the buffer.
    fn received(self) -> PyResult<()> {
        let py = self.py();
        self.wake()?;
        if self.paused.get()
            || self.transport.is_empty()
            || self.buffer.len(py) <= self.limit().saturating_mul(2)
        {
            return Ok(());
        }
        match self.transport.get_or_none(py).call_method0(intern!(py, "pause_reading")) {
            Ok(_) => {
                self.paused.set(true);
                Ok(())
            }
            // It can't be paused: then everything is kept.
            Err(refused) if refused.is_instance_of::<PyNotImplementedError>(py) => {
                error::discard(refused, py);
                self.transport.clear();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Wakes the coroutine that waits.
    fn wake(self) -> PyResult<()> {
        let py = self.py();
        let Some(waiter) = self.waiter.take(py) else { return Ok(()) };
        if let Some(future) = future::cast_exact(&waiter)
            && !future.done()
        {
            return future.set_result(none(py));
        }
        if waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        waiter.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop)
    }

    /// Nothing more comes.
    pub(super) fn end(self) -> PyResult<()> {
        self.eof.set(true);
        self.wake()
    }

    /// Makes `exception` what all coroutines raise.
    pub(super) fn fail(self, exception: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        self.exception.set_opt((!exception.is_none()).then(|| exception.clone()), py);
        let Some(waiter) = self.waiter.take(py) else { return Ok(()) };
        if waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        waiter.call_method1(intern!(py, "set_exception"), (exception,)).map(drop)
    }

    /// Lets the transport go on if the buffer has become small enough.
    #[inline]
    pub(super) fn resume_if_drained(self) -> PyResult<()> {
        if self.paused.get() && self.buffer.len(self.py()) <= self.limit() {
            self.resume()?;
        }
        Ok(())
    }

    fn resume(self) -> PyResult<()> {
        let py = self.py();
        self.paused.set(false);
        self.transport.get_or_none(py).call_method0(intern!(py, "resume_reading")).map(drop)
    }

    /// A future that ends when something comes. `name` is that of the method that waits.
    ///
    /// Raises `RuntimeError` when another coroutine waits already.
    pub(super) fn wait_for_data(self, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        if !self.waiter.is_empty() {
            return Err(PyRuntimeError::new_err(format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            )));
        }
        if self.eof.get() {
            return Err(PyAssertionError::new_err("_wait_for_data after EOF"));
        }
        // Who waits while the transport is paused would wait for ever.
        if self.paused.get() {
            self.resume()?;
        }
        let waiter = create_future(&self.event_loop.get_or_none(py))?;
        self.waiter.set(waiter.clone());
        Ok(waiter)
    }

    /// The coroutine that waited for `waiter` does so no more.
    #[inline]
    pub(super) fn stop_waiting(self, waiter: &Slot) {
        if !self.waiter.is_empty() && self.waiter.as_ptr() == waiter.as_ptr() {
            self.waiter.clear();
        }
        waiter.clear();
    }

    /// Takes the transport that brings the bytes. Raises `AssertionError` when there is one.
    pub(super) fn set_transport(self, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        if !self.transport.is_empty() {
            return Err(PyAssertionError::new_err("Transport already set"));
        }
        self.transport.set(transport.clone());
        Ok(())
    }

    /// Takes another transport, above the one that there was. Raises `AssertionError` when there was none.
    pub(super) fn replace_transport(self, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        if self.transport.is_empty() {
            return Err(PyAssertionError::new_err("Transport not set"));
        }
        self.transport.set(transport.clone());
        Ok(())
    }
}

/// What `raise exception` raises, for an instance or a class.
fn raised(exception: &Bound<'_, PyAny>) -> PyErr {
    match error::is_exception(exception) {
        true => error::raise(exception),
        false => PyErr::from_value(exception.clone()),
    }
}

impl<'py> Ref<'_, 'py, StreamReader> {
    /// `feed_data(data)`
    pub(super) fn feed(self, data: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        self.check_open()?;
        if !data.is_truthy()? {
            return Ok(());
        }
        match data.cast_exact::<PyBytes>() {
            Ok(bytes) => self.buffer.append(py, bytes.as_bytes())?,
            Err(_) => {
                // As `bytearray.extend`, which takes numbers also; of a buffer a copy, for Python code may change it.
                let bytes = match ReadableBuffer::of(data) {
                    Ok(buffer) => buffer.as_slice().to_vec(),
                    Err(refused) => {
                        error::discard(refused, py);
                        let array = PyByteArray::new(py, b"");
                        array.call_method1(intern!(py, "extend"), (data,))?;
                        array.to_vec()
                    }
                };
                self.buffer.append(py, &bytes)?;
            }
        }
        self.received()
    }
}
