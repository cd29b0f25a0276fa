//! The way in: from the socket to the protocol.
//!
//! A turn receives several datagrams, one system call each. `recvmmsg` would take them all in one; it was measured, and
//! is not used: it costs a tenth more for a single datagram, the common case, and saves a twentieth of ten.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, RawFd};

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use socket2::{SockAddr, SockRef};

use super::{DatagramTransport, Way, is_ready};
use crate::event_loop::is_exit;
use crate::ffi::{Ref, os_error};
use crate::transport::read::{LANDING, READ_SIZE};

/// How many datagrams one turn receives at the most, so that one busy socket doesn't starve the others.
const BATCH: usize = 32;

type Datagram<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Receives what there is and calls the protocol.
///
/// Raises what `datagram_received` and `error_received` raise: the transport stays as it is, and the next turn goes on.
pub(super) fn receive(this: Ref<'_, '_, DatagramTransport>) -> PyResult<()> {
    let py = this.py();
    for _ in 0..BATCH {
        if !this.wants_read() {
            break;
        }
        let Some(protocol) = this.protocol.get(py) else { break };
        match receive_one(this) {
            Ok(Some((data, address))) => {
                protocol.call_method1(intern!(py, "datagram_received"), (data, address))?;
            }
            Ok(None) => break,
            Err(error) if is_exit(py, &error) => return Err(error),
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                return this.tell_error(error); // What may say so again and again has one turn each time.
            }
            Err(error) => {
                this.fatal_error(error, "Fatal read error on datagram transport")?;
            }
        }
    }
    Ok(())
}

/// The next datagram and its sender's address; `None` when there is none for now.
fn receive_one<'py>(this: Ref<'_, 'py, DatagramTransport>) -> PyResult<Option<Datagram<'py>>> {
    let py = this.py();
    let (Some(fd), Way::System(_)) = (this.endpoint.fd(), this.way.get()) else {
        return receive_by_socket(this);
    };
    let received: io::Result<_> = LANDING.with_borrow_mut(|landing| {
        let (count, sender) = receive_from(fd, landing)?;
        // Bytes are no container: making them doesn't run the collector while the landing place is borrowed.
        Ok((PyBytes::new(py, &landing[..count]), sender))
    });
    match received {
        Ok((data, sender)) => {
            let sender = this.peers.to_python(py, sender)?;
            Ok(Some((data.into_any(), sender)))
        }
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => {
                this.readable.set(false);
                Ok(None)
            }
            io::ErrorKind::Interrupted => Ok(None),
            _ => {
                // Nothing will come any more from a descriptor that somebody closed. Other errors stand before what
                // there is to read.
                if matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK)) {
                    this.readable.set(false);
                }
                Err(os_error(error))
            }
        },
    }
}

fn receive_from(fd: RawFd, room: &mut [u8]) -> io::Result<(usize, SockAddr)> {
    // SAFETY: the transport keeps the descriptor open, and it is only borrowed for the call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    // SAFETY: the same bytes; the callee only writes initialised ones.
    let room = unsafe { &mut *(room as *mut [u8] as *mut [MaybeUninit<u8>]) };
    SockRef::from(&socket).recv_from_with_flags(room, libc::MSG_DONTWAIT)
}

/// The same by the Python socket's own method.
fn receive_by_socket<'py>(
    this: Ref<'_, 'py, DatagramTransport>,
) -> PyResult<Option<Datagram<'py>>> {
    let py = this.py();
    let socket = this.endpoint.python_socket(py)?;
    match socket.call_method1(intern!(py, "recvfrom"), (READ_SIZE,)) {
        Ok(received) => received.extract().map(Some),
        Err(error) if error.is_instance_of::<PyBlockingIOError>(py) => {
            this.readable.set(is_ready(this, libc::POLLIN));
            Ok(None)
        }
        Err(error) if error.is_instance_of::<PyInterruptedError>(py) => Ok(None),
        Err(error) => {
            if error.value(py).getattr(intern!(py, "errno")).is_ok_and(|number| {
                number.extract::<i32>().is_ok_and(|number| number == libc::EBADF)
            }) {
                this.readable.set(false);
            }
            Err(error)
        }
    }
}
