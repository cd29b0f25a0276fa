//! Exceptions as objects.
//!
//! A `PyErr` that is dropped leaves its exception, with all frames of its traceback, to PyO3's pool when PyO3 did not
//! itself attach the thread, which is so in every function that CPython calls. An exception that goes no further is
//! therefore taken out of its `PyErr` first, by one of these functions.

use std::ptr;

use pyo3::exceptions::PyStopIteration;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The exception of `error`, with its traceback.
pub fn into_exception(error: PyErr, py: Python<'_>) -> Bound<'_, PyAny> {
    error.restore(py);
    take(py).unwrap_or_else(|| py.None().into_bound(py))
}

/// Drops `error` and its exception.
pub fn discard(error: PyErr, py: Python<'_>) {
    drop(into_exception(error, py));
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

/// Sets `StopIteration(value)`, with which an iterator returns a value; nothing for `None`, which says the same.
#[inline]
pub fn set_stop_iteration(value: &Bound<'_, PyAny>) {
    if value.is_none() {
        return;
    }
    if value.is_instance_of::<PyTuple>() || is_exception(value) {
        // Taken for the exception's arguments, or for the exception itself.
        match value.py().get_type::<PyStopIteration>().call1((value,)) {
            Ok(exception) => PyErr::from_value(exception).restore(value.py()),
            Err(error) => error.restore(value.py()),
        }
    } else {
        // SAFETY: both are alive.
        unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, value.as_ptr()) };
    }
}

/// The error that raises `StopIteration(value)`.
pub fn stop_iteration(value: &Bound<'_, PyAny>) -> PyErr {
    set_stop_iteration(value);
    PyErr::take(value.py()).unwrap_or_else(|| PyStopIteration::new_err(()))
}

/// Whether `exception` is an instance of `class`, an exception class. Never fails.
pub fn matches(exception: &Bound<'_, PyAny>, class: &Bound<'_, PyAny>) -> bool {
    // SAFETY: both are alive.
    unsafe { ffi::PyErr_GivenExceptionMatches(exception.as_ptr(), class.as_ptr()) != 0 }
}

/// The error that normalises the arguments of `throw()`: a class or an instance, a value, a traceback.
#[allow(deprecated)] // No other function makes an exception from these three.
pub fn thrown(
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
