//! `add_reader`, `add_writer` and their opposites: callbacks for file descriptors.

use std::os::fd::RawFd;

use pyo3::exceptions::{
    PyAttributeError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::handle::Handle;
use super::sources::{Direction, invalid};
use super::{Loop, boolean, none};
use crate::ffi::{Args, Ref, Signature, call};
use crate::{method, method_named1, method1};

/// The number of a file descriptor or of an object with `fileno()`, which may be negative or huge.
///
/// Raises `ValueError` for what has no number, as the stdlib's selectors do.
fn number<'py>(file: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = file.py();
    if file.is_instance_of::<PyInt>() {
        return Ok(file.clone());
    }
    let found = file
        .call_method0(intern!(py, "fileno"))
        .and_then(|number| py.get_type::<PyInt>().call1((number,)));
    found.map_err(|error| {
        let expected = error.is_instance_of::<PyAttributeError>(py)
            || error.is_instance_of::<PyTypeError>(py)
            || error.is_instance_of::<PyValueError>(py);
        if expected {
            PyValueError::new_err(format!("Invalid file object: {}", display(file)))
        } else {
            error
        }
    })
}

/// The number of a file descriptor or of an object with `fileno()`.
///
/// Raises `ValueError` for what has no number and for a negative one, `OverflowError` for a huge one.
pub fn descriptor(file: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let number = number(file)?;
    if number.lt(0)? {
        return Err(invalid(number));
    }
    number
        .extract()
        .map_err(|_| PyOverflowError::new_err("Python int too large to convert to C int"))
}

fn display(object: &Bound<'_, PyAny>) -> String {
    object.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string())
}

fn add<'py>(
    this: Ref<'_, 'py, Loop>,
    name: &'static str,
    direction: Direction,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let signature = Signature { name, parameters: ["fd", "callback"], positional: 2, required: 2 };
    let ([Some(file), Some(callback)], rest) = args.parse_with_rest(&signature)? else {
        unreachable!("required arguments were given");
    };
    this.as_any().call_method1(intern!(py, "_ensure_fd_no_transport"), (file,))?;
    this.check_closed()?;
    let fd = descriptor(&file)?;
    let handle = Handle::create(this, callback.to_owned(), rest, call::copy_context(py)?)?;
    Loop::set_callback(this, fd, direction, Some(handle.clone_ref(py)))?;
    if !file.is_instance_of::<PyInt>() {
        this.keep_file(fd, &file);
    }
    Ok(handle.into_any(py))
}

fn remove<'py>(
    this: Ref<'_, 'py, Loop>,
    direction: Direction,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let is_closing = match owner(this, file)? {
        Some(transport) => transport.call_method0(intern!(py, "is_closing"))?.is_truthy()?,
        None => false,
    };
    if !is_closing {
        this.as_any().call_method1(intern!(py, "_ensure_fd_no_transport"), (file,))?;
    }
    if this.closed.get() {
        return boolean(py, false);
    }
    let fd = match descriptor(file) {
        Ok(fd) => fd,
        // No system has a descriptor of that number.
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => return boolean(py, false),
        Err(error) => this.named_by(file).ok_or(error)?,
    };
    boolean(py, Loop::set_callback(this, fd, direction, None)?)
}

fn add_reader<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    add(this, "add_reader", Direction::Read, args)?;
    none(this)
}

fn add_writer<'py>(this: Ref<'_, 'py, Loop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    add(this, "add_writer", Direction::Write, args)?;
    none(this)
}

fn add_reader_handle<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    add(this, "_add_reader", Direction::Read, args)
}

fn add_writer_handle<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    add(this, "_add_writer", Direction::Write, args)
}

fn remove_reader<'py>(
    this: Ref<'_, 'py, Loop>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    remove(this, Direction::Read, file)
}

fn remove_writer<'py>(
    this: Ref<'_, 'py, Loop>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    remove(this, Direction::Write, file)
}

/// The transport of this loop that owns the file descriptor, if one does.
///
/// Raises `ValueError` for what has no number.
fn owner<'py>(
    this: Ref<'_, 'py, Loop>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let index: Option<usize> = number(file)?.extract().ok();
    Ok(index
        .and_then(|index| this.sources.borrow().get(index).and_then(|it| it.transport(this.py()))))
}

/// Raises `RuntimeError` when a transport of this loop owns the file descriptor.
fn ensure_fd_no_transport<'py>(
    this: Ref<'_, 'py, Loop>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    match owner(this, file)? {
        Some(transport) => Err(PyRuntimeError::new_err(format!(
            "File descriptor {} is used by transport {}",
            display(file),
            display(&transport)
        ))),
        None => none(this),
    }
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            Loop,
            c"add_reader",
            add_reader,
            c"add_reader($self, /, fd, callback, *args)\n--\n\nCall the callback whenever fd is readable."
        ),
        method!(
            Loop,
            c"add_writer",
            add_writer,
            c"add_writer($self, /, fd, callback, *args)\n--\n\nCall the callback whenever fd is writable."
        ),
        method_named1!(
            Loop,
            "remove_reader",
            "fd",
            remove_reader,
            c"remove_reader($self, /, fd)\n--\n\nStop watching fd for reading; return True if it was watched."
        ),
        method_named1!(
            Loop,
            "remove_writer",
            "fd",
            remove_writer,
            c"remove_writer($self, /, fd)\n--\n\nStop watching fd for writing; return True if it was watched."
        ),
        method!(Loop, c"_add_reader", add_reader_handle, c"Like add_reader(); return the handle."),
        method!(Loop, c"_add_writer", add_writer_handle, c"Like add_writer(); return the handle."),
        method1!(Loop, c"_remove_reader", remove_reader, c"The same as remove_reader()."),
        method1!(Loop, c"_remove_writer", remove_writer, c"The same as remove_writer()."),
        method1!(
            Loop,
            c"_ensure_fd_no_transport",
            ensure_fd_no_transport,
            c"Raise RuntimeError if a transport uses fd."
        ),
    ]
}
