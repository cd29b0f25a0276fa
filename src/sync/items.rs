//! What a queue holds, and in which order it gives it out.

use std::cell::Cell;

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::deque::Deque;
use crate::ffi::call::{call1, call2};
use crate::ffi::{Traversal, Visit};
use crate::stdlib::stdlib;

/// Which item comes out next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// That which came first.
    #[default]
    Fifo,
    /// That which came last.
    Lifo,
    /// The least, as Python compares them: these are in a list, for `heapq`.
    Priority,
}

/// The items of one queue.
#[derive(Default)]
pub struct Items {
    order: Cell<Order>,
    objects: Deque,
}

impl Items {
    /// No items yet, to come out in this order.
    pub fn new(order: Order) -> Self {
        Items { order: Cell::new(order), objects: Deque::default() }
    }

    /// How many there are. Raises what the container of a subclass raises, as all that follow.
    #[inline]
    pub fn len(&self, py: Python<'_>) -> PyResult<usize> {
        self.objects.len(py)
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self, py: Python<'_>) -> PyResult<bool> {
        self.objects.is_empty(py)
    }

    /// Takes `item` in. Raises what comparing it raises.
    #[inline]
    pub fn put(&self, item: Bound<'_, PyAny>) -> PyResult<()> {
        if self.order.get() != Order::Priority {
            return self.objects.push(item);
        }
        let py = item.py();
        call2(stdlib(py).heappush.bind(py), &self.show(py)?, &item).map(drop)
    }

    /// Takes the next out. Raises `IndexError` when there is none, and what comparing the items raises.
    #[inline]
    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.order.get() {
            Order::Fifo => self.objects.pop_first(py)?.ok_or_else(|| none_left("an empty deque")),
            Order::Lifo => self.objects.pop_last(py)?.ok_or_else(|| none_left("empty list")),
            Order::Priority => call1(stdlib(py).heappop.bind(py), &self.show(py)?),
        }
    }

    /// The items as Python sees them: a `collections.deque` or a list.
    pub fn show<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.order.get() {
            Order::Fifo => self.objects.show(stdlib(py).deque.bind(py)),
            Order::Lifo | Order::Priority => self.objects.show(py.get_type::<PyList>().as_any()),
        }
    }

    /// A new list of the items.
    pub fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.objects.to_list(py)
    }

    /// Keeps the items in `container` from now on.
    pub fn replace(&self, container: Bound<'_, PyAny>) {
        self.objects.replace(container);
    }

    /// Releases all items.
    pub fn clear(&self) {
        self.objects.clear();
    }

    /// Reports the items to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        self.objects.traverse(visit)
    }
}

#[cold]
fn none_left(container: &str) -> PyErr {
    PyIndexError::new_err(format!("pop from {container}"))
}
