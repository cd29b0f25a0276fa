//! Socket addresses, as the kernel gives them and as Python shows them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{BorrowedFd, RawFd};

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use socket2::{SockAddr, SockRef};

/// The address of one end of a socket. Its Python form is made when somebody asks.
///
/// The kernel's form has room for a path of a Unix socket, 128 bytes that each connection would have twice.
#[derive(Clone)]
pub enum Address {
    /// `AF_INET`
    V4(SocketAddrV4),
    /// `AF_INET6`
    V6(SocketAddrV6),
    /// Any other family.
    Other(Box<SockAddr>),
}

impl Address {
    /// An address from `accept` or its like.
    pub fn new(address: SockAddr) -> Self {
        if let Some(address) = address.as_socket_ipv4() {
            Address::V4(address)
        } else if let Some(address) = address.as_socket_ipv6() {
            Address::V6(address)
        } else {
            Address::Other(Box::new(address))
        }
    }

    /// The own address of an open socket; `None` when the system doesn't tell.
    pub fn of_socket(fd: RawFd) -> Option<Self> {
        // SAFETY: the caller's descriptor is open, and is only borrowed for the call.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        SockRef::from(&socket).local_addr().ok().map(Address::new)
    }

    /// The peer's address of an open socket; `None` when it is not connected any more.
    pub fn of_peer(fd: RawFd) -> Option<Self> {
        // SAFETY: as above.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        SockRef::from(&socket).peer_addr().ok().map(Address::new)
    }

    /// Its family: `AF_INET`, …
    pub fn family(&self) -> i32 {
        match self {
            Address::V4(_) => libc::AF_INET,
            Address::V6(_) => libc::AF_INET6,
            Address::Other(address) => address.family().into(),
        }
    }

    /// Whether [`to_python`](Self::to_python) knows its family.
    pub fn is_known(&self) -> bool {
        self.is_internet() || self.family() == libc::AF_UNIX
    }

    /// Whether it is an IPv4 or IPv6 address.
    pub fn is_internet(&self) -> bool {
        matches!(self, Address::V4(_) | Address::V6(_))
    }

    /// The address as the `socket` module shows it, of a family that is known: `(host, port)`, `(host, port, flowinfo, scope_id)`, a path.
    pub fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Address::V4(address) => {
                (address.ip().to_string(), address.port()).into_bound_py_any(py)
            }
            Address::V6(address) => {
                let flow = u32::from_be(address.flowinfo());
                (text(address.ip()), address.port(), flow, address.scope_id()).into_bound_py_any(py)
            }
            Address::Other(address) => path(address, py),
        }
    }
}

/// The name of a Unix socket: a path, or bytes for one of the abstract namespace.
fn path<'py>(address: &SockAddr, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
    if let Some(name) = address.as_abstract_namespace() {
        let mut full = vec![0];
        full.extend_from_slice(name);
        return Ok(PyBytes::new(py, &full).into_any());
    }
    match address.as_pathname() {
        // As it was bound: a `pathlib.Path` would leave out the "./" of "./socket".
        Some(path) => path.as_os_str().into_bound_py_any(py),
        None => Ok(PyString::new(py, "").into_any()),
    }
}

/// The text of an IPv6 address as the system's `inet_ntop` writes it: `::1.2.3.4` where Rust has `::102:304`. The
/// interface of a link-local one is no part of it.
fn text(host: &Ipv6Addr) -> String {
    match host.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            format!("::{}", Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => host.to_string(),
    }
}
