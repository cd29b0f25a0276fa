//! Bytes that a Python object lends, by the buffer protocol, and bytes that become one.

use std::mem::MaybeUninit;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{Slot, Traversal, Visit};

/// A buffer borrowed from a Python object, given back when this is dropped.
pub struct ReadableBuffer(ffi::Py_buffer);

/// A writable buffer borrowed from a Python object, given back when this is dropped.
pub struct WritableBuffer(ffi::Py_buffer);

fn acquire(object: &Bound<'_, PyAny>, flags: std::ffi::c_int) -> PyResult<ffi::Py_buffer> {
    let mut view = MaybeUninit::uninit();
    // SAFETY: `object` is alive; on success the view is filled in.
    unsafe {
        if ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) < 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(view.assume_init())
    }
}

impl ReadableBuffer {
    /// Raises `TypeError` for an object without a buffer and `BufferError` for one that isn't contiguous.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        acquire(object, ffi::PyBUF_SIMPLE).map(ReadableBuffer)
    }

    /// The bytes. Other code that holds the object may change a mutable one's, so they are not kept across calls
    /// into Python.
    pub fn as_slice(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: the view lends `len` bytes at `buf` until it is released.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len as usize) }
    }
}

impl WritableBuffer {
    /// Raises `TypeError` for an object without a buffer and `BufferError` for one that isn't writable.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        acquire(object, ffi::PyBUF_WRITABLE).map(WritableBuffer)
    }

    /// Raises `TypeError` for an object without a writable buffer, in the words in which functions of the interpreter refuse
    /// their `argument`: `"recv_into() argument 1"`.
    pub fn of_argument(object: &Bound<'_, PyAny>, argument: &str) -> PyResult<Self> {
        Self::of(object).or_else(|_| {
            let kind = object.get_type().name()?;
            let found = if object.is_none() { "None".into() } else { kind.to_string_lossy() };
            let message = format!("{argument} must be read-write bytes-like object, not {found}");
            Err(PyTypeError::new_err(message))
        })
    }

    /// The bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        if self.0.len == 0 {
            return &mut [];
        }
        // SAFETY: the view lends `len` writable bytes at `buf` until it is released, and with the GIL held and no
        // call into Python nobody else touches them meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf.cast(), self.0.len as usize) }
    }
}

impl Drop for ReadableBuffer {
    fn drop(&mut self) {
        // SAFETY: acquired in `of`, released once; the GIL is held (invariant 1 of this room).
        unsafe { ffi::PyBuffer_Release(&mut self.0) };
    }
}

impl Drop for WritableBuffer {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { ffi::PyBuffer_Release(&mut self.0) };
    }
}

impl WritableBuffer {
    /// The bytes, for who only writes them.
    pub fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        as_uninit(self.as_mut_slice())
    }
}

/// `bytes`, for who only writes them.
pub fn as_uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: the same bytes under a weaker promise. What is written there is initialised, for the only writers are
    // decryptors and the system, which copy whole bytes.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) }
}

/// A `bytes` object that is kept alive. Its content is read, and the object dropped, without Python code running.
pub struct KeptBytes {
    object: Slot,
    start: *const u8,
    length: usize,
}

impl KeptBytes {
    /// Keeps `bytes`, which is of no subclass.
    pub fn new(bytes: Bound<'_, PyBytes>) -> Self {
        let (start, length) = (bytes.as_bytes().as_ptr(), bytes.as_bytes().len());
        KeptBytes { object: Slot::new(bytes.into_any()), start, length }
    }

    /// Gives the object away; what is kept is no bytes from then on.
    pub fn take<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.length = 0;
        self.object.take(py)
    }

    /// Reports the object to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.object)
    }
}

impl AsRef<[u8]> for KeptBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the content of a bytes object stays where it is while the slot keeps the object alive, and nobody
        // changes it. Without an object the length is 0, and the pointer is not null.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

unsafe extern "C" {
    /// CPython's own, which PyO3 doesn't declare: gives the bytes another length in place where it can.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, length: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// A `bytes` object in the making.
pub struct BytesBuilder {
    object: *mut ffi::PyObject,
    capacity: usize,
    length: usize,
}

impl BytesBuilder {
    /// Room for `capacity` bytes, or a few more. Raises `MemoryError`.
    pub fn with_capacity(py: Python<'_>, capacity: usize) -> PyResult<Self> {
        // Empty bytes and those of one byte are shared, and so not to be written to.
        let capacity = capacity.max(16);
        // SAFETY: the length is positive; the result is an owned reference or null.
        let object = unsafe {
            ffi::PyBytes_FromStringAndSize(std::ptr::null(), capacity as ffi::Py_ssize_t)
        };
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        Ok(BytesBuilder { object, capacity, length: 0 })
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Where the next bytes go; at least `least` of them have room. Raises `MemoryError`.
    pub fn room(&mut self, py: Python<'_>, least: usize) -> PyResult<&mut [MaybeUninit<u8>]> {
        if self.capacity - self.length < least {
            self.resize(py, (self.length + least).max(self.capacity * 2))?;
        }
        // SAFETY: the object has `capacity` bytes, and nobody else knows it yet.
        unsafe {
            let start = ffi::PyBytes_AS_STRING(self.object).cast_mut().add(self.length);
            Ok(std::slice::from_raw_parts_mut(start.cast(), self.capacity - self.length))
        }
    }

    /// Counts `count` bytes that were written to the room.
    pub fn advance(&mut self, count: usize) {
        self.length = (self.length + count).min(self.capacity);
    }

    /// The object. Raises `MemoryError`.
    pub fn finish<'py>(mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let length = self.length;
        self.resize(py, length)?;
        let object = std::mem::replace(&mut self.object, std::ptr::null_mut());
        // SAFETY: an owned reference, which the builder has just given away.
        unsafe { Ok(Bound::from_owned_ptr(py, object)) }
    }

    fn resize(&mut self, py: Python<'_>, capacity: usize) -> PyResult<()> {
        // SAFETY: the only reference to the object is the builder's; on failure it becomes null.
        if unsafe { _PyBytes_Resize(&mut self.object, capacity as ffi::Py_ssize_t) } < 0 {
            return Err(PyErr::fetch(py));
        }
        self.capacity = capacity;
        Ok(())
    }
}

impl Drop for BytesBuilder {
    fn drop(&mut self) {
        // SAFETY: an owned reference or null; the GIL is held (invariant 1 of this room).
        unsafe { ffi::Py_XDECREF(self.object) };
    }
}
