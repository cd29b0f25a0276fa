//! `sock_connect` and `create_connection` to a literal address, which needs no name server.

use std::ffi::c_int;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyInt, PyString, PyTuple, PyType};
use socket2::SockAddr;

use super::sockets::{descriptor_of, is_plain, is_plain_class};
use super::{Loop, boolean, none};
use crate::ffi::error::both;
use crate::ffi::{Args, Ref, Signature, error, os_error};
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
    if this.debug() || !is_plain(&socket)? || !connects_by_system_call(&socket.get_type())? {
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
    boolean(py, connect(&socket, &address, &target)?)
}

/// Begins to connect `socket` to `target`, which Python calls `address`. Returns whether it is connected already.
///
/// Raises what an audit hook does, and the system's error.
fn connect(
    socket: &Bound<'_, PyAny>,
    address: &Bound<'_, PyAny>,
    target: &SockAddr,
) -> PyResult<bool> {
    static AUDIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = socket.py();
    let event = intern!(py, "socket.connect");
    AUDIT.import(py, "sys", "audit")?.call1((event, socket, address))?;
    let fd = descriptor_of(socket)?;
    // SAFETY: the address and its length belong together, and live as long as the call.
    if unsafe { libc::connect(fd, target.as_ptr().cast(), target.len()) } == 0 {
        return Ok(true);
    }
    let failure = std::io::Error::last_os_error();
    match failure.raw_os_error() {
        // Begun now, or begun before by a call that was given up.
        Some(libc::EINPROGRESS | libc::EINTR | libc::EALREADY) => Ok(false),
        _ => Err(os_error(failure)),
    }
}

/// Opens a socket and begins to connect it, if `host` is a literal address and `port` a number: the socket, its address and
/// whether it is connected already. `None` when it is for Python to find out what they are.
///
/// Raises the error of the socket's class, what an audit hook does, and the system's error.
fn open_to_literal<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [host, port] = args.parse(&Signature {
        name: "_open_to_literal",
        parameters: ["host", "port"],
        positional: 2,
        required: 2,
    })?;
    let (Some(host), Some(port)) = (host, port) else { return none(this) };
    let (Some(ip), Some(number)) = (literal_host(&host), exact::<u16>(&port)) else {
        return none(this);
    };
    // Programs put classes of their own in its place, as those that connect by way of a proxy.
    let class = py.import(intern!(py, "socket"))?.getattr(intern!(py, "socket"))?;
    let Ok(class) = class.cast::<PyType>() else { return none(this) };
    if !is_plain_class(class)? || !connects_by_system_call(class)? {
        return none(this);
    }
    let (family, address) = match ip {
        IpAddr::V4(_) => (libc::AF_INET, (&host, number).into_pyobject(py)?),
        IpAddr::V6(_) => (libc::AF_INET6, (&host, number, 0, 0).into_pyobject(py)?),
    };
    let socket = class.call1((family, libc::SOCK_STREAM, libc::IPPROTO_TCP))?;
    let connected = socket
        .call_method1(intern!(py, "setblocking"), (false,))
        .and_then(|_| connect(&socket, address.as_any(), &SocketAddr::new(ip, number).into()));
    match connected {
        Ok(connected) => Ok((socket, address, connected).into_pyobject(py)?.into_any()),
        Err(error) => {
            both(py, Err(error), socket.call_method0(intern!(py, "close")).map(drop))?;
            none(this)
        }
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

/// Whether `connect` of `class`, which is `socket.socket`, is still what the interpreter came with.
fn connects_by_system_call(class: &Bound<'_, PyType>) -> PyResult<bool> {
    static CONNECT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = class.py();
    let connect = CONNECT.get_or_try_init(py, || {
        let class = py.import("_socket")?.getattr("socket")?;
        class.getattr("connect").map(Bound::unbind)
    })?;
    Ok(class.getattr(intern!(py, "connect"))?.is(connect))
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
    let host = literal_host(&address.get_item(0)?);
    let Some(port) = exact::<u16>(&address.get_item(1)?) else { return Ok(None) };
    let host = match (host, family) {
        (Some(IpAddr::V4(host)), libc::AF_INET) => {
            return Ok(Some(SocketAddrV4::new(host, port).into()));
        }
        (Some(IpAddr::V6(host)), libc::AF_INET6) => host,
        _ => return Ok(None),
    };
    let (Some(flow), Some(scope)) =
        (exact::<u32>(&address.get_item(2)?), exact::<u32>(&address.get_item(3)?))
    else {
        return Ok(None);
    };
    const LARGEST_FLOW: u32 = 0xf_ffff;
    // The kernel's byte order, as `socket2` takes it over.
    let target = SocketAddrV6::new(host, port, flow.to_be(), scope);
    Ok((flow <= LARGEST_FLOW).then(|| target.into()))
}

/// The address that `host` is the text of.
fn literal_host(host: &Bound<'_, PyAny>) -> Option<IpAddr> {
    let host = host.cast_exact::<PyString>().ok()?;
    error::ok(host.to_str(), host.py())?.parse().ok()
}

/// The value of an integer that fits.
fn exact<'py, T: FromPyObjectOwned<'py, Error = PyErr>>(number: &Bound<'py, PyAny>) -> Option<T> {
    error::ok(number.cast_exact::<PyInt>().ok()?.extract(), number.py())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            Loop,
            c"_connect_to_literal",
            connect_to_literal,
            c"_connect_to_literal($self, /, sock, address)\n--\n\nBegin to connect to a literal address; return whether that is done, None if it is no such address."
        ),
        method!(
            Loop,
            c"_open_to_literal",
            open_to_literal,
            c"_open_to_literal($self, /, host, port)\n--\n\nBegin to connect a new socket to a literal address; return it, its address and whether that is done, None if it is no such address."
        ),
    ]
}
