//! `TaskGroup`.
//!
//! `task_group/exit.rs` is what `async with` ends with, `task_group/class.rs` the class that Python sees.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PySet};

use super::ended::{self, Ended};
use super::none;
use super::watcher::Watcher;
use crate::event_loop::overrides::direct;
use crate::ffi::method::HiddenMethod;
use crate::ffi::{Args, Class, ClassCell, Ref, Slot, Traversal, Visit};
use crate::method1;
use crate::task::callbacks::Callback;
use crate::task::future::{Future, cast_exact};

mod class;
mod exit;

pub use class::define;

/// The fields of `ferrio.TaskGroup`.
#[derive(Default)]
pub struct TaskGroup {
    entered: Cell<bool>,
    exiting: Cell<bool>,
    aborting: Cell<bool>,
    /// Whether it was cancelled before it was entered.
    cancel_on_enter: Cell<bool>,
    /// Whether the group has cancelled its parent task.
    parent_cancel_requested: Cell<bool>,
    event_loop: Slot,
    /// The task that has entered it.
    parent_task: Slot,
    /// The set of the tasks that have not ended, or wait for their turn to be dealt with; empty for none.
    tasks: Slot,
    /// Whether some of them are watched as other classes' futures are.
    mixed: Cell<bool>,
    /// How many of them have not ended.
    running: Cell<usize>,
    /// The list of what tasks raised; empty for none.
    errors: Slot,
    /// The first `KeyboardInterrupt` or `SystemExit`.
    base_error: Slot,
    /// What ends when the last task has.
    on_completed: Slot,
}

static TASK_GROUP: ClassCell = ClassCell::new();

impl TaskGroup {
    fn slots(&self) -> [&Slot; 6] {
        [
            &self.event_loop,
            &self.parent_task,
            &self.tasks,
            &self.errors,
            &self.base_error,
            &self.on_completed,
        ]
    }

    /// How many tasks there are.
    fn len(&self, py: Python<'_>) -> usize {
        let tasks = self.tasks.get_or_none(py);
        tasks.cast::<PySet>().map_or(0, |tasks| tasks.len())
    }

    /// The set of the tasks. Raises `MemoryError`.
    fn tasks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PySet>> {
        if self.tasks.is_empty() {
            self.tasks.set(PySet::empty(py)?.into_any());
        }
        Ok(self.tasks.get_or_none(py).cast_into()?)
    }

    /// The list of the errors. Raises `MemoryError`.
    fn errors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if self.errors.is_empty() {
            self.errors.set(PyList::empty(py).into_any());
        }
        Ok(self.errors.get_or_none(py).cast_into()?)
    }

    fn has_errors(&self, py: Python<'_>) -> bool {
        let errors = self.errors.get_or_none(py);
        errors.cast::<PyList>().is_ok_and(|errors| !errors.is_empty())
    }
}

impl Class for TaskGroup {
    const NAME: &'static CStr = c"ferrio.TaskGroup";
    const FREELIST: usize = 32;

    fn class() -> &'static ClassCell {
        &TASK_GROUP
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.slots().into_iter().try_for_each(|slot| visit.slot(slot))
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }
}

/// `create_task(coro, *, name=None, context=None)`, from 3.14 on with what else the loop's method takes.
///
/// Raises `RuntimeError` before the group is entered, while it shuts down, and after it has finished.
fn create_task<'py>(
    this: Ref<'_, 'py, TaskGroup>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let refused = if !this.entered.get() {
        Some("has not been entered")
    } else if this.exiting.get() && this.len(py) == 0 {
        Some("is finished")
    } else if this.aborting.get() {
        Some("is shutting down")
    } else {
        None
    };
    if let Some(reason) = refused {
        return Err(refuse(this, args, reason)?);
    }
    let event_loop = this.event_loop.get_or_none(py);
    let task = match direct(&event_loop)?.filter(|event_loop| event_loop.makes_tasks()) {
        Some(event_loop) => crate::task::create_task(event_loop, args)?,
        None => create_elsewhere(&event_loop, args)?,
    };
    if let Some(parent) = this.parent_task.get(py) {
        ended::add_to_awaited_by(&task, &parent)?;
    }
    // A subclass may have a method of its own for a task's end.
    let is_ours = Ref::<TaskGroup>::cast_exact(this.as_any()).is_some();
    let on_task_done =
        if is_ours { None } else { Some(this.as_any().getattr(intern!(py, "_on_task_done"))?) };
    if cfg!(all(Py_3_12, not(Py_3_14))) && ended::is_done(&task)? {
        match on_task_done {
            None => run(this, &task)?,
            Some(on_task_done) => drop(on_task_done.call1((&task,))?),
        }
        return Ok(task);
    }
    this.tasks(py)?.add(&task)?;
    this.running.set(this.running.get() + 1);
    match (cast_exact(&task), on_task_done) {
        (Some(future), None) => {
            future.add_callback(Callback::Watcher(Watcher::Group(this.to_owned())))?;
        }
        (_, on_task_done) => {
            this.mixed.set(true);
            let on_task_done = on_task_done.map_or_else(|| callback(this), Ok)?;
            task.call_method1(intern!(py, "add_done_callback"), (on_task_done,))?;
        }
    }
    if cfg!(Py_3_15) && this.aborting.get() && !ended::is_done(&task)? {
        // A task that starts at once can abort the group before it belongs to it.
        ended::cancel(&task, None)?;
    }
    Ok(task)
}

/// The error for a task that can't be created any more, whose coroutine is closed from 3.13 on.
#[cold]
fn refuse(
    this: Ref<'_, '_, TaskGroup>,
    args: &Args<'_, '_>,
    reason: &'static str,
) -> PyResult<PyErr> {
    let py = this.py();
    if cfg!(Py_3_13) {
        let (positional, keywords) = args.to_tuple_and_dict()?;
        let coro = match positional.get_item(0) {
            Ok(coro) => Some(coro),
            Err(_) => keywords.get_item(intern!(py, "coro"))?,
        };
        if let Some(coro) = coro {
            coro.call_method0(intern!(py, "close"))?;
        }
    }
    Ok(PyRuntimeError::new_err(format!("TaskGroup {} {reason}", this.as_any().repr()?)))
}

/// `loop.create_task` of another kind of loop, or with a task factory: called as this interpreter's asyncio does.
#[cold]
fn create_elsewhere<'py>(
    event_loop: &Bound<'py, PyAny>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = args.py();
    let (positional, given) = args.to_tuple_and_dict()?;
    let create_task = event_loop.getattr(intern!(py, "create_task"))?;
    if cfg!(Py_3_14) {
        return create_task.call(positional, Some(&given));
    }
    let keywords = PyDict::new(py);
    if let Some(context) = given.get_item(intern!(py, "context"))?.filter(|given| !given.is_none())
    {
        keywords.set_item(intern!(py, "context"), context)?;
    }
    let name = given.get_item(intern!(py, "name"))?.unwrap_or_else(|| none(py));
    #[cfg(Py_3_13)]
    {
        keywords.set_item(intern!(py, "name"), name)?;
        create_task.call(positional, Some(&keywords))
    }
    #[cfg(not(Py_3_13))]
    {
        let task = create_task.call(positional, Some(&keywords))?;
        crate::stdlib::stdlib(py).set_task_name.bind(py).call1((&task, name))?;
        Ok(task)
    }
}

/// Counts the end of `task`. Whether it has an effect, being the last or a failure, or is dealt with in its turn.
pub fn needs_turn<'py>(
    this: Ref<'_, 'py, TaskGroup>,
    task: Ref<'_, 'py, Future>,
) -> PyResult<bool> {
    this.running.set(this.running.get().saturating_sub(1));
    if this.mixed.get() || this.running.get() == 0 || task.has_failed() {
        return Ok(true);
    }
    forget(this, task.as_any())?;
    Ok(false)
}

/// Takes a task out of the set.
fn forget<'py>(this: Ref<'_, 'py, TaskGroup>, task: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if let Ok(tasks) = this.tasks.get_or_none(py).cast::<PySet>() {
        tasks.discard(task)?;
    }
    match this.parent_task.get(py) {
        Some(parent) => ended::discard_from_awaited_by(task, &parent),
        None => Ok(()),
    }
}

/// The turn that the end of `task` needs.
pub fn run<'py>(this: Ref<'_, 'py, TaskGroup>, task: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    forget(this, task)?;
    if this.len(py) == 0
        && let Some(completed) = this.on_completed.get(py)
        && !ended::is_done(&completed)?
    {
        match cast_exact(&completed) {
            Some(completed) => completed.set_result(none(py))?,
            None => completed.call_method1(intern!(py, "set_result"), (true,)).map(drop)?,
        }
    }
    let Ended::Exception(exception) = ended::how(task)? else { return Ok(()) };
    this.errors(py)?.append(&exception)?;
    if is_base_error(&exception) && this.base_error.is_empty() {
        this.base_error.set(exception.clone());
    }
    let Some(parent) = this.parent_task.get(py) else { return Ok(()) };
    if ended::is_done(&parent)? {
        return report_orphan(this, task, &parent, exception);
    }
    if !this.aborting.get() && !this.parent_cancel_requested.get() {
        abort(this)?;
        this.parent_cancel_requested.set(true);
        ended::cancel(&parent, None)?;
    }
    Ok(())
}

/// The task raised when its parent had ended already: nobody is left to tell but the loop.
#[cold]
fn report_orphan<'py>(
    this: Ref<'_, 'py, TaskGroup>,
    task: &Bound<'py, PyAny>,
    parent: &Bound<'py, PyAny>,
    exception: Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = this.py();
    let context = PyDict::new(py);
    let message = format!(
        "Task {} has errored out but its parent task {} is already completed",
        task.repr()?,
        parent.str()?
    );
    context.set_item("message", message)?;
    context.set_item("exception", exception)?;
    context.set_item("task", task)?;
    let event_loop = this.event_loop.get_or_none(py);
    event_loop.call_method1(intern!(py, "call_exception_handler"), (context,)).map(drop)
}

/// Cancels all tasks.
fn abort(this: Ref<'_, '_, TaskGroup>) -> PyResult<()> {
    this.aborting.set(true);
    let tasks = this.tasks.get_or_none(this.py());
    let Ok(tasks) = tasks.cast::<PySet>() else { return Ok(()) };
    let tasks: Vec<Bound<'_, PyAny>> = tasks.iter().collect();
    for task in tasks {
        if !ended::is_done(&task)? {
            ended::cancel(&task, None)?;
        }
    }
    Ok(())
}

fn is_base_error(exception: &Bound<'_, PyAny>) -> bool {
    exception.is_instance_of::<PySystemExit>() || exception.is_instance_of::<PyKeyboardInterrupt>()
}

/// `cancel()`, from 3.15 on: leaves the body and ends the tasks, without an exception.
fn cancel<'py>(this: Ref<'_, 'py, TaskGroup>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let is_over = this.exiting.get() && this.len(py) == 0;
    if !this.entered.get() {
        this.cancel_on_enter.set(true);
    } else if !is_over && !this.aborting.get() {
        abort(this)?;
        if let Some(parent) = this.parent_task.get(py)
            && !this.parent_cancel_requested.replace(true)
        {
            ended::cancel(&parent, None)?;
        }
    }
    Ok(none(py))
}

/// `_on_task_done(task)`: a task of another kind, or on another kind of loop, has ended.
fn on_task_done<'py>(
    this: Ref<'_, 'py, TaskGroup>,
    task: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.running.set(this.running.get().saturating_sub(1));
    run(this, task)?;
    Ok(none(this.py()))
}

/// What other kinds of futures and loops call: `_on_task_done`, bound.
pub fn callback<'py>(this: Ref<'_, 'py, TaskGroup>) -> PyResult<Bound<'py, PyAny>> {
    static ON_TASK_DONE: PyOnceLock<HiddenMethod<TaskGroup>> = PyOnceLock::new();
    let make = || {
        let doc = c"A task has ended.";
        HiddenMethod::new(method1!(TaskGroup, c"_on_task_done", on_task_done, doc))
    };
    ON_TASK_DONE.get_or_init(this.py(), make).bind(this)
}
