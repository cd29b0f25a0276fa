//! The way in: from the socket to the protocol.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Once;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes};

use super::life::Transport;
use super::stream::{StreamTransport, none};
use super::tls::TlsTransport;
use crate::ffi::buffer::{BytesBuilder, WritableBuffer, as_uninit};
use crate::ffi::{Ref, os_error};
use crate::method0;
use crate::streams::{self, Landing, RECEIVE_SIZE, StreamReader};

/// The most that one read takes: asyncio's own limit.
pub const READ_SIZE: usize = 256 * 1024;

/// After a read of so much the next one is made in place: the copy of a few bytes is cheaper than a block that is cut to them.
const BULK: usize = 16 * 1024;

const READ_ERROR: &str = "Fatal read error on socket transport";

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
    let Some(protocol) = transport.protocol.get(transport.py()) else { return Ok(()) };
    if transport.encrypted.get() {
        read_ciphertext(transport, &protocol)
    } else if transport.buffered.get() {
        read_into_buffer(transport, &protocol)
    } else if transport.streamed.get()
        && let Some(reader) = streams::direct_reader(&protocol)
    {
        read_into_stream(transport, reader.get(transport.py()))
    } else {
        read_data(transport, &protocol)
    }
}

fn read_data(transport: Ref<'_, '_, StreamTransport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = transport.py();
    let read = if transport.bulk.get() {
        receive_block(py, &transport)
    } else {
        LANDING.with_borrow_mut(|landing| {
            let count = receive(&transport, as_uninit(&mut landing[..RECEIVE_SIZE]))?;
            // Bytes are no container: making them doesn't run the collector while the landing place is borrowed.
            Ok(count.map(|count| PyBytes::new(py, &landing[..count])))
        })
    };
    match read {
        Err(error) => transport.fatal_error(error, READ_ERROR),
        Ok(Read::Empty) => Ok(()),
        Ok(Read::End) => ended(transport),
        Ok(Read::Data(data)) => {
            match protocol.call_method1(intern!(py, "data_received"), (data,)) {
                Ok(_) => Ok(()),
                Err(error) => transport
                    .fatal_error(error, "Fatal error: protocol.data_received() call failed."),
            }
        }
    }
}

fn read_into_stream(
    transport: Ref<'_, '_, StreamTransport>,
    reader: Ref<'_, '_, StreamReader>,
) -> PyResult<()> {
    let read = if transport.bulk.get() {
        receive_block(transport.py(), &transport)
            .map(|read| read.map(|block| reader.receive_block(block)))
    } else {
        let mut landing = Landing::take();
        receive(&transport, as_uninit(&mut landing))
            .map(|read| read.map(|count| reader.receive(landing, count)))
    };
    match read {
        Err(error) => transport.fatal_error(error, READ_ERROR),
        Ok(Read::Empty | Read::Data(Ok(()))) => Ok(()),
        Ok(Read::End) => ended(transport),
        Ok(Read::Data(Err(error))) => {
            transport.fatal_error(error, "Fatal error: protocol.data_received() call failed.")
        }
    }
}

thread_local! {
    /// Where ciphertext lands. It is taken away while it is in use, for that runs Python code, which may come back here.
    static CIPHERTEXT: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

fn read_ciphertext(
    transport: Ref<'_, '_, StreamTransport>,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Some(tls) = Ref::<TlsTransport>::cast_exact(protocol) else { return Ok(()) };
    let mut landing = CIPHERTEXT.take().unwrap_or_else(|| vec![0; READ_SIZE].into_boxed_slice());
    let read = receive(&transport, as_uninit(&mut landing[..RECEIVE_SIZE]));
    let outcome = match read {
        Ok(Read::Data(count)) => tls.ciphertext_received(&landing[..count]),
        _ => Ok(()),
    };
    CIPHERTEXT.set(Some(landing));
    match (read, outcome) {
        (Err(error), _) => transport.fatal_error(error, READ_ERROR),
        (Ok(Read::End), _) => ended(transport),
        (Ok(_), Ok(())) => Ok(()),
        (Ok(_), Err(error)) => {
            transport.fatal_error(error, "Fatal error: protocol.buffer_updated() call failed.")
        }
    }
}

fn read_into_buffer(
    transport: Ref<'_, '_, StreamTransport>,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = transport.py();
    let buffer = protocol.call_method1(intern!(py, "get_buffer"), (-1,)).and_then(|buffer| {
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
    // The descriptor is looked up after the buffer's own Python code, if it has some, has run.
    let read = WritableBuffer::of_argument(&buffer, "recv_into() argument 1")
        .and_then(|mut bytes| receive(&transport, bytes.as_uninit()));
    match read {
        Err(error) => transport.fatal_error(error, READ_ERROR),
        Ok(Read::Empty) => Ok(()),
        Ok(Read::End) => ended(transport),
        Ok(Read::Data(count)) => {
            // It may be another one since `get_buffer`.
            let protocol = transport.protocol.get_or_none(py);
            match protocol.call_method1(intern!(py, "buffer_updated"), (count,)) {
                Ok(_) => Ok(()),
                Err(error) => transport
                    .fatal_error(error, "Fatal error: protocol.buffer_updated() call failed."),
            }
        }
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

/// Receives into a `bytes` object of its own. Raises the system's error, and `MemoryError`.
fn receive_block<'py>(
    py: Python<'py>,
    transport: &StreamTransport,
) -> PyResult<Read<Bound<'py, PyBytes>>> {
    keep_blocks();
    let mut block = BytesBuilder::with_capacity(py, RECEIVE_SIZE)?;
    match receive(transport, &mut block.room(py, RECEIVE_SIZE)?[..RECEIVE_SIZE])? {
        Read::Data(count) => {
            block.advance(count);
            Ok(Read::Data(block.finish(py)?.cast_into()?))
        }
        Read::Empty => Ok(Read::Empty),
        Read::End => Ok(Read::End),
    }
}

/// Has the allocator keep blocks that are freed for the next ones.
///
/// That of glibc gives a block of 128 KiB or more back to the system, and every page of the next one is a fault, until the
/// first one that is freed raises the bound to its size.
fn keep_blocks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(black_box(Vec::<u8>::with_capacity(4 * RECEIVE_SIZE))));
}

/// Receives into `room`, and remembers whether there may be more, and whether it was much. Raises the system's error.
fn receive(transport: &StreamTransport, room: &mut [MaybeUninit<u8>]) -> PyResult<Read<usize>> {
    let Some(fd) = transport.fd() else { return Ok(Read::Empty) };
    // Whoever has the socket, too, may have made it a blocking one.
    // SAFETY: the pointer and the length are those of a slice that is borrowed for the call.
    match unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) } {
        0 => Ok(Read::End),
        count if count > 0 => {
            let count = count as usize;
            transport.bulk.set(count >= BULK);
            // A read that left room drained the socket, and the poller tells when more comes. It tells nothing
            // more about a peer that hung up: then reading goes on until the end.
            if count < room.len() && transport.short_read_drains.get() && !transport.hung_up.get() {
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
                _ => Err(os_error(error)),
            }
        }
    }
}

fn ended(transport: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    let py = transport.py();
    transport.log("debug", " received EOF", None)?;
    let Some(protocol) = transport.protocol.get(py) else { return Ok(()) };
    let keep_open =
        protocol.call_method0(intern!(py, "eof_received")).and_then(|keep| keep.is_truthy());
    match keep_open {
        Ok(true) => {
            transport.ended.set(true);
            transport.rest()
        }
        Ok(false) => transport.close(),
        Err(error) => {
            transport.fatal_error(error, "Fatal error: protocol.eof_received() call failed.")
        }
    }
}

fn is_reading<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), this.reads()).to_owned().into_any())
}

fn pause_reading<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    if !this.closing.get() && !this.paused.replace(true) {
        this.log("debug", " pauses reading", None)?;
        this.rest()?;
    }
    none(this.py())
}

fn resume_reading<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.closing.get() || !this.paused.replace(false) {
        return none(py);
    }
    // asyncio looks at the socket again, and sees the end again if it was there.
    this.ended.set(false);
    this.end_rest()?;
    this.context.set(this.callback_context(py)?);
    if this.wants_read() {
        this.with_loop(|event_loop| {
            this.enqueue(event_loop);
            Ok(())
        })?;
    }
    this.log("debug", " resumes reading", None)?;
    none(py)
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method0!(StreamTransport, c"is_reading", is_reading, c"Return True if it is receiving."),
        method0!(
            StreamTransport,
            c"pause_reading",
            pause_reading,
            c"Stop to call data_received()."
        ),
        method0!(
            StreamTransport,
            c"resume_reading",
            resume_reading,
            c"Call data_received() again."
        ),
    ]
}
