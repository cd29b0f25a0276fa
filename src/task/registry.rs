//! What `asyncio.all_tasks()` shows: every task from its start to its end.
//!
//! From 3.14 on the interpreter keeps a list whose links lie in the tasks themselves, ours included, for they derive
//! from its own. Before, it keeps a set of weak references, and to add to it costs more than a whole task; so ferrio
//! keeps a list of its own, and `ferrio/_registry.py` makes that set show both.
//!
//! Neither holds a reference. A task must therefore be taken out before its memory goes: see
//! [`Class::retire`](crate::ffi::Class::retire).

use pyo3::prelude::*;

use super::task::Task;
use crate::ffi::Ref;

/// Where a task stands in the registry; 0 for nowhere.
pub type Place = usize;

#[cfg(Py_3_14)]
mod list {
    use super::*;
    use crate::ffi::error;
    use crate::stdlib::stdlib;

    pub fn add(task: Ref<'_, '_, Task>) -> PyResult<()> {
        let py = task.py();
        stdlib(py).register_task.call([task.as_any()], py)?;
        task.place.set(1);
        Ok(())
    }

    pub fn remove(task: Ref<'_, '_, Task>) {
        let py = task.py();
        if task.place.replace(0) != 0
            && let Err(error) = stdlib(py).unregister_task.call([task.as_any()], py)
        {
            error::discard(error, py);
        }
    }

    /// The interpreter's own list has all.
    #[pyfunction]
    pub fn registered_tasks(py: Python<'_>) -> PyResult<Bound<'_, pyo3::types::PyList>> {
        Ok(pyo3::types::PyList::empty(py))
    }
}

#[cfg(not(Py_3_14))]
mod list {
    use std::cell::UnsafeCell;

    use pyo3::ffi as capi;
    use pyo3::types::PyList;

    use super::*;

    /// The addresses of the tasks, each at the index one below its place.
    struct Tasks(UnsafeCell<Vec<*mut capi::PyObject>>);

    // SAFETY: touched with the GIL held only (invariant 1 of the room `ffi`).
    unsafe impl Sync for Tasks {}

    static TASKS: Tasks = Tasks(UnsafeCell::new(Vec::new()));

    /// Gives `change` the list, which it must not call Python with.
    fn with_tasks<R>(change: impl FnOnce(&mut Vec<*mut capi::PyObject>) -> R) -> R {
        // SAFETY: the GIL is held, and no user of this function calls Python, so that the borrow is the only one.
        change(unsafe { &mut *TASKS.0.get() })
    }

    pub fn add(task: Ref<'_, '_, Task>) -> PyResult<()> {
        if task.place.get() == 0 {
            let place = with_tasks(|tasks| {
                tasks.push(task.as_ptr());
                tasks.len()
            });
            task.place.set(place);
        }
        Ok(())
    }

    pub fn remove(task: Ref<'_, '_, Task>) {
        let place = task.place.replace(0);
        if place == 0 {
            return;
        }
        let moved = with_tasks(|tasks| {
            tasks.swap_remove(place - 1);
            tasks.get(place - 1).copied()
        });
        if let Some(moved) = moved {
            // SAFETY: what stands in the list is alive: a task is taken out before its memory goes.
            unsafe { Ref::<Task>::from_ptr(task.py(), moved) }.place.set(place);
        }
    }

    /// The tasks that are registered, of every loop.
    #[pyfunction]
    pub fn registered_tasks(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
        let tasks: Vec<Bound<'_, PyAny>> = with_tasks(|tasks| {
            // SAFETY: as above; neither to count references nor to take one runs code.
            let lives = |&&task: &&*mut capi::PyObject| unsafe { capi::Py_REFCNT(task) } > 0;
            // A task whose death was put off (see the room `ffi`) still stands here, without a reference.
            let alive = tasks.iter().filter(lives);
            // SAFETY: as above.
            alive.map(|&task| unsafe { Bound::from_borrowed_ptr(py, task) }).collect()
        });
        PyList::new(py, tasks)
    }
}

/// Registers a task, which may be registered already.
#[inline]
pub fn add(task: Ref<'_, '_, Task>) -> PyResult<()> {
    list::add(task)
}

/// Takes a task out, if it is in.
#[inline]
pub fn remove(task: Ref<'_, '_, Task>) {
    list::remove(task);
}

pub use list::registered_tasks;
