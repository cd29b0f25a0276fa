//! `ferrio.Future`: the methods and attributes that Python sees. `ferrio.Task` inherits them.

use pyo3::exceptions::{PyAttributeError, PyValueError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::callbacks::Callback;
use super::future::{Future, State};
use super::{awaitable, boolean, none};
use crate::ffi::{Args, Definition, Ref, Signature, build, call, error};
use crate::stdlib::stdlib;
use crate::{attribute, init_slot, method, method0, method1, unary_slot};

fn init(this: Ref<'_, '_, Future>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<1> =
        Signature { name: "Future", parameters: ["loop"], positional: 0, required: 0 };
    let [event_loop] = args.parse(&INIT)?;
    this.init(event_loop.map(|event_loop| event_loop.to_owned()))
}

fn result<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    if this.event_loop.is_empty() {
        return Err(this.invalid_state("Future object is not initialized."));
    }
    this.result()
}

fn exception<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    if this.event_loop.is_empty() {
        return Err(this.invalid_state("Future object is not initialized."));
    }
    match this.state.get() {
        State::Cancelled => Err(error::raise(&this.make_cancelled_error()?)),
        State::Pending => Err(this.invalid_state("Exception is not set.")),
        State::Finished => {
            let exception = this.retrieve_exception(this.py());
            Ok(exception.unwrap_or_else(|| none(this.py())))
        }
    }
}

fn set_result<'py>(
    this: Ref<'_, 'py, Future>,
    result: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.set_result(result.clone())?;
    Ok(none(this.py()))
}

fn set_exception<'py>(
    this: Ref<'_, 'py, Future>,
    exception: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    this.set_exception(exception.clone())?;
    Ok(none(this.py()))
}

fn add_done_callback<'py>(
    this: Ref<'_, 'py, Future>,
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
    this.add_callback(Callback::python(callable, context))?;
    Ok(none(py))
}

fn remove_done_callback<'py>(
    this: Ref<'_, 'py, Future>,
    callable: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    Ok(this.callbacks.remove(callable)?.into_pyobject(this.py())?.into_any())
}

pub(super) const CANCEL: Signature<1> =
    Signature { name: "cancel", parameters: ["msg"], positional: 1, required: 0 };

fn cancel<'py>(this: Ref<'_, 'py, Future>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let [message] = args.parse(&CANCEL)?;
    this.check_initialized()?;
    let cancelled = this.cancel(message.map(|message| message.to_owned()))?;
    Ok(boolean(this.py(), cancelled))
}

fn cancelled<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.state.get() == State::Cancelled))
}

fn done<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.done()))
}

fn get_loop<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    loop_attribute(this)
}

fn make_cancelled_error<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    this.make_cancelled_error()
}

fn loop_attribute<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.event_loop.get_or_none(this.py()))
}

fn state<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    let py = this.py();
    let name = match this.state.get() {
        State::Pending => intern!(py, "PENDING"),
        State::Cancelled => intern!(py, "CANCELLED"),
        State::Finished => intern!(py, "FINISHED"),
    };
    Ok(name.clone().into_any())
}

fn result_attribute<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    Ok(this.result.get_or_none(this.py()))
}

fn exception_attribute<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    Ok(this.exception.get_or_none(this.py()))
}

fn callbacks<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    this.callbacks.to_list(this.py())
}

fn source_traceback<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.source_traceback.get_or_none(this.py()))
}

fn get_log_traceback<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    Ok(boolean(this.py(), this.log_traceback.get()))
}

fn set_log_traceback(this: Ref<'_, '_, Future>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    if given(this.as_any(), value, "_log_traceback")?.is_truthy()? {
        return Err(PyValueError::new_err("_log_traceback can only be set to False"));
    }
    this.log_traceback.set(false);
    Ok(())
}

fn get_blocking<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), !this.event_loop.is_empty() && this.blocking.get()))
}

fn set_blocking(this: Ref<'_, '_, Future>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    if !cfg!(Py_3_14) {
        this.check_initialized()?;
    }
    let value = given(this.as_any(), value, "_asyncio_future_blocking")?;
    this.check_initialized()?;
    let blocking = value.is_truthy()?;
    this.blocking.set(blocking);
    Ok(())
}

fn get_cancel_message<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.cancel_message.get_or_none(this.py()))
}

fn set_cancel_message(this: Ref<'_, '_, Future>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.cancel_message.set(given(this.as_any(), value, "_cancel_message")?.clone());
    Ok(())
}

/// The value that the setter of an attribute got. Raises `AttributeError` for `del`.
pub(super) fn given<'a, 'py>(
    object: &Bound<'py, PyAny>,
    value: Option<&'a Bound<'py, PyAny>>,
    name: &str,
) -> PyResult<&'a Bound<'py, PyAny>> {
    match value {
        Some(value) => Ok(value),
        None if cfg!(Py_3_14) => Err(PyAttributeError::new_err(format!(
            "attribute '{name}' of '{}' objects cannot be deleted",
            object.get_type().name()?
        ))),
        None => Err(PyAttributeError::new_err("cannot delete attribute")),
    }
}

fn repr<'py>(this: Ref<'_, 'py, Future>) -> PyResult<Bound<'py, PyAny>> {
    this.check_initialized()?;
    let py = this.py();
    call::call1(stdlib(py).future_repr.bind(py), this.as_any())
}

/// `__class_getitem__`, from C as in every generic class of the standard library.
fn class_getitem() -> capi::PyMethodDef {
    capi::PyMethodDef {
        ml_name: c"__class_getitem__".as_ptr(),
        ml_meth: capi::PyMethodDefPointer { PyCFunction: capi::Py_GenericAlias },
        ml_flags: capi::METH_O | capi::METH_CLASS,
        ml_doc: c"See PEP 585".as_ptr(),
    }
}

fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method0!(
            Future,
            c"result",
            result,
            c"result($self)\n--\n\nReturn the result this future represents.\n\nRaises the exception that was set, CancelledError, \
              or InvalidStateError while the future is not done."
        ),
        method0!(
            Future,
            c"exception",
            exception,
            c"exception($self)\n--\n\nReturn the exception that was set, or None.\n\nRaises CancelledError, or InvalidStateError while \
              the future is not done."
        ),
        method1!(
            Future,
            c"set_result",
            set_result,
            c"set_result($self, result, /)\n--\n\nMark the future done and set its result."
        ),
        method1!(
            Future,
            c"set_exception",
            set_exception,
            c"set_exception($self, exception, /)\n--\n\nMark the future done and set an exception."
        ),
        method!(
            Future,
            c"add_done_callback",
            add_done_callback,
            c"add_done_callback($self, fn, /, *, context=None)\n--\n\nCall fn(future) soon after the future is done."
        ),
        method1!(
            Future,
            c"remove_done_callback",
            remove_done_callback,
            c"remove_done_callback($self, fn, /)\n--\n\nRemove all instances of a callback; return how many there were."
        ),
        method!(
            Future,
            c"cancel",
            cancel,
            c"cancel($self, /, msg=None)\n--\n\nCancel the future and schedule callbacks; return whether it was pending."
        ),
        method0!(
            Future,
            c"cancelled",
            cancelled,
            c"cancelled($self)\n--\n\nReturn True if the future was cancelled."
        ),
        method0!(
            Future,
            c"done",
            done,
            c"done($self)\n--\n\nReturn True if the future is done: it has a result or an exception, or was cancelled."
        ),
        method0!(
            Future,
            c"get_loop",
            get_loop,
            c"get_loop($self)\n--\n\nReturn the event loop the future is bound to."
        ),
        method0!(
            Future,
            c"_make_cancelled_error",
            make_cancelled_error,
            c"_make_cancelled_error($self)\n--\n\nReturn the CancelledError to raise; the one with a context only once."
        ),
        class_getitem(),
    ]
}

fn attributes() -> Vec<capi::PyGetSetDef> {
    vec![
        attribute!(Future, c"_state", state),
        attribute!(Future, c"_loop", loop_attribute),
        attribute!(Future, c"_callbacks", callbacks),
        attribute!(Future, c"_result", result_attribute),
        attribute!(Future, c"_exception", exception_attribute),
        attribute!(Future, c"_source_traceback", source_traceback),
        attribute!(Future, c"_asyncio_future_blocking", get_blocking, set_blocking),
        attribute!(Future, c"_log_traceback", get_log_traceback, set_log_traceback),
        attribute!(Future, c"_cancel_message", get_cancel_message, set_cancel_message),
    ]
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    build::<Future>(
        py.import("_asyncio")?.getattr("Future")?.cast()?,
        Definition {
            doc: Some(
                c"Future(*, loop=None)\n--\n\nA result that is not there yet: asyncio.Future.",
            ),
            methods: methods(),
            attributes: attributes(),
            slots: vec![
                init_slot!(Future, init),
                unary_slot!(Future, capi::Py_tp_repr, repr),
                unary_slot!(Future, capi::Py_tp_iter, awaitable::iter),
                unary_slot!(Future, capi::Py_am_await, awaitable::iter),
            ],
            subclassable: true,
            constructible: true,
            // Where a task's fields lie, which begin with a future's.
            fields_behind: py
                .import("_asyncio")?
                .getattr("Task")?
                .getattr("__basicsize__")?
                .extract()?,
            ..Definition::default()
        },
    )
}
