//! Methods of the loop that a program has put others in the place of.
//!
//! Tasks, futures and timers go around `call_soon`, `time` and the like of ferrio's loop. Where a subclass has others, or a
//! program sets them on a loop or on its class, these are called, as asyncio does.

use std::cell::Cell;
use std::ffi::c_uint;

use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::{Loop, none};
use crate::ffi::{Class, Ref, Slot};
use crate::method0;

/// The last class of loops that was looked at, and what was found: most programs have one.
struct Verdict {
    class: Slot,
    /// Changes with the class's attributes and those of its bases.
    version: Cell<c_uint>,
    /// Whether the class is ferrio's or derives from it, and has all the methods from there that are gone around.
    direct: Cell<bool>,
    /// Whether the class is ferrio's or derives from it, and has `time` from there.
    clock: Cell<bool>,
}

// SAFETY: touched with the GIL held only (invariant 1 of the room `ffi`).
unsafe impl Sync for Verdict {}

/// The methods that are gone around.
fn names(py: Python<'_>) -> [&Bound<'_, PyString>; 8] {
    [
        intern!(py, "call_soon"),
        intern!(py, "call_soon_threadsafe"),
        intern!(py, "call_at"),
        intern!(py, "call_later"),
        intern!(py, "create_future"),
        intern!(py, "create_task"),
        intern!(py, "get_debug"),
        intern!(py, "time"),
    ]
}

static LAST: Verdict = Verdict {
    class: Slot::empty(),
    version: Cell::new(NONE),
    direct: Cell::new(false),
    clock: Cell::new(false),
};

/// No class has this version.
const NONE: c_uint = c_uint::MAX;

#[inline]
fn verdict_on(event_loop: &Bound<'_, PyAny>) -> PyResult<&'static Verdict> {
    let same_class = LAST.class.as_ptr() == event_loop.get_type_ptr().cast();
    if !same_class || LAST.version.get() != version_of(event_loop) {
        LAST.look_at(event_loop)?;
    }
    Ok(&LAST)
}

#[inline]
fn version_of(event_loop: &Bound<'_, PyAny>) -> c_uint {
    // SAFETY: the class of a live object; the field is a number that only changes with the GIL held.
    unsafe { (*event_loop.get_type_ptr()).tp_version_tag }
}

impl Verdict {
    #[cold]
    fn look_at(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let (class, ours) = (event_loop.get_type(), Loop::class().get(py));
        let native = Ref::<Loop>::cast(event_loop).is_some();
        let is_ours = |name: &&Bound<'_, PyString>| -> PyResult<bool> {
            Ok(class.getattr(*name)?.is(&ours.getattr(*name)?))
        };
        let mut direct = native;
        for name in names(py) {
            direct = direct && is_ours(&name)?;
        }
        let clock = native && is_ours(&intern!(py, "time"))?;
        self.direct.set(direct);
        self.clock.set(clock);
        // Looking gave the class a version, unless the interpreter has run out of them.
        let version = version_of(event_loop);
        self.version.set(if version == 0 { NONE } else { version });
        self.class.set(class.into_any());
        Ok(())
    }
}

/// `event_loop` as a loop whose ready queue may be filled without its `call_soon`, and whose futures may be made without
/// its `create_future`, if it is one.
#[inline]
pub fn direct<'a, 'py>(event_loop: &'a Bound<'py, PyAny>) -> PyResult<Option<Ref<'a, 'py, Loop>>> {
    if !verdict_on(event_loop)?.direct.get() {
        return Ok(None);
    }
    // SAFETY: the verdict is that the class is ferrio's or derives from it.
    let native = unsafe { Ref::<Loop>::from_ptr(event_loop.py(), event_loop.as_ptr()) };
    Ok((!native.replaced.get()).then_some(native))
}

impl Loop {
    /// What the loop's own `time()` says, if it isn't ferrio's.
    #[inline]
    pub(super) fn own_time<'py>(this: Ref<'_, 'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if verdict_on(this.as_any())?.clock.get() && !this.replaced.get() {
            return Ok(None);
        }
        this.as_any().call_method0(intern!(this.py(), "time")).map(Some)
    }
}

/// Looks which of the methods that are gone around are attributes of the loop itself.
fn note_replaced<'py>(this: Ref<'_, 'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let attributes = this.as_any().getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?;
    let mut replaced = false;
    for name in names(py) {
        replaced = replaced || attributes.contains(name)?;
    }
    this.replaced.set(replaced);
    none(this)
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![method0!(
        Loop,
        c"_note_replaced",
        note_replaced,
        c"_note_replaced($self)\n--\n\nTake note of methods that are attributes of this loop alone."
    )]
}
