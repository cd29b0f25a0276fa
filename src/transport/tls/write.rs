//! The way out: from `write()` to the transport below.
//!
//! The first write of a turn is encrypted and sent at once. Small ones that the same turn writes after it are gathered, so that
//! they share records and system calls.

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use super::read::FATAL;
use super::wire::recycle;
use super::{State, TlsTransport};
use crate::ffi::Ref;
use crate::ffi::buffer::ReadableBuffer;
use crate::transport::life::count_lost_write;
use crate::transport::stream::none;
use crate::transport::write::write_owned;
use crate::{method_named1, method1};

/// Gathered bytes are encrypted beyond this many: a record has no more.
const GATHER_LIMIT: usize = 16 * 1024;

impl<'py> Ref<'_, 'py, TlsTransport> {
    /// Encrypts and sends what `write` has gathered, and what the handshake left. The connection below calls this when
    /// a turn ends.
    ///
    /// Raises only what isn't an `Exception`.
    pub fn write_backlog(self) -> PyResult<()> {
        self.guarded(|| {
            if matches!(self.state.get(), State::Wrapped | State::Flushing) {
                self.encrypt_backlog()?;
            }
            self.process_outgoing()
        })
    }

    fn guarded(self, body: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
        match body() {
            Err(error) if error.is_instance_of::<PyException>(self.py()) => {
                self.fatal_error(error, FATAL)
            }
            outcome => outcome,
        }
    }

    /// Encrypts what was gathered. What the peer must answer first stays.
    pub(super) fn encrypt_backlog(self) -> PyResult<()> {
        if self.backlog.borrow().is_empty() {
            return Ok(());
        }
        let mut gathered = self.backlog.take();
        let written = self.engine().write(self.py(), &gathered)?;
        if written < gathered.len() {
            gathered.drain(..written);
            // Nothing was written meanwhile but by a callback of OpenSSL's, and that comes after.
            gathered.append(&mut self.backlog.borrow_mut());
            self.backlog.replace(gathered);
        }
        Ok(())
    }

    /// Encrypts `data` after what was gathered.
    fn encrypt(self, data: &[u8]) -> PyResult<()> {
        self.encrypt_backlog()?;
        if self.backlog.borrow().is_empty() {
            let written = self.engine().write(self.py(), data)?;
            self.backlog.borrow_mut().extend_from_slice(&data[written..]);
        } else {
            self.backlog.borrow_mut().extend_from_slice(data);
        }
        Ok(())
    }

    /// Sends the ciphertext that there is, unless the connection below has enough.
    pub(super) fn process_outgoing(self) -> PyResult<()> {
        let py = self.py();
        if !self.flow.writing_paused.get()
            && let Some(lower) = self.lower.get(py)
        {
            let ciphertext = self.engine().take_outgoing(py)?;
            if !ciphertext.is_empty() {
                if let Some(stream) = Ref::cast_exact(&lower) {
                    if let Some(sent) = write_owned(stream, ciphertext)? {
                        recycle(sent);
                    }
                } else {
                    let bytes = PyBytes::new(py, &ciphertext);
                    lower.call_method1(intern!(py, "write"), (bytes,))?;
                }
            }
        }
        self.control_app_writing()
    }

    /// Whether `data` may wait for the end of the turn.
    fn may_gather(self, data: &[u8]) -> PyResult<bool> {
        let gathered = self.backlog.borrow().len();
        // Nor beyond the mark from which the program has to pause: the connection may well take it.
        if gathered + data.len() > GATHER_LIMIT || self.would_pause(data.len())? {
            return Ok(false);
        }
        match self.with_stream(|stream| stream.gathers()) {
            Some(gathers) => gathers,
            None => Ok(false),
        }
    }

    fn write(self, data: &[u8]) -> PyResult<()> {
        if self.state.get() != State::Wrapped {
            self.backlog.borrow_mut().extend_from_slice(data);
            return Ok(());
        }
        self.guarded(|| {
            if self.may_gather(data)? {
                self.backlog.borrow_mut().extend_from_slice(data);
                if let Some(queued) = self.with_stream(|stream| stream.flush_later()) {
                    queued?;
                }
                return self.control_app_writing();
            }
            self.encrypt(data)?;
            self.process_outgoing()
        })
    }

    /// Whether the connection is over; then the write that asks is counted, and at last warned of.
    fn is_over(self) -> PyResult<bool> {
        if matches!(self.state.get(), State::DoHandshake | State::Wrapped) {
            return Ok(false);
        }
        count_lost_write(self.py(), &self.lost, "SSL connection is closed")?;
        Ok(true)
    }
}

/// The error for `data` that is no bytes.
fn wrong_type(data: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let name = data.get_type().name()?;
    Ok(PyTypeError::new_err(format!("data: expecting a bytes-like instance, got {name}")))
}

fn write<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Ok(bytes) = data.cast::<PyBytes>() {
        if !bytes.as_bytes().is_empty() && !this.is_over()? {
            this.write(bytes.as_bytes())?;
        }
        return none(py);
    }
    if !data.is_instance_of::<PyByteArray>() && !data.is_instance_of::<PyMemoryView>() {
        return Err(wrong_type(data)?);
    }
    if data.is_truthy()? && !this.is_over()? {
        this.guarded(|| {
            // A copy: Python code may change the bytes while they are in use.
            let copy = ReadableBuffer::of(data)?.as_slice().to_vec();
            this.write(&copy)
        })?;
    }
    none(py)
}

fn writelines<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    list: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.is_over()? {
        return none(py);
    }
    let mut joined = Vec::new();
    for data in list.try_iter()? {
        let data = data?;
        data.len()?;
        match ReadableBuffer::of(&data) {
            Ok(buffer) => joined.extend_from_slice(buffer.as_slice()),
            // asyncio's SSL object refuses it, which ends the connection.
            Err(error) => return this.guarded(|| Err(error)).and_then(|()| none(py)),
        }
    }
    if !joined.is_empty() {
        this.write(&joined)?;
    }
    none(py)
}

/// What CPython's own tests call to fill the backlog.
fn append_write_backlog<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.backlog.borrow_mut().extend_from_slice(ReadableBuffer::of(data)?.as_slice());
    none(this.py())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method_named1!(
            TlsTransport,
            "write",
            "data",
            write,
            c"write($self, /, data)\n--\n\nSend bytes, now or as soon as the peer takes them."
        ),
        method_named1!(
            TlsTransport,
            "writelines",
            "list_of_data",
            writelines,
            c"writelines($self, /, list_of_data)\n--\n\nSend an iterable of bytes."
        ),
        method1!(
            TlsTransport,
            c"_test__append_write_backlog",
            append_write_backlog,
            c"Gather bytes without sending them: for CPython's own tests."
        ),
    ]
}
