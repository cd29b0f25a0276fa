//! What `asyncio.current_task()` answers.
//!
//! Any loop's task is entered before its step and left after it, as asyncio's own is. Between two tasks' steps on
//! ferrio's loop nothing in Python can look, so there the one only overwrites the other, and the loop calls
//! [`clear`] before it runs something that is no task.

use pyo3::prelude::*;

use super::task::Task;
use crate::event_loop::Loop;
use crate::ffi::Ref;
#[cfg(Py_3_14)]
use crate::ffi::call;
use crate::stdlib::stdlib;

/// Makes `task` the current one of ferrio's loop `event_loop`, whichever was.
#[inline]
pub fn enter(event_loop: Ref<'_, '_, Loop>, task: Ref<'_, '_, Task>) -> PyResult<()> {
    // Also if it was the last that ran: a fork, another loop in this thread, or a program can have changed the record.
    event_loop.has_current_task.set(true);
    set(event_loop.as_any(), task.as_any())
}

/// Ends the time in which one of `event_loop`'s tasks is the current one.
#[inline]
pub fn clear(event_loop: Ref<'_, '_, Loop>) -> PyResult<()> {
    if event_loop.has_current_task.replace(false) { unset(event_loop.as_any()) } else { Ok(()) }
}

#[cfg(not(Py_3_14))]
fn set(event_loop: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    tasks(event_loop.py()).set_item(event_loop, task)
}

#[cfg(not(Py_3_14))]
fn unset(event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    match tasks(py).del_item(event_loop) {
        // Who plays with the record may have left the task already.
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyKeyError>(py) => {
            crate::ffi::error::discard(error, py);
            Ok(())
        }
        outcome => outcome,
    }
}

#[cfg(not(Py_3_14))]
fn tasks(py: Python<'_>) -> &Bound<'_, pyo3::types::PyDict> {
    // SAFETY: `_asyncio._current_tasks` is a dictionary from that module's initialisation on.
    unsafe { stdlib(py).current_tasks.bind(py).cast_unchecked() }
}

#[cfg(Py_3_14)]
fn set(event_loop: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    swap(event_loop, task).map(drop)
}

#[cfg(Py_3_14)]
fn unset(event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    swap(event_loop, &super::none(event_loop.py())).map(drop)
}

/// Makes `task` (or none, for `None`) the current one and returns that which was.
///
/// Raises `RuntimeError` from 3.14 on when another loop than `event_loop` runs in this thread.
#[cfg(Py_3_12)]
pub fn swap<'py>(
    event_loop: &Bound<'py, PyAny>,
    task: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = task.py();
    stdlib(py).swap_current_task.call([event_loop, task], py)
}

/// The current task of `event_loop`, which runs in this thread.
#[cfg(not(Py_3_14))]
pub fn get<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    tasks(event_loop.py()).get_item(event_loop)
}

/// The current task of `event_loop`, which runs in this thread.
#[cfg(Py_3_14)]
pub fn get<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let current = stdlib(event_loop.py()).current_task.bind(event_loop.py());
    call::call1(current, event_loop).map(|task| Some(task).filter(|task| !task.is_none()))
}

/// Runs `body` while `task` is the current one of `event_loop`, any loop.
///
/// Raises `RuntimeError` when another task is.
pub fn during(
    event_loop: &Bound<'_, PyAny>,
    task: Ref<'_, '_, Task>,
    body: impl FnOnce() -> PyResult<()>,
) -> PyResult<()> {
    let py = task.py();
    let stdlib = stdlib(py);
    stdlib.enter_task.call([event_loop, task.as_any()], py)?;
    let outcome = body();
    let left = stdlib.leave_task.call([event_loop, task.as_any()], py).map(drop);
    crate::ffi::error::both(py, outcome, left)
}
