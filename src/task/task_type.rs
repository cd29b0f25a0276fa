//! `ferrio.Task`: the methods and attributes that Python sees, beside those of every future.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi as capi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::future::Future;
use super::future_type::{CANCEL, given};
use super::task::Task;
use super::{boolean, none};
use crate::ffi::{Args, Class, Definition, Ref, Signature, build, call};
use crate::stdlib::stdlib;
use crate::{attribute, init_slot, method, method0, method1, unary_slot};

fn set_result<'py>(_: Ref<'_, 'py, Task>, _: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    Err(PyRuntimeError::new_err("Task does not support set_result operation"))
}

fn set_exception<'py>(_: Ref<'_, 'py, Task>, _: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    Err(PyRuntimeError::new_err("Task does not support set_exception operation"))
}

fn cancel<'py>(this: Ref<'_, 'py, Task>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let [message] = args.parse(&CANCEL)?;
    let message = message.map_or_else(|| none(this.py()), |message| message.to_owned());
    Ok(boolean(this.py(), Task::cancel(this, message)?))
}

fn cancelling<'py>(this: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.cancels.get().into_pyobject(this.py())?.into_any())
}

fn uncancel<'py>(this: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.uncancel().into_pyobject(this.py())?.into_any())
}

fn get_stack<'py>(this: Ref<'_, 'py, Task>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const STACK: Signature<1> =
        Signature { name: "get_stack", parameters: ["limit"], positional: 0, required: 0 };
    let [limit] = args.parse(&STACK)?;
    let py = this.py();
    stdlib(py).task_get_stack.bind(py).call1((this.as_any(), limit))
}

fn print_stack<'py>(this: Ref<'_, 'py, Task>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const STACK: Signature<2> = Signature {
        name: "print_stack",
        parameters: ["limit", "file"],
        positional: 0,
        required: 0,
    };
    let [limit, file] = args.parse(&STACK)?;
    let py = this.py();
    stdlib(py).task_print_stack.bind(py).call1((this.as_any(), limit, file))
}

fn get_coro<'py>(this: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.coro.get_or_none(this.py()))
}

#[cfg(Py_3_12)]
fn get_context<'py>(this: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.context.get_or_none(this.py()))
}

fn get_name<'py>(this: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.name(this.py()))
}

fn set_name<'py>(
    this: Ref<'_, 'py, Task>,
    name: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.set_name(name.clone())?;
    Ok(none(this.py()))
}

fn repr<'py>(this: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    call::call1(stdlib(py).task_repr.bind(py), this.as_any())
}

fn get_log_destroy_pending<'py>(this: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.log_destroy_pending.get()))
}

fn set_log_destroy_pending(
    this: Ref<'_, '_, Task>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = given(this.as_any(), value, "_log_destroy_pending")?;
    this.log_destroy_pending.set(value.is_truthy()?);
    Ok(())
}

fn must_cancel<'py>(this: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.must_cancel.get()))
}

fn waiter<'py>(this: Ref<'_, 'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.waiter.get_or_none(this.py()))
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let methods = vec![
        method1!(Task, c"set_result", set_result, c"set_result($self, result, /)\n--\n\nRaise RuntimeError: a task sets its own."),
        method1!(Task, c"set_exception", set_exception, c"set_exception($self, exception, /)\n--\n\nRaise RuntimeError: a task sets its own."),
        method!(
            Task,
            c"cancel",
            cancel,
            c"cancel($self, /, msg=None)\n--\n\nThrow a CancelledError into the coroutine at its next step.\n\n\
              Unlike Future.cancel() this does not guarantee that the task will be cancelled: the coroutine may \
              catch the exception. Return False if the task is done already."
        ),
        method0!(Task, c"cancelling", cancelling, c"cancelling($self)\n--\n\nReturn the number of cancellation requests."),
        method0!(
            Task,
            c"uncancel",
            uncancel,
            c"uncancel($self)\n--\n\nTake back one cancellation request; return the number of those left."
        ),
        method!(
            Task,
            c"get_stack",
            get_stack,
            c"get_stack($self, /, *, limit=None)\n--\n\nReturn the list of stack frames of the coroutine, newest last."
        ),
        method!(
            Task,
            c"print_stack",
            print_stack,
            c"print_stack($self, /, *, limit=None, file=None)\n--\n\nPrint the stack or traceback of the coroutine."
        ),
        method0!(Task, c"get_coro", get_coro, c"get_coro($self)\n--\n\nReturn the coroutine."),
        #[cfg(Py_3_12)]
        method0!(Task, c"get_context", get_context, c"get_context($self)\n--\n\nReturn the contextvars.Context of the task."),
        method0!(Task, c"get_name", get_name, c"get_name($self)\n--\n\nReturn the name."),
        method1!(Task, c"set_name", set_name, c"set_name($self, value, /)\n--\n\nSet the name to str(value)."),
    ];
    let attributes = vec![
        attribute!(Task, c"_log_destroy_pending", get_log_destroy_pending, set_log_destroy_pending),
        attribute!(Task, c"_must_cancel", must_cancel),
        attribute!(Task, c"_coro", get_coro),
        attribute!(Task, c"_fut_waiter", waiter),
    ];
    build::<Task>(
        py.import("_asyncio")?.getattr("Task")?.cast()?,
        Definition {
            doc: Some(if cfg!(Py_3_12) {
                c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\n\
                  A coroutine wrapped in a future: asyncio.Task."
            } else {
                c"Task(coro, *, loop=None, name=None, context=None)\n--\n\n\
                  A coroutine wrapped in a future: asyncio.Task."
            }),
            methods,
            attributes,
            slots: vec![init_slot!(Task, Task::init), unary_slot!(Task, capi::Py_tp_repr, repr)],
            subclassable: true,
            constructible: true,
            extends: Some(Future::class()),
            ..Definition::default()
        },
    )
}
