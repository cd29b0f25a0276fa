//! `gather`.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString};

use super::create::ensure_child;
use super::ended::{self, Ended};
use super::none;
use super::watcher::Watcher;
use crate::ffi::method::HiddenMethod;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Extends, Owned, Ref, Signature, Slot, Traversal, Visit,
    build,
};
use crate::stdlib::stdlib;
use crate::task::callbacks::Callback;
#[cfg(Py_3_14)]
use crate::task::current;
use crate::task::future::{Future, cast_exact};
use crate::{attribute, method, method1};

/// The fields of the future that `gather` returns.
#[derive(Default)]
#[repr(C)]
pub struct Gathering {
    future: Future,
    /// The list of the futures that are gathered, in the order of the results.
    children: Slot,
    /// The task that gathers, for the call graph.
    task: Slot,
    return_exceptions: Cell<bool>,
    /// Whether children were cancelled by its `cancel`.
    cancel_requested: Cell<bool>,
    /// Whether some of them are watched as other classes' futures are.
    mixed: Cell<bool>,
    /// How many children have not ended.
    left: Cell<usize>,
    /// How many have ended and wait for their turn.
    turns: Cell<usize>,
}

static GATHERING: ClassCell = ClassCell::new();

impl Class for Gathering {
    const NAME: &'static CStr = c"ferrio._GatheringFuture";
    const FREELIST: usize = 32;
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &GATHERING
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.future.traverse(visit)?;
        visit.slot(&self.children)?;
        visit.slot(&self.task)
    }

    fn clear(&self) {
        self.future.clear();
        self.children.clear();
        self.task.clear();
    }

    fn must_finalize(&self) -> bool {
        self.future.must_finalize()
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        this.up::<Future>().log_unretrieved();
    }
}

// SAFETY: `repr(C)`, a future first, and `define` builds the class so.
unsafe impl Extends<Future> for Gathering {}

/// `gather(*coros_or_futures, return_exceptions=False)`
pub fn gather<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = args.py();
    let mut return_exceptions = false;
    args.each_keyword(|name, value| {
        if name != "return_exceptions" {
            return Err(PyTypeError::new_err(format!(
                "gather() got an unexpected keyword argument '{name}'"
            )));
        }
        return_exceptions = value.is_truthy()?;
        Ok(())
    })?;
    if args.len() == 0 {
        return stdlib(py).gather.bind(py).call0();
    }
    let (mut event_loop, task) = where_it_runs(py)?;
    let gathering = Owned::<Gathering>::alloc(py)?;
    let this = gathering.get(py);
    this.return_exceptions.set(return_exceptions);
    this.task.set_opt(task.clone(), py);
    let (children, seen) = (PyList::empty(py), PyDict::new(py));
    let mut done = Vec::new();
    for index in 0..args.len() {
        let Some(awaitable) = args.get(index) else { break };
        if let Some(child) = seen.get_item(awaitable)? {
            children.append(child)?;
            continue;
        }
        let child = ensure_child(&awaitable, &mut event_loop)?;
        seen.set_item(awaitable, &child)?;
        this.left.set(this.left.get() + 1);
        if cfg!(Py_3_12) && ended::is_done(&child)? {
            done.push(child.clone());
        } else {
            watch(this, &child, task.as_ref())?;
        }
        children.append(child)?;
    }
    this.up::<Future>().init(event_loop)?;
    this.children.set(children.into_any());
    for child in done {
        child_ended(this, &child)?;
    }
    Ok(gathering.into_any(py))
}

type Where<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

/// The loop of the children, and the task that gathers them: before 3.14 the first child tells the loop.
#[cfg(not(Py_3_14))]
fn where_it_runs(_: Python<'_>) -> PyResult<Where<'_>> {
    Ok((None, None))
}

/// The loop of the children, and the task that gathers them.
#[cfg(Py_3_14)]
fn where_it_runs(py: Python<'_>) -> PyResult<Where<'_>> {
    let running = crate::ffi::call::call0(stdlib(py).get_running_loop_or_none.bind(py))?;
    if running.is_none() {
        return Ok((None, None));
    }
    let task = current::get(&running)?;
    Ok((Some(running), task))
}

fn watch<'py>(
    this: Ref<'_, 'py, Gathering>,
    child: &Bound<'py, PyAny>,
    task: Option<&Bound<'py, PyAny>>,
) -> PyResult<()> {
    let py = this.py();
    if let Some(task) = task {
        ended::add_to_awaited_by(child, task)?;
    }
    match cast_exact(child) {
        Some(future) => future.add_callback(Callback::Watcher(Watcher::Gather(this.to_owned()))),
        None => {
            this.mixed.set(true);
            let callback = callback(this)?;
            child.call_method1(intern!(py, "add_done_callback"), (callback,)).map(drop)
        }
    }
}

/// Counts the end of `child`. Whether it may end the whole, being the last or a failure, or is counted in its turn.
pub fn needs_turn<'py>(
    this: Ref<'_, 'py, Gathering>,
    child: Ref<'_, 'py, Future>,
) -> PyResult<bool> {
    if this.mixed.get() {
        return Ok(true);
    }
    this.left.set(this.left.get().saturating_sub(1));
    let failed = child.is_cancelled() || child.has_failed();
    if this.left.get() == 0 || (failed && !this.return_exceptions.get()) {
        this.turns.set(this.turns.get() + 1);
        return Ok(true);
    }
    if let Some(task) = this.task.get(this.py()) {
        ended::discard_from_awaited_by(child.as_any(), &task)?;
    }
    Ok(false)
}

/// A child has ended whose end was not counted: it was done already, or is another kind of future.
fn child_ended<'py>(this: Ref<'_, 'py, Gathering>, child: &Bound<'py, PyAny>) -> PyResult<()> {
    this.left.set(this.left.get().saturating_sub(1));
    this.turns.set(this.turns.get() + 1);
    run(this, child)
}

/// The turn that the end of `child` needs.
pub fn take_turn<'py>(this: Ref<'_, 'py, Gathering>, child: &Bound<'py, PyAny>) -> PyResult<()> {
    if this.mixed.get() { child_ended(this, child) } else { run(this, child) }
}

/// Deals with the end of `child`, which has been counted.
fn run<'py>(this: Ref<'_, 'py, Gathering>, child: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    this.turns.set(this.turns.get().saturating_sub(1));
    let task = this.task.get(py);
    if let Some(task) = &task {
        ended::discard_from_awaited_by(child, task)?;
    }
    let future = this.up::<Future>();
    // Without a loop it was never made: an awaitable behind the child was none.
    if future.done() || future.loop_ptr().is_null() {
        return ended::mark_retrieved(child);
    }
    if !this.return_exceptions.get() {
        let exception = match ended::how(child)? {
            Ended::Cancelled => Some(ended::cancelled_error(child)?),
            Ended::Exception(exception) => Some(exception),
            Ended::Result(_) => None,
        };
        if let Some(exception) = exception {
            forget_waiter(this, task.as_ref())?;
            return future.set_exception(exception);
        }
    }
    if this.left.get() == 0 && this.turns.get() == 0 { finish(this) } else { Ok(()) }
}

/// Children that outlive the whole are awaited no more.
fn forget_waiter<'py>(
    this: Ref<'_, 'py, Gathering>,
    task: Option<&Bound<'py, PyAny>>,
) -> PyResult<()> {
    let Some(task) = task else { return Ok(()) };
    for child in this.children.get_or_none(this.py()).try_iter()? {
        ended::discard_from_awaited_by(&child?, task)?;
    }
    Ok(())
}

/// All children have ended: so does the whole.
fn finish(this: Ref<'_, '_, Gathering>) -> PyResult<()> {
    let py = this.py();
    let results = PyList::empty(py);
    let mut last = none(py);
    for child in this.children.get_or_none(py).try_iter()? {
        let child = child?;
        match ended::how(&child)? {
            Ended::Result(value) | Ended::Exception(value) => results.append(value)?,
            Ended::Cancelled => results.append(cancelled_with_message(&child)?)?,
        }
        last = child;
    }
    let future = this.up::<Future>();
    if this.cancel_requested.get() {
        future.set_exception(ended::cancelled_error(&last)?)
    } else {
        future.set_result(results.into_any())
    }
}

/// The `CancelledError` that stands among the results for a child that was cancelled.
fn cancelled_with_message<'py>(child: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = child.py();
    let message = match cast_exact(child) {
        Some(child) => child.cancel_message(py),
        None => child.getattr(intern!(py, "_cancel_message"))?,
    };
    let message = if message.is_none() { PyString::new(py, "").into_any() } else { message };
    stdlib(py).cancelled_error.bind(py).call1((message,))
}

fn done_callback<'py>(
    this: Ref<'_, 'py, Gathering>,
    child: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    child_ended(this, child)?;
    Ok(none(this.py()))
}

/// What other kinds of futures and loops call: `_done_callback`, bound.
pub fn callback<'py>(this: Ref<'_, 'py, Gathering>) -> PyResult<Bound<'py, PyAny>> {
    static DONE: PyOnceLock<HiddenMethod<Gathering>> = PyOnceLock::new();
    let make = || {
        let doc = c"A child has ended.";
        HiddenMethod::new(method1!(Gathering, c"_done_callback", done_callback, doc))
    };
    DONE.get_or_init(this.py(), make).bind(this)
}

fn cancel<'py>(this: Ref<'_, 'py, Gathering>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const CANCEL: Signature<1> =
        Signature { name: "cancel", parameters: ["msg"], positional: 1, required: 0 };
    let [message] = args.parse(&CANCEL)?;
    let py = this.py();
    let message = message.map_or_else(|| none(py), |message| message.to_owned());
    let mut cancelled = false;
    if !this.up::<Future>().done() {
        for child in this.children.get_or_none(py).try_iter()? {
            cancelled |= ended::cancel(&child?, Some(&message))?;
        }
        if cancelled {
            this.cancel_requested.set(true);
        }
    }
    Ok(pyo3::types::PyBool::new(py, cancelled).to_owned().into_any())
}

fn children<'py>(this: Ref<'_, 'py, Gathering>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.children.get_or_none(this.py()))
}

fn cancel_requested<'py>(this: Ref<'_, 'py, Gathering>) -> PyResult<Bound<'py, PyAny>> {
    Ok(pyo3::types::PyBool::new(this.py(), this.cancel_requested.get()).to_owned().into_any())
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<()> {
    let native = py.import("_asyncio")?;
    build::<Gathering>(
        native.getattr("Future")?.cast()?,
        Definition {
            doc: Some(c"The future of a gather()."),
            methods: vec![method!(
                Gathering,
                c"cancel",
                cancel,
                c"cancel($self, msg=None)\n--\n\nCancel the children; return whether one was pending."
            )],
            attributes: vec![
                attribute!(Gathering, c"_children", children),
                attribute!(Gathering, c"_cancel_requested", cancel_requested),
            ],
            fields_behind: native.getattr("Task")?.getattr("__basicsize__")?.extract()?,
            extends: Some(Future::class()),
            ..Definition::default()
        },
    )
    .map(drop)
}
