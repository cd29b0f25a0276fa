//! A callable, and the arguments to call it with once.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::ffi::reference::is_shared;
use crate::ffi::{Rest, Slot, Traversal, Visit, call};

/// A callable with its arguments, or nothing any more.
#[derive(Default)]
pub struct Invocation {
    callable: Slot,
    /// The argument when there is one, a tuple when there are several.
    args: Slot,
    arg_count: Cell<usize>,
}

impl Invocation {
    /// Keeps `callable(*args)`.
    #[inline]
    pub fn fill(&self, callable: Bound<'_, PyAny>, args: Rest<'_, '_>) -> PyResult<()> {
        let py = callable.py();
        self.callable.set(callable);
        self.arg_count.set(args.len());
        match args.len() {
            0 => {}
            1 => self.args.set_opt(args.first(), py),
            _ => self.args.set(args.to_tuple()?.into_any()),
        }
        Ok(())
    }

    /// Keeps `callable(arg)`.
    pub fn fill1(&self, callable: Bound<'_, PyAny>, arg: Bound<'_, PyAny>) {
        self.callable.set(callable);
        self.arg_count.set(1);
        self.args.set(arg);
    }

    /// The callable.
    #[inline]
    pub fn callable<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.callable.get(py)
    }

    /// The same, or `None`, the Python object, once it was let go.
    pub fn callable_or_none<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.callable.get_or_none(py)
    }

    /// Whether it was let go.
    pub fn is_empty(&self) -> bool {
        self.callable.is_empty()
    }

    /// Whether all of it has other owners also, so that nothing dies when it is let go.
    pub fn is_shared(&self, py: Python<'_>) -> bool {
        self.callable.is_shared()
            && match self.arg_count.get() {
                0 => true,
                1 => self.args.is_shared(),
                _ => self.args.get(py).is_some_and(|args| {
                    let args = args.cast::<PyTuple>();
                    args.is_ok_and(|args| args.iter_borrowed().all(|arg| is_shared(&arg)))
                }),
            }
    }

    /// Calls `callable`, which is the callable, with the arguments. Raises what it raises.
    pub fn call<'py>(&self, callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = callable.py();
        match (self.arg_count.get(), self.args.get(py)) {
            (1, Some(arg)) => call::call1(callable, &arg),
            (count, Some(args)) if count > 1 => {
                // SAFETY: `fill` put a tuple here for more than one argument, and only it sets the slot.
                callable.call1(unsafe { args.cast_unchecked::<PyTuple>() })
            }
            _ => call::call0(callable),
        }
    }

    /// The arguments, as a tuple.
    pub fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match (self.arg_count.get(), self.args.get(py)) {
            (1, Some(arg)) => PyTuple::new(py, [arg])?.into_any(),
            (count, Some(args)) if count > 1 => args,
            _ => PyTuple::empty(py).into_any(),
        })
    }

    /// Lets go of the callable and its arguments.
    #[inline]
    pub fn release(&self) {
        self.arg_count.set(0);
        self.callable.clear();
        self.args.clear();
    }

    /// Reports what it owns to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.callable)?;
        visit.slot(&self.args)
    }
}
