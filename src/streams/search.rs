//! Separators, and where the first of them ends.

use memchr::{memchr, memmem};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::ffi::buffer::ReadableBuffer;
use crate::ffi::error;

/// What `readuntil()` looks for.
pub enum Separators<'py> {
    /// The end of a line.
    Newline,
    /// Bytes-like objects, the shorter ones first.
    Given(Bound<'py, PyList>),
}

/// Where a separator was found, in bytes from the beginning.
#[derive(Clone, Copy)]
pub struct Match {
    /// Its first byte.
    pub start: usize,
    /// What follows its last byte.
    pub end: usize,
}

impl<'py> Separators<'py> {
    /// The argument of `readuntil()`: a bytes-like object or a tuple of some.
    ///
    /// Raises `ValueError` for an empty tuple and for an empty separator, and `TypeError` for what has no length.
    pub fn of(argument: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = argument.py();
        let list = match argument.cast::<PyTuple>() {
            Ok(tuple) => {
                let builtins = py.import("builtins")?;
                let keywords = PyDict::new(py);
                keywords.set_item("key", builtins.getattr("len")?)?;
                let sorted = builtins.getattr("sorted")?.call((tuple,), Some(&keywords))?;
                sorted.cast_into()?
            }
            Err(_) => PyList::new(py, [argument])?,
        };
        if list.is_empty() {
            return Err(PyValueError::new_err("Separator should contain at least one element"));
        }
        let separators = Separators::Given(list);
        if separators.lengths()?.0 == 0 {
            return Err(PyValueError::new_err("Separator should be at least one-byte string"));
        }
        Ok(separators)
    }

    /// The lengths of the shortest and of the longest, in bytes.
    pub fn lengths(&self) -> PyResult<(usize, usize)> {
        match self {
            Separators::Newline => Ok((1, 1)),
            Separators::Given(list) => {
                Ok((list.get_item(0)?.len()?, list.get_item(list.len() - 1)?.len()?))
            }
        }
    }

    /// Runs `body`, which must not run Python code, with a function that finds in some bytes, from an offset on, the separator
    /// that ends first; of those that end at the same place the shortest.
    ///
    /// Raises `TypeError` for a separator that isn't bytes-like.
    pub fn with<R>(
        &self,
        body: impl FnOnce(&dyn Fn(&[u8], usize) -> Option<Match>) -> R,
    ) -> PyResult<R> {
        let list = match self {
            Separators::Newline => return Ok(body(&|bytes, from| first(bytes, from, b"\n"))),
            Separators::Given(list) => list,
        };
        let needles = list.iter().map(Needle::of).collect::<PyResult<Vec<_>>>()?;
        Ok(body(&|bytes, from| {
            let found = needles.iter().filter_map(|needle| first(bytes, from, needle.as_slice()));
            // The first of several that are least: the shortest, or the first that was given.
            found.min_by_key(|found| found.end)
        }))
    }
}

/// The bytes of one separator.
enum Needle<'py> {
    Bytes(Bound<'py, PyBytes>),
    Lent(ReadableBuffer),
}

impl<'py> Needle<'py> {
    fn of(object: Bound<'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        match object.cast_into_exact::<PyBytes>() {
            Ok(bytes) => Ok(Needle::Bytes(bytes)),
            Err(other) => {
                let object = other.into_inner();
                ReadableBuffer::of(&object).map(Needle::Lent).map_err(|refused| {
                    if !refused.is_instance_of::<PyTypeError>(py) {
                        return refused;
                    }
                    error::discard(refused, py);
                    // As `bytearray.find` says it.
                    match object.get_type().getattr(intern!(py, "__name__")) {
                        Ok(kind) => PyTypeError::new_err(format!(
                            "argument should be integer or bytes-like object, not '{kind}'"
                        )),
                        Err(error) => error,
                    }
                })
            }
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Needle::Bytes(bytes) => bytes.as_bytes(),
            Needle::Lent(buffer) => buffer.as_slice(),
        }
    }
}

/// The first occurrence of `needle` in `bytes` from `from` on.
fn first(bytes: &[u8], from: usize, needle: &[u8]) -> Option<Match> {
    let bytes = bytes.get(from..)?;
    let found = match needle {
        [byte] => memchr(*byte, bytes),
        _ => memmem::find(bytes, needle),
    };
    found.map(|at| Match { start: from + at, end: from + at + needle.len() })
}
