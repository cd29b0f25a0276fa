//! `WritePipeTransport`: the end of a pipe that is written to.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;

use ferrio_reactor::WriteQueue;
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyMemoryView, PyString, PyType};

use super::life::count_lost_write;
use super::limits::{FlowControl, Limits, flow_control_methods};
use super::pipe::{Pipe, PipeEnd, pipe_attributes, pipe_methods};
use super::stream::none;
use super::write::{Chunk, Given};
use crate::event_loop::sources::Direction;
use crate::ffi::{Class, ClassCell, Definition, Ref, Traversal, Visit, build, os_error};
use crate::{method_named1, method0, unary_slot};

const WRITE_ERROR: &str = "Fatal write error on pipe transport";

/// The fields of `ferrio.WritePipeTransport`.
#[derive(Default)]
pub struct WritePipeTransport {
    pipe: Pipe,
    /// What the pipe took not yet. As long as there is any, the descriptor is watched for writing.
    outgoing: RefCell<WriteQueue<Chunk>>,
    limits: Limits,
    /// Counts the writes that went nowhere.
    lost_writes: Cell<u32>,
}

static WRITE_PIPE: ClassCell = ClassCell::new();

impl Class for WritePipeTransport {
    const NAME: &'static CStr = c"ferrio.WritePipeTransport";
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &WRITE_PIPE
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.pipe.traverse(visit)?;
        visit.slot(self.limits.shown())?;
        self.outgoing.borrow().buffers().try_for_each(|chunk| chunk.traverse(visit))
    }

    fn clear(&self) {
        self.pipe.clear();
        self.limits.shown().clear();
    }

    fn must_finalize(&self) -> bool {
        self.pipe.is_open()
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        this.finalize_pipe();
    }
}

impl PipeEnd for WritePipeTransport {
    const REFUSAL: &'static str = "Pipe transport is only for pipes, sockets and character devices";

    fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// A pipe or socket becomes "readable" when the other end is closed. A terminal has real input, of others.
    fn must_begin(kind: libc::mode_t) -> bool {
        kind != libc::S_IFCHR
    }
}

impl FlowControl for WritePipeTransport {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn buffer_size(&self) -> usize {
        self.outgoing.borrow().len()
    }

    fn has_unsent(&self) -> bool {
        !self.outgoing.borrow().is_empty()
    }
}

impl Ref<'_, '_, WritePipeTransport> {
    /// Closes at once: what was not sent is dropped.
    fn close(self, error: Option<PyErr>) -> PyResult<()> {
        self.pipe.closing.set(true);
        let unsent = self.outgoing.borrow_mut().drain();
        if !unsent.is_empty() {
            self.unwatch(Direction::Write)?;
        }
        drop(unsent);
        self.unwatch(Direction::Read)?;
        self.lose(error)
    }

    /// Reports an error and closes at once. System errors are part of a pipe's life: they go to the protocol alone.
    fn fatal_error(self, error: PyErr) -> PyResult<()> {
        self.lost_writes.set(self.lost_writes.get().saturating_add(1));
        self.tell_fatal_error(&error, WRITE_ERROR)?;
        self.close(Some(error))
    }

    fn write_eof(self) -> PyResult<()> {
        if self.pipe.closing.replace(true) || !self.outgoing.borrow().is_empty() {
            return Ok(());
        }
        self.unwatch(Direction::Read)?;
        self.lose(None)
    }
}

fn begin<'py>(this: Ref<'_, 'py, WritePipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    if !this.pipe.closing.get() {
        this.watch(Direction::Read, intern!(this.py(), "_peer_closed"))?;
    }
    none(this.py())
}

/// The reading end was closed.
fn peer_closed<'py>(this: Ref<'_, 'py, WritePipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.log("info", " was closed by peer", None)?;
    let unsent = !this.outgoing.borrow().is_empty();
    this.close(unsent.then(|| PyBrokenPipeError::new_err(())))?;
    none(this.py())
}

fn write<'py>(
    this: Ref<'_, 'py, WritePipeTransport>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let fine = data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>();
    if !fine {
        return Err(PyAssertionError::new_err(data.repr()?.unbind()));
    }
    if !data.is_truthy()? {
        return none(py);
    }
    if this.pipe.closing.get() || this.lost_writes.get() > 0 {
        return warn_lost(this);
    }
    let given = match Given::of(data) {
        Ok(given) => given,
        Err(error) => return this.fatal_error(error).and_then(|()| none(py)),
    };
    let mut sent = 0;
    // What one call wrote leaves in one system call: between processes that share a pipe short writes are atomic.
    if this.outgoing.borrow().is_empty() {
        match offer(this.pipe.fd(), given.as_slice()) {
            Ok(None) => return none(py),
            Ok(Some(count)) => sent = count,
            Err(error) => {
                this.fatal_error(os_error(error))?;
                return none(py);
            }
        }
        this.watch(Direction::Write, intern!(py, "_write_ready"))?;
    }
    this.outgoing.borrow_mut().push_from(given.to_chunk(), sent);
    this.pause_protocol_if_full()?;
    none(py)
}

/// Writes at once what the pipe takes: `None` for all of it, or else how much.
fn offer(fd: RawFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    // SAFETY: the pointer and the length are those of a slice that is borrowed for the call.
    let count = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    match usize::try_from(count) {
        Ok(count) => Ok((count < bytes.len()).then_some(count)),
        Err(_) => {
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Some(0)),
                _ => Err(error),
            }
        }
    }
}

fn warn_lost<'py>(this: Ref<'_, 'py, WritePipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    let message = "pipe closed by peer or os.write(pipe, data) raised exception.";
    count_lost_write(this.py(), &this.lost_writes, message)?;
    none(this.py())
}

/// The pipe takes more: sends what waits, and does what waits for an empty buffer.
fn write_ready<'py>(this: Ref<'_, 'py, WritePipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let mut retired = Vec::new();
    let outcome = this.outgoing.borrow_mut().write_to(this.pipe.fd(), &mut retired);
    drop(retired);
    match outcome {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return none(py),
        Err(error) => {
            this.fatal_error(os_error(error))?;
            return none(py);
        }
    }
    if !this.has_unsent() {
        this.unwatch(Direction::Write)?;
    }
    this.resume_protocol_if_drained()?; // May write more, or close.
    if !this.has_unsent() && this.pipe.closing.get() {
        this.finish()?;
    }
    none(py)
}

impl Ref<'_, '_, WritePipeTransport> {
    /// The end after everything was sent.
    fn finish(self) -> PyResult<()> {
        if self.pipe.begin_to_lose() {
            self.unwatch(Direction::Read)?;
            self.call_connection_lost(&self.py().None().into_bound(self.py()))?;
        }
        Ok(())
    }
}

fn write_eof<'py>(this: Ref<'_, 'py, WritePipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.write_eof()?;
    none(this.py())
}

fn can_write_eof<'py>(this: Ref<'_, 'py, WritePipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), true).to_owned().into_any())
}

fn abort<'py>(this: Ref<'_, 'py, WritePipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.close(None)?;
    none(this.py())
}

fn repr<'py>(this: Ref<'_, 'py, WritePipeTransport>) -> PyResult<Bound<'py, PyAny>> {
    let mut text = this.describe(Direction::Write)?;
    if text.ends_with("polling") || text.ends_with("idle") {
        text.push_str(&format!(" bufsize={}", this.buffer_size()));
    }
    Ok(PyString::new(this.py(), &format!("{text}>")).into_any())
}

/// Builds the class. Raises what the import of `asyncio` raises.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let mut methods = vec![
        method0!(WritePipeTransport, c"_begin", begin, c"Begin to watch for the reader's end."),
        method0!(WritePipeTransport, c"_peer_closed", peer_closed, c"Close: nobody reads."),
        method0!(WritePipeTransport, c"_write_ready", write_ready, c"Send what waits."),
        method_named1!(
            WritePipeTransport,
            "write",
            "data",
            write,
            c"Send bytes, now or as soon as the pipe takes them."
        ),
        method0!(
            WritePipeTransport,
            c"write_eof",
            write_eof,
            c"Close after the write buffer is sent."
        ),
        method0!(WritePipeTransport, c"close", write_eof, c"Close after the write buffer is sent."),
        method0!(WritePipeTransport, c"can_write_eof", can_write_eof, c"Return True."),
        method0!(WritePipeTransport, c"abort", abort, c"Close at once."),
    ];
    methods.extend(flow_control_methods!(WritePipeTransport));
    methods.extend(pipe_methods!(WritePipeTransport));
    build::<WritePipeTransport>(
        py.import("asyncio.transports")?.getattr("_FlowControlMixin")?.cast()?,
        Definition {
            doc: Some(
                c"The end of a pipe that is written to; also a socket or a character device.",
            ),
            methods,
            attributes: pipe_attributes!(WritePipeTransport),
            slots: vec![unary_slot!(WritePipeTransport, pyo3::ffi::Py_tp_repr, repr)],
            weak_references: true,
            dictionary: true,
            ..Definition::default()
        },
    )
}
