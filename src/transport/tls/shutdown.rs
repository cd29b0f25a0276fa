//! The end: close, abort, the peer's end, and errors.

use pyo3::exceptions::{
    PyConnectionResetError, PyException, PyKeyboardInterrupt, PyOSError, PySystemExit,
    PyTimeoutError,
};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::engine::{Step, ssl_class};
use super::{State, TlsTransport, Told, boolean};
use crate::ffi::{Ref, error};
use crate::stdlib::stdlib;
use crate::transport::stream::none;
use crate::{method0, method1};

/// The message for an error that nobody has described better.
const FATAL: &str = "Fatal error on transport";

impl<'py> Ref<'_, 'py, TlsTransport> {
    /// Closes after everything is sent and the peer has answered the `close_notify`.
    pub(super) fn close(self) -> PyResult<()> {
        if !self.closed.replace(true) {
            return self.start_shutdown();
        }
        self.dismissed.set(true);
        if self.lower.is_empty() {
            self.release();
        }
        Ok(())
    }

    /// Lets go of the encryption and what is known of it, after the connection's end.
    fn release(self) {
        self.engine().clear();
        self.ssl_object.clear();
        self.extra.clear();
    }

    pub(super) fn start_shutdown(self) -> PyResult<()> {
        match self.state.get() {
            State::Unwrapped | State::Flushing | State::Shutdown => Ok(()),
            State::DoHandshake => {
                self.closed.set(true);
                self.abort(None)
            }
            State::Wrapped => {
                self.closed.set(true);
                self.state.set(State::Flushing);
                self.limit_shutdown()?;
                self.write_backlog()?;
                self.do_flush()
            }
        }
    }

    /// Sees to it that the end comes in time, counted from the first call.
    fn limit_shutdown(self) -> PyResult<()> {
        if !self.shutdown_timer.is_empty() {
            return Ok(());
        }
        self.start_timer(&self.shutdown_timer, &self.shutdown_timeout, "_check_shutdown_timeout")
    }

    /// Delivers what came before the end, then says goodbye.
    pub(super) fn do_flush(self) -> PyResult<()> {
        self.do_read()?;
        // What the protocol did with it may have ended the connection.
        if self.state.get() != State::Flushing {
            return Ok(());
        }
        self.state.set(State::Shutdown);
        self.do_shutdown()
    }

    pub(super) fn do_shutdown(self) -> PyResult<()> {
        let py = self.py();
        let step =
            if self.eof_received.get() { Ok(Step::Done) } else { self.engine().shutdown(py) };
        match step {
            Ok(Step::Waiting) => self.process_outgoing(),
            Ok(Step::Done) => {
                self.process_outgoing()?;
                self.call_eof_received()?;
                match self.lower.get(py) {
                    Some(lower) => {
                        // What is still queued below may find a peer that doesn't read.
                        self.limit_shutdown()?;
                        self.call_soon(lower.getattr(intern!(py, "close"))?)
                    }
                    None => Ok(()),
                }
            }
            Err(error) if error.matches(py, ssl_class(py, "SSLError")?)? => {
                self.cancel_timer(&self.shutdown_timer)?;
                self.fatal_error(error, FATAL)
            }
            Err(error) => Err(error),
        }
    }

    /// Closes the connection below at once.
    pub(super) fn abort(self, exception: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        // What asyncio, which gathers nothing, would have sent.
        if self.state.get() == State::Wrapped && !self.backlog.borrow().is_empty() {
            self.write_backlog()?;
        }
        self.state.set(State::Unwrapped);
        self.force_close_lower(exception)
    }

    /// Sends what asyncio, which gathers nothing, would have sent before the error that closes the connection.
    ///
    /// An `Exception` that this meets is dropped: the first of two errors is told.
    pub(super) fn send_gathered(self) -> PyResult<()> {
        if self.state.get() != State::Wrapped || self.backlog.borrow().is_empty() {
            return Ok(());
        }
        match self.encrypt_backlog().and_then(|()| self.process_outgoing()) {
            Err(error) if error.is_instance_of::<PyException>(self.py()) => {
                error::discard(error, self.py());
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn force_close_lower(self, exception: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        let py = self.py();
        if let Some(outcome) = self.with_stream(|stream| {
            stream.force_close(exception.map(|exception| PyErr::from_value(exception.clone())))
        }) {
            return outcome;
        }
        let Some(lower) = self.lower.get(py) else { return Ok(()) };
        lower.call_method1(intern!(py, "_force_close"), (exception,)).map(drop)
    }

    /// Tells the program's protocol of the peer's end, once.
    pub(super) fn call_eof_received(self) -> PyResult<()> {
        let py = self.py();
        if self.told.get() != Told::Made {
            return Ok(());
        }
        self.told.set(Told::Eof);
        let keep_open = self
            .protocol
            .get_or_none(py)
            .call_method0(intern!(py, "eof_received"))
            .and_then(|keep| keep.is_truthy());
        match keep_open {
            Ok(false) => Ok(()),
            Ok(true) => {
                let message = "returning true from eof_received() has no effect when using ssl";
                self.logger()?.call_method1("warning", (message,)).map(drop)
            }
            Err(error) if ends_the_loop(&error, py) => Err(error),
            Err(error) => self.fatal_error(error, "Error calling eof_received()"),
        }
    }

    /// Reports an error and closes the connection below at once.
    pub(super) fn fatal_error(self, error: PyErr, message: &str) -> PyResult<()> {
        let exception = error::into_exception(error, self.py());
        self.fatal_exception(&exception, message)
    }

    /// As [`fatal_error`](Self::fatal_error). System errors, OpenSSL's among them, are part of a network's life: only debug mode
    /// logs them.
    pub(super) fn fatal_exception(
        self,
        exception: &Bound<'py, PyAny>,
        message: &str,
    ) -> PyResult<()> {
        let py = self.py();
        let lower = self.lower.get_or_none(py);
        self.send_gathered()?;
        self.force_close_lower(Some(exception))?;
        if exception.is_instance_of::<PyOSError>() {
            if self.debug() {
                let keywords = PyDict::new(py);
                keywords.set_item("exc_info", exception)?;
                let arguments = ("%r: %s", self.as_any(), message);
                self.logger()?.call_method("debug", arguments, Some(&keywords))?;
            }
            return Ok(());
        }
        if exception.is_instance(stdlib(py).cancelled_error.bind(py))? {
            return Ok(());
        }
        let context = PyDict::new(py);
        context.set_item("message", message)?;
        context.set_item("exception", exception)?;
        context.set_item("transport", lower)?;
        context.set_item("protocol", self.as_any())?;
        let event_loop = self.event_loop.get_or_none(py);
        event_loop.call_method1(intern!(py, "call_exception_handler"), (context,)).map(drop)
    }

    /// The peer has sent its last byte. Returns whether the connection below stays open for now.
    fn eof_received(self) -> PyResult<bool> {
        self.eof_received.set(true);
        if self.debug() {
            self.logger()?.call_method1("debug", ("%r received EOF", self.as_any()))?;
        }
        match self.state.get() {
            State::DoHandshake => {
                self.on_handshake_complete(Some(PyConnectionResetError::new_err(())))?;
            }
            State::Wrapped => {
                self.state.set(State::Flushing);
                if self.flow.app_reading_paused.get() {
                    return Ok(true);
                }
                self.write_backlog()?;
                self.do_flush()?;
            }
            State::Flushing => {
                self.write_backlog()?;
                self.state.set(State::Shutdown);
                self.do_shutdown()?;
            }
            State::Shutdown => self.do_shutdown()?,
            State::Unwrapped => {}
        }
        Ok(false)
    }

    /// The connection below is gone.
    fn connection_lost(self, exception: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        self.backlog.borrow_mut().clear();
        self.engine().take_outgoing(py)?;
        self.lost.set(self.lost.get() + 1);
        self.closed.set(true);
        if self.state.get() != State::DoHandshake
            && matches!(self.told.get(), Told::Made | Told::Eof)
        {
            self.told.set(Told::Lost);
            let protocol = self.protocol.get_or_none(py);
            let lost = protocol.getattr(intern!(py, "connection_lost"))?;
            let event_loop = self.event_loop.get_or_none(py);
            event_loop.call_method1(intern!(py, "call_soon"), (lost, exception))?;
        }
        self.state.set(State::Unwrapped);
        let protocol = self.protocol.take(py);
        for slot in [&self.lower, &self.receive, &self.updated] {
            slot.clear();
        }
        self.wake_waiter((!exception.is_none()).then_some(exception))?;
        drop(protocol);
        if self.dismissed.get() {
            self.release();
        }
        self.cancel_timer(&self.shutdown_timer)?;
        self.cancel_timer(&self.handshake_timer)
    }
}

/// Whether `error` is to end the loop, and nobody else's.
pub(super) fn ends_the_loop(error: &PyErr, py: Python<'_>) -> bool {
    error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py)
}

fn close<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.close()?;
    none(this.py())
}

fn abort<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.closed.set(true);
    this.abort(None)?;
    none(this.py())
}

fn force_close<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    exception: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.closed.set(true);
    this.abort((!exception.is_none()).then_some(exception))?;
    none(this.py())
}

fn check_shutdown_timeout<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if matches!(this.state.get(), State::Flushing | State::Shutdown) {
        let error = PyTimeoutError::new_err("SSL shutdown timed out");
        this.force_close_lower(Some(error.value(py)))?;
    }
    none(py)
}

fn eof_received<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    match this.eof_received() {
        Ok(keep_open) => boolean(py, keep_open),
        Err(error) => {
            if error.is_instance_of::<PyException>(py)
                && let Some(lower) = this.lower.get(py)
            {
                lower.call_method0(intern!(py, "close"))?;
            }
            Err(error)
        }
    }
}

fn connection_lost<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    exception: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.connection_lost(exception)?;
    none(this.py())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method0!(
            TlsTransport,
            c"close",
            close,
            c"Close after everything is sent and the peer has agreed."
        ),
        method0!(TlsTransport, c"abort", abort, c"Close at once."),
        method1!(
            TlsTransport,
            c"_force_close",
            force_close,
            c"Close at once, because of an error."
        ),
        method0!(
            TlsTransport,
            c"_check_shutdown_timeout",
            check_shutdown_timeout,
            c"Close at once if the peer has not agreed to the end."
        ),
        method0!(
            TlsTransport,
            c"eof_received",
            eof_received,
            c"Called by the transport below: the peer sends no more."
        ),
        method1!(
            TlsTransport,
            c"connection_lost",
            connection_lost,
            c"Called by the transport below: the connection is gone."
        ),
    ]
}
