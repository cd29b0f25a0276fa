//! References to instances whose class is known.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;

use super::class::{Class, Extends};

/// A borrowed reference to an instance of `T`'s class or of a subclass; dereferences to its fields.
pub struct Ref<'a, 'py, T> {
    object: Borrowed<'a, 'py, PyAny>,
    class: PhantomData<&'a T>,
}

impl<T> Clone for Ref<'_, '_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Ref<'_, '_, T> {}

impl<'a, 'py, T: Class> Ref<'a, 'py, T> {
    /// # Safety
    ///
    /// `object` is alive for `'a` and an instance of `T`'s class or of a subclass.
    #[inline]
    pub unsafe fn from_ptr(py: Python<'py>, object: *mut ffi::PyObject) -> Self {
        Ref {
            // SAFETY: promised by the caller.
            object: unsafe { Borrowed::from_ptr(py, object) },
            class: PhantomData,
        }
    }

    /// `object` as an instance of `T`'s class or of a subclass, if it is one.
    #[inline]
    pub fn cast(object: &'a Bound<'py, PyAny>) -> Option<Self> {
        let class = T::class().as_type_ptr();
        // SAFETY: both are valid type pointers; `T`'s class lives as long as the process.
        let is_instance = unsafe {
            let actual = ffi::Py_TYPE(object.as_ptr());
            actual == class || ffi::PyType_IsSubtype(actual, class) != 0
        };
        // SAFETY: just checked; `object` holds a reference for `'a`.
        is_instance.then(|| unsafe { Ref::from_ptr(object.py(), object.as_ptr()) })
    }

    /// `object` as an instance of `T`'s class itself, no subclass, if it is one.
    #[inline]
    pub fn cast_exact(object: &'a Bound<'py, PyAny>) -> Option<Self> {
        // SAFETY: `object` is alive; reading its type pointer is always allowed.
        let is_exact = unsafe { ffi::Py_TYPE(object.as_ptr()) } == T::class().as_type_ptr();
        // SAFETY: just checked; `object` holds a reference for `'a`.
        is_exact.then(|| unsafe { Ref::from_ptr(object.py(), object.as_ptr()) })
    }

    /// The GIL token.
    #[inline]
    pub fn py(&self) -> Python<'py> {
        self.object.py()
    }

    /// The object's address.
    #[inline]
    pub fn as_ptr(&self) -> *mut ffi::PyObject {
        self.object.as_ptr()
    }

    /// Whether the object has more than that many owners.
    #[inline]
    pub fn is_owned_beyond(self, owners: isize) -> bool {
        // SAFETY: a live object.
        unsafe { ffi::Py_REFCNT(self.as_ptr()) > owners }
    }

    /// The fields, for as long as the object is borrowed.
    #[inline]
    pub fn fields(self) -> &'a T {
        // SAFETY: invariant 2 of this room: the fields lie at the class's offset while the object
        // lives, and a `Ref` is only made of live instances.
        unsafe { &*T::class().fields(self.as_ptr()) }
    }

    /// The same object as an instance of a class that `T` extends.
    #[inline]
    pub fn up<P: Class>(self) -> Ref<'a, 'py, P>
    where
        T: Extends<P>,
    {
        Ref { object: self.object, class: PhantomData }
    }

    /// The object, as Python sees it.
    #[inline]
    pub fn as_any(&self) -> &Bound<'py, PyAny> {
        &self.object
    }

    /// A new strong reference.
    #[inline]
    pub fn to_owned(self) -> Owned<T> {
        // SAFETY: a live object of `T`'s class; the new reference is given to the result.
        unsafe { Owned::from_ptr(self.object.to_owned().into_ptr()) }
    }

    /// A new strong reference, as Python sees it.
    #[inline]
    pub fn to_any(self) -> Bound<'py, PyAny> {
        self.object.to_owned()
    }
}

impl<T: Class> Deref for Ref<'_, '_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.fields()
    }
}

/// Whether `object` has more than one owner.
#[inline]
pub fn is_shared(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) > 1 }
}

/// A strong reference to an instance of `T`'s class or of a subclass.
pub struct Owned<T> {
    object: NonNull<ffi::PyObject>,
    class: PhantomData<T>,
}

impl<T: Class> Owned<T> {
    /// # Safety
    ///
    /// `object` is an owned reference to an instance of `T`'s class or of a subclass.
    #[inline]
    pub unsafe fn from_ptr(object: *mut ffi::PyObject) -> Self {
        Owned {
            // SAFETY: an object's address is never null.
            object: unsafe { NonNull::new_unchecked(object) },
            class: PhantomData,
        }
    }

    /// `object` as an instance of `T`'s class or of a subclass, if it is one.
    #[inline]
    pub fn cast(object: Bound<'_, PyAny>) -> Option<Self> {
        Ref::<T>::cast(&object)?;
        // SAFETY: just checked; the reference is given to the result.
        Some(unsafe { Owned::from_ptr(object.into_ptr()) })
    }

    /// A borrowed reference, for as long as this one lives.
    #[inline]
    pub fn get<'a, 'py>(&'a self, py: Python<'py>) -> Ref<'a, 'py, T> {
        // SAFETY: `self` keeps the object alive for `'a`.
        unsafe { Ref::from_ptr(py, self.object.as_ptr()) }
    }

    /// The object's address.
    #[inline]
    pub fn as_ptr(&self) -> *mut ffi::PyObject {
        self.object.as_ptr()
    }

    /// Another strong reference.
    #[inline]
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        self.get(py).to_owned()
    }

    /// The same reference, as Python sees it.
    #[inline]
    pub fn into_any(self, py: Python<'_>) -> Bound<'_, PyAny> {
        let object = self.object.as_ptr();
        std::mem::forget(self);
        // SAFETY: the reference was owned by `self`, which was forgotten.
        unsafe { Bound::from_owned_ptr(py, object) }
    }
}

impl<T> Drop for Owned<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the reference is owned; the GIL is held (invariant 1 of this room).
        unsafe { ffi::Py_DECREF(self.object.as_ptr()) };
    }
}

// SAFETY: an `Owned` is an address and a count that is only touched with the GIL held; threads hand it
// over through queues that are filled and drained under the GIL.
unsafe impl<T> Send for Owned<T> {}
