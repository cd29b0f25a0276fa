//! The fields of a task, its beginning and its end.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::coroutine;
use super::future::Future;
use super::registry::{self, Place};
use super::schedule;
#[cfg(Py_3_12)]
use super::step;
use crate::event_loop::Loop;
use crate::ffi::{
    Args, Class, ClassCell, Extends, Owned, Ref, Signature, Slot, Traversal, Visit, call,
};
use crate::stdlib::stdlib;

/// The fields of `ferrio.Task`.
#[derive(Default)]
#[repr(C)]
pub struct Task {
    future: Future,
    pub(super) coro: Slot,
    pub(super) context: Slot,
    /// What the coroutine awaits.
    pub(super) waiter: Slot,
    /// What the next step throws into the coroutine.
    pub(super) thrown: Slot,
    /// Empty for a name that is made of `number` when it is asked for.
    name: Slot,
    number: Cell<u64>,
    pub(super) must_cancel: Cell<bool>,
    pub(super) log_destroy_pending: Cell<bool>,
    /// How often it was asked to cancel, less how often that was taken back.
    pub(super) cancels: Cell<i64>,
    pub(super) place: Cell<Place>,
}

static TASK: ClassCell = ClassCell::new();

impl Class for Task {
    const NAME: &'static CStr = c"ferrio.Task";
    const FREELIST: usize = 8192;
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &TASK
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.future.traverse(visit)?;
        visit.slot(&self.coro)?;
        visit.slot(&self.context)?;
        visit.slot(&self.waiter)?;
        visit.slot(&self.thrown)?;
        visit.slot(&self.name)
    }

    fn clear(&self) {
        self.future.clear();
        self.coro.clear();
        self.context.clear();
        self.waiter.clear();
        self.thrown.clear();
        self.name.clear();
    }

    fn must_finalize(&self) -> bool {
        self.place.get() != 0
            || self.future.log_traceback.get()
            || (self.log_destroy_pending.get() && !self.future.done())
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        registry::remove(this);
        if !this.done() && this.log_destroy_pending.get() {
            let py = this.py();
            let report = || {
                let context = PyDict::new(py);
                context
                    .set_item(intern!(py, "message"), "Task was destroyed but it is pending!")?;
                context.set_item(intern!(py, "task"), this.as_any())?;
                Ok(context)
            };
            this.up::<Future>().report(report());
        }
        this.up::<Future>().log_unretrieved();
    }

    fn must_retire(&self) -> bool {
        self.place.get() != 0
    }

    fn retire(this: Ref<'_, '_, Self>) {
        registry::remove(this);
    }
}

// SAFETY: `repr(C)`, a future first, and `task_type` builds the class so.
unsafe impl Extends<Future> for Task {}

impl std::ops::Deref for Task {
    type Target = Future;

    fn deref(&self) -> &Future {
        &self.future
    }
}

/// What `Task.__init__` takes.
struct Start<'py> {
    coro: Bound<'py, PyAny>,
    event_loop: Option<Bound<'py, PyAny>>,
    name: Option<Bound<'py, PyAny>>,
    context: Option<Bound<'py, PyAny>>,
    eager: bool,
}

#[cfg(not(Py_3_12))]
const INIT: Signature<4> = Signature {
    name: "Task",
    parameters: ["coro", "loop", "name", "context"],
    positional: 1,
    required: 1,
};

#[cfg(Py_3_12)]
const INIT_EAGER: Signature<5> = Signature {
    name: "Task",
    parameters: ["coro", "loop", "name", "context", "eager_start"],
    positional: 1,
    required: 1,
};

impl<'py> Start<'py> {
    fn read(args: &Args<'_, 'py>) -> PyResult<Self> {
        let owned = |arg: Option<pyo3::Borrowed<'_, 'py, PyAny>>| {
            arg.filter(|arg| !arg.is_none()).map(|arg| arg.to_owned())
        };
        #[cfg(Py_3_12)]
        let ([coro, event_loop, name, context], eager) = {
            let [coro, event_loop, name, context, eager] = args.parse(&INIT_EAGER)?;
            let eager = match eager {
                Some(eager) => eager.is_truthy()?,
                None => false,
            };
            ([coro, event_loop, name, context], eager)
        };
        #[cfg(not(Py_3_12))]
        let ([coro, event_loop, name, context], eager) = (args.parse(&INIT)?, false);
        Ok(Start {
            coro: coro.map_or_else(|| super::none(args.py()), |coro| coro.to_owned()),
            event_loop: owned(event_loop),
            name: owned(name),
            context: owned(context),
            eager,
        })
    }
}

impl Task {
    /// `__init__(coro, *, loop=None, name=None, context=None)` and, from 3.12 on, `eager_start=False`.
    pub(super) fn init(this: Ref<'_, '_, Self>, args: &Args<'_, '_>) -> PyResult<()> {
        Self::begin(this, Start::read(args)?)
    }

    fn begin<'py>(this: Ref<'_, 'py, Self>, start: Start<'py>) -> PyResult<()> {
        let py = this.py();
        let no_loop = start.event_loop.is_none();
        this.up::<Future>().init(start.event_loop)?;
        if !is_coroutine(&start.coro)? {
            this.log_destroy_pending.set(false);
            return Err(PyTypeError::new_err(format!(
                "a coroutine was expected, got {}",
                start.coro.repr()?
            )));
        }
        let context = match start.context {
            None => call::copy_context(py)?,
            Some(context) => {
                if cfg!(Py_3_15) && !call::is_context(&context) {
                    this.log_destroy_pending.set(false);
                    return Err(PyTypeError::new_err(format!(
                        "a contextvars.Context was expected, got {}",
                        context.get_type().name()?
                    )));
                }
                context
            }
        };
        if !call::is_context(&context) {
            // `call_soon` may raise what it likes.
            this.direct.set(false);
        }
        this.context.set(context);
        this.waiter.clear();
        this.thrown.clear();
        this.must_cancel.set(false);
        this.log_destroy_pending.set(true);
        this.cancels.set(0);
        this.coro.set(start.coro);
        match start.name {
            None => this.number_itself(),
            Some(name) => this.set_name(name)?,
        }
        #[cfg(Py_3_12)]
        if start.eager {
            // Before 3.14 the argument itself is asked, and `None` has no such method.
            let event_loop = if no_loop && !cfg!(Py_3_14) {
                super::none(py)
            } else {
                this.event_loop.get_or_none(py)
            };
            if event_loop.call_method0(intern!(py, "is_running"))?.is_truthy()? {
                let started = step::eager_start(this);
                if started.is_err() && cfg!(Py_3_15) {
                    this.log_destroy_pending.set(false);
                }
                return started;
            }
        }
        let _ = (no_loop, start.eager);
        schedule::step_soon(this)?;
        registry::add(this)
    }

    /// Takes the next of the names Task-1, Task-2, …
    fn number_itself(&self) {
        use std::sync::atomic::{AtomicU64, Ordering};
        static LAST: AtomicU64 = AtomicU64::new(0);
        self.name.clear();
        self.number.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
    }

    /// The name; `None` before `__init__`.
    pub(super) fn name<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        if self.name.is_empty() && self.number.get() != 0 {
            let name = PyString::new(py, &format!("Task-{}", self.number.get()));
            self.name.set(name.into_any());
        }
        self.name.get_or_none(py)
    }

    /// Gives it the name `str(name)`.
    pub(super) fn set_name(&self, name: Bound<'_, PyAny>) -> PyResult<()> {
        let name =
            if name.is_exact_instance_of::<PyString>() { name } else { name.str()?.into_any() };
        self.name.set(name);
        Ok(())
    }

    /// How often it was asked to cancel, less how often that was taken back: `cancelling()`.
    pub fn cancelling(&self) -> i64 {
        self.cancels.get()
    }

    /// `uncancel()`: takes back one request; returns the number of those left.
    pub fn uncancel(&self) -> i64 {
        if self.cancels.get() > 0 {
            self.cancels.set(self.cancels.get() - 1);
            if cfg!(Py_3_13) && self.cancels.get() == 0 {
                self.must_cancel.set(false);
            }
        }
        self.cancels.get()
    }

    /// Lets it be destroyed while pending without a warning.
    pub fn allow_destruction(&self) {
        self.log_destroy_pending.set(false);
    }

    /// `cancel(msg)`: throws `CancelledError` in at the next step, or ends what is awaited so. Returns whether it
    /// was pending.
    pub fn cancel<'py>(this: Ref<'_, 'py, Self>, message: Bound<'py, PyAny>) -> PyResult<bool> {
        this.log_traceback.set(false);
        if this.done() {
            return Ok(false);
        }
        this.cancels.set(this.cancels.get() + 1);
        if let Some(waiter) = this.waiter.get(this.py())
            && cancel_awaited(&waiter, message.clone())?
        {
            return Ok(true);
        }
        this.must_cancel.set(true);
        this.cancel_message.set(message);
        Ok(true)
    }
}

/// `awaited.cancel(message)`
pub fn cancel_awaited<'py>(
    awaited: &Bound<'py, PyAny>,
    message: Bound<'py, PyAny>,
) -> PyResult<bool> {
    if let Some(future) = Ref::<Future>::cast_exact(awaited) {
        future.cancel(Some(message))
    } else if let Some(task) = Ref::<Task>::cast_exact(awaited) {
        // asyncio's call counts as well: tasks may await each other in a circle.
        call::nested(task.py(), || Task::cancel(task, message))
    } else {
        awaited.call_method1(intern!(awaited.py(), "cancel"), (message,))?.is_truthy()
    }
}

/// Whether `object` is a coroutine of Python's or of ferrio's, and not of another kind that asyncio knows.
#[inline]
pub fn is_plain_coroutine(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `object` is alive.
    let is_python = unsafe { pyo3::ffi::PyCoro_CheckExact(object.as_ptr()) } != 0;
    is_python || coroutine::is_native(object)
}

/// `asyncio.iscoroutine(object)`
pub fn is_coroutine(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if is_plain_coroutine(object) {
        return Ok(true);
    }
    let py = object.py();
    call::call1(stdlib(py).iscoroutine.bind(py), object)?.is_truthy()
}

/// `loop.create_future()`
pub fn create_future(event_loop: Ref<'_, '_, Loop>) -> PyResult<Owned<Future>> {
    let py = event_loop.py();
    let future = Owned::<Future>::alloc(py)?;
    future.get(py).init(Some(event_loop.to_any()))?;
    Ok(future)
}

/// `loop.create_task(coro, name=name, context=context)`
pub fn start<'py>(
    event_loop: Ref<'_, 'py, Loop>,
    coro: Bound<'py, PyAny>,
    name: Option<Bound<'py, PyAny>>,
    context: Option<Bound<'py, PyAny>>,
) -> PyResult<Owned<Task>> {
    let py = event_loop.py();
    let event_loop = Some(event_loop.to_any());
    let task = Owned::<Task>::alloc(py)?;
    Task::begin(task.get(py), Start { coro, event_loop, name, context, eager: false })?;
    Ok(task)
}

/// `loop.create_task(coro, *, name=None, context=None)` and, from 3.12 on, `eager_start=False`.
pub fn create_task<'py>(
    event_loop: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let mut start = Start::read(args)?;
    start.event_loop = Some(event_loop.to_any());
    let task = Owned::<Task>::alloc(py)?;
    Task::begin(task.get(py), start)?;
    Ok(task.into_any(py))
}
