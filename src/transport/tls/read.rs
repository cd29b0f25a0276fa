//! The way in: from the transport below to the program's protocol.

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;

use super::engine::Plain;
use super::{State, TlsTransport};
use crate::ffi::Ref;
use crate::ffi::buffer::{BytesBuilder, ReadableBuffer, WritableBuffer, as_uninit};
use crate::streams::{self, Landing, StreamReader};
use crate::transport::stream::none;
use crate::{method0, method1};

/// What `asyncio.sslproto` says of an error that nobody expected.
pub(super) const FATAL: &str = "Fatal error on SSL protocol";

/// How much room a decryption has at least when more may come.
const ROOM: usize = 16 * 1024;

impl Ref<'_, '_, TlsTransport> {
    /// Takes what the peer sent.
    ///
    /// Raises what the program's protocol raises, as `asyncio.sslproto.SSLProtocol.buffer_updated` does.
    pub fn ciphertext_received(self, ciphertext: &[u8]) -> PyResult<()> {
        self.engine().with_ciphertext(self.py(), ciphertext, &mut || match self.state.get() {
            State::DoHandshake => self.do_handshake(),
            State::Wrapped => self.do_read(),
            State::Flushing => self.do_flush(),
            State::Shutdown => self.do_shutdown(),
            State::Unwrapped => Ok(()),
        })
    }

    /// Decrypts what there is, gives it to the protocol, and sends what waits.
    pub(super) fn do_read(self) -> PyResult<()> {
        match self.try_read() {
            Err(error) if error.is_instance_of::<PyException>(self.py()) => {
                self.fatal_error(error, FATAL)
            }
            outcome => outcome,
        }
    }

    fn try_read(self) -> PyResult<()> {
        if !matches!(self.state.get(), State::Wrapped | State::Flushing) {
            return Ok(());
        }
        if !self.flow.app_reading_paused.get() {
            if self.engine().readable() {
                if self.updated.is_empty() { self.read_bytes() } else { self.read_into_buffer() }?;
            }
            self.encrypt_backlog()?;
            self.process_outgoing()?;
        }
        self.control_ssl_reading()
    }

    /// Decrypts into the buffer of a stream's reader.
    fn read_into_stream(self, reader: Ref<'_, '_, StreamReader>) -> PyResult<()> {
        let py = self.py();
        let engine = self.engine();
        let mut landing = Landing::take();
        let mut filled = 0;
        let ended = loop {
            match engine.read(py, as_uninit(&mut landing[filled..]))? {
                Plain::Bytes(count) => filled += count,
                Plain::Empty => break false,
                Plain::End => break true,
            }
            if !engine.readable() {
                break false;
            }
            if filled == landing.len() {
                reader.receive(std::mem::replace(&mut landing, Landing::take()), filled)?;
                filled = 0;
            }
        };
        if filled > 0 {
            reader.receive(landing, filled)?;
        }
        self.after_read(ended)
    }

    /// Gives everything to `data_received` at once.
    fn read_bytes(self) -> PyResult<()> {
        let py = self.py();
        let protocol = self.protocol.get_or_none(py);
        if let Some(reader) = streams::direct_reader(&protocol) {
            return self.read_into_stream(reader.get(py));
        }
        let engine = self.engine();
        // Ciphertext is longer than what it says.
        let mut bytes = BytesBuilder::with_capacity(py, engine.incoming(py)?.max(256))?;
        let ended = loop {
            let least = if bytes.len() == 0 { 1 } else { ROOM.min(bytes.len()) };
            match engine.read(py, bytes.room(py, least)?)? {
                Plain::Bytes(count) => bytes.advance(count),
                Plain::Empty => break false,
                Plain::End => break true,
            }
            if !engine.readable() {
                break false;
            }
        };
        if bytes.len() > 0 {
            let data = bytes.finish(py)?;
            self.protocol.get_or_none(py).call_method1(intern!(py, "data_received"), (data,))?;
        }
        self.after_read(ended)
    }

    /// Fills one buffer of the protocol's; what is left is for a later turn.
    fn read_into_buffer(self) -> PyResult<()> {
        let py = self.py();
        let engine = self.engine();
        let (Some(get_buffer), Some(updated)) = (self.receive.get(py), self.updated.get(py)) else {
            return Ok(());
        };
        let buffer = get_buffer.call1((engine.incoming(py)?,))?;
        buffer.len()?;
        let mut filled = 0;
        let (ended, full) = {
            let mut buffer = WritableBuffer::of_argument(&buffer, "read() argument 2")?;
            loop {
                let room = buffer.as_uninit();
                if room.is_empty() {
                    let message = "get_buffer() returned an empty buffer";
                    return Err(PyRuntimeError::new_err(message));
                }
                let Some(room) = room.get_mut(filled..).filter(|room| !room.is_empty()) else {
                    break (false, true);
                };
                match engine.read(py, room)? {
                    Plain::Bytes(count) => filled += count,
                    Plain::Empty => break (false, false),
                    Plain::End => break (true, false),
                }
                if !engine.readable() {
                    break (false, false);
                }
            }
        };
        if full {
            self.call_soon(self.as_any().getattr(intern!(py, "_do_read"))?)?;
        }
        if filled > 0 {
            updated.call1((filled,))?;
        }
        self.after_read(ended)
    }

    fn after_read(self, ended: bool) -> PyResult<()> {
        if ended {
            self.call_eof_received()?;
            self.start_shutdown()?;
        }
        Ok(())
    }
}

fn data_received<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // A copy where Python code could change the bytes while they are in use.
    match data.cast_exact::<pyo3::types::PyBytes>() {
        Ok(bytes) => this.ciphertext_received(bytes.as_bytes())?,
        Err(_) => {
            let copy = ReadableBuffer::of(data)?.as_slice().to_vec();
            this.ciphertext_received(&copy)?;
        }
    }
    none(this.py())
}

fn do_read<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.do_read()?;
    none(this.py())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method1!(
            TlsTransport,
            c"data_received",
            data_received,
            c"Called by the transport below: the peer has sent this."
        ),
        method0!(TlsTransport, c"_do_read", do_read, c"Decrypt what there is."),
    ]
}
