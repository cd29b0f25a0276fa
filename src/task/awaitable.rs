//! What `await future` runs: the iterator that yields the future once and returns its result.

use std::ffi::CStr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi as capi;
use pyo3::prelude::*;

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
        Sent::Returned(value) => Err(error::stop_iteration(value)),
    }
}

fn throw<'py>(this: Ref<'_, 'py, FutureIter>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let thrown = error::thrown_by(args)?;
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
