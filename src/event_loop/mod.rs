//! The event loop, a file a concern.
//!
//! [`Loop`] is the base of the Python class `ferrio.Loop`: it holds what runs at every turn. What only sets things up
//! and waits (name resolution, `create_connection`, executors) stands in `python/ferrio/`, on top of it.
//!
//! - `io.rs`: the poller, and what becomes of it in a forked child;
//! - `ready.rs`, `run.rs`: the queue of what runs next, and the turn that runs it;
//! - `schedule.rs`, `handle.rs`, `timer.rs`: `call_soon`, `call_later`, `call_at`, what they return, and what else waits
//!   for its time;
//! - `overrides.rs`: the methods of all these that a program may put its own in the place of;
//! - `registrations.rs`: the tokens by which the poller names what is watched;
//! - `sources.rs`: file descriptors that are watched, and who watches them; `readers.rs`: `add_reader` and its kin;
//! - `sockets.rs`, `socket_call.rs`, `readiness.rs`: `sock_recv` and its like, the coroutines that they return, and
//!   what is remembered of their sockets;
//! - `connect.rs`: connections to literal addresses;
//! - `servers.rs`, `connections.rs`, `pipes.rs`: sockets and files that become transports;
//! - `executor.rs`, `work_queue.rs`, `job.rs`: functions that run in worker threads;
//! - `invocation.rs`: a callable with its arguments, which handles and jobs hold;
//! - `dns.rs`: the addresses that need no name server;
//! - `debug.rs`: what messages need.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CStr;

use ferrio_reactor::{TimerKey, TimerQueue, Waker, clock};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Owned, Ref, Signature, Slot, Traversal, Visit, build, call,
    os_error,
};
use crate::transport::stream::StreamTransport;
use crate::{attribute, init_slot, method0};

pub mod connect;
mod connections;
mod debug;
mod dns;
mod executor;
pub mod handle;
mod invocation;
mod io;
pub mod job;
pub mod overrides;
mod pipes;
mod readers;
mod readiness;
pub mod ready;
mod registrations;
mod run;
pub mod schedule;
mod servers;
mod socket_call;
pub mod sockets;
pub mod sources;
mod thread_safe_handle;
pub mod timer;
pub mod work_queue;

use handle::HoldsCallback;
use io::Io;
use ready::Ready;
use registrations::Registrations;
use sources::Source;
use timer::Timer;

/// The fields of `ferrio.Loop`.
#[derive(Default)]
pub struct Loop {
    /// What `__init__` opens; empty before that and after `close`.
    io: RefCell<Option<Io>>,
    ready: RefCell<VecDeque<Ready>>,
    timers: RefCell<TimerQueue<Timer>>,
    /// What watches each file descriptor, by its number.
    sources: RefCell<Vec<Source>>,
    /// Which registration with the poller each of them has.
    registrations: RefCell<Registrations>,
    /// Whether the poller told of a file that nobody can take out of it.
    haunted: Cell<bool>,
    /// Transports with writes to send at the end of this turn.
    flushes: RefCell<Vec<Owned<StreamTransport>>>,
    task_factory: Slot,
    default_executor: Slot,
    /// The default executor's queue, if that is ferrio's own.
    work_queue: Slot,
    executor_shut_down: Cell<bool>,
    /// The thread that runs the loop, 0 for none.
    thread: Cell<u64>,
    /// Whether its turns go on: then it is used, and so is what stands in its queue.
    runs: Cell<bool>,
    closed: Cell<bool>,
    stopping: Cell<bool>,
    debug: Cell<bool>,
    /// Whether the loop's thread is in `poll`, or about to enter it: then a push from elsewhere must wake it.
    asleep: Cell<bool>,
    /// Whether asyncio's record of the current task names one of this loop's.
    pub has_current_task: Cell<bool>,
    /// Whether methods that are gone around are attributes of this loop alone.
    pub replaced: Cell<bool>,
    /// Counts the turns, so that a transport knows the writes of this one.
    turn: Cell<u64>,
}

static LOOP: ClassCell = ClassCell::new();

impl Class for Loop {
    const NAME: &'static CStr = c"ferrio._ferrio.Loop";

    fn class() -> &'static ClassCell {
        &LOOP
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        for ready in self.ready.borrow().iter() {
            ready.traverse(visit)?;
        }
        for timer in self.timers.borrow().values() {
            timer.traverse(visit)?;
        }
        for source in self.sources.borrow().iter() {
            source.traverse(visit)?;
        }
        for stream in self.flushes.borrow().iter() {
            visit.pointer(stream.as_ptr())?;
        }
        visit.slot(&self.default_executor)?;
        visit.slot(&self.work_queue)?;
        visit.slot(&self.task_factory)
    }

    fn clear(&self) {
        self.release_all();
        self.default_executor.clear();
        self.work_queue.clear();
        self.task_factory.clear();
    }
}

impl Loop {
    /// Whether debug mode is on.
    #[inline]
    pub fn debug(&self) -> bool {
        self.debug.get()
    }

    /// Whether the loop was closed.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether this thread runs the loop.
    #[inline]
    pub fn runs_here(&self) -> bool {
        self.thread.get() == current_thread()
    }

    /// The number of this turn; `None` while the loop doesn't run.
    #[inline]
    pub fn turn(&self) -> Option<u64> {
        (self.thread.get() != 0).then_some(self.turn.get())
    }

    /// Raises `RuntimeError` when the loop is closed and, in debug mode, when another thread than the loop's calls:
    /// what `call_soon` checks.
    #[inline]
    pub fn check_callable(&self) -> PyResult<()> {
        self.check_closed()?;
        if self.debug.get() { self.check_thread() } else { Ok(()) }
    }

    #[inline]
    fn check_closed(&self) -> PyResult<()> {
        if self.closed.get() {
            Err(PyRuntimeError::new_err("Event loop is closed"))
        } else {
            Ok(())
        }
    }

    fn check_thread(&self) -> PyResult<()> {
        match self.thread.get() {
            0 => Ok(()),
            thread if thread == current_thread() => Ok(()),
            _ => Err(PyRuntimeError::new_err(
                "Non-thread-safe operation invoked on an event loop other than the current one",
            )),
        }
    }

    /// Puts `ready` at the end of the queue.
    #[inline]
    pub fn push(&self, ready: Ready) {
        self.ready.borrow_mut().push_back(ready);
    }

    /// Puts a handle at the end of the queue. While the loop runs it is no garbage, nor what waits there: the garbage
    /// collector need only know of the handles that somebody keeps for longer than that.
    #[inline]
    pub fn push_handle<T: HoldsCallback>(&self, handle: Owned<T>, py: Python<'_>)
    where
        Ready: From<Owned<T>>,
    {
        if !self.runs.get() {
            handle.get(py).track();
        }
        self.push(handle.into());
    }

    /// Wakes the loop's thread if it is in `poll`.
    fn wake(&self) -> PyResult<()> {
        if self.asleep.get()
            && let Some(io) = self.io.borrow().as_ref().and_then(Io::own)
        {
            io.waker.wake().map_err(os_error)?;
        }
        Ok(())
    }

    /// What wakes the loop's thread, if it is in `poll`: for who wakes it later, without the GIL.
    fn waker_if_asleep(&self) -> Option<Waker> {
        let io = self.io.borrow();
        let own = io.as_ref().filter(|_| self.asleep.get()).and_then(Io::own);
        own.map(|io| io.waker.clone())
    }

    /// Lets `stream` send what it gathered when this turn ends.
    pub fn flush_later(&self, stream: Owned<StreamTransport>) {
        self.flushes.borrow_mut().push(stream);
    }

    /// Takes a timer out of the queue, before it is due.
    pub fn cancel_timer(&self, key: TimerKey) -> Option<Timer> {
        self.timers.borrow_mut().cancel(key)
    }

    /// Lets `timer` become ready at `when`, in seconds of the loop's clock.
    #[inline]
    pub fn add_timer(&self, when: f64, timer: Timer) -> TimerKey {
        self.timers.borrow_mut().insert(timer::deadline(when), timer)
    }

    /// The loop's clock, in seconds: `time.monotonic()`.
    #[inline]
    pub fn seconds(&self) -> f64 {
        clock::now() as f64 / 1e9
    }

    /// Whether a task of this loop is made by the loop itself, not by a factory.
    #[inline]
    pub fn makes_tasks(&self) -> bool {
        self.task_factory.is_empty() && !self.closed.get()
    }

    /// Lets go of everything that is scheduled or watched. Callbacks of the objects' own finalizers may schedule more.
    fn release_all(&self) {
        // Each is taken out first: dropping it runs Python code, which may come back here.
        let ready = self.ready.take();
        let timers = self.timers.borrow_mut().take_all();
        let sources = self.sources.take();
        let flushes = self.flushes.take();
        drop((ready, timers, sources, flushes));
    }
}

/// Whether `error` is one that ends the loop's run: `KeyboardInterrupt` or `SystemExit`.
pub fn is_exit(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py)
}

/// The identifier of this thread, as `threading.get_ident()` returns it.
fn current_thread() -> u64 {
    // SAFETY: has no preconditions.
    unsafe { pyo3::ffi::PyThread_get_thread_ident() as u64 }
}

fn init(this: Ref<'_, '_, Loop>, args: &Args<'_, '_>) -> PyResult<()> {
    let [] = args.parse(&Signature { name: "Loop", parameters: [], positional: 0, required: 0 })?;
    this.io.replace(Some(Io::open().map_err(os_error)?));
    Ok(())
}

/// Closes the poller and drops what is scheduled: the native part of `Loop.close()`.
fn close<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    this.closed.set(true);
    this.release_all();
    this.io.replace(None);
    none(this)
}

fn stop<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    this.stopping.set(true);
    none(this)
}

fn none<'py, T: Class>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.py().None().into_bound(this.py()))
}

fn boolean(py: Python<'_>, value: bool) -> PyResult<Bound<'_, PyAny>> {
    Ok(PyBool::new(py, value).to_owned().into_any())
}

/// The `contextvars.Context` given, or else a copy of the current one.
fn context_or_copy<'py>(
    py: Python<'py>,
    given: Option<pyo3::Borrowed<'_, 'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    match given.filter(|context| !context.is_none()) {
        Some(context) => Ok(context.to_owned()),
        None => call::copy_context(py),
    }
}

fn truth(value: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    value
        .ok_or_else(|| pyo3::exceptions::PyAttributeError::new_err("can't delete attribute"))?
        .is_truthy()
}

fn get_debug<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), this.debug.get())
}

fn set_debug(this: Ref<'_, '_, Loop>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.debug.set(truth(value)?);
    Ok(())
}

fn is_closed<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), this.closed.get())
}

fn set_closed(this: Ref<'_, '_, Loop>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.closed.set(truth(value)?);
    Ok(())
}

fn is_stopping<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), this.stopping.get())
}

fn set_stopping(this: Ref<'_, '_, Loop>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.stopping.set(truth(value)?);
    Ok(())
}

fn is_running<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), this.thread.get() != 0)
}

fn get_thread<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    match this.thread.get() {
        0 => none(this),
        thread => Ok(thread.into_pyobject(this.py())?.into_any()),
    }
}

fn set_thread(this: Ref<'_, '_, Loop>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.thread.set(match value {
        Some(value) if !value.is_none() => value.extract()?,
        _ => 0,
    });
    Ok(())
}

fn get_task_factory<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.task_factory.get_or_none(this.py()))
}

fn set_task_factory(this: Ref<'_, '_, Loop>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.task_factory.set_opt(value.filter(|value| !value.is_none()).cloned(), this.py());
    Ok(())
}

/// Builds the class. Raises what `PyType_FromSpecWithBases` raises.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, pyo3::types::PyType>> {
    handle::define(py)?;
    socket_call::define(py)?;
    job::define(py)?;
    io::count_forks().map_err(os_error)?;
    let mut methods = vec![
        method0!(
            Loop,
            c"_close",
            close,
            c"_close($self)\n--\n\nClose the poller and drop what is scheduled."
        ),
        method0!(Loop, c"stop", stop, c"stop($self)\n--\n\nStop the loop at the end of this turn."),
        method0!(
            Loop,
            c"get_debug",
            get_debug,
            c"get_debug($self)\n--\n\nReturn True in debug mode."
        ),
        method0!(
            Loop,
            c"is_closed",
            is_closed,
            c"is_closed($self)\n--\n\nReturn True if the loop was closed."
        ),
        method0!(
            Loop,
            c"is_running",
            is_running,
            c"is_running($self)\n--\n\nReturn True if the loop is running."
        ),
        method0!(
            Loop,
            c"_send_gathered",
            Loop::send_gathered,
            c"_send_gathered($self)\n--\n\nSend what would be sent at the end of this turn."
        ),
        method0!(Loop, c"_run", run::run, c"_run($self)\n--\n\nRun turns until stop() is called."),
    ];
    methods.extend(schedule::methods());
    methods.extend(overrides::methods());
    methods.extend(readers::methods());
    methods.extend(sockets::methods());
    methods.extend(connect::methods());
    methods.extend(connections::methods());
    methods.extend(servers::methods());
    methods.extend(pipes::methods());
    methods.extend(dns::methods());
    methods.extend(executor::methods());
    let mut attributes = vec![
        attribute!(Loop, c"_debug", get_debug, set_debug),
        attribute!(Loop, c"_closed", is_closed, set_closed),
        attribute!(Loop, c"_stopping", is_stopping, set_stopping),
        attribute!(Loop, c"_thread_id", get_thread, set_thread),
        attribute!(Loop, c"_task_factory", get_task_factory, set_task_factory),
    ];
    attributes.extend(executor::attributes());
    let class = build::<Loop>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"What runs at every turn of ferrio.Loop."),
            methods,
            attributes,
            slots: vec![init_slot!(Loop, init)],
            subclassable: true,
            constructible: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &sockets::COROUTINES)?;
    Ok(class)
}
