//! What ferrio needs of the standard library, looked up once.

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::ffi::native::Native;

/// Objects of the standard library, by what they do here.
#[allow(missing_docs)] // Each has the name it has in its module.
pub struct Stdlib {
    pub cancelled_error: Py<PyAny>,
    pub invalid_state_error: Py<PyAny>,
    pub broken_barrier_error: Py<PyAny>,
    pub queue_empty: Py<PyAny>,
    pub queue_full: Py<PyAny>,
    pub queue_shut_down: Py<PyAny>,
    pub barrier_state: Py<PyAny>,
    pub deque: Py<PyAny>,
    pub heappush: Py<PyAny>,
    pub heappop: Py<PyAny>,
    pub iscoroutine: Py<PyAny>,
    pub future_repr: Py<PyAny>,
    pub task_repr: Py<PyAny>,
    pub task_get_stack: Py<PyAny>,
    pub task_print_stack: Py<PyAny>,
    pub get_event_loop: Py<PyAny>,
    pub get_running_loop: Py<PyAny>,
    pub get_running_loop_or_none: Py<PyAny>,
    pub create_task: Py<PyAny>,
    pub ensure_future: Py<PyAny>,
    pub gather: Py<PyAny>,
    pub shield: Py<PyAny>,
    #[cfg(Py_3_12)]
    pub wait_for: Py<PyAny>,
    pub release_waiter: Py<PyAny>,
    pub set_result_unless_cancelled: Py<PyAny>,
    #[cfg(Py_3_14)]
    pub current_task: Py<PyAny>,
    #[cfg(not(Py_3_13))]
    pub set_task_name: Py<PyAny>,
    pub enter_task: Native,
    pub leave_task: Native,
    #[cfg(Py_3_12)]
    pub swap_current_task: Native,
    /// The current task of every running loop.
    #[cfg(not(Py_3_14))]
    pub current_tasks: Py<PyAny>,
    #[cfg(Py_3_14)]
    pub register_task: Native,
    #[cfg(Py_3_14)]
    pub unregister_task: Native,
    #[cfg(Py_3_14)]
    pub add_to_awaited_by: Native,
    #[cfg(Py_3_14)]
    pub discard_from_awaited_by: Native,
    /// `warnings.warn`. Found early, as the next: a finalizer may run in any frame, even in one that can't import.
    pub warn: Py<PyAny>,
    pub warn_unawaited_coroutine: Py<PyAny>,
    /// The names of the keywords of `call_soon(callback, *args, context=...)`.
    pub context_keyword: Py<PyTuple>,
}

static STDLIB: PyOnceLock<Stdlib> = PyOnceLock::new();

/// Looks everything up. Raises what the imports raise.
pub fn load(py: Python<'_>) -> PyResult<()> {
    STDLIB.get_or_try_init(py, || {
        // First, for `_asyncio` imported alone makes `asyncio.tasks` fall back to its Python version.
        py.import("asyncio")?;
        let native = py.import("_asyncio")?;
        let exceptions = py.import("asyncio.exceptions")?;
        let queues = py.import("asyncio.queues")?;
        let heapq = py.import("heapq")?;
        let base_tasks = py.import("asyncio.base_tasks")?;
        let tasks = py.import("asyncio.tasks")?;
        let warnings = py.import("warnings")?;
        let find = |module: &Bound<'_, PyModule>, name| module.getattr(name).map(Bound::unbind);
        let called = |module: &Bound<'_, PyModule>, name| module.getattr(name).map(Native::new);
        Ok::<_, PyErr>(Stdlib {
            cancelled_error: find(&exceptions, "CancelledError")?,
            invalid_state_error: find(&exceptions, "InvalidStateError")?,
            broken_barrier_error: find(&exceptions, "BrokenBarrierError")?,
            queue_empty: find(&queues, "QueueEmpty")?,
            queue_full: find(&queues, "QueueFull")?,
            queue_shut_down: queue_shut_down(&queues)?,
            barrier_state: find(&py.import("asyncio.locks")?, "_BarrierState")?,
            deque: find(&py.import("collections")?, "deque")?,
            heappush: find(&heapq, "heappush")?,
            heappop: find(&heapq, "heappop")?,
            iscoroutine: find(&py.import("asyncio.coroutines")?, "iscoroutine")?,
            future_repr: find(&py.import("asyncio.base_futures")?, "_future_repr")?,
            task_repr: find(&base_tasks, "_task_repr")?,
            task_get_stack: find(&base_tasks, "_task_get_stack")?,
            task_print_stack: find(&base_tasks, "_task_print_stack")?,
            get_event_loop: find(&native, "get_event_loop")?,
            get_running_loop: find(&native, "get_running_loop")?,
            get_running_loop_or_none: find(&native, "_get_running_loop")?,
            create_task: find(&tasks, "create_task")?,
            ensure_future: find(&tasks, "ensure_future")?,
            gather: find(&tasks, "gather")?,
            shield: find(&tasks, "shield")?,
            #[cfg(Py_3_12)]
            wait_for: find(&tasks, "wait_for")?,
            release_waiter: find(&tasks, "_release_waiter")?,
            set_result_unless_cancelled: find(
                &py.import("asyncio.futures")?,
                "_set_result_unless_cancelled",
            )?,
            #[cfg(Py_3_14)]
            current_task: find(&native, "current_task")?,
            #[cfg(not(Py_3_13))]
            set_task_name: find(&tasks, "_set_task_name")?,
            enter_task: called(&native, "_enter_task")?,
            leave_task: called(&native, "_leave_task")?,
            #[cfg(Py_3_12)]
            swap_current_task: called(&native, "_swap_current_task")?,
            #[cfg(not(Py_3_14))]
            current_tasks: find(&native, "_current_tasks")?,
            #[cfg(Py_3_14)]
            register_task: called(&native, "_register_task")?,
            #[cfg(Py_3_14)]
            unregister_task: called(&native, "_unregister_task")?,
            #[cfg(Py_3_14)]
            add_to_awaited_by: called(&native, "future_add_to_awaited_by")?,
            #[cfg(Py_3_14)]
            discard_from_awaited_by: called(&native, "future_discard_from_awaited_by")?,
            warn: find(&warnings, "warn")?,
            warn_unawaited_coroutine: find(&warnings, "_warn_unawaited_coroutine")?,
            context_keyword: PyTuple::new(py, [intern!(py, "context")])?.unbind(),
        })
    })?;
    Ok(())
}

/// `asyncio.QueueShutDown`, or ferrio's own of that name before 3.13.
fn queue_shut_down(queues: &Bound<'_, PyModule>) -> PyResult<Py<PyAny>> {
    if cfg!(Py_3_13) {
        return queues.getattr("QueueShutDown").map(Bound::unbind);
    }
    let py = queues.py();
    let doc = c"Raised when putting on to or getting from a shut-down Queue.";
    let base = py.get_type::<PyException>();
    PyErr::new_type(py, c"ferrio.QueueShutDown", Some(doc), Some(&base), None).map(Py::into_any)
}

/// The objects, once [`load`] has found them, which the import of the module does first.
#[inline]
pub fn stdlib(py: Python<'_>) -> &'static Stdlib {
    STDLIB.get(py).expect("the module's import loads this first")
}
