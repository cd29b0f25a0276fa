//! The life of an instance: how it is made, what the garbage collector sees of it, and how it dies.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;

use pyo3::ffi;
use pyo3::prelude::*;

use super::class::{BasePart, Class};
use super::reference::{Owned, Ref, is_shared};
use super::slot::{Traversal, Visit};
use super::trashcan;

impl<T: Class> Owned<T> {
    /// A new instance of the class itself, without calling `__init__`.
    #[inline]
    pub fn alloc(py: Python<'_>) -> PyResult<Self> {
        if let Some(recycled) = Self::recycle() {
            recycled.get(py).track();
            return Ok(recycled);
        }
        // SAFETY: a ready type of ours.
        unsafe {
            let object = allocate::<T>(T::class().as_type_ptr());
            if object.is_null() { Err(PyErr::fetch(py)) } else { Ok(Owned::from_ptr(object)) }
        }
    }

    /// The same, of which the garbage collector knows nothing until [`Ref::track`]: what the instance refers to counts as
    /// used from outside. For what lives a moment, as long as whoever has it can't be garbage.
    #[inline]
    pub fn alloc_untracked(py: Python<'_>) -> PyResult<Self> {
        if let Some(recycled) = Self::recycle() {
            return Ok(recycled);
        }
        let fresh = Self::alloc(py)?;
        // SAFETY: a live instance of a class that takes part in garbage collection.
        unsafe { ffi::PyObject_GC_UnTrack(fresh.as_ptr().cast()) };
        Ok(fresh)
    }

    /// An instance from the freelist, untracked.
    #[inline]
    fn recycle() -> Option<Self> {
        let cell = T::class();
        let object = if T::FREELIST > 0 { cell.free.borrow_mut().pop() } else { None }?;
        // SAFETY: a dead instance of this very type that `dealloc` put by: its memory is ours, its base's part is
        // empty and its fields are not initialised.
        unsafe {
            ffi::PyObject_Init(object, cell.as_type_ptr());
            cell.fields::<T>(object).write(T::fresh());
            Some(Owned::from_ptr(object))
        }
    }
}

impl<T: Class> Ref<'_, '_, T> {
    /// Lets the garbage collector know of the instance, if it doesn't yet.
    #[inline]
    pub fn track(self) {
        // SAFETY: a live instance of a class that takes part in garbage collection, whose fields are initialised.
        unsafe {
            if ffi::PyObject_GC_IsTracked(self.as_ptr()) == 0 {
                ffi::PyObject_GC_Track(self.as_ptr().cast());
            }
        }
    }

    /// Lets the garbage collector know of an instance that somebody else has, too: it will live on.
    #[inline]
    pub fn track_if_shared(self) {
        if is_shared(self.as_any()) {
            self.track();
        }
    }
}

/// # Safety
///
/// `kind` is `T`'s type or a subtype.
unsafe fn allocate<T: Class>(kind: *mut ffi::PyTypeObject) -> *mut ffi::PyObject {
    // SAFETY: a ready type; `PyType_GenericAlloc` gives zeroed memory with the collector's header. The fields are
    // written before anything else can run: `fresh` doesn't touch Python.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind, 0);
        if !object.is_null() {
            T::class().fields::<T>(object).write(T::fresh());
        }
        object
    }
}

pub(super) unsafe extern "C" fn new<T: Class>(
    kind: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if kind != T::class().as_type_ptr() {
        // SAFETY: CPython calls `tp_new` with the type or a subtype.
        return unsafe { allocate::<T>(kind) };
    }
    // SAFETY: CPython calls `tp_new` with the GIL held.
    let py = unsafe { Python::assume_attached() };
    match Owned::<T>::alloc(py) {
        Ok(instance) => instance.into_any(py).into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

pub(super) unsafe extern "C" fn traverse<T: Class>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    let visit = Visit::new(visit, arg);
    // SAFETY: the collector calls with a live instance.
    let outcome = unsafe { traverse_base::<T>(object, &visit) }.and_then(|()| {
        // SAFETY: invariant 2: the fields are initialised while the object lives.
        unsafe { &*T::class().fields::<T>(object) }.traverse(&visit)
    });
    outcome.err().unwrap_or(0)
}

/// # Safety
///
/// `object` is a live instance of `T`'s class, and the collector is traversing it.
unsafe fn traverse_base<T: Class>(object: *mut ffi::PyObject, visit: &Visit) -> Traversal {
    // SAFETY: reading the type of a live object.
    let kind = unsafe { ffi::Py_TYPE(object) };
    let dictionary = T::class().dictionary.get();
    if dictionary != 0 {
        // SAFETY: the word holds the instance's dictionary or null.
        visit.pointer(unsafe { *object.cast::<u8>().add(dictionary).cast() })?;
    }
    match T::class().base.get() {
        BasePart::Nothing => visit.pointer(kind.cast()),
        BasePart::Native { traverse, reports_type, .. } => {
            let (proc, arg) = visit.parts();
            // SAFETY: the base's own traversal on an object that begins with the base's part.
            match unsafe { traverse(object, proc, arg) } {
                0 if reports_type => Ok(()),
                0 => visit.pointer(kind.cast()),
                stop => Err(stop),
            }
        }
        BasePart::Slots { start, end, weaklist } => {
            for place in (start..end).step_by(size_of::<usize>()).filter(|&place| place != weaklist)
            {
                // SAFETY: the words between the header and the base's size are its `__slots__`:
                // references or null.
                visit.pointer(unsafe { *object.cast::<u8>().add(place).cast() })?;
            }
            visit.pointer(kind.cast())
        }
    }
}

pub(super) unsafe extern "C" fn clear<T: Class>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the collector calls with a live instance, whose fields are initialised.
    unsafe {
        (*T::class().fields::<T>(object)).clear();
        clear_base::<T>(object);
    }
    0
}

/// # Safety
///
/// `object` is an instance of `T`'s class whose base's part is intact.
#[inline]
unsafe fn clear_base<T: Class>(object: *mut ffi::PyObject) {
    let dictionary = T::class().dictionary.get();
    if dictionary != 0 {
        // SAFETY: the word holds the instance's dictionary or null, and owns it.
        unsafe {
            let place = object.cast::<u8>().add(dictionary).cast::<*mut ffi::PyObject>();
            ffi::Py_XDECREF(place.replace(ptr::null_mut()));
        }
    }
    match T::class().base.get() {
        BasePart::Native { clear: Some(clear), .. } => {
            // SAFETY: the base's own `tp_clear` on an object that begins with the base's part.
            unsafe { clear(object) };
        }
        BasePart::Slots { start, end, weaklist } => {
            // SAFETY: the words between the header and the base's size; words of an instance are aligned.
            let slots = unsafe {
                let first = object.cast::<u8>().add(start).cast::<usize>();
                slice::from_raw_parts(first, (end - start) / size_of::<usize>())
            };
            // Ours override the base's attributes: as a rule all are empty, and that is one look at all of them.
            if slots.iter().fold(0, |all, slot| all | slot) != 0 {
                // SAFETY: promised by the caller.
                unsafe { clear_slots(object, start, end, weaklist) };
            }
        }
        BasePart::Native { clear: None, .. } | BasePart::Nothing => {}
    }
}

/// # Safety
///
/// `object` is an instance whose base's `__slots__` lie from `start` to `end`, its list of weak references at `weaklist`.
#[cold]
unsafe fn clear_slots(object: *mut ffi::PyObject, start: usize, end: usize, weaklist: usize) {
    for place in (start..end).step_by(size_of::<usize>()).filter(|&place| place != weaklist) {
        // SAFETY: the place is a slot of the base, which owns what it holds.
        unsafe {
            let slot = object.cast::<u8>().add(place).cast::<*mut ffi::PyObject>();
            ffi::Py_XDECREF(slot.replace(ptr::null_mut()));
        }
    }
}

pub(super) unsafe extern "C" fn finalize<T: Class>(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls with a live instance and the GIL; the exception in flight is put back as it was.
    unsafe {
        // The collector calls this for every instance that it finds unreachable.
        if !(*T::class().fields::<T>(object)).must_finalize() {
            return;
        }
        let py = Python::assume_attached();
        let in_flight = PyErr::take(py);
        super::call::enter(|py| {
            T::finalize(Ref::from_ptr(py, object));
            Ok(0)
        });
        if !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_WriteUnraisable(object);
        }
        if let Some(error) = in_flight {
            error.restore(py);
        }
    }
}

/// # Safety
///
/// `object` is an instance of `T`'s class or of a subclass whose last reference is gone.
#[cold]
unsafe fn retire<T: Class>(object: *mut ffi::PyObject) {
    // SAFETY: the object gets a reference for the length of the call, as CPython gives it one for its finalizer.
    unsafe {
        set_reference_count(object, 1);
        super::call::enter(|py| {
            T::retire(Ref::from_ptr(py, object));
            Ok(0)
        });
        set_reference_count(object, 0);
    }
}

/// # Safety
///
/// `object` is alive or being deallocated, and nobody else counts on its references.
unsafe fn set_reference_count(object: *mut ffi::PyObject, count: u8) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(Py_3_12)]
        {
            (*object).ob_refcnt.ob_refcnt = count.into();
        }
        #[cfg(not(Py_3_12))]
        {
            (*object).ob_refcnt = count.into();
        }
    }
}

/// Whether there is a weak reference to `object`: seldom, and cheaper to find out than to clear none.
///
/// # Safety
///
/// `object` is an instance of `kind`, whose instances have a list of weak references.
#[inline]
unsafe fn has_weak_references(object: *mut ffi::PyObject, kind: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: promised by the caller; the offset, which may be negative, is that of the list's first entry or null.
    unsafe {
        let list = object.byte_offset((*kind).tp_weaklistoffset);
        !(*list.cast::<*mut ffi::PyObject>()).is_null()
    }
}

pub(super) unsafe extern "C" fn dealloc<T: Class>(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls when the last reference is gone; this function is the one that ends the object.
    let Some(_level) = (unsafe { trashcan::enter(object, dealloc::<T>) }) else { return };
    let cell = T::class();
    let fields = cell.fields::<T>(object);
    // SAFETY: CPython calls when the last reference is gone; the fields are initialised until they are dropped
    // here, once. After `PyObject_GC_UnTrack` the collector doesn't look at the object.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        if T::FINALIZER && (*fields).must_finalize() {
            // What lives on is the collector's to know of, whatever it was before.
            if ffi::PyObject_GC_IsTracked(object) == 0 {
                ffi::PyObject_GC_Track(object.cast());
            }
            if ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
                return; // The finalizer made a new reference: the object lives on.
            }
        }
        if (*fields).must_retire() {
            retire::<T>(object);
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        if cell.weak_references.get() && has_weak_references(object, kind) {
            ffi::PyObject_ClearWeakRefs(object);
        }
        ptr::drop_in_place(fields);
        clear_base::<T>(object);
        // A finalized object keeps the mark, and a second life under it would never be finalized.
        if T::FREELIST > 0
            && kind == cell.as_type_ptr()
            && (!T::FINALIZER || ffi::PyObject_GC_IsFinalized(object) == 0)
        {
            let mut free = cell.free.borrow_mut();
            if free.len() < T::FREELIST {
                free.push(object);
                drop(free);
                ffi::Py_DECREF(kind.cast());
                return;
            }
        }
        if let Some(release) = (*kind).tp_free {
            release(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}
