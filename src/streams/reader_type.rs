//! The class `StreamReader`: its methods and attributes, as Python sees them.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyString, PyType};

use super::reader::{DEFAULT_LIMIT, StreamReader};
use super::{flag_attribute, none, read, slot_attribute};
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{Args, Class, Definition, Ref, Signature, build};
use crate::stdlib::stdlib;
use crate::{attribute, init_slot, method, method_named1, method0, unary_slot};

fn init(this: Ref<'_, '_, StreamReader>, args: &Args<'_, '_>) -> PyResult<()> {
    let py = this.py();
    let [limit, event_loop] = args.parse(&Signature {
        name: "StreamReader",
        parameters: ["limit", "loop"],
        positional: 2,
        required: 0,
    })?;
    this.clear();
    this.eof.set(false);
    this.paused.set(false);
    this.limit.set(DEFAULT_LIMIT);
    if let Some(limit) = limit {
        this.set_limit(&limit)?;
    }
    let event_loop = match event_loop.filter(|event_loop| !event_loop.is_none()) {
        Some(event_loop) => event_loop.to_owned(),
        None => stdlib(py).get_event_loop.bind(py).call0()?,
    };
    this.event_loop.set(event_loop.clone());
    if event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()? {
        // This has no frame of its own: the innermost is that of the caller.
        let frame = py.import("sys")?.call_method1("_getframe", (0,))?;
        let helpers = py.import("asyncio.format_helpers")?;
        this.source_traceback.set(helpers.call_method1("extract_stack", (frame,))?);
    }
    Ok(())
}

fn exception<'py>(this: Ref<'_, 'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.exception.get_or_none(this.py()))
}

fn set_exception<'py>(
    this: Ref<'_, 'py, StreamReader>,
    exception: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.fail(exception)?;
    Ok(none(this.py()))
}

fn set_transport<'py>(
    this: Ref<'_, 'py, StreamReader>,
    transport: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.set_transport(transport)?;
    Ok(none(this.py()))
}

fn replace_transport<'py>(
    this: Ref<'_, 'py, StreamReader>,
    transport: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.replace_transport(transport)?;
    Ok(none(this.py()))
}

fn feed_eof<'py>(this: Ref<'_, 'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
    this.end()?;
    Ok(none(this.py()))
}

fn at_eof<'py>(this: Ref<'_, 'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let ended = this.eof.get() && this.buffer.len(py) == 0;
    Ok(PyBool::new(py, ended).to_owned().into_any())
}

fn feed_data<'py>(
    this: Ref<'_, 'py, StreamReader>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.feed(data)?;
    Ok(none(this.py()))
}

fn aiter<'py>(this: Ref<'_, 'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.to_any())
}

fn repr<'py>(this: Ref<'_, 'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let mut text = String::from("<StreamReader");
    let length = this.buffer.len(py);
    if length > 0 {
        text.push_str(&format!(" {length} bytes"));
    }
    if this.eof.get() {
        text.push_str(" eof");
    }
    if this.limit() != DEFAULT_LIMIT || !this.odd_limit.is_empty() {
        text.push_str(&format!(" limit={}", get_limit(this)?.repr()?));
    }
    let shown =
        [("waiter", &this.waiter), ("exception", &this.exception), ("transport", &this.transport)];
    for (name, slot) in shown {
        if let Some(value) = slot.get(py)
            && value.is_truthy()?
        {
            text.push_str(&format!(" {name}={}", value.repr()?));
        }
    }
    if this.paused.get() {
        text.push_str(" paused");
    }
    text.push('>');
    Ok(PyString::new(py, &text).into_any())
}

fn get_buffer<'py>(this: Ref<'_, 'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.buffer.show(this.py()))
}

fn take_buffered<'py>(this: Ref<'_, 'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
    this.buffer.take(this.py(), usize::MAX)
}

fn set_buffer(this: Ref<'_, '_, StreamReader>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match value.map(|value| value.cast::<PyByteArray>()) {
        Some(Ok(array)) => {
            this.buffer.replace(array.clone());
            Ok(())
        }
        _ => Err(PyTypeError::new_err("the buffer must be a bytearray")),
    }
}

fn get_limit<'py>(this: Ref<'_, 'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
    match this.odd_limit.get(this.py()) {
        Some(limit) => Ok(limit),
        None => this.limit().into_bound_py_any(this.py()),
    }
}

fn set_limit(this: Ref<'_, '_, StreamReader>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    if let Some(value) = value {
        this.note_limit(value);
    }
    Ok(())
}

/// Builds the native half. Raises what `PyType_FromSpecWithBases` raises.
pub(super) fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let class = build::<StreamReader>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"StreamReader(limit=65536, loop=None)\n--\n\nThe native half of ferrio.StreamReader."),
            methods: vec![
                method0!(
                    StreamReader,
                    c"exception",
                    exception,
                    c"exception($self)\n--\n\nReturn the exception that was set, or None."
                ),
                method_named1!(
                    StreamReader,
                    "set_exception",
                    "exc",
                    set_exception,
                    c"set_exception($self, exc)\n--\n\nLet all coroutines raise this."
                ),
                method_named1!(
                    StreamReader,
                    "set_transport",
                    "transport",
                    set_transport,
                    c"set_transport($self, transport)\n--\n\nPause and resume this transport from now on."
                ),
                method_named1!(
                    StreamReader,
                    "_replace_transport",
                    "transport",
                    replace_transport,
                    c"_replace_transport($self, transport)\n--\n\nPause and resume this transport instead."
                ),
                method0!(
                    StreamReader,
                    c"feed_eof",
                    feed_eof,
                    c"feed_eof($self)\n--\n\nNothing more comes."
                ),
                method0!(
                    StreamReader,
                    c"at_eof",
                    at_eof,
                    c"at_eof($self)\n--\n\nReturn True if everything was read and nothing more comes."
                ),
                method_named1!(
                    StreamReader,
                    "feed_data",
                    "data",
                    feed_data,
                    c"feed_data($self, data)\n--\n\nAdd bytes to what can be read."
                ),
                method!(
                    StreamReader,
                    c"read",
                    read::read,
                    c"read($self, n=-1)\n--\n\nRead what there is, at most n bytes; without n everything up to the end. b'' is the end."
                ),
                method!(
                    StreamReader,
                    c"readline",
                    read::readline,
                    c"readline($self)\n--\n\nRead up to the end of the line or of the stream.\n\nRaises ValueError for a line that is longer than the limit."
                ),
                method!(
                    StreamReader,
                    c"readuntil",
                    read::readuntil,
                    c"readuntil($self, separator=b'\\n')\n--\n\nRead up to and with the separator, or the first that ends of a tuple of separators.\n\nRaises IncompleteReadError when the stream ends before, and LimitOverrunError when it comes too late."
                ),
                method!(
                    StreamReader,
                    c"readexactly",
                    read::readexactly,
                    c"readexactly($self, n)\n--\n\nRead n bytes.\n\nRaises IncompleteReadError when the stream ends before."
                ),
                method0!(
                    StreamReader,
                    c"_take_buffered",
                    take_buffered,
                    c"_take_buffered($self)\n--\n\nTake what was received and nobody has read."
                ),
            ],
            attributes: vec![
                attribute!(StreamReader, c"_buffer", get_buffer, set_buffer),
                attribute!(StreamReader, c"_limit", get_limit, set_limit),
                slot_attribute!(StreamReader, c"_loop", event_loop),
                slot_attribute!(StreamReader, c"_waiter", waiter),
                slot_attribute!(StreamReader, c"_exception", exception),
                slot_attribute!(StreamReader, c"_transport", transport),
                slot_attribute!(StreamReader, c"_source_traceback", source_traceback),
                flag_attribute!(StreamReader, c"_eof", eof),
                flag_attribute!(StreamReader, c"_paused", paused),
            ],
            slots: vec![
                init_slot!(StreamReader, init),
                unary_slot!(StreamReader, capi::Py_tp_repr, repr),
                unary_slot!(StreamReader, capi::Py_am_aiter, aiter),
                unary_slot!(StreamReader, capi::Py_am_anext, read::anext),
            ],
            subclassable: true,
            constructible: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["read", "readline", "readuntil", "readexactly"])?;
    Ok(class)
}
