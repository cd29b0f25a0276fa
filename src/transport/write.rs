//! The way out: from `write()` to the socket.
//!
//! What is sent when is `gather.rs`'s to know.

use std::io;
use std::os::fd::RawFd;

use pyo3::exceptions::{PyBufferError, PyRuntimeError, PyTypeError};
use pyo3::ffi as capi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use super::close::Closing;
use super::gather::{gathered, is_sent_at_once, send_gathered};
use super::life::{Transport, count_lost_write};
use super::stream::{StreamTransport, none};
use crate::ffi::buffer::{KeptBytes, ReadableBuffer};
use crate::ffi::error::both;
use crate::ffi::{Ref, Traversal, Visit, os_error};
use crate::{method_named1, method0};

const WRITE_ERROR: &str = "Fatal write error on socket transport";

/// Bytes on their way out.
pub enum Chunk {
    /// Immutable bytes, not copied.
    Bytes(KeptBytes),
    /// A copy of what the caller may change after `write`.
    Copy(Vec<u8>),
}

impl Chunk {
    /// Reports what the chunk owns to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        match self {
            Chunk::Bytes(bytes) => bytes.traverse(visit),
            Chunk::Copy(_) => Ok(()),
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match self {
            Chunk::Bytes(bytes) => bytes.as_ref(),
            Chunk::Copy(copy) => copy,
        }
    }
}

/// The caller's bytes for the length of a call of `write`.
pub(super) enum Given<'py> {
    Bytes(Bound<'py, PyBytes>),
    Lent(ReadableBuffer),
}

impl<'py> Given<'py> {
    /// The bytes of a bytes-like object. Raises what the buffer protocol raises, and may run Python code.
    pub(super) fn of(data: &Bound<'py, PyAny>) -> PyResult<Self> {
        match data.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Given::Bytes(bytes.clone())),
            Err(_) => ReadableBuffer::of(data).map(Given::Lent),
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Given::Bytes(bytes) => bytes.as_bytes(),
            Given::Lent(buffer) => buffer.as_slice(),
        }
    }

    /// The bytes to keep. What was lent is given back later, for that may run Python code.
    pub(super) fn to_chunk(&self) -> Chunk {
        match self {
            Given::Bytes(bytes) => Chunk::Bytes(KeptBytes::new(bytes.clone())),
            Given::Lent(buffer) => Chunk::Copy(buffer.as_slice().to_vec()),
        }
    }
}

fn check_type(data: &Bound<'_, PyAny>) -> PyResult<()> {
    let fine = data.is_exact_instance_of::<PyBytes>()
        || data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>();
    if fine {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "data argument must be a {}, not '{}'",
        if cfg!(Py_3_14) { "bytes, bytearray, or memoryview object" } else { "bytes-like object" },
        data.get_type().name()?
    )))
}

fn write<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    check_type(data)?;
    check_open(this, "write")?;
    if !data.is_truthy()? {
        return none(py);
    }
    if this.lost.get() > 0 {
        return warn_lost(this);
    }
    let given = match Given::of(data) {
        Ok(given) => given,
        // asyncio's socket refuses it, which ends the connection.
        Err(error) => return this.fatal_error(error, WRITE_ERROR).and_then(|()| none(py)),
    };
    if let Some(sent) = send_at_once(this, given.as_slice())? {
        keep(this, given.to_chunk(), sent)?;
    }
    none(py)
}

/// Sends `bytes`, now or as soon as the socket takes them: what a layer above writes. Returns the buffer when it is not needed
/// any more.
pub(super) fn write_owned(
    this: Ref<'_, '_, StreamTransport>,
    mut bytes: Vec<u8>,
) -> PyResult<Option<Vec<u8>>> {
    if this.lost.get() > 0 {
        return warn_lost(this).map(|_| Some(bytes));
    }
    match send_at_once(this, &bytes)? {
        Some(sent) => {
            bytes.shrink_to_fit(); // It may have been a larger write's before.
            keep(this, Chunk::Copy(bytes), sent).map(|()| None)
        }
        None => Ok(Some(bytes)),
    }
}

/// Sends what the socket takes of a write, if it may leave at once, and returns how much that is; `None` when there is nothing
/// more to do for it.
fn send_at_once(this: Ref<'_, '_, StreamTransport>, bytes: &[u8]) -> PyResult<Option<usize>> {
    let Some(fd) = this.fd() else { return Ok(None) };
    if !is_sent_at_once(this)? {
        return Ok(Some(0));
    }
    match send(fd, bytes) {
        Ok(Sent::All) => Ok(None),
        Ok(Sent::Part(count)) => {
            this.full.set(true);
            this.end_rest()?;
            Ok(Some(count))
        }
        Err(error) => this.fatal_error(os_error(error), WRITE_ERROR).map(|()| None),
    }
}

/// Keeps a chunk, of which `sent` bytes are gone, for later.
fn keep(this: Ref<'_, '_, StreamTransport>, chunk: Chunk, sent: usize) -> PyResult<()> {
    // No Python code runs between the sending and this, so nothing can be written in between.
    let begins = this.outgoing.borrow().is_empty();
    this.outgoing.borrow_mut().push_from(chunk, sent);
    if begins {
        remember_context(this)?;
    }
    gathered(this)
}

fn writelines<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    list: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    // Before 3.12 it was `write(b"".join(list))`.
    let joins = cfg!(not(Py_3_12));
    if !joins {
        check_open(this, "writelines")?;
        if !list.is_truthy()? {
            return none(py);
        }
    }
    let chunks = match chunks(list) {
        // asyncio's socket refuses it, which ends the connection.
        Err(error) if !joins && error.is_instance_of::<PyBufferError>(py) => {
            return this.fatal_error(error, WRITE_ERROR).and_then(|()| none(py));
        }
        chunks => chunks?,
    };
    if joins {
        check_open(this, "write")?;
    }
    if chunks.is_empty() {
        return none(py);
    }
    if this.lost.get() > 0 {
        return warn_lost(this);
    }
    let at_once = is_sent_at_once(this)?;
    let begins = this.outgoing.borrow().is_empty();
    {
        let mut outgoing = this.outgoing.borrow_mut();
        chunks.into_iter().for_each(|chunk| outgoing.push(chunk));
    }
    if begins {
        remember_context(this)?;
    }
    if at_once {
        send_gathered(this)?;
    }
    gathered(this)?;
    none(py)
}

/// Raises `RuntimeError` when the way out was closed, and while a file is sent. `method` names what was called.
fn check_open(this: Ref<'_, '_, StreamTransport>, method: &str) -> PyResult<()> {
    if this.eof_written.get() {
        let message = format!("Cannot call {method}() after write_eof()");
        return Err(PyRuntimeError::new_err(message));
    }
    this.check_no_sendfile(method)
}

/// The bytes of `list`, without the empty ones.
fn chunks(list: &Bound<'_, PyAny>) -> PyResult<Vec<Chunk>> {
    let items = list.try_iter().map_err(|error| {
        if cfg!(Py_3_12) { error } else { PyTypeError::new_err("can only join an iterable") }
    })?;
    let mut chunks = Vec::new();
    for (index, data) in items.enumerate() {
        let data = data?;
        let given = Given::of(&data).map_err(|error| refused(&data, index, error))?;
        if !given.as_slice().is_empty() {
            chunks.push(given.to_chunk());
        }
    }
    Ok(chunks)
}

/// The error for an item of `writelines` that isn't bytes, as this interpreter's asyncio has it.
fn refused(data: &Bound<'_, PyAny>, index: usize, error: PyErr) -> PyErr {
    let py = data.py();
    let is_expected = error.is_instance_of::<PyTypeError>(py)
        || cfg!(not(Py_3_12)) && error.is_instance_of::<PyBufferError>(py);
    if !is_expected {
        return error;
    }
    let Ok(kind) = data.get_type().name() else { return error };
    PyTypeError::new_err(if cfg!(Py_3_12) {
        format!("memoryview: a bytes-like object is required, not '{kind}'")
    } else {
        format!("sequence item {index}: expected a bytes-like object, {kind} found")
    })
}

/// Counts a write to a lost connection, and tells the log when it becomes a habit.
pub(super) fn warn_lost<'py, T: Closing>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    count_lost_write(this.py(), this.lost(), "socket.send() raised exception.")?;
    none(this.py())
}

/// Keeps the context for what becomes of the write buffer, which was empty until now.
fn remember_context(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    this.write_context.set(this.callback_context(this.py())?);
    Ok(())
}

/// Sends what waits, as much as the socket takes.
pub(super) fn send_waiting(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    let Some(fd) = this.fd() else { return Ok(()) };
    let mut retired = Vec::new();
    let outcome = {
        let mut outgoing = this.outgoing.borrow_mut();
        loop {
            match outgoing.write_to(fd, &mut retired) {
                Ok(_) if outgoing.is_empty() => break Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    this.full.set(true);
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        }
    };
    drop(retired);
    if let Err(error) = outcome {
        let unsent = this.outgoing.borrow_mut().drain();
        let error = os_error(error);
        this.tell_sendfile_lost(Some(&error))?;
        let reported = this.fatal_error(error, WRITE_ERROR);
        drop(unsent);
        return reported;
    }
    if this.outgoing.borrow().is_empty() {
        return this.tell_emptied();
    }
    this.end_rest()
}

/// Sends what waits, then does what waited for that.
///
/// Raises `KeyboardInterrupt` and `SystemExit` from `resume_writing`, what `connection_lost` raises, and the system's
/// error when the way out can't be shut down.
pub(super) fn send_and_settle(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    send_waiting(this)?;
    if this.lost.get() > 0 {
        return Ok(());
    }
    let resumed = this.resume_protocol_if_drained(); // May write more.
    if !this.outgoing.borrow().is_empty() || this.lost.get() > 0 {
        return resumed;
    }
    let settled = match this.fd() {
        Some(_) if this.closing.get() => this.finish(),
        Some(fd) if this.eof_written.get() => shut_down(fd).and_then(|()| this.rest()),
        _ => this.rest(),
    };
    both(this.py(), resumed, settled)
}

/// How much of its bytes a `send` got rid of.
enum Sent {
    All,
    /// This many; the socket takes no more now.
    Part(usize),
}

/// Sends at once what the socket takes.
fn send(fd: RawFd, bytes: &[u8]) -> io::Result<Sent> {
    // Whoever has the socket, too, may have made it a blocking one. Only the newest of Apple's systems know the other flag.
    const FLAGS: libc::c_int =
        libc::MSG_DONTWAIT | if cfg!(target_vendor = "apple") { 0 } else { libc::MSG_NOSIGNAL };
    // SAFETY: the pointer and the length are those of a slice that is borrowed for the call.
    let count = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), FLAGS) };
    if count >= 0 {
        let count = count as usize;
        return Ok(if count == bytes.len() { Sent::All } else { Sent::Part(count) });
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Sent::Part(0)),
        _ => Err(error),
    }
}

/// Closes the way out. Raises the system's error: `ENOTCONN` when the connection is gone already.
fn shut_down(fd: RawFd) -> PyResult<()> {
    // SAFETY: has no preconditions.
    match unsafe { libc::shutdown(fd, libc::SHUT_WR) } {
        0 => Ok(()),
        _ => Err(os_error(io::Error::last_os_error())),
    }
}

fn write_eof<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.closing.get() || this.eof_written.get() {
        return none(py);
    }
    send_gathered(this)?;
    if this.closing.get() {
        return none(py);
    }
    this.eof_written.set(true);
    if this.outgoing.borrow().is_empty()
        && let Some(fd) = this.fd()
    {
        shut_down(fd)?;
    }
    none(py)
}

fn can_write_eof<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(pyo3::types::PyBool::new(this.py(), true).to_owned().into_any())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method_named1!(
            StreamTransport,
            "write",
            "data",
            write,
            c"Send bytes, now or as soon as the socket takes them."
        ),
        method_named1!(
            StreamTransport,
            "writelines",
            "list_of_data",
            writelines,
            c"Send an iterable of bytes."
        ),
        method0!(
            StreamTransport,
            c"write_eof",
            write_eof,
            c"Close the way out after the write buffer is sent."
        ),
        method0!(StreamTransport, c"can_write_eof", can_write_eof, c"Return True."),
    ]
}
