//! A connection that a server accepted: `client_connected_cb` and its task.

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::protocol::StreamReaderProtocol;
use super::writer::StreamWriter;
use super::{face, none};
use crate::ffi::{Args, Ref, call, error};
use crate::stdlib::stdlib;

impl<'py> Ref<'_, 'py, StreamReaderProtocol> {
    /// Tells the loop's exception handler.
    pub(super) fn report(
        self,
        message: &str,
        details: &[(&str, Bound<'py, PyAny>)],
    ) -> PyResult<()> {
        let py = self.py();
        let context = PyDict::new(py);
        context.set_item("message", message)?;
        for (name, value) in details {
            context.set_item(name, value)?;
        }
        let event_loop = self.event_loop.get_or_none(py);
        event_loop.call_method1(intern!(py, "call_exception_handler"), (context,)).map(drop)
    }

    /// Calls `client_connected_cb` with a reader and a writer; a coroutine that it returns becomes a task.
    pub(super) fn accept(
        self,
        transport: &Bound<'py, PyAny>,
        reader: Option<Bound<'py, PyAny>>,
        client_connected: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = self.py();
        let event_loop = self.event_loop.get_or_none(py);
        let reader = reader.unwrap_or_else(|| none(py));
        let arguments = (transport, self.as_any(), &reader, &event_loop);
        let writer = face::<StreamWriter>(py).call1(arguments)?;
        if cfg!(not(Py_3_13)) {
            self.writer.set(writer.clone());
        }
        let result = match call::call2(client_connected, &reader, &writer) {
            // Before, it is an error of the callback `connection_made`.
            Err(error) if cfg!(Py_3_14) && error.is_instance_of::<PyException>(py) => {
                let exception = error::into_exception(error, py);
                self.report_client(transport, exception)?;
                return Ok(());
            }
            outcome => outcome?,
        };
        if call::call1(stdlib(py).iscoroutine.bind(py), &result)?.is_truthy()? {
            let task = event_loop.call_method1(intern!(py, "create_task"), (result,))?;
            self.task.set(task.clone());
            let done = self.as_any().getattr(intern!(py, "_client_done"))?;
            let done = py.import("functools")?.getattr("partial")?.call1((done, transport))?;
            task.call_method1(intern!(py, "add_done_callback"), (done,))?;
        }
        Ok(())
    }

    /// Tells of an exception of `client_connected_cb`, and closes the connection.
    fn report_client(
        self,
        transport: &Bound<'py, PyAny>,
        exception: Bound<'py, PyAny>,
    ) -> PyResult<()> {
        self.report(
            "Unhandled exception in client_connected_cb",
            &[("exception", exception), ("transport", transport.clone())],
        )?;
        transport.call_method0(intern!(self.py(), "close")).map(drop)
    }
}

/// The task of `client_connected_cb` is done.
pub(super) fn client_done<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let (Some(transport), Some(task)) = (args.get(0), args.get(1)) else { return Ok(none(py)) };
    if task.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        transport.call_method0(intern!(py, "close"))?;
        return Ok(none(py));
    }
    let exception = task.call_method0(intern!(py, "exception"))?;
    if !exception.is_none() {
        this.report_client(&transport, exception)?;
    }
    Ok(none(py))
}
