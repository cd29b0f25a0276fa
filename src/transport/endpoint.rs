//! A transport's socket, and what the transport knows of it.

use std::cell::{Cell, RefCell};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use super::address::Address;
use crate::event_loop::sockets::is_plain;
use crate::ffi::{Slot, error};

/// The socket that a transport owns.
#[derive(Default)]
pub struct Endpoint {
    /// The Python socket, once somebody gave or asked for it; it owns the descriptor then.
    socket: Slot,
    /// What `get_extra_info('socket')` returned, and returns from then on.
    shown_socket: Slot,
    /// `get_extra_info`'s answers that the transport doesn't know by itself.
    extra: Slot,
    /// The descriptor while it is open.
    fd: Cell<Option<RawFd>>,
    /// The number that the descriptor has or had, for `repr`.
    number: Cell<RawFd>,
    local: RefCell<Option<Address>>,
    peer: RefCell<Option<Address>>,
}

impl Endpoint {
    /// Takes over a connected socket and what is known of its peer.
    pub fn take(&self, socket: OwnedFd, peer: Option<Address>) {
        self.open(socket.into_raw_fd(), peer);
    }

    /// Takes over `socket`, a Python socket whose descriptor is `fd`, and what its maker knows of it.
    ///
    /// Raises what the methods of a subclass of `socket.socket` do.
    pub fn adopt(
        &self,
        socket: &Bound<'_, PyAny>,
        fd: RawFd,
        extra: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.socket.set(socket.clone());
        self.extra.set_opt(extra, socket.py());
        self.open(fd, Address::of_peer(fd));
        let is_known = self.local.borrow().as_ref().is_none_or(Address::is_known);
        if is_known && is_plain(socket)? { Ok(()) } else { self.ask(socket) }
    }

    /// Asks the Python socket for its names: it knows all families, and a subclass may know better.
    fn ask(&self, socket: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = socket.py();
        let known = PyDict::new(py);
        if let Some(extra) = self.extra.get(py) {
            known.update(extra.cast()?)?;
        }
        for (name, method) in [("sockname", "getsockname"), ("peername", "getpeername")] {
            if name == "sockname" || !known.contains(name)? {
                let answer = match socket.call_method0(method) {
                    Err(error) if error.is_instance_of::<PyOSError>(py) => {
                        error::discard(error, py);
                        py.None().into_bound(py)
                    }
                    answer => answer?,
                };
                known.set_item(name, answer)?;
            }
        }
        self.extra.set(known.into_any());
        Ok(())
    }

    fn open(&self, fd: RawFd, peer: Option<Address>) {
        self.fd.set(Some(fd));
        self.number.set(fd);
        self.local.replace(Address::of_socket(fd));
        self.peer.replace(peer);
    }

    /// The descriptor while it is open.
    #[inline]
    pub fn fd(&self) -> Option<RawFd> {
        self.fd.get()
    }

    /// The number that the descriptor has or had.
    pub fn number(&self) -> RawFd {
        self.number.get()
    }

    /// The socket's own address; `None` when the system doesn't tell.
    pub fn local(&self) -> Option<Address> {
        self.local.borrow().clone()
    }

    /// The peer's address; `None` when the socket is not connected.
    pub fn peer(&self) -> Option<Address> {
        self.peer.borrow().clone()
    }

    /// The fields for the garbage collector.
    pub fn slots(&self) -> [&Slot; 3] {
        [&self.socket, &self.shown_socket, &self.extra]
    }

    /// The Python socket, made when it is first asked for; a closed one when the connection is closed by then.
    pub fn python_socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(socket) = self.socket.get(py) {
            return Ok(socket);
        }
        let class = py.import("socket")?.getattr("socket")?;
        let Some(fd) = self.fd() else {
            let family = self.local.borrow().as_ref().map_or(libc::AF_INET, Address::family);
            let socket = class.call1((family,))?;
            socket.call_method0("close")?;
            self.socket.set(socket.clone());
            return Ok(socket);
        };
        let keywords = PyDict::new(py);
        keywords.set_item("fileno", fd)?;
        let socket = class.call((), Some(&keywords))?;
        // From now on it owns the descriptor, also when the next line fails.
        self.socket.set(socket.clone());
        socket.call_method1("setblocking", (false,))?;
        Ok(socket)
    }

    /// The socket as `asyncio.trsock.TransportSocket` shows it, always the same object.
    fn transport_socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if let Some(shown) = self.shown_socket.get(py) {
            return Ok(shown);
        }
        let class = CLASS.import(py, "asyncio.trsock", "TransportSocket")?;
        let shown = class.call1((self.python_socket(py)?,))?;
        self.shown_socket.set(shown.clone());
        Ok(shown)
    }

    /// What is known under this name, if anything.
    ///
    /// Raises `TypeError` for a name that has no hash.
    pub fn extra_info<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = name.py();
        if let Some(extra) = self.extra.get(py)
            && let Ok(extra) = extra.cast_into::<PyDict>()
            && let Some(value) = lookup(&extra, name)?
        {
            return Ok(Some(value));
        }
        let Ok(text) = name.cast::<PyString>() else {
            lookup(&PyDict::new(py), name)?; // asyncio looks it up in a dictionary.
            return Ok(None);
        };
        let address = |address: Option<Address>| match address {
            Some(address) => address.to_python(py),
            None => Ok(py.None().into_bound(py)),
        };
        match text.to_cow()?.as_ref() {
            "socket" => self.transport_socket(py).map(Some),
            "sockname" => address(self.local()).map(Some),
            "peername" => address(self.peer()).map(Some),
            _ => Ok(None),
        }
    }

    /// All that is known: asyncio's `_extra`.
    pub fn all_extra_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.extra.is_empty() {
            self.extra.set(PyDict::new(py).into_any());
        }
        let all = self.extra.get_or_none(py);
        for name in [intern!(py, "socket"), intern!(py, "sockname"), intern!(py, "peername")] {
            all.set_item(name, self.extra_info(name)?)?;
        }
        Ok(all)
    }

    /// Closes the socket, whoever owns its descriptor.
    pub fn close(&self, py: Python<'_>) {
        let Some(fd) = self.fd.take() else { return };
        match self.socket.get(py) {
            Some(socket) => {
                if let Err(error) = socket.call_method0(intern!(py, "close")) {
                    error.write_unraisable(py, Some(&socket));
                }
            }
            // SAFETY: the endpoint owns the descriptor, and forgot it the line before.
            None => drop(unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }

    /// Gives the descriptor up, which is somebody else's by now. Returns whether there was one.
    pub fn forsake(&self, py: Python<'_>) -> PyResult<bool> {
        if self.fd.take().is_none() {
            return Ok(false);
        }
        if let Some(socket) = self.socket.take(py) {
            socket.call_method0(intern!(py, "detach"))?;
        }
        Ok(true)
    }
}

/// `dict[name]`, if it is there. Raises `TypeError` in the words of `dict.get`, which differ from version to version.
fn lookup<'py>(
    dict: &Bound<'py, PyDict>,
    name: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let found = dict.call_method1(intern!(dict.py(), "get"), (name, dict))?;
    Ok(if found.is(dict) { None } else { Some(found) })
}
