//! `StreamReader`: what a transport has received, until somebody reads it.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyAssertionError, PyNotImplementedError, PyTypeError, PyValueError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyString, PyType};

use super::buffer::{Buffer, Landing};
use super::{Face, FaceCell, flag_attribute, none, read, slot_attribute};
use crate::ffi::buffer::ReadableBuffer;
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Ref, Signature, Slot, Traversal, Visit, build, error,
};
use crate::stdlib::stdlib;
use crate::task::{future, schedule};
use crate::{attribute, init_slot, method, method_named1, method0, unary_slot};

/// The limit, in bytes, of a reader that is given none: asyncio's own.
const DEFAULT_LIMIT: usize = 64 * 1024;

/// The fields of `ferrio.StreamReader`.
#[derive(Default)]
pub struct StreamReader {
    event_loop: Slot,
    pub(super) buffer: Buffer,
    /// What ends when something comes, while a coroutine waits for that.
    waiter: Slot,
    exception: Slot,
    transport: Slot,
    source_traceback: Slot,
    /// The limit as it was given, if that is no plain size.
    odd_limit: Slot,
    limit: Cell<usize>,
    eof: Cell<bool>,
    /// Whether the transport was told to pause.
    paused: Cell<bool>,
}

static READER: ClassCell = ClassCell::new();
static FACE: FaceCell = FaceCell::new();

impl Class for StreamReader {
    const NAME: &'static CStr = c"ferrio._ferrio.StreamReader";

    fn class() -> &'static ClassCell {
        &READER
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.buffer.traverse(visit)?;
        self.slots().into_iter().try_for_each(|slot| visit.slot(slot))
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
        self.buffer.clear();
    }
}

impl Face for StreamReader {
    const SHOWN: &'static str = "StreamReader";
    const DOC: &'static str = "The way in of a stream: what has come is read by coroutines.";

    fn face() -> &'static FaceCell {
        &FACE
    }
}

impl StreamReader {
    fn slots(&self) -> [&Slot; 6] {
        [
            &self.event_loop,
            &self.waiter,
            &self.exception,
            &self.transport,
            &self.source_traceback,
            &self.odd_limit,
        ]
    }

    /// Whether nothing more will come.
    #[inline]
    pub(super) fn at_end(&self) -> bool {
        self.eof.get()
    }

    /// The limit in bytes: half of what the buffer may hold before the transport pauses.
    #[inline]
    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    /// Where the reader was made, in debug mode.
    pub(super) fn source_traceback(&self) -> &Slot {
        &self.source_traceback
    }

    fn set_limit(&self, limit: &Bound<'_, PyAny>) -> PyResult<()> {
        if limit.le(0)? {
            return Err(PyValueError::new_err("Limit cannot be <= 0"));
        }
        self.note_limit(limit);
        Ok(())
    }

    fn note_limit(&self, limit: &Bound<'_, PyAny>) {
        let py = limit.py();
        let size = error::ok(limit.extract::<usize>(), py);
        self.odd_limit.set_opt(size.is_none().then(|| limit.clone()), py);
        // A float's conversion rounds down and saturates.
        let rounded = || error::ok(limit.extract::<f64>(), py).map(|limit| limit as usize);
        self.limit.set(size.or_else(rounded).unwrap_or(usize::MAX));
    }
}

impl<'py> Ref<'_, 'py, StreamReader> {
    /// The exception that was set. `None` stands for none.
    #[inline]
    pub(super) fn exception(self) -> Option<Bound<'py, PyAny>> {
        self.exception.get(self.py())
    }

    /// Raises the exception that was set.
    #[inline]
    pub(super) fn check_exception(self) -> PyResult<()> {
        match self.exception() {
            None => Ok(()),
            Some(exception) => Err(raised(&exception)),
        }
    }

    /// Takes the first `count` bytes of `landing`: what a transport received.
    ///
    /// Raises what the transport's `pause_reading()` raises, and `BufferError` when Python code holds a view on the buffer.
    pub fn receive(self, landing: Landing, count: usize) -> PyResult<()> {
        self.check_open()?;
        self.buffer.land(self.py(), landing, count)?;
        self.received()
    }

    fn check_open(self) -> PyResult<()> {
        if self.eof.get() {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        Ok(())
    }

    /// Looks after bytes that were added to the buffer.
    fn received(self) -> PyResult<()> {
        let py = self.py();
        self.wake()?;
        if self.paused.get()
            || self.transport.is_empty()
            || self.buffer.len(py) <= self.limit().saturating_mul(2)
        {
            return Ok(());
        }
        match self.transport.get_or_none(py).call_method0(intern!(py, "pause_reading")) {
            Ok(_) => {
                self.paused.set(true);
                Ok(())
            }
            // It can't be paused: then everything is kept.
            Err(refused) if refused.is_instance_of::<PyNotImplementedError>(py) => {
                error::discard(refused, py);
                self.transport.clear();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Wakes the coroutine that waits.
    fn wake(self) -> PyResult<()> {
        let py = self.py();
        let Some(waiter) = self.waiter.take(py) else { return Ok(()) };
        if let Some(future) = future::cast_exact(&waiter)
            && !future.done()
        {
            return future.set_result(none(py));
        }
        if waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        waiter.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop)
    }

    /// Nothing more comes.
    pub(super) fn end(self) -> PyResult<()> {
        self.eof.set(true);
        self.wake()
    }

    /// Makes `exception` what all coroutines raise.
    pub(super) fn fail(self, exception: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        self.exception.set_opt((!exception.is_none()).then(|| exception.clone()), py);
        let Some(waiter) = self.waiter.take(py) else { return Ok(()) };
        if waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        waiter.call_method1(intern!(py, "set_exception"), (exception,)).map(drop)
    }

    /// Lets the transport go on if the buffer has become small enough.
    #[inline]
    pub(super) fn resume_if_drained(self) -> PyResult<()> {
        if self.paused.get() && self.buffer.len(self.py()) <= self.limit() {
            self.resume()?;
        }
        Ok(())
    }

    fn resume(self) -> PyResult<()> {
        let py = self.py();
        self.paused.set(false);
        self.transport.get_or_none(py).call_method0(intern!(py, "resume_reading")).map(drop)
    }

    /// A future that ends when something comes. `name` is that of the method that waits.
    ///
    /// Raises `RuntimeError` when another coroutine waits already.
    pub(super) fn wait_for_data(self, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        if !self.waiter.is_empty() {
            return Err(pyo3::exceptions::PyRuntimeError::new_err(format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            )));
        }
        if self.eof.get() {
            return Err(PyAssertionError::new_err("_wait_for_data after EOF"));
        }
        // Who waits while the transport is paused would wait for ever.
        if self.paused.get() {
            self.resume()?;
        }
        let waiter = schedule::create_future(&self.event_loop.get_or_none(py))?;
        self.waiter.set(waiter.clone());
        Ok(waiter)
    }

    /// The coroutine that waited for `waiter` does so no more.
    #[inline]
    pub(super) fn stop_waiting(self, waiter: &Slot) {
        if !self.waiter.is_empty() && self.waiter.as_ptr() == waiter.as_ptr() {
            self.waiter.clear();
        }
        waiter.clear();
    }

    /// Takes the transport that brings the bytes. Raises `AssertionError` when there is one.
    pub(super) fn set_transport(self, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        if !self.transport.is_empty() {
            return Err(PyAssertionError::new_err("Transport already set"));
        }
        self.transport.set(transport.clone());
        Ok(())
    }

    /// Takes another transport, above the one that there was. Raises `AssertionError` when there was none.
    pub(super) fn replace_transport(self, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        if self.transport.is_empty() {
            return Err(PyAssertionError::new_err("Transport not set"));
        }
        self.transport.set(transport.clone());
        Ok(())
    }
}

/// What `raise exception` raises, for an instance or a class.
fn raised(exception: &Bound<'_, PyAny>) -> PyErr {
    match error::is_exception(exception) {
        true => error::raise(exception),
        false => PyErr::from_value(exception.clone()),
    }
}

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

impl<'py> Ref<'_, 'py, StreamReader> {
    /// `feed_data(data)`
    pub(super) fn feed(self, data: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        self.check_open()?;
        if !data.is_truthy()? {
            return Ok(());
        }
        match data.cast_exact::<PyBytes>() {
            Ok(bytes) => self.buffer.append(py, bytes.as_bytes())?,
            Err(_) => {
                // As `bytearray.extend`, which takes numbers also; of a buffer a copy, for Python code may change it.
                let bytes = match ReadableBuffer::of(data) {
                    Ok(buffer) => buffer.as_slice().to_vec(),
                    Err(refused) => {
                        error::discard(refused, py);
                        let array = PyByteArray::new(py, b"");
                        array.call_method1(intern!(py, "extend"), (data,))?;
                        array.to_vec()
                    }
                };
                self.buffer.append(py, &bytes)?;
            }
        }
        self.received()
    }
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
