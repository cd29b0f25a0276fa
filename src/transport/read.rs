//! The way in: from the socket to the protocol.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::stream::StreamTransport;
use super::tls::TlsTransport;
use crate::event_loop::readers::os_error;
use crate::ffi::buffer::WritableBuffer;
use crate::ffi::{Ref, call};

/// The most that one read takes: asyncio's own limit.
pub const READ_SIZE: usize = 256 * 1024;

thread_local! {
    /// Where a read lands before its exact length is known.
    pub static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// What one read of the socket gave.
enum Read<T> {
    /// Something to hand to the protocol.
    Data(T),
    /// Nothing for now.
    Empty,
    /// The peer's end.
    End,
}

/// Reads once and calls the protocol. What is left is for the next turn, so that one busy peer doesn't starve the others.
pub(super) fn read_once(transport: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    let Some(fd) = transport.fd() else { return Ok(()) };
    if transport.encrypted.get() {
        return read_ciphertext(transport, fd);
    }
    if transport.updated.is_empty() {
        read_data(transport, fd)
    } else {
        read_into_buffer(transport, fd)
    }
}

fn read_data(transport: Ref<'_, '_, StreamTransport>, fd: RawFd) -> PyResult<()> {
    let py = transport.py();
    let read = LANDING.with_borrow_mut(|landing| {
        let count = receive(&transport, fd, landing)?;
        // Bytes are no container: making them doesn't run the collector while the landing place is borrowed.
        Ok(count.map(|count| PyBytes::new(py, &landing[..count])))
    });
    match read {
        Err(error) => {
            transport.fatal_error(os_error(error), "Fatal read error on socket transport")
        }
        Ok(Read::Empty) => Ok(()),
        Ok(Read::End) => ended(transport),
        Ok(Read::Data(data)) => {
            let outcome = match transport.receive.get(py) {
                Some(data_received) => call::call1(&data_received, &data),
                None => transport
                    .protocol
                    .get_or_none(py)
                    .call_method1(intern!(py, "data_received"), (data,)),
            };
            match outcome {
                Ok(_) => Ok(()),
                Err(error) => transport
                    .fatal_error(error, "Fatal error: protocol.data_received() call failed."),
            }
        }
    }
}

thread_local! {
    /// Where ciphertext lands. It is taken away while it is in use, for that runs Python code, which may come back here.
    static CIPHERTEXT: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

fn read_ciphertext(transport: Ref<'_, '_, StreamTransport>, fd: RawFd) -> PyResult<()> {
    let Some(protocol) = transport.protocol.get(transport.py()) else { return Ok(()) };
    let Some(tls) = Ref::<TlsTransport>::cast_exact(&protocol) else { return Ok(()) };
    let mut landing = CIPHERTEXT.take().unwrap_or_else(|| vec![0; READ_SIZE].into_boxed_slice());
    let read = receive(&transport, fd, &mut landing);
    let outcome = match read {
        Ok(Read::Data(count)) => Some(tls.ciphertext_received(&landing[..count])),
        _ => None,
    };
    CIPHERTEXT.set(Some(landing));
    match (read, outcome) {
        (Err(error), _) => {
            transport.fatal_error(os_error(error), "Fatal read error on socket transport")
        }
        (Ok(Read::End), _) => ended(transport),
        (_, Some(Err(error))) => {
            transport.fatal_error(error, "Fatal error: protocol.buffer_updated() call failed.")
        }
        _ => Ok(()),
    }
}

fn read_into_buffer(transport: Ref<'_, '_, StreamTransport>, fd: RawFd) -> PyResult<()> {
    let py = transport.py();
    let (Some(get_buffer), Some(updated)) = (transport.receive.get(py), transport.updated.get(py))
    else {
        return Ok(());
    };
    let buffer = get_buffer.call1((-1,)).and_then(|buffer| {
        if buffer.len()? == 0 {
            return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
        }
        Ok(buffer)
    });
    let buffer = match buffer {
        Ok(buffer) => buffer,
        Err(error) => {
            return transport.fatal_error(error, "Fatal error: protocol.get_buffer() call failed.");
        }
    };
    let read = WritableBuffer::of(&buffer)
        .map_err(|_| not_writable(&buffer))
        .and_then(|mut bytes| receive(&transport, fd, bytes.as_mut_slice()).map_err(os_error));
    match read {
        Err(error) => transport.fatal_error(error, "Fatal read error on socket transport"),
        Ok(Read::Empty) => Ok(()),
        Ok(Read::End) => ended(transport),
        Ok(Read::Data(count)) => match updated.call1((count,)) {
            Ok(_) => Ok(()),
            Err(error) => {
                transport.fatal_error(error, "Fatal error: protocol.buffer_updated() call failed.")
            }
        },
    }
}

/// What `socket.recv_into` raises for this object.
#[cold]
fn not_writable(object: &Bound<'_, PyAny>) -> PyErr {
    match object.get_type().name() {
        Ok(name) => PyTypeError::new_err(format!(
            "recv_into() argument 1 must be read-write bytes-like object, not {name}"
        )),
        Err(error) => error,
    }
}

impl<T> Read<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Read::Data(value) => Read::Data(change(value)),
            Read::Empty => Read::Empty,
            Read::End => Read::End,
        }
    }
}

/// Receives into `room`, which is not empty, and remembers whether there may be more.
fn receive(transport: &StreamTransport, fd: RawFd, room: &mut [u8]) -> io::Result<Read<usize>> {
    // SAFETY: the pointer and the length are those of a slice that is borrowed for the call.
    match unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), 0) } {
        0 => Ok(Read::End),
        count if count > 0 => {
            let count = count as usize;
            // A read that left room drained the socket, and the poller tells when more comes. It tells nothing
            // more about a peer that hung up: then reading goes on until the end.
            if count < room.len() && !transport.hung_up.get() {
                transport.readable.set(false);
            }
            Ok(Read::Data(count))
        }
        _ => {
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    transport.readable.set(false);
                    Ok(Read::Empty)
                }
                io::ErrorKind::Interrupted => Ok(Read::Empty),
                _ => Err(error),
            }
        }
    }
}

fn ended(transport: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    let py = transport.py();
    transport.ended.set(true);
    let Some(protocol) = transport.protocol.get(py) else { return Ok(()) };
    let keep_open =
        protocol.call_method0(intern!(py, "eof_received")).and_then(|keep| keep.is_truthy());
    match keep_open {
        Ok(true) => Ok(()),
        Ok(false) => transport.close(),
        Err(error) => {
            transport.fatal_error(error, "Fatal error: protocol.eof_received() call failed.")
        }
    }
}
