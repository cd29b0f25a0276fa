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
    /// The Python socket, made when it is first asked for; `None` once the connection is closed.
    fn python_socket<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(socket) = self.socket.get(py) {
            return Ok(Some(socket));
        }
        let Some(fd) = self.fd() else { return Ok(None) };
        let keywords = PyDict::new(py);
        keywords.set_item("fileno", fd)?;
        let socket = py.import("socket")?.getattr("socket")?.call((), Some(&keywords))?;
        socket.call_method1("setblocking", (false,))?;
        self.socket.set(socket.clone());
        Ok(Some(socket))
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
    let Ok(text) = name.cast::<PyString>() else { return default() };
    let address = |address: &Option<Address>| match address {
        Some(address) => address.to_python(py),
        None => none(py),
    };
    match text.to_cow()?.as_ref() {
        "socket" => match transport_socket(&this)? {
            Some(socket) => Ok(socket),
            None => default(),
        },
        "sockname" => address(&this.local.borrow().clone()),
        "peername" => address(&this.peer.borrow().clone()),
        _ => default(),
    }
}

/// The socket as `asyncio.trsock.TransportSocket` shows it.
fn transport_socket<'py>(
    this: &Ref<'_, 'py, StreamTransport>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = this.py();
    let Some(socket) = this.python_socket(py)? else { return Ok(None) };
    let class = CLASS.import(py, "asyncio.trsock", "TransportSocket")?;
    class.call1((socket,)).map(Some)
}

/// `<ferrio.StreamTransport fd=7 read=polling write=<idle, bufsize=0>>`, as asyncio's transports show themselves.
pub(super) fn repr<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let mut text = String::from("<ferrio.StreamTransport");
    match this.fd() {
        None => text.push_str(" closed"),
        Some(_) if this.closing.get() => text.push_str(" closing"),
        Some(_) => {}
    }
    text.push_str(&format!(" fd={}", this.fileno()));
    if this.fd().is_some() && !this.event_loop.is_empty() {
        let reading = !this.closing.get() && !this.paused.get() && !this.ended.get();
        text.push_str(if reading { " read=polling" } else { " read=idle" });
        let waiting = this.outgoing.borrow().len();
        let state = if waiting > 0 { "polling" } else { "idle" };
        text.push_str(&format!(" write=<{state}, bufsize={waiting}>"));
    }
    text.push('>');
    Ok(PyString::new(this.py(), &text).into_any())
}

fn python_socket<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.python_socket(this.py())?.map_or_else(|| none(this.py()), Ok)
}

fn fileno<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.fileno().into_pyobject(this.py())?.into_any())
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
        attribute!(StreamTransport, c"_sock_fd", fileno),
        attribute!(StreamTransport, c"_extra", extra),
    ]
}
