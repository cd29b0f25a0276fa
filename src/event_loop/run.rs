//! The turn of the loop: poll, then run what is ready.

use std::rc::Rc;
use std::time::{Duration, Instant};

use ferrio_reactor::clock;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::handle::HoldsCallback;
use super::ready::Ready;
use super::{Loop, is_exit, none, readiness, timer};
use crate::combine::timeout::Timeout;
use crate::ffi::error::both;
use crate::ffi::{Ref, os_error};
use crate::task;

/// Runs turns until the loop is told to stop: the native part of `run_forever()`.
///
/// Raises `KeyboardInterrupt` and `SystemExit` from callbacks and signal handlers; what is ready then stays so.
pub fn run<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    // Entered once for the whole run, so that references released on the way are released at once. It can't be entered when
    // the interpreter shuts down; a loop that a finalizer runs then runs all the same.
    Python::try_attach(|_| run_turns(this)).unwrap_or_else(|| run_turns(this))
}

fn run_turns<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    let runs = Runs::begin(this);
    let outcome = loop {
        let turn = this.run_turn(this);
        if turn.is_err() || this.stopping.get() {
            break turn;
        }
    };
    drop(runs);
    both(this.py(), outcome, task::current::clear(this))?;
    none(this)
}

/// Says that the loop's turns go on, until it is dropped: then what stands in the queue may be garbage.
struct Runs<'a, 'py>(Ref<'a, 'py, Loop>);

impl<'a, 'py> Runs<'a, 'py> {
    fn begin(this: Ref<'a, 'py, Loop>) -> Self {
        this.runs.set(true);
        Runs(this)
    }
}

impl Drop for Runs<'_, '_> {
    fn drop(&mut self) {
        self.0.runs.set(false);
        self.0.track_handles(self.0.py());
    }
}

impl Loop {
    fn run_turn(&self, this: Ref<'_, '_, Self>) -> PyResult<()> {
        let py = this.py();
        self.turn.set(self.turn.get() + 1);
        let idle_at = if self.is_idle() {
            // What may run Python code stands before the last look at the queue, for that code may schedule something: a
            // signal that came since such code last ran would not end the wait; other threads may ask for the current task
            // meanwhile; and the poller may be a parent's.
            py.check_signals()?;
            task::current::clear(this)?;
            Self::leave_parent(this)?;
            let now = Self::now(this)?;
            self.is_idle().then_some(now)
        } else {
            None
        };
        if let Some(now) = idle_at {
            let timeout =
                self.timers.borrow_mut().next_deadline().map(|due| due.saturating_sub(now));
            self.poll(this, timeout.map(Duration::from_nanos))?;
        } else if self.io.borrow().as_ref().is_some_and(|io| io.pace.due(clock::now())) {
            Self::leave_parent(this)?;
            self.poll(this, Some(Duration::ZERO))?;
        }
        self.queue_due_timers(this)?;
        let outcome = self.run_batch(this);
        // Also when the turn ends early: what was written is sent, as asyncio would have sent it.
        let flushed = self.flush(this);
        both(py, outcome, flushed)
    }

    /// Runs what is ready now; what becomes ready meanwhile is for the next turn.
    #[inline]
    fn run_batch(&self, this: Ref<'_, '_, Self>) -> PyResult<()> {
        let batch = self.ready.borrow().len();
        for _ in 0..batch {
            let next = self.ready.borrow_mut().pop_front();
            let Some(ready) = next else { break };
            if let Ready::Stream(_) = ready {
                self.look_ahead(this.py());
            }
            if self.debug.get() {
                self.run_observed(this, ready)?;
            } else {
                self.run_one(this, &ready)?;
            }
        }
        Ok(())
    }

    /// Asks for the memory of the streams whose turn comes soon: of their own first, and when that is there, of what they
    /// name.
    #[inline]
    fn look_ahead(&self, py: Python<'_>) {
        let queue = self.ready.borrow();
        if let Some(Ready::Stream(stream)) = queue.get(3) {
            stream.get(py).prefetch();
        }
        if let Some(Ready::Stream(stream)) = queue.get(1) {
            stream.get(py).prefetch_named();
        }
    }

    /// Lets the garbage collector know of what stands in the queue: a loop that doesn't run may be garbage.
    fn track_handles(&self, py: Python<'_>) {
        for ready in self.ready.borrow().iter() {
            match ready {
                Ready::Handle(handle) => handle.get(py).track(),
                Ready::ThreadSafe(handle) => handle.get(py).track(),
                _ => {}
            }
        }
    }

    /// Whether nothing is left to do but to wait.
    #[inline]
    fn is_idle(&self) -> bool {
        self.ready.borrow().is_empty() && self.flushes.borrow().is_empty() && !self.stopping.get()
    }

    #[inline]
    fn run_one(&self, this: Ref<'_, '_, Self>, ready: &Ready) -> PyResult<()> {
        let py = this.py();
        if let Ready::Task(task) = ready {
            return task::step::run(task.get(py));
        }
        task::current::clear(this)?;
        match ready {
            Ready::Task(_) => Ok(()),
            Ready::Handle(handle) => {
                let handle = handle.get(py);
                let outcome = handle.callback().run(handle.as_any());
                handle.track_if_shared();
                outcome
            }
            Ready::ThreadSafe(handle) => {
                let handle = handle.get(py);
                let outcome = handle.run();
                handle.track_if_shared();
                outcome
            }
            Ready::Job(job) => {
                let job = job.get(py);
                job.deliver().or_else(|error| Self::callback_failed(this, error, job.as_any()))
            }
            Ready::Timer(timer) => {
                let timer = timer.get(py);
                timer.callback().run(timer.as_any())
            }
            Ready::Wake(future) => {
                let woken = readiness::wake(py, future);
                woken.or_else(|error| Self::callback_failed(this, error, future.get(py).as_any()))
            }
            Ready::Timeout(timeout) => {
                let timeout = timeout.get(py);
                Timeout::on_timeout(timeout)
                    .or_else(|error| Self::callback_failed(this, error, timeout.as_any()))
            }
            Ready::Ended(watcher, future) => {
                let future = future.get(py);
                watcher.run(future.as_any()).or_else(|error| {
                    let callable = watcher.callable(py)?;
                    Self::callback_failed(this, error, &callable)
                })
            }
            Ready::Stream(stream) => {
                let stream = stream.get(py);
                stream.on_ready().or_else(|error| Self::failed(this, error, stream.as_any()))
            }
            Ready::Datagram(datagram) => {
                let datagram = datagram.get(py);
                datagram.on_ready().or_else(|error| Self::failed(this, error, datagram.as_any()))
            }
            Ready::Listener(listener) => {
                let listener = listener.get(py);
                listener.on_ready().or_else(|error| Self::failed(this, error, listener.as_any()))
            }
        }
    }

    /// Reports what a native callback raised.
    #[cold]
    fn callback_failed(
        this: Ref<'_, '_, Self>,
        error: PyErr,
        callback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let message = format!("Exception in callback {}", callback.repr()?);
        Self::report(this, error, &message, &[])
    }

    /// Reports what a transport's turn raised, so that the others go on.
    #[cold]
    fn failed(this: Ref<'_, '_, Self>, error: PyErr, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let message = format!("Exception in callback {}", transport.repr()?);
        Self::report(this, error, &message, &[("transport", transport.clone())])
    }

    /// Debug mode: notes what runs, and names it in the log when it ran for long.
    #[cold]
    fn run_observed(&self, this: Ref<'_, '_, Self>, ready: Ready) -> PyResult<()> {
        let py = this.py();
        let object = ready.to_any(py);
        // For messages about its origin.
        if ready.notes_origin() {
            this.as_any().setattr(intern!(py, "_current_handle"), &object)?;
        }
        let start = Instant::now();
        let outcome = self.run_one(this, &ready);
        let elapsed = start.elapsed().as_secs_f64();
        this.as_any().setattr(intern!(py, "_current_handle"), py.None())?;
        outcome?;
        let limit: f64 = this.as_any().getattr(intern!(py, "slow_callback_duration"))?.extract()?;
        if elapsed >= limit {
            this.as_any().call_method1(intern!(py, "_log_slow_callback"), (object, elapsed))?;
        }
        Ok(())
    }

    /// Waits for events, at most for `timeout` (`None`: without end), and queues what they wake. The GIL is
    /// released only when the wait may take time.
    fn poll(&self, this: Ref<'_, '_, Self>, timeout: Option<Duration>) -> PyResult<()> {
        let py = this.py();
        let Some(poller) = self.io.borrow().as_ref().map(|io| Rc::clone(&io.poller)) else {
            return Ok(());
        };
        let mut dispatched = Ok(());
        {
            let mut poller = poller.borrow_mut();
            let outcome = if timeout.is_some_and(|timeout| timeout.is_zero()) {
                poller.poll(timeout)
            } else {
                self.asleep.set(true);
                let poller = &mut *poller;
                let outcome = py.detach(|| poller.poll(timeout));
                self.asleep.set(false);
                outcome
            };
            outcome.map_err(os_error)?;
            // All of them, also when one is interrupted: the poller doesn't tell again what it has told.
            for readiness in poller.events() {
                let told = Self::dispatch(this, &readiness)
                    .or_else(|error| Self::report(this, error, "Exception in a wake-up", &[]));
                dispatched = both(py, dispatched, told);
            }
        }
        if let Some(io) = self.io.borrow_mut().as_mut() {
            io.pace.polled(clock::now());
        }
        dispatched?;
        if self.haunted.replace(false) {
            self.open_anew()?;
        }
        py.check_signals()
    }

    /// The present instant, as a deadline. Raises what a `time()` of the program's own raises.
    fn now(this: Ref<'_, '_, Self>) -> PyResult<u64> {
        match Self::own_time(this)? {
            None => Ok(timer::now()),
            Some(time) => time.extract().map(timer::deadline),
        }
    }

    /// Queues the timers whose time has come, earliest first.
    ///
    /// Raises what a `time()` of the program's own raises.
    fn queue_due_timers(&self, this: Ref<'_, '_, Self>) -> PyResult<()> {
        if self.timers.borrow().is_empty() {
            return Ok(());
        }
        let now = Self::now(this)?.saturating_add(clock::resolution());
        loop {
            let due = self.timers.borrow_mut().pop_due(now);
            let Some(timer) = due else { return Ok(()) };
            self.push(timer.due(this.py()));
        }
    }

    /// Sends what the transports gathered during this turn: all of them, also when one is interrupted.
    fn flush(&self, this: Ref<'_, '_, Self>) -> PyResult<()> {
        let mut outcome = Ok(());
        if self.flushes.borrow().is_empty() {
            return outcome;
        }
        task::current::clear(this)?;
        for stream in self.flushes.take() {
            let stream = stream.get(this.py());
            let flushed =
                stream.flush().or_else(|error| Self::failed(this, error, stream.as_any()));
            outcome = both(this.py(), outcome, flushed);
        }
        outcome
    }

    /// Sends what the transports gathered, as far as that calls no protocol: what asyncio would have sent already.
    pub(super) fn send_gathered<'py>(this: Ref<'_, 'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let streams: Vec<_> =
            this.flushes.borrow().iter().map(|stream| stream.clone_ref(py)).collect();
        let mut outcome = Ok(());
        for stream in &streams {
            outcome = both(py, outcome, stream.get(py).send_early());
        }
        outcome.and_then(|()| none(this))
    }

    /// Reports an exception that nobody above could handle; `KeyboardInterrupt` and `SystemExit` are returned.
    pub fn report(
        this: Ref<'_, '_, Self>,
        error: PyErr,
        message: &str,
        context: &[(&str, Bound<'_, PyAny>)],
    ) -> PyResult<()> {
        let py = this.py();
        if is_exit(py, &error) {
            return Err(error);
        }
        let details = PyDict::new(py);
        details.set_item("message", message)?;
        details.set_item("exception", error.into_value(py))?;
        for (name, value) in context {
            details.set_item(name, value)?;
        }
        this.as_any().call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
    }
}
