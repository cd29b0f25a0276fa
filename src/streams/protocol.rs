//! `StreamReaderProtocol`: between a transport and its reader and writer.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyType, PyWeakrefMethods, PyWeakrefReference};

use super::accept::client_done;
use super::flow::{get_drain_waiters, pause_writing, resume_writing};
use super::reader::StreamReader;
use super::{Face, FaceCell, create_future, drain, exact, flag_attribute, none, slot_attribute};
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Ref, Signature, Slot, Traversal, Visit, build, error,
};
use crate::stdlib::stdlib;
use crate::{attribute, init_slot, method, method_named1, method0, method1};

/// The fields of `ferrio.StreamReaderProtocol`.
#[derive(Default)]
pub struct StreamReaderProtocol {
    pub(super) event_loop: Slot,
    /// A weak reference to the reader, whose end is the transport's business no more.
    reader: Slot,
    /// The reader, until a server's connection is made.
    strong_reader: Slot,
    /// asyncio keeps a server's writer alive up to 3.12.
    pub(super) writer: Slot,
    source_traceback: Slot,
    /// The task of `client_connected_cb`.
    pub(super) task: Slot,
    pub(super) transport: Slot,
    client_connected: Slot,
    reject_connection: Cell<bool>,
    over_ssl: Cell<bool>,

    /// Whether the transport takes no more for a while.
    pub(super) paused: Cell<bool>,
    /// Whether the transport has not looked yet if it takes what was written.
    pub(super) pause_put_off: Cell<bool>,
    /// A list of futures, once somebody waits for the end of a pause.
    pub(super) drain_waiters: Slot,
    lost: Cell<bool>,
    /// What the connection ended with; nothing if it ended well.
    lost_by: Slot,
    /// The future that ends with the connection, once somebody asks for it.
    closed: Slot,
}

static PROTOCOL: ClassCell = ClassCell::new();
static FACE: FaceCell = FaceCell::new();

impl Class for StreamReaderProtocol {
    const NAME: &'static CStr = c"ferrio._ferrio.StreamReaderProtocol";
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &PROTOCOL
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.slots().into_iter().try_for_each(|slot| visit.slot(slot))
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }

    fn must_finalize(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Nobody need have waited for the end: its exception counts as retrieved.
    fn finalize(this: Ref<'_, '_, Self>) {
        let py = this.py();
        let Some(closed) = this.closed.get(py) else { return };
        let retrieved = || {
            if closed.call_method0(intern!(py, "done"))?.is_truthy()?
                && !closed.call_method0(intern!(py, "cancelled"))?.is_truthy()?
            {
                closed.call_method0(intern!(py, "exception"))?;
            }
            Ok(())
        };
        if let Err(error) = retrieved() {
            PyErr::write_unraisable(error, py, Some(this.as_any()));
        }
    }
}

impl Face for StreamReaderProtocol {
    const SHOWN: &'static str = "StreamReaderProtocol";
    const DOC: &'static str = "Between a transport and the reader and writer of a stream.";

    fn face() -> &'static FaceCell {
        &FACE
    }
}

impl StreamReaderProtocol {
    fn slots(&self) -> [&Slot; 11] {
        [
            &self.event_loop,
            &self.reader,
            &self.strong_reader,
            &self.writer,
            &self.source_traceback,
            &self.task,
            &self.transport,
            &self.client_connected,
            &self.drain_waiters,
            &self.lost_by,
            &self.closed,
        ]
    }

    /// Whether the transport takes no more for a while.
    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Whether the connection is lost.
    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Whether the connection has ended well, and no future need be made to tell that.
    pub(super) fn closed_well(&self) -> bool {
        self.lost.get() && self.closed.is_empty() && self.lost_by.is_empty()
    }
}

impl<'py> Ref<'_, 'py, StreamReaderProtocol> {
    /// The reader, if it is alive.
    #[inline]
    pub(super) fn reader(self) -> Option<Bound<'py, PyAny>> {
        let reference = self.reader.get(self.py())?;
        match reference.cast::<PyWeakrefReference>() {
            Ok(reference) => reference.upgrade(),
            Err(_) => error::ok(reference.call0(), self.py()).filter(|reader| !reader.is_none()),
        }
    }

    pub(super) fn create_future(self) -> PyResult<Bound<'py, PyAny>> {
        create_future(&self.event_loop.get_or_none(self.py()))
    }

    /// Notes whether `transport` encrypts.
    fn note_encryption(self, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        let name = intern!(py, "sslcontext");
        let context = transport.call_method1(intern!(py, "get_extra_info"), (name,))?;
        self.over_ssl.set(!context.is_none());
        Ok(())
    }

    /// Has everything go through another transport, above the one that there was.
    fn replace_transport(self, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        self.transport.set(transport.clone());
        self.note_encryption(transport)?;
        // Before 3.14 asyncio's reader goes on to pause the transport below.
        let reader = self.reader();
        match reader.as_ref().and_then(Ref::<StreamReader>::cast) {
            Some(reader) => reader.replace_transport(transport),
            None => Ok(()),
        }
    }
}

/// Ends a future that is not done.
pub(super) fn settle<'py>(
    future: &Bound<'py, PyAny>,
    exception: Option<&Bound<'py, PyAny>>,
) -> PyResult<()> {
    let py = future.py();
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match exception {
        Some(exception) => future.call_method1(intern!(py, "set_exception"), (exception,)),
        None => future.call_method1(intern!(py, "set_result"), (py.None(),)),
    }
    .map(drop)
}

fn init<'py>(this: Ref<'_, 'py, StreamReaderProtocol>, args: &Args<'_, 'py>) -> PyResult<()> {
    let py = this.py();
    let [reader, client_connected, event_loop] = args.parse(&Signature {
        name: "StreamReaderProtocol",
        parameters: ["stream_reader", "client_connected_cb", "loop"],
        positional: 3,
        required: 1,
    })?;
    let given = |value: Option<pyo3::Borrowed<'_, 'py, PyAny>>| {
        value.filter(|value| !value.is_none()).map(|value| value.to_owned())
    };
    this.clear();
    for flag in
        [&this.reject_connection, &this.over_ssl, &this.paused, &this.pause_put_off, &this.lost]
    {
        flag.set(false);
    }
    let event_loop = match given(event_loop) {
        Some(event_loop) => event_loop,
        None => stdlib(py).get_event_loop.bind(py).call0()?,
    };
    this.event_loop.set(event_loop);
    let reader = given(reader);
    let client_connected = given(client_connected);
    if let Some(reader) = &reader {
        this.reader.set(PyWeakrefReference::new(reader)?.into_any());
        let traceback = match exact::<StreamReader>(reader) {
            Some(reader) => reader.source_traceback().get(py),
            None => Some(reader.getattr(intern!(py, "_source_traceback"))?),
        };
        this.source_traceback.set_opt(traceback.filter(|traceback| !traceback.is_none()), py);
    }
    if client_connected.is_some() {
        // Nobody else keeps the reader until the connection is made.
        this.strong_reader.set_opt(reader, py);
    }
    this.client_connected.set_opt(client_connected, py);
    Ok(())
}

fn connection_made<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
    transport: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.reject_connection.get() {
        let message = "An open stream was garbage collected prior to establishing network \
                       connection; call \"stream.close()\" explicitly.";
        let traceback = this.source_traceback.get(py);
        let details = traceback.map(|traceback| ("source_traceback", traceback));
        this.report(message, details.as_slice())?;
        transport.call_method0(intern!(py, "abort"))?;
        return Ok(none(py));
    }
    this.transport.set(transport.clone());
    let reader = this.reader();
    if let Some(reader) = &reader {
        match exact::<StreamReader>(reader) {
            Some(reader) => reader.set_transport(transport)?,
            None => {
                reader.call_method1(intern!(py, "set_transport"), (transport,))?;
            }
        }
    }
    this.note_encryption(transport)?;
    if let Some(client_connected) = this.client_connected.get(py) {
        this.accept(transport, reader, &client_connected)?;
        this.strong_reader.clear();
    }
    Ok(none(py))
}

fn connection_lost<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
    exception: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let given = (!exception.is_none()).then_some(exception);
    if let Some(reader) = this.reader() {
        match (exact::<StreamReader>(&reader), given) {
            (Some(reader), None) => reader.end()?,
            (Some(reader), Some(exception)) => reader.fail(exception)?,
            (None, None) => drop(reader.call_method0(intern!(py, "feed_eof"))?),
            (None, Some(exception)) => {
                reader.call_method1(intern!(py, "set_exception"), (exception,))?;
            }
        }
    }
    if !this.lost.get() {
        this.lost_by.set_opt(given.cloned(), py);
    }
    if let Some(closed) = this.closed.get(py) {
        settle(&closed, given)?;
    }
    this.lost.set(true);
    if this.paused.get() {
        this.wake_drain_waiters(given)?;
    }
    for slot in [&this.reader, &this.writer, &this.task, &this.transport] {
        slot.clear();
    }
    Ok(none(py))
}

fn data_received<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(reader) = this.reader() {
        match exact::<StreamReader>(&reader) {
            Some(reader) => reader.feed(data)?,
            None => drop(reader.call_method1(intern!(py, "feed_data"), (data,))?),
        }
    }
    Ok(none(py))
}

/// Over TLS the way out can't stay open: to ask for that would give a warning.
fn eof_received<'py>(this: Ref<'_, 'py, StreamReaderProtocol>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(reader) = this.reader() {
        match exact::<StreamReader>(&reader) {
            Some(reader) => reader.end()?,
            None => drop(reader.call_method0(intern!(py, "feed_eof"))?),
        }
    }
    Ok(PyBool::new(py, !this.over_ssl.get()).to_owned().into_any())
}

fn get_closed<'py>(this: Ref<'_, 'py, StreamReaderProtocol>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(closed) = this.closed.get(py) {
        return Ok(closed);
    }
    let closed = this.create_future()?;
    if this.lost.get() {
        settle(&closed, this.lost_by.get(py).as_ref())?;
    }
    this.closed.set(closed.clone());
    Ok(closed)
}

fn get_close_waiter<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
    _stream: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    get_closed(this)
}

fn replace_transport<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
    transport: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.replace_transport(transport)?;
    Ok(none(this.py()))
}

/// What `start_tls` of asyncio's writers calls up to 3.12.
fn replace_writer<'py>(
    this: Ref<'_, 'py, StreamReaderProtocol>,
    writer: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.writer.set(writer.clone());
    this.replace_transport(&writer.getattr(intern!(this.py(), "transport"))?)?;
    Ok(none(this.py()))
}

fn get_reader<'py>(this: Ref<'_, 'py, StreamReaderProtocol>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.reader().unwrap_or_else(|| none(this.py())))
}

/// Builds the native half. Raises what `PyType_FromSpecWithBases` raises.
pub(super) fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let class = build::<StreamReaderProtocol>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"StreamReaderProtocol(stream_reader, client_connected_cb=None, loop=None)\n--\n\nThe native half of ferrio.StreamReaderProtocol."),
            methods: vec![
                method_named1!(
                    StreamReaderProtocol,
                    "connection_made",
                    "transport",
                    connection_made,
                    c"connection_made($self, transport)\n--\n\nCalled by the transport: the connection begins."
                ),
                method_named1!(
                    StreamReaderProtocol,
                    "connection_lost",
                    "exc",
                    connection_lost,
                    c"connection_lost($self, exc)\n--\n\nCalled by the transport: the connection has ended."
                ),
                method_named1!(
                    StreamReaderProtocol,
                    "data_received",
                    "data",
                    data_received,
                    c"data_received($self, data)\n--\n\nCalled by the transport: bytes for the reader."
                ),
                method0!(
                    StreamReaderProtocol,
                    c"eof_received",
                    eof_received,
                    c"eof_received($self)\n--\n\nCalled by the transport: the peer sends no more."
                ),
                method0!(
                    StreamReaderProtocol,
                    c"pause_writing",
                    pause_writing,
                    c"pause_writing($self)\n--\n\nCalled by the transport: it has enough to send."
                ),
                method0!(
                    StreamReaderProtocol,
                    c"resume_writing",
                    resume_writing,
                    c"resume_writing($self)\n--\n\nCalled by the transport: it can send more."
                ),
                method0!(
                    StreamReaderProtocol,
                    c"_drain_helper",
                    drain::drain_helper,
                    c"_drain_helper($self)\n--\n\nWait until the transport takes more."
                ),
                method1!(
                    StreamReaderProtocol,
                    c"_get_close_waiter",
                    get_close_waiter,
                    c"_get_close_waiter($self, stream, /)\n--\n\nReturn the future that ends with the connection."
                ),
                method1!(
                    StreamReaderProtocol,
                    c"_replace_transport",
                    replace_transport,
                    c"_replace_transport($self, transport, /)\n--\n\nUse another transport from now on."
                ),
                method1!(
                    StreamReaderProtocol,
                    c"_replace_writer",
                    replace_writer,
                    c"_replace_writer($self, writer, /)\n--\n\nUse the transport of this writer from now on."
                ),
                method!(
                    StreamReaderProtocol,
                    c"_client_done",
                    client_done,
                    c"_client_done($self, transport, task, /)\n--\n\nThe task of client_connected_cb has ended."
                ),
            ],
            attributes: vec![
                attribute!(StreamReaderProtocol, c"_stream_reader", get_reader),
                attribute!(StreamReaderProtocol, c"_closed", get_closed),
                attribute!(StreamReaderProtocol, c"_drain_waiters", get_drain_waiters),
                slot_attribute!(StreamReaderProtocol, c"_loop", event_loop),
                slot_attribute!(StreamReaderProtocol, c"_stream_reader_wr", reader),
                slot_attribute!(StreamReaderProtocol, c"_strong_reader", strong_reader),
                slot_attribute!(StreamReaderProtocol, c"_stream_writer", writer),
                slot_attribute!(StreamReaderProtocol, c"_source_traceback", source_traceback),
                slot_attribute!(StreamReaderProtocol, c"_task", task),
                slot_attribute!(StreamReaderProtocol, c"_transport", transport),
                slot_attribute!(StreamReaderProtocol, c"_client_connected_cb", client_connected),
                flag_attribute!(StreamReaderProtocol, c"_reject_connection", reject_connection),
                flag_attribute!(StreamReaderProtocol, c"_over_ssl", over_ssl),
                flag_attribute!(StreamReaderProtocol, c"_paused", paused),
                flag_attribute!(StreamReaderProtocol, c"_connection_lost", lost),
            ],
            slots: vec![init_slot!(StreamReaderProtocol, init)],
            subclassable: true,
            constructible: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["_drain_helper"])?;
    Ok(class)
}
