//! `ferrio.Future`: the methods and attributes that Python sees. A task has all but a few of them.

use pyo3::exceptions::{PyAttributeError, PyValueError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::callbacks::Callback;
use super::future::{AnyFuture, Future, IsFuture, State};
use super::{awaitable, boolean, none};
use crate::ffi::{Args, Definition, Ref, Signature, build, call};
use crate::stdlib::stdlib;
use crate::{init_slot, method, method1, unary_slot};

fn init(this: Ref<'_, '_, Future>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<1> =
        Signature { name: "Future", parameters: ["loop"], positional: 0, required: 0 };
    let [event_loop] = args.parse(&INIT)?;
    AnyFuture::from(this).init(event_loop.map(|event_loop| event_loop.to_owned()))
}

pub(super) fn result<'py, T: IsFuture>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    let future = AnyFuture::from(this);
    if future.event_loop.is_empty() {
        return Err(future.invalid_state("Future object is not initialized."));
    }
    future.result()
}

pub(super) fn exception<'py, T: IsFuture>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    let future = AnyFuture::from(this);
    if future.event_loop.is_empty() {
        return Err(future.invalid_state("Future object is not initialized."));
    }
    match future.state.get() {
        State::Cancelled => Err(crate::ffi::error::raise(&future.make_cancelled_error()?)),
        State::Pending => Err(future.invalid_state("Exception is not set.")),
        State::Finished => {
            let exception = future.exception.get(this.py());
            if exception.is_some() {
                future.log_traceback.set(false);
            }
            Ok(exception.unwrap_or_else(|| none(this.py())))
        }
    }
}

fn set_result<'py>(
    this: Ref<'_, 'py, Future>,
    result: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    AnyFuture::from(this).set_result(result.clone())?;
    Ok(none(this.py()))
}

fn set_exception<'py>(
    this: Ref<'_, 'py, Future>,
    exception: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let future = AnyFuture::from(this);
    future.check_initialized()?;
    future.set_exception(exception.clone())?;
    Ok(none(this.py()))
}

pub(super) fn add_done_callback<'py, T: IsFuture>(
    this: Ref<'_, 'py, T>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    const ADD: Signature<2> = Signature {
        name: "add_done_callback",
        parameters: ["", "context"],
        positional: 1,
        required: 1,
    };
    let [callable, context] = args.parse(&ADD)?;
    let py = this.py();
    let context = match context {
        Some(context) => context.to_owned(),
        None => call::copy_context(py)?,
    };
    let callable = callable.map_or_else(|| none(py), |callable| callable.to_owned());
    AnyFuture::from(this).add_callback(Callback::python(callable, context))?;
    Ok(none(py))
}

pub(super) fn remove_done_callback<'py, T: IsFuture>(
    this: Ref<'_, 'py, T>,
    callable: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let future = AnyFuture::from(this);
    future.check_initialized()?;
    Ok(future.callbacks.remove(callable)?.into_pyobject(this.py())?.into_any())
}

pub(super) const CANCEL: Signature<1> =
    Signature { name: "cancel", parameters: ["msg"], positional: 1, required: 0 };

fn cancel<'py>(this: Ref<'_, 'py, Future>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let [message] = args.parse(&CANCEL)?;
    let future = AnyFuture::from(this);
    future.check_initialized()?;
    let cancelled = future.cancel(message.map(|message| message.to_owned()))?;
    Ok(boolean(this.py(), cancelled))
}

pub(super) fn cancelled<'py, T: IsFuture>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.future().state.get() == State::Cancelled))
}

pub(super) fn done<'py, T: IsFuture>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.future().done()))
}

pub(super) fn get_loop<'py, T: IsFuture>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    AnyFuture::from(this).check_initialized()?;
    loop_attribute(this)
}

pub(super) fn make_cancelled_error<'py, T: IsFuture>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    AnyFuture::from(this).make_cancelled_error()
}

pub(super) fn loop_attribute<'py, T: IsFuture>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.future().event_loop.get_or_none(this.py()))
}

pub(super) fn state<'py, T: IsFuture>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    AnyFuture::from(this).check_initialized()?;
    let py = this.py();
    let name = match this.future().state.get() {
        State::Pending => intern!(py, "PENDING"),
        State::Cancelled => intern!(py, "CANCELLED"),
        State::Finished => intern!(py, "FINISHED"),
    };
    Ok(name.clone().into_any())
}

pub(super) fn result_attribute<'py, T: IsFuture>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    AnyFuture::from(this).check_initialized()?;
    Ok(this.future().result.get_or_none(this.py()))
}

pub(super) fn exception_attribute<'py, T: IsFuture>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    AnyFuture::from(this).check_initialized()?;
    Ok(this.future().exception.get_or_none(this.py()))
}

pub(super) fn callbacks<'py, T: IsFuture>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    AnyFuture::from(this).check_initialized()?;
    this.future().callbacks.to_list(this.py())
}

pub(super) fn source_traceback<'py, T: IsFuture>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.future().source_traceback.get_or_none(this.py()))
}

pub(super) fn get_log_traceback<'py, T: IsFuture>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    AnyFuture::from(this).check_initialized()?;
    Ok(boolean(this.py(), this.future().log_traceback.get()))
}

pub(super) fn set_log_traceback<T: IsFuture>(
    this: Ref<'_, '_, T>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    if given(value)?.is_truthy()? {
        return Err(PyValueError::new_err("_log_traceback can only be set to False"));
    }
    this.future().log_traceback.set(false);
    Ok(())
}

pub(super) fn get_blocking<'py, T: IsFuture>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    let future = this.future();
    Ok(boolean(this.py(), !future.event_loop.is_empty() && future.blocking.get()))
}

pub(super) fn set_blocking<T: IsFuture>(
    this: Ref<'_, '_, T>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    AnyFuture::from(this).check_initialized()?;
    let blocking = given(value)?.is_truthy()?;
    this.future().blocking.set(blocking);
    Ok(())
}

pub(super) fn get_cancel_message<'py, T: IsFuture>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.future().cancel_message.get_or_none(this.py()))
}

pub(super) fn set_cancel_message<T: IsFuture>(
    this: Ref<'_, '_, T>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    this.future().cancel_message.set(given(value)?.clone());
    Ok(())
}

/// The value that a setter got. Raises `AttributeError` for `del`.
pub(super) fn given<'a, 'py>(
    value: Option<&'a Bound<'py, PyAny>>,
) -> PyResult<&'a Bound<'py, PyAny>> {
    value.ok_or_else(|| PyAttributeError::new_err("cannot delete attribute"))
}

fn repr<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    AnyFuture::from(this).check_initialized()?;
    let py = this.py();
    call::call1(stdlib(py).future_repr.bind(py), this.as_any())
}

/// `__class_getitem__`, from C as in every generic class of the standard library.
pub(super) fn class_getitem() -> capi::PyMethodDef {
    capi::PyMethodDef {
        ml_name: c"__class_getitem__".as_ptr(),
        ml_meth: capi::PyMethodDefPointer { PyCFunction: capi::Py_GenericAlias },
        ml_flags: capi::METH_O | capi::METH_CLASS,
        ml_doc: c"See PEP 585".as_ptr(),
    }
}

/// The methods that both classes have.
#[macro_export]
#[doc(hidden)]
macro_rules! future_methods {
    ($class:ty) => {
        vec![
            $crate::method0!(
                $class,
                c"result",
                $crate::task::future_type::result,
                c"Return the result this future represents.\n\nRaises the exception that was set, \
                  CancelledError, or InvalidStateError while the future is not done."
            ),
            $crate::method0!(
                $class,
                c"exception",
                $crate::task::future_type::exception,
                c"Return the exception that was set, or None.\n\nRaises CancelledError, or \
                  InvalidStateError while the future is not done."
            ),
            $crate::method!(
                $class,
                c"add_done_callback",
                $crate::task::future_type::add_done_callback,
                c"add_done_callback(fn, /, *, context=None)\n\nCall fn(future) soon after the future is done."
            ),
            $crate::method1!(
                $class,
                c"remove_done_callback",
                $crate::task::future_type::remove_done_callback,
                c"Remove all instances of a callback; return how many there were."
            ),
            $crate::method0!(
                $class,
                c"cancelled",
                $crate::task::future_type::cancelled,
                c"Return True if the future was cancelled."
            ),
            $crate::method0!(
                $class,
                c"done",
                $crate::task::future_type::done,
                c"Return True if the future is done: it has a result or an exception, or was cancelled."
            ),
            $crate::method0!(
                $class,
                c"get_loop",
                $crate::task::future_type::get_loop,
                c"Return the event loop the future is bound to."
            ),
            $crate::method0!(
                $class,
                c"_make_cancelled_error",
                $crate::task::future_type::make_cancelled_error,
                c"Return the CancelledError to raise; the one with a context only once."
            ),
            $crate::task::future_type::class_getitem(),
        ]
    };
}

/// The attributes that both classes have.
#[macro_export]
#[doc(hidden)]
macro_rules! future_attributes {
    ($class:ty) => {{
        use $crate::task::future_type as methods;
        vec![
            $crate::attribute!($class, c"_state", methods::state),
            $crate::attribute!($class, c"_loop", methods::loop_attribute),
            $crate::attribute!($class, c"_callbacks", methods::callbacks),
            $crate::attribute!($class, c"_result", methods::result_attribute),
            $crate::attribute!($class, c"_exception", methods::exception_attribute),
            $crate::attribute!($class, c"_source_traceback", methods::source_traceback),
            $crate::attribute!(
                $class,
                c"_asyncio_future_blocking",
                methods::get_blocking,
                methods::set_blocking
            ),
            $crate::attribute!(
                $class,
                c"_log_traceback",
                methods::get_log_traceback,
                methods::set_log_traceback
            ),
            $crate::attribute!(
                $class,
                c"_cancel_message",
                methods::get_cancel_message,
                methods::set_cancel_message
            ),
        ]
    }};
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let mut methods = future_methods!(Future);
    methods.extend([
        method1!(Future, c"set_result", set_result, c"Mark the future done and set its result."),
        method1!(
            Future,
            c"set_exception",
            set_exception,
            c"Mark the future done and set an exception."
        ),
        method!(
            Future,
            c"cancel",
            cancel,
            c"cancel(msg=None)\n\nCancel the future and schedule callbacks; return whether it was pending."
        ),
    ]);
    build::<Future>(
        py.import("_asyncio")?.getattr("Future")?.cast()?,
        Definition {
            doc: Some(
                c"Future(*, loop=None)\n--\n\nA result that is not there yet: asyncio.Future.",
            ),
            methods,
            attributes: future_attributes!(Future),
            slots: vec![
                init_slot!(Future, init),
                unary_slot!(Future, capi::Py_tp_repr, repr),
                unary_slot!(Future, capi::Py_tp_iter, awaitable::iter),
                unary_slot!(Future, capi::Py_am_await, awaitable::iter),
            ],
            subclassable: true,
            constructible: true,
            // A task's fields lie at the same offset, and begin with a future's: see `adopt`.
            fields_behind: py
                .import("_asyncio")?
                .getattr("Task")?
                .getattr("__basicsize__")?
                .extract()?,
            ..Definition::default()
        },
    )
}
