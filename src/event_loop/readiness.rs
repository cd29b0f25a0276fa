//! What is known of the sockets that the loop's socket methods are called with, and who waits for them.
//!
//! To tell the poller of a socket costs a system call, and so does trying one that is not ready. A socket therefore
//! stays registered, edge-triggered, after the call that registered it, and what the poller tells is remembered for the
//! next. The memory belongs to the socket *object*, through a weak reference: a number that was closed and given to
//! another socket finds another object there, and is registered afresh.
//!
//! Where that can't be had (the descriptor has callbacks from `add_reader`, the object is no `socket.socket` but
//! something with methods of its own, which may stop before the system said so) a call waits level-triggered,
//! registered for that one wait.

use std::cell::Cell;
use std::os::fd::{BorrowedFd, RawFd};

use ferrio_reactor::Readiness;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use socket2::{Domain, SockRef, Type};

use super::Loop;
use super::handle::Handle;
use super::sockets::descriptor_of;
use super::sources::{Direction, Source, Watcher, invalid};
use crate::ffi::{Owned, Ref, Slot, Traversal, Visit};
use crate::task::future::Future;

/// A socket that stays registered between calls.
pub struct KnownSocket {
    /// A weak reference to the Python socket.
    socket: Slot,
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// Whether the end was announced, or an error: the poller has no more to tell, so reading goes on to the end.
    hung_up: Cell<bool>,
    /// Whether a read that left room in its buffer took all there was. Urgent data makes an end of that.
    short_read_drains: Cell<bool>,
    reader: Option<Owned<Future>>,
    writer: Option<Owned<Future>>,
}

impl KnownSocket {
    /// `socket`, a `socket.socket` whose descriptor is `fd`, with nobody waiting.
    fn new(socket: &Bound<'_, PyAny>, fd: RawFd) -> PyResult<Self> {
        Ok(KnownSocket {
            socket: Slot::new(PyWeakrefReference::new(socket)?.into_any()),
            readable: Cell::new(true),
            writable: Cell::new(true),
            hung_up: Cell::new(false),
            short_read_drains: Cell::new(short_read_drains(fd)),
            reader: None,
            writer: None,
        })
    }

    /// The socket, while it is there.
    pub fn socket<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.socket.get(py)?.cast::<PyWeakrefReference>().ok()?.upgrade()
    }

    fn is_of(&self, socket: &Bound<'_, PyAny>) -> bool {
        self.socket(socket.py()).is_some_and(|known| known.is(socket))
    }

    fn ready(&self, direction: Direction) -> &Cell<bool> {
        match direction {
            Direction::Read => &self.readable,
            Direction::Write => &self.writable,
        }
    }

    fn waiter(&mut self, direction: Direction) -> &mut Option<Owned<Future>> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }

    /// Takes note of what the poller saw, and gives out who waited for it.
    pub fn note(&mut self, readiness: &Readiness) -> [Option<Owned<Future>>; 2] {
        if readiness.read_closed || readiness.error {
            self.hung_up.set(true);
        }
        if readiness.urgent {
            self.short_read_drains.set(false);
        }
        let mut woken = [None, None];
        if readiness.wakes_reader() {
            self.readable.set(true);
            woken[0] = self.reader.take();
        }
        if readiness.wakes_writer() {
            self.writable.set(true);
            woken[1] = self.writer.take();
        }
        woken
    }

    /// Who waits in each direction, as watchers.
    pub fn watchers(&self, py: Python<'_>) -> [Option<Watcher>; 2] {
        [&self.reader, &self.writer]
            .map(|waiter| waiter.as_ref().map(|future| Watcher::Waiter(future.clone_ref(py))))
    }

    /// Reports what is owned to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.socket)?;
        for future in [&self.reader, &self.writer].into_iter().flatten() {
            visit.pointer(future.as_ptr())?;
        }
        Ok(())
    }
}

/// Whether a read that left room took all there was: not so for datagrams, nor for Unix sockets, whose reads stop where
/// file descriptors were sent along.
fn short_read_drains(fd: RawFd) -> bool {
    // SAFETY: the system checks the number itself, which is only borrowed for the calls.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&socket);
    let domain = socket.domain();
    matches!(socket.r#type(), Ok(Type::STREAM))
        && domain.is_ok_and(|domain| domain == Domain::IPV4 || domain == Domain::IPV6)
}

impl Loop {
    fn known<R>(
        &self,
        fd: RawFd,
        socket: &Bound<'_, PyAny>,
        body: impl FnOnce(&mut KnownSocket) -> R,
    ) -> Option<R> {
        match self.sources.borrow_mut().get_mut(usize::try_from(fd).ok()?) {
            Some(Source::Socket(known)) if known.is_of(socket) => Some(body(known)),
            _ => None,
        }
    }

    /// Whether it makes sense to try `socket` in `direction`. Only what was remembered speaks against it.
    pub fn may_be_ready(&self, fd: RawFd, socket: &Bound<'_, PyAny>, direction: Direction) -> bool {
        self.known(fd, socket, |known| known.ready(direction).get()).unwrap_or(true)
    }

    /// Remembers that `socket` was tried in `direction` and was not ready.
    pub fn was_not_ready(&self, fd: RawFd, socket: &Bound<'_, PyAny>, direction: Direction) {
        self.known(fd, socket, |known| known.ready(direction).set(false));
    }

    /// Remembers that a read of `socket` left room in its buffer.
    pub fn was_short_read(&self, fd: RawFd, socket: &Bound<'_, PyAny>) {
        self.known(fd, socket, |known| {
            if known.short_read_drains.get() && !known.hung_up.get() {
                known.readable.set(false);
            }
        });
    }

    /// Lets the next readiness of `socket` in `direction` end `waiter`. Who waited there before waits in vain from
    /// now on, as on asyncio's loops. `stays_registered` tells that the socket may, and is a `socket.socket`, no subclass.
    ///
    /// Raises `ValueError` for a socket that was closed, `RuntimeError` for one that a transport uses, and the system's error.
    pub fn wake_when_ready<'py>(
        this: Ref<'_, 'py, Self>,
        fd: RawFd,
        socket: &Bound<'py, PyAny>,
        stays_registered: bool,
        direction: Direction,
        waiter: Owned<Future>,
    ) -> PyResult<()> {
        let py = this.py();
        let Ok(index) = usize::try_from(fd) else { return Err(invalid(fd)) };
        let mut waiter = Some(waiter);
        if stays_registered {
            let before = this.known(fd, socket, |known| {
                std::mem::replace(known.waiter(direction), waiter.take())
            });
            drop(before);
        }
        let Some(waiter) = waiter else { return Ok(()) };
        let (used, called_back) = match this.sources.borrow().get(index) {
            Some(Source::Callbacks { .. }) => (false, true),
            Some(Source::Free | Source::Socket(_) | Source::Listener(_)) | None => (false, false),
            Some(_) => (true, false),
        };
        if used {
            this.as_any().call_method1(intern!(py, "_ensure_fd_no_transport"), (fd,))?;
        }
        if called_back || !stays_registered {
            let watcher = Some(Watcher::Waiter(waiter));
            return match Self::set_watcher(this, fd, direction, watcher)? {
                Some(Watcher::Callback(old)) => Handle::cancel(old.get(py)),
                Some(Watcher::Waiter(_)) | None => Ok(()),
            };
        }
        let mut known = KnownSocket::new(socket, fd)?;
        known.ready(direction).set(false);
        *known.waiter(direction) = Some(waiter);
        this.watch(py, fd, Source::Socket(known))
    }

    /// Forgets the descriptor `index` of a socket that stayed registered, if the socket is gone or has let go of it. Something
    /// came for it, and so somebody else holds the file.
    ///
    /// Raises what asking the socket raises.
    pub(super) fn forget_closed(
        &self,
        index: usize,
        socket: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let is_open = match socket {
            Some(socket) => usize::try_from(descriptor_of(&socket)?) == Ok(index),
            None => false,
        };
        if !is_open {
            self.unwatch(index as RawFd);
        }
        Ok(())
    }

    /// Forgets who waits for the known socket `fd` in `direction`, and returns it.
    pub(super) fn forget_waiter(&self, fd: RawFd, direction: Direction) -> Option<Owned<Future>> {
        match self.sources.borrow_mut().get_mut(usize::try_from(fd).ok()?) {
            Some(Source::Socket(known)) => known.waiter(direction).take(),
            _ => None,
        }
    }

    /// Forgets `waiter`, if it still waits.
    ///
    /// Raises the system's error.
    pub fn stop_waiting(
        this: Ref<'_, '_, Self>,
        fd: RawFd,
        direction: Direction,
        waiter: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let is_waiter = |future: &Owned<Future>| future.as_ptr() == waiter.as_ptr();
        let waits = usize::try_from(fd).ok().is_some_and(|index| {
            let mut sources = this.sources.borrow_mut();
            match sources.get_mut(index) {
                Some(Source::Socket(known)) => {
                    known.waiter(direction).as_ref().is_some_and(is_waiter)
                }
                Some(Source::Callbacks { reader, writer, .. }) => {
                    let watcher = match direction {
                        Direction::Read => reader,
                        Direction::Write => writer,
                    };
                    matches!(watcher, Some(Watcher::Waiter(future)) if is_waiter(future))
                }
                _ => false,
            }
        });
        if waits { Self::set_watcher(this, fd, direction, None).map(drop) } else { Ok(()) }
    }
}

/// Ends `waiter`, unless it was cancelled meanwhile. Raises what the loop's `call_soon` raises.
pub fn wake(py: Python<'_>, waiter: &Owned<Future>) -> PyResult<()> {
    let future = waiter.get(py);
    if future.done() { Ok(()) } else { future.set_result(py.None().into_bound(py)) }
}
