//! Connected sockets that become transports.

use pyo3::ffi as capi;
use pyo3::prelude::*;

use super::readers::descriptor;
use super::{Loop, none};
use crate::ffi::{Args, Ref, Signature};
use crate::method;
use crate::transport::datagram::DatagramTransport;
use crate::transport::stream::StreamTransport;
use crate::transport::tls;

/// A stream transport for a connected Python socket, which the transport owns from now on.
fn make_socket_transport<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [socket, protocol, waiter, extra, server, context] = args.parse(&Signature {
        name: "_make_socket_transport",
        parameters: ["sock", "protocol", "waiter", "extra", "server", "context"],
        positional: 3,
        required: 2,
    })?;
    let (Some(socket), Some(protocol)) = (socket, protocol) else { return none(this) };
    let given = |value: Option<pyo3::Borrowed<'_, 'py, PyAny>>| {
        value.filter(|value| !value.is_none()).map(|value| value.to_owned())
    };
    let fd = descriptor(&socket)?;
    this.as_any().call_method1("_ensure_fd_no_transport", (socket,))?;
    let context = super::context_or_copy(py, context)?;
    let transport = StreamTransport::create(this, &protocol, context)?;
    let stream = transport.get(py);
    stream.adopt(&socket, fd, given(extra))?;
    StreamTransport::belongs_to(stream, given(server).as_ref(), given(waiter).as_ref())?;
    StreamTransport::start(stream)?;
    Ok(transport.into_any(py))
}

/// A transport for a Python socket of datagrams, which the transport owns from now on.
fn make_datagram_transport<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let [socket, protocol, options @ ..] = args.parse(&Signature {
        name: "_make_datagram_transport",
        parameters: ["sock", "protocol", "address", "waiter", "extra"],
        positional: 5,
        required: 2,
    })?;
    let (Some(socket), Some(protocol)) = (socket, protocol) else { return none(this) };
    let options: [_; 3] = options
        .map(|option| option.filter(|option| !option.is_none()).map(|option| option.to_owned()));
    let fd = descriptor(&socket)?;
    this.as_any().call_method1("_ensure_fd_no_transport", (socket,))?;
    let transport = DatagramTransport::create(this, &socket, fd, &protocol, options)?;
    Ok(transport.into_any(this.py()))
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            Loop,
            c"_make_tls",
            tls::make,
            c"Return a new encrypted transport, the protocol for the transport below it."
        ),
        method!(
            Loop,
            c"_make_socket_transport",
            make_socket_transport,
            c"_make_socket_transport($self, /, sock, protocol, waiter=None, *, extra=None, server=None, context=None)\n--\n\nReturn a new stream transport."
        ),
        method!(
            Loop,
            c"_make_datagram_transport",
            make_datagram_transport,
            c"_make_datagram_transport($self, /, sock, protocol, address=None, waiter=None, extra=None)\n--\n\nReturn a new datagram transport."
        ),
    ]
}
