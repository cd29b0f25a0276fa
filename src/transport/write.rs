//! The way out: from `write()` to the socket.
//!
//! The first write of a turn is tried at once. What the same turn writes after it is gathered and leaves in one system
//! call at the turn's end, and so does everything when the socket takes no more for a while.

use std::io;
use std::os::fd::RawFd;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use super::stream::{StreamTransport, none};
use super::tls::TlsTransport;
use crate::event_loop::readers::os_error;
use crate::ffi::buffer::ReadableBuffer;
use crate::ffi::{Ref, Slot, Traversal, Visit};
use crate::{method0, method1};

/// What is gathered during a turn is sent early beyond this many bytes: waiting longer saves no system call.
const GATHER_LIMIT: usize = 64 * 1024;

/// After this many writes to a lost connection the log says so, as asyncio does.
const LOST_WRITES_BEFORE_WARNING: u32 = 5;

const WRITE_ERROR: &str = "Fatal write error on socket transport";

/// Bytes on their way out.
pub enum Chunk {
    /// Immutable bytes, kept alive and not copied. They hold no reference to anything.
    Bytes(Slot, *const u8, usize),
    /// A copy of what the caller may change after `write`.
    Copy(Vec<u8>),
}

impl Chunk {
    /// A chunk of a bytes-like object. Raises what the buffer protocol raises.
    fn of(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            let slice = bytes.as_bytes();
            return Ok(Chunk::Bytes(Slot::new(data.clone()), slice.as_ptr(), slice.len()));
        }
        Ok(Chunk::Copy(ReadableBuffer::of(data)?.as_slice().to_vec()))
    }

    /// Reports what the chunk owns to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        match self {
            Chunk::Bytes(bytes, ..) => visit.slot(bytes),
            Chunk::Copy(_) => Ok(()),
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match self {
            // SAFETY: a bytes object's content stays where it is while the slot keeps the object alive, and nobody
            // changes it.
            Chunk::Bytes(_, start, length) => unsafe {
                std::slice::from_raw_parts(*start, *length)
            },
            Chunk::Copy(copy) => copy,
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
    if this.eof_written.get() {
        return Err(PyRuntimeError::new_err("Cannot call write() after write_eof()"));
    }
    if data.is_empty()? {
        return none(py);
    }
    if this.lost.get() > 0 {
        return warn_lost(this);
    }
    let outcome = match data.cast_exact::<PyBytes>() {
        Ok(bytes) => send_at_once(this, bytes.as_bytes())?,
        Err(_) => send_at_once(this, ReadableBuffer::of(data)?.as_slice())?,
    };
    after_send(this, outcome, || Chunk::of(data))?;
    none(py)
}

/// Sends `bytes`, which are not empty, now or as soon as the socket takes them: what a layer above writes.
pub(super) fn write_owned(this: Ref<'_, '_, StreamTransport>, bytes: Vec<u8>) -> PyResult<()> {
    if this.lost.get() > 0 {
        return warn_lost(this).map(drop);
    }
    let outcome = send_at_once(this, &bytes)?;
    after_send(this, outcome, || Ok(Chunk::Copy(bytes)))
}

/// Sends what the socket takes of the first write of a turn; nothing of a later one.
fn send_at_once(this: Ref<'_, '_, StreamTransport>, bytes: &[u8]) -> PyResult<Result<Sent, PyErr>> {
    let Some(fd) = this.fd() else { return Ok(Ok(Sent::All)) };
    if this.gathers()? {
        return Ok(Ok(Sent::Part(0)));
    }
    this.write_turn.set(this.turn()?);
    let outcome = send(fd, bytes).map_err(os_error);
    if matches!(outcome, Ok(Sent::Part(_))) {
        this.full.set(true);
    }
    Ok(outcome)
}

/// Keeps what was not sent, as the chunk that `rest` makes of all of it.
fn after_send(
    this: Ref<'_, '_, StreamTransport>,
    outcome: Result<Sent, PyErr>,
    rest: impl FnOnce() -> PyResult<Chunk>,
) -> PyResult<()> {
    match outcome {
        Ok(Sent::All) => Ok(()),
        Ok(Sent::Part(count)) => {
            let chunk = rest()?;
            this.outgoing.borrow_mut().push_from(chunk, count);
            gathered(this)
        }
        Err(error) => this.fatal_error(error, WRITE_ERROR),
    }
}

fn writelines<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    list: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.eof_written.get() {
        return Err(PyRuntimeError::new_err("Cannot call writelines() after write_eof()"));
    }
    let mut chunks = Vec::new();
    for data in list.try_iter()? {
        let data = data?;
        check_type(&data)?;
        if !data.is_empty()? {
            chunks.push(Chunk::of(&data)?);
        }
    }
    if chunks.is_empty() {
        return none(py);
    }
    if this.lost.get() > 0 {
        return warn_lost(this);
    }
    {
        let mut outgoing = this.outgoing.borrow_mut();
        chunks.into_iter().for_each(|chunk| outgoing.push(chunk));
    }
    if this.full.get() {
        this.pause_protocol_if_full()?;
    } else {
        send_waiting(this)?;
    }
    none(py)
}

fn warn_lost<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.lost.get() >= LOST_WRITES_BEFORE_WARNING {
        let logger = py.import("asyncio.log")?.getattr("logger")?;
        logger.call_method1(intern!(py, "warning"), ("socket.send() raised exception.",))?;
    }
    this.lost.set(this.lost.get().saturating_add(1));
    none(py)
}

/// Looks after bytes that were added to the write buffer: sends early what is much, the rest at the turn's end.
fn gathered(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    if !this.full.get() {
        if this.outgoing.borrow().len() >= GATHER_LIMIT {
            return send_waiting(this);
        }
        this.flush_later()?;
    }
    this.pause_protocol_if_full()
}

/// Sends what waits, as much as the socket takes, and does what waits for an empty buffer.
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
        let reported = this.fatal_error(os_error(error), WRITE_ERROR);
        drop(unsent);
        return reported;
    }
    this.pause_protocol_if_full()?;
    this.resume_protocol_if_drained()?; // May write more.
    if this.outgoing.borrow().is_empty() && this.lost.get() == 0 {
        if this.closing.get() {
            return this.finish();
        }
        if this.eof_written.get() {
            shut_down(fd);
        }
    }
    Ok(())
}

impl Ref<'_, '_, StreamTransport> {
    fn turn(self) -> PyResult<u64> {
        self.with_loop(self.py(), |event_loop| Ok(event_loop.turn()))
    }

    /// Whether a write is to wait for the end of the turn, because this is not the first.
    pub(super) fn gathers(self) -> PyResult<bool> {
        Ok(!self.outgoing.borrow().is_empty() || self.write_turn.get() == self.turn()?)
    }

    /// Has [`flush`](Self::flush) called at the turn's end.
    pub(super) fn flush_later(self) -> PyResult<()> {
        if self.flush_queued.replace(true) {
            return Ok(());
        }
        self.with_loop(self.py(), |event_loop| {
            event_loop.flush_later(self.to_owned());
            Ok(())
        })
    }

    /// Sends what was gathered during the turn that ends.
    ///
    /// Raises only `KeyboardInterrupt` and `SystemExit`, from the protocol's methods.
    pub fn flush(self) -> PyResult<()> {
        self.flush_queued.set(false);
        if self.encrypted.get() {
            self.flush_encryption()?;
        }
        if self.full.get() || self.lost.get() > 0 || self.outgoing.borrow().is_empty() {
            return Ok(());
        }
        let Some(context) = self.context.get(self.py()) else { return Ok(()) };
        crate::ffi::call::in_context(&context, || send_waiting(self))
    }

    /// Has the encryption above write what it gathered.
    fn flush_encryption(self) -> PyResult<()> {
        let py = self.py();
        let (Some(protocol), Some(context)) = (self.protocol.get(py), self.context.get(py)) else {
            return Ok(());
        };
        match Ref::<TlsTransport>::cast_exact(&protocol) {
            Some(tls) => crate::ffi::call::in_context(&context, || tls.write_backlog()),
            None => Ok(()),
        }
    }
}

/// How much of its bytes a `send` got rid of.
enum Sent {
    All,
    /// This many; the socket takes no more now.
    Part(usize),
}

/// Sends at once what the socket takes.
fn send(fd: RawFd, bytes: &[u8]) -> io::Result<Sent> {
    // SAFETY: the pointer and the length are those of a slice that is borrowed for the call.
    let count = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
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

fn shut_down(fd: RawFd) {
    // SAFETY: has no preconditions; a connection that is gone already is no error here.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

fn write_eof<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.closing.get() || this.eof_written.get() {
        return none(py);
    }
    if !this.full.get() && !this.outgoing.borrow().is_empty() {
        send_waiting(this)?;
    }
    this.eof_written.set(true);
    if this.outgoing.borrow().is_empty()
        && let Some(fd) = this.fd()
    {
        shut_down(fd);
    }
    none(py)
}

fn can_write_eof<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(pyo3::types::PyBool::new(this.py(), true).to_owned().into_any())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method1!(
            StreamTransport,
            c"write",
            write,
            c"Send bytes, now or as soon as the socket takes them."
        ),
        method1!(StreamTransport, c"writelines", writelines, c"Send an iterable of bytes."),
        method0!(
            StreamTransport,
            c"write_eof",
            write_eof,
            c"Close the way out after the write buffer is sent."
        ),
        method0!(StreamTransport, c"can_write_eof", can_write_eof, c"Return True."),
    ]
}
