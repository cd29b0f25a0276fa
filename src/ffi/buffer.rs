//! Bytes that a Python object lends: the buffer protocol.

use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;

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
