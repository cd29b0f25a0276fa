//! Readers of a subclass: what asyncio's coroutines would ask of its own methods, ferrio's ask too.

use pyo3::exceptions::{PyStopAsyncIteration, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::exact;
use super::read::{Kind, Reader, Reading, everything, exception_class, read_all, skip_line};
use super::reader::StreamReader;
use crate::ffi::call::Sent;
use crate::ffi::{Class, error};

/// Whether a subclass has its own method of that name, which asyncio's would call.
#[inline]
pub(super) fn overridden(reader: Reader<'_, '_>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    if exact::<StreamReader>(reader.as_any()).is_some() {
        return Ok(false);
    }
    let ours = StreamReader::class().get(reader.py()).getattr(name)?;
    Ok(!reader.as_any().get_type().getattr(name)?.is(&ours))
}

/// Waits for a method of the subclass.
pub(super) fn delegate<'py>(
    this: Reading<'_, 'py>,
    reader: Reader<'_, 'py>,
    name: &str,
    argument: Option<impl IntoPyObject<'py>>,
) -> PyResult<Sent<'py>> {
    let awaitable = match argument {
        Some(argument) => reader.as_any().call_method1(name, (argument,))?,
        None => reader.as_any().call_method0(name)?,
    };
    this.body.delegated.set(true);
    let outcome = this.begin(&awaitable);
    delegated(this, reader, outcome)
}

/// Makes of the method's result what asyncio's would make of it.
pub(super) fn delegated<'py>(
    this: Reading<'_, 'py>,
    reader: Reader<'_, 'py>,
    outcome: PyResult<Sent<'py>>,
) -> PyResult<Sent<'py>> {
    let py = this.py();
    match (this.body.kind.get(), outcome) {
        (_, Ok(Sent::Yielded(value))) => Ok(Sent::Yielded(value)),
        (Kind::Next, Ok(Sent::Returned(line))) if line.eq(PyBytes::new(py, b""))? => {
            Err(PyStopAsyncIteration::new_err(()))
        }
        (Kind::All, Ok(Sent::Returned(block))) => {
            if !block.is_truthy()? {
                return Ok(Sent::Returned(everything(this)));
            }
            let mut blocks = this.body.blocks.take();
            blocks.extend_from_slice(block.cast::<PyBytes>()?.as_bytes());
            this.body.blocks.set(blocks);
            read_all(this, reader)
        }
        (Kind::Line, Err(error)) => line_of_delegate(reader, error),
        (_, outcome) => outcome,
    }
}

/// What `readline()` makes of an error of `readuntil()`.
fn line_of_delegate<'py>(reader: Reader<'_, 'py>, error: PyErr) -> PyResult<Sent<'py>> {
    let py = reader.py();
    if error.matches(py, exception_class(py, "IncompleteReadError")?)? {
        let exception = error::into_exception(error, py);
        return exception.getattr(intern!(py, "partial")).map(Sent::Returned);
    }
    if !error.matches(py, exception_class(py, "LimitOverrunError")?)? {
        return Err(error);
    }
    let exception = error::into_exception(error, py);
    skip_line(reader, exception.getattr(intern!(py, "consumed"))?.extract()?)?;
    let message = exception.getattr(intern!(py, "args"))?.get_item(0)?;
    let error = PyValueError::new_err(message.unbind());
    error.value(py).setattr(intern!(py, "__context__"), exception)?;
    Err(error)
}
