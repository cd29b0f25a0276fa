//! `run_in_executor`, and the default executor.

use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;

use super::job::Job;
use super::work_queue::WorkQueue;
use super::{Loop, boolean, truth};
use crate::event_loop::overrides::direct;
use crate::ffi::{Args, Ref, Signature};
use crate::{attribute, method, task};

const RUN_IN_EXECUTOR: Signature<2> = Signature {
    name: "run_in_executor",
    parameters: ["executor", "func"],
    positional: 2,
    required: 2,
};

/// Calls a function in a worker thread. With the default executor of ferrio's own it becomes a job; all else is asyncio's.
///
/// Raises `RuntimeError` when the loop is closed or the default executor shut down, and what the executor raises.
fn run_in_executor<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    this.check_closed()?;
    let ([executor, func], rest) = args.parse_with_rest(&RUN_IN_EXECUTOR)?;
    if let (Some(executor), Some(func)) = (executor, func)
        && executor.is_none()
        && !this.debug()
        && !this.executor_shut_down.get()
        && direct(this.as_any())?.is_some()
        && let Some(queue) = default_queue(this)?
        && submits_as_ever(this)?
        && let Some(queue) = Ref::<WorkQueue>::cast(&queue)
        && !queue.has_ended()
    {
        let future = task::create_future(this)?;
        queue.push(Job::create(func.to_owned(), rest, future.get(py))?);
        if queue.wants_worker()
            && let Some(executor) = this.default_executor.get(py)
        {
            executor.call_method0(intern!(py, "start_worker"))?;
        }
        return Ok(future.into_any(py));
    }
    let method = this.as_any().getattr(intern!(py, "_submit"))?;
    let (args, keywords) = args.to_tuple_and_dict()?;
    method.call(args, Some(&keywords))
}

/// The queue of the default executor, which is made if there is none; `None` when it is not ferrio's own.
fn default_queue<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = this.py();
    if this.default_executor.is_empty() {
        let executor = py.import("ferrio._executor")?.call_method0("DefaultExecutor")?;
        set_default_executor(this, Some(&executor))?;
    }
    Ok(this.work_queue.get(py))
}

/// Whether `submit` is the one that a job goes around: some programs put theirs in its place, to hand something on to the
/// threads.
fn submits_as_ever(this: Ref<'_, '_, Loop>) -> PyResult<bool> {
    let py = this.py();
    let Some(executor) = this.default_executor.get(py) else { return Ok(false) };
    let class = executor.get_type();
    let genuine = class.getattr(intern!(py, "genuine_submit"))?;
    Ok(class.getattr(intern!(py, "submit"))?.is(&genuine))
}

fn get_default_executor<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.default_executor.get_or_none(this.py()))
}

fn set_default_executor(this: Ref<'_, '_, Loop>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let py = this.py();
    let executor = value.filter(|value| !value.is_none());
    let queue = match executor {
        Some(executor) => executor.getattr_opt(intern!(py, "_work_queue"))?,
        None => None,
    };
    let queue = queue.filter(|queue| Ref::<WorkQueue>::cast(queue).is_some());
    this.work_queue.set_opt(queue, py);
    this.default_executor.set_opt(executor.cloned(), py);
    Ok(())
}

fn is_shut_down<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), this.executor_shut_down.get())
}

fn set_shut_down(this: Ref<'_, '_, Loop>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.executor_shut_down.set(truth(value)?);
    Ok(())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![method!(
        Loop,
        c"run_in_executor",
        run_in_executor,
        c"run_in_executor($self, /, executor, func, *args)\n--\n\nCall func(*args) in a thread of the executor (None: the default one); return a future of the result."
    )]
}

/// What `asyncio.BaseEventLoop` keeps of the default executor.
pub(super) fn attributes() -> Vec<capi::PyGetSetDef> {
    vec![
        attribute!(Loop, c"_default_executor", get_default_executor, set_default_executor),
        attribute!(Loop, c"_executor_shutdown_called", is_shut_down, set_shut_down),
    ]
}
