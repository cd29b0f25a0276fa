//! `Handle` and `TimerHandle`: callbacks that wait for their turn and can be cancelled.
//!
//! They derive from `asyncio.Handle` and `asyncio.TimerHandle`, whose Python methods (`__repr__`, the
//! comparisons) read the attributes that are defined here.

use std::cell::Cell;
use std::ffi::CStr;

use ferrio_reactor::TimerKey;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyTuple};

use super::Loop;
use super::debug;
use super::invocation::Invocation;
use super::thread_safe_handle;
use crate::ffi::{
    Class, ClassCell, Definition, Owned, Ref, Rest, Slot, Traversal, Visit, build, call,
};
use crate::{attribute, method0};

/// A callback with its arguments, its context and its loop: what both kinds of handle hold.
#[derive(Default)]
pub struct Callback {
    event_loop: Slot,
    invocation: Invocation,
    /// Empty until somebody asks when it is one with nothing in it.
    context: Slot,
    cancelled: Cell<bool>,
    source_traceback: Slot,
    /// What `repr` showed when the handle was cancelled in debug mode.
    repr: Slot,
}

impl Callback {
    pub(super) fn fill(
        &self,
        event_loop: Ref<'_, '_, Loop>,
        callable: Bound<'_, PyAny>,
        args: Rest<'_, '_>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.invocation.fill(callable, args)?;
        self.belong(event_loop, context)
    }

    /// Notes the loop that runs it, and the context.
    #[inline]
    fn belong(
        &self,
        event_loop: Ref<'_, '_, Loop>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if let Some(context) = context {
            self.context.set(context);
        }
        if event_loop.debug() {
            self.source_traceback.set(debug::extract_stack(event_loop.py())?);
        }
        self.event_loop.set(event_loop.to_any());
        Ok(())
    }

    pub(super) fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.event_loop)?;
        self.invocation.traverse(visit)?;
        visit.slot(&self.context)?;
        visit.slot(&self.source_traceback)?;
        visit.slot(&self.repr)
    }

    pub(super) fn clear(&self) {
        self.event_loop.clear();
        self.invocation.release();
        self.context.clear();
        self.source_traceback.clear();
        self.repr.clear();
    }

    /// The context in which the callback runs.
    #[inline]
    fn context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.context.get(py) {
            Some(context) => Ok(context),
            None => {
                let context = call::new_context(py)?;
                self.context.set(context.clone());
                Ok(context)
            }
        }
    }

    /// Runs the callback in its context. `handle` is the object that holds it.
    ///
    /// An exception goes to the loop's exception handler; only `KeyboardInterrupt` and `SystemExit` are returned.
    pub fn run(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = handle.py();
        let Some(callable) = self.invocation.callable(py) else {
            return Ok(());
        };
        let context = self.context(py)?;
        let outcome = if call::is_context(&context) {
            call::in_context(&context, || self.invocation.call(&callable)).map(drop)
        } else {
            self.run_in_other(&context, callable)
        };
        outcome.or_else(|error| self.failed(handle, error))
    }

    /// Runs the callback by the `run` method of what somebody gave for a context: asyncio asks for no more.
    #[cold]
    fn run_in_other(&self, context: &Bound<'_, PyAny>, callable: Bound<'_, PyAny>) -> PyResult<()> {
        let py = context.py();
        let arguments = self.invocation.arguments(py)?;
        let arguments = PyTuple::new(py, [callable])?.add(arguments)?;
        context.getattr(intern!(py, "run"))?.call1(arguments.cast::<PyTuple>()?).map(drop)
    }

    #[cold]
    fn failed(&self, handle: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
        let py = handle.py();
        if error.is_instance_of::<PyKeyboardInterrupt>(py)
            || error.is_instance_of::<PySystemExit>(py)
        {
            return Err(error);
        }
        let Some(event_loop) = self.event_loop.get(py) else {
            return Err(error);
        };
        let source = debug::format_callback_source(
            &self.invocation.callable_or_none(py),
            &self.invocation.arguments(py)?,
            &event_loop,
        )?;
        let context = PyDict::new(py);
        context.set_item("message", format!("Exception in callback {source}"))?;
        context.set_item("exception", error.into_value(py))?;
        context.set_item("handle", handle)?;
        if let Some(traceback) = self.source_traceback.get(py) {
            context.set_item("source_traceback", traceback)?;
        }
        event_loop.call_method1(intern!(py, "call_exception_handler"), (context,)).map(drop)
    }

    pub(super) fn cancel(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = handle.py();
        if self.cancelled.replace(true) {
            return Ok(());
        }
        if let Some(event_loop) = self.event_loop.get(py)
            && Ref::<Loop>::cast(&event_loop).is_some_and(|event_loop| event_loop.debug())
        {
            self.repr.set(handle.repr()?.into_any());
        }
        self.invocation.release();
        Ok(())
    }
}

/// A class whose instances hold a [`Callback`].
pub trait HoldsCallback: Class {
    /// The callback held.
    fn callback(&self) -> &Callback;

    /// A handle that will call `callable(*args)` in `context` and is about to stand in the loop's queue. The garbage
    /// collector need not know of it before [`Loop::push_handle`] or the end of its turn says so.
    #[inline]
    fn create_for_turn(
        event_loop: Ref<'_, '_, Loop>,
        callable: Bound<'_, PyAny>,
        args: Rest<'_, '_>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Owned<Self>> {
        let py = event_loop.py();
        let handle = Owned::<Self>::alloc_untracked(py)?;
        handle.get(py).fields().callback().fill(event_loop, callable, args, context)?;
        Ok(handle)
    }
}

/// `ferrio.Handle`, what `call_soon` returns.
#[derive(Default)]
pub struct Handle {
    callback: Callback,
}

/// `ferrio.TimerHandle`, what `call_later` and `call_at` return.
#[derive(Default)]
pub struct TimerHandle {
    callback: Callback,
    when: Cell<f64>,
    /// Its place in the loop's timers, until it is due or cancelled.
    key: Cell<Option<TimerKey>>,
}

impl HoldsCallback for Handle {
    fn callback(&self) -> &Callback {
        &self.callback
    }
}

impl HoldsCallback for TimerHandle {
    fn callback(&self) -> &Callback {
        &self.callback
    }
}

static HANDLE: ClassCell = ClassCell::new();
static TIMER_HANDLE: ClassCell = ClassCell::new();

impl Class for Handle {
    const NAME: &'static CStr = c"ferrio.Handle";
    // As many as another thread schedules in the five milliseconds that it may keep the GIL.
    const FREELIST: usize = 32768;

    fn class() -> &'static ClassCell {
        &HANDLE
    }
    fn fresh() -> Self {
        Self::default()
    }
    fn traverse(&self, visit: &Visit) -> Traversal {
        self.callback.traverse(visit)
    }
    fn clear(&self) {
        self.callback.clear();
    }
}

impl Class for TimerHandle {
    const NAME: &'static CStr = c"ferrio.TimerHandle";
    const FREELIST: usize = 1024;

    fn class() -> &'static ClassCell {
        &TIMER_HANDLE
    }
    fn fresh() -> Self {
        Self::default()
    }
    fn traverse(&self, visit: &Visit) -> Traversal {
        self.callback.traverse(visit)
    }
    fn clear(&self) {
        self.callback.clear();
    }
}

impl Handle {
    /// A handle that will call `callable(*args)` in `context`.
    #[inline]
    pub fn create(
        event_loop: Ref<'_, '_, Loop>,
        callable: Bound<'_, PyAny>,
        args: Rest<'_, '_>,
        context: Bound<'_, PyAny>,
    ) -> PyResult<Owned<Self>> {
        let handle = Self::create_for_turn(event_loop, callable, args, Some(context))?;
        handle.get(event_loop.py()).track();
        Ok(handle)
    }

    /// [`create_for_turn`](HoldsCallback::create_for_turn) with `callable(arg)`.
    pub fn create1_for_turn<'py>(
        event_loop: Ref<'_, 'py, Loop>,
        callable: Bound<'py, PyAny>,
        arg: Bound<'py, PyAny>,
        context: Bound<'py, PyAny>,
    ) -> PyResult<Owned<Self>> {
        let py = event_loop.py();
        let handle = Owned::<Self>::alloc_untracked(py)?;
        let callback = &handle.get(py).fields().callback;
        callback.invocation.fill1(callable, arg);
        callback.belong(event_loop, Some(context))?;
        Ok(handle)
    }

    /// Cancels the handle, as its method does.
    pub fn cancel(this: Ref<'_, '_, Self>) -> PyResult<()> {
        this.callback.cancel(this.as_any())
    }
}

impl TimerHandle {
    /// A handle that will call `callable(*args)` in `context` at `when`, in seconds of the loop's clock.
    #[inline]
    pub fn create(
        event_loop: Ref<'_, '_, Loop>,
        when: f64,
        callable: Bound<'_, PyAny>,
        args: Rest<'_, '_>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Owned<Self>> {
        let py = event_loop.py();
        let handle = Owned::<Self>::alloc(py)?;
        let this = handle.get(py);
        this.callback.fill(event_loop, callable, args, context)?;
        this.when.set(when);
        Ok(handle)
    }

    /// Notes the handle's place in the loop's timers; `None` once it has left them.
    pub fn set_key(&self, key: Option<TimerKey>) {
        self.key.set(key);
    }
}

fn run<'py, T: HoldsCallback>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    this.callback().run(this.as_any())?;
    none(this)
}

pub(super) fn cancelled<'py, T: HoldsCallback>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), this.callback().cancelled.get()).to_owned().into_any())
}

pub(super) fn context<'py, T: HoldsCallback>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    this.callback().context(this.py())
}

pub(super) fn event_loop<'py, T: HoldsCallback>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.callback().event_loop.get_or_none(this.py()))
}

pub(super) fn callable<'py, T: HoldsCallback>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.callback().invocation.callable_or_none(this.py()))
}

pub(super) fn args<'py, T: HoldsCallback>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    if this.callback().invocation.is_empty() {
        return none(this);
    }
    this.callback().invocation.arguments(this.py())
}

pub(super) fn source_traceback<'py, T: HoldsCallback>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.callback().source_traceback.get_or_none(this.py()))
}

pub(super) fn repr<'py, T: HoldsCallback>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.callback().repr.get_or_none(this.py()))
}

pub(super) fn none<'py, T: Class>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.py().None().into_bound(this.py()))
}

fn handle_cancel<'py>(this: Ref<'_, 'py, Handle>) -> PyResult<Bound<'py, PyAny>> {
    Handle::cancel(this)?;
    none(this)
}

fn timer_cancel<'py>(this: Ref<'_, 'py, TimerHandle>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(key) = this.key.take()
        && let Some(event_loop) = this.callback.event_loop.get(py)
        && let Some(event_loop) = Ref::<Loop>::cast(&event_loop)
    {
        // The loop's reference goes last: `this` is kept alive by the caller.
        let _timer = event_loop.cancel_timer(key);
    }
    this.callback.cancel(this.as_any())?;
    none(this)
}

fn when<'py>(this: Ref<'_, 'py, TimerHandle>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyFloat::new(this.py(), this.when.get()).into_any())
}

fn scheduled<'py>(this: Ref<'_, 'py, TimerHandle>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), this.key.get().is_some()).to_owned().into_any())
}

/// The attributes that all classes of handles have.
macro_rules! attributes {
    ($class:ty) => {{
        use $crate::event_loop::handle;
        vec![
            $crate::attribute!($class, c"_callback", handle::callable),
            $crate::attribute!($class, c"_args", handle::args),
            $crate::attribute!($class, c"_cancelled", handle::cancelled),
            $crate::attribute!($class, c"_context", handle::context),
            $crate::attribute!($class, c"_loop", handle::event_loop),
            $crate::attribute!($class, c"_source_traceback", handle::source_traceback),
            $crate::attribute!($class, c"_repr", handle::repr),
        ]
    }};
}
pub(super) use attributes;

/// The methods that both classes have.
macro_rules! methods {
    ($class:ty) => {
        vec![
            method0!(
                $class,
                c"cancelled",
                cancelled,
                c"Return True if the callback was cancelled."
            ),
            method0!(
                $class,
                c"get_context",
                context,
                c"Return the contextvars.Context of the callback."
            ),
            method0!($class, c"_run", run, c"Run the callback in its context."),
        ]
    };
}

/// Builds the classes. Raises what the import of `asyncio` raises.
pub fn define(py: Python<'_>) -> PyResult<()> {
    let events = py.import("asyncio.events")?;
    let mut handle_methods = methods!(Handle);
    handle_methods.push(method0!(Handle, c"cancel", handle_cancel, c"Cancel the callback."));
    build::<Handle>(
        events.getattr("Handle")?.cast()?,
        Definition {
            doc: Some(c"A callback that waits for its turn; cancel() keeps it from running."),
            methods: handle_methods,
            attributes: attributes!(Handle),
            ..Definition::default()
        },
    )?;
    let mut timer_methods = methods!(TimerHandle);
    timer_methods.push(method0!(TimerHandle, c"cancel", timer_cancel, c"Cancel the callback."));
    timer_methods.push(method0!(
        TimerHandle,
        c"when",
        when,
        c"Return the time of the callback, in seconds of the loop's clock."
    ));
    let mut timer_attributes = attributes!(TimerHandle);
    timer_attributes.push(attribute!(TimerHandle, c"_when", when));
    timer_attributes.push(attribute!(TimerHandle, c"_scheduled", scheduled));
    build::<TimerHandle>(
        events.getattr("TimerHandle")?.cast()?,
        Definition {
            doc: Some(c"A callback that waits for its time; cancel() keeps it from running."),
            methods: timer_methods,
            attributes: timer_attributes,
            ..Definition::default()
        },
    )?;
    match events.getattr_opt("_ThreadSafeHandle")? {
        Some(base) => thread_safe_handle::define(base.cast()?),
        None => Ok(()),
    }
}
