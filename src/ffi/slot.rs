//! An owned Python reference in a field, and its visit by the garbage collector.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

/// A field that owns one Python reference, or nothing.
///
/// Unlike `RefCell<Option<Py<PyAny>>>` it has no borrow to violate: reading clones the reference, and
/// writing releases the old value after the new one is in place.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Slot(Cell<*mut ffi::PyObject>);

impl Slot {
    /// A slot that holds nothing.
    pub const fn empty() -> Self {
        Slot(Cell::new(ptr::null_mut()))
    }

    /// A slot that holds `value`.
    pub fn new(value: Bound<'_, PyAny>) -> Self {
        Slot(Cell::new(value.into_ptr()))
    }

    /// Whether the slot holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }

    /// Whether the object held has other owners as well.
    #[inline]
    pub fn is_shared(&self) -> bool {
        // SAFETY: a slot's pointer is null or a reference that the slot owns.
        !self.is_empty() && unsafe { ffi::Py_REFCNT(self.0.get()) } > 1
    }

    /// The address of the object held, for comparisons of identity; null when empty.
    #[inline]
    pub fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.get()
    }

    /// A new reference to the object held.
    #[inline]
    pub fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        // SAFETY: a slot's pointer is null or a reference that the slot owns.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, self.0.get()) }
    }

    /// A new reference to the object held, or `None`, the Python object.
    pub fn get_or_none<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.get(py).unwrap_or_else(|| py.None().into_bound(py))
    }

    /// Holds `value` from now on; the old value is released.
    #[inline]
    pub fn set(&self, value: Bound<'_, PyAny>) {
        let old = self.0.replace(value.into_ptr());
        // SAFETY: `old` was owned by this slot and is not reachable through it any more; the GIL is
        // held because `value` was bound to it.
        unsafe { ffi::Py_XDECREF(old) };
    }

    /// Holds `value`, or nothing, from now on; the old value is released.
    pub fn set_opt(&self, value: Option<Bound<'_, PyAny>>, py: Python<'_>) {
        match value {
            Some(value) => self.set(value),
            None => drop(self.take(py)),
        }
    }

    /// Takes the object out, with its reference.
    #[inline]
    pub fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let old = self.0.replace(ptr::null_mut());
        // SAFETY: the reference was owned by the slot, which gives it away.
        unsafe { Bound::from_owned_ptr_or_opt(py, old) }
    }

    /// Releases the object held. The caller holds the GIL, as all of this crate's fields require.
    #[inline]
    pub fn clear(&self) {
        let old = self.0.replace(ptr::null_mut());
        // SAFETY: `old` was owned by this slot; the GIL is held (invariant 1 of this room).
        unsafe { ffi::Py_XDECREF(old) };
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a visit of the garbage collector returns: an error is the collector's own, to hand on.
pub type Traversal = Result<(), c_int>;

/// The garbage collector's visitor.
///
/// While it runs no reference may be taken or released: the methods only report addresses.
pub struct Visit {
    proc: ffi::visitproc,
    arg: *mut c_void,
}

impl Visit {
    pub(super) fn new(proc: ffi::visitproc, arg: *mut c_void) -> Self {
        Visit { proc, arg }
    }

    /// Reports the object that `slot` holds.
    pub fn slot(&self, slot: &Slot) -> Traversal {
        self.pointer(slot.as_ptr())
    }

    /// Reports an object that is owned; null is nothing.
    pub fn pointer(&self, object: *mut ffi::PyObject) -> Traversal {
        if object.is_null() {
            return Ok(());
        }
        // SAFETY: the collector gave this function and argument for the length of the traversal, and
        // `object` is alive because its owner, which is being traversed, holds a reference.
        match unsafe { (self.proc)(object, self.arg) } {
            0 => Ok(()),
            stop => Err(stop),
        }
    }

    pub(super) fn parts(&self) -> (ffi::visitproc, *mut c_void) {
        (self.proc, self.arg)
    }
}
