//! What the three queues do.

use std::cell::Cell;
use std::ffi::CStr;
use std::ops::Deref;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyType};

use super::deque::Deque;
use super::event::Event;
use super::items::{Items, Order};
use super::none;
use super::overrides::Overrides;
use super::waiters::{Bindable, wake, wake_next};
use crate::ffi::call::call0;
use crate::ffi::{Class, ClassCell, Extends, Owned, Ref, Slot, Traversal, Visit, error};
use crate::stdlib::stdlib;

/// The fields of `ferrio.Queue`.
#[derive(Default)]
#[repr(C)]
pub struct Queue {
    pub(super) event_loop: Slot,
    /// As it was given.
    pub(super) maxsize: Slot,
    /// How many items fit in; 0 for any number.
    limit: Cell<usize>,
    pub(super) items: Items,
    pub(super) getters: Deque,
    pub(super) putters: Deque,
    pub(super) unfinished: Cell<i64>,
    /// The `Event` that is set while nothing is unfinished, once somebody asked for it.
    finished: Slot,
    pub(super) is_shutdown: Cell<bool>,
    overrides: Cell<Overrides>,
}

static QUEUE: ClassCell = ClassCell::new();

impl Class for Queue {
    const NAME: &'static CStr = c"ferrio.Queue";

    fn class() -> &'static ClassCell {
        &QUEUE
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.event_loop)?;
        visit.slot(&self.maxsize)?;
        self.items.traverse(visit)?;
        self.getters.traverse(visit)?;
        self.putters.traverse(visit)?;
        visit.slot(&self.finished)
    }

    fn clear(&self) {
        self.event_loop.clear();
        self.maxsize.clear();
        self.items.clear();
        self.getters.clear();
        self.putters.clear();
        self.finished.clear();
    }
}

/// A queue whose items come out in another order, as a class of its own with the fields of `Queue`.
macro_rules! ordered_queue {
    ($name:ident, $order:expr, $full_name:literal, $cell:ident) => {
        #[doc = concat!("The fields of `ferrio.", stringify!($name), "`.")]
        #[repr(C)]
        pub struct $name(Queue);

        static $cell: ClassCell = ClassCell::new();

        impl Class for $name {
            const NAME: &'static CStr = $full_name;

            fn class() -> &'static ClassCell {
                &$cell
            }

            fn fresh() -> Self {
                $name(Queue { items: Items::new($order), ..Queue::default() })
            }

            fn traverse(&self, visit: &Visit) -> Traversal {
                self.0.traverse(visit)
            }

            fn clear(&self) {
                self.0.clear();
            }
        }

        // SAFETY: `repr(C)`, a queue first, and `queue_type` builds the class so.
        unsafe impl Extends<Queue> for $name {}

        impl Deref for $name {
            type Target = Queue;

            fn deref(&self) -> &Queue {
                &self.0
            }
        }
    };
}

ordered_queue!(LifoQueue, Order::Lifo, c"ferrio.LifoQueue", LIFO_QUEUE);
ordered_queue!(PriorityQueue, Order::Priority, c"ferrio.PriorityQueue", PRIORITY_QUEUE);

/// Whether `class` is one of ours, and not a subclass in Python.
#[inline]
pub fn is_native(class: &Bound<'_, PyType>) -> bool {
    [Queue::class(), LifoQueue::class(), PriorityQueue::class()]
        .iter()
        .any(|cell| cell.as_type_ptr() == class.as_type_ptr())
}

impl Bindable for Queue {
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }
}

impl<'py> Ref<'_, 'py, Queue> {
    /// `__init__(maxsize)`. Raises `TypeError` for what is no number, and what the `_init` of a subclass raises.
    pub fn init(self, maxsize: Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        self.overrides.set(Overrides::of(self)?);
        self.set_maxsize(maxsize.clone())?;
        self.getters.clear();
        self.putters.clear();
        self.unfinished.set(0);
        self.finished.clear();
        if self.overrides.get().has(Overrides::INIT) {
            self.as_any().call_method1(intern!(py, "_init"), (maxsize,))?;
        } else {
            self.items.clear();
        }
        self.is_shutdown.set(false);
        Ok(())
    }

    /// Lets so many items fit in; any number for 0 and less. Raises `TypeError` for what is no number.
    pub fn set_maxsize(self, maxsize: Bound<'py, PyAny>) -> PyResult<()> {
        self.limit.set(limit(&maxsize)?);
        self.maxsize.set(maxsize);
        Ok(())
    }

    /// `qsize()`. Raises what a subclass raises, as all that follow.
    fn size(self) -> PyResult<usize> {
        if self.overrides.get().has(Overrides::QSIZE) {
            return self.as_any().call_method0(intern!(self.py(), "qsize"))?.extract();
        }
        self.items.len(self.py())
    }

    /// `empty()`
    #[inline]
    pub fn is_empty(self) -> PyResult<bool> {
        if self.overrides.get().has(Overrides::EMPTY) {
            return self.as_any().call_method0(intern!(self.py(), "empty"))?.is_truthy();
        }
        self.items.is_empty(self.py())
    }

    /// `full()`
    #[inline]
    pub fn is_full(self) -> PyResult<bool> {
        if self.overrides.get().has(Overrides::FULL) {
            return self.as_any().call_method0(intern!(self.py(), "full"))?.is_truthy();
        }
        self.has_reached_limit()
    }

    /// Whether there are as many items as fit in, whatever a subclass says of that.
    #[inline]
    pub fn has_reached_limit(self) -> PyResult<bool> {
        Ok(self.limit.get() != 0 && self.size()? >= self.limit.get())
    }

    /// `put_nowait(item)`, of a subclass also. Returns what that returns.
    #[inline]
    pub fn put_now(self, item: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.overrides.get().has(Overrides::PUT_NOWAIT) {
            return self.as_any().call_method1(intern!(self.py(), "put_nowait"), (item,));
        }
        self.put(item)?;
        Ok(none(self.py()))
    }

    /// `Queue.put_nowait(item)`. Raises `QueueShutDown` and `QueueFull`.
    #[inline]
    pub fn put(self, item: Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        self.check_open()?;
        if self.is_full()? {
            return Err(raised(stdlib(py).queue_full.bind(py)));
        }
        if self.overrides.get().has(Overrides::PUT) {
            self.as_any().call_method1(intern!(py, "_put"), (item,))?;
        } else {
            self.items.put(item)?;
        }
        self.unfinished.set(self.unfinished.get() + 1);
        if let Some(finished) = self.finished.get(py)
            && let Some(finished) = Ref::<Event>::cast(&finished)
        {
            finished.unset();
        }
        wake_next(&self.getters, py)
    }

    /// `get_nowait()`, of a subclass also.
    #[inline]
    pub fn get_now(self) -> PyResult<Bound<'py, PyAny>> {
        if self.overrides.get().has(Overrides::GET_NOWAIT) {
            return self.as_any().call_method0(intern!(self.py(), "get_nowait"));
        }
        self.get()
    }

    /// `Queue.get_nowait()`. Raises `QueueEmpty`, or `QueueShutDown` when there will be no more.
    #[inline]
    pub fn get(self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        if self.is_empty()? {
            self.check_open()?;
            return Err(raised(stdlib(py).queue_empty.bind(py)));
        }
        let item = self.take()?;
        wake_next(&self.putters, py)?;
        Ok(item)
    }

    /// `_get()`
    #[inline]
    fn take(self) -> PyResult<Bound<'py, PyAny>> {
        if self.overrides.get().has(Overrides::GET) {
            return self.as_any().call_method0(intern!(self.py(), "_get"));
        }
        self.items.get(self.py())
    }

    /// Raises `QueueShutDown` after `shutdown()`.
    #[inline]
    pub fn check_open(self) -> PyResult<()> {
        if self.is_shutdown.get() {
            return Err(raised(stdlib(self.py()).queue_shut_down.bind(self.py())));
        }
        Ok(())
    }

    /// `task_done()`. Raises `ValueError` when nothing is unfinished.
    pub fn task_done(self) -> PyResult<()> {
        if self.unfinished.get() <= 0 {
            return Err(PyValueError::new_err("task_done() called too many times"));
        }
        self.unfinished.set(self.unfinished.get() - 1);
        self.tell_finished()
    }

    /// Wakes those who wait in `join()`, if nothing is unfinished.
    fn tell_finished(self) -> PyResult<()> {
        if self.unfinished.get() != 0 {
            return Ok(());
        }
        match self.finished.get(self.py()) {
            Some(finished) => match Ref::<Event>::cast(&finished) {
                Some(finished) => finished.set(),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// The event that is set while nothing is unfinished.
    pub fn finished(self) -> PyResult<Owned<Event>> {
        let py = self.py();
        if let Some(finished) = self.finished.get(py).and_then(Owned::<Event>::cast) {
            return Ok(finished);
        }
        let finished = Owned::<Event>::alloc(py)?;
        self.finished.set(finished.get(py).to_any());
        self.tell_finished()?;
        Ok(finished)
    }

    /// `shutdown(immediate)`
    pub fn shutdown(self, immediate: bool) -> PyResult<()> {
        let py = self.py();
        self.is_shutdown.set(true);
        if immediate {
            while !self.is_empty()? {
                self.take()?;
                if self.unfinished.get() > 0 {
                    self.unfinished.set(self.unfinished.get() - 1);
                }
            }
            self.tell_finished()?;
        }
        for line in [&self.getters, &self.putters] {
            while !line.is_empty(py)? {
                let Some(waiter) = line.pop_first(py)? else { break };
                wake(&waiter, none(py))?;
            }
        }
        Ok(())
    }

    /// What stands behind the address in `repr()`.
    pub fn format(self) -> PyResult<String> {
        let py = self.py();
        if self.overrides.get().has(Overrides::FORMAT) {
            return self.as_any().call_method0(intern!(py, "_format"))?.extract();
        }
        self.describe()
    }

    /// `Queue._format()`
    pub fn describe(self) -> PyResult<String> {
        let py = self.py();
        let mut text = format!("maxsize={}", self.maxsize(py).repr()?);
        if !self.items.is_empty(py)? {
            text += &format!(" _queue={}", self.items.to_list(py)?.repr()?);
        }
        for (name, line) in [("_getters", &self.getters), ("_putters", &self.putters)] {
            match line.len(py)? {
                0 => {}
                count => text += &format!(" {name}[{count}]"),
            }
        }
        match self.unfinished.get() {
            0 => {}
            count => text += &format!(" tasks={count}"),
        }
        if self.is_shutdown.get() {
            text += " shutdown";
        }
        Ok(text)
    }
}

impl Queue {
    /// `maxsize`
    pub fn maxsize<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.maxsize.get_or_none(py)
    }
}

/// How many items fit in a queue of `maxsize`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // What is beyond the range becomes its end.
fn limit(maxsize: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(float) = maxsize.cast::<PyFloat>() {
        let value = float.value();
        return Ok(if value.is_nan() { 0 } else { value.ceil() as usize });
    }
    let py = maxsize.py();
    match maxsize.extract::<i64>() {
        Ok(value) => Ok(usize::try_from(value).unwrap_or(0)),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(py) => {
            error::discard(error, py);
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// The error that raises an exception of `class`.
#[cold]
fn raised(class: &Bound<'_, PyAny>) -> PyErr {
    match call0(class) {
        Ok(exception) => error::raise(&exception),
        Err(error) => error,
    }
}
