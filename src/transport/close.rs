//! How the life of a socket's transport ends: `close`, `abort`, an error; then `connection_lost`.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;

use super::info::SocketTransport;
use super::stream::none;
use crate::ffi::{Ref, os_error};

/// A transport that ends as those of sockets do.
pub trait Closing: SocketTransport {
    /// What was not sent.
    type Unsent;
    /// 0 while the connection lives; then it counts the writes to it, from 1.
    fn lost(&self) -> &Cell<u32>;
    /// Has the encryption above, if there is one, hand over what it has gathered.
    fn send_above(_this: Ref<'_, '_, Self>) -> PyResult<()> {
        Ok(())
    }
    /// Gives up what waits to be sent.
    fn take_unsent(this: Ref<'_, '_, Self>) -> Self::Unsent;
    /// Lets go of what the class has beside the loop and the protocol, after `connection_lost`.
    fn let_go(this: Ref<'_, '_, Self>) -> PyResult<()>;
}

impl<T: Closing> Ref<'_, '_, T> {
    /// Closes after the write buffer is sent.
    pub(super) fn close(self) -> PyResult<()> {
        if self.closing().get() {
            return Ok(());
        }
        T::send_gathered(self)?;
        if self.closing().replace(true) || self.has_unsent() {
            return Ok(());
        }
        self.lose_soon(None)
    }

    /// Closes at once: what waits for the socket to take more is dropped.
    pub(super) fn force_close(self, error: Option<PyErr>) -> PyResult<()> {
        if self.lost().get() > 0 {
            return Ok(());
        }
        let unsent = T::take_unsent(self);
        self.closing().set(true);
        let outcome = self.lose_soon(error);
        drop(unsent);
        outcome
    }

    /// Stops watching the socket and schedules `connection_lost`.
    fn lose_soon(self, error: Option<PyErr>) -> PyResult<()> {
        self.lost().set(self.lost().get() + 1);
        self.unwatch_socket()?;
        self.schedule_connection_lost(error)
    }

    fn unwatch_socket(self) -> PyResult<()> {
        self.with_loop(|event_loop| {
            if let Some(fd) = self.endpoint().fd() {
                event_loop.unwatch(fd);
            }
            Ok(())
        })
    }

    /// The connection's end after everything was sent.
    pub(super) fn finish(self) -> PyResult<()> {
        self.unwatch_socket()?;
        self.lost().set(self.lost().get() + 1);
        self.lose_connection(&self.py().None().into_bound(self.py()))
    }

    /// Reports an error and closes at once.
    pub(super) fn fatal_error(self, error: PyErr, message: &str) -> PyResult<()> {
        self.tell_fatal_error(&error, message)?;
        self.force_close(Some(error))
    }

    /// Another socket has this transport's descriptor, which somebody must have closed: gives the number up.
    pub fn forsake(self) -> PyResult<()> {
        if !self.endpoint().forsake(self.py())? {
            return Ok(());
        }
        self.force_close(Some(os_error(std::io::Error::from_raw_os_error(libc::EBADF))))
    }

    /// Tells the protocol, closes the socket, lets go of everything.
    fn lose_connection(self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = self.py();
        let told = match self.protocol().get(py) {
            Some(protocol) => {
                protocol.call_method1(intern!(py, "connection_lost"), (error,)).map(drop)
            }
            None => Ok(()),
        };
        self.endpoint().close(py);
        self.protocol().clear();
        self.event_loop().clear();
        T::let_go(self)?;
        told
    }
}

pub(super) fn close<'py, T: Closing>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    T::send_above(this)?;
    this.close()?;
    none(this.py())
}

pub(super) fn abort<'py, T: Closing>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    T::send_above(this)?;
    this.force_close(None)?;
    none(this.py())
}

pub(super) fn force_close<'py, T: Closing>(
    this: Ref<'_, 'py, T>,
    error: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.force_close((!error.is_none()).then(|| PyErr::from_value(error.clone())))?;
    none(this.py())
}

pub(super) fn call_connection_lost<'py, T: Closing>(
    this: Ref<'_, 'py, T>,
    error: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.lose_connection(error)?;
    none(this.py())
}

pub(super) fn is_closing<'py, T: Closing>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(pyo3::types::PyBool::new(this.py(), this.closing().get()).to_owned().into_any())
}

/// The methods that end a transport of the class.
macro_rules! closing_methods {
    ($class:ty) => {
        [
            $crate::method0!(
                $class,
                c"close",
                $crate::transport::close::close,
                c"Close after the write buffer is sent."
            ),
            $crate::method0!($class, c"abort", $crate::transport::close::abort, c"Close at once."),
            $crate::method1!(
                $class,
                c"_force_close",
                $crate::transport::close::force_close,
                c"Close at once, because of an error."
            ),
            $crate::method1!(
                $class,
                c"_call_connection_lost",
                $crate::transport::close::call_connection_lost,
                c"Tell the protocol of the connection's end and close the socket."
            ),
            $crate::method0!(
                $class,
                c"is_closing",
                $crate::transport::close::is_closing,
                c"Return True if it is closing or closed."
            ),
        ]
    };
}
pub(super) use closing_methods;
