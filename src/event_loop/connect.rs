//! `sock_connect` to a literal address, which needs no name server.

use std::ffi::c_int;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyInt, PyString, PyTuple};
use socket2::SockAddr;

use super::readers::os_error;
use super::sockets::{descriptor_of, is_plain};
use super::{Loop, boolean, none};
use crate::ffi::{Args, Ref, Signature, error};
use crate::method;

/// Begins to connect `sock` to `address`, if that is a stream's socket that doesn't block and the address a literal one of its
/// family: `True` when it is connected already, `False` when that takes time. `None` when it is for Python to connect,
/// which then knows every other address and what is wrong with it.
///
/// Raises the system's error.
fn connect_to_literal<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [socket, address] = args.parse(&Signature {
        name: "_connect_to_literal",
        parameters: ["sock", "address"],
        positional: 2,
        required: 2,
    })?;
    let (Some(socket), Some(address)) = (socket, address) else { return none(this) };
    // Debug mode has more to check. Who has put another function in the place of `connect` wants it called.
    if this.debug() || !is_plain(&socket)? || !connects_by_system_call(&socket)? {
        return none(this);
    }
    let Some(target) = literal(&address, Member::Family.of(&socket)?)? else { return none(this) };
    let protocols = [0, libc::IPPROTO_TCP];
    if Member::Type.of(&socket)? != libc::SOCK_STREAM
        || !protocols.contains(&Member::Protocol.of(&socket)?)
        || !is_non_blocking(&socket)?
    {
        return none(this);
    }
    static AUDIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event = intern!(py, "socket.connect");
    AUDIT.import(py, "sys", "audit")?.call1((event, socket, address))?;
    let fd = descriptor_of(&socket)?;
    // SAFETY: the address and its length belong together, and live as long as the call.
    if unsafe { libc::connect(fd, target.as_ptr().cast(), target.len()) } == 0 {
        return boolean(py, true);
    }
    let failure = std::io::Error::last_os_error();
    match failure.raw_os_error() {
        Some(libc::EINPROGRESS | libc::EINTR) => boolean(py, false),
        _ => Err(os_error(failure)),
    }
}

/// The integers that a socket was made with. `socket.socket` has members of enumerations in their places, which take
/// longer to make than the connection.
#[derive(Clone, Copy)]
enum Member {
    Family,
    Type,
    Protocol,
}

impl Member {
    /// Its value of `socket`, a plain one.
    fn of(self, socket: &Bound<'_, PyAny>) -> PyResult<c_int> {
        static MEMBERS: [PyOnceLock<Py<PyAny>>; 3] = [const { PyOnceLock::new() }; 3];
        let py = socket.py();
        let member = MEMBERS[self as usize].get_or_try_init(py, || {
            let name = ["family", "type", "proto"][self as usize];
            let class = py.import("_socket")?.getattr("socket")?;
            class.getattr(name)?.getattr("__get__").map(Bound::unbind)
        })?;
        member.bind(py).call1((socket,))?.extract()
    }
}

/// Whether `socket`, a plain one of an internet family, is one that asyncio switches Nagle's algorithm off for.
pub fn is_tcp(socket: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(Member::Type.of(socket)? == libc::SOCK_STREAM
        && Member::Protocol.of(socket)? == libc::IPPROTO_TCP)
}

/// Whether `socket.socket.connect` is still what the interpreter came with.
fn connects_by_system_call(socket: &Bound<'_, PyAny>) -> PyResult<bool> {
    static CONNECT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = socket.py();
    let connect = CONNECT.get_or_try_init(py, || {
        let class = py.import("_socket")?.getattr("socket")?;
        class.getattr("connect").map(Bound::unbind)
    })?;
    Ok(socket.get_type().getattr(intern!(py, "connect"))?.is(connect))
}

fn is_non_blocking(socket: &Bound<'_, PyAny>) -> PyResult<bool> {
    let timeout = socket.call_method0(intern!(socket.py(), "gettimeout"))?;
    Ok(!timeout.is_none() && timeout.extract::<f64>()? == 0.0)
}

/// `address` for the system, if it is the literal address of a host of `family`, complete as `getaddrinfo` gives it.
fn literal(address: &Bound<'_, PyAny>, family: c_int) -> PyResult<Option<SockAddr>> {
    let Ok(address) = address.cast_exact::<PyTuple>() else { return Ok(None) };
    let parts = (address.len(), family);
    if !matches!(parts, (2, libc::AF_INET) | (4, libc::AF_INET6)) {
        return Ok(None);
    }
    let host = address.get_item(0)?;
    let Ok(host) = host.cast_exact::<PyString>() else { return Ok(None) };
    let Some(host) = error::ok(host.to_str(), address.py()) else { return Ok(None) };
    let Some(port) = whole::<u16>(address, 1)? else { return Ok(None) };
    if family == libc::AF_INET {
        let host = host.parse::<Ipv4Addr>().ok();
        return Ok(host.map(|host| SocketAddrV4::new(host, port).into()));
    }
    let (Ok(host), Some(flow), Some(scope)) =
        (host.parse::<Ipv6Addr>(), whole::<u32>(address, 2)?, whole::<u32>(address, 3)?)
    else {
        return Ok(None);
    };
    const LARGEST_FLOW: u32 = 0xf_ffff;
    // The kernel's byte order, as `socket2` takes it over.
    let target = SocketAddrV6::new(host, port, flow.to_be(), scope);
    Ok((flow <= LARGEST_FLOW).then(|| target.into()))
}

/// The integer at `index`, if it is one and fits.
fn whole<'py, T: FromPyObjectOwned<'py, Error = PyErr>>(
    address: &Bound<'py, PyTuple>,
    index: usize,
) -> PyResult<Option<T>> {
    let item = address.get_item(index)?;
    Ok(match item.cast_exact::<PyInt>() {
        Ok(number) => error::ok(number.extract(), address.py()),
        Err(_) => None,
    })
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![method!(
        Loop,
        c"_connect_to_literal",
        connect_to_literal,
        c"_connect_to_literal($self, /, sock, address)\n--\n\nBegin to connect to a literal address; return whether that is done, None if it is no such address."
    )]
}
