//! What the transports of sockets tell about themselves: `get_extra_info` and `repr`.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::endpoint::Endpoint;
use super::limits::FlowControl;
use super::stream::none;
use crate::ffi::{Args, Ref, Signature};

/// A transport that owns a socket.
pub trait SocketTransport: FlowControl {
    /// The socket.
    fn endpoint(&self) -> &Endpoint;
    /// Whether `close()` or its like was called.
    fn closing(&self) -> &Cell<bool>;
    /// Whether the loop watches the socket for something to read.
    fn is_polling(&self) -> bool;
}

pub(super) fn get_extra_info<'py, T: SocketTransport>(
    this: Ref<'_, 'py, T>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let [name, default] = args.parse(&Signature {
        name: "get_extra_info",
        parameters: ["name", "default"],
        positional: 2,
        required: 1,
    })?;
    let known = name.map_or(Ok(None), |name| this.endpoint().extra_info(&name))?;
    match known.or_else(|| default.map(|default| default.to_owned())) {
        Some(value) => Ok(value),
        None => none(this.py()),
    }
}

/// `<ferrio.StreamTransport fd=7 read=polling write=<idle, bufsize=0>>`, as asyncio's transports show themselves.
pub(super) fn repr<'py, T: SocketTransport>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    let mut text = format!("<{}", T::NAME.to_string_lossy());
    match this.endpoint().fd() {
        None => text.push_str(" closed"),
        Some(_) if this.closing().get() => text.push_str(" closing"),
        Some(_) => {}
    }
    text.push_str(&format!(" fd={}", this.endpoint().number()));
    if this.with_loop(|event_loop| Ok(!event_loop.is_closed()))? {
        text.push_str(if this.is_polling() { " read=polling" } else { " read=idle" });
        let waiting = this.buffer_size();
        let state = if waiting > 0 { "polling" } else { "idle" };
        text.push_str(&format!(" write=<{state}, bufsize={waiting}>"));
    }
    text.push('>');
    Ok(PyString::new(this.py(), &text).into_any())
}

pub(super) fn python_socket<'py, T: SocketTransport>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    match this.endpoint().fd() {
        Some(_) => this.endpoint().python_socket(this.py()),
        None => none(this.py()),
    }
}

pub(super) fn number<'py, T: SocketTransport>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.endpoint().number().into_pyobject(this.py())?.into_any())
}

pub(super) fn extra<'py, T: SocketTransport>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    this.endpoint().all_extra_info(this.py())
}

/// `get_extra_info` of the class.
macro_rules! info_methods {
    ($class:ty) => {
        [$crate::method!(
            $class,
            c"get_extra_info",
            $crate::transport::info::get_extra_info,
            c"get_extra_info($self, /, name, default=None)\n--\n\nReturn 'socket', 'sockname', 'peername' or the default."
        )]
    };
}
pub(super) use info_methods;

/// The attributes of asyncio's transports that hold the same.
macro_rules! info_attributes {
    ($class:ty) => {
        [
            $crate::attribute!($class, c"_sock", $crate::transport::info::python_socket),
            $crate::attribute!($class, c"_sock_fd", $crate::transport::info::number),
            $crate::attribute!($class, c"_extra", $crate::transport::info::extra),
        ]
    };
}
pub(super) use info_attributes;
