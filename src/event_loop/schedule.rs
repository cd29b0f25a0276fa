//! `call_soon`, `call_later`, `call_at`, `call_soon_threadsafe`, `create_future`, `create_task`, `time`.

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use super::Loop;
use super::handle::{Handle, HoldsCallback, TimerHandle};
use super::ready::Ready;
use super::thread_safe_handle::ThreadSafeHandle;
use super::timer::Timer;
use crate::ffi::{Args, Owned, Ref, Rest, Signature, call, error};
use crate::{method, method0};

/// What all four take: a callback, its arguments and their context.
struct Call<'a, 'py> {
    callback: Bound<'py, PyAny>,
    args: Rest<'a, 'py>,
    /// `None` is one with nothing in it that has yet to be made.
    context: Option<Bound<'py, PyAny>>,
}

/// How a copy of the current context is taken.
type CurrentContext = for<'p> fn(Python<'p>) -> PyResult<Option<Bound<'p, PyAny>>>;

const CALL_SOON: Signature<2> = Signature {
    name: "call_soon",
    parameters: ["callback", "context"],
    positional: 1,
    required: 1,
};
const CALL_SOON_THREADSAFE: Signature<2> = Signature { name: "call_soon_threadsafe", ..CALL_SOON };
const CALL_LATER: Signature<3> = Signature {
    name: "call_later",
    parameters: ["delay", "callback", "context"],
    positional: 2,
    required: 2,
};
const CALL_AT: Signature<3> =
    Signature { name: "call_at", parameters: ["when", "callback", "context"], ..CALL_LATER };

impl<'a, 'py> Call<'a, 'py> {
    /// Checks and keeps what `name` was called with. Without a context it takes `current`, a copy of the current one.
    #[inline]
    fn new(
        this: Ref<'_, 'py, Loop>,
        name: &'static str,
        callback: Option<Borrowed<'a, 'py, PyAny>>,
        args: Rest<'a, 'py>,
        context: Option<Borrowed<'a, 'py, PyAny>>,
        current: CurrentContext,
    ) -> PyResult<Self> {
        let py = this.py();
        let callback = given(callback, py);
        let context = match context {
            Some(context) if !context.is_none() => Some(context.to_owned()),
            _ => current(py)?,
        };
        if this.debug() {
            // asyncio's call_later() is a call of call_at(), and its messages say so.
            let name = if name == "call_later" { "call_at" } else { name };
            this.as_any().call_method1(intern!(py, "_check_callback"), (&callback, name))?;
        }
        Ok(Call { callback, args, context })
    }

    /// Reads the call of `call_soon` or `call_soon_threadsafe`.
    #[inline]
    fn read(
        this: Ref<'_, 'py, Loop>,
        signature: &Signature<2>,
        args: &Args<'a, 'py>,
        current: CurrentContext,
    ) -> PyResult<Self> {
        let ([callback, context], rest) = args.parse_with_rest(signature)?;
        Call::new(this, signature.name, callback, rest, context, current)
    }

    #[inline]
    fn into_handle<T: HoldsCallback>(self, this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>>
    where
        Ready: From<Owned<T>>,
    {
        let handle = T::create_for_turn(this, self.callback, self.args, self.context)?;
        this.push_handle(handle.clone_ref(this.py()), this.py());
        Ok(handle.into_any(this.py()))
    }
}

fn call_soon<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    this.check_callable()?;
    Call::read(this, &CALL_SOON, args, copy)?.into_handle::<Handle>(this)
}

fn call_soon_threadsafe<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    this.check_closed()?;
    // The queue is guarded by the GIL, which this thread holds.
    // Thousands of calls pile up in it until the loop's thread gets the GIL: each context that isn't made yet is one less for
    // the garbage collector to visit. Most threads' is empty.
    let current = call::copy_context_unless_empty;
    let call = Call::read(this, &CALL_SOON_THREADSAFE, args, current)?;
    let handle = if ThreadSafeHandle::exists() {
        call.into_handle::<ThreadSafeHandle>(this)?
    } else {
        call.into_handle::<Handle>(this)?
    };
    this.wake()?;
    Ok(handle)
}

fn call_at<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let ([when, callback, context], rest) = args.parse_with_rest(&CALL_AT)?;
    let when = moment(when, this.py(), "when cannot be None")?;
    let when = number(&when).map_or_else(|| when.extract(), Ok)?;
    this.check_callable()?;
    schedule(this, when, Call::new(this, "call_at", callback, rest, context, copy)?)
}

fn call_later<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let ([delay, callback, context], rest) = args.parse_with_rest(&CALL_LATER)?;
    let delay = moment(delay, this.py(), "delay must not be None")?;
    let when = match (Loop::own_time(this)?, number(&delay)) {
        (None, Some(delay)) => this.seconds() + delay,
        (None, None) => PyFloat::new(this.py(), this.seconds()).add(delay)?.extract()?,
        (Some(time), _) => time.add(delay)?.extract()?,
    };
    this.check_callable()?;
    schedule(this, when, Call::new(this, "call_later", callback, rest, context, copy)?)
}

fn copy(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    call::copy_context(py).map(Some)
}

/// A required argument, which [`Args::parse_with_rest`] has found.
#[inline]
fn given<'py>(argument: Option<Borrowed<'_, 'py, PyAny>>, py: Python<'py>) -> Bound<'py, PyAny> {
    argument.map_or_else(|| py.None().into_bound(py), |argument| argument.to_owned())
}

/// The first argument of `call_at` and `call_later`. Raises `TypeError` with `message` for `None`.
#[inline]
fn moment<'py>(
    argument: Option<Borrowed<'_, 'py, PyAny>>,
    py: Python<'py>,
    message: &'static str,
) -> PyResult<Bound<'py, PyAny>> {
    let value = given(argument, py);
    if value.is_none() {
        return Err(PyTypeError::new_err(message));
    }
    Ok(value)
}

/// The value of a float or an int, in seconds. What an addition makes of other types is Python's to say.
#[inline]
pub fn number(value: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return Some(float.value());
    }
    let int = value.cast_exact::<PyInt>().ok()?;
    // SAFETY: an int; on an overflow an exception is set.
    let seconds = unsafe { capi::PyLong_AsDouble(int.as_ptr()) };
    if seconds == -1.0
        && let Some(error) = PyErr::take(value.py())
    {
        error::discard(error, value.py());
        return None;
    }
    Some(seconds)
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
            let (args, keywords) = args.to_tuple_and_dict()?;
            let method = this.as_any().getattr(intern!(py, "_create_task_by_factory"))?;
            method.call(args, Some(&keywords))
        }
    }
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            Loop,
            c"call_soon",
            call_soon,
            c"call_soon($self, /, callback, *args, context=None)\n--\n\nCall the callback at the next turn of the loop."
        ),
        method!(
            Loop,
            c"call_soon_threadsafe",
            call_soon_threadsafe,
            c"call_soon_threadsafe($self, /, callback, *args, context=None)\n--\n\nLike call_soon(), from any thread."
        ),
        method!(
            Loop,
            c"call_later",
            call_later,
            c"call_later($self, /, delay, callback, *args, context=None)\n--\n\nCall the callback after delay seconds."
        ),
        method!(
            Loop,
            c"call_at",
            call_at,
            c"call_at($self, /, when, callback, *args, context=None)\n--\n\nCall the callback when the loop's time is when."
        ),
        method0!(Loop, c"time", time, c"time($self)\n--\n\nReturn the loop's clock in seconds: time.monotonic()."),
        method0!(Loop, c"create_future", create_future, c"create_future($self)\n--\n\nReturn a new ferrio.Future of this loop."),
        method!(
            Loop,
            c"create_task",
            create_task,
            c"create_task($self, /, coro, *, name=None, context=None, **kwargs)\n--\n\nSchedule a coroutine; return its task."
        ),
    ]
}
