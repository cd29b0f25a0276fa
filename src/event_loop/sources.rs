//! The file descriptors that a loop watches: for `add_reader` and `add_writer`, for its socket methods, and for its
//! transports.

use std::os::fd::RawFd;

use ferrio_reactor::{Interest, Readiness, Trigger};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use super::Loop;
use super::handle::Handle;
use super::io::Io;
use super::readiness::{self, KnownSocket};
use super::ready::Ready;
use crate::ffi::error::both;
use crate::ffi::{Owned, Ref, Slot, Traversal, Visit, os_error};
use crate::task::future::Future;
use crate::transport::datagram::DatagramTransport;
use crate::transport::listener::Listener;
use crate::transport::stream::StreamTransport;

/// Who watches a file descriptor.
#[derive(Default)]
pub enum Source {
    /// Nobody.
    #[default]
    Free,
    /// Callbacks, level-triggered: they are called at every turn while the descriptor is ready. `file` is the object that the
    /// program named the descriptor by, if it was no number.
    Callbacks { file: Slot, reader: Option<Watcher>, writer: Option<Watcher> },
    /// A socket that the loop's socket methods are called with, edge-triggered.
    Socket(KnownSocket),
    /// A transport, edge-triggered: it remembers what it was told.
    Stream(Owned<StreamTransport>),
    /// Nobody for now, but the descriptor is a transport's, of which this is a weak reference: nothing is wanted of its socket.
    Resting(Slot),
    /// The same for datagrams.
    Datagram(Owned<DatagramTransport>),
    /// A listening socket.
    Listener(Owned<Listener>),
}

/// Who is told that a descriptor is ready.
pub enum Watcher {
    /// A callback from `add_reader` or `add_writer`, until it is removed.
    Callback(Owned<Handle>),
    /// A future that waits for this once.
    Waiter(Owned<Future>),
}

impl Watcher {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Watcher::Callback(handle) => Watcher::Callback(handle.clone_ref(py)),
            Watcher::Waiter(future) => Watcher::Waiter(future.clone_ref(py)),
        }
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.pointer(match self {
            Watcher::Callback(handle) => handle.as_ptr(),
            Watcher::Waiter(future) => future.as_ptr(),
        })
    }
}

/// One of the two directions of a watched descriptor.
#[derive(Clone, Copy)]
pub enum Direction {
    /// Bytes or connections that come.
    Read,
    /// Room for bytes, and a connection that is made.
    Write,
}

impl Source {
    /// Reports what the entry owns to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        match self {
            Source::Free => Ok(()),
            Source::Callbacks { file, reader, writer } => {
                visit.slot(file)?;
                [reader, writer]
                    .into_iter()
                    .flatten()
                    .try_for_each(|watcher| watcher.traverse(visit))
            }
            Source::Socket(known) => known.traverse(visit),
            Source::Stream(stream) => visit.pointer(stream.as_ptr()),
            Source::Resting(reference) => visit.slot(reference),
            Source::Datagram(datagram) => visit.pointer(datagram.as_ptr()),
            Source::Listener(listener) => visit.pointer(listener.as_ptr()),
        }
    }

    /// The transport that owns the descriptor, if one does.
    pub fn transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Source::Stream(stream) => Some(stream.get(py).to_any()),
            Source::Resting(reference) => {
                reference.get(py)?.cast::<PyWeakrefReference>().ok()?.upgrade()
            }
            Source::Datagram(datagram) => Some(datagram.get(py).to_any()),
            Source::Free | Source::Callbacks { .. } | Source::Socket(_) | Source::Listener(_) => {
                None
            }
        }
    }

    /// How often it wants to be told.
    pub(super) fn trigger(&self) -> Trigger {
        match self {
            Source::Free | Source::Callbacks { .. } | Source::Listener(_) | Source::Resting(_) => {
                Trigger::Level
            }
            Source::Socket(_) | Source::Stream(_) | Source::Datagram(_) => Trigger::Edge,
        }
    }

    pub(super) fn interest(&self) -> Option<Interest> {
        match self {
            Source::Free | Source::Resting(_) => None,
            Source::Callbacks { reader, writer, .. } => {
                Interest::of(reader.is_some(), writer.is_some())
            }
            Source::Socket(_) | Source::Stream(_) | Source::Datagram(_) => Some(Interest::BOTH),
            Source::Listener(_) => Some(Interest::READABLE),
        }
    }
}

impl Loop {
    /// Watches `fd` for `source` from now on.
    ///
    /// Raises the system's error: `EPERM` for a regular file, `EBADF`, …
    pub fn watch(&self, py: Python<'_>, fd: RawFd, source: Source) -> PyResult<()> {
        let (Some(interest), Ok(index)) = (source.interest(), usize::try_from(fd)) else {
            return Err(invalid(fd));
        };
        let trigger = source.trigger();
        let token = self.registrations.borrow_mut().next(index);
        {
            let io = self.io.borrow();
            let io = io.as_ref().ok_or_else(|| PyRuntimeError::new_err("Event loop is closed"))?;
            let watched =
                self.sources.borrow().get(index).is_some_and(|old| old.interest().is_some());
            match io.own() {
                // In a forked child, whose own poller will register what it finds here.
                None => Ok(()),
                // A descriptor that was closed without a word, and its number used again, is not known any more.
                Some(io) if watched => io
                    .registry
                    .reregister(fd, token, interest, trigger)
                    .or_else(|error| match error.kind() {
                        std::io::ErrorKind::NotFound => {
                            io.registry.register(fd, token, interest, trigger)
                        }
                        _ => Err(error),
                    }),
                Some(io) => io.registry.register(fd, token, interest, trigger),
            }
            .map_err(os_error)?;
        }
        self.registrations.borrow_mut().set(token);
        let old = {
            let mut sources = self.sources.borrow_mut();
            if sources.len() <= index {
                sources.resize_with(index + 1, Source::default);
            }
            std::mem::replace(&mut sources[index], source)
        };
        match &old {
            Source::Stream(stream) => stream.get(py).forsake(),
            Source::Datagram(datagram) => datagram.get(py).forsake(),
            Source::Resting(_) => match old.transport(py) {
                Some(transport) => match Ref::<StreamTransport>::cast(&transport) {
                    Some(stream) => stream.forsake(),
                    None => Ref::<DatagramTransport>::cast(&transport).map_or(Ok(()), Ref::forsake),
                },
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Watches `fd` no more. A descriptor that is closed already is no error: unless somebody else has its file, the system
    /// forgot it by itself.
    pub fn unwatch(&self, fd: RawFd) {
        let Ok(index) = usize::try_from(fd) else { return };
        let old = self.sources.borrow_mut().get_mut(index).map(std::mem::take);
        self.registrations.borrow_mut().clear(index);
        if let Some(old) = old
            && old.interest().is_some()
            && let Some(io) = self.io.borrow().as_ref().and_then(Io::own)
        {
            let _already_closed = io.registry.deregister(fd);
        }
    }

    /// Watches `fd` no more, which stays that of `transport`.
    pub fn let_rest(&self, fd: RawFd, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let reference = PyWeakrefReference::new(transport)?;
        self.unwatch(fd);
        if let Ok(index) = usize::try_from(fd)
            && let Some(source) = self.sources.borrow_mut().get_mut(index)
        {
            *source = Source::Resting(Slot::new(reference.into_any()));
        }
        Ok(())
    }

    /// Queues what waits for the descriptor that `readiness` is about.
    ///
    /// Raises what a `call_soon` raises that overrides the loop's.
    pub(super) fn dispatch(this: Ref<'_, '_, Self>, readiness: &Readiness) -> PyResult<()> {
        let py = this.py();
        let Some(index) = this.registrations.borrow().descriptor(readiness.token) else {
            this.haunted.set(true);
            return Ok(());
        };
        // Ended after the borrow, for that may run Python code.
        let mut woken = [None, None];
        let mut once = false;
        let mut unwanted = None;
        match this.sources.borrow_mut().get_mut(index) {
            None | Some(Source::Free | Source::Resting(_)) => {}
            Some(Source::Callbacks { reader, writer, .. }) => {
                let due = [readiness.wakes_reader(), readiness.wakes_writer()];
                for (direction, watcher) in [reader, writer].into_iter().enumerate() {
                    match watcher {
                        Some(Watcher::Callback(handle)) if due[direction] => {
                            this.push(Ready::Handle(handle.clone_ref(py)));
                        }
                        Some(Watcher::Waiter(future)) if due[direction] => {
                            woken[direction] = Some(future.clone_ref(py));
                            once = true;
                        }
                        _ => {}
                    }
                }
            }
            Some(Source::Socket(known)) => {
                woken = known.note(readiness);
                if matches!(woken, [None, None]) {
                    unwanted = Some(known.socket(py));
                }
            }
            Some(Source::Stream(stream)) => {
                let stream = stream.get(py);
                if stream.note(readiness) {
                    this.push(Ready::Stream(stream.to_owned()));
                }
            }
            Some(Source::Datagram(datagram)) => {
                let datagram = datagram.get(py);
                if datagram.note(readiness) {
                    this.push(Ready::Datagram(datagram.to_owned()));
                }
            }
            Some(Source::Listener(listener)) => {
                this.push(Ready::Listener(listener.clone_ref(py)));
            }
        }
        if let Some(socket) = unwanted {
            this.forget_closed(index, socket)?;
        }
        let mut outcome = Ok(());
        for (future, direction) in woken.iter().zip([Direction::Read, Direction::Write]) {
            let Some(future) = future else { continue };
            if once {
                let removed = Self::set_watcher(this, index as RawFd, direction, None);
                outcome = both(py, outcome, removed.map(drop));
            }
            outcome = both(py, outcome, readiness::wake(py, future));
        }
        outcome
    }

    /// Sets or removes (`None`) who watches one direction of `fd`. Returns who did before.
    ///
    /// Raises the system's error. All is as before then; but when somebody was to be removed, nobody watches `fd` any more.
    pub(super) fn set_watcher(
        this: Ref<'_, '_, Self>,
        fd: RawFd,
        direction: Direction,
        watcher: Option<Watcher>,
    ) -> PyResult<Option<Watcher>> {
        let py = this.py();
        let mut stays_registered = false;
        let mut file = Slot::empty();
        let [reader, writer] = match usize::try_from(fd).ok().and_then(|index| {
            match this.sources.borrow().get(index)? {
                Source::Callbacks { file: named, reader, writer } => {
                    file = named.get(py).map_or_else(Slot::empty, Slot::new);
                    Some(
                        [reader, writer]
                            .map(|watcher| watcher.as_ref().map(|watcher| watcher.clone_ref(py))),
                    )
                }
                Source::Socket(known) => {
                    stays_registered = true;
                    Some(known.watchers(py))
                }
                _ => None,
            }
        }) {
            Some(pair) => pair,
            None if watcher.is_none() => return Ok(None),
            None => [None, None],
        };
        if stays_registered && watcher.is_none() {
            return Ok(this.forget_waiter(fd, direction).map(Watcher::Waiter));
        }
        let removes = watcher.is_none();
        let (source, old) = match direction {
            Direction::Read => (Source::Callbacks { file, reader: watcher, writer }, reader),
            Direction::Write => (Source::Callbacks { file, reader, writer: watcher }, writer),
        };
        if source.interest().is_some() {
            this.watch(py, fd, source).inspect_err(|_| {
                // It was closed. Its number may come back as another's.
                if removes {
                    this.unwatch(fd);
                }
            })?;
        } else {
            this.unwatch(fd);
        }
        Ok(old)
    }

    /// Whether somebody watches `fd` in that direction by a callback; `None` once the loop is closed.
    pub fn watches(&self, fd: RawFd, direction: Direction) -> Option<bool> {
        if self.closed.get() {
            return None;
        }
        let sources = self.sources.borrow();
        Some(match usize::try_from(fd).ok().and_then(|index| sources.get(index)) {
            Some(Source::Callbacks { reader, writer, .. }) => match direction {
                Direction::Read => reader.is_some(),
                Direction::Write => writer.is_some(),
            },
            _ => false,
        })
    }

    /// Sets or removes (`None`) one of the callbacks of `fd`, and cancels the old one. Returns whether there was one.
    pub fn set_callback(
        this: Ref<'_, '_, Self>,
        fd: RawFd,
        direction: Direction,
        handle: Option<Owned<Handle>>,
    ) -> PyResult<bool> {
        match Self::set_watcher(this, fd, direction, handle.map(Watcher::Callback))? {
            Some(Watcher::Callback(old)) => Handle::cancel(old.get(this.py())).map(|()| true),
            Some(Watcher::Waiter(_)) => Ok(true),
            None => Ok(false),
        }
    }

    /// Keeps the object that the program named `fd` by when it set a callback. As with the stdlib's selectors it stays alive,
    /// and names the descriptor also after it was closed.
    pub(super) fn keep_file(&self, fd: RawFd, file: &Bound<'_, PyAny>) {
        let Ok(index) = usize::try_from(fd) else { return };
        let before = match self.sources.borrow_mut().get_mut(index) {
            Some(Source::Callbacks { file: kept, .. }) => {
                std::mem::replace(kept, Slot::new(file.clone()))
            }
            _ => Slot::empty(),
        };
        drop(before);
    }

    /// The descriptor whose callbacks were set with this very object.
    pub(super) fn named_by(&self, file: &Bound<'_, PyAny>) -> Option<RawFd> {
        let names = |source: &Source| match source {
            Source::Callbacks { file: kept, .. } => kept.as_ptr() == file.as_ptr(),
            _ => false,
        };
        self.sources.borrow().iter().position(names)?.try_into().ok()
    }
}

/// The error for a number that no descriptor has.
pub(super) fn invalid(fd: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("Invalid file descriptor: {fd}"))
}
