//! Deaths inside of deaths, up to a depth: so that a chain of objects, however long, doesn't exhaust the C stack.
//!
//! An object that dies lets go of the next, which dies inside of its death, and so on. CPython's own containers put off
//! what lies too deep until the outermost is dead, and so do ours. How CPython does it differs from version to version.

use std::cell::Cell;
use std::ptr;

use pyo3::ffi;

/// How many deaths may stand on the stack inside of each other: as many as CPython lets its own.
const DEPTH: u32 = 50;

/// A death that was put off. Its object has no reference, is not tracked by the garbage collector, and is whole.
struct Deferred {
    object: *mut ffi::PyObject,
    dealloc: ffi::destructor,
    next: *mut Deferred,
}

/// What is dying in a thread.
struct Trashcan {
    depth: Cell<u32>,
    /// A list linked by hand, for it needs no destructor when the thread ends.
    deferred: Cell<*mut Deferred>,
}

thread_local! {
    static TRASHCAN: Trashcan =
        const { Trashcan { depth: Cell::new(0), deferred: Cell::new(ptr::null_mut()) } };
}

/// One death that goes on. The outermost, when it ends, ends those that were put off meanwhile.
pub(super) struct Level(*const Trashcan);

/// Begins the death of `object`; `None` when it was put off, and `dealloc` will be called again.
///
/// # Safety
///
/// `object` is of a class that takes part in garbage collection, tracked or not, has no reference left, and `dealloc` is
/// what its death is.
#[inline]
pub(super) unsafe fn enter(object: *mut ffi::PyObject, dealloc: ffi::destructor) -> Option<Level> {
    TRASHCAN.with(|trashcan| {
        let depth = trashcan.depth.get();
        if depth >= DEPTH {
            // SAFETY: promised by the caller.
            unsafe { trashcan.defer(object, dealloc) };
            return None;
        }
        trashcan.depth.set(depth + 1);
        Some(Level(trashcan))
    })
}

impl Drop for Level {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a level lives on the stack of its thread, whose trashcan needs no destructor and lives as long.
        let trashcan = unsafe { &*self.0 };
        let depth = trashcan.depth.get();
        if depth == 1 && !trashcan.deferred.get().is_null() {
            trashcan.empty();
        }
        trashcan.depth.set(depth - 1);
    }
}

impl Trashcan {
    /// # Safety
    ///
    /// As for [`enter`].
    #[cold]
    unsafe fn defer(&self, object: *mut ffi::PyObject, dealloc: ffi::destructor) {
        // SAFETY: an object with the collector's header; untracked already, it stays so.
        unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
        let next = self.deferred.get();
        self.deferred.set(Box::into_raw(Box::new(Deferred { object, dealloc, next })));
    }

    /// Lets die what was put off, at the second level, so that what those deaths put off comes here also.
    #[cold]
    fn empty(&self) {
        while !self.deferred.get().is_null() {
            // SAFETY: what is linked here came from a box, and is taken out before anything else can run.
            let first = unsafe { Box::from_raw(self.deferred.get()) };
            self.deferred.set(first.next);
            // SAFETY: the object is as `defer` left it, for nobody has a reference; it is tracked, as a
            // finalizer needs it.
            unsafe {
                ffi::PyObject_GC_Track(first.object.cast());
                (first.dealloc)(first.object);
            }
        }
    }
}
