//! The file descriptors that a loop watches: for `add_reader` and `add_writer`, for its socket methods, and for its
//! transports.

use std::os::fd::RawFd;

use ferrio_reactor::{Interest, Readiness, Trigger};
use pyo3::exceptions::{
    PyAttributeError, PyOSError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyWeakrefMethods, PyWeakrefReference};

use super::handle::Handle;
use super::io::Io;
use super::readiness::{self, KnownSocket};
use super::ready::Ready;
use super::{Loop, boolean, none};
use crate::ffi::error::both;
use crate::ffi::{Args, Owned, Ref, Signature, Slot, Traversal, Visit, call};
use crate::task::future::Future;
use crate::transport::datagram::DatagramTransport;
use crate::transport::listener::Listener;
use crate::transport::stream::StreamTransport;
use crate::{method, method_named1, method1};

/// Who watches a file descriptor.
#[derive(Default)]
pub enum Source {
    /// Nobody.
    #[default]
    Free,
    /// Callbacks, level-triggered: they are called at every turn while the descriptor is ready.
    Callbacks { reader: Option<Watcher>, writer: Option<Watcher> },
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
            Source::Callbacks { reader, writer } => [reader, writer]
                .into_iter()
                .flatten()
                .try_for_each(|watcher| watcher.traverse(visit)),
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
            Source::Callbacks { reader, writer } => {
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
            Some(Source::Callbacks { reader, writer }) => {
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
        let [reader, writer] = match usize::try_from(fd).ok().and_then(|index| {
            match this.sources.borrow().get(index)? {
                Source::Callbacks { reader, writer } => Some(
                    [reader, writer]
                        .map(|watcher| watcher.as_ref().map(|watcher| watcher.clone_ref(py))),
                ),
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
            Direction::Read => (Source::Callbacks { reader: watcher, writer }, reader),
            Direction::Write => (Source::Callbacks { reader, writer: watcher }, writer),
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
            Some(Source::Callbacks { reader, writer }) => match direction {
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
}

/// The number of a file descriptor or of an object with `fileno()`, which may be negative or huge.
///
/// Raises `ValueError` for what has no number, as the stdlib's selectors do.
fn number<'py>(file: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = file.py();
    if file.is_instance_of::<PyInt>() {
        return Ok(file.clone());
    }
    let found = file
        .call_method0(intern!(py, "fileno"))
        .and_then(|number| py.get_type::<PyInt>().call1((number,)));
    found.map_err(|error| {
        let expected = error.is_instance_of::<PyAttributeError>(py)
            || error.is_instance_of::<PyTypeError>(py)
            || error.is_instance_of::<PyValueError>(py);
        if expected {
            PyValueError::new_err(format!("Invalid file object: {}", display(file)))
        } else {
            error
        }
    })
}

/// The number of a file descriptor or of an object with `fileno()`.
///
/// Raises `ValueError` for what has no number and for a negative one, `OverflowError` for a huge one.
pub fn descriptor(file: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let number = number(file)?;
    if number.lt(0)? {
        return Err(invalid(number));
    }
    number
        .extract()
        .map_err(|_| PyOverflowError::new_err("Python int too large to convert to C int"))
}

fn invalid(fd: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("Invalid file descriptor: {fd}"))
}

fn display(object: &Bound<'_, PyAny>) -> String {
    object.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string())
}

fn add<'py>(
    this: Ref<'_, 'py, Loop>,
    name: &'static str,
    direction: Direction,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let signature = Signature { name, parameters: ["fd", "callback"], positional: 2, required: 2 };
    let ([Some(file), Some(callback)], rest) = args.parse_with_rest(&signature)? else {
        unreachable!("required arguments were given");
    };
    this.as_any().call_method1(intern!(py, "_ensure_fd_no_transport"), (file,))?;
    this.check_closed()?;
    let fd = descriptor(&file)?;
    let handle = Handle::create(this, callback.to_owned(), rest, call::copy_context(py)?)?;
    Loop::set_callback(this, fd, direction, Some(handle.clone_ref(py)))?;
    Ok(handle.into_any(py))
}

fn remove<'py>(
    this: Ref<'_, 'py, Loop>,
    direction: Direction,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    this.as_any().call_method1(intern!(py, "_ensure_fd_no_transport"), (file,))?;
    if this.closed.get() {
        return boolean(py, false);
    }
    match descriptor(file) {
        Ok(fd) => boolean(py, Loop::set_callback(this, fd, direction, None)?),
        // No system has a descriptor of that number.
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => boolean(py, false),
        Err(error) => Err(error),
    }
}

fn add_reader<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    add(this, "add_reader", Direction::Read, args)?;
    none(this)
}

fn add_writer<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    add(this, "add_writer", Direction::Write, args)?;
    none(this)
}

fn add_reader_handle<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    add(this, "_add_reader", Direction::Read, args)
}

fn add_writer_handle<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    add(this, "_add_writer", Direction::Write, args)
}

fn remove_reader<'py>(
    this: Ref<'_, 'py, Loop>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    remove(this, Direction::Read, file)
}

fn remove_writer<'py>(
    this: Ref<'_, 'py, Loop>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    remove(this, Direction::Write, file)
}

/// Raises `RuntimeError` when a transport of this loop owns the file descriptor.
fn ensure_fd_no_transport<'py>(
    this: Ref<'_, 'py, Loop>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let index: Option<usize> = number(file)?.extract().ok();
    let transport = index
        .and_then(|index| this.sources.borrow().get(index).and_then(|it| it.transport(this.py())));
    match transport {
        Some(transport) => Err(PyRuntimeError::new_err(format!(
            "File descriptor {} is used by transport {}",
            display(file),
            display(&transport)
        ))),
        None => none(this),
    }
}

/// A system call's error, as Python's `OSError` subclass.
pub fn os_error(error: std::io::Error) -> PyErr {
    match error.raw_os_error() {
        // SAFETY: `strerror`'s text is read by Python's own OSError through `os.strerror`.
        Some(code) => PyOSError::new_err((code, strerror(code))),
        None => error.into(),
    }
}

fn strerror(code: i32) -> String {
    let mut text = [0; 256];
    // SAFETY: the buffer's true length is given, and the call leaves a terminated string in it.
    let text = unsafe {
        libc::strerror_r(code, text.as_mut_ptr(), text.len());
        std::ffi::CStr::from_ptr(text.as_ptr())
    };
    text.to_string_lossy().into_owned()
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            Loop,
            c"add_reader",
            add_reader,
            c"add_reader($self, /, fd, callback, *args)\n--\n\nCall the callback whenever fd is readable."
        ),
        method!(
            Loop,
            c"add_writer",
            add_writer,
            c"add_writer($self, /, fd, callback, *args)\n--\n\nCall the callback whenever fd is writable."
        ),
        method_named1!(
            Loop,
            "remove_reader",
            "fd",
            remove_reader,
            c"remove_reader($self, /, fd)\n--\n\nStop watching fd for reading; return True if it was watched."
        ),
        method_named1!(
            Loop,
            "remove_writer",
            "fd",
            remove_writer,
            c"remove_writer($self, /, fd)\n--\n\nStop watching fd for writing; return True if it was watched."
        ),
        method!(Loop, c"_add_reader", add_reader_handle, c"Like add_reader(); return the handle."),
        method!(Loop, c"_add_writer", add_writer_handle, c"Like add_writer(); return the handle."),
        method1!(Loop, c"_remove_reader", remove_reader, c"The same as remove_reader()."),
        method1!(Loop, c"_remove_writer", remove_writer, c"The same as remove_writer()."),
        method1!(
            Loop,
            c"_ensure_fd_no_transport",
            ensure_fd_no_transport,
            c"Raise RuntimeError if a transport uses fd."
        ),
    ]
}
