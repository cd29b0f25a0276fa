//! What `await future` runs: the iterator that yields the future once and returns its result.

use std::ffi::CStr;

use pyo3::exceptions::{PyDeprecationWarning, PyRuntimeError, PyTypeError};
use pyo3::ffi as capi;
use pyo3::prelude::*;
use pyo3::types::PyTraceback;

use super::future::Future;
use super::none;
use crate::ffi::call::Sent;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Owned, Ref, Slot, Traversal, Visit, build, error,
};
use crate::{method, method0, method1, send_slots, unary_slot};

/// The fields of `ferrio.FutureIter`.
pub struct FutureIter {
    /// Empty after `close()` or `throw()`, and up to 3.13 once the result was returned.
    future: Slot,
}

static FUTURE_ITER: ClassCell = ClassCell::new();

impl Class for FutureIter {
    const NAME: &'static CStr = c"ferrio.FutureIter";
    const FREELIST: usize = 256;

    fn class() -> &'static ClassCell {
        &FUTURE_ITER
    }

    fn fresh() -> Self {
        FutureIter { future: Slot::empty() }
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.future)
    }

    fn clear(&self) {
        self.future.clear();
    }
}

/// `__await__()` and `__iter__()` of a future. Raises `RuntimeError` before `__init__`.
pub fn iter<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    let py = this.py();
    let iter = Owned::<FutureIter>::alloc(py)?;
    iter.get(py).future.set(this.as_any().clone());
    Ok(iter.into_any(py))
}

/// One step: yields the future while it is pending and returns its result after.
fn advance<'py>(this: Ref<'_, 'py, FutureIter>) -> PyResult<Sent<'py>> {
    let py = this.py();
    let object = this.future.get(py);
    let Some(future) = object.as_ref().and_then(Ref::<Future>::cast) else {
        return Ok(Sent::Returned(none(py)));
    };
    if future.done() {
        // From 3.14 on one that is asked again answers again.
        #[cfg(not(Py_3_14))]
        this.future.clear();
        return future.result().map(Sent::Returned);
    }
    if future.blocking.replace(true) {
        return Err(PyRuntimeError::new_err("await wasn't used with future"));
    }
    Ok(Sent::Yielded(future.as_any().clone()))
}

/// A future takes no values: what is sent makes no difference.
fn send<'py>(this: Ref<'_, 'py, FutureIter>, _: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match advance(this)? {
        Sent::Yielded(value) => Ok(value),
        Sent::Returned(value) => Err(error::stop_iteration(&value)),
    }
}

fn throw<'py>(this: Ref<'_, 'py, FutureIter>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
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
    let (Some(kind), value, mut traceback) = (args.get(0), given(1), given(2)) else {
        return Err(PyTypeError::new_err("throw expected at least 1 argument, got 0"));
    };
    if traceback.as_ref().is_some_and(|traceback| !traceback.is_instance_of::<PyTraceback>()) {
        return Err(PyTypeError::new_err("throw() third argument must be a traceback"));
    }
    let (class, value) = if error::is_exception_class(&kind) {
        (kind.to_owned(), value)
    } else if error::is_exception(&kind) {
        if value.is_some() {
            return Err(PyTypeError::new_err("instance exception may not have a separate value"));
        }
        traceback = traceback.or_else(|| error::traceback(&kind));
        (kind.get_type().into_any(), Some(kind.to_owned()))
    } else {
        return Err(PyTypeError::new_err(
            "exceptions must be classes deriving BaseException or instances of such a class",
        ));
    };
    let thrown = error::thrown(class, value, traceback);
    this.future.clear();
    Err(thrown)
}

fn close<'py>(this: Ref<'_, 'py, FutureIter>) -> PyResult<Bound<'py, PyAny>> {
    this.future.clear();
    Ok(none(this.py()))
}

fn itself<'py>(this: Ref<'_, 'py, FutureIter>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.to_any())
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<()> {
    let mut slots = vec![unary_slot!(FutureIter, capi::Py_tp_iter, itself)];
    slots.extend(send_slots!(FutureIter, advance));
    build::<FutureIter>(
        &py.get_type::<PyAny>(),
        Definition {
            methods: vec![
                method1!(FutureIter, c"send", send, c"Go on; the value makes no difference."),
                method!(FutureIter, c"throw", throw, c"Raise an exception here."),
                method0!(FutureIter, c"close", close, c"Let go of the future."),
            ],
            slots,
            ..Definition::default()
        },
    )?;
    Ok(())
}
