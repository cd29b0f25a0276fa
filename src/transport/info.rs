//! What a stream transport tells about itself: `get_extra_info` and `repr`.

use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use super::address::Address;
use super::stream::{StreamTransport, none};
use crate::ffi::{Args, Ref, Signature};
use crate::{attribute, method};

impl StreamTransport {
    /// The Python socket, made when it is first asked for; a closed one when the connection is closed by then.
    fn python_socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
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
}

fn get_extra_info<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [name, default] = args.parse(&Signature {
        name: "get_extra_info",
        parameters: ["name", "default"],
        positional: 2,
        required: 1,
    })?;
    let default = || default.map_or_else(|| none(py), |default| Ok(default.to_owned()));
    let Some(name) = name else { return default() };
    if let Some(extra) = this.extra.get(py)
        && let Ok(extra) = extra.cast_into::<PyDict>()
        && let Some(value) = extra.get_item(name)?
    {
        return Ok(value);
    }
    let Ok(text) = name.cast::<PyString>() else {
        name.hash()?; // asyncio looks it up in a dictionary.
        return default();
    };
    let address = |address: &Option<Address>| match address {
        Some(address) => address.to_python(py),
        None => none(py),
    };
    match text.to_cow()?.as_ref() {
        "socket" => this.transport_socket(py),
        "sockname" => address(&this.local.borrow().clone()),
        "peername" => address(&this.peer.borrow().clone()),
        _ => default(),
    }
}

/// `<ferrio.StreamTransport fd=7 read=polling write=<idle, bufsize=0>>`, as asyncio's transports show themselves.
pub(super) fn repr<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let mut text = String::from("<ferrio.StreamTransport");
    match this.fd() {
        None => text.push_str(" closed"),
        Some(_) if this.closing.get() => text.push_str(" closing"),
        Some(_) => {}
    }
    text.push_str(&format!(" fd={}", this.number.get()));
    if this.with_loop(this.py(), |event_loop| Ok(!event_loop.is_closed()))? {
        let reading = this.started.get() && this.reads() && !this.ended.get();
        text.push_str(if reading { " read=polling" } else { " read=idle" });
        let waiting = this.outgoing.borrow().len();
        let state = if waiting > 0 { "polling" } else { "idle" };
        text.push_str(&format!(" write=<{state}, bufsize={waiting}>"));
    }
    text.push('>');
    Ok(PyString::new(this.py(), &text).into_any())
}

fn python_socket<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    match this.fd() {
        Some(_) => this.python_socket(this.py()),
        None => none(this.py()),
    }
}

fn number<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.number.get().into_pyobject(this.py())?.into_any())
}

fn extra<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.extra.is_empty() {
        this.extra.set(PyDict::new(py).into_any());
    }
    for name in [intern!(py, "socket"), intern!(py, "sockname"), intern!(py, "peername")] {
        let value = this.as_any().call_method1(intern!(py, "get_extra_info"), (name,))?;
        this.extra.get_or_none(py).set_item(name, value)?;
    }
    Ok(this.extra.get_or_none(py))
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![method!(
        StreamTransport,
        c"get_extra_info",
        get_extra_info,
        c"get_extra_info(name, default=None)\n\nReturn 'socket', 'sockname', 'peername' or the default."
    )]
}

pub(super) fn attributes() -> Vec<capi::PyGetSetDef> {
    vec![
        attribute!(StreamTransport, c"_sock", python_socket),
        attribute!(StreamTransport, c"_sock_fd", number),
        attribute!(StreamTransport, c"_extra", extra),
    ]
}
