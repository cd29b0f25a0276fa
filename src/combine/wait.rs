//! `wait`.

use std::cell::Cell;

use ferrio_reactor::TimerKey;
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PySet, PyTuple};

use super::ended::{self, Ended};
use super::watcher::Watcher;
use super::{none, running_loop};
use crate::event_loop::Loop;
use crate::event_loop::overrides::direct;
use crate::event_loop::schedule::number;
use crate::event_loop::timer::Timer;
use crate::ffi::call::Sent;
use crate::ffi::method::HiddenMethod;
use crate::ffi::{Args, Ref, Signature, Slot, Traversal, Visit};
use crate::stdlib::stdlib;
use crate::task::callbacks::Callback;
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
#[cfg(Py_3_14)]
use crate::task::current;
use crate::task::future::{Future, cast_exact};
use crate::task::{create_future, is_coroutine};
use crate::{define_coroutine, method1};

/// When `wait` returns.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum When {
    #[default]
    AllCompleted,
    FirstCompleted,
    FirstException,
}

/// What the coroutine of `wait` keeps.
#[derive(Default)]
pub struct Wait {
    /// What is waited for: as it was given, then a set.
    futures: Slot,
    timeout: Slot,
    return_when: Slot,
    when: Cell<When>,
    /// What it awaits, while it does.
    waiter: Slot,
    /// Whether some are watched as other classes' futures are.
    mixed: Cell<bool>,
    /// How many have not ended.
    left: Cell<usize>,
    event_loop: Slot,
    /// On a loop of ferrio's: its place in the timers.
    key: Cell<Option<TimerKey>>,
    /// Otherwise: the handle of the timer.
    handle: Slot,
    /// The task that waits, for the call graph.
    task: Slot,
}

static WAIT: Identity = Identity::new("wait", file!(), line!());

impl Wait {
    fn slots(&self) -> [&Slot; 7] {
        [
            &self.futures,
            &self.timeout,
            &self.return_when,
            &self.waiter,
            &self.event_loop,
            &self.handle,
            &self.task,
        ]
    }
}

impl Body for Wait {
    fn identity() -> &'static Identity {
        &WAIT
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.slots().into_iter().try_for_each(|slot| visit.slot(slot))
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let outcome = match resume {
            Resume::Start => {
                prepare(this)?;
                // What fails here has asyncio watch on, too: nothing that was begun is taken back.
                let waiter = start(this)?;
                this.begin(&waiter)
            }
            resume => this.go_on(resume),
        };
        if let Ok(Sent::Yielded(_)) = outcome {
            return outcome;
        }
        stop(this)?;
        outcome?;
        sort(this).map(Sent::Returned)
    }
}

/// Checks the arguments, and makes a set of what is waited for.
fn prepare(this: Ref<'_, '_, Coroutine<Wait>>) -> PyResult<()> {
    let py = this.py();
    let body = &this.body;
    let given = body.futures.get_or_none(py);
    if is_future(&given)? || is_coroutine(&given)? {
        let kind = given.get_type();
        let message = format!("expect a list of futures, not {}", kind.name()?);
        return Err(PyTypeError::new_err(message));
    }
    if !given.is_truthy()? {
        return Err(PyValueError::new_err("Set of Tasks/Futures is empty."));
    }
    body.when.set(return_when(&body.return_when.get_or_none(py))?);
    let futures = PySet::empty(py)?;
    for future in given.try_iter()? {
        futures.add(future?)?;
    }
    for future in futures.iter() {
        if is_coroutine(&future)? {
            let message = "Passing coroutines is forbidden, use tasks explicitly.";
            return Err(PyTypeError::new_err(message));
        }
    }
    if futures.is_empty() {
        return Err(PyAssertionError::new_err("Set of Futures is empty."));
    }
    body.left.set(futures.len());
    body.futures.set(futures.into_any());
    Ok(())
}

/// `asyncio.isfuture(object)`
fn is_future(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let blocking = intern!(object.py(), "_asyncio_future_blocking");
    Ok(object.get_type().hasattr(blocking)? && !object.getattr(blocking)?.is_none())
}

/// Raises `ValueError` for what is none of the three.
fn return_when(given: &Bound<'_, PyAny>) -> PyResult<When> {
    for (name, when) in [
        ("ALL_COMPLETED", When::AllCompleted),
        ("FIRST_COMPLETED", When::FirstCompleted),
        ("FIRST_EXCEPTION", When::FirstException),
    ] {
        if given.eq(name)? {
            return Ok(when);
        }
    }
    Err(PyValueError::new_err(format!("Invalid return_when value: {}", given.str()?)))
}

/// Begins to watch; returns the future that ends when the wait does.
fn start<'py>(this: Ref<'_, 'py, Coroutine<Wait>>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let body = &this.body;
    let running = running_loop(py)?;
    let timeout = body.timeout.get_or_none(py);
    let waiter = match direct(&running)? {
        Some(event_loop) if timeout.is_none() || number(&timeout).is_some() => {
            let waiter = create_future(event_loop)?;
            if let Some(timeout) = number(&timeout) {
                let when = event_loop.seconds() + timeout;
                let timer = Timer::Wake(waiter.clone_ref(py));
                body.key.set(Some(event_loop.add_timer(when, timer)));
            }
            waiter.into_any(py)
        }
        _ => {
            let waiter = running.call_method0(intern!(py, "create_future"))?;
            if !timeout.is_none() {
                let release = stdlib(py).release_waiter.bind(py);
                let arguments = (timeout, release, &waiter);
                body.handle.set(running.call_method1(intern!(py, "call_later"), arguments)?);
            }
            waiter
        }
    };
    #[cfg(Py_3_14)]
    body.task.set_opt(current::get(&running)?, py);
    body.event_loop.set(running);
    body.waiter.set(waiter.clone());
    let task = body.task.get(py);
    for future in futures(this) {
        if let Some(task) = &task {
            ended::add_to_awaited_by(&future, task)?;
        }
        match cast_exact(&future) {
            Some(future) => {
                let watcher = Watcher::Wait(this.to_owned());
                future.add_callback(Callback::Watcher(watcher))?;
            }
            None => {
                body.mixed.set(true);
                let callback = callback(this)?;
                future.call_method1(intern!(py, "add_done_callback"), (callback,))?;
            }
        }
    }
    Ok(waiter)
}

/// What is waited for. A copy, for a callback may do anything.
fn futures<'py>(this: Ref<'_, 'py, Coroutine<Wait>>) -> Vec<Bound<'py, PyAny>> {
    let futures = this.body.futures.get_or_none(this.py());
    futures.cast::<PySet>().map(|set| set.iter().collect()).unwrap_or_default()
}

/// Watches no more.
fn stop(this: Ref<'_, '_, Coroutine<Wait>>) -> PyResult<()> {
    let py = this.py();
    cancel_timer(this)?;
    let task = this.body.task.get(py);
    for future in futures(this) {
        match cast_exact(&future) {
            Some(future) => future.remove_watcher(this.as_ptr()),
            None => {
                let callback = callback(this)?;
                future.call_method1(intern!(py, "remove_done_callback"), (callback,))?;
            }
        }
        if let Some(task) = &task {
            ended::discard_from_awaited_by(&future, task)?;
        }
    }
    Ok(())
}

/// The two sets: done, pending.
fn sort<'py>(this: Ref<'_, 'py, Coroutine<Wait>>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let (done, pending) = (PySet::empty(py)?, PySet::empty(py)?);
    for future in futures(this) {
        if ended::is_done(&future)? { done.add(future)? } else { pending.add(future)? }
    }
    Ok(PyTuple::new(py, [done, pending])?.into_any())
}

/// Counts the end of `future`. Whether it ends the wait, or is counted in its turn.
pub fn needs_turn(this: Ref<'_, '_, Coroutine<Wait>>, future: Ref<'_, '_, Future>) -> bool {
    if this.body.mixed.get() {
        return true;
    }
    let left = this.body.left.get().saturating_sub(1);
    this.body.left.set(left);
    left == 0
        || match this.body.when.get() {
            When::AllCompleted => false,
            When::FirstCompleted => true,
            When::FirstException => future.retrieve_exception(this.py()).is_some(),
        }
}

/// The turn that the end of `future` needs.
pub fn run<'py>(this: Ref<'_, 'py, Coroutine<Wait>>, future: &Bound<'py, PyAny>) -> PyResult<()> {
    if this.body.mixed.get() { on_completion(this, future).map(drop) } else { end(this) }
}

/// Ends the wait.
fn end(this: Ref<'_, '_, Coroutine<Wait>>) -> PyResult<()> {
    let py = this.py();
    cancel_timer(this)?;
    let Some(waiter) = this.body.waiter.get(py) else { return Ok(()) };
    match cast_exact(&waiter) {
        Some(waiter) if waiter.done() => Ok(()),
        Some(waiter) => waiter.set_result(none(py)),
        None if ended::is_done(&waiter)? => Ok(()),
        None => waiter.call_method1(intern!(py, "set_result"), (none(py),)).map(drop),
    }
}

/// The end of another kind of future, or on another kind of loop.
fn on_completion<'py>(
    this: Ref<'_, 'py, Coroutine<Wait>>,
    future: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let left = this.body.left.get().saturating_sub(1);
    this.body.left.set(left);
    let over = left == 0
        || match this.body.when.get() {
            When::AllCompleted => false,
            When::FirstCompleted => true,
            When::FirstException => matches!(ended::how(future)?, Ended::Exception(_)),
        };
    if over {
        end(this)?;
    }
    Ok(none(this.py()))
}

fn cancel_timer(this: Ref<'_, '_, Coroutine<Wait>>) -> PyResult<()> {
    let py = this.py();
    if let Some(key) = this.body.key.take()
        && let Some(event_loop) = this.body.event_loop.get(py)
        && let Some(event_loop) = Ref::<Loop>::cast(&event_loop)
    {
        drop(event_loop.cancel_timer(key));
    }
    match this.body.handle.take(py) {
        None => Ok(()),
        Some(handle) => handle.call_method0(intern!(py, "cancel")).map(drop),
    }
}

/// What other kinds of futures and loops call: `_on_completion`, bound.
pub fn callback<'py>(this: Ref<'_, 'py, Coroutine<Wait>>) -> PyResult<Bound<'py, PyAny>> {
    static ON_COMPLETION: PyOnceLock<HiddenMethod<Coroutine<Wait>>> = PyOnceLock::new();
    let make = || {
        let doc = c"A future has ended.";
        HiddenMethod::new(method1!(Coroutine<Wait>, c"_on_completion", on_completion, doc))
    };
    ON_COMPLETION.get_or_init(this.py(), make).bind(this)
}

/// `wait(fs, *, timeout=None, return_when=ALL_COMPLETED)`
pub fn wait<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const WAIT: Signature<3> = Signature {
        name: "wait",
        parameters: ["fs", "timeout", "return_when"],
        positional: 1,
        required: 1,
    };
    let [futures, timeout, return_when] = args.parse(&WAIT)?;
    let py = args.py();
    let return_when = match return_when {
        Some(given) => given.to_owned(),
        None => intern!(py, "ALL_COMPLETED").clone().into_any(),
    };
    Coroutine::<Wait>::create(py, |wait| {
        if let Some(futures) = futures {
            wait.futures.set(futures.to_owned());
        }
        if let Some(timeout) = timeout {
            wait.timeout.set(timeout.to_owned());
        }
        wait.return_when.set(return_when);
    })
}

/// Builds the class of the coroutine.
pub fn define(py: Python<'_>) -> PyResult<()> {
    define_coroutine!(py, Wait)
}
