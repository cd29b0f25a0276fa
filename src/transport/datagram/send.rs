//! The way out: from `sendto()` to the socket.
//!
//! A datagram is sent at once if the socket takes it, so that its errors come where asyncio has them. `sendmmsg` for
//! several was measured, and is not used: it saves a twentieth of the time of ten, less than gathering them costs.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

use pyo3::exceptions::{
    PyBlockingIOError, PyInterruptedError, PyOSError, PyTypeError, PyValueError,
};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};
use socket2::{SockAddr, SockRef};

use super::{Connection, DatagramTransport, Way, is_ready};
use crate::event_loop::is_exit;
use crate::ffi::buffer::ReadableBuffer;
use crate::ffi::error::both;
use crate::ffi::{Args, Ref, Signature, Slot, Traversal, Visit, call, os_error};
use crate::transport::stream::none;
use crate::transport::write::warn_lost;
use crate::{method, method0};

/// What flow control counts for a datagram beside its data, in bytes.
const HEADER: usize = if cfg!(Py_3_13) { 8 } else { 0 };

/// After how long, in seconds, an unconnected Unix socket tries again: the system doesn't tell it when another socket
/// takes more.
const RETRY: f64 = 0.001;

const WRITE_ERROR: &str = "Fatal write error on datagram transport";

/// Where a datagram goes.
enum Destination {
    /// To the peer that the socket is connected to.
    Peer,
    /// To this address.
    Address(SocketAddr),
    /// To what the Python socket makes of this.
    Python(Slot),
}

/// A datagram that the socket did not take yet.
pub struct Waiting {
    /// The bytes, an exact `bytes` object.
    data: Slot,
    size: usize,
    destination: Destination,
}

impl Waiting {
    /// Reports what is owned to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.data)?;
        match &self.destination {
            Destination::Python(address) => visit.slot(address),
            Destination::Peer | Destination::Address(_) => Ok(()),
        }
    }
}

/// What became of a datagram.
#[derive(PartialEq)]
enum Sent {
    Gone,
    /// The socket takes no more now.
    Refused,
}

fn sendto<'py>(
    this: Ref<'_, 'py, DatagramTransport>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [data, address] = args.parse(&Signature {
        name: "sendto",
        parameters: ["data", "addr"],
        positional: 2,
        required: 1,
    })?;
    let Some(data) = data else { return none(py) };
    check_type(&data)?;
    // Older ones know no empty datagrams.
    if !cfg!(Py_3_13) && !data.is_truthy()? {
        return none(py);
    }
    let mut address =
        address.filter(|address| !address.is_none()).map(|address| address.to_owned());
    if let Some(remote) = this.remote.get(py) {
        if let Some(address) = &address
            && !address.is(&remote)
            && !address.eq(&remote)?
        {
            return Err(PyValueError::new_err(format!(
                "Invalid address: must be None or {}",
                remote.str()?
            )));
        }
        address = Some(remote);
        if this.lost.get() > 0 {
            return warn_lost(this);
        }
    } else if this.endpoint.fd().is_none() {
        return warn_lost(this);
    }
    let destination = destination(this, address);
    if this.outgoing.borrow().is_empty() {
        match send(this, &data, &destination) {
            Ok(Sent::Gone) => return none(py),
            Ok(Sent::Refused) => this.write_context.set(call::copy_context(py)?),
            Err(error) => return failed(this, error).and_then(|()| none(py)),
        }
    }
    let data = match data.cast_exact::<PyBytes>() {
        Ok(bytes) => bytes.to_owned(),
        Err(_) => py.get_type::<PyBytes>().call1((data,))?.cast_into()?,
    };
    let size = data.as_bytes().len() + HEADER;
    this.outgoing_size.set(this.outgoing_size.get() + size);
    let waiting = Waiting { data: Slot::new(data.into_any()), size, destination };
    this.outgoing.borrow_mut().push_back(waiting);
    this.writing.set(true);
    this.end_rest()?;
    this.enqueue_if_needed()?;
    this.pause_protocol_if_full()?;
    none(py)
}

fn check_type(data: &Bound<'_, PyAny>) -> PyResult<()> {
    let fine = data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>();
    if fine {
        return Ok(());
    }
    let kind = PyString::new(data.py(), &data.get_type().name()?.to_cow()?).repr()?;
    Err(PyTypeError::new_err(format!("data argument must be a bytes-like object, not {kind}")))
}

/// Where a datagram for `address` goes: to the peer of a connected socket whatever the address, as on asyncio, unless the
/// peer has no name.
fn destination(
    this: Ref<'_, '_, DatagramTransport>,
    address: Option<Bound<'_, PyAny>>,
) -> Destination {
    match this.connection.get() {
        Connection::Named => return Destination::Peer,
        Connection::Unnamed if address.is_none() => return Destination::Peer,
        Connection::Unnamed | Connection::None => {}
    }
    let Some(address) = address else { return Destination::Python(Slot::empty()) };
    if let Way::System(family) = this.way.get()
        && let Some(address) = this.peers.to_system(family, &address)
    {
        return Destination::Address(address);
    }
    Destination::Python(Slot::new(address))
}

/// Sends one datagram.
///
/// Raises the system's error and what the Python socket raises for the data or the address.
fn send<'py>(
    this: Ref<'_, 'py, DatagramTransport>,
    data: &Bound<'py, PyAny>,
    destination: &Destination,
) -> PyResult<Sent> {
    let system = matches!(this.way.get(), Way::System(_));
    let outcome = match (this.endpoint.fd(), destination) {
        (Some(fd), Destination::Peer) if system => {
            with_bytes(data, |bytes| send_by_system(fd, bytes, None))?
        }
        (Some(fd), Destination::Address(address)) => {
            let address = SockAddr::from(*address);
            with_bytes(data, |bytes| send_by_system(fd, bytes, Some(&address)))?
        }
        _ => return send_by_socket(this, data, destination),
    };
    match outcome {
        Ok(_) => Ok(Sent::Gone),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => refused(this),
            // Not full: it is tried again in the next turn.
            io::ErrorKind::Interrupted => Ok(Sent::Refused),
            _ => Err(os_error(error)),
        },
    }
}

/// Calls `body` with the bytes of a bytes-like object. Raises what the buffer protocol raises.
fn with_bytes<R>(data: &Bound<'_, PyAny>, body: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    match data.cast_exact::<PyBytes>() {
        Ok(bytes) => Ok(body(bytes.as_bytes())),
        Err(_) => ReadableBuffer::of(data).map(|buffer| body(buffer.as_slice())),
    }
}

fn send_by_system(fd: RawFd, bytes: &[u8], address: Option<&SockAddr>) -> io::Result<usize> {
    // SAFETY: the transport keeps the descriptor open, and it is only borrowed for the call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&socket);
    match address {
        Some(address) => socket.send_to_with_flags(bytes, address, libc::MSG_DONTWAIT),
        None => socket.send_with_flags(bytes, libc::MSG_DONTWAIT),
    }
}

/// The same by the Python socket's own methods.
fn send_by_socket<'py>(
    this: Ref<'_, 'py, DatagramTransport>,
    data: &Bound<'py, PyAny>,
    destination: &Destination,
) -> PyResult<Sent> {
    let py = this.py();
    let socket = this.endpoint.python_socket(py)?;
    let outcome = match destination {
        Destination::Python(address) => {
            socket.call_method1(intern!(py, "sendto"), (data, address.get_or_none(py)))
        }
        Destination::Peer | Destination::Address(_) => {
            socket.call_method1(intern!(py, "send"), (data,))
        }
    };
    match outcome {
        Ok(_) => Ok(Sent::Gone),
        Err(error) if error.is_instance_of::<PyBlockingIOError>(py) => {
            // Where the system is ready, the next turn tries again.
            if is_ready(this, libc::POLLOUT) { Ok(Sent::Refused) } else { refused(this) }
        }
        Err(error) if error.is_instance_of::<PyInterruptedError>(py) => Ok(Sent::Refused),
        Err(error) => Err(error),
    }
}

/// The socket takes no more: the poller tells when it does.
fn refused(this: Ref<'_, '_, DatagramTransport>) -> PyResult<Sent> {
    let py = this.py();
    this.full.set(true);
    if this.way.get() == Way::System(libc::AF_UNIX) && this.connection.get() == Connection::None {
        this.with_loop(|event_loop| {
            let retry = this.as_any().getattr(intern!(py, "_sendto_ready"))?;
            event_loop.as_any().call_method1(intern!(py, "call_later"), (RETRY, retry)).map(drop)
        })?;
    }
    Ok(Sent::Refused)
}

/// What asyncio does about an error of sending: a system's is the protocol's affair, any other ends the transport.
///
/// Raises `KeyboardInterrupt`, `SystemExit` and what `error_received` raises.
fn failed(this: Ref<'_, '_, DatagramTransport>, error: PyErr) -> PyResult<()> {
    let py = this.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    if error.is_instance_of::<PyOSError>(py) {
        return this.tell_error(error);
    }
    this.fatal_error(error, WRITE_ERROR)
}

/// Sends what waits, as much as the socket takes, and does what waited for that.
///
/// Raises what `error_received` and `connection_lost` raise; the next turn goes on.
pub(super) fn send_waiting(this: Ref<'_, '_, DatagramTransport>) -> PyResult<()> {
    let py = this.py();
    loop {
        // Out of the buffer while it is sent: the protocol may do anything to that.
        let Some(next) = this.outgoing.borrow_mut().pop_front() else { break };
        this.outgoing_size.set(this.outgoing_size.get() - next.size);
        match send(this, &next.data.get_or_none(py), &next.destination) {
            Ok(Sent::Gone) => {}
            Ok(Sent::Refused) => {
                this.outgoing_size.set(this.outgoing_size.get() + next.size);
                this.outgoing.borrow_mut().push_front(next);
                break;
            }
            Err(error) => return failed(this, error),
        }
    }
    let resumed = this.resume_protocol_if_drained(); // May write more.
    if !this.outgoing.borrow().is_empty() || this.lost.get() > 0 {
        return resumed;
    }
    this.writing.set(false);
    if !this.closing.get() {
        return resumed;
    }
    let finished = this.finish();
    both(this.py(), resumed, finished)
}

/// Tries again to send what the socket refused.
fn sendto_ready<'py>(this: Ref<'_, 'py, DatagramTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.full.set(false);
    this.enqueue_if_needed()?;
    none(this.py())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            DatagramTransport,
            c"sendto",
            sendto,
            c"sendto($self, /, data, addr=None)\n--\n\nSend a datagram, now or as soon as the socket takes it."
        ),
        method0!(
            DatagramTransport,
            c"_sendto_ready",
            sendto_ready,
            c"Send what waits in the next turn."
        ),
    ]
}
