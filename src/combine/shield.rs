//! `shield`.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::create::ensure_future;
use super::ended::{self, Ended};
use super::none;
use super::watcher::Watcher;
use crate::event_loop::overrides::direct;
use crate::ffi::method::HiddenMethod;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Owned, Ref, Signature, Slot, Traversal, Visit, build,
};
use crate::method1;
use crate::stdlib::stdlib;
use crate::task::callbacks::Callback;
use crate::task::create_future;
#[cfg(Py_3_14)]
use crate::task::current;
use crate::task::future::cast_exact;

/// What stands between the future that is shielded and the one that `shield` returned.
#[derive(Default)]
pub struct Shield {
    inner: Slot,
    outer: Slot,
    /// The task that shields, for the call graph.
    task: Slot,
}

static SHIELD: ClassCell = ClassCell::new();

impl Class for Shield {
    const NAME: &'static CStr = c"ferrio.shield";
    const FREELIST: usize = 32;

    fn class() -> &'static ClassCell {
        &SHIELD
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.inner)?;
        visit.slot(&self.outer)?;
        visit.slot(&self.task)
    }

    fn clear(&self) {
        self.inner.clear();
        self.outer.clear();
        self.task.clear();
    }
}

/// `shield(arg)`
pub fn shield<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const SHIELD: Signature<1> =
        Signature { name: "shield", parameters: ["arg"], positional: 1, required: 1 };
    let [awaitable] = args.parse(&SHIELD)?;
    let py = args.py();
    let awaitable = awaitable.map_or_else(|| none(py), |awaitable| awaitable.to_owned());
    let inner = ensure_future(&awaitable, None)?;
    if ended::is_done(&inner)? {
        return Ok(inner);
    }
    let event_loop = ended::loop_of(&inner)?;
    let (Some(future), Some(native)) = (cast_exact(&inner), direct(&event_loop)?) else {
        // Another kind of future, or on another kind of loop.
        return stdlib(py).shield.bind(py).call1((inner,));
    };
    let outer = create_future(native)?;
    let shield = Owned::<Shield>::alloc(py)?;
    let this = shield.get(py);
    #[cfg(Py_3_14)]
    if let Some(task) = current::get(&event_loop)? {
        ended::add_to_awaited_by(&inner, &task)?;
        this.task.set(task);
    }
    this.inner.set(inner.clone());
    this.outer.set(outer.get(py).to_any());
    future.add_callback(Callback::Watcher(Watcher::Inner(shield.clone_ref(py))))?;
    let watcher = Watcher::Outer(shield.clone_ref(py));
    outer.get(py).add_callback(Callback::Watcher(watcher))?;
    Ok(outer.into_any(py))
}

/// What is shielded has ended: so does what `shield` returned.
pub fn inner_ended(this: Ref<'_, '_, Shield>) -> PyResult<()> {
    let py = this.py();
    forget_waiter(this)?;
    let (inner, outer) = (this.inner.get_or_none(py), this.outer.get_or_none(py));
    let Some(outer) = cast_exact(&outer) else { return Ok(()) };
    if outer.is_cancelled() {
        // Before 3.14 nobody else would hear of the exception.
        return if cfg!(Py_3_14) { Ok(()) } else { ended::mark_retrieved(&inner) };
    }
    match ended::how(&inner)? {
        Ended::Cancelled => outer.cancel(None).map(drop),
        Ended::Exception(exception) => outer.set_exception(exception),
        Ended::Result(result) => outer.set_result(result),
    }
}

/// What `shield` returned has ended: by cancellation, if what it shields is pending.
pub fn outer_ended(this: Ref<'_, '_, Shield>) -> PyResult<()> {
    let inner = this.inner.get_or_none(this.py());
    if let Some(inner) = cast_exact(&inner)
        && !inner.done()
    {
        inner.remove_watcher(this.as_ptr());
        forget_waiter(this)?;
    }
    Ok(())
}

fn forget_waiter(this: Ref<'_, '_, Shield>) -> PyResult<()> {
    let py = this.py();
    match this.task.take(py) {
        Some(task) => ended::discard_from_awaited_by(&this.inner.get_or_none(py), &task),
        None => Ok(()),
    }
}

fn inner_done<'py>(
    this: Ref<'_, 'py, Shield>,
    _: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    inner_ended(this)?;
    Ok(none(this.py()))
}

fn outer_done<'py>(
    this: Ref<'_, 'py, Shield>,
    _: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    outer_ended(this)?;
    Ok(none(this.py()))
}

/// `_inner_done_callback`, bound.
pub fn inner_callback<'py>(this: Ref<'_, 'py, Shield>) -> PyResult<Bound<'py, PyAny>> {
    static INNER: PyOnceLock<HiddenMethod<Shield>> = PyOnceLock::new();
    let make = || {
        let doc = c"What is shielded has ended.";
        HiddenMethod::new(method1!(Shield, c"_inner_done_callback", inner_done, doc))
    };
    INNER.get_or_init(this.py(), make).bind(this)
}

/// `_outer_done_callback`, bound.
pub fn outer_callback<'py>(this: Ref<'_, 'py, Shield>) -> PyResult<Bound<'py, PyAny>> {
    static OUTER: PyOnceLock<HiddenMethod<Shield>> = PyOnceLock::new();
    let make = || {
        let doc = c"What shields has ended.";
        HiddenMethod::new(method1!(Shield, c"_outer_done_callback", outer_done, doc))
    };
    OUTER.get_or_init(this.py(), make).bind(this)
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<()> {
    build::<Shield>(&py.get_type::<PyAny>(), Definition::default()).map(drop)
}
