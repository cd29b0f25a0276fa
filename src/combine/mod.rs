//! What combines awaitables: `sleep`, `gather`, `wait`, `wait_for`, `shield`, `timeout`, `TaskGroup` and their like.
//!
//! - `create.rs`: `create_task`, `ensure_future`;
//! - `sleep.rs`, `timeout.rs`, `wait_for.rs`: what waits for a time;
//! - `gather.rs`, `wait.rs`, `shield.rs`, `task_group.rs`: what waits for futures, each a watcher of them;
//! - `watcher.rs`: what all watchers are to the futures and to the loop;
//! - `ended.rs`: how a future of any kind ended.
//!
//! Each does what the interpreter's own version does, step by step and in the same order, so the versions' differences are
//! here as `cfg!`. What is seldom (another kind of loop, a task factory, an awaitable that is neither a coroutine nor a
//! future) is left to asyncio's own function.

use pyo3::prelude::*;

use crate::ffi::function::{coroutine_function, make};
use crate::function;
use crate::stdlib::stdlib;
use crate::task::current;

pub mod create;
mod ended;
pub mod gather;
pub mod shield;
pub mod sleep;
pub mod task_group;
pub mod timeout;
pub mod wait;
#[cfg(Py_3_12)]
mod wait_for;
pub mod watcher;

/// The loop that runs in this thread. Raises `RuntimeError` when none does.
#[inline]
fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    crate::ffi::call::call0(stdlib(py).get_running_loop.bind(py))
}

/// The current task of the loop that runs in this thread, and that loop. Raises `RuntimeError` when none runs.
#[inline]
fn running_task(py: Python<'_>) -> PyResult<(Bound<'_, PyAny>, Option<Bound<'_, PyAny>>)> {
    let event_loop = running_loop(py)?;
    let task = current::get(&event_loop)?;
    Ok((event_loop, task))
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

/// Builds the classes, and adds to `module` what Python may call.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    sleep::define(py)?;
    gather::define(py)?;
    shield::define(py)?;
    wait::define(py)?;
    module.add("Timeout", timeout::define(py)?)?;
    module.add("TaskGroup", task_group::define(py)?)?;
    let functions = [
        function!(
            c"create_task",
            create::create_task,
            if cfg!(Py_3_14) {
                c"create_task(coro, **kwargs)\n--\n\nSchedule a coroutine in the running loop; return its task."
            } else {
                c"create_task(coro, *, name=None, context=None)\n--\n\n\
                  Schedule a coroutine in the running loop; return its task."
            }
        ),
        function!(
            c"ensure_future",
            create::ensure_future_function,
            c"ensure_future(coro_or_future, *, loop=None)\n--\n\n\
              Wrap a coroutine or an awaitable in a task; a future is returned as it is."
        ),
        function!(
            c"gather",
            gather::gather,
            c"gather(*coros_or_futures, return_exceptions=False)\n--\n\n\
              Return a future of the list of the awaitables' results, in their order.\n\n\
              The first exception ends it, unless return_exceptions puts exceptions among the results."
        ),
        function!(
            c"shield",
            shield::shield,
            c"shield(arg)\n--\n\nWait for an awaitable, shielding it from cancellation."
        ),
        function!(
            c"timeout",
            timeout::timeout,
            c"timeout(delay)\n--\n\n\
              Return a context manager that cancels its body after delay seconds, and raises TimeoutError then."
        ),
        function!(
            c"timeout_at",
            timeout::timeout_at,
            c"timeout_at(when)\n--\n\nLike timeout(), but when is a time of the loop's clock."
        ),
    ];
    for function in functions {
        add(module, make(py, function)?)?;
    }
    let coroutine_functions = [
        function!(
            c"sleep",
            sleep::sleep,
            c"sleep(delay, result=None)\n--\n\nWait for delay seconds; return result."
        ),
        function!(
            c"wait",
            wait::wait,
            c"wait(fs, *, timeout=None, return_when='ALL_COMPLETED')\n--\n\n\
              Wait for futures; return two sets of them: done, pending. A time-out raises nothing."
        ),
        #[cfg(Py_3_12)]
        function!(
            c"wait_for",
            wait_for::wait_for,
            c"wait_for(fut, timeout)\n--\n\n\
              Wait for an awaitable for at most timeout seconds: then cancel it and raise TimeoutError."
        ),
    ];
    #[cfg(Py_3_12)]
    wait_for::define(py)?;
    for function in coroutine_functions {
        add(module, coroutine_function(make(py, function)?)?)?;
    }
    Ok(())
}

fn add(module: &Bound<'_, PyModule>, function: Bound<'_, PyAny>) -> PyResult<()> {
    let name: String = function.getattr("__name__")?.extract()?;
    module.add(name.as_str(), function)
}
