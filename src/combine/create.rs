//! `create_task`, `ensure_future`.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::ended::loop_of;
use super::running_loop;
use crate::event_loop::overrides::direct;
use crate::ffi::{Args, Ref, Signature, error};
use crate::stdlib::stdlib;
use crate::task::future::cast_exact;
use crate::task::{Task, is_plain_coroutine, start};

const CREATE: Signature<3> = Signature {
    name: "create_task",
    parameters: ["coro", "name", "context"],
    positional: 1,
    required: 1,
};

/// `create_task(coro, *, name=None, context=None)`, from 3.14 on with what else the loop's method takes.
///
/// Raises `RuntimeError` when no loop runs, and what the loop's `create_task` raises.
pub fn create_task<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = args.py();
    if !(cfg!(Py_3_14) && has_more(args)?) {
        let [coro, name, context] = args.parse(&CREATE)?;
        let event_loop = running_loop(py)?;
        if let Some(event_loop) = direct(&event_loop)?.filter(|event_loop| event_loop.makes_tasks())
            && let Some(coro) = coro
        {
            let given = |arg: Option<pyo3::Borrowed<'_, 'py, PyAny>>| {
                arg.filter(|arg| !arg.is_none()).map(|arg| arg.to_owned())
            };
            let task = start(event_loop, coro.to_owned(), given(name), given(context))?;
            return Ok(task.into_any(py));
        }
    }
    let (positional, keywords) = args.to_tuple_and_dict()?;
    stdlib(py).create_task.bind(py).call(positional, Some(&keywords))
}

/// Whether a keyword is given that [`CREATE`] doesn't know.
fn has_more(args: &Args<'_, '_>) -> PyResult<bool> {
    let mut more = false;
    args.each_keyword(|name, _| {
        more |= !CREATE.parameters.contains(&name);
        Ok(())
    })?;
    Ok(more)
}

/// `ensure_future(coro_or_future, *, loop=None)`
pub fn ensure_future_function<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const ENSURE: Signature<2> = Signature {
        name: "ensure_future",
        parameters: ["coro_or_future", "loop"],
        positional: 1,
        required: 1,
    };
    let [awaitable, event_loop] = args.parse(&ENSURE)?;
    let awaitable = awaitable.map_or_else(|| super::none(args.py()), |given| given.to_owned());
    let event_loop = event_loop.filter(|event_loop| !event_loop.is_none());
    ensure_future(&awaitable, event_loop.map(|event_loop| event_loop.to_owned()).as_ref())
}

/// `awaitable` as a future: itself, or a new task of `event_loop`, without one of the running loop.
///
/// Raises `TypeError` for what can't be awaited, `ValueError` for a future of another loop, and what `create_task` raises.
pub fn ensure_future<'py>(
    awaitable: &Bound<'py, PyAny>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = awaitable.py();
    if let Some(future) = cast_exact(awaitable) {
        return match event_loop {
            Some(event_loop) if event_loop.as_ptr() != future.loop_ptr() => Err(different_loop()),
            _ => Ok(awaitable.clone()),
        };
    }
    if is_plain_coroutine(awaitable) {
        let running = match event_loop {
            Some(_) => None,
            // Without one asyncio's own function says what it thinks.
            None => error::ok(running_loop(py), py),
        };
        if let Some(event_loop) = event_loop.or(running.as_ref())
            && let Some(event_loop) = direct(event_loop)?
            && event_loop.makes_tasks()
        {
            return Ok(start(event_loop, awaitable.clone(), None, None)?.into_any(py));
        }
    }
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "loop"), event_loop)?;
    stdlib(py).ensure_future.bind(py).call((awaitable,), Some(&keywords))
}

/// A child of `gather`: as [`ensure_future`], but a task that is made for it may be destroyed without a warning.
pub fn ensure_child<'py>(
    awaitable: &Bound<'py, PyAny>,
    event_loop: &mut Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let future = ensure_future(awaitable, event_loop.as_ref())?;
    if event_loop.is_none() {
        *event_loop = Some(loop_of(&future)?);
    }
    if !future.is(awaitable) {
        match Ref::<Task>::cast_exact(&future) {
            Some(task) => task.allow_destruction(),
            None => future.setattr(intern!(future.py(), "_log_destroy_pending"), false)?,
        }
    }
    Ok(future)
}

#[cold]
fn different_loop() -> PyErr {
    PyValueError::new_err(
        "The future belongs to a different loop than the one specified as the loop argument",
    )
}
