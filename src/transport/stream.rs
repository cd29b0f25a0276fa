//! `StreamTransport`: the life of a connected stream socket.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use ferrio_reactor::{Readiness, Trigger, WriteQueue};
use pyo3::exceptions::{PyOSError, PyResourceWarning};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyType};

use super::address::Address;
use super::limits::Limits;
use super::tls::TlsTransport;
use super::write::Chunk;
use super::{info, limits, write};
use crate::event_loop::Loop;
use crate::event_loop::handle::Handle;
use crate::event_loop::readers::Source;
use crate::event_loop::ready::Ready;
use crate::ffi::{Class, ClassCell, Definition, Owned, Ref, Slot, Traversal, Visit, build, call};
use crate::{attribute, method0, method1, unary_slot};

/// The fields of `ferrio.StreamTransport`.
#[derive(Default)]
pub struct StreamTransport {
    pub(super) event_loop: Slot,
    pub(super) protocol: Slot,
    /// The context that the protocol's methods run in.
    pub(super) context: Slot,
    /// `data_received`, or `get_buffer` of a buffered protocol.
    pub(super) receive: Slot,
    /// `buffer_updated` of a buffered protocol.
    pub(super) updated: Slot,
    server: Slot,
    waiter: Slot,
    /// The Python socket, once somebody gave or asked for it; it owns the descriptor then.
    pub(super) socket: Slot,
    /// `get_extra_info`'s answers that the transport doesn't know by itself.
    pub(super) extra: Slot,
    /// The socket's descriptor, -1 once it is closed.
    fd: Cell<Option<RawFd>>,
    pub(super) local: RefCell<Option<Address>>,
    pub(super) peer: RefCell<Option<Address>>,

    /// Whether an entry of the loop's ready queue stands for this transport.
    queued: Cell<bool>,
    /// Whether the protocol's `connection_made` was called.
    started: Cell<bool>,
    /// Whether the socket may have something to read, as far as the poller told.
    pub(super) readable: Cell<bool>,
    /// Whether the peer has sent its last byte: reading goes on until the end is seen.
    pub(super) hung_up: Cell<bool>,
    /// Whether the end of the stream was read.
    pub(super) ended: Cell<bool>,
    pub(super) paused: Cell<bool>,
    pub(super) closing: Cell<bool>,
    /// Whether the protocol is a [`TlsTransport`], which is called without Python's help.
    pub(super) encrypted: Cell<bool>,
    /// Counts the writes after the connection was lost, from 1.
    pub(super) lost: Cell<u32>,

    pub(super) outgoing: RefCell<WriteQueue<Chunk>>,
    /// Whether the socket took less than it was offered, and the poller has not said since that it takes more.
    pub(super) full: Cell<bool>,
    pub(super) eof_written: Cell<bool>,
    /// The loop's turn in which a write was last sent.
    pub(super) write_turn: Cell<u64>,
    pub(super) flush_queued: Cell<bool>,
    pub(super) limits: Limits,
}

static STREAM: ClassCell = ClassCell::new();

impl Class for StreamTransport {
    const NAME: &'static CStr = c"ferrio.StreamTransport";
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &STREAM
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        for slot in self.slots() {
            visit.slot(slot)?;
        }
        for chunk in self.outgoing.borrow().buffers() {
            chunk.traverse(visit)?;
        }
        Ok(())
    }

    fn clear(&self) {
        for slot in self.slots() {
            slot.clear();
        }
    }

    fn must_finalize(&self) -> bool {
        self.fd.get().is_some()
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        let py = this.py();
        let warned = this.as_any().repr().and_then(|repr| {
            let warn = py.import("warnings")?.getattr("warn")?;
            let keywords = pyo3::types::PyDict::new(py);
            keywords.set_item("source", this.as_any())?;
            let message = format!("unclosed transport {repr}");
            warn.call((message, py.get_type::<PyResourceWarning>()), Some(&keywords))
        });
        if let Err(error) = warned {
            error.write_unraisable(py, Some(this.as_any()));
        }
        this.close_socket(py);
    }
}

impl StreamTransport {
    fn slots(&self) -> [&Slot; 9] {
        [
            &self.event_loop,
            &self.protocol,
            &self.context,
            &self.receive,
            &self.updated,
            &self.server,
            &self.waiter,
            &self.socket,
            &self.extra,
        ]
    }

    /// A transport for the connected, non-blocking socket `fd`, which it owns from now on.
    ///
    /// The methods of `protocol` are called in `context`.
    pub fn create<'py>(
        event_loop: Ref<'_, 'py, Loop>,
        fd: RawFd,
        protocol: &Bound<'py, PyAny>,
        context: Bound<'py, PyAny>,
    ) -> PyResult<Owned<Self>> {
        let py = event_loop.py();
        let transport = Owned::<Self>::alloc(py)?;
        let this = transport.get(py);
        this.fd.set(Some(fd));
        this.event_loop.set(event_loop.to_any());
        this.context.set(context);
        this.local.replace(Address::of_socket(fd));
        this.set_protocol(protocol)?;
        Ok(transport)
    }

    /// Takes over `socket`, the Python socket of the transport's descriptor, with what is known of its peer.
    pub fn adopt<'py>(
        &self,
        socket: &Bound<'py, PyAny>,
        peer: Option<Address>,
        extra: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = socket.py();
        self.socket.set(socket.clone());
        self.extra.set_opt(extra, py);
        self.peer.replace(peer);
        // What `asyncio.base_events._set_nodelay` does: nothing for a Unix socket.
        static SET_NODELAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        SET_NODELAY.import(py, "asyncio.base_events", "_set_nodelay")?.call1((socket,)).map(drop)
    }

    /// Who shall know of the connection's beginning and end: the server's list, and a future.
    pub fn belongs_to<'py>(
        this: Ref<'_, 'py, Self>,
        server: Option<&Bound<'py, PyAny>>,
        waiter: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        if let Some(waiter) = waiter {
            this.waiter.set(waiter.clone());
        }
        if let Some(server) = server {
            this.server.set(server.clone());
            tell_server(server, intern!(this.py(), "_attach"), this.as_any())?;
        }
        Ok(())
    }

    /// Schedules `connection_made` and what follows it.
    pub fn start(this: Ref<'_, '_, Self>) -> PyResult<()> {
        let py = this.py();
        let (Some(event_loop), Some(protocol), Some(context)) =
            (this.event_loop.get(py), this.protocol.get(py), this.context.get(py))
        else {
            return Ok(());
        };
        let Some(event_loop) = Ref::<Loop>::cast(&event_loop) else { return Ok(()) };
        let made = protocol.getattr(intern!(py, "connection_made"))?;
        let handle = Handle::create1(event_loop, made, this.to_any(), context)?;
        event_loop.push(Ready::Handle(handle));
        this.enqueue(event_loop);
        Ok(())
    }

    /// The socket's descriptor while it is open.
    #[inline]
    pub(super) fn fd(&self) -> Option<RawFd> {
        self.fd.get()
    }

    /// The number that `repr` and error messages show: -1 once the socket is closed.
    pub(super) fn fileno(&self) -> RawFd {
        self.fd.get().unwrap_or(-1)
    }

    /// Runs `body` with the transport's loop; does nothing once the connection is lost.
    pub(super) fn with_loop<'py, R: Default>(
        &self,
        py: Python<'py>,
        body: impl FnOnce(Ref<'_, 'py, Loop>) -> PyResult<R>,
    ) -> PyResult<R> {
        match self.event_loop.get(py) {
            Some(event_loop) => match Ref::<Loop>::cast(&event_loop) {
                Some(event_loop) => body(event_loop),
                None => Ok(R::default()),
            },
            None => Ok(R::default()),
        }
    }

    /// Takes note of what the poller saw. Returns whether an entry for the ready queue is needed.
    pub fn note(&self, readiness: &Readiness) -> bool {
        if readiness.wakes_reader() {
            self.readable.set(true);
        }
        if readiness.read_closed || readiness.error {
            self.hung_up.set(true);
        }
        if readiness.wakes_writer() {
            self.full.set(false);
        }
        let wanted = self.wants_read() || self.wants_write();
        wanted && !self.queued.replace(true)
    }

    pub(super) fn wants_read(&self) -> bool {
        self.readable.get()
            && self.started.get()
            && !self.paused.get()
            && !self.ended.get()
            && !self.closing.get()
    }

    fn wants_write(&self) -> bool {
        !self.full.get() && self.lost.get() == 0 && !self.outgoing.borrow().is_empty()
    }

    /// Takes `protocol` for what comes in from now on.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        if is_buffered(protocol)? {
            self.receive.set(protocol.getattr(intern!(py, "get_buffer"))?);
            self.updated.set(protocol.getattr(intern!(py, "buffer_updated"))?);
        } else {
            // Looked up when data comes for a protocol without it, as asyncio does.
            self.receive.set_opt(protocol.getattr_opt(intern!(py, "data_received"))?, py);
            self.updated.clear();
        }
        self.encrypted.set(Ref::<TlsTransport>::cast_exact(protocol).is_some());
        self.protocol.set(protocol.clone());
        Ok(())
    }

    /// Closes the socket, whoever owns its descriptor.
    fn close_socket(&self, py: Python<'_>) {
        let Some(fd) = self.fd.take() else { return };
        match self.socket.get(py) {
            Some(socket) => {
                if let Err(error) = socket.call_method0(intern!(py, "close")) {
                    error.write_unraisable(py, Some(&socket));
                }
            }
            // SAFETY: the transport owns the descriptor, and forgot it the line before.
            None => drop(unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }
}

impl Ref<'_, '_, StreamTransport> {
    /// Puts the transport into its loop's ready queue, unless it stands there already.
    pub(super) fn enqueue(self, event_loop: Ref<'_, '_, Loop>) {
        if !self.queued.replace(true) {
            event_loop.push(Ready::Stream(self.to_owned()));
        }
    }

    /// The transport's turn: its socket is ready, or its life begins.
    ///
    /// Raises only `KeyboardInterrupt` and `SystemExit`, from the protocol's methods.
    pub fn on_ready(self) -> PyResult<()> {
        let py = self.py();
        self.queued.set(false);
        let Some(context) = self.context.get(py) else { return Ok(()) };
        if !self.started.replace(true) {
            return self.begin();
        }
        call::in_context(&context, || {
            if self.wants_write() {
                write::send_waiting(self)?;
            }
            if self.wants_read() {
                super::read::read_once(self)?;
            }
            Ok(())
        })?;
        if self.wants_read() {
            self.with_loop(py, |event_loop| {
                self.enqueue(event_loop);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Begins to read, after `connection_made`, and tells who waits for the connection.
    fn begin(self) -> PyResult<()> {
        let py = self.py();
        if let Some(fd) = self.fd.get()
            && self.lost.get() == 0
        {
            self.with_loop(py, |event_loop| {
                event_loop.watch(fd, Source::Stream(self.to_owned()), Trigger::Edge)
            })?;
        }
        if let Some(waiter) = self.waiter.take(py)
            && !waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()?
        {
            waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
        }
        Ok(())
    }

    /// Closes after the write buffer is sent.
    pub(super) fn close(self) -> PyResult<()> {
        let py = self.py();
        if self.closing.get() {
            return Ok(());
        }
        if !self.full.get() && !self.outgoing.borrow().is_empty() {
            write::send_waiting(self)?;
        }
        if self.closing.replace(true) || !self.outgoing.borrow().is_empty() {
            return Ok(());
        }
        self.lose(None, py)
    }

    /// Closes at once: what was not sent is dropped.
    pub(super) fn force_close(self, error: Option<PyErr>) -> PyResult<()> {
        let py = self.py();
        if self.lost.get() > 0 {
            return Ok(());
        }
        let unsent = self.outgoing.borrow_mut().drain();
        self.closing.set(true);
        let outcome = self.lose(error, py);
        drop(unsent);
        outcome
    }

    /// Stops watching the socket and schedules `connection_lost`.
    fn lose(self, error: Option<PyErr>, py: Python<'_>) -> PyResult<()> {
        self.lost.set(self.lost.get() + 1);
        self.with_loop(py, |event_loop| {
            if let Some(fd) = self.fd.get() {
                event_loop.unwatch(fd);
            }
            let lost = self.as_any().getattr(intern!(py, "_call_connection_lost"))?;
            let error = error.map_or_else(
                || py.None().into_bound(py),
                |error| error.into_value(py).into_bound(py).into_any(),
            );
            event_loop.check_callable()?;
            let handle = Handle::create1(event_loop, lost, error, call::copy_context(py)?)?;
            event_loop.push(Ready::Handle(handle));
            Ok(())
        })
    }

    /// The connection's end after everything was sent.
    pub(super) fn finish(self) -> PyResult<()> {
        let py = self.py();
        self.with_loop(py, |event_loop| {
            if let Some(fd) = self.fd.get() {
                event_loop.unwatch(fd);
            }
            Ok(())
        })?;
        self.lost.set(self.lost.get() + 1);
        let none = py.None().into_bound(py);
        call_connection_lost(self, &none).map(drop)
    }

    /// Reports an error and closes at once. System errors are part of a network's life: they go to the protocol alone.
    pub(super) fn fatal_error(self, error: PyErr, message: &str) -> PyResult<()> {
        let py = self.py();
        let kept = error.clone_ref(py);
        if !error.is_instance_of::<PyOSError>(py) {
            self.with_loop(py, |event_loop| {
                let transport = self.to_any();
                let protocol = self.protocol.get_or_none(py);
                let context = [("transport", transport), ("protocol", protocol)];
                Loop::report(event_loop, error, message, &context)
            })?;
        }
        self.force_close(Some(kept))
    }
}

/// Whether `protocol` is an `asyncio.BufferedProtocol`.
pub(super) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    protocol.is_instance(CLASS.import(protocol.py(), "asyncio.protocols", "BufferedProtocol")?)
}

/// Calls `server._attach` or `server._detach`, with the transport where this asyncio's servers keep their clients.
fn tell_server(
    server: &Bound<'_, PyAny>,
    method: &Bound<'_, pyo3::types::PyString>,
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if cfg!(Py_3_13) {
        server.call_method1(method, (transport,)).map(drop)
    } else {
        server.call_method0(method).map(drop)
    }
}

/// Tells the protocol, closes the socket, lets go of everything.
fn call_connection_lost<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    error: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let told = match this.protocol.get(py) {
        Some(protocol) => protocol.call_method1(intern!(py, "connection_lost"), (error,)).map(drop),
        None => Ok(()),
    };
    this.close_socket(py);
    for slot in [&this.protocol, &this.receive, &this.updated, &this.event_loop, &this.context] {
        slot.clear();
    }
    if let Some(server) = this.server.take(py) {
        tell_server(&server, intern!(py, "_detach"), this.as_any())?;
    }
    told?;
    none(py)
}

pub(super) fn none(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    Ok(py.None().into_bound(py))
}

fn close<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.close()?;
    none(this.py())
}

fn abort<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.force_close(None)?;
    none(this.py())
}

fn force_close<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    error: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.force_close((!error.is_none()).then(|| PyErr::from_value(error.clone())))?;
    none(this.py())
}

fn is_closing<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), this.closing.get()).to_owned().into_any())
}

fn is_reading<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let reading = !this.closing.get() && !this.paused.get();
    Ok(PyBool::new(this.py(), reading).to_owned().into_any())
}

fn pause_reading<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    if !this.closing.get() {
        this.paused.set(true);
    }
    none(this.py())
}

fn resume_reading<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if !this.closing.get() && this.paused.replace(false) && this.wants_read() {
        this.with_loop(py, |event_loop| {
            this.enqueue(event_loop);
            Ok(())
        })?;
    }
    none(py)
}

fn get_protocol<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.protocol.get_or_none(this.py()))
}

fn set_protocol<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    protocol: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.set_protocol(protocol)?;
    none(this.py())
}

fn get_loop<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.event_loop.get_or_none(this.py()))
}

/// `loop.start_tls()` asks for this attribute.
fn start_tls_compatible<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), true).to_owned().into_any())
}

/// Builds the class. Raises what the import of `asyncio` raises.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let mut methods = vec![
        method0!(StreamTransport, c"close", close, c"Close after the write buffer is sent."),
        method0!(StreamTransport, c"abort", abort, c"Close at once."),
        method1!(
            StreamTransport,
            c"_force_close",
            force_close,
            c"Close at once, because of an error."
        ),
        method1!(
            StreamTransport,
            c"_call_connection_lost",
            call_connection_lost,
            c"Tell the protocol of the connection's end and close the socket."
        ),
        method0!(
            StreamTransport,
            c"is_closing",
            is_closing,
            c"Return True if it is closing or closed."
        ),
        method0!(StreamTransport, c"is_reading", is_reading, c"Return True if it is receiving."),
        method0!(
            StreamTransport,
            c"pause_reading",
            pause_reading,
            c"Stop to call data_received()."
        ),
        method0!(
            StreamTransport,
            c"resume_reading",
            resume_reading,
            c"Call data_received() again."
        ),
        method0!(StreamTransport, c"get_protocol", get_protocol, c"Return the current protocol."),
        method1!(StreamTransport, c"set_protocol", set_protocol, c"Set a new protocol."),
    ];
    methods.extend(write::methods());
    methods.extend(limits::methods());
    methods.extend(info::methods());
    let mut attributes = vec![
        attribute!(StreamTransport, c"_loop", get_loop),
        attribute!(StreamTransport, c"_protocol", get_protocol),
        attribute!(StreamTransport, c"_start_tls_compatible", start_tls_compatible),
    ];
    attributes.extend(info::attributes());
    build::<StreamTransport>(
        py.import("asyncio.transports")?.getattr("Transport")?.cast()?,
        Definition {
            doc: Some(c"A connected TCP or Unix stream socket."),
            methods,
            attributes,
            slots: vec![unary_slot!(StreamTransport, pyo3::ffi::Py_tp_repr, info::repr)],
            weak_references: true,
            ..Definition::default()
        },
    )
}
