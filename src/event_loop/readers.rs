//! The file descriptors that a loop watches: for `add_reader` and `add_writer`, and for its transports.

use std::os::fd::RawFd;

use ferrio_reactor::{Interest, Readiness, Trigger};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;

use super::handle::Handle;
use super::ready::Ready;
use super::{Loop, boolean, none};
use crate::ffi::{Args, Owned, Ref, Traversal, Visit, call};
use crate::transport::listener::Listener;
use crate::transport::stream::StreamTransport;
use crate::{method, method1};

/// Who watches a file descriptor.
#[derive(Default)]
pub enum Source {
    /// Nobody.
    #[default]
    Free,
    /// Callbacks, level-triggered: they are called at every turn while the descriptor is ready.
    Callbacks { reader: Option<Owned<Handle>>, writer: Option<Owned<Handle>> },
    /// A transport, edge-triggered: it remembers what it was told.
    Stream(Owned<StreamTransport>),
    /// A listening socket.
    Listener(Owned<Listener>),
}

/// One of the two directions of a watched descriptor.
#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

impl Source {
    /// Reports what the entry owns to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        match self {
            Source::Free => Ok(()),
            Source::Callbacks { reader, writer } => {
                for handle in [reader, writer].into_iter().flatten() {
                    visit.pointer(handle.as_ptr())?;
                }
                Ok(())
            }
            Source::Stream(stream) => visit.pointer(stream.as_ptr()),
            Source::Listener(listener) => visit.pointer(listener.as_ptr()),
        }
    }

    fn interest(&self) -> Option<Interest> {
        match self {
            Source::Free => None,
            Source::Callbacks { reader, writer } => match (reader.is_some(), writer.is_some()) {
                (true, true) => Some(Interest::BOTH),
                (true, false) => Some(Interest::READABLE),
                (false, true) => Some(Interest::WRITABLE),
                (false, false) => None,
            },
            Source::Stream(_) => Some(Interest::BOTH),
            Source::Listener(_) => Some(Interest::READABLE),
        }
    }
}

impl Loop {
    /// Watches `fd` for `source` from now on.
    ///
    /// Raises the system's error: `EPERM` for a regular file, `EBADF`, …
    pub fn watch(
        &self,
        py: Python<'_>,
        fd: RawFd,
        source: Source,
        trigger: Trigger,
    ) -> PyResult<()> {
        let (Some(interest), Ok(index)) = (source.interest(), usize::try_from(fd)) else {
            return Err(PyValueError::new_err(format!("Invalid file descriptor: {fd}")));
        };
        {
            let io = self.io.borrow();
            let io = io.as_ref().ok_or_else(|| PyRuntimeError::new_err("Event loop is closed"))?;
            let watched =
                self.sources.borrow().get(index).is_some_and(|old| old.interest().is_some());
            if watched {
                // A descriptor that was closed without a word, and its number used again, is not known any more.
                io.registry.reregister(fd, index, interest, trigger).or_else(
                    |error| match error.kind() {
                        std::io::ErrorKind::NotFound => {
                            io.registry.register(fd, index, interest, trigger)
                        }
                        _ => Err(error),
                    },
                )?;
            } else {
                io.registry.register(fd, index, interest, trigger)?;
            }
        }
        let old = {
            let mut sources = self.sources.borrow_mut();
            if sources.len() <= index {
                sources.resize_with(index + 1, Source::default);
            }
            std::mem::replace(&mut sources[index], source)
        };
        match old {
            Source::Stream(stream) => stream.get(py).forsake(),
            Source::Free | Source::Callbacks { .. } | Source::Listener(_) => Ok(()),
        }
    }

    /// Watches `fd` no more. A descriptor that is closed already is no error: the system forgot it by itself.
    pub fn unwatch(&self, fd: RawFd) {
        let old = usize::try_from(fd)
            .ok()
            .and_then(|index| self.sources.borrow_mut().get_mut(index).map(std::mem::take));
        if let Some(old) = old
            && old.interest().is_some()
            && let Some(io) = self.io.borrow().as_ref()
        {
            let _already_closed = io.registry.deregister(fd);
        }
    }

    /// Queues what waits for the descriptor that `readiness` is about.
    pub(super) fn dispatch(&self, py: Python<'_>, readiness: &Readiness) {
        let sources = self.sources.borrow();
        match sources.get(readiness.token) {
            None | Some(Source::Free) => {}
            Some(Source::Callbacks { reader, writer }) => {
                for (handle, due) in
                    [(reader, readiness.wakes_reader()), (writer, readiness.wakes_writer())]
                {
                    if let Some(handle) = handle
                        && due
                    {
                        self.push(Ready::Handle(handle.clone_ref(py)));
                    }
                }
            }
            Some(Source::Stream(stream)) => {
                let stream = stream.get(py);
                if stream.note(readiness) {
                    self.push(Ready::Stream(stream.to_owned()));
                }
            }
            Some(Source::Listener(listener)) => {
                self.push(Ready::Listener(listener.clone_ref(py)));
            }
        }
    }

    /// Sets or removes (`None`) one of the callbacks of `fd`, and cancels the old one. Returns whether there was one.
    fn set_callback(
        this: Ref<'_, '_, Self>,
        fd: RawFd,
        direction: Direction,
        handle: Option<Owned<Handle>>,
    ) -> PyResult<bool> {
        let py = this.py();
        let (reader, writer) = match usize::try_from(fd).ok().and_then(|index| {
            match this.sources.borrow().get(index) {
                Some(Source::Callbacks { reader, writer }) => Some((
                    reader.as_ref().map(|handle| handle.clone_ref(py)),
                    writer.as_ref().map(|handle| handle.clone_ref(py)),
                )),
                _ => None,
            }
        }) {
            Some(pair) => pair,
            None if handle.is_none() => return Ok(false),
            None => (None, None),
        };
        let (source, old) = match direction {
            Direction::Read => (Source::Callbacks { reader: handle, writer }, reader),
            Direction::Write => (Source::Callbacks { reader, writer: handle }, writer),
        };
        if source.interest().is_some() {
            this.watch(py, fd, source, Trigger::Level)?;
        } else {
            this.unwatch(fd);
        }
        match old {
            Some(old) => Handle::cancel(old.get(py)).map(|()| true),
            None => Ok(false),
        }
    }

    fn is_transport(&self, fd: RawFd) -> bool {
        usize::try_from(fd).is_ok_and(|index| {
            matches!(
                self.sources.borrow().get(index),
                Some(Source::Stream(_) | Source::Listener(_))
            )
        })
    }
}

/// The number of a file descriptor or of an object with `fileno()`.
///
/// Raises `ValueError` as the stdlib's selectors do.
pub fn descriptor(file: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let invalid = || PyValueError::new_err(format!("Invalid file object: {}", display(file)));
    let fd: i64 = match file.extract() {
        Ok(fd) => fd,
        Err(_) => file
            .call_method0(intern!(file.py(), "fileno"))
            .and_then(|fd| fd.extract())
            .map_err(|_| invalid())?,
    };
    match RawFd::try_from(fd) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(PyValueError::new_err(format!("Invalid file descriptor: {fd}"))),
    }
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
    let [Some(file), Some(callback)] = [args.get(0), args.get(1)] else {
        return Err(pyo3::exceptions::PyTypeError::new_err(format!(
            "{name}() missing required arguments: 'fd' and 'callback'"
        )));
    };
    this.check_closed()?;
    let fd = descriptor(&file)?;
    this.as_any().call_method1(intern!(py, "_ensure_fd_no_transport"), (fd,))?;
    let handle = Handle::create(this, callback.to_owned(), args.rest(2), call::copy_context(py)?)?;
    Loop::set_callback(this, fd, direction, Some(handle.clone_ref(py)))?;
    Ok(handle.into_any(py))
}

fn remove<'py>(
    this: Ref<'_, 'py, Loop>,
    direction: Direction,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.closed.get() {
        return boolean(py, false);
    }
    let fd = descriptor(file)?;
    this.as_any().call_method1(intern!(py, "_ensure_fd_no_transport"), (fd,))?;
    boolean(py, Loop::set_callback(this, fd, direction, None)?)
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
    let fd = descriptor(file)?;
    if this.is_transport(fd) {
        let transport = match &this.sources.borrow()[fd as usize] {
            Source::Stream(stream) => Some(stream.get(this.py()).to_any()),
            _ => None,
        };
        if let Some(transport) = transport {
            return Err(PyRuntimeError::new_err(format!(
                "File descriptor {} is used by transport {}",
                display(file),
                display(&transport)
            )));
        }
    }
    none(this)
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
            c"add_reader(fd, callback, *args)\n\nCall the callback whenever fd is readable."
        ),
        method!(
            Loop,
            c"add_writer",
            add_writer,
            c"add_writer(fd, callback, *args)\n\nCall the callback whenever fd is writable."
        ),
        method1!(
            Loop,
            c"remove_reader",
            remove_reader,
            c"Stop watching fd for reading; return True if it was watched."
        ),
        method1!(
            Loop,
            c"remove_writer",
            remove_writer,
            c"Stop watching fd for writing; return True if it was watched."
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
