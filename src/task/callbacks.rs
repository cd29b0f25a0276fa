//! Who waits for the end of a future.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::step;
use super::task::Task;
use crate::combine::watcher::Watcher;
use crate::ffi::{Owned, Slot, Traversal, Visit, call, error};

/// One that waits: a task or a combinator, as itself, or a callable with its context.
pub enum Callback {
    /// A task that awaits the future.
    Task(Owned<Task>),
    /// What combines the future with others.
    Watcher(Watcher),
    /// From `add_done_callback`.
    Python {
        /// Called with the future.
        callable: Slot,
        /// The context to call it in.
        context: Slot,
    },
}

impl Callback {
    /// From `add_done_callback(callable, context=context)`.
    pub fn python(callable: Bound<'_, PyAny>, context: Bound<'_, PyAny>) -> Self {
        Callback::Python { callable: Slot::new(callable), context: Slot::new(context) }
    }

    /// Another reference to the same.
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Callback::Task(task) => Callback::Task(task.clone_ref(py)),
            Callback::Watcher(watcher) => Callback::Watcher(watcher.clone_ref(py)),
            Callback::Python { callable, context } => {
                Callback::python(callable.get_or_none(py), context.get_or_none(py))
            }
        }
    }

    /// What is called with the future. For a task or a combinator it is made now.
    pub fn callable<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Callback::Task(task) => step::wakeup_callable(task.get(py)),
            Callback::Watcher(watcher) => watcher.callable(py),
            Callback::Python { callable, .. } => Ok(callable.get_or_none(py)),
        }
    }

    /// The context to call it in.
    pub fn context<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Callback::Task(task) => task.get(py).context.get_or_none(py),
            // Which one makes no difference to it.
            Callback::Watcher(_) => {
                error::ok(call::copy_context(py), py).unwrap_or_else(|| super::none(py))
            }
            Callback::Python { context, .. } => context.get_or_none(py),
        }
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        match self {
            Callback::Task(task) => visit.pointer(task.as_ptr()),
            Callback::Watcher(watcher) => visit.pointer(watcher.as_ptr()),
            Callback::Python { callable, context } => {
                visit.slot(callable)?;
                visit.slot(context)
            }
        }
    }
}

/// The callbacks of one future, in the order in which they were added. Most futures have one at most, which
/// needs no memory of its own.
#[derive(Default)]
pub struct Callbacks {
    first: Cell<Option<Callback>>,
    /// Behind a box, for a future is smaller so, and hardly any has it.
    #[allow(clippy::box_collection)] // It is what makes the future smaller.
    rest: Cell<Option<Box<Vec<Callback>>>>,
}

impl Callbacks {
    /// Adds a callback at the end.
    #[inline]
    pub fn push(&self, callback: Callback) {
        if self.first().is_none() && self.rest().is_empty() {
            self.first.set(Some(callback));
        } else {
            let mut rest = self.rest.take().unwrap_or_default();
            rest.push(callback);
            self.rest.set(Some(rest));
        }
    }

    /// Takes the first, if it stands apart from the rest.
    #[inline]
    pub fn take_first(&self) -> Option<Callback> {
        self.first.take()
    }

    /// Takes the rest.
    #[inline]
    pub fn take_rest(&self) -> Vec<Callback> {
        self.rest.take().map_or_else(Vec::new, |rest| *rest)
    }

    fn set_rest(&self, rest: Vec<Callback>) {
        drop(self.rest.replace((!rest.is_empty()).then(|| Box::new(rest))));
    }

    /// Drops all.
    pub fn clear(&self) {
        drop((self.first.take(), self.rest.take()));
    }

    /// Removes every callback that is equal to `callable` and returns how many there were.
    ///
    /// A comparison may run any code, even such that adds and removes callbacks of this future. Raises what it raises.
    pub fn remove(&self, callable: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = callable.py();
        let mut removed = 0;
        if let Some(first) = self.first().as_ref().map(|first| first.clone_ref(py))
            && equal(&first.callable(py)?, callable)?
        {
            drop(self.first.take());
            removed = 1;
        }
        let before = self.rest().len();
        let mut kept = Vec::new();
        let mut index = 0;
        while let Some(callback) = self.rest().get(index).map(|callback| callback.clone_ref(py)) {
            if !equal(&callback.callable(py)?, callable)? {
                kept.push(callback);
            }
            index += 1;
        }
        if kept.is_empty() {
            drop(self.rest.take());
            return Ok(before + removed);
        }
        let after = self.rest().len();
        let left = kept.len();
        if left != after {
            self.set_rest(kept);
        }
        Ok(after.saturating_sub(left) + removed)
    }

    /// Removes the combinator at the address `watcher`. Runs no other code.
    pub fn remove_watcher(&self, watcher: *mut ffi::PyObject) {
        let is_it = |callback: &Callback| matches!(callback, Callback::Watcher(found) if found.as_ptr() == watcher);
        let removed = match self.first() {
            Some(first) if is_it(first) => self.first.take(),
            _ => None,
        };
        let (dropped, kept): (Vec<_>, Vec<_>) = self.take_rest().into_iter().partition(is_it);
        self.set_rest(kept);
        drop((removed, dropped));
    }

    /// The callbacks as asyncio shows them: a list of pairs (callable, context), `None` for none.
    pub fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let all: Vec<Callback> = self
            .first()
            .iter()
            .chain(self.rest().iter())
            .map(|callback| callback.clone_ref(py))
            .collect();
        if all.is_empty() {
            return Ok(super::none(py));
        }
        let list = PyList::empty(py);
        for callback in all {
            list.append(PyTuple::new(py, [callback.callable(py)?, callback.context(py)])?)?;
        }
        Ok(list.into_any())
    }

    /// Reports what the callbacks own to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        if let Some(first) = self.first() {
            first.traverse(visit)?;
        }
        self.rest().iter().try_for_each(|callback| callback.traverse(visit))
    }

    fn first(&self) -> &Option<Callback> {
        // SAFETY: the result is never held across a call into Python or a change: nobody else writes meanwhile.
        unsafe { &*self.first.as_ptr() }
    }

    fn rest(&self) -> &[Callback] {
        // SAFETY: as above.
        unsafe { &*self.rest.as_ptr() }.as_deref().map_or(&[], Vec::as_slice)
    }
}

/// Whether both are the same object or equal.
fn equal(left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>) -> PyResult<bool> {
    // SAFETY: both are alive.
    let outcome: c_int =
        unsafe { ffi::PyObject_RichCompareBool(left.as_ptr(), right.as_ptr(), ffi::Py_EQ) };
    if outcome < 0 { Err(PyErr::fetch(left.py())) } else { Ok(outcome != 0) }
}
