//! `ReadPipeTransport`: the end of a pipe that is read.

use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyString, PyType};

use super::life::Transport;
use super::pipe::{Pipe, PipeEnd, pipe_attributes, pipe_methods};
use super::read::LANDING;
use super::stream::none;
use crate::event_loop::sources::Direction;
use crate::ffi::{Class, ClassCell, Definition, Ref, Traversal, Visit, build, os_error};
use crate::streams::{self, Landing};
use crate::{method0, unary_slot};

/// The fields of `ferrio.ReadPipeTransport`.
#[derive(Default)]
pub struct ReadPipeTransport {
    pipe: Pipe,
    paused: Cell<bool>,
}

static READ_PIPE: ClassCell = ClassCell::new();

impl Class for ReadPipeTransport {
    const NAME: &'static CStr = c"ferrio.ReadPipeTransport";
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &READ_PIPE
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.pipe.traverse(visit)
    }

    fn clear(&self) {
        self.pipe.clear();
    }

    fn must_finalize(&self) -> bool {
        self.pipe.is_open()
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        this.finalize_pipe();
    }
}

impl PipeEnd for ReadPipeTransport {
    const REFUSAL: &'static str = "Pipe transport is for pipes/sockets only.";

    fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    fn must_begin(_: libc::mode_t) -> bool {
        true
    }
}

impl ReadPipeTransport {
    fn reads(&self) -> bool {
        !self.paused.get() && !self.pipe.closing.get()
    }
}

impl Ref<'_, '_, ReadPipeTransport> {
    fn close(self, error: Option<PyErr>) -> PyResult<()> {
        self.unwatch(Direction::Read)?;
        self.lose(error)
    }

    /// Reports an error and closes. `EIO` is how a terminal says that its other end is gone.
    fn fatal_error(self, error: PyErr, message: &str) -> PyResult<()> {
        let py = self.py();
        let errno = error.value(py).getattr(intern!(py, "errno"));
        let hung_up = error.is_instance_of::<PyOSError>(py)
            && errno.and_then(|errno| errno.extract::<i32>()).is_ok_and(|errno| errno == libc::EIO);
        if hung_up {
            self.log("debug", &format!(": {message}"), Some(&error))?;
        } else {
            self.report(error.clone_ref(py), message)?;
        }
        self.close(Some(error))
    }

    /// A read gave nothing.
    fn not_read(self, error: io::Error) -> PyResult<()> {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
            _ => self.fatal_error(os_error(error), "Fatal read error on pipe transport"),
        }
    }

    /// The writers are gone, and all that they wrote was read.
    fn ended(self) -> PyResult<()> {
        let py = self.py();
        self.log("info", " was closed by peer", None)?;
        self.pipe.closing.set(true);
        self.unwatch(Direction::Read)?;
        self.with_loop(|event_loop| {
            let protocol = self.protocol().get_or_none(py);
            let eof_received = protocol.getattr(intern!(py, "eof_received"))?;
            event_loop.as_any().call_method1(intern!(py, "call_soon"), (eof_received,)).map(drop)
        })?;
        self.lose(None)
    }
}

fn begin<'py>(this: Ref<'_, 'py, ReadPipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    if this.reads() {
        this.watch(Direction::Read, intern!(this.py(), "_read_ready"))?;
    }
    none(this.py())
}

/// Reads once and calls the protocol, whose errors are those of a callback: reading goes on after them.
fn read_ready<'py>(this: Ref<'_, 'py, ReadPipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let Some(protocol) = this.protocol().get(py).filter(|_| this.reads()) else { return none(py) };
    if let Some(reader) = streams::direct_reader(&protocol) {
        let mut landing = Landing::take();
        match read(this.pipe.fd(), &mut landing) {
            Ok(0) => this.ended()?,
            Ok(count) => reader.get(py).receive(landing, count)?,
            Err(error) => this.not_read(error)?,
        }
        return none(py);
    }
    let read = LANDING.with_borrow_mut(|landing| {
        let count = read(this.pipe.fd(), landing)?;
        // Bytes are no container: making them doesn't run the collector while the landing place is borrowed.
        Ok::<_, io::Error>(PyBytes::new(py, &landing[..count]))
    });
    match read {
        Ok(data) if data.as_bytes().is_empty() => this.ended()?,
        Ok(data) => {
            protocol.call_method1(intern!(py, "data_received"), (data,))?;
        }
        Err(error) => this.not_read(error)?,
    }
    none(py)
}

fn read(fd: RawFd, room: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of a slice that is borrowed for the call.
    let count = unsafe { libc::read(fd, room.as_mut_ptr().cast(), room.len()) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn is_reading<'py>(this: Ref<'_, 'py, ReadPipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), this.reads()).to_owned().into_any())
}

fn pause_reading<'py>(this: Ref<'_, 'py, ReadPipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    if this.reads() {
        this.paused.set(true);
        this.unwatch(Direction::Read)?;
        this.log("debug", " pauses reading", None)?;
    }
    none(this.py())
}

fn resume_reading<'py>(this: Ref<'_, 'py, ReadPipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    if !this.pipe.closing.get() && this.paused.replace(false) {
        this.watch(Direction::Read, intern!(this.py(), "_read_ready"))?;
        this.log("debug", " resumes reading", None)?;
    }
    none(this.py())
}

fn close<'py>(this: Ref<'_, 'py, ReadPipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    if !this.pipe.closing.get() {
        this.close(None)?;
    }
    none(this.py())
}

fn repr<'py>(this: Ref<'_, 'py, ReadPipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    let text = this.describe(Direction::Read)?;
    Ok(PyString::new(this.py(), &format!("{text}>")).into_any())
}

/// Builds the class. Raises what the import of `asyncio` raises.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let mut methods = vec![
        method0!(ReadPipeTransport, c"_begin", begin, c"Begin to read."),
        method0!(ReadPipeTransport, c"_read_ready", read_ready, c"Read what has come."),
        method0!(ReadPipeTransport, c"is_reading", is_reading, c"Return True if it is receiving."),
        method0!(
            ReadPipeTransport,
            c"pause_reading",
            pause_reading,
            c"Stop to call data_received()."
        ),
        method0!(
            ReadPipeTransport,
            c"resume_reading",
            resume_reading,
            c"Call data_received() again."
        ),
        method0!(ReadPipeTransport, c"close", close, c"Close the pipe."),
    ];
    methods.extend(pipe_methods!(ReadPipeTransport));
    build::<ReadPipeTransport>(
        py.import("asyncio.transports")?.getattr("ReadTransport")?.cast()?,
        Definition {
            doc: Some(c"The end of a pipe that is read; also a socket or a character device."),
            methods,
            attributes: pipe_attributes!(ReadPipeTransport),
            slots: vec![unary_slot!(ReadPipeTransport, pyo3::ffi::Py_tp_repr, repr)],
            weak_references: true,
            dictionary: true,
            ..Definition::default()
        },
    )
}
