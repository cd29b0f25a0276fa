//! The synchronisation primitives: locks, events, conditions, semaphores, barriers, queues.
//!
//! Each does what asyncio's of the running interpreter does, in the same order. What is ready at once never suspends and
//! makes no future.
//!
//! - `lock.rs`, `event.rs`, `condition.rs`, `semaphore.rs`, `barrier.rs`: one primitive each, with its coroutines;
//! - `queue.rs`, `queue_wait.rs`, `queue_type.rs`: the three queues, their coroutines, what Python sees of them;
//! - `items.rs`: what a queue holds, in which order; `overrides.rs`: what a subclass in Python has made its own;
//! - `waiters.rs`, `deque.rs`: who waits, and the loop that a primitive belongs to;
//! - `context.rs`: `async with`; `attributes.rs`: what several of them show to Python.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::ffi::{Class, Owned, Slot, error};
use crate::stdlib::stdlib;

mod attributes;
mod barrier;
mod condition;
mod context;
mod deque;
mod event;
mod items;
mod lock;
mod number;
mod overrides;
mod queue;
mod queue_type;
mod queue_wait;
mod semaphore;
mod waiters;

/// Builds the classes and adds those that Python may call to `module`.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    context::define(py)?;
    lock::define(module)?;
    event::define(module)?;
    condition::define(module)?;
    semaphore::define(module)?;
    barrier::define(module)?;
    queue_wait::define(py)?;
    queue_type::define(module)?;
    module.add("QueueShutDown", stdlib(py).queue_shut_down.bind(py))
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

fn boolean(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}

/// What a coroutine keeps in `slot` while it runs.
#[inline]
fn kept<T: Class>(slot: &Slot, py: Python<'_>) -> PyResult<Owned<T>> {
    slot.get(py)
        .and_then(Owned::cast)
        .ok_or_else(|| PyRuntimeError::new_err("the coroutine has ended already"))
}

/// `error`, unless `cleanup`, which it caused, raises another.
fn after(cleanup: PyResult<()>, error: PyErr, py: Python<'_>) -> PyErr {
    match cleanup {
        Ok(()) => error,
        Err(second) => {
            error::discard(error, py);
            second
        }
    }
}

/// Whether `error` is a `CancelledError`.
fn is_cancellation(error: &PyErr, py: Python<'_>) -> bool {
    error.is_instance(py, stdlib(py).cancelled_error.bind(py))
}
