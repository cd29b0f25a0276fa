//! Listening sockets: what `asyncio.Server` calls to begin and to end.

use pyo3::ffi as capi;
use pyo3::prelude::*;

use super::readers::descriptor;
use super::sources::Source;
use super::{Loop, none};
use crate::ffi::{Args, Ref, Signature};
use crate::transport::listener::Listener;
use crate::{method, method1};

fn start_serving<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let [factory, socket, server, backlog, context] = args.parse(&Signature {
        name: "_listen",
        parameters: ["protocol_factory", "sock", "server", "backlog", "context"],
        positional: 5,
        required: 5,
    })?;
    let (Some(factory), Some(socket), Some(backlog)) = (factory, socket, backlog) else {
        return none(this);
    };
    let server = server.filter(|server| !server.is_none());
    let context = super::context_or_copy(this.py(), context)?;
    let fd = descriptor(&socket)?;
    let listener = Listener::create(
        this,
        &socket,
        fd,
        &factory,
        server.as_deref(),
        backlog.extract()?,
        context,
    )?;
    this.watch(this.py(), fd, Source::Listener(listener))?;
    none(this)
}

fn stop_serving<'py>(
    this: Ref<'_, 'py, Loop>,
    socket: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let fd = descriptor(socket)?;
    if let Some(Source::Listener(listener)) = this.sources.borrow().get(fd as usize) {
        listener.get(this.py()).close();
    }
    this.unwatch(fd);
    socket.call_method0("close")?;
    none(this)
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            Loop,
            c"_listen",
            start_serving,
            c"_listen($self, /, protocol_factory, sock, server, backlog, context)\n--\n\nAccept connections from now on."
        ),
        method1!(Loop, c"_stop_serving", stop_serving, c"Accept no more and close the socket."),
    ]
}
