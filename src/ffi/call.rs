//! Entering Rust from C and leaving it again: results, errors and panics.

use std::any::Any;
use std::cell::Cell;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRecursionError, PySystemError};
use pyo3::ffi;
use pyo3::prelude::*;

/// What a C function returns: a value on success, and another that says that an exception is set.
pub trait Outcome {
    /// What says that an exception is set.
    const RAISED: Self;
}

impl Outcome for *mut ffi::PyObject {
    const RAISED: Self = std::ptr::null_mut();
}

impl Outcome for c_int {
    const RAISED: Self = -1;
}

impl Outcome for ffi::PySendResult {
    const RAISED: Self = ffi::PySendResult::PYGEN_ERROR;
}

/// Runs `body` as the inside of a function that CPython calls: an error becomes the exception set, and a
/// panic becomes a `SystemError` with its message, since unwinding through C is not defined.
///
/// # Safety
///
/// The thread holds the GIL, as it does in every function that CPython calls.
#[inline]
pub unsafe fn enter<R: Outcome>(body: impl FnOnce(Python<'_>) -> PyResult<R>) -> R {
    // SAFETY: promised by the caller.
    let py = unsafe { Python::assume_attached() };
    // The fields are cells and are left consistent before every call that can panic.
    match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => {
            error.restore(py);
            R::RAISED
        }
        Err(panic) => {
            panicked(panic).restore(py);
            R::RAISED
        }
    }
}

#[cold]
fn panicked(panic: Box<dyn Any + Send>) -> PyErr {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    PySystemError::new_err(format!("ferrio has a bug, please report it: {message}"))
}

/// Runs `body`, which may come back here, as one more level of the interpreter's recursion.
///
/// Raises `RecursionError` when there are too many.
pub fn nested<R>(py: Python<'_>, body: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    // SAFETY: the GIL is held; a level that was entered is left again.
    unsafe {
        if ffi::Py_EnterRecursiveCall(c" while calling a Python object".as_ptr()) != 0 {
            return Err(PyErr::fetch(py));
        }
        let outcome = body();
        ffi::Py_LeaveRecursiveCall();
        outcome
    }
}

thread_local! {
    /// How many levels of [`nested_frame`] this thread is in.
    static DEPTH: Cell<c_int> = const { Cell::new(0) };
}

/// The same for what is a frame of Python in asyncio, of which there may be as many as `sys.getrecursionlimit()` says: from
/// 3.12 on CPython allows C code more levels than fit on the stack with what runs in these.
pub fn nested_frame<R>(py: Python<'_>, body: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    let depth = DEPTH.get();
    // SAFETY: the GIL is held.
    if depth >= unsafe { ffi::Py_GetRecursionLimit() } {
        return Err(PyRecursionError::new_err("maximum recursion depth exceeded"));
    }
    DEPTH.set(depth + 1);
    let outcome = nested(py, body);
    DEPTH.set(depth);
    outcome
}

/// What sending to a coroutine or an iterator gave.
pub enum Sent<'py> {
    /// It suspended and yielded this.
    Yielded(Bound<'py, PyAny>),
    /// It ended and returned this.
    Returned(Bound<'py, PyAny>),
}

/// Sends `value` to the coroutine or iterator `target`, without an exception for its result.
#[inline]
pub fn send<'py>(target: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> PyResult<Sent<'py>> {
    let py = target.py();
    let mut result = std::ptr::null_mut();
    // SAFETY: both are alive; on anything but an error `result` is an owned reference.
    unsafe {
        match ffi::PyIter_Send(target.as_ptr(), value.as_ptr(), &mut result) {
            ffi::PySendResult::PYGEN_NEXT => Ok(Sent::Yielded(Bound::from_owned_ptr(py, result))),
            ffi::PySendResult::PYGEN_RETURN => {
                Ok(Sent::Returned(Bound::from_owned_ptr(py, result)))
            }
            ffi::PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
        }
    }
}

/// Calls `callable` with the `N - 1` arguments that stand behind the first place of `frame`.
///
/// The first place is left to the callee: a bound method puts its object there and needs no copy.
///
/// # Safety
///
/// Every address behind the first place is a live object.
#[inline]
unsafe fn vectorcall<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    mut frame: [*mut ffi::PyObject; N],
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: promised by the caller; the flag tells that the place before the arguments may be used.
    unsafe {
        let result = ffi::PyObject_Vectorcall(
            callable.as_ptr(),
            frame.as_mut_ptr().add(1),
            (N - 1) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(callable.py(), result)
    }
}

/// Calls `callable` without arguments.
#[inline]
pub fn call0<'py>(callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: there are no arguments.
    unsafe { vectorcall(callable, [std::ptr::null_mut()]) }
}

/// Calls `callable` with one argument.
#[inline]
pub fn call1<'py>(
    callable: &Bound<'py, PyAny>,
    arg: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `arg` is alive.
    unsafe { vectorcall(callable, [std::ptr::null_mut(), arg.as_ptr()]) }
}

/// Calls `callable` with two arguments.
#[inline]
pub fn call2<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both arguments are alive.
    unsafe { vectorcall(callable, [std::ptr::null_mut(), first.as_ptr(), second.as_ptr()]) }
}

/// A copy of the current context.
#[inline]
pub fn copy_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: returns an owned reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}

/// A copy of the current context, or `None` when there is nothing in it: then [`new_context`] is as good.
#[inline]
pub fn copy_context_unless_empty(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let context = copy_context(py)?;
    Ok((context.len()? > 0).then_some(context))
}

/// A context with nothing in it.
pub fn new_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: returns an owned reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_New()) }
}

/// A copy of `context`, which is a `contextvars.Context`.
pub fn copy_of<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `context` is alive, and anything but a context is refused; returns as above.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), ffi::PyContext_Copy(context.as_ptr())) }
}

/// Whether `object` is a `contextvars.Context`.
pub fn is_context(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `object` is alive.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}

/// Runs `body` inside `context`, as `context.run` does.
///
/// Raises `RuntimeError` when the context is entered already.
#[inline]
pub fn in_context<R>(
    context: &Bound<'_, PyAny>,
    body: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    let py = context.py();
    // SAFETY: `context` is a context: its holders check that when they take it.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } < 0 {
        return Err(PyErr::fetch(py));
    }
    let result = body();
    // SAFETY: entered above, and whatever `body` entered it has left.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } < 0 {
        return Err(PyErr::fetch(py));
    }
    result
}
