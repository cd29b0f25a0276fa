//! `__aenter__` and `__aexit__` of a `TaskGroup`.

use std::cell::Cell;

use pyo3::exceptions::{PyBaseExceptionGroup, PyGeneratorExit, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::super::timeout::{cancelling, uncancel};
use super::super::{ended, none, running_loop};
use super::{TaskGroup, abort, cancel, is_base_error};
use crate::define_coroutine;
use crate::event_loop::overrides::direct;
use crate::ffi::call::Sent;
use crate::ffi::{Ref, Slot, Traversal, Visit, error};
use crate::stdlib::stdlib;
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
use crate::task::{create_future, current};

/// What the coroutine of `__aenter__` keeps.
#[derive(Default)]
pub struct Enter {
    pub(super) group: Slot,
}

/// What the coroutine of `__aexit__` keeps.
#[derive(Default)]
pub struct Exit {
    pub(super) group: Slot,
    /// What the body raised; empty for nothing.
    pub(super) exception: Slot,
    /// The `CancelledError` to raise if there is nothing worse.
    propagate: Slot,
    /// The last that came while the tasks ended.
    pending: Slot,
    /// Whether it waits for the tasks.
    waits: Cell<bool>,
}

static ENTER: Identity = Identity::new("TaskGroup.__aenter__", file!(), line!());
static EXIT: Identity = Identity::new("TaskGroup.__aexit__", file!(), line!());

impl Body for Enter {
    fn identity() -> &'static Identity {
        &ENTER
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.group)
    }

    fn clear(&self) {
        self.group.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, _: Resume) -> PyResult<Sent<'py>> {
        let group = this.body.group.get_or_none(this.py());
        if let Some(group) = Ref::<TaskGroup>::cast(&group) {
            enter(group)?;
        }
        Ok(Sent::Returned(group))
    }
}

/// Raises `RuntimeError` the second time, and outside of a task.
fn enter(this: Ref<'_, '_, TaskGroup>) -> PyResult<()> {
    let py = this.py();
    let refuse = |reason: &str| -> PyResult<()> {
        let message = format!("TaskGroup {} {reason}", this.as_any().repr()?);
        Err(PyRuntimeError::new_err(message))
    };
    if this.entered.get() {
        return refuse("has already been entered");
    }
    if this.event_loop.is_empty() {
        this.event_loop.set(running_loop(py)?);
    }
    let Some(parent) = current::get(&this.event_loop.get_or_none(py))? else {
        return refuse("cannot determine the parent task");
    };
    this.parent_task.set(parent);
    this.entered.set(true);
    if this.cancel_on_enter.get() {
        cancel(this)?;
    }
    Ok(())
}

impl Body for Exit {
    fn identity() -> &'static Identity {
        &EXIT
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.group)?;
        visit.slot(&self.exception)?;
        visit.slot(&self.propagate)?;
        visit.slot(&self.pending)
    }

    fn clear(&self) {
        self.group.clear();
        self.exception.clear();
        self.propagate.clear();
        self.pending.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let group = this.body.group.get_or_none(py);
        let Some(group) = Ref::<TaskGroup>::cast(&group) else {
            return Ok(Sent::Returned(none(py)));
        };
        let outcome = proceed(this, group, resume);
        if cfg!(Py_3_14) && !matches!(outcome, Ok(Sent::Yielded(_))) {
            // Nothing is kept that could be part of a cycle.
            group.parent_task.clear();
            group.errors.clear();
            group.base_error.clear();
        }
        outcome
    }
}

fn proceed<'py>(
    this: Ref<'_, 'py, Coroutine<Exit>>,
    group: Ref<'_, 'py, TaskGroup>,
    resume: Resume,
) -> PyResult<Sent<'py>> {
    let py = this.py();
    let mut resume = Some(resume);
    if !this.body.waits.replace(true) {
        resume = None;
        begin(this, group)?;
    }
    loop {
        if let Some(resume) = resume.take() {
            match this.go_on(resume) {
                Ok(Sent::Returned(_)) => {}
                Ok(yielded) => return Ok(yielded),
                Err(error) => interrupted(this, group, error)?,
            }
            group.on_completed.clear();
        }
        if group.len(py) == 0 {
            return end(this, group).map(Sent::Returned);
        }
        // Another kind of future may be done at once, or raise.
        let completed = completed(group)?;
        match this.begin(&completed) {
            Ok(Sent::Returned(_)) => {}
            Ok(yielded) => return Ok(yielded),
            Err(error) => interrupted(this, group, error)?,
        }
        group.on_completed.clear();
    }
}

/// Notes what the body raised. Unless the group has ended itself, that ends it.
fn begin<'py>(this: Ref<'_, 'py, Coroutine<Exit>>, group: Ref<'_, 'py, TaskGroup>) -> PyResult<()> {
    let py = this.py();
    group.exiting.set(true);
    let exception = this.body.exception.get(py);
    if let Some(exception) = &exception {
        if is_base_error(exception) && group.base_error.is_empty() {
            group.base_error.set(exception.clone());
        }
        if is_cancelled(exception) {
            this.body.propagate.set(exception.clone());
        }
    }
    if !cfg!(Py_3_13) && uncancel_if_requested(group)? {
        this.body.propagate.clear();
    }
    if exception.is_some() && !group.aborting.get() { abort(group) } else { Ok(()) }
}

/// Whether `exception` is a cancellation: up to 3.12 no subclass counts.
fn is_cancelled(exception: &Bound<'_, PyAny>) -> bool {
    let cancelled = stdlib(exception.py()).cancelled_error.bind(exception.py());
    if cfg!(Py_3_13) {
        error::matches(exception, cancelled)
    } else {
        exception.get_type().is(cancelled)
    }
}

/// Takes back the group's own request to cancel its parent; whether there was one, and no other is left.
fn uncancel_if_requested(group: Ref<'_, '_, TaskGroup>) -> PyResult<bool> {
    match group.parent_task.get(group.py()) {
        Some(parent) if group.parent_cancel_requested.get() => Ok(uncancel(&parent)? == 0),
        _ => Ok(false),
    }
}

/// What ends with the last task.
fn completed<'py>(group: Ref<'_, 'py, TaskGroup>) -> PyResult<Bound<'py, PyAny>> {
    let py = group.py();
    if let Some(completed) = group.on_completed.get(py) {
        return Ok(completed);
    }
    let event_loop = group.event_loop.get_or_none(py);
    let completed = match direct(&event_loop)? {
        Some(event_loop) => create_future(event_loop)?.into_any(py),
        None => event_loop.call_method0(intern!(py, "create_future"))?,
    };
    group.on_completed.set(completed.clone());
    Ok(completed)
}

/// The parent is cancelled while it waits for the tasks: so are they, and it waits on. Raises any other error.
fn interrupted<'py>(
    this: Ref<'_, 'py, Coroutine<Exit>>,
    group: Ref<'_, 'py, TaskGroup>,
    error: PyErr,
) -> PyResult<()> {
    let py = this.py();
    let exception = error::into_exception(error, py);
    if !error::matches(&exception, stdlib(py).cancelled_error.bind(py)) {
        return Err(PyErr::from_value(exception));
    }
    if cfg!(Py_3_15) {
        this.body.pending.set(exception.clone());
    }
    if !group.aborting.get() {
        this.body.propagate.set(exception);
        abort(group)?;
    }
    Ok(())
}

/// All tasks have ended: raises what is to be raised.
fn end<'py>(
    this: Ref<'_, 'py, Coroutine<Exit>>,
    group: Ref<'_, 'py, TaskGroup>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(base_error) = group.base_error.get(py) {
        return Err(error::raise(&base_error));
    }
    let mut propagate = this.body.propagate.take(py);
    if cfg!(Py_3_13) && group.parent_cancel_requested.get() {
        if uncancel_if_requested(group)? {
            propagate = None;
        } else if propagate.is_none() {
            propagate = this.body.pending.take(py);
        }
    }
    if let Some(cancelled) = propagate
        && !group.has_errors(py)
    {
        return Err(error::raise(&cancelled));
    }
    let exception = this.body.exception.get(py);
    if let Some(exception) = &exception
        && !is_cancelled(exception)
    {
        group.errors(py)?.append(exception)?;
    }
    if group.has_errors(py) {
        return Err(raise_errors(group, exception.as_ref())?);
    }
    // From 3.15 on the cancellation that `cancel()` caused ends here.
    Ok(if cfg!(Py_3_15) { PyBool::new(py, true).to_owned().into_any() } else { none(py) })
}

/// The error that raises what the tasks and the body raised, as a group.
fn raise_errors<'py>(
    group: Ref<'_, 'py, TaskGroup>,
    exception: Option<&Bound<'py, PyAny>>,
) -> PyResult<PyErr> {
    let py = group.py();
    if cfg!(Py_3_13)
        && let Some(parent) = group.parent_task.get(py)
        && cancelling(&parent)? != 0
    {
        // Cancelled from outside: the count of requests stays, and the next await raises.
        uncancel(&parent)?;
        ended::cancel(&parent, None)?;
    }
    let errors = group.errors(py)?;
    if cfg!(Py_3_15)
        && errors.len() == 1
        && let Some(exception) = exception
        && exception.is_instance_of::<PyGeneratorExit>()
    {
        return Ok(error::raise(exception));
    }
    group.errors.clear();
    let class = py.get_type::<PyBaseExceptionGroup>();
    let raised = class.call1(("unhandled errors in a TaskGroup", errors))?;
    // `raise ... from None`
    raised.setattr(intern!(py, "__cause__"), none(py))?;
    Ok(error::raise(&raised))
}

/// Builds the classes of the coroutines.
pub fn define(py: Python<'_>) -> PyResult<()> {
    define_coroutine!(py, Enter)?;
    define_coroutine!(py, Exit)
}
