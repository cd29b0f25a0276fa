//! A deque of Python objects that is Rust's own until Python asks to see it.
//!
//! asyncio keeps its waiters and the items of its queues in a `collections.deque` or a list, and programs look at them
//! (`queue._queue[0]`). What is shown once is the real container from then on, so that what they change there counts.

use std::cell::RefCell;
use std::collections::VecDeque;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::ffi::call::{call0, call1};
use crate::ffi::{Slot, Traversal, Visit, error};

/// How much room an empty deque keeps for the next objects.
const ROOM: usize = 64;

/// The objects, first in first.
#[derive(Default)]
pub struct Deque {
    native: RefCell<VecDeque<Slot>>,
    /// What holds the objects instead, once it was asked for.
    shown: Slot,
}

impl Deque {
    /// How many there are. Raises what a shown container's `__len__` raises, as all that follow.
    #[inline]
    pub fn len(&self, py: Python<'_>) -> PyResult<usize> {
        match self.shown.get(py) {
            None => Ok(self.native.borrow().len()),
            Some(shown) => shown.len(),
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self, py: Python<'_>) -> PyResult<bool> {
        match self.shown.get(py) {
            None => Ok(self.native.borrow().is_empty()),
            Some(shown) => Ok(!shown.is_truthy()?),
        }
    }

    /// Adds `object` at the end.
    #[inline]
    pub fn push(&self, object: Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        match self.shown.get(py) {
            None => {
                self.native.borrow_mut().push_back(Slot::new(object));
                Ok(())
            }
            Some(shown) => shown.call_method1(intern!(py, "append"), (object,)).map(drop),
        }
    }

    /// Takes the first out. Raises `IndexError` from a shown container without any.
    #[inline]
    pub fn pop_first<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.shown.get(py) {
            None => Ok(self.take(py, VecDeque::pop_front)),
            Some(shown) => shown.call_method0(intern!(py, "popleft")).map(Some),
        }
    }

    /// Takes the last out. Raises `IndexError` from a shown container without any.
    #[inline]
    pub fn pop_last<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.shown.get(py) {
            None => Ok(self.take(py, VecDeque::pop_back)),
            Some(shown) => shown.call_method0(intern!(py, "pop")).map(Some),
        }
    }

    #[inline]
    fn take<'py>(
        &self,
        py: Python<'py>,
        pop: impl FnOnce(&mut VecDeque<Slot>) -> Option<Slot>,
    ) -> Option<Bound<'py, PyAny>> {
        let mut native = self.native.borrow_mut();
        let object = pop(&mut native);
        if native.is_empty() && native.capacity() > ROOM {
            native.shrink_to(ROOM);
        }
        object.and_then(|object| object.take(py))
    }

    /// The one at `index`, if there are so many.
    #[inline]
    pub fn get<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.shown.get(py) {
            None => Ok(self.native.borrow().get(index).and_then(|object| object.get(py))),
            Some(shown) if index < shown.len()? => shown.get_item(index).map(Some),
            Some(_) => Ok(None),
        }
    }

    /// Takes `object` itself out, if it is there.
    #[inline]
    pub fn remove(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let Some(shown) = self.shown.get(py) else {
            let place = self.native.borrow().iter().position(|it| it.as_ptr() == object.as_ptr());
            drop(place.and_then(|place| self.take(py, |native| native.remove(place))));
            return Ok(());
        };
        match shown.call_method1(intern!(py, "remove"), (object,)) {
            Err(error) if error.is_instance_of::<PyValueError>(py) => {
                error::discard(error, py);
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// The container as Python sees it: one made by calling `class`, unless it was shown before.
    pub fn show<'py>(&self, class: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = class.py();
        if let Some(shown) = self.shown.get(py) {
            return Ok(shown);
        }
        let shown = call0(class)?;
        let append = shown.getattr(intern!(py, "append"))?;
        self.shown.set(shown.clone());
        for object in self.native.take() {
            call1(&append, &object.get_or_none(py))?;
        }
        Ok(shown)
    }

    /// A new list of the objects. Raises what iterating a shown container raises.
    pub fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if let Some(shown) = self.shown.get(py) {
            let list = PyList::empty(py);
            list.call_method1(intern!(py, "extend"), (shown,))?;
            return Ok(list);
        }
        let native: Vec<_> = self.native.borrow().iter().map(|it| it.get_or_none(py)).collect();
        PyList::new(py, native)
    }

    /// Holds its objects in `container` from now on; those that it has are released.
    pub fn replace(&self, container: Bound<'_, PyAny>) {
        self.shown.set(container);
        drop(self.native.take());
    }

    /// Releases all objects, and the container that was shown.
    pub fn clear(&self) {
        let native = self.native.take();
        self.shown.clear();
        drop(native);
    }

    /// Reports the objects to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.shown)?;
        self.native.borrow().iter().try_for_each(|object| visit.slot(object))
    }
}
