//! The state machine that a future is: pending, then finished with a result or an exception, or cancelled.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::callbacks::{Callback, Callbacks};
use super::schedule;
use super::task::Task;
use crate::combine::gather::Gathering;
use crate::event_loop::{Loop, overrides};
use crate::ffi::{Class, ClassCell, Owned, Ref, Slot, Traversal, Visit, error};
use crate::stdlib::stdlib;

/// Where a future stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum State {
    /// Not done.
    #[default]
    Pending,
    /// Done: cancelled.
    Cancelled,
    /// Done: with a result or an exception.
    Finished,
}

/// The fields of `ferrio.Future`, and the first ones of `ferrio.Task`.
#[derive(Default)]
#[repr(C)]
pub struct Future {
    /// Empty before `__init__`, and after the garbage collector cleared a cycle.
    pub(super) event_loop: Slot,
    pub(super) callbacks: Callbacks,
    pub(super) result: Slot,
    pub(super) exception: Slot,
    /// The traceback that the exception had when it was set: every `result()` starts from it.
    exception_traceback: Slot,
    pub(super) source_traceback: Slot,
    pub(super) cancel_message: Slot,
    /// The exception that ended the task, to be raised once by who asks for the result.
    pub(super) cancelled_error: Slot,
    pub(super) state: Cell<State>,
    /// Whether an exception was set that nobody has retrieved.
    pub(super) log_traceback: Cell<bool>,
    /// Set by `await`, cleared by the task that awaits: tells `yield from` from `yield`.
    pub(super) blocking: Cell<bool>,
    /// Whether `event_loop` is a ferrio loop whose ready queue may be filled without its `call_soon`.
    pub(super) direct: Cell<bool>,
}

impl Future {
    /// Notes that the future is about to be yielded to the task that awaits it.
    #[inline]
    pub fn block(&self) {
        self.blocking.set(true);
    }

    /// Whether its death may call Python code: that of a result, or the loop's exception handler.
    #[inline]
    pub fn dies_loudly(&self, py: Python<'_>) -> bool {
        self.log_traceback.get() || self.result.get(py).is_some_and(|result| !result.is_none())
    }

    /// Whether it was cancelled.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.state.get() == State::Cancelled
    }

    /// Whether it ended with an exception, not by cancellation.
    #[inline]
    pub fn has_failed(&self) -> bool {
        !self.exception.is_empty()
    }

    /// The exception that it ended with, if any, which counts as retrieved: `exception()`.
    pub fn retrieve_exception<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let exception = self.exception.get(py)?;
        self.log_traceback.set(false);
        Some(exception)
    }

    /// Counts its exception as retrieved, if it has one.
    pub fn mark_retrieved(&self) {
        self.log_traceback.set(false);
    }

    /// The address of its loop; null before `__init__`.
    #[inline]
    pub fn loop_ptr(&self) -> *mut pyo3::ffi::PyObject {
        self.event_loop.as_ptr()
    }

    /// Its loop, or `None`, the Python object.
    pub fn get_loop<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.event_loop.get_or_none(py)
    }

    /// The message of the cancellation, or `None`.
    pub fn cancel_message<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.cancel_message.get_or_none(py)
    }

    /// Takes back the combinator at the address `watcher`.
    pub fn remove_watcher(&self, watcher: *mut pyo3::ffi::PyObject) {
        self.callbacks.remove_watcher(watcher);
    }

    /// Whether it is done, in one way or the other.
    #[inline]
    pub fn done(&self) -> bool {
        self.state.get() != State::Pending
    }
}

static FUTURE: ClassCell = ClassCell::new();

impl Class for Future {
    const NAME: &'static CStr = c"ferrio.Future";
    const FREELIST: usize = 256;
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &FUTURE
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.event_loop)?;
        self.callbacks.traverse(visit)?;
        visit.slot(&self.result)?;
        visit.slot(&self.exception)?;
        visit.slot(&self.exception_traceback)?;
        visit.slot(&self.source_traceback)?;
        visit.slot(&self.cancel_message)?;
        visit.slot(&self.cancelled_error)
    }

    fn clear(&self) {
        self.direct.set(false);
        self.event_loop.clear();
        self.callbacks.clear();
        self.result.clear();
        self.exception.clear();
        self.exception_traceback.clear();
        self.source_traceback.clear();
        self.cancel_message.clear();
        self.cancelled_error.clear();
    }

    fn must_finalize(&self) -> bool {
        self.log_traceback.get()
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        this.log_unretrieved();
    }
}

/// `object` as one of ferrio's futures or tasks, no subclass of Python's, if it is one.
#[inline]
pub fn cast_exact<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<Ref<'a, 'py, Future>> {
    Ref::<Future>::cast_exact(object)
        .or_else(|| Ref::<Task>::cast_exact(object).map(Ref::up))
        // Whose one method of its own, `cancel`, nobody calls on the result.
        .or_else(|| Ref::<Gathering>::cast_exact(object).map(Ref::up))
}

impl<'py> Ref<'_, 'py, Future> {
    /// The loop, when its ready queue may be filled without its `call_soon`.
    #[inline]
    pub fn direct_loop(&self) -> Option<Owned<Loop>> {
        self.native_loop().filter(|event_loop| !event_loop.get(self.py()).replaced.get())
    }

    /// The loop, when it is ferrio's and its class has ferrio's methods, whatever a program has set on the loop alone.
    #[inline]
    pub fn native_loop(&self) -> Option<Owned<Loop>> {
        let event_loop =
            if self.direct.get() { self.event_loop.get(self.py())? } else { return None };
        // SAFETY: `direct` is only true while `event_loop` holds a ferrio loop: `init` sets both, and `clear` unsets
        // `direct` first.
        Some(unsafe { Owned::from_ptr(event_loop.into_ptr()) })
    }

    /// `__init__(loop=event_loop)`. Raises what `asyncio.get_event_loop()` and `get_debug()` raise.
    pub fn init(self, event_loop: Option<Bound<'py, PyAny>>) -> PyResult<()> {
        let py = self.py();
        if !self.event_loop.is_empty() {
            self.reinit()?;
        }
        let event_loop = match event_loop {
            Some(event_loop) if !event_loop.is_none() => event_loop,
            _ => stdlib(py).get_event_loop.bind(py).call0()?,
        };
        let debug = match overrides::direct(&event_loop)? {
            Some(native) => {
                let debug = native.debug();
                self.set_loop(event_loop, true);
                debug
            }
            None => {
                self.set_loop(event_loop.clone(), false);
                event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()?
            }
        };
        if debug {
            self.note_source()?;
        }
        Ok(())
    }

    #[inline]
    fn set_loop(self, event_loop: Bound<'py, PyAny>, direct: bool) {
        let old_loop = self.event_loop.take(self.py());
        self.event_loop.set(event_loop);
        self.direct.set(direct);
        // Only now that both fields say the same: what ends with it may initialise the future again.
        drop(old_loop);
    }

    /// What `__init__` does to a future that it has initialised before.
    #[cold]
    fn reinit(self) -> PyResult<()> {
        #[cfg(Py_3_15)]
        {
            let kind = self.as_any().get_type();
            Err(PyRuntimeError::new_err(format!(
                "{}.{} object is already initialized",
                kind.module()?,
                kind.qualname()?
            )))
        }
        #[cfg(not(Py_3_15))]
        {
            self.clear();
            self.state.set(State::Pending);
            self.log_traceback.set(false);
            self.blocking.set(false);
            #[cfg(Py_3_14)]
            self.forget_awaited_by()?;
            Ok(())
        }
    }

    #[cfg(all(Py_3_14, not(Py_3_15)))]
    fn forget_awaited_by(self) -> PyResult<()> {
        let waiters = self.as_any().getattr(intern!(self.py(), "_asyncio_awaited_by"))?;
        if !waiters.is_none() {
            for waiter in waiters.try_iter()? {
                self.discard_from_awaited_by(&waiter?)?;
            }
        }
        Ok(())
    }

    /// Debug mode: keeps the stack, but not while the interpreter ends, when `traceback` may be gone.
    #[cold]
    fn note_source(self) -> PyResult<()> {
        let py = self.py();
        if !py.import("sys")?.call_method0("is_finalizing")?.is_truthy()? {
            self.source_traceback.set(py.import("traceback")?.call_method0("extract_stack")?);
        }
        Ok(())
    }

    /// Raises `RuntimeError` before `__init__`.
    #[inline]
    pub fn check_initialized(self) -> PyResult<()> {
        if self.event_loop.is_empty() { Err(uninitialized()) } else { Ok(()) }
    }

    /// Ends with a result. Raises `InvalidStateError` when done, and what `call_soon` raises.
    pub fn set_result(self, result: Bound<'py, PyAny>) -> PyResult<()> {
        self.check_initialized()?;
        self.check_pending()?;
        self.result.set(result);
        self.finish(State::Finished)
    }

    /// Ends with an exception, an instance or a class to make one of. Raises `InvalidStateError` when done, `TypeError`
    /// for anything else, and what `call_soon` raises.
    pub fn set_exception(self, exception: Bound<'py, PyAny>) -> PyResult<()> {
        self.check_pending()?;
        let mut exception = exception;
        if error::is_exception_class(&exception) {
            exception = exception.call0()?;
            self.check_pending()?;
        }
        if !error::is_exception(&exception) {
            return Err(PyTypeError::new_err("invalid exception object"));
        }
        let exception = replace_stop_iteration(exception)?;
        self.exception_traceback.set_opt(error::traceback(&exception), self.py());
        self.exception.set(exception);
        // First, for a combinator that is told at once may retrieve it.
        self.log_traceback.set(true);
        self.finish(State::Finished).inspect_err(|_| self.log_traceback.set(false))
    }

    /// Ends by cancellation, with a message for the `CancelledError`. Returns whether it was pending.
    pub fn cancel(self, message: Option<Bound<'py, PyAny>>) -> PyResult<bool> {
        self.log_traceback.set(false);
        if self.done() {
            return Ok(false);
        }
        self.cancel_message.set_opt(message, self.py());
        self.finish(State::Cancelled)?;
        Ok(true)
    }

    #[inline]
    fn check_pending(self) -> PyResult<()> {
        if self.done() { Err(self.invalid_state("invalid state")) } else { Ok(()) }
    }

    /// The `InvalidStateError` with this message.
    #[cold]
    pub fn invalid_state(self, message: &'static str) -> PyErr {
        let py = self.py();
        match stdlib(py).invalid_state_error.bind(py).call1((message,)) {
            Ok(exception) => error::raise(&exception),
            Err(error) => error,
        }
    }

    /// Schedules the callbacks. One that can't be scheduled takes those behind it with it.
    fn finish(self, state: State) -> PyResult<()> {
        self.state.set(state);
        if let Some(first) = self.callbacks.take_first() {
            if let Err(error) = schedule::callback_soon(self, &first) {
                drop(self.callbacks.take_rest());
                return Err(error);
            }
        }
        for callback in self.callbacks.take_rest() {
            schedule::callback_soon(self, &callback)?;
        }
        Ok(())
    }

    /// Adds who waits for the end; after it, schedules them at once.
    #[inline]
    pub fn add_callback(self, callback: Callback) -> PyResult<()> {
        if self.event_loop.is_empty() {
            return Err(PyRuntimeError::new_err("uninitialized Future object"));
        }
        if self.done() {
            schedule::callback_soon(self, &callback)
        } else {
            self.callbacks.push(callback);
            Ok(())
        }
    }

    /// How it ended: `Ok(Ok(result))` or `Ok(Err(exception))`, which counts as retrieved and may be the `CancelledError`.
    /// Raises `InvalidStateError` while pending.
    pub fn outcome(self) -> PyResult<Result<Bound<'py, PyAny>, Bound<'py, PyAny>>> {
        let py = self.py();
        match self.state.get() {
            State::Cancelled => return self.make_cancelled_error().map(Err),
            State::Pending => return Err(self.invalid_state("Result is not set.")),
            State::Finished => {}
        }
        self.log_traceback.set(false);
        let Some(exception) = self.exception.get(py) else {
            return Ok(Ok(self.result.get_or_none(py)));
        };
        let traceback = self.exception_traceback.take(py).unwrap_or_else(|| super::none(py));
        error::set_traceback(&exception, &traceback)?;
        Ok(Err(exception))
    }

    /// The result. Raises the exception, `CancelledError` or, while pending, `InvalidStateError`.
    #[inline]
    pub fn result(self) -> PyResult<Bound<'py, PyAny>> {
        match self.outcome()? {
            Ok(result) => Ok(result),
            Err(exception) => Err(error::raise(&exception)),
        }
    }

    /// The `CancelledError` to raise: that which ended the task, once, and a new one with the message afterwards.
    pub fn make_cancelled_error(self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        if let Some(exception) = self.cancelled_error.take(py) {
            return Ok(exception);
        }
        let class = stdlib(py).cancelled_error.bind(py);
        match self.cancel_message.get(py) {
            Some(message) if !message.is_none() => class.call1((message,)),
            _ => class.call0(),
        }
    }

    /// Tells the call graph that `waiter` awaits this.
    #[cfg(Py_3_14)]
    #[inline]
    pub fn add_to_awaited_by(self, waiter: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        stdlib(py).add_to_awaited_by.call([self.as_any(), waiter], py).map(drop)
    }

    /// Tells the call graph that `waiter` awaits this no more.
    #[cfg(Py_3_14)]
    #[inline]
    pub fn discard_from_awaited_by(self, waiter: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        stdlib(py).discard_from_awaited_by.call([self.as_any(), waiter], py).map(drop)
    }

    /// `__del__`: reports an exception that nobody retrieved.
    pub fn log_unretrieved(self) {
        let py = self.py();
        if !self.log_traceback.replace(false) {
            return;
        }
        let report = || {
            let name = self.as_any().get_type().name()?;
            let context = PyDict::new(py);
            context.set_item(
                intern!(py, "message"),
                format!("{name} exception was never retrieved"),
            )?;
            context.set_item(intern!(py, "exception"), self.exception.get_or_none(py))?;
            context.set_item(intern!(py, "future"), self.as_any())?;
            Ok(context)
        };
        self.report(report());
    }

    /// Hands what a finalizer found to the loop's exception handler. Its own failure is unraisable.
    pub fn report(self, context: PyResult<Bound<'py, PyDict>>) {
        let py = self.py();
        let handler =
            self.event_loop.get_or_none(py).getattr(intern!(py, "call_exception_handler"));
        let outcome = context.and_then(|context| {
            if let Some(traceback) = self.source_traceback.get(py) {
                context.set_item(intern!(py, "source_traceback"), traceback)?;
            }
            Ok(context)
        });
        let (handler, context) = match (handler, outcome) {
            (Ok(handler), Ok(context)) => (handler, context),
            (handler, context) => {
                for error in [handler.err(), context.err()].into_iter().flatten() {
                    error::discard(error, py);
                }
                return;
            }
        };
        if let Err(error) = handler.call1((context,)) {
            error.write_unraisable(py, Some(&handler));
        }
    }
}

/// What every method raises before `__init__`.
#[cold]
pub fn uninitialized() -> PyErr {
    PyRuntimeError::new_err("Future object is not initialized.")
}

const STOP_ITERATION: &str =
    "StopIteration interacts badly with generators and cannot be raised into a Future";

/// A generator would take `StopIteration` for its end: CPython refuses it up to 3.12.
#[cfg(not(Py_3_13))]
fn replace_stop_iteration(exception: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    if exception.is_exact_instance_of::<pyo3::exceptions::PyStopIteration>() {
        return Err(PyTypeError::new_err(STOP_ITERATION));
    }
    Ok(exception)
}

/// A generator would take `StopIteration` for its end: CPython wraps it since 3.13.
#[cfg(Py_3_13)]
fn replace_stop_iteration(exception: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    if !exception.is_instance_of::<pyo3::exceptions::PyStopIteration>() {
        return Ok(exception);
    }
    let py = exception.py();
    let wrapper = py.get_type::<PyRuntimeError>().call1((STOP_ITERATION,))?;
    wrapper.setattr(intern!(py, "__cause__"), &exception)?;
    wrapper.setattr(intern!(py, "__context__"), exception)?;
    Ok(wrapper)
}
