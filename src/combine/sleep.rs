//! `sleep`.

use std::cell::Cell;

use ferrio_reactor::TimerKey;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;

use super::{none, running_loop};
use crate::define_coroutine;
use crate::event_loop::Loop;
use crate::event_loop::overrides::direct;
use crate::event_loop::schedule::number;
use crate::event_loop::timer::Timer;
use crate::ffi::call::Sent;
use crate::ffi::{Args, Ref, Signature, Slot, Traversal, Visit};
use crate::stdlib::stdlib;
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
use crate::task::create_future;

/// What the coroutine of `sleep` keeps.
#[derive(Default)]
pub struct Sleep {
    /// Whether it is known to last but one turn of the loop, whatever the delay is.
    is_one_turn: Cell<bool>,
    delay: Slot,
    /// What it returns; empty for `None`.
    result: Slot,
    /// While it waits for a time: the loop.
    event_loop: Slot,
    /// On a loop of ferrio's: its place in the timers.
    key: Cell<Option<TimerKey>>,
    /// On another kind of loop: the handle of its timer.
    handle: Slot,
}

static SLEEP: Identity = Identity::new("sleep", file!(), line!());

impl Body for Sleep {
    fn identity() -> &'static Identity {
        &SLEEP
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.delay)?;
        visit.slot(&self.result)?;
        visit.slot(&self.event_loop)?;
        visit.slot(&self.handle)
    }

    fn clear(&self) {
        self.delay.clear();
        self.result.clear();
        self.event_loop.clear();
        self.handle.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let outcome = match resume {
            Resume::Start if this.body.is_one_turn.get() => return Ok(Sent::Yielded(none(py))),
            Resume::Start => {
                let delay = this.body.delay.take(py).unwrap_or_else(|| none(py));
                match duration(&delay)? {
                    // One turn of the loop: a task takes None for that.
                    None => return Ok(Sent::Yielded(none(py))),
                    Some(seconds) => wait(this, seconds, &delay)?,
                }
            }
            Resume::Thrown(error) if this.body.event_loop.is_empty() => return Err(error),
            Resume::Sent if this.body.event_loop.is_empty() => Sent::Returned(none(py)),
            resume => {
                let outcome = this.go_on(resume);
                cancel_timer(this)?;
                outcome?
            }
        };
        match outcome {
            Sent::Returned(_) => Ok(Sent::Returned(this.body.result.get_or_none(py))),
            yielded => Ok(yielded),
        }
    }
}

/// How long to wait, in seconds; `None` for no time at all. What is no float or int is asked in Python's way, and its
/// number of seconds is of no account.
#[inline]
fn duration(delay: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    let seconds = match number(delay) {
        Some(seconds) => seconds,
        None if delay.le(0)? => return Ok(None),
        None => {
            let py = delay.py();
            let is_nan = cfg!(Py_3_13)
                && py.import("math")?.call_method1(intern!(py, "isnan"), (delay,))?.is_truthy()?;
            if is_nan { f64::NAN } else { 1.0 }
        }
    };
    if seconds <= 0.0 {
        return Ok(None);
    }
    if cfg!(Py_3_13) && seconds.is_nan() {
        return Err(PyValueError::new_err("Invalid delay: NaN (not a number)"));
    }
    Ok(Some(seconds))
}

/// Awaits a future that ends after `delay`, which is `seconds` if it is a float or an int.
fn wait<'py>(
    this: Ref<'_, 'py, Coroutine<Sleep>>,
    seconds: f64,
    delay: &Bound<'py, PyAny>,
) -> PyResult<Sent<'py>> {
    let py = this.py();
    let running = running_loop(py)?;
    let future = match direct(&running)? {
        Some(event_loop) if number(delay).is_some() => {
            let future = create_future(event_loop)?;
            let when = event_loop.seconds() + seconds;
            let key = event_loop.add_timer(when, Timer::Wake(future.clone_ref(py)));
            this.body.key.set(Some(key));
            future.into_any(py)
        }
        _ => {
            let future = running.call_method0(intern!(py, "create_future"))?;
            let wake = stdlib(py).set_result_unless_cancelled.bind(py);
            let result = this.body.result.get_or_none(py);
            let handle =
                running.call_method1(intern!(py, "call_later"), (delay, wake, &future, result))?;
            this.body.handle.set(handle);
            future
        }
    };
    this.body.event_loop.set(running);
    let outcome = this.begin(&future);
    if !matches!(outcome, Ok(Sent::Yielded(_))) {
        cancel_timer(this)?;
    }
    outcome
}

/// Takes the timer back, if it is still there.
fn cancel_timer(this: Ref<'_, '_, Coroutine<Sleep>>) -> PyResult<()> {
    let py = this.py();
    if let Some(key) = this.body.key.take()
        && let Some(event_loop) = this.body.event_loop.get(py)
        && let Some(event_loop) = Ref::<Loop>::cast(&event_loop)
    {
        drop(event_loop.cancel_timer(key));
    }
    match this.body.handle.take(py) {
        None => Ok(()),
        Some(handle) => handle.call_method0(intern!(py, "cancel")).map(drop),
    }
}

/// `sleep(delay, result=None)`
pub fn sleep<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const SLEEP: Signature<2> =
        Signature { name: "sleep", parameters: ["delay", "result"], positional: 2, required: 1 };
    let [delay, result] = args.parse(&SLEEP)?;
    if result.is_none()
        && delay.is_some_and(|delay| number(&delay).is_some_and(|delay| delay <= 0.0))
    {
        return Coroutine::<Sleep>::create_untracked(args.py(), |sleep| {
            sleep.is_one_turn.set(true)
        });
    }
    Coroutine::<Sleep>::create(args.py(), |sleep| {
        if let Some(delay) = delay {
            sleep.delay.set(delay.to_owned());
        }
        if let Some(result) = result {
            sleep.result.set(result.to_owned());
        }
    })
}

/// Builds the class of the coroutine.
pub fn define(py: Python<'_>) -> PyResult<()> {
    define_coroutine!(py, Sleep)
}
