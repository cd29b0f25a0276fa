//! Rest: the poller forgets a socket of which nothing is wanted, and its loop doesn't keep the transport any more.

use std::cell::Cell;

use pyo3::prelude::*;

use super::info::SocketTransport;
use crate::event_loop::sources::Source;
use crate::ffi::Ref;

/// A transport that rests while nothing is wanted of its socket. As with asyncio, one that nobody keeps is closed then.
pub trait Rests: SocketTransport {
    /// Whether it rests.
    fn resting(&self) -> &Cell<bool>;
    /// Whether nothing is read, and all is sent.
    fn is_quiet(&self) -> bool;
    /// What the poller watches its socket for.
    fn source(this: Ref<'_, '_, Self>) -> Source;
}

impl<T: Rests> Ref<'_, '_, T> {
    /// Has the poller forget the socket if nothing is wanted of it. Raises the system's error.
    pub(super) fn rest(self) -> PyResult<()> {
        if !self.is_quiet() || self.closing().get() || self.resting().get() {
            return Ok(());
        }
        let Some(fd) = self.endpoint().fd() else { return Ok(()) };
        self.with_loop(|event_loop| {
            self.resting().set(true);
            event_loop.let_rest(fd, self.as_any())
        })
    }

    /// Has the poller watch the socket again. Raises the system's error.
    pub(super) fn end_rest(self) -> PyResult<()> {
        if !self.resting().get() || self.closing().get() {
            return Ok(());
        }
        let Some(fd) = self.endpoint().fd() else { return Ok(()) };
        self.with_loop(|event_loop| {
            event_loop.unwatch(fd);
            event_loop.watch(self.py(), fd, T::source(self))?;
            self.resting().set(false);
            Ok(())
        })
    }
}
