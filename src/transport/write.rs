//! The way out: from `write()` to the socket.
//!
//! The first write of a turn is tried at once. What the same turn writes after it is gathered and leaves in one system
//! call at the turn's end, and so does everything when the socket takes no more for a while. Who wrote several times in
//! one turn is likely to do it again, as an HTTP server does that writes the head of an answer and then its body: in the
//! next turn that writes, the first write waits for the others.

use std::io;
use std::os::fd::RawFd;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi as capi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use super::close::Closing;
use super::life::{Transport, count_lost_write};
use super::stream::{StreamTransport, none};
use super::tls::TlsTransport;
use crate::event_loop::readers::os_error;
use crate::ffi::buffer::{KeptBytes, ReadableBuffer};
use crate::ffi::error::both;
use crate::ffi::{Ref, Traversal, Visit, call};
use crate::streams::{self, RECEIVE_SIZE};
use crate::{method_named1, method0};

/// What is gathered during a turn is sent early beyond this many bytes, for there the protocol may have to pause.
const GATHER_LIMIT: usize = 64 * 1024;

/// The same for a stream, which asks only in `drain()` whether it has to pause: as much as one read brings is echoed in one
/// system call. Fewer of them mean fuller packets, and a peer that is woken less often.
const STREAM_GATHER_LIMIT: usize = RECEIVE_SIZE;

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
    let chunks = chunks(list)?;
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
    if !error.is_instance_of::<PyTypeError>(data.py()) {
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

/// Whether a write of now is sent at once: nothing waits before it, and it is the first of this turn and no others are
/// expected, or the loop doesn't run and no turn will end.
fn is_sent_at_once(this: Ref<'_, '_, StreamTransport>) -> PyResult<bool> {
    let turn = this.with_loop(|event_loop| Ok(event_loop.turn()))?;
    let alone = match turn {
        Some(turn) if this.write_turn.replace(turn) == turn => {
            this.wrote_several.set(true);
            false
        }
        Some(_) => !this.wrote_several.replace(false) && !writes_on(this),
        None => true,
    };
    Ok(alone && this.outgoing.borrow().is_empty())
}

/// Whether more writes are to be expected in this turn: much has come, and the stream's reader still has some of it.
fn writes_on(this: Ref<'_, '_, StreamTransport>) -> bool {
    this.bulk.get()
        && this.streamed.get()
        && this.protocol.get(this.py()).is_some_and(|protocol| streams::has_more(&protocol))
}

/// Keeps the context for what becomes of the write buffer, which was empty until now.
fn remember_context(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    this.write_context.set(this.callback_context(this.py())?);
    Ok(())
}

/// Looks after bytes that were added to the write buffer: sends early what is much, the rest at the turn's end.
fn gathered(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    let limit = if this.streamed.get() { STREAM_GATHER_LIMIT } else { GATHER_LIMIT };
    if this.outgoing.borrow().len() >= limit {
        send_gathered(this)?;
    }
    if this.wants_write() {
        this.flush_later()?;
        if this.streamed.get() && !this.closing.get() {
            return put_off_pause(this);
        }
    }
    this.pause_protocol_if_full()
}

/// Leaves it to the stream's next `drain()` or to the turn's end to find out whether the socket takes what was gathered.
fn put_off_pause(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    if this.is_above_high_water()
        && let Some(protocol) = this.protocol.get(this.py())
    {
        streams::put_off_pause(&protocol);
    }
    Ok(())
}

/// Sends what was gathered during this turn, so that asyncio, which gathers nothing, would have as much left.
///
/// Calls no method of the protocol, for its caller is one perhaps. When the protocol is paused or the transport is closing,
/// there is something to tell once the buffer is empty, which only the loop does.
pub(super) fn send_gathered(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    if this.wants_write() && !this.closing.get() && !this.limits.protocol_paused() {
        send_waiting(this)?;
    }
    Ok(())
}

/// Sends what was gathered before the connection is aborted, as far as the socket takes it.
pub(super) fn send_last(this: Ref<'_, '_, StreamTransport>) {
    if this.flush_queued.get()
        && this.wants_write()
        && let Some(fd) = this.fd()
    {
        let mut sent = Vec::new();
        // What fails now is lost, as is what doesn't fit.
        let _aborted = this.outgoing.borrow_mut().write_to(fd, &mut sent);
    }
}

/// Sends what waits, as much as the socket takes.
fn send_waiting(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
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
        this.tell_emptied()?;
    }
    Ok(())
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
        Some(fd) if this.eof_written.get() => shut_down(fd),
        _ => Ok(()),
    };
    both(this.py(), resumed, settled)
}

impl Ref<'_, '_, StreamTransport> {
    /// Whether a write of now would wait for the end of the turn behind others, which nothing of it changes.
    pub(super) fn gathers(self) -> PyResult<bool> {
        let turn = self.with_loop(|event_loop| Ok(event_loop.turn()))?;
        Ok(turn.is_some_and(|turn| {
            self.write_turn.get() == turn || !self.outgoing.borrow().is_empty()
        }))
    }

    /// Has [`flush`](Self::flush) called at the turn's end.
    pub(super) fn flush_later(self) -> PyResult<()> {
        if self.flush_queued.replace(true) {
            return Ok(());
        }
        self.with_loop(|event_loop| {
            event_loop.flush_later(self.to_owned());
            Ok(())
        })
    }

    /// Has the encryption above write what it gathered.
    fn flush_encryption(self) -> PyResult<()> {
        let py = self.py();
        let (Some(protocol), Some(context)) = (self.protocol.get(py), self.context.get(py)) else {
            return Ok(());
        };
        match Ref::<TlsTransport>::cast_exact(&protocol) {
            Some(tls) => call::in_context(&context, || tls.write_backlog()),
            None => Ok(()),
        }
    }

    /// Sends what was gathered until now, without a call of the protocol.
    ///
    /// Raises what isn't an `Exception` from what the encryption calls.
    pub fn send_early(self) -> PyResult<()> {
        if self.encrypted.get() {
            self.flush_encryption()?;
        }
        send_gathered(self)
    }

    /// Sends what was gathered during the turn that ends.
    ///
    /// Raises as [`on_ready`](Self::on_ready) does.
    pub fn flush(self) -> PyResult<()> {
        self.flush_queued.set(false);
        // An interrupt on the way out of the encryption finds its ciphertext here, where nothing else sends it.
        let encrypted = if self.encrypted.get() { self.flush_encryption() } else { Ok(()) };
        both(self.py(), encrypted, self.flush_gathered())
    }

    fn flush_gathered(self) -> PyResult<()> {
        if self.wants_write()
            && let Some(context) = self.write_context.get(self.py())
        {
            call::in_context(&context, || send_and_settle(self))?;
        }
        self.pause_protocol_if_full()
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
    // Only the newest of Apple's systems know the flag.
    const FLAGS: libc::c_int = if cfg!(target_vendor = "apple") { 0 } else { libc::MSG_NOSIGNAL };
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
