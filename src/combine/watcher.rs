//! Who watches futures end: a combinator, as itself, where asyncio has a callback.
//!
//! asyncio calls such a callback a turn after the future's end. Of most ends nobody can tell: a combinator that waits for
//! more only counts them. These are counted at once, and only an end that has an effect gets a turn, in the place that
//! asyncio's callback has in the queue. Where futures of other classes are watched with them, whose callbacks come in
//! turns of their own, every end has one.

use pyo3::ffi;
use pyo3::prelude::*;

use super::gather::Gathering;
use super::shield::Shield;
use super::task_group::TaskGroup;
use super::wait::{self, Wait};
use super::{gather, shield, task_group};
use crate::ffi::{Owned, Ref};
use crate::task::coroutine::Coroutine;
use crate::task::future::Future;

/// A combinator that watches a future.
pub enum Watcher {
    /// `gather` watches a child.
    Gather(Owned<Gathering>),
    /// A group watches a task.
    Group(Owned<TaskGroup>),
    /// `wait` watches one of its set.
    Wait(Owned<Coroutine<Wait>>),
    /// `shield` watches what it shields.
    Inner(Owned<Shield>),
    /// `shield` watches what it returned.
    Outer(Owned<Shield>),
}

impl Watcher {
    /// Another reference to the same.
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Watcher::Gather(gathering) => Watcher::Gather(gathering.clone_ref(py)),
            Watcher::Group(group) => Watcher::Group(group.clone_ref(py)),
            Watcher::Wait(wait) => Watcher::Wait(wait.clone_ref(py)),
            Watcher::Inner(shield) => Watcher::Inner(shield.clone_ref(py)),
            Watcher::Outer(shield) => Watcher::Outer(shield.clone_ref(py)),
        }
    }

    /// The combinator's address.
    pub fn as_ptr(&self) -> *mut ffi::PyObject {
        match self {
            Watcher::Gather(gathering) => gathering.as_ptr(),
            Watcher::Group(group) => group.as_ptr(),
            Watcher::Wait(wait) => wait.as_ptr(),
            Watcher::Inner(shield) | Watcher::Outer(shield) => shield.as_ptr(),
        }
    }

    /// A callable that does the same when it is called with the future: for other kinds of loops, and to be shown.
    pub fn callable<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Watcher::Gather(gathering) => gather::callback(gathering.get(py)),
            Watcher::Group(group) => task_group::callback(group.get(py)),
            Watcher::Wait(wait) => wait::callback(wait.get(py)),
            Watcher::Inner(shield) => shield::inner_callback(shield.get(py)),
            Watcher::Outer(shield) => shield::outer_callback(shield.get(py)),
        }
    }

    /// Counts the end of `future`; whether that has an effect, and needs a turn for it.
    #[inline]
    pub fn needs_turn<'py>(&self, future: Ref<'_, 'py, Future>) -> PyResult<bool> {
        let py = future.py();
        match self {
            Watcher::Gather(gathering) => gather::needs_turn(gathering.get(py), future),
            Watcher::Group(group) => task_group::needs_turn(group.get(py), future),
            Watcher::Wait(wait) => Ok(wait::needs_turn(wait.get(py), future)),
            Watcher::Inner(_) | Watcher::Outer(_) => Ok(true),
        }
    }

    /// That turn. Raises what asyncio's callback would.
    pub fn run(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = future.py();
        match self {
            Watcher::Gather(gathering) => gather::take_turn(gathering.get(py), future),
            Watcher::Group(group) => task_group::run(group.get(py), future),
            Watcher::Wait(wait) => wait::run(wait.get(py), future),
            Watcher::Inner(shield) => shield::inner_ended(shield.get(py)),
            Watcher::Outer(shield) => shield::outer_ended(shield.get(py)),
        }
    }
}
