//! The flow control of a stream's protocol: who waits while the transport takes no more.

use pyo3::exceptions::PyAssertionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::none;
use super::protocol::{StreamReaderProtocol, settle};
use crate::ffi::Ref;

impl<'py> Ref<'_, 'py, StreamReaderProtocol> {
    /// Whether the transport takes no more for a while, once it was asked.
    ///
    /// Raises what `pause_writing` and the transport's `get_write_buffer_size()` raise.
    pub(super) fn must_pause(self) -> PyResult<bool> {
        let py = self.py();
        if self.pause_put_off.replace(false)
            && let Some(transport) = self.transport.get(py)
        {
            transport.call_method0(intern!(py, "get_write_buffer_size"))?;
        }
        Ok(self.is_paused())
    }

    /// A future that ends with the pause.
    pub(super) fn add_drain_waiter(self) -> PyResult<Bound<'py, PyAny>> {
        let waiter = self.create_future()?;
        self.drain_waiters().append(&waiter)?;
        Ok(waiter)
    }

    /// Forgets a future of [`add_drain_waiter`](Self::add_drain_waiter).
    pub(super) fn remove_drain_waiter(self, waiter: &Bound<'py, PyAny>) -> PyResult<()> {
        self.drain_waiters().call_method1(intern!(self.py(), "remove"), (waiter,)).map(drop)
    }

    fn drain_waiters(self) -> Bound<'py, PyList> {
        let py = self.py();
        let known = self.drain_waiters.get(py).and_then(|list| list.cast_into().ok());
        known.unwrap_or_else(|| {
            let list = PyList::empty(py);
            self.drain_waiters.set(list.clone().into_any());
            list
        })
    }

    /// Ends every waiter's wait, with an exception if there is one.
    pub(super) fn wake_drain_waiters(self, exception: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        if self.drain_waiters.is_empty() {
            return Ok(());
        }
        let waiters: Vec<_> = self.drain_waiters().iter().collect();
        waiters.iter().try_for_each(|waiter| settle(waiter, exception))
    }

    /// In debug mode, logs the protocol and then `event`.
    fn log(self, event: &str) -> PyResult<()> {
        let py = self.py();
        let event_loop = self.event_loop.get_or_none(py);
        if event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()? {
            let logger = py.import("asyncio.log")?.getattr("logger")?;
            logger.call_method1("debug", (format!("%r {event}"), self.as_any()))?;
        }
        Ok(())
    }
}

pub(super) fn pause_writing<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
) -> PyResult<Bound<'py, PyAny>> {
    if this.paused.replace(true) {
        return Err(PyAssertionError::new_err(()));
    }
    this.log("pauses writing")?;
    Ok(none(this.py()))
}

pub(super) fn resume_writing<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
) -> PyResult<Bound<'py, PyAny>> {
    if !this.paused.replace(false) {
        return Err(PyAssertionError::new_err(()));
    }
    this.log("resumes writing")?;
    this.wake_drain_waiters(None)?;
    Ok(none(this.py()))
}

pub(super) fn get_drain_waiters<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.drain_waiters().into_any())
}
