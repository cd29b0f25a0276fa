//! `_ThreadSafeHandle`: what `call_soon_threadsafe` returns from Python 3.14 on.
//!
//! To cancel it, or to ask whether it is cancelled, waits while another thread runs its callback: who cancelled it may rely
//! on what the callback uses being free.

use std::cell::Cell;
use std::ffi::CStr;
use std::thread::{self, ThreadId};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::handle::{Callback, HoldsCallback, attributes, cancelled, context, none};
use crate::ffi::error::both;
use crate::ffi::{Class, ClassCell, Definition, Ref, Slot, Traversal, Visit, build};
use crate::method0;

/// The fields of `ferrio._ThreadSafeHandle`.
#[derive(Default)]
pub struct ThreadSafeHandle {
    callback: Callback,
    /// The thread in which the callback runs now.
    running: Cell<Option<ThreadId>>,
    /// A `threading.Event`, made by the first who waits for the callback's end.
    ended: Slot,
}

static THREAD_SAFE_HANDLE: ClassCell = ClassCell::new();

impl HoldsCallback for ThreadSafeHandle {
    fn callback(&self) -> &Callback {
        &self.callback
    }
}

impl Class for ThreadSafeHandle {
    const NAME: &'static CStr = c"ferrio._ThreadSafeHandle";
    // As many as another thread schedules in the five milliseconds that it may keep the GIL.
    const FREELIST: usize = 32768;

    fn class() -> &'static ClassCell {
        &THREAD_SAFE_HANDLE
    }
    fn fresh() -> Self {
        Self::default()
    }
    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.ended)?;
        self.callback.traverse(visit)
    }
    fn clear(&self) {
        self.ended.clear();
        self.callback.clear();
    }
}

impl ThreadSafeHandle {
    /// Whether this interpreter's asyncio has such handles.
    #[inline]
    pub fn exists() -> bool {
        !THREAD_SAFE_HANDLE.as_type_ptr().is_null()
    }
}

impl Ref<'_, '_, ThreadSafeHandle> {
    /// Runs the callback, unless it was cancelled meanwhile; see [`Callback::run`].
    pub fn run(self) -> PyResult<()> {
        self.wait_for_end()?;
        // A callback may run its own handle once more: the outermost run is the one that ends.
        let before = self.running.replace(Some(thread::current().id()));
        let outcome = self.callback.run(self.as_any());
        self.running.set(before);
        match self.ended.take(self.py()) {
            Some(ended) if before.is_none() => {
                let told = ended.call_method0(intern!(self.py(), "set")).map(drop);
                both(self.py(), outcome, told)
            }
            Some(ended) => {
                self.ended.set(ended);
                outcome
            }
            None => outcome,
        }
    }

    fn runs_elsewhere(self) -> bool {
        self.running.get().is_some_and(|runner| runner != thread::current().id())
    }

    /// Waits until no other thread runs the callback.
    fn wait_for_end(self) -> PyResult<()> {
        let py = self.py();
        while self.runs_elsewhere() {
            let fresh = py.import("threading")?.getattr("Event")?.call0()?;
            // Other threads ran while it was made.
            if !self.runs_elsewhere() {
                break;
            }
            let ended = self.ended.get(py).unwrap_or_else(|| {
                self.ended.set(fresh.clone());
                fresh
            });
            ended.call_method0("wait")?;
        }
        Ok(())
    }
}

fn cancel_when_ended<'py>(this: Ref<'_, 'py, ThreadSafeHandle>) -> PyResult<Bound<'py, PyAny>> {
    this.wait_for_end()?;
    this.callback.cancel(this.as_any())?;
    none(this)
}

fn cancelled_when_ended<'py>(this: Ref<'_, 'py, ThreadSafeHandle>) -> PyResult<Bound<'py, PyAny>> {
    this.wait_for_end()?;
    cancelled(this)
}

fn run<'py>(this: Ref<'_, 'py, ThreadSafeHandle>) -> PyResult<Bound<'py, PyAny>> {
    this.run()?;
    none(this)
}

/// Builds the class on top of asyncio's.
pub fn define(base: &Bound<'_, PyType>) -> PyResult<()> {
    build::<ThreadSafeHandle>(
        base,
        Definition {
            doc: Some(c"A callback of call_soon_threadsafe(); any thread may cancel it."),
            methods: vec![
                method0!(
                    ThreadSafeHandle,
                    c"cancel",
                    cancel_when_ended,
                    c"Cancel the callback; wait while it runs in another thread."
                ),
                method0!(
                    ThreadSafeHandle,
                    c"cancelled",
                    cancelled_when_ended,
                    c"Return True if the callback was cancelled; wait while it runs in another thread."
                ),
                method0!(
                    ThreadSafeHandle,
                    c"get_context",
                    context,
                    c"Return the contextvars.Context of the callback."
                ),
                method0!(ThreadSafeHandle, c"_run", run, c"Run the callback in its context."),
            ],
            attributes: attributes!(ThreadSafeHandle),
            ..Definition::default()
        },
    )
    .map(drop)
}
