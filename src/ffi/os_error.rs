//! Errors of system calls, as Python has them.

use std::ffi::CStr;
use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// A system call's error, as Python's `OSError` subclass.
pub fn os_error(error: io::Error) -> PyErr {
    match error.raw_os_error() {
        // The text that Python's own errors have, from `os.strerror`.
        Some(code) => PyOSError::new_err((code, strerror(code))),
        None => error.into(),
    }
}

fn strerror(code: i32) -> String {
    let mut text = [0; 256];
    // SAFETY: the buffer's true length is given, and the call leaves a terminated string in it.
    let text = unsafe {
        libc::strerror_r(code, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr())
    };
    text.to_string_lossy().into_owned()
}
