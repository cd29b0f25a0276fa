//! `sock_recv`, `sock_sendall` and their like: system calls on the user's own sockets.
//!
//! Receiving into memory and sending from it is done here for what is a `socket.socket` and no subclass. All else is left to
//! the socket's own method: it knows every family's addresses and every mistake's message.

use std::io;
use std::os::fd::RawFd;

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError, PyValueError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView, PySlice, PyType};

use super::Loop;
use super::socket_call::{self, SocketCall};
use super::sources::Direction;
use crate::ffi::buffer::{ReadableBuffer, WritableBuffer};
use crate::ffi::frame::Place;
use crate::ffi::{Args, Ref, Signature, error, os_error};
use crate::method;
use crate::transport::read::{LANDING, READ_SIZE};

/// What a coroutine of this file does.
#[derive(Clone, Copy, Default)]
pub enum Operation {
    #[default]
    Recv,
    RecvInto,
    RecvFrom,
    RecvFromInto,
    SendAll,
    SendTo,
    Accept,
    /// Only waits.
    Writable,
    /// Waits for the end of a connect that was begun.
    Connected,
}

impl Operation {
    /// The loop's method.
    pub fn place(self) -> &'static Place {
        macro_rules! method {
            ($name:literal) => {{
                static PLACE: Place = Place::new(concat!("Loop.", $name), file!(), line!());
                &PLACE
            }};
        }
        match self {
            Operation::Recv => method!("sock_recv"),
            Operation::RecvInto => method!("sock_recv_into"),
            Operation::RecvFrom => method!("sock_recvfrom"),
            Operation::RecvFromInto => method!("sock_recvfrom_into"),
            Operation::SendAll => method!("sock_sendall"),
            Operation::SendTo => method!("sock_sendto"),
            Operation::Accept => method!("sock_accept"),
            Operation::Writable => method!("_sock_writable"),
            Operation::Connected => method!("_sock_connected"),
        }
    }

    /// What it waits for.
    pub fn direction(self) -> Direction {
        match self {
            Operation::SendAll | Operation::SendTo | Operation::Writable | Operation::Connected => {
                Direction::Write
            }
            _ => Direction::Read,
        }
    }

    /// What it returns when the wait alone is what it does. Raises what the wait was for to find out.
    pub fn waited<'py>(
        self,
        call: Ref<'_, 'py, SocketCall>,
        socket: &Bound<'py, PyAny>,
    ) -> Option<PyResult<Bound<'py, PyAny>>> {
        match self {
            Operation::Writable => Some(super::none(call)),
            Operation::Connected => Some(connected(call, socket)),
            _ => None,
        }
    }

    /// Whether what it waits for is a change of state, of which the poller may have told before it was asked for.
    pub fn waits_afresh(self) -> bool {
        matches!(self, Operation::Connected)
    }

    /// Whether it makes its system call itself.
    pub fn is_native(self) -> bool {
        matches!(self, Operation::Recv | Operation::RecvInto | Operation::SendAll)
    }
}

/// What a try gave.
pub enum Attempt<'py> {
    /// The result.
    Done(Bound<'py, PyAny>),
    /// The socket must become ready first.
    NotReady,
}

/// Whether `socket` is a `socket.socket`, no subclass.
pub fn is_plain(socket: &Bound<'_, PyAny>) -> PyResult<bool> {
    is_plain_class(&socket.get_type())
}

/// Whether `class` is `socket.socket`.
pub fn is_plain_class(class: &Bound<'_, PyType>) -> PyResult<bool> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(CLASS.import(class.py(), "socket", "socket")?.is(class))
}

/// `socket.fileno()`
#[inline]
pub fn descriptor_of(socket: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    socket.call_method0(intern!(socket.py(), "fileno"))?.extract()
}

/// Raises `TypeError` for an `SSLSocket` and, in debug mode, `ValueError` for a socket that blocks.
pub fn check(
    event_loop: Ref<'_, '_, Loop>,
    operation: Operation,
    socket: &Bound<'_, PyAny>,
    plain: bool,
) -> PyResult<()> {
    let py = socket.py();
    if let Operation::Writable | Operation::Connected = operation {
        return Ok(());
    }
    if !plain {
        static CHECK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        CHECK.import(py, "asyncio.base_events", "_check_ssl_socket")?.call1((socket,))?;
    }
    if event_loop.debug() {
        let timeout = socket.call_method0(intern!(py, "gettimeout"))?;
        if !timeout.eq(0)? {
            return Err(PyValueError::new_err("the socket must be non-blocking"));
        }
    }
    Ok(())
}

/// Tries the system call, natively when `fd` is given. Raises what it raises.
pub fn attempt<'py>(
    call: Ref<'_, 'py, SocketCall>,
    event_loop: Ref<'_, 'py, Loop>,
    socket: &Bound<'py, PyAny>,
    fd: Option<RawFd>,
) -> PyResult<Attempt<'py>> {
    let py = call.py();
    let first = call.body.first.get_or_none(py);
    match (call.body.operation.get(), fd) {
        (Operation::Recv, Some(fd)) => match error::ok(first.extract::<usize>(), py) {
            Some(size) if size <= READ_SIZE => recv(event_loop, socket, fd, size),
            _ => method1(socket, intern!(py, "recv"), &first),
        },
        (Operation::Recv, None) => method1(socket, intern!(py, "recv"), &first),
        (Operation::RecvInto, Some(fd)) => recv_into(event_loop, socket, fd, &first),
        (Operation::RecvInto, None) => method1(socket, intern!(py, "recv_into"), &first),
        (Operation::RecvFrom, _) => method1(socket, intern!(py, "recvfrom"), &first),
        (Operation::RecvFromInto, _) => recvfrom_into(call, socket, &first),
        (Operation::SendAll, Some(fd)) => sendall(call, fd, &first),
        (Operation::SendAll, None) => sendall_by_method(call, socket, &first),
        (Operation::SendTo, _) => {
            let address = call.body.second.get_or_none(py);
            unless_blocked(py, socket.call_method1(intern!(py, "sendto"), (first, address)))
        }
        (Operation::Accept, _) => {
            descriptor_of(socket)?; // What has none is refused in these words.
            accept(socket)
        }
        (Operation::Writable | Operation::Connected, _) => Ok(Attempt::NotReady),
    }
}

/// Raises the error that `socket`'s connection ended with, in asyncio's words.
fn connected<'py>(
    call: Ref<'_, 'py, SocketCall>,
    socket: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = call.py();
    let option = (libc::SOL_SOCKET, libc::SO_ERROR);
    let code: i32 = socket.call_method1(intern!(py, "getsockopt"), option)?.extract()?;
    if code != 0 {
        let address = call.body.first.get_or_none(py);
        return Err(PyOSError::new_err((code, format!("Connect call failed {address}"))));
    }
    super::none(call)
}

fn method1<'py>(
    socket: &Bound<'py, PyAny>,
    name: &Bound<'py, pyo3::types::PyString>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Attempt<'py>> {
    unless_blocked(socket.py(), socket.call_method1(name, (argument,)))
}

/// The outcome of a Python method; `BlockingIOError` and `InterruptedError` say that the socket is not ready.
fn unless_blocked<'py>(
    py: Python<'py>,
    outcome: PyResult<Bound<'py, PyAny>>,
) -> PyResult<Attempt<'py>> {
    match outcome {
        Ok(result) => Ok(Attempt::Done(result)),
        Err(blocked)
            if blocked.is_instance_of::<PyBlockingIOError>(py)
                || blocked.is_instance_of::<PyInterruptedError>(py) =>
        {
            error::discard(blocked, py);
            Ok(Attempt::NotReady)
        }
        Err(error) => Err(error),
    }
}

/// Makes a system call that never blocks; `None` when the socket is not ready.
fn without_blocking(mut call: impl FnMut() -> isize) -> io::Result<Option<usize>> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(Some(count)),
            Err(_) => {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(None),
                    _ => return Err(error),
                }
            }
        }
    }
}

/// Receives into `room`, and remembers what a short read tells.
fn receive(
    event_loop: Ref<'_, '_, Loop>,
    socket: &Bound<'_, PyAny>,
    fd: RawFd,
    room: &mut [u8],
) -> io::Result<Option<usize>> {
    let received = without_blocking(|| {
        // SAFETY: the pointer and the length are those of a slice that is borrowed for the call.
        unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) }
    })?;
    if let Some(count) = received
        && (1..room.len()).contains(&count)
    {
        event_loop.was_short_read(fd, socket);
    }
    Ok(received)
}

fn recv<'py>(
    event_loop: Ref<'_, 'py, Loop>,
    socket: &Bound<'py, PyAny>,
    fd: RawFd,
    size: usize,
) -> PyResult<Attempt<'py>> {
    let py = socket.py();
    LANDING
        .with_borrow_mut(|landing| {
            let received = receive(event_loop, socket, fd, &mut landing[..size]);
            // Bytes are no container: making them doesn't run the collector while the landing place is borrowed.
            Ok(received.map_err(os_error)?.map(|count| PyBytes::new(py, &landing[..count])))
        })
        .map(|data| data.map_or(Attempt::NotReady, |data| Attempt::Done(data.into_any())))
}

fn recv_into<'py>(
    event_loop: Ref<'_, 'py, Loop>,
    socket: &Bound<'py, PyAny>,
    fd: RawFd,
    buffer: &Bound<'py, PyAny>,
) -> PyResult<Attempt<'py>> {
    let Some(mut room) = error::ok(WritableBuffer::of(buffer), socket.py()) else {
        return method1(socket, intern!(socket.py(), "recv_into"), buffer);
    };
    match receive(event_loop, socket, fd, room.as_mut_slice()).map_err(os_error)? {
        Some(count) => Ok(Attempt::Done(count.into_pyobject(socket.py())?.into_any())),
        None => Ok(Attempt::NotReady),
    }
}

fn recvfrom_into<'py>(
    call: Ref<'_, 'py, SocketCall>,
    socket: &Bound<'py, PyAny>,
    buffer: &Bound<'py, PyAny>,
) -> PyResult<Attempt<'py>> {
    let py = call.py();
    let size = match call.body.second.get(py) {
        Some(size) if size.is_truthy()? => size,
        _ => {
            let size = buffer.len()?.into_pyobject(py)?.into_any();
            call.body.second.set(size.clone());
            size
        }
    };
    unless_blocked(py, socket.call_method1(intern!(py, "recvfrom_into"), (buffer, size)))
}

/// Sends what is left of `data`. `call` remembers how much was sent.
fn sendall<'py>(
    call: Ref<'_, 'py, SocketCall>,
    fd: RawFd,
    data: &Bound<'py, PyAny>,
) -> PyResult<Attempt<'py>> {
    let py = call.py();
    {
        let buffer;
        let bytes = match data.cast_exact::<PyBytes>() {
            Ok(bytes) => bytes.as_bytes(),
            Err(_) => {
                buffer = ReadableBuffer::of(data)?;
                buffer.as_slice()
            }
        };
        loop {
            let rest = &bytes[call.body.sent.get()..];
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the pointer and the length are those of a slice that is borrowed for the call.
            let send = || unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), flags) };
            match without_blocking(send).map_err(os_error)? {
                Some(count) if count == rest.len() => {
                    return Ok(Attempt::Done(py.None().into_bound(py)));
                }
                Some(count) => call.body.sent.set(call.body.sent.get() + count),
                None => break,
            }
        }
    }
    keep_buffer(call, data)?;
    Ok(Attempt::NotReady)
}

/// Keeps the buffer of `data` exported while the call waits, so that nobody changes its size.
fn keep_buffer<'py>(call: Ref<'_, 'py, SocketCall>, data: &Bound<'py, PyAny>) -> PyResult<()> {
    if !data.is_exact_instance_of::<PyBytes>() && !data.is_exact_instance_of::<PyMemoryView>() {
        call.body.first.set(PyMemoryView::from(data)?.into_any());
    }
    Ok(())
}

fn sendall_by_method<'py>(
    call: Ref<'_, 'py, SocketCall>,
    socket: &Bound<'py, PyAny>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Attempt<'py>> {
    let py = call.py();
    let start = call.body.sent.get();
    let rest = if start == 0 {
        data.clone()
    } else {
        data.get_item(PySlice::new(py, start as isize, isize::MAX, 1))?
    };
    let sent = match unless_blocked(py, socket.call_method1(intern!(py, "send"), (rest,)))? {
        Attempt::Done(sent) => sent.extract::<usize>()?,
        Attempt::NotReady => 0,
    };
    call.body.sent.set(start + sent);
    if call.body.sent.get() == data.len()? {
        return Ok(Attempt::Done(py.None().into_bound(py)));
    }
    keep_buffer(call, data)?;
    Ok(Attempt::NotReady)
}

/// `(connection, address)`; the connection doesn't block.
fn accept<'py>(socket: &Bound<'py, PyAny>) -> PyResult<Attempt<'py>> {
    let py = socket.py();
    let accepted = unless_blocked(py, socket.call_method0(intern!(py, "accept")))?;
    if let Attempt::Done(pair) = &accepted {
        pair.get_item(0)?.call_method1(intern!(py, "setblocking"), (false,))?;
    }
    Ok(accepted)
}

fn call<'py, const N: usize>(
    this: Ref<'_, 'py, Loop>,
    operation: Operation,
    args: &Args<'_, 'py>,
    parameters: [&'static str; N],
    required: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let signature =
        Signature { name: operation.place().name(), parameters, positional: N, required };
    let given = args.parse(&signature)?.map(|arg| arg.map(|arg| arg.to_owned()));
    let mut given = given.into_iter().flatten();
    let socket = given.next().unwrap_or_else(|| this.py().None().into_bound(this.py()));
    socket_call::create(this, operation, socket, [given.next(), given.next()])
}

fn sock_recv<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    call(this, Operation::Recv, args, ["sock", "n"], 2)
}

fn sock_recv_into<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    call(this, Operation::RecvInto, args, ["sock", "buf"], 2)
}

fn sock_recvfrom<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    call(this, Operation::RecvFrom, args, ["sock", "bufsize"], 2)
}

fn sock_recvfrom_into<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    call(this, Operation::RecvFromInto, args, ["sock", "buf", "nbytes"], 2)
}

fn sock_sendall<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    call(this, Operation::SendAll, args, ["sock", "data"], 2)
}

fn sock_sendto<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    call(this, Operation::SendTo, args, ["sock", "data", "address"], 3)
}

fn sock_accept<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    call(this, Operation::Accept, args, ["sock"], 1)
}

fn sock_writable<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    call(this, Operation::Writable, args, ["sock"], 1)
}

fn sock_connected<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    call(this, Operation::Connected, args, ["sock", "address"], 2)
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            Loop,
            c"sock_recv",
            sock_recv,
            c"sock_recv($self, sock, n)\n--\n\nReceive at most n bytes; b'' is the end."
        ),
        method!(
            Loop,
            c"sock_recv_into",
            sock_recv_into,
            c"sock_recv_into($self, sock, buf)\n--\n\nReceive into a writable buffer; return how many bytes."
        ),
        method!(
            Loop,
            c"sock_recvfrom",
            sock_recvfrom,
            c"sock_recvfrom($self, sock, bufsize)\n--\n\nReceive a datagram; return it and its sender's address."
        ),
        method!(
            Loop,
            c"sock_recvfrom_into",
            sock_recvfrom_into,
            c"sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\nReceive a datagram into a writable buffer; return how many bytes and its sender's address."
        ),
        method!(
            Loop,
            c"sock_sendall",
            sock_sendall,
            c"sock_sendall($self, sock, data)\n--\n\nSend all of the bytes. After an error nobody knows how many were sent."
        ),
        method!(
            Loop,
            c"sock_sendto",
            sock_sendto,
            c"sock_sendto($self, sock, data, address)\n--\n\nSend a datagram; return how many bytes."
        ),
        method!(
            Loop,
            c"sock_accept",
            sock_accept,
            c"sock_accept($self, sock)\n--\n\nAccept a connection; return its non-blocking socket and the peer's address."
        ),
        method!(
            Loop,
            c"_sock_writable",
            sock_writable,
            c"_sock_writable($self, sock)\n--\n\nWait until the socket takes more, after it took nothing."
        ),
        method!(
            Loop,
            c"_sock_connected",
            sock_connected,
            c"_sock_connected($self, sock, address)\n--\n\nWait until a connection that was begun is made or refused."
        ),
    ]
}

/// The methods that return coroutines.
pub const COROUTINES: [&str; 7] = [
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_accept",
];
