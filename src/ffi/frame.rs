//! What stands for a Rust function in tracebacks and in the stacks of tasks: a code object, and frames of it.

use std::ffi::CString;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::error;

/// A Rust function as Python sees it: its qualified name, and where its source is.
pub struct Place {
    qualified_name: &'static str,
    name: &'static str,
    file: &'static str,
    line: u32,
    code: PyOnceLock<Py<PyAny>>,
}

impl Place {
    /// The place of the function that Python knows as `qualified_name`. `file` and `line` are the caller's `file!()`
    /// and `line!()`.
    pub const fn new(qualified_name: &'static str, file: &'static str, line: u32) -> Self {
        let name = last_part(qualified_name);
        Place { qualified_name, name, file, line, code: PyOnceLock::new() }
    }

    /// `__qualname__`
    pub fn qualified_name(&self) -> &'static str {
        self.qualified_name
    }

    /// `__name__`
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The code object. Raises `MemoryError`.
    pub fn code<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let code = self.code.get_or_try_init(py, || {
            let file = c_string(&format!("ferrio/{}", self.file))?;
            let name = c_string(self.name())?;
            // SAFETY: both are zero-terminated and are copied; the result is an owned reference or null.
            let code = unsafe {
                let code = ffi::PyCode_NewEmpty(file.as_ptr(), name.as_ptr(), self.line as _);
                Bound::from_owned_ptr_or_err(py, code.cast())?
            };
            let names = PyDict::new(py);
            names.set_item(intern!(py, "co_qualname"), self.qualified_name)?;
            code.call_method(intern!(py, "replace"), (), Some(&names)).map(Bound::unbind)
        })?;
        Ok(code.bind(py).clone())
    }

    /// A frame of it that doesn't run. Raises `MemoryError`.
    pub fn frame<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static GLOBALS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
        let globals = GLOBALS.get_or_try_init(py, || {
            let globals = PyDict::new(py);
            globals.set_item("__name__", "ferrio")?;
            Ok::<_, PyErr>(globals.unbind())
        })?;
        let code = self.code(py)?;
        // SAFETY: a code object without variables and a dictionary; the result is an owned reference or null.
        unsafe {
            let frame = ffi::PyFrame_New(
                ffi::PyThreadState_Get(),
                code.as_ptr().cast(),
                globals.as_ptr(),
                std::ptr::null_mut(),
            );
            Bound::from_owned_ptr_or_err(py, frame.cast())
        }
    }

    /// `error` with this place in front of its traceback. What fails meanwhile leaves the traceback as it was.
    #[cold]
    pub fn trace(&self, error: PyErr, py: Python<'_>) -> PyErr {
        let Some(frame) = error::ok(self.frame(py), py) else { return error };
        error.restore(py);
        // SAFETY: a frame, and an exception is set, which the function keeps whether it fails or not.
        unsafe { ffi::PyTraceBack_Here(frame.as_ptr().cast()) };
        PyErr::fetch(py)
    }
}

/// What stands behind the last dot.
const fn last_part(qualified_name: &str) -> &str {
    let bytes = qualified_name.as_bytes();
    let mut start = bytes.len();
    while start > 0 && bytes[start - 1] != b'.' {
        start -= 1;
    }
    match std::str::from_utf8(bytes.split_at(start).1) {
        Ok(name) => name,
        Err(_) => qualified_name,
    }
}

fn c_string(text: &str) -> PyResult<CString> {
    CString::new(text).map_err(|_| PyValueError::new_err("the name holds a zero"))
}
