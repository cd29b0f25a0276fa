//! The connections that a server knows of: to close them, and to wait for their end.
//!
//! They stand in `asyncio.Server`'s own list, a `weakref.WeakSet` from Python 3.13 on and a mere count before. To call
//! its `_attach` and `_detach` is to run six functions in Python for each connection, so what they do to the set inside of
//! the list is done here where list and server are asyncio's own; any other server is called.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PySet, PyString, PyType, PyWeakrefReference};

/// Adds `transport` to the connections of `server`.
///
/// Raises `AssertionError` if the server is closed.
pub fn attach(server: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = server.py();
    match Clients::of(server)? {
        Some(clients) if !is_closed(server)? => {
            let forget = clients.list.getattr(intern!(py, "_remove"))?;
            clients.references.add(PyWeakrefReference::new_with(transport, forget)?)
        }
        _ => tell(server, intern!(py, "_attach"), transport),
    }
}

/// Takes `transport` out of the connections of `server`, and wakes who waits for the last one's end.
///
/// Raises what the loop's `call_soon` raises.
pub fn detach(server: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = server.py();
    let Some(clients) = Clients::of(server)? else {
        return tell(server, intern!(py, "_detach"), transport);
    };
    clients.references.discard(PyWeakrefReference::new(transport)?)?;
    if clients.references.is_empty() && is_closed(server)? {
        server.call_method0(intern!(py, "_wakeup"))?;
    }
    Ok(())
}

/// A server's list, looked into.
struct Clients<'py> {
    list: Bound<'py, PyAny>,
    references: Bound<'py, PySet>,
}

impl<'py> Clients<'py> {
    /// The list of `server`, unless there is more to it than a set: the server or its list is of another class, or somebody
    /// iterates over it and removals are pending.
    fn of(server: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        static SERVER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static WEAK_SET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = server.py();
        if cfg!(not(Py_3_13))
            || !server.get_type().is(SERVER.import(py, "asyncio.base_events", "Server")?)
        {
            return Ok(None);
        }
        let list = server.getattr(intern!(py, "_clients"))?;
        if !list.get_type().is(WEAK_SET.import(py, "weakref", "WeakSet")?) {
            return Ok(None);
        }
        if cfg!(not(Py_3_14)) {
            let pending = list.getattr(intern!(py, "_pending_removals"))?;
            if !pending.cast::<PyList>().is_ok_and(|pending| pending.is_empty()) {
                return Ok(None);
            }
        }
        let references = list.getattr(intern!(py, "data"))?.cast_into()?;
        Ok(Some(Clients { list, references }))
    }
}

/// Whether a server of asyncio's own class is closed.
fn is_closed(server: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(server.getattr(intern!(server.py(), "_sockets"))?.is_none())
}

/// Calls `server._attach` or `server._detach`, with the transport where this asyncio's servers keep their clients.
fn tell(
    server: &Bound<'_, PyAny>,
    method: &Bound<'_, PyString>,
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if cfg!(Py_3_13) {
        server.call_method1(method, (transport,)).map(drop)
    } else {
        server.call_method0(method).map(drop)
    }
}
