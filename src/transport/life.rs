//! What the lives of all transports have in common.

use std::cell::Cell;

use pyo3::exceptions::{PyOSError, PyResourceWarning};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::event_loop::Loop;
use crate::event_loop::handle::Handle;
use crate::ffi::{Class, Ref, Slot, call};
use crate::stdlib::stdlib;

/// After this many writes to a lost connection the log says so, as asyncio does.
const LOST_WRITES_BEFORE_WARNING: u32 = 5;

/// Counts a write to a lost connection in `lost`. From the sixth on the log warns in the words of `message`.
#[cold]
pub(super) fn count_lost_write(py: Python<'_>, lost: &Cell<u32>, message: &str) -> PyResult<()> {
    if lost.get() >= LOST_WRITES_BEFORE_WARNING {
        let logger = py.import("asyncio.log")?.getattr("logger")?;
        logger.call_method1(intern!(py, "warning"), (message,))?;
    }
    lost.set(lost.get().saturating_add(1));
    Ok(())
}

/// A transport: it has a loop and a protocol until its connection is lost.
pub trait Transport: Class {
    /// The loop's field.
    fn event_loop(&self) -> &Slot;
    /// The protocol's field.
    fn protocol(&self) -> &Slot;

    /// The context of a callback that is scheduled now: as a rule a copy of the current one.
    fn callback_context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        call::copy_context(py)
    }
}

impl<'py, T: Transport> Ref<'_, 'py, T> {
    /// Runs `body` with the transport's loop; does nothing once the connection is lost.
    pub(super) fn with_loop<R: Default>(
        self,
        body: impl FnOnce(Ref<'_, 'py, Loop>) -> PyResult<R>,
    ) -> PyResult<R> {
        let event_loop = self.event_loop().get(self.py());
        match event_loop.as_ref().and_then(Ref::<Loop>::cast) {
            Some(event_loop) => body(event_loop),
            None => Ok(R::default()),
        }
    }

    /// Tells the loop's exception handler; `KeyboardInterrupt` and `SystemExit` are returned.
    pub(super) fn report(self, error: PyErr, message: &str) -> PyResult<()> {
        let protocol = self.protocol().get_or_none(self.py());
        let context = [("transport", self.to_any()), ("protocol", protocol)];
        self.with_loop(|event_loop| Loop::report(event_loop, error, message, &context))
    }

    /// Schedules `_call_connection_lost` with the error or `None`.
    pub(super) fn schedule_connection_lost(self, error: Option<PyErr>) -> PyResult<()> {
        let py = self.py();
        self.with_loop(|event_loop| {
            let lost = self.as_any().getattr(intern!(py, "_call_connection_lost"))?;
            let error = error.map_or_else(
                || py.None().into_bound(py),
                |error| error.into_value(py).into_bound(py).into_any(),
            );
            event_loop.check_callable()?;
            let handle =
                Handle::create1_for_turn(event_loop, lost, error, self.callback_context(py)?)?;
            event_loop.push_handle(handle, py);
            Ok(())
        })
    }

    /// In debug mode, logs the transport and then `event`, at the level that is named.
    pub(super) fn log(self, level: &str, event: &str, error: Option<&PyErr>) -> PyResult<()> {
        let py = self.py();
        self.with_loop(|event_loop| {
            if !event_loop.debug() {
                return Ok(());
            }
            let logger = py.import("asyncio.log")?.getattr("logger")?;
            let keywords = PyDict::new(py);
            keywords.set_item("exc_info", error.map(|error| error.value(py)))?;
            logger.call_method(level, (format!("%r{event}"), self.as_any()), Some(&keywords))?;
            Ok(())
        })
    }

    /// Tells the debug log of a system's error, which is part of a network's life, or the loop's exception handler of
    /// any other.
    pub(super) fn tell_fatal_error(self, error: &PyErr, message: &str) -> PyResult<()> {
        let py = self.py();
        if error.is_instance_of::<PyOSError>(py) {
            return self.log("debug", &format!(": {message}"), Some(error));
        }
        self.report(error.clone_ref(py), message)
    }

    /// Gives the `ResourceWarning` of a transport that dies unclosed.
    pub(super) fn warn_unclosed(self) {
        let py = self.py();
        let warned = self.as_any().repr().and_then(|repr| {
            let keywords = PyDict::new(py);
            keywords.set_item("source", self.as_any())?;
            let message = format!("unclosed transport {repr}");
            let warn = stdlib(py).warn.bind(py);
            warn.call((message, py.get_type::<PyResourceWarning>()), Some(&keywords))
        });
        if let Err(error) = warned {
            error.write_unraisable(py, Some(self.as_any()));
        }
    }
}
