//! `wait_for`, as it is from Python 3.12 on: `async with timeout(delay): return await awaitable`.

use pyo3::prelude::*;

use super::none;
use super::timeout::Timeout;
use crate::define_coroutine;
use crate::event_loop::schedule::number;
use crate::ffi::call::Sent;
use crate::ffi::{Args, Ref, Signature, Slot, Traversal, Visit, error};
use crate::stdlib::stdlib;
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};

/// What the coroutine of `wait_for` keeps.
#[derive(Default)]
pub struct WaitFor {
    awaitable: Slot,
    delay: Slot,
    /// The time-out, while the awaitable is awaited within it.
    timeout: Slot,
}

static WAIT_FOR: Identity = Identity::new("wait_for", file!(), line!());

impl Body for WaitFor {
    fn identity() -> &'static Identity {
        &WAIT_FOR
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.awaitable)?;
        visit.slot(&self.delay)?;
        visit.slot(&self.timeout)
    }

    fn clear(&self) {
        self.awaitable.clear();
        self.delay.clear();
        self.timeout.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let outcome = match resume {
            Resume::Start => {
                let awaitable = this.body.awaitable.take(py).unwrap_or_else(|| none(py));
                let delay = this.body.delay.take(py).unwrap_or_else(|| none(py));
                if !delay.is_none() && is_over(&delay)? {
                    // It is cancelled unless it is done: seldom, and asyncio's own does it.
                    let wait_for = stdlib(py).wait_for.bind(py).call1((awaitable, delay))?;
                    return this.begin(&wait_for);
                }
                let timeout = Timeout::after(py, &delay)?;
                Timeout::enter(timeout.get(py))?;
                this.body.timeout.set(timeout.into_any(py));
                this.begin(&awaitable)
            }
            resume => this.go_on(resume),
        };
        if let Ok(Sent::Yielded(_)) = outcome {
            return outcome;
        }
        let timeout = this.body.timeout.get_or_none(py);
        let Some(timeout) = Ref::<Timeout>::cast(&timeout) else { return outcome };
        match outcome {
            Ok(outcome) => Timeout::exit(timeout, None).map(|()| outcome),
            Err(error) => {
                let exception = error::into_exception(error, py);
                Timeout::exit(timeout, Some(&exception))?;
                Err(PyErr::from_value(exception))
            }
        }
    }
}

/// `delay <= 0`
fn is_over(delay: &Bound<'_, PyAny>) -> PyResult<bool> {
    match number(delay) {
        Some(delay) => Ok(delay <= 0.0),
        None => delay.le(0),
    }
}

/// `wait_for(fut, timeout)`
pub fn wait_for<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const WAIT_FOR: Signature<2> =
        Signature { name: "wait_for", parameters: ["fut", "timeout"], positional: 2, required: 2 };
    let [awaitable, delay] = args.parse(&WAIT_FOR)?;
    Coroutine::<WaitFor>::create(args.py(), |wait_for| {
        if let (Some(awaitable), Some(delay)) = (awaitable, delay) {
            wait_for.awaitable.set(awaitable.to_owned());
            wait_for.delay.set(delay.to_owned());
        }
    })
}

/// Builds the class of the coroutine.
pub fn define(py: Python<'_>) -> PyResult<()> {
    define_coroutine!(py, WaitFor)
}
