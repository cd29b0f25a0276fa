//! What `loop.sendfile()` needs of a transport: that its own bytes go first, that no others come between, and to be told
//! when the socket takes more.

use pyo3::exceptions::{PyConnectionError, PyRuntimeError};
use pyo3::ffi as capi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::stream::{StreamTransport, none};
use crate::ffi::{Ref, Slot};
use crate::method0;
use crate::task::create_future;
use crate::task::future::Future;

const CLOSED: &str = "Connection is closed by peer";

impl Ref<'_, '_, StreamTransport> {
    /// Raises `RuntimeError` while a file is sent. `method` names what was called.
    #[inline]
    pub(super) fn check_no_sendfile(self, method: &str) -> PyResult<()> {
        if self.empty_waiter.is_empty() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(format!("unable to {method}; sendfile is in progress")))
    }

    /// The write buffer is empty: the file's turn has come.
    #[inline]
    pub(super) fn tell_emptied(self) -> PyResult<()> {
        end(self, &self.empty_waiter)
    }

    /// Whether somebody waits for room, and there is some.
    #[inline]
    pub(super) fn has_awaited_room(self) -> bool {
        !self.room_waiter.is_empty() && !self.full.get()
    }

    /// The socket takes more: whoever waits for that goes on.
    pub(super) fn tell_room(self) -> PyResult<()> {
        let outcome = end(self, &self.room_waiter);
        self.room_waiter.clear();
        outcome
    }

    /// The connection is lost, by `error` or in silence: who waits for the buffer or for room waits in vain.
    pub(super) fn tell_sendfile_lost(self, error: Option<&PyErr>) -> PyResult<()> {
        let py = self.py();
        for waiter in [&self.empty_waiter, &self.room_waiter] {
            let Some(waiter) = waiter.take(py) else { continue };
            let Some(future) = Ref::<Future>::cast(&waiter) else { continue };
            if !future.done() {
                let exception = match error {
                    Some(error) => error.value(py).clone().into_any(),
                    None => py.get_type::<PyConnectionError>().call1((CLOSED,))?,
                };
                future.set_exception(exception)?;
            }
        }
        Ok(())
    }
}

/// Ends the future in `waiter`, unless it was cancelled, and leaves it there.
fn end(this: Ref<'_, '_, StreamTransport>, waiter: &Slot) -> PyResult<()> {
    let py = this.py();
    let Some(waiter) = waiter.get(py) else { return Ok(()) };
    match Ref::<Future>::cast(&waiter) {
        Some(future) if !future.done() => future.set_result(py.None().into_bound(py)),
        _ => Ok(()),
    }
}

/// A future in `waiter`, which is told later.
fn wait<'py>(this: Ref<'_, 'py, StreamTransport>, waiter: &Slot) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.event_loop.is_empty() {
        return Err(PyConnectionError::new_err(CLOSED));
    }
    this.with_loop(|event_loop| {
        waiter.set(create_future(event_loop)?.into_any(py));
        Ok(())
    })?;
    Ok(waiter.get_or_none(py))
}

/// How `loop.sendfile()` may send a file through the transport: `_SendfileMode.TRY_NATIVE`.
pub(super) fn compatible<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    static MODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    MODE.get_or_try_init(py, || {
        let modes = py.import("asyncio.constants")?.getattr("_SendfileMode")?;
        modes.getattr("TRY_NATIVE").map(Bound::unbind)
    })
    .map(|mode| mode.bind(py).clone())
}

fn make_empty_waiter<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    if !this.empty_waiter.is_empty() {
        return Err(PyRuntimeError::new_err("Empty waiter is already set"));
    }
    let waiter = wait(this, &this.empty_waiter)?;
    if this.outgoing.borrow().is_empty() {
        this.tell_emptied()?;
    }
    Ok(waiter)
}

fn reset_empty_waiter<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.empty_waiter.clear();
    none(this.py())
}

fn room<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.full.set(true);
    this.end_rest()?;
    wait(this, &this.room_waiter)
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method0!(
            StreamTransport,
            c"_make_empty_waiter",
            make_empty_waiter,
            c"Refuse to write from now on; return a future for the write buffer's being sent."
        ),
        method0!(StreamTransport, c"_reset_empty_waiter", reset_empty_waiter, c"Write again."),
        method0!(
            StreamTransport,
            c"_room",
            room,
            c"Return a future for the socket's taking more, after it took nothing."
        ),
    ]
}
