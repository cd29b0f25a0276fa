//! What the two ends of a pipe have in common as transports.
//!
//! A pipe transport watches its descriptor as `add_reader` and `add_writer` do, by level-triggered callbacks, and not
//! as a stream transport does. A terminal is often one descriptor with a transport for each direction, and what it has
//! sent is not all read by one read that left room: there is no readiness that could be remembered.

use std::cell::Cell;
use std::os::fd::RawFd;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyString};

use super::life::Transport;
use super::stream::none;
use crate::event_loop::Loop;
use crate::event_loop::handle::Handle;
use crate::event_loop::sources::Direction;
use crate::ffi::{Class, Owned, Ref, Rest, Slot, Traversal, Visit, call, error, os_error};

/// The fields of both ends.
#[derive(Default)]
pub struct Pipe {
    event_loop: Slot,
    protocol: Slot,
    /// The Python file or socket, which owns the descriptor; nothing once it is closed.
    file: Slot,
    fd: Cell<RawFd>,
    pub(super) closing: Cell<bool>,
    /// Whether `connection_lost` is scheduled, or was called.
    lost: Cell<bool>,
}

impl Pipe {
    fn slots(&self) -> [&Slot; 3] {
        [&self.event_loop, &self.protocol, &self.file]
    }

    /// Reports what the fields own to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        self.slots().into_iter().try_for_each(|slot| visit.slot(slot))
    }

    /// Releases what the fields own.
    pub fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }

    /// Whether the Python file is not closed yet.
    pub fn is_open(&self) -> bool {
        !self.file.is_empty()
    }

    /// The number of the descriptor, also after it is closed.
    pub fn fd(&self) -> RawFd {
        self.fd.get()
    }

    /// Takes note that `connection_lost` is due. Returns whether it was not before.
    pub fn begin_to_lose(&self) -> bool {
        self.closing.set(true);
        !self.lost.replace(true)
    }
}

/// A transport that is one end of a pipe.
pub trait PipeEnd: Class {
    /// What `ValueError` says of a regular file, a directory or a block device.
    const REFUSAL: &'static str;

    /// The fields of both ends.
    fn pipe(&self) -> &Pipe;

    /// Whether to call `_begin` after `connection_made`, for a descriptor with this `st_mode`.
    fn must_begin(kind: libc::mode_t) -> bool;
}

impl<T: PipeEnd> Transport for T {
    fn event_loop(&self) -> &Slot {
        &self.pipe().event_loop
    }

    fn protocol(&self) -> &Slot {
        &self.pipe().protocol
    }
}

/// A transport for `file`, a Python file or socket that it owns from now on, whose life begins in the loop's next turn.
/// `waiter`, a future, is told when it has begun; `extra` is the dictionary of `get_extra_info`.
///
/// Raises `ValueError` for what is no pipe, socket or character device, and what `file.fileno()` raises.
pub fn create<'py, T: PipeEnd>(
    event_loop: Ref<'_, 'py, Loop>,
    file: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<Bound<'py, PyAny>>,
    extra: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    static WAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = event_loop.py();
    let extra = extra.unwrap_or_else(|| PyDict::new(py).into_any());
    extra.set_item(intern!(py, "pipe"), file)?;
    let fd = file.call_method0(intern!(py, "fileno"))?.extract()?;
    let kind = kind(fd).map_err(os_error)?;
    if ![libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFCHR].contains(&kind) {
        return Err(PyValueError::new_err(T::REFUSAL));
    }
    py.import("os")?.call_method1("set_blocking", (fd, false))?;

    let transport = Owned::<T>::alloc(py)?;
    let this = transport.get(py);
    this.as_any().setattr(intern!(py, "_extra"), extra)?;
    let pipe = this.pipe();
    pipe.fd.set(fd);
    pipe.event_loop.set(event_loop.to_any());
    pipe.protocol.set(protocol.clone());
    pipe.file.set(file.clone());

    let call_soon = event_loop.as_any().getattr(intern!(py, "call_soon"))?;
    call_soon.call1((protocol.getattr(intern!(py, "connection_made"))?, this.as_any()))?;
    if T::must_begin(kind) {
        call_soon.call1((this.as_any().getattr(intern!(py, "_begin"))?,))?;
    }
    if let Some(waiter) = waiter {
        let wake = WAKE.import(py, "asyncio.futures", "_set_result_unless_cancelled")?;
        call_soon.call1((wake, waiter, py.None()))?;
    }
    Ok(transport.into_any(py))
}

/// What a descriptor is: the `S_IFMT` part of its `st_mode`.
fn kind(fd: RawFd) -> std::io::Result<libc::mode_t> {
    let mut about = std::mem::MaybeUninit::uninit();
    // SAFETY: the system checks the number, and fills the structure in unless it returns an error.
    unsafe {
        match libc::fstat(fd, about.as_mut_ptr()) {
            0 => Ok(about.assume_init().st_mode & libc::S_IFMT),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

impl<T: PipeEnd> Ref<'_, '_, T> {
    /// Calls the transport's method of that name whenever the descriptor is ready.
    ///
    /// Raises `RuntimeError` when the loop is closed, and the system's error: `EPERM` for `/dev/null`.
    pub(super) fn watch(self, direction: Direction, method: &Bound<'_, PyString>) -> PyResult<()> {
        let py = self.py();
        self.with_loop(|event_loop| {
            let callback = self.as_any().getattr(method)?;
            let context = call::copy_context(py)?;
            let handle = Handle::create(event_loop, callback, Rest::none(py), context)?;
            Loop::set_callback(event_loop, self.pipe().fd(), direction, Some(handle)).map(drop)
        })
    }

    /// Calls nothing more when the descriptor is ready in that direction.
    pub(super) fn unwatch(self, direction: Direction) -> PyResult<()> {
        self.with_loop(|event_loop| {
            Loop::set_callback(event_loop, self.pipe().fd(), direction, None).map(drop)
        })
    }

    /// Schedules `connection_lost`, once. The descriptor must not be watched any more.
    pub(super) fn lose(self, error: Option<PyErr>) -> PyResult<()> {
        if self.pipe().begin_to_lose() { self.schedule_connection_lost(error) } else { Ok(()) }
    }

    /// Tells the protocol, closes the pipe, lets go of everything.
    pub(super) fn call_connection_lost(self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let (pipe, py) = (self.pipe(), self.py());
        let Some(protocol) = pipe.protocol.get(py) else { return Ok(()) };
        let told = protocol.call_method1(intern!(py, "connection_lost"), (error,));
        let closed = close_file(pipe, py);
        pipe.clear();
        match (told, closed) {
            (Err(error), closed) => {
                error::ok(closed, py);
                Err(error)
            }
            (Ok(_), closed) => closed,
        }
    }

    /// `<ferrio.ReadPipeTransport closing fd=7 idle`: as asyncio's pipe transports show themselves, but for the end.
    pub(super) fn describe(self, direction: Direction) -> PyResult<String> {
        let pipe = self.pipe();
        let mut text = format!("<{}", T::NAME.to_string_lossy());
        if !pipe.is_open() {
            text.push_str(" closed");
        } else if pipe.closing.get() {
            text.push_str(" closing");
        }
        text.push_str(&format!(" fd={}", pipe.fd()));
        let watched = self.with_loop(|event_loop| Ok(event_loop.watches(pipe.fd(), direction)))?;
        text.push_str(match watched {
            _ if !pipe.is_open() => " closed",
            Some(true) => " polling",
            Some(false) => " idle",
            None => " open",
        });
        Ok(text)
    }

    /// What `__del__` does: an open pipe is closed, with a warning.
    pub(super) fn finalize_pipe(self) {
        self.warn_unclosed();
        if let Err(error) = close_file(self.pipe(), self.py()) {
            error.write_unraisable(self.py(), Some(self.as_any()));
        }
    }
}

fn close_file(pipe: &Pipe, py: Python<'_>) -> PyResult<()> {
    match pipe.file.take(py) {
        Some(file) => file.call_method0(intern!(py, "close")).map(drop),
        None => Ok(()),
    }
}

pub(super) fn call_connection_lost<'py, T: PipeEnd>(
    this: Ref<'_, 'py, T>,
    error: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.call_connection_lost(error)?;
    none(this.py())
}

pub(super) fn is_closing<'py, T: PipeEnd>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), this.pipe().closing.get()).to_owned().into_any())
}

pub(super) fn get_protocol<'py, T: PipeEnd>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.pipe().protocol.get_or_none(this.py()))
}

pub(super) fn set_protocol<'py, T: PipeEnd>(
    this: Ref<'_, 'py, T>,
    protocol: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.pipe().protocol.set(protocol.clone());
    none(this.py())
}

pub(super) fn get_loop<'py, T: PipeEnd>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.pipe().event_loop.get_or_none(this.py()))
}

pub(super) fn get_file<'py, T: PipeEnd>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.pipe().file.get_or_none(this.py()))
}

/// Who sets `None` closes the pipe himself.
pub(super) fn set_file<T: PipeEnd>(
    this: Ref<'_, '_, T>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    this.pipe().file.set_opt(value.filter(|value| !value.is_none()).cloned(), this.py());
    Ok(())
}

pub(super) fn fileno<'py, T: PipeEnd>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.pipe().fd().into_pyobject(this.py())?.into_any())
}

/// The methods of both ends.
macro_rules! pipe_methods {
    ($class:ty) => {{
        use $crate::transport::pipe;
        vec![
            $crate::method1!(
                $class,
                c"_call_connection_lost",
                pipe::call_connection_lost::<$class>,
                c"Tell the protocol of the connection's end and close the pipe."
            ),
            $crate::method0!(
                $class,
                c"is_closing",
                pipe::is_closing::<$class>,
                c"Return True if it is closing or closed."
            ),
            $crate::method0!(
                $class,
                c"get_protocol",
                pipe::get_protocol::<$class>,
                c"Return the current protocol."
            ),
            $crate::method_named1!(
                $class,
                "set_protocol",
                "protocol",
                pipe::set_protocol::<$class>,
                c"Set a new protocol."
            ),
        ]
    }};
}

/// The attributes of both ends.
macro_rules! pipe_attributes {
    ($class:ty) => {{
        use $crate::transport::pipe;
        vec![
            $crate::attribute!($class, c"_loop", pipe::get_loop::<$class>),
            $crate::attribute!($class, c"_protocol", pipe::get_protocol::<$class>),
            $crate::attribute!(
                $class,
                c"_pipe",
                pipe::get_file::<$class>,
                pipe::set_file::<$class>
            ),
            $crate::attribute!($class, c"_fileno", pipe::fileno::<$class>),
        ]
    }};
}

pub(super) use {pipe_attributes, pipe_methods};
