//! How a connection ends: `close`, `abort`, an error; then `connection_lost`.

use std::os::fd::{FromRawFd, OwnedFd};

use pyo3::exceptions::PyOSError;
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::stream::{StreamTransport, none};
use super::write;
use crate::event_loop::Loop;
use crate::event_loop::handle::Handle;
use crate::event_loop::readers::os_error;
use crate::event_loop::ready::Ready;
use crate::ffi::{Ref, call};
use crate::{method0, method1};

impl StreamTransport {
    /// Closes the socket, whoever owns its descriptor.
    pub(super) fn close_socket(&self, py: Python<'_>) {
        let Some(fd) = self.fd.take() else { return };
        match self.socket.get(py) {
            Some(socket) => {
                if let Err(error) = socket.call_method0(intern!(py, "close")) {
                    error.write_unraisable(py, Some(&socket));
                }
            }
            // SAFETY: the transport owns the descriptor, and forgot it the line before.
            None => drop(unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }
}

impl Ref<'_, '_, StreamTransport> {
    /// Closes after the write buffer is sent.
    pub(super) fn close(self) -> PyResult<()> {
        if self.closing.get() {
            return Ok(());
        }
        write::send_gathered(self)?;
        if self.closing.replace(true) || !self.outgoing.borrow().is_empty() {
            return Ok(());
        }
        self.lose(None)
    }

    /// Closes at once: what waits for the socket to take more is dropped.
    pub(super) fn force_close(self, error: Option<PyErr>) -> PyResult<()> {
        if self.lost.get() > 0 {
            return Ok(());
        }
        write::send_last(self);
        let unsent = self.outgoing.borrow_mut().drain();
        self.closing.set(true);
        let outcome = self.lose(error);
        drop(unsent);
        outcome
    }

    /// Stops watching the socket and schedules `connection_lost`.
    fn lose(self, error: Option<PyErr>) -> PyResult<()> {
        let py = self.py();
        self.lost.set(self.lost.get() + 1);
        self.with_loop(py, |event_loop| {
            if let Some(fd) = self.fd() {
                event_loop.unwatch(fd);
            }
            let lost = self.as_any().getattr(intern!(py, "_call_connection_lost"))?;
            let error = error.map_or_else(
                || py.None().into_bound(py),
                |error| error.into_value(py).into_bound(py).into_any(),
            );
            event_loop.check_callable()?;
            let handle = Handle::create1(event_loop, lost, error, call::copy_context(py)?)?;
            event_loop.push(Ready::Handle(handle));
            Ok(())
        })
    }

    /// The connection's end after everything was sent.
    pub(super) fn finish(self) -> PyResult<()> {
        let py = self.py();
        self.with_loop(py, |event_loop| {
            if let Some(fd) = self.fd() {
                event_loop.unwatch(fd);
            }
            Ok(())
        })?;
        self.lost.set(self.lost.get() + 1);
        self.call_connection_lost(&py.None().into_bound(py))
    }

    /// Reports an error and closes at once. System errors are part of a network's life: they go to the protocol alone.
    pub(super) fn fatal_error(self, error: PyErr, message: &str) -> PyResult<()> {
        let py = self.py();
        let kept = error.clone_ref(py);
        if error.is_instance_of::<PyOSError>(py) {
            self.log(&format!(": {message}"), Some(&error))?;
        } else {
            self.with_loop(py, |event_loop| {
                let transport = self.to_any();
                let protocol = self.protocol.get_or_none(py);
                let context = [("transport", transport), ("protocol", protocol)];
                Loop::report(event_loop, error, message, &context)
            })?;
        }
        self.force_close(Some(kept))
    }

    /// Another socket has this transport's descriptor, which somebody must have closed: gives the number up.
    pub fn forsake(self) -> PyResult<()> {
        let py = self.py();
        if self.fd.take().is_none() {
            return Ok(());
        }
        if let Some(socket) = self.socket.take(py) {
            socket.call_method0(intern!(py, "detach"))?;
        }
        self.force_close(Some(os_error(std::io::Error::from_raw_os_error(libc::EBADF))))
    }

    /// Leaves the server's list of connections.
    pub(super) fn leave_server(self) -> PyResult<()> {
        let py = self.py();
        match self.server.take(py) {
            Some(server) => tell_server(&server, intern!(py, "_detach"), self.as_any()),
            None => Ok(()),
        }
    }

    /// Tells the protocol, closes the socket, lets go of everything.
    fn call_connection_lost(self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = self.py();
        let told = match self.protocol.get(py) {
            Some(protocol) => {
                protocol.call_method1(intern!(py, "connection_lost"), (error,)).map(drop)
            }
            None => Ok(()),
        };
        self.close_socket(py);
        self.tell_sendfile_lost(None)?;
        for slot in [&self.protocol, &self.event_loop, &self.context, &self.write_context] {
            slot.clear();
        }
        self.leave_server()?;
        told
    }
}

/// Calls `server._attach` or `server._detach`, with the transport where this asyncio's servers keep their clients.
pub(super) fn tell_server(
    server: &Bound<'_, PyAny>,
    method: &Bound<'_, PyString>,
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if cfg!(Py_3_13) {
        server.call_method1(method, (transport,)).map(drop)
    } else {
        server.call_method0(method).map(drop)
    }
}

fn close<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.close()?;
    none(this.py())
}

fn abort<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.force_close(None)?;
    none(this.py())
}

fn force_close<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    error: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.force_close((!error.is_none()).then(|| PyErr::from_value(error.clone())))?;
    none(this.py())
}

fn call_connection_lost<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    error: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.call_connection_lost(error)?;
    none(this.py())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method0!(StreamTransport, c"close", close, c"Close after the write buffer is sent."),
        method0!(StreamTransport, c"abort", abort, c"Close at once."),
        method1!(
            StreamTransport,
            c"_force_close",
            force_close,
            c"Close at once, because of an error."
        ),
        method1!(
            StreamTransport,
            c"_call_connection_lost",
            call_connection_lost,
            c"Tell the protocol of the connection's end and close the socket."
        ),
    ]
}
