//! Who waits at a primitive: futures in a line, first come first.
//!
//! Most are ferrio's own. On another loop than ferrio's they are what its `create_future()` makes, and are asked by
//! their methods.

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;

use super::deque::Deque;
use crate::event_loop::Loop;
use crate::ffi::call::Sent;
use crate::ffi::{Class, Ref, Slot, call};
use crate::stdlib::stdlib;
use crate::task::coroutine::{Body, Coroutine};
use crate::task::future::Future;
use crate::task::schedule::create_future;

/// A primitive at which tasks wait.
pub trait Bindable: Class {
    /// The loop it belongs to; empty until somebody waits.
    fn event_loop(&self) -> &Slot;
}

/// A primitive with one line of waiters.
pub trait Waitable: Bindable {
    /// The futures of those who wait.
    fn waiters(&self) -> &Deque;
}

/// The running loop, to which the primitive belongs from now on.
///
/// Raises `RuntimeError` when it belongs to another.
pub fn running_loop<'py, T: Bindable>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let bound = this.fields().event_loop();
    // The common case, found out without asking asyncio. (Whoever runs another loop inside of this one is refused by
    // the task that gets this one's future.)
    if let Some(event_loop) = bound.get(py)
        && Ref::<Loop>::cast(&event_loop).is_some_and(|native| native.runs_here())
    {
        return Ok(event_loop);
    }
    let running = call::call0(stdlib(py).get_running_loop_or_none.bind(py))?;
    if bound.as_ptr() == running.as_ptr() {
        return Ok(running);
    }
    if !bound.is_empty() {
        return Err(elsewhere(this.as_any()));
    }
    if !running.is_none() {
        bound.set(running.clone());
    }
    Ok(running)
}

#[cold]
fn elsewhere(primitive: &Bound<'_, PyAny>) -> PyErr {
    match primitive.repr() {
        Ok(repr) => PyRuntimeError::new_err(format!("{repr} is bound to a different event loop")),
        Err(error) => error,
    }
}

/// A new future of the running loop. Raises as [`running_loop`] and what another loop's `create_future()` raises.
#[inline]
pub fn create_waiter<'py, T: Bindable>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    create_future(&running_loop(this)?)
}

/// Lets `coroutine` wait in the `line` of `primitive`, by a future that `waiter` keeps.
#[inline]
pub fn wait_in_line<'py, T: Bindable, B: Body>(
    coroutine: Ref<'_, 'py, Coroutine<B>>,
    primitive: Ref<'_, 'py, T>,
    line: &Deque,
    waiter: &Slot,
) -> PyResult<Sent<'py>> {
    let future = create_waiter(primitive)?;
    line.push(future.clone())?;
    waiter.set(future.clone());
    coroutine.begin(&future)
}

/// `waiter.done()`
#[inline]
pub fn is_done(waiter: &Bound<'_, PyAny>) -> PyResult<bool> {
    match Ref::<Future>::cast_exact(waiter) {
        Some(future) => Ok(future.done()),
        None => waiter.call_method0(intern!(waiter.py(), "done"))?.is_truthy(),
    }
}

/// `waiter.cancelled()`
#[inline]
pub fn is_cancelled(waiter: &Bound<'_, PyAny>) -> PyResult<bool> {
    match Ref::<Future>::cast_exact(waiter) {
        Some(future) => Ok(future.is_cancelled()),
        None => waiter.call_method0(intern!(waiter.py(), "cancelled"))?.is_truthy(),
    }
}

/// `waiter.cancel()`
pub fn cancel(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    match Ref::<Future>::cast_exact(waiter) {
        Some(future) => future.cancel(None).map(drop),
        None => waiter.call_method0(intern!(waiter.py(), "cancel")).map(drop),
    }
}

/// Ends the wait with `result`, unless it has ended already. Returns whether this did it.
#[inline]
pub fn wake<'py>(waiter: &Bound<'py, PyAny>, result: Bound<'py, PyAny>) -> PyResult<bool> {
    if is_done(waiter)? {
        return Ok(false);
    }
    match Ref::<Future>::cast_exact(waiter) {
        Some(future) => future.set_result(result)?,
        None => drop(waiter.call_method1(intern!(waiter.py(), "set_result"), (result,))?),
    }
    Ok(true)
}

/// Wakes up to `count` of those in `line` that are not woken already, first come first, and leaves them in line.
/// Returns how many there were.
#[inline]
pub fn wake_some(line: &Deque, count: usize, result: &Bound<'_, PyAny>) -> PyResult<usize> {
    let (mut woken, mut index) = (0, 0);
    while woken < count {
        let Some(waiter) = line.get(result.py(), index)? else { break };
        woken += usize::from(wake(&waiter, result.clone())?);
        index += 1;
    }
    Ok(woken)
}

/// Wakes the first in `line` that is not woken already, and takes out all up to that one.
#[inline]
pub fn wake_next(line: &Deque, py: Python<'_>) -> PyResult<()> {
    while !line.is_empty(py)? {
        let Some(waiter) = line.pop_first(py)? else { break };
        if wake(&waiter, super::none(py))? {
            break;
        }
    }
    Ok(())
}

/// Whether somebody in `line` still waits for a turn, or has been given one.
#[inline]
pub fn any_alive(line: &Deque, py: Python<'_>) -> PyResult<bool> {
    let mut index = 0;
    while let Some(waiter) = line.get(py, index)? {
        if !is_cancelled(&waiter)? {
            return Ok(true);
        }
        index += 1;
    }
    Ok(false)
}
