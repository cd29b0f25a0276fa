//! One turn of a task.

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PyStopIteration, PySystemExit};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::callbacks::Callback;
use super::future::{self, Future};
use super::task::{self, Task};
use super::{current, none, registry, schedule};
use crate::event_loop::Loop;
use crate::ffi::call::{self, Sent};
use crate::ffi::method::HiddenMethod;
use crate::ffi::{Ref, error};
use crate::stdlib::stdlib;
use crate::{method0, method1};

/// The turn of a task that stood in the ready queue of a ferrio loop as itself: in its context, as the
/// current task.
///
/// Raises `KeyboardInterrupt` and `SystemExit`, after the task has ended with them. What else goes wrong
/// outside of the coroutine is told to the loop's exception handler.
#[inline]
pub fn run(task: Ref<'_, '_, Task>) -> PyResult<()> {
    let py = task.py();
    // Both are there until the garbage collector finds that nobody waits for the task.
    let (Some(event_loop), Some(context)) =
        (task.up::<Future>().native_loop(), task.context.get(py))
    else {
        return Ok(());
    };
    let event_loop = event_loop.get(py);
    let outcome =
        current::enter(event_loop, task).and_then(|()| call::in_context(&context, || resume(task)));
    // The queue and the record of the current task are its last owners: whoever its end calls shall find no current task.
    if task.done() && !task.is_owned_beyond(2) && task.dies_loudly(py) {
        current::clear(event_loop)?;
    }
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => failed(event_loop, task, error),
    }
}

#[cold]
fn failed(event_loop: Ref<'_, '_, Loop>, task: Ref<'_, '_, Task>, error: PyErr) -> PyResult<()> {
    let message = format!("Exception in callback {}()", step_callable(task)?.repr()?);
    Loop::report(event_loop, error, &message, &[])
}

/// Goes on with what the coroutine waited for, or with what is to be thrown into it.
#[inline]
fn resume(task: Ref<'_, '_, Task>) -> PyResult<()> {
    let py = task.py();
    let thrown = match task.thrown.take(py) {
        Some(exception) => Some(exception),
        None => match task.waiter.get(py) {
            Some(waiter) => match future::cast_exact(&waiter) {
                Some(future) if future.done() => outcome_of(task, future)?,
                _ => None,
            },
            None => None,
        },
    };
    advance(task, thrown)
}

/// The exception with which `future`, which is done and one of ours, wakes `task`, if any.
#[inline]
fn outcome_of<'py>(
    task: Ref<'_, 'py, Task>,
    future: Ref<'_, 'py, Future>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    #[cfg(Py_3_14)]
    future.discard_from_awaited_by(task.as_any())?;
    Ok(match future.outcome() {
        Ok(Ok(_)) => None,
        // As CPython's tasks get it: what is being handled where the loop runs becomes its context.
        Ok(Err(exception)) if future.is_cancelled() => {
            Some(error::into_exception(error::raise(&exception), task.py()))
        }
        Ok(Err(exception)) => Some(exception),
        Err(error) => Some(error::into_exception(error, task.py())),
    })
}

/// What a loop calls for a step of `task`: the method `task_step`, bound.
pub fn step_callable<'py>(task: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    static STEP: PyOnceLock<HiddenMethod<Task>> = PyOnceLock::new();
    let make = || HiddenMethod::new(method0!(Task, c"task_step", step, c"Run a step of the task."));
    STEP.get_or_init(task.py(), make).bind(task)
}

/// What a future calls to wake `task`: the method `task_wakeup`, bound.
pub fn wakeup_callable<'py>(task: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    static WAKEUP: PyOnceLock<HiddenMethod<Task>> = PyOnceLock::new();
    let make = || HiddenMethod::new(method1!(Task, c"task_wakeup", wakeup, c"Wake the task."));
    WAKEUP.get_or_init(task.py(), make).bind(task)
}

/// A step that a loop calls, in the task's context already.
fn step<'py>(task: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    enter(task, task.thrown.take(task.py()))
}

/// A step because `awaited` is done.
fn wakeup<'py>(
    task: Ref<'_, 'py, Task>,
    awaited: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let thrown = match future::cast_exact(awaited) {
        Some(future) => outcome_of(task, future)?,
        None => {
            #[cfg(Py_3_14)]
            {
                let py = task.py();
                stdlib(py).discard_from_awaited_by.call([awaited, task.as_any()], py)?;
            }
            match awaited.call_method0(intern!(task.py(), "result")) {
                Ok(_) => None,
                Err(error) => Some(error::into_exception(error, task.py())),
            }
        }
    };
    enter(task, thrown)
}

fn enter<'py>(
    task: Ref<'_, 'py, Task>,
    thrown: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = task.py();
    let event_loop = task.event_loop.get_or_none(py);
    current::during(&event_loop, task, || advance(task, thrown))?;
    Ok(none(py))
}

/// The first step, at once, in the middle of whatever runs now.
#[cfg(Py_3_12)]
pub fn eager_start(task: Ref<'_, '_, Task>) -> PyResult<()> {
    let py = task.py();
    let event_loop = task.event_loop.get_or_none(py);
    let context = task.context.get_or_none(py);
    let previous = current::swap(&event_loop, task.as_any())?;
    let mut outcome =
        registry::add(task).and_then(|()| call::in_context(&context, || advance(task, None)));
    if let Err(error) = current::swap(&event_loop, &previous) {
        match outcome {
            Ok(()) => outcome = Err(error),
            Err(_) => error::discard(error, py),
        }
    }
    if task.done() {
        task.coro.clear();
    }
    outcome
}

/// Sends to the coroutine or throws into it, and deals with what it does then.
fn advance<'py>(task: Ref<'_, 'py, Task>, thrown: Option<Bound<'py, PyAny>>) -> PyResult<()> {
    let py = task.py();
    if task.done() {
        return Err(already_done(task, thrown));
    }
    let mut thrown = thrown;
    if task.must_cancel.get() {
        let cancelled = stdlib(py).cancelled_error.bind(py);
        if !thrown.as_ref().is_some_and(|exception| error::matches(exception, cancelled)) {
            thrown = Some(task.up::<Future>().make_cancelled_error()?);
        }
        task.must_cancel.set(false);
    }
    task.waiter.clear();
    let Some(coro) = task.coro.get(py) else {
        return Err(PyRuntimeError::new_err("uninitialized Task object"));
    };
    let sent = match thrown {
        None => call::send(&coro, &none(py)),
        Some(exception) => throw(&coro, exception),
    };
    match sent {
        Ok(Sent::Yielded(awaited)) => wait_for(task, awaited),
        Ok(Sent::Returned(result)) => returned(task, result),
        Err(error) => raised(task, error),
    }
}

#[cold]
fn already_done<'py>(task: Ref<'_, 'py, Task>, thrown: Option<Bound<'py, PyAny>>) -> PyErr {
    let py = task.py();
    let error = || -> PyResult<PyErr> {
        let message = format!(
            "{}_step(): already done: {} {}",
            if cfg!(Py_3_14) { "_" } else { "" },
            task.as_any().repr()?,
            thrown.unwrap_or_else(|| none(py)).repr()?
        );
        let exception = stdlib(py).invalid_state_error.bind(py).call1((message,))?;
        Ok(error::raise(&exception))
    };
    error().unwrap_or_else(|error| error)
}

/// `coro.throw(exception)`
fn throw<'py>(coro: &Bound<'py, PyAny>, exception: Bound<'py, PyAny>) -> PyResult<Sent<'py>> {
    let py = coro.py();
    let thrown = coro.call_method1(intern!(py, "throw"), (exception,));
    match thrown {
        Ok(awaited) => Ok(Sent::Yielded(awaited)),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            let stop = error::into_exception(error, py);
            stop.getattr(intern!(py, "value")).map(Sent::Returned)
        }
        Err(error) => Err(error),
    }
}

/// The coroutine returned.
#[inline]
fn returned<'py>(task: Ref<'_, 'py, Task>, result: Bound<'py, PyAny>) -> PyResult<()> {
    registry::remove(task);
    let future = task.up::<Future>();
    if task.must_cancel.replace(false) {
        // Cancelled just before it returned.
        future.cancel(task.cancel_message.get(task.py())).map(drop)
    } else {
        future.set_result(result)
    }
}

/// The coroutine raised.
fn raised(task: Ref<'_, '_, Task>, error: PyErr) -> PyResult<()> {
    let py = task.py();
    registry::remove(task);
    let future = task.up::<Future>();
    let exception = error::into_exception(error, py);
    if error::matches(&exception, stdlib(py).cancelled_error.bind(py)) {
        task.cancelled_error.set(exception);
        return future.cancel(None).map(drop);
    }
    future.set_exception(exception.clone())?;
    if exception.is_instance_of::<PyKeyboardInterrupt>()
        || exception.is_instance_of::<PySystemExit>()
    {
        return Err(PyErr::from_value(exception));
    }
    Ok(())
}

/// The coroutine yielded `awaited`.
#[inline]
fn wait_for<'py>(task: Ref<'_, 'py, Task>, awaited: Bound<'py, PyAny>) -> PyResult<()> {
    if awaited.as_ptr() == task.as_ptr() {
        let message = format!("Task cannot await on itself: {}", task.as_any().repr()?);
        return throw_soon(task, message);
    }
    if let Some(future) = future::cast_exact(&awaited) {
        return wait_for_ours(task, future);
    }
    if awaited.is_none() {
        return schedule::step_soon(task);
    }
    wait_for_foreign(task, awaited)
}

/// The coroutine awaits one of ferrio's own futures or tasks.
#[inline]
fn wait_for_ours<'py>(task: Ref<'_, 'py, Task>, future: Ref<'_, 'py, Future>) -> PyResult<()> {
    if future.event_loop.as_ptr() != task.event_loop.as_ptr() {
        return different_loop(task, future.as_any());
    }
    if !future.blocking.replace(false) {
        return yield_instead(task, future.as_any());
    }
    #[cfg(Py_3_14)]
    future.add_to_awaited_by(task.as_any())?;
    future.add_callback(Callback::Task(task.to_owned()))?;
    task.waiter.set(future.as_any().clone());
    if task.must_cancel.get() { cancel_waiter(task, future.as_any()) } else { Ok(()) }
}

/// The coroutine was cancelled while it ran: what it awaits now is cancelled in its place.
#[cold]
fn cancel_waiter<'py>(task: Ref<'_, 'py, Task>, awaited: &Bound<'py, PyAny>) -> PyResult<()> {
    let message = task.cancel_message.get_or_none(task.py());
    if task::cancel_awaited(awaited, message)? {
        task.must_cancel.set(false);
    }
    Ok(())
}

/// The coroutine yielded something else: a future of another kind, or a mistake.
fn wait_for_foreign<'py>(task: Ref<'_, 'py, Task>, awaited: Bound<'py, PyAny>) -> PyResult<()> {
    let py = task.py();
    let blocking_name = intern!(py, "_asyncio_future_blocking");
    let Some(blocking) = awaited.getattr_opt(blocking_name)?.filter(|value| !value.is_none())
    else {
        return bad_yield(task, &awaited);
    };
    let blocking = blocking.is_truthy()?;
    let event_loop = match awaited.getattr_opt(intern!(py, "get_loop"))? {
        Some(get_loop) => get_loop.call0()?,
        None => awaited.getattr(intern!(py, "_loop"))?,
    };
    if event_loop.as_ptr() != task.event_loop.as_ptr() {
        return different_loop(task, &awaited);
    }
    if !blocking {
        return yield_instead(task, &awaited);
    }
    #[cfg(Py_3_14)]
    stdlib(py).add_to_awaited_by.call([&awaited, task.as_any()], py)?;
    awaited.setattr(blocking_name, false)?;
    let wakeup = wakeup_callable(task)?;
    let keywords = pyo3::types::PyDict::new(py);
    keywords.set_item(intern!(py, "context"), task.context.get_or_none(py))?;
    awaited.call_method(intern!(py, "add_done_callback"), (wakeup,), Some(&keywords))?;
    task.waiter.set(awaited.clone());
    if task.must_cancel.get() { cancel_waiter(task, &awaited) } else { Ok(()) }
}

#[cold]
fn bad_yield(task: Ref<'_, '_, Task>, yielded: &Bound<'_, PyAny>) -> PyResult<()> {
    let repr = yielded.repr()?;
    // SAFETY: `yielded` is alive.
    if unsafe { capi::PyGen_Check(yielded.as_ptr()) } != 0 {
        let task_repr = task.as_any().repr()?;
        return throw_soon(
            task,
            format!(
                "yield was used instead of yield from for generator in task {task_repr} with {repr}"
            ),
        );
    }
    throw_soon(task, format!("Task got bad yield: {repr}"))
}

#[cold]
fn different_loop(task: Ref<'_, '_, Task>, awaited: &Bound<'_, PyAny>) -> PyResult<()> {
    let (task_repr, awaited) = (task.as_any().repr()?, awaited.repr()?);
    throw_soon(task, format!("Task {task_repr} got Future {awaited} attached to a different loop"))
}

#[cold]
fn yield_instead(task: Ref<'_, '_, Task>, yielded: &Bound<'_, PyAny>) -> PyResult<()> {
    let (task_repr, yielded) = (task.as_any().repr()?, yielded.repr()?);
    throw_soon(
        task,
        format!("yield was used instead of yield from in task {task_repr} with {yielded}"),
    )
}

/// The coroutine made a mistake: at the next step it gets a `RuntimeError`.
fn throw_soon(task: Ref<'_, '_, Task>, message: String) -> PyResult<()> {
    let exception = task.py().get_type::<PyRuntimeError>().call1((message,))?;
    task.thrown.set(exception);
    schedule::step_soon(task)
}
