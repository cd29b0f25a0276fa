//! Futures and tasks.
//!
//! [`Future`] and [`Task`] derive from the interpreter's own `_asyncio.Future` and `_asyncio.Task`, so that
//! `isinstance` holds; every method is ours, and the base's part of an instance stays empty.
//!
//! - `future.rs`, `callbacks.rs`: the state machine that both are, and who waits for its end;
//! - `future_type.rs`, `task.rs`, `task_type.rs`: the classes that Python sees;
//! - `awaitable.rs`: what `await` asks a future for;
//! - `coroutine.rs`: coroutines written in Rust;
//! - `step.rs`: one turn of a task; `schedule.rs`: how it comes to its turn;
//! - `current.rs`, `registry.rs`: `asyncio.current_task()` and `asyncio.all_tasks()`.

use pyo3::prelude::*;
use pyo3::types::PyBool;

mod awaitable;
pub mod callbacks;
pub mod coroutine;
pub mod current;
pub mod future;
mod future_type;
mod registry;
pub mod schedule;
pub mod step;
#[allow(clippy::module_inception)] // The design's name, for the class `Task`.
pub mod task;
mod task_type;

pub use registry::registered_tasks;
pub use task::{Task, create_future, create_task, is_coroutine, is_plain_coroutine, start};

/// Builds the classes and adds those that Python may call to `module`.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    awaitable::define(py)?;
    module.add("Future", future_type::define(py)?)?;
    module.add("Task", task_type::define(py)?)
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

fn boolean(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}
