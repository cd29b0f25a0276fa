//! How a future of any kind ended.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::Ref;
use crate::task::Task;
use crate::task::future::{Future, cast_exact};
use crate::task::task::cancel_awaited;

/// How a future ended.
pub enum Ended<'py> {
    /// With this result.
    Result(Bound<'py, PyAny>),
    /// With this exception, which counts as retrieved.
    Exception(Bound<'py, PyAny>),
    /// By cancellation.
    Cancelled,
}

/// How `future`, which is done, ended. Raises what a future of another kind raises.
pub fn how<'py>(future: &Bound<'py, PyAny>) -> PyResult<Ended<'py>> {
    let py = future.py();
    if let Some(future) = cast_exact(future) {
        if future.is_cancelled() {
            return Ok(Ended::Cancelled);
        }
        if let Some(exception) = future.retrieve_exception(py) {
            return Ok(Ended::Exception(exception));
        }
        return future.result().map(Ended::Result);
    }
    if future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        return Ok(Ended::Cancelled);
    }
    let exception = future.call_method0(intern!(py, "exception"))?;
    if !exception.is_none() {
        return Ok(Ended::Exception(exception));
    }
    future.call_method0(intern!(py, "result")).map(Ended::Result)
}

/// `future.done()`
#[inline]
pub fn is_done(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    match cast_exact(future) {
        Some(future) => Ok(future.done()),
        None => future.call_method0(intern!(future.py(), "done"))?.is_truthy(),
    }
}

/// Counts the exception of `future`, which is done, as retrieved.
pub fn mark_retrieved(future: &Bound<'_, PyAny>) -> PyResult<()> {
    match cast_exact(future) {
        Some(future) => {
            future.mark_retrieved();
            Ok(())
        }
        None => how(future).map(drop),
    }
}

/// `future._make_cancelled_error()`
pub fn cancelled_error<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match cast_exact(future) {
        Some(future) => future.make_cancelled_error(),
        None => future.call_method0(intern!(future.py(), "_make_cancelled_error")),
    }
}

/// `future.cancel(msg=message)`, or without a message `future.cancel()`
pub fn cancel<'py>(
    future: &Bound<'py, PyAny>,
    message: Option<&Bound<'py, PyAny>>,
) -> PyResult<bool> {
    let py = future.py();
    if Ref::<Future>::cast_exact(future).is_some() || Ref::<Task>::cast_exact(future).is_some() {
        return cancel_awaited(future, message.map_or_else(|| super::none(py), Bound::clone));
    }
    let keywords = PyDict::new(py);
    if let Some(message) = message {
        keywords.set_item(intern!(py, "msg"), message)?;
    }
    future.call_method(intern!(py, "cancel"), (), Some(&keywords))?.is_truthy()
}

/// The loop of `future`: `asyncio.futures._get_loop(future)`.
pub fn loop_of<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    if let Some(future) = cast_exact(future) {
        return Ok(future.get_loop(py));
    }
    match future.getattr_opt(intern!(py, "get_loop"))? {
        Some(get_loop) => get_loop.call0(),
        None => future.getattr(intern!(py, "_loop")),
    }
}

/// Tells the call graph that `waiter` awaits `future`.
#[cfg(Py_3_14)]
pub fn add_to_awaited_by(future: &Bound<'_, PyAny>, waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    crate::stdlib::stdlib(py).add_to_awaited_by.call([future, waiter], py).map(drop)
}

/// Tells the call graph that `waiter` awaits `future` no more.
#[cfg(Py_3_14)]
pub fn discard_from_awaited_by(
    future: &Bound<'_, PyAny>,
    waiter: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = future.py();
    crate::stdlib::stdlib(py).discard_from_awaited_by.call([future, waiter], py).map(drop)
}

/// Before 3.14 there is no call graph.
#[cfg(not(Py_3_14))]
#[inline]
pub fn add_to_awaited_by(_: &Bound<'_, PyAny>, _: &Bound<'_, PyAny>) -> PyResult<()> {
    Ok(())
}

/// Before 3.14 there is no call graph.
#[cfg(not(Py_3_14))]
#[inline]
pub fn discard_from_awaited_by(_: &Bound<'_, PyAny>, _: &Bound<'_, PyAny>) -> PyResult<()> {
    Ok(())
}
