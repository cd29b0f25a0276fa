//! A call in a worker thread, and the way of what came of it back to the loop.

use std::cell::Cell;
use std::ffi::CStr;

use ferrio_reactor::Waker;
use pyo3::prelude::*;
use pyo3::types::PyAny;

use super::invocation::Invocation;
use super::ready::Ready;
use super::{Loop, none};
use crate::ffi::{
    Class, ClassCell, Definition, Owned, Ref, Rest, Slot, Traversal, Visit, build, error,
};
use crate::task::future::Future;
use crate::{attribute, method0};

/// The fields of `ferrio._Job`: what `run_in_executor` leaves to a worker of the default executor.
#[derive(Default)]
pub struct Job {
    invocation: Invocation,
    /// The future that `run_in_executor` returned.
    future: Slot,
    /// What was returned or raised.
    outcome: Slot,
    end: Cell<End>,
}

/// How a job ended.
#[derive(Clone, Copy, Default)]
enum End {
    #[default]
    Returned,
    Raised,
    Cancelled,
}

static JOB: ClassCell = ClassCell::new();

impl Class for Job {
    const NAME: &'static CStr = c"ferrio._Job";
    const FREELIST: usize = 64;

    fn class() -> &'static ClassCell {
        &JOB
    }
    fn fresh() -> Self {
        Self::default()
    }
    fn traverse(&self, visit: &Visit) -> Traversal {
        self.invocation.traverse(visit)?;
        visit.slot(&self.future)?;
        visit.slot(&self.outcome)
    }
    fn clear(&self) {
        self.invocation.release();
        self.future.clear();
        self.outcome.clear();
    }
}

impl Job {
    /// A job that will call `callable(*args)` and end `future`.
    pub fn create(
        callable: Bound<'_, PyAny>,
        args: Rest<'_, '_>,
        future: Ref<'_, '_, Future>,
    ) -> PyResult<Owned<Self>> {
        let job = Owned::<Self>::alloc(future.py())?;
        let this = job.get(future.py());
        this.invocation.fill(callable, args)?;
        this.future.set(future.to_any());
        Ok(job)
    }
}

impl Ref<'_, '_, Job> {
    /// Makes the call in this thread, unless the future was cancelled, and queues what came of it in the loop. Returns what
    /// wakes the loop if it has to be woken still.
    pub fn perform(self) -> Option<Waker> {
        let py = self.py();
        let callable = self.invocation.callable(py)?;
        if self.future(py)?.get(py).is_cancelled() {
            self.invocation.release();
            return None;
        }
        let end = match self.invocation.call(&callable) {
            Ok(value) => {
                self.outcome.set(value);
                End::Returned
            }
            Err(raised) => {
                self.outcome.set(error::into_exception(raised, py));
                End::Raised
            }
        };
        let mut waker = self.finish(end);
        drop(callable);
        // What dies with the call dies in this thread, after the loop knows: its end may take long, or wait for the loop.
        if !self.invocation.is_shared(py)
            && let Some(waker) = waker.take()
        {
            // No working system refuses, and the worker has nobody to tell.
            let _woken = waker.wake();
        }
        self.invocation.release();
        waker
    }

    /// Queues the end in the loop. Returns what wakes the loop if it has to be woken.
    fn finish(self, end: End) -> Option<Waker> {
        let py = self.py();
        self.end.set(end);
        let event_loop = self.future(py)?.get(py).get_loop(py);
        let event_loop = Ref::<Loop>::cast(&event_loop)?;
        // Nobody waits any more when the loop is closed.
        if event_loop.is_closed() {
            return None;
        }
        event_loop.push(Ready::Job(self.to_owned()));
        event_loop.waker_if_asleep()
    }

    fn future(self, py: Python<'_>) -> Option<Owned<Future>> {
        self.future.get(py).and_then(Owned::cast)
    }

    /// Ends the future, in the loop's thread. Raises `InvalidStateError` when somebody else has ended it.
    pub fn deliver(self) -> PyResult<()> {
        let py = self.py();
        let (Some(future), outcome) = (self.future(py), self.outcome.take(py)) else {
            return Ok(());
        };
        let future = future.get(py);
        if future.is_cancelled() {
            return Ok(());
        }
        match (self.end.get(), outcome) {
            (End::Returned, Some(value)) => future.set_result(value),
            (End::Raised, Some(exception)) => {
                let module = py.import("ferrio._executor")?;
                future.set_exception(module.call_method1("asyncios", (exception,))?)
            }
            _ => future.cancel(None).map(drop),
        }
    }
}

/// What an executor that cancels what waits for a worker takes for the future: it only calls its `cancel()`.
fn itself<'py>(this: Ref<'_, 'py, Job>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.to_any())
}

fn cancel<'py>(this: Ref<'_, 'py, Job>) -> PyResult<Bound<'py, PyAny>> {
    this.invocation.release();
    if let Some(waker) = this.finish(End::Cancelled) {
        waker.wake()?;
    }
    none(this)
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<()> {
    build::<Job>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"A call that waits for a worker of the default executor."),
            methods: vec![method0!(
                Job,
                c"cancel",
                cancel,
                c"cancel($self)\n--\n\nCancel the future; from any thread."
            )],
            attributes: vec![attribute!(Job, c"future", itself)],
            ..Definition::default()
        },
    )
    .map(drop)
}
