//! `call_soon`, `call_later`, `call_at`, `call_soon_threadsafe`, `create_future`, `create_task`, `time`.

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt};

use super::Loop;
use super::handle::{Handle, TimerHandle};
use super::ready::Ready;
use super::timer::Timer;
use crate::ffi::{Args, Ref, Rest, call, error};
use crate::{method, method0};

/// What all four take behind their first arguments: `callback, *args, context=None`.
struct Call<'a, 'py> {
    callback: Bound<'py, PyAny>,
    args: Rest<'a, 'py>,
    context: Bound<'py, PyAny>,
}

impl<'a, 'py> Call<'a, 'py> {
    /// Reads the call of `name` with the callback at `index`. Without a context, a copy of the current one is taken.
    #[inline]
    fn read(
        this: Ref<'_, 'py, Loop>,
        name: &'static str,
        index: usize,
        args: &Args<'a, 'py>,
    ) -> PyResult<Self> {
        let callback = args.get(index).ok_or_else(|| {
            PyTypeError::new_err(format!("{name}() missing required argument: 'callback'"))
        })?;
        let mut context = None;
        args.each_keyword(|keyword, value| {
            if keyword != "context" {
                return Err(PyTypeError::new_err(format!(
                    "{name}() got an unexpected keyword argument '{keyword}'"
                )));
            }
            if !value.is_none() {
                context = Some(value.to_owned());
            }
            Ok(())
        })?;
        let context = match context {
            None => call::copy_context(this.py())?,
            Some(context) => context,
        };
        if this.debug() {
            // asyncio's call_later() is a call of call_at(), and its messages say so.
            let name = if name == "call_later" { "call_at" } else { name };
            this.as_any().call_method1(intern!(this.py(), "_check_callback"), (callback, name))?;
        }
        Ok(Call { callback: callback.to_owned(), args: args.rest(index + 1), context })
    }

    #[inline]
    fn into_handle(self, this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
        let handle = Handle::create(this, self.callback, self.args, self.context)?;
        this.push(Ready::Handle(handle.clone_ref(this.py())));
        Ok(handle.into_any(this.py()))
    }
}

fn call_soon<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    this.check_callable()?;
    Call::read(this, "call_soon", 0, args)?.into_handle(this)
}

fn call_soon_threadsafe<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    this.check_closed()?;
    // The queue is guarded by the GIL, which this thread holds.
    let handle = Call::read(this, "call_soon_threadsafe", 0, args)?.into_handle(this)?;
    this.wake()?;
    Ok(handle)
}

fn call_at<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let when = moment(args, "call_at", "when", "when cannot be None")?;
    let when = number(&when).map_or_else(|| when.extract(), Ok)?;
    this.check_callable()?;
    schedule(this, when, Call::read(this, "call_at", 1, args)?)
}

fn call_later<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let delay = moment(args, "call_later", "delay", "delay must not be None")?;
    let when = match number(&delay) {
        Some(delay) => this.seconds() + delay,
        None => PyFloat::new(this.py(), this.seconds()).add(delay)?.extract()?,
    };
    this.check_callable()?;
    schedule(this, when, Call::read(this, "call_later", 1, args)?)
}

/// The first argument of `call_at` and `call_later`; `message` is for `None`.
#[inline]
fn moment<'a, 'py>(
    args: &Args<'a, 'py>,
    name: &str,
    parameter: &str,
    message: &'static str,
) -> PyResult<Borrowed<'a, 'py, PyAny>> {
    let value = args.get(0).ok_or_else(|| {
        PyTypeError::new_err(format!("{name}() missing required argument: '{parameter}'"))
    })?;
    if value.is_none() {
        return Err(PyTypeError::new_err(message));
    }
    Ok(value)
}

/// The value of a float or an int, in seconds. What an addition makes of other types is Python's to say.
#[inline]
pub fn number(value: &Bound<'_, PyAny>) -> Option<f64> {
    if value.is_exact_instance_of::<PyFloat>() {
        return value.extract().ok();
    }
    // An int by way of a float object would cost more than the rest of the call.
    let int = value.cast_exact::<PyInt>().ok()?;
    error::ok(int.extract::<i32>(), value.py()).map(f64::from).or_else(|| value.extract().ok())
}

#[inline]
fn schedule<'py>(
    this: Ref<'_, 'py, Loop>,
    when: f64,
    call: Call<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let timer = TimerHandle::create(this, when, call.callback, call.args, call.context)?;
    let key = this.add_timer(when, Timer::Handle(timer.clone_ref(py)));
    timer.get(py).set_key(Some(key));
    Ok(timer.into_any(py))
}

fn time<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyFloat::new(this.py(), this.seconds()).into_any())
}

fn create_future<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    crate::task::create_future(this).map(|future| future.into_any(this.py()))
}

fn create_task<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    this.check_closed()?;
    let py = this.py();
    match this.task_factory.get(py) {
        None => crate::task::create_task(this, args),
        // How a factory is called differs from version to version: asyncio's own method knows.
        Some(_) => {
            let keywords = PyDict::new(py);
            args.each_keyword(|name, value| keywords.set_item(name, value))?;
            let method = this.as_any().getattr(intern!(py, "_create_task_by_factory"))?;
            method.call(args.rest(0).to_tuple()?, Some(&keywords))
        }
    }
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            Loop,
            c"call_soon",
            call_soon,
            c"call_soon(callback, *args, context=None)\n\nCall the callback at the next turn of the loop."
        ),
        method!(
            Loop,
            c"call_soon_threadsafe",
            call_soon_threadsafe,
            c"call_soon_threadsafe(callback, *args, context=None)\n\nLike call_soon(), from any thread."
        ),
        method!(
            Loop,
            c"call_later",
            call_later,
            c"call_later(delay, callback, *args, context=None)\n\nCall the callback after delay seconds."
        ),
        method!(
            Loop,
            c"call_at",
            call_at,
            c"call_at(when, callback, *args, context=None)\n\nCall the callback when the loop's time is when."
        ),
        method0!(Loop, c"time", time, c"Return the loop's clock in seconds: time.monotonic()."),
        method0!(Loop, c"create_future", create_future, c"Return a new ferrio.Future of this loop."),
        method!(
            Loop,
            c"create_task",
            create_task,
            c"create_task(coro, *, name=None, context=None, **kwargs)\n\nSchedule a coroutine; return its task."
        ),
    ]
}
