//! Exceptions as objects.
//!
//! A `PyErr` that is dropped leaves its exception, with all frames of its traceback, to PyO3's pool when PyO3 did not
//! itself attach the thread, which is so in every function that CPython calls. An exception that goes no further is
//! therefore taken out of its `PyErr` first, by one of these functions.

use std::ptr;

#[cfg(not(Py_3_12))]
use pyo3::exceptions::PyStopIteration;
use pyo3::exceptions::{PyDeprecationWarning, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTraceback;
#[cfg(not(Py_3_12))]
use pyo3::types::PyTuple;

use super::args::Args;

/// The exception of `error`, with its traceback.
pub fn into_exception(error: PyErr, py: Python<'_>) -> Bound<'_, PyAny> {
    error.restore(py);
    take(py).unwrap_or_else(|| py.None().into_bound(py))
}

/// Drops `error` and its exception.
pub fn discard(error: PyErr, py: Python<'_>) {
    drop(into_exception(error, py));
}

/// What two steps came to of which the second is done whatever became of the first: the first error. Another is dropped.
#[inline]
pub fn both(py: Python<'_>, first: PyResult<()>, second: PyResult<()>) -> PyResult<()> {
    let Err(error) = first else { return second };
    if let Err(unimportant) = second {
        discard(unimportant, py);
    }
    Err(error)
}

/// The value of `result`; its error is dropped with its exception.
#[inline]
pub fn ok<T>(result: PyResult<T>, py: Python<'_>) -> Option<T> {
    result.map_err(|error| discard(error, py)).ok()
}

/// Takes the exception that is set.
pub fn take(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the function gives an owned reference, or null.
    #[cfg(Py_3_12)]
    unsafe {
        Bound::from_owned_ptr_or_opt(py, ffi::PyErr_GetRaisedException())
    }
    #[cfg(not(Py_3_12))]
    // SAFETY: each of the three is an owned reference or null; the normalised value is an exception.
    unsafe {
        let (mut kind, mut value, mut traceback) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        ffi::PyErr_Fetch(&mut kind, &mut value, &mut traceback);
        if kind.is_null() {
            return None;
        }
        ffi::PyErr_NormalizeException(&mut kind, &mut value, &mut traceback);
        if !traceback.is_null() {
            ffi::PyException_SetTraceback(value, traceback);
        }
        ffi::Py_XDECREF(kind);
        ffi::Py_XDECREF(traceback);
        Bound::from_owned_ptr_or_opt(py, value)
    }
}

/// The error that raises `exception`, an instance, as the statement `raise exception` does: an exception
/// that is being handled becomes its context.
pub fn raise(exception: &Bound<'_, PyAny>) -> PyErr {
    // SAFETY: both are alive, and the type is that of the exception.
    unsafe { ffi::PyErr_SetObject(exception.get_type_ptr().cast(), exception.as_ptr()) };
    PyErr::fetch(exception.py())
}

/// The error that raises `StopIteration(value)`.
pub fn stop_iteration(value: Bound<'_, PyAny>) -> PyErr {
    let py = value.py();
    if value.is_none() {
        // SAFETY: an exception class, which lives as long as the process.
        unsafe { ffi::PyErr_SetNone(ffi::PyExc_StopIteration) };
    } else {
        set_stop_iteration(value);
    }
    PyErr::fetch(py)
}

/// Makes `StopIteration(value)` the exception that is set: how an iterator returns. For `None` nothing need be set.
///
/// Up to Python 3.14 an `await` gets every result of a native coroutine so, and to call the class takes longer than most
/// of them: the instance is put together by hand.
#[cfg(Py_3_12)]
pub fn set_stop_iteration(value: Bound<'_, PyAny>) {
    // SAFETY: the class is a static type without a `tp_alloc` of its own, whose instances have this layout and may have
    // every field but `args` empty, as the zeroed memory has it. Both fields and the exception that is set own their
    // references. A null result leaves a MemoryError set.
    unsafe {
        let stop = ffi::PyType_GenericAlloc(ffi::PyExc_StopIteration.cast(), 0);
        if stop.is_null() {
            return;
        }
        let fields = stop.cast::<ffi::PyStopIterationObject>();
        (*fields).args = ffi::PyTuple_Pack(1, value.as_ptr());
        if (*fields).args.is_null() {
            ffi::Py_DECREF(stop);
            return;
        }
        (*fields).value = value.into_ptr();
        ffi::PyErr_SetRaisedException(stop);
    }
}

/// Makes `StopIteration(value)` the exception that is set: how an iterator returns. For `None` nothing need be set.
#[cfg(not(Py_3_12))]
pub fn set_stop_iteration(value: Bound<'_, PyAny>) {
    let py = value.py();
    // What CPython would take for the exception itself or for its arguments is wrapped first.
    let wrapped = if value.is_instance_of::<PyTuple>() || is_exception(&value) {
        match py.get_type::<PyStopIteration>().call1((value,)) {
            Ok(exception) => exception,
            Err(error) => return error.restore(py),
        }
    } else {
        value
    };
    // SAFETY: both are alive. The exception is made of them only where somebody looks at it.
    unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, wrapped.as_ptr()) };
}

/// Whether `exception` is an instance of `class`, an exception class. Never fails.
pub fn matches(exception: &Bound<'_, PyAny>, class: &Bound<'_, PyAny>) -> bool {
    // SAFETY: both are alive.
    unsafe { ffi::PyErr_GivenExceptionMatches(exception.as_ptr(), class.as_ptr()) != 0 }
}

/// The error to raise for the arguments of a coroutine's `throw()`.
///
/// Raises `TypeError` for arguments that `throw()` doesn't take.
pub fn thrown_by(args: &Args<'_, '_>) -> PyResult<PyErr> {
    let py = args.py();
    let count = args.len();
    if !(1..=3).contains(&count) {
        let (bound, limit) = if count == 0 { ("least", 1) } else { ("most", 3) };
        let plural = if limit == 1 { "" } else { "s" };
        return Err(PyTypeError::new_err(format!(
            "throw expected at {bound} {limit} argument{plural}, got {count}"
        )));
    }
    if cfg!(Py_3_12) && count > 1 {
        let message = c"the (type, exc, tb) signature of throw() is deprecated, \
                        use the single-arg signature instead.";
        PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), message, 1)?;
    }
    let given = |index| args.get(index).filter(|arg| !arg.is_none()).map(|arg| arg.to_owned());
    let (Some(kind), value, mut trace) = (args.get(0), given(1), given(2)) else {
        return Err(PyTypeError::new_err("throw expected at least 1 argument, got 0"));
    };
    if trace.as_ref().is_some_and(|trace| !trace.is_instance_of::<PyTraceback>()) {
        return Err(PyTypeError::new_err("throw() third argument must be a traceback"));
    }
    let (class, value) = if is_exception_class(&kind) {
        (kind.to_owned(), value)
    } else if is_exception(&kind) {
        if value.is_some() {
            return Err(PyTypeError::new_err("instance exception may not have a separate value"));
        }
        trace = trace.or_else(|| traceback(&kind));
        (kind.get_type().into_any(), Some(kind.to_owned()))
    } else {
        return Err(PyTypeError::new_err(
            "exceptions must be classes deriving BaseException or instances of such a class",
        ));
    };
    Ok(thrown(class, value, trace))
}

/// The error that normalises the arguments of `throw()`: a class or an instance, a value, a traceback.
#[allow(deprecated)] // No other function makes an exception from these three.
fn thrown(
    kind: Bound<'_, PyAny>,
    value: Option<Bound<'_, PyAny>>,
    traceback: Option<Bound<'_, PyAny>>,
) -> PyErr {
    let py = kind.py();
    let pointer =
        |object: Option<Bound<'_, PyAny>>| object.map_or(ptr::null_mut(), Bound::into_ptr);
    let (mut kind, mut value, mut traceback) =
        (kind.into_ptr(), pointer(value), pointer(traceback));
    // SAFETY: the three are owned or null, as both functions want them; the second takes them over.
    unsafe {
        ffi::PyErr_NormalizeException(&mut kind, &mut value, &mut traceback);
        ffi::PyErr_Restore(kind, value, traceback);
    }
    PyErr::fetch(py)
}

/// The traceback of `exception`, an instance, if it has one.
pub fn traceback<'py>(exception: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: `exception` is an exception, and the result an owned reference or null.
    unsafe {
        let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
        Bound::from_owned_ptr_or_opt(exception.py(), traceback)
    }
}

/// Gives `exception`, an instance, this traceback or `None`. Raises `TypeError` for anything else.
pub fn set_traceback(exception: &Bound<'_, PyAny>, traceback: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: `exception` is an exception, and both are alive.
    match unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(exception.py())),
    }
}

/// Whether `object` is an exception class.
pub fn is_exception_class(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `object` is alive.
    unsafe { ffi::PyExceptionClass_Check(object.as_ptr()) != 0 }
}

/// Whether `object` is an instance of an exception class.
pub fn is_exception(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `object` is alive.
    unsafe { ffi::PyExceptionInstance_Check(object.as_ptr()) != 0 }
}
