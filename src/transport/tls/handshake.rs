//! The beginning: from the connection below to `connection_made`.

use pyo3::exceptions::{PyConnectionAbortedError, PyException};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::engine::{Step, ssl_class};
use super::{State, TlsTransport, Told};
use crate::ffi::{Ref, error};
use crate::transport::stream::none;
use crate::{method0, method1};

impl<'py> Ref<'_, 'py, TlsTransport> {
    fn start_handshake(self) -> PyResult<()> {
        let py = self.py();
        if self.debug() {
            self.logger()?.call_method1("debug", ("%r starts SSL handshake", self.as_any()))?;
            let now = self.event_loop.get_or_none(py).call_method0(intern!(py, "time"))?;
            self.handshake_start.set(now);
        }
        self.state.set(State::DoHandshake);
        self.start_timer(
            &self.handshake_timer,
            &self.handshake_timeout,
            "_check_handshake_timeout",
        )?;
        self.do_handshake()
    }

    /// Schedules the call of a method of this transport.
    pub(super) fn start_timer(
        self,
        timer: &crate::ffi::Slot,
        timeout: &crate::ffi::Slot,
        method: &str,
    ) -> PyResult<()> {
        let py = self.py();
        let callback = self.as_any().getattr(method)?;
        let arguments = (timeout.get_or_none(py), callback);
        let event_loop = self.event_loop.get_or_none(py);
        timer.set(event_loop.call_method1(intern!(py, "call_later"), arguments)?);
        Ok(())
    }

    /// Cancels a timer of this transport.
    pub(super) fn cancel_timer(self, timer: &crate::ffi::Slot) -> PyResult<()> {
        let py = self.py();
        match timer.take(py) {
            Some(timer) => timer.call_method0(intern!(py, "cancel")).map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn do_handshake(self) -> PyResult<()> {
        let py = self.py();
        match self.engine().handshake(py) {
            Ok(Step::Waiting) => self.process_outgoing(),
            Ok(Step::Done) => self.on_handshake_complete(None),
            Err(error) if error.matches(py, ssl_class(py, "SSLError")?)? => {
                self.on_handshake_complete(Some(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Tells everybody how the handshake ended.
    pub(super) fn on_handshake_complete(self, failure: Option<PyErr>) -> PyResult<()> {
        let py = self.py();
        self.cancel_timer(&self.handshake_timer)?;
        let ssl_object = self.ssl_object.get_or_none(py);
        let certificate = match failure {
            Some(error) => Err(error),
            // A callback of the handshake may have ended the connection.
            None if self.state.get() != State::DoHandshake => return Ok(()),
            None => {
                self.state.set(State::Wrapped);
                ssl_object.call_method0(intern!(py, "getpeercert"))
            }
        };
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(error) if error.is_instance_of::<PyException>(py) => {
                self.state.set(State::Unwrapped);
                let about_certificate = error.matches(py, ssl_class(py, "CertificateError")?)?;
                let message = if about_certificate {
                    "SSL handshake failed on verifying the certificate"
                } else {
                    "SSL handshake failed"
                };
                let exception = error::into_exception(error, py);
                self.fatal_exception(&exception, message)?;
                return self.wake_waiter(Some(&exception));
            }
            Err(error) => return Err(error),
        };
        if self.debug()
            && let Some(start) = self.handshake_start.get(py)
        {
            let now: f64 =
                self.event_loop.get_or_none(py).call_method0(intern!(py, "time"))?.extract()?;
            let milliseconds = (now - start.extract::<f64>()?) * 1e3;
            let message = "%r: SSL handshake took %.1f ms";
            self.logger()?.call_method1("debug", (message, self.as_any(), milliseconds))?;
        }
        let extra = self.extra.get_or_none(py);
        if let Ok(extra) = extra.cast::<PyDict>() {
            extra.set_item("peercert", certificate)?;
            extra.set_item("cipher", ssl_object.call_method0("cipher")?)?;
            extra.set_item("compression", ssl_object.call_method0("compression")?)?;
            extra.set_item("ssl_object", ssl_object)?;
        }
        if self.told.get() == Told::Nothing {
            self.told.set(Told::Made);
            let protocol = self.protocol.get_or_none(py);
            let made = protocol.call_method1(intern!(py, "connection_made"), (self.as_any(),));
            if let Err(failure) = made {
                return error::both(py, Err(failure), self.send_gathered());
            }
        }
        self.wake_waiter(None)?;
        self.do_read()?;
        // Reading may be paused already, and the handshake's last flight must leave none the less.
        self.write_backlog()
    }

    /// Gives the waiter its result, and reports a failed handshake that has no waiter.
    pub(super) fn wake_waiter(self, exception: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        let py = self.py();
        if let (true, Some(exception)) = (self.accepted.replace(false), exception) {
            return self.refuse(exception);
        }
        let Some(waiter) = self.waiter.take(py) else { return Ok(()) };
        if waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        match exception {
            Some(exception) => waiter.call_method1(intern!(py, "set_exception"), (exception,)),
            None => waiter.call_method1(intern!(py, "set_result"), (py.None(),)),
        }
        .map(drop)
    }

    /// The end of a connection that a server accepted, and whose handshake failed. Only debug mode tells.
    fn refuse(self, exception: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        self.close()?;
        if !self.debug() {
            return Ok(());
        }
        let context = PyDict::new(py);
        context.set_item("message", "Error on transport creation for incoming connection")?;
        context.set_item("exception", exception)?;
        context.set_item("protocol", self.protocol.get_or_none(py))?;
        context.set_item("transport", self.as_any())?;
        let event_loop = self.event_loop.get_or_none(py);
        event_loop.call_method1(intern!(py, "call_exception_handler"), (context,)).map(drop)
    }
}

fn connection_made<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    transport: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.lower.set(transport.clone());
    this.start_handshake()?;
    none(this.py())
}

fn check_handshake_timeout<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.state.get() == State::DoHandshake {
        let seconds = this.handshake_timeout.get_or_none(py).str()?;
        let error = PyConnectionAbortedError::new_err(format!(
            "SSL handshake is taking longer than {seconds} seconds: aborting the connection"
        ));
        this.fatal_error(error, "Fatal error on transport")?;
    }
    none(py)
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method1!(
            TlsTransport,
            c"connection_made",
            connection_made,
            c"Called by the transport below: begin the handshake."
        ),
        method0!(
            TlsTransport,
            c"_check_handshake_timeout",
            check_handshake_timeout,
            c"Abort the connection if the handshake is not over."
        ),
    ]
}
