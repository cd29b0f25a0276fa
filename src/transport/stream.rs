//! `StreamTransport`: the life of a connected stream socket.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use ferrio_reactor::{Readiness, WriteQueue};
use pyo3::ffi::PyObject;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyType};
use socket2::SockRef;

use super::address::Address;
use super::close::{Closing, closing_methods};
use super::endpoint::Endpoint;
use super::info::{self, SocketTransport, info_attributes, info_methods};
use super::life::Transport;
use super::limits::{self, FlowControl, Limits, flow_control_methods};
use super::rest::Rests;
use super::tls::TlsTransport;
use super::write::{self, Chunk};
use super::{clients, gather, read, sendfile};
use crate::event_loop::Loop;
use crate::event_loop::connect::is_tcp;
use crate::event_loop::handle::Handle;
use crate::event_loop::ready::Ready;
use crate::event_loop::sockets::is_plain;
use crate::event_loop::sources::Source;
use crate::ffi::error::both;
use crate::ffi::prefetch::prefetch;
use crate::ffi::{
    Class, ClassCell, Definition, Owned, Ref, Slot, Traversal, Visit, build, call, os_error,
};
use crate::streams;
use crate::{attribute, method_named1, method0, unary_slot};

/// The fields of `ferrio.StreamTransport`.
#[derive(Default)]
pub struct StreamTransport {
    pub(super) event_loop: Slot,
    pub(super) protocol: Slot,
    /// The context that the protocol receives in: that of who made the transport or resumed reading.
    pub(super) context: Slot,
    /// The context that the write buffer is sent in: that of who first wrote into it.
    pub(super) write_context: Slot,
    pub(super) server: Slot,
    waiter: Slot,
    pub(super) endpoint: Endpoint,

    /// Whether the protocol is an `asyncio.BufferedProtocol`.
    pub(super) buffered: Cell<bool>,
    /// Whether the protocol is a [`TlsTransport`], which is called without Python's help.
    pub(super) encrypted: Cell<bool>,
    /// Whether the protocol is a stream's, whose reader takes what is received without Python's help.
    pub(super) streamed: Cell<bool>,
    /// Whether an entry of the loop's ready queue stands for this transport.
    queued: Cell<bool>,
    /// Whether the protocol's `connection_made` was called.
    pub(super) started: Cell<bool>,
    /// Whether the socket may have something to read, as far as the poller told.
    pub(super) readable: Cell<bool>,
    /// Whether the peer has sent its last byte: reading goes on until the end is seen.
    pub(super) hung_up: Cell<bool>,
    /// Whether a read that left room took all there was. Not so for Unix sockets, where a read stops where file
    /// descriptors were sent along, and not once urgent data has come, where it stops as well.
    pub(super) short_read_drains: Cell<bool>,
    /// Whether the last read gave much.
    pub(super) bulk: Cell<bool>,
    /// Whether the end of the stream was read.
    pub(super) ended: Cell<bool>,
    pub(super) paused: Cell<bool>,
    /// Whether the poller was told to forget the socket meanwhile; see [`Rests`].
    pub(super) resting: Cell<bool>,
    pub(super) closing: Cell<bool>,
    /// Counts the writes after the connection was lost, from 1.
    pub(super) lost: Cell<u32>,

    pub(super) outgoing: RefCell<WriteQueue<Chunk>>,
    /// Whether the socket took less than it was offered, and the poller has not said since that it takes more.
    pub(super) full: Cell<bool>,
    pub(super) eof_written: Cell<bool>,
    /// The loop's turn in which something was last written.
    pub(super) write_turn: Cell<u64>,
    /// Whether that turn wrote more than once.
    pub(super) wrote_several: Cell<bool>,
    pub(super) flush_queued: Cell<bool>,
    /// What ends when the write buffer is empty, while a file is sent.
    pub(super) empty_waiter: Slot,
    /// What ends when the socket takes more of a file.
    pub(super) room_waiter: Slot,
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
        self.fd().is_some()
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        let py = this.py();
        this.warn_unclosed();
        this.endpoint.close(py);
        // Older servers only count their connections, and asyncio leaves the count as it is.
        if cfg!(Py_3_13)
            && let Err(error) = this.leave_server()
        {
            error.write_unraisable(py, Some(this.as_any()));
        }
    }
}

impl Transport for StreamTransport {
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }

    fn protocol(&self) -> &Slot {
        &self.protocol
    }

    /// From Python 3.15 on, all callbacks of a connection share the context in which it was made.
    fn callback_context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.context.get(py) {
            Some(context) if cfg!(Py_3_15) => Ok(context),
            _ => call::copy_context(py),
        }
    }
}

impl FlowControl for StreamTransport {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn buffer_size(&self) -> usize {
        self.outgoing.borrow().len()
    }

    fn has_unsent(&self) -> bool {
        !self.outgoing.borrow().is_empty()
    }

    fn send_gathered(this: Ref<'_, '_, Self>) -> PyResult<()> {
        gather::send_gathered(this)
    }
}

impl SocketTransport for StreamTransport {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn closing(&self) -> &Cell<bool> {
        &self.closing
    }

    fn is_polling(&self) -> bool {
        self.started.get() && self.reads() && !self.ended.get()
    }
}

impl Rests for StreamTransport {
    fn resting(&self) -> &Cell<bool> {
        &self.resting
    }

    fn is_quiet(&self) -> bool {
        self.started.get()
            && (self.ended.get() || self.paused.get())
            && self.outgoing.borrow().is_empty()
            && self.room_waiter.is_empty()
    }

    fn source(this: Ref<'_, '_, Self>) -> Source {
        Source::Stream(this.to_owned())
    }
}

impl Closing for StreamTransport {
    type Unsent = Vec<Chunk>;

    fn lost(&self) -> &Cell<u32> {
        &self.lost
    }

    fn send_above(this: Ref<'_, '_, Self>) -> PyResult<()> {
        this.flush_encryption()
    }

    fn take_unsent(this: Ref<'_, '_, Self>) -> Vec<Chunk> {
        gather::send_last(this);
        this.outgoing.borrow_mut().drain()
    }

    fn let_go(this: Ref<'_, '_, Self>) -> PyResult<()> {
        this.tell_sendfile_lost(None)?;
        this.context.clear();
        this.write_context.clear();
        this.leave_server()
    }
}

impl StreamTransport {
    fn slots(&self) -> [&Slot; 12] {
        let [socket, shown_socket, extra] = self.endpoint.slots();
        [
            &self.event_loop,
            &self.protocol,
            &self.context,
            &self.write_context,
            &self.server,
            &self.waiter,
            socket,
            shown_socket,
            extra,
            &self.empty_waiter,
            &self.room_waiter,
            self.limits.shown(),
        ]
    }

    /// A transport without a socket yet: [`take`](Self::take) or [`adopt`](Self::adopt) gives it one.
    ///
    /// The methods of `protocol` are called in `context`.
    pub fn create<'py>(
        event_loop: Ref<'_, 'py, Loop>,
        protocol: &Bound<'py, PyAny>,
        context: Bound<'py, PyAny>,
    ) -> PyResult<Owned<Self>> {
        let py = event_loop.py();
        let transport = Owned::<Self>::alloc(py)?;
        let this = transport.get(py);
        this.event_loop.set(event_loop.to_any());
        this.context.set(context);
        this.set_protocol(protocol)?;
        Ok(transport)
    }

    fn note_family(&self) {
        let internet = self.endpoint.local().as_ref().is_some_and(Address::is_internet);
        self.short_read_drains.set(internet);
    }

    /// Takes over a connected, non-blocking socket and what is known of its peer.
    pub fn take(&self, socket: OwnedFd, peer: Option<Address>) {
        self.endpoint.take(socket, peer);
        self.note_family();
    }

    /// Takes over `socket`, a Python socket whose descriptor is `fd`.
    pub fn adopt<'py>(
        &self,
        socket: &Bound<'py, PyAny>,
        fd: RawFd,
        extra: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = socket.py();
        self.endpoint.adopt(socket, fd, extra)?;
        self.note_family();
        // What `asyncio.base_events._set_nodelay` does.
        if is_plain(socket)? {
            let internet = self.endpoint.local().as_ref().is_some_and(Address::is_internet);
            return if internet && is_tcp(socket)? { set_nodelay(fd) } else { Ok(()) };
        }
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
            clients::attach(server, this.as_any())?;
        }
        Ok(())
    }

    /// Begins to watch the socket, and schedules `connection_made` and what follows it.
    pub fn start(this: Ref<'_, '_, Self>) -> PyResult<()> {
        let py = this.py();
        let (Some(protocol), Some(fd)) = (this.protocol.get(py), this.fd()) else { return Ok(()) };
        let made = protocol.getattr(intern!(py, "connection_made"))?;
        let context = this.callback_context(py)?;
        this.with_loop(|event_loop| {
            let handle = Handle::create1_for_turn(event_loop, made, this.to_any(), context)?;
            event_loop.watch(py, fd, Source::Stream(this.to_owned()))?;
            event_loop.push_handle(handle, py);
            this.enqueue(event_loop);
            Ok(())
        })
    }

    /// The socket's descriptor while it is open.
    #[inline]
    pub(super) fn fd(&self) -> Option<RawFd> {
        self.endpoint.fd()
    }

    /// Takes note of what the poller saw. Returns whether an entry for the ready queue is needed.
    pub fn note(&self, readiness: &Readiness) -> bool {
        if readiness.wakes_reader() {
            self.readable.set(true);
        }
        if readiness.read_closed || readiness.error {
            self.hung_up.set(true);
        }
        if readiness.urgent {
            self.short_read_drains.set(false);
        }
        if readiness.wakes_writer() {
            self.full.set(false);
        }
        let room = !self.room_waiter.is_empty() && !self.full.get();
        let wanted = self.wants_read() || self.wants_write() || room;
        wanted && !self.queued.replace(true)
    }

    /// What `is_reading()` returns.
    pub(super) fn reads(&self) -> bool {
        !self.closing.get() && !self.paused.get()
    }

    pub(super) fn wants_read(&self) -> bool {
        self.readable.get() && self.started.get() && self.reads() && !self.ended.get()
    }

    pub(super) fn wants_write(&self) -> bool {
        !self.full.get() && self.lost.get() == 0 && !self.outgoing.borrow().is_empty()
    }

    /// Takes `protocol` for what comes in from now on.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.buffered.set(is_buffered(protocol)?);
        self.encrypted.set(Ref::<TlsTransport>::cast_exact(protocol).is_some());
        self.streamed.set(streams::is_direct(protocol));
        self.protocol.set(protocol.clone());
        Ok(())
    }
}

impl Ref<'_, '_, StreamTransport> {
    /// Asks for the memory of the transport.
    #[inline]
    pub fn prefetch(self) {
        prefetch(self.as_ptr(), size_of::<PyObject>() + size_of::<StreamTransport>());
    }

    /// Asks for the memory of the protocol and the context.
    #[inline]
    pub fn prefetch_named(self) {
        // What an instance of a Python class has before it and behind it: where its attributes are.
        let before = 4 * size_of::<usize>();
        prefetch(self.protocol.as_ptr().cast::<u8>().wrapping_sub(before), 128);
        prefetch(self.context.as_ptr(), size_of::<PyObject>());
    }

    /// Puts the transport into its loop's ready queue, unless it stands there already.
    pub(super) fn enqueue(self, event_loop: Ref<'_, '_, Loop>) {
        if !self.queued.replace(true) {
            event_loop.push(Ready::Stream(self.to_owned()));
        }
    }

    /// The transport's turn: its socket is ready, or its life begins.
    ///
    /// Raises `KeyboardInterrupt` and `SystemExit` from the protocol's methods, what `connection_lost` raises, and the
    /// system's error when the way out can't be shut down.
    pub fn on_ready(self) -> PyResult<()> {
        self.queued.set(false);
        let outcome = if self.started.replace(true) { self.transfer() } else { self.begin() };
        // Also after an interrupt: the poller doesn't tell again what it has told.
        if self.wants_read() || self.wants_write() {
            self.with_loop(|event_loop| {
                self.enqueue(event_loop);
                Ok(())
            })?;
        }
        // It may have been paused before its life began.
        both(self.py(), outcome, self.rest())
    }

    /// Receives, then sends: a peer that goes away may have said why, and to send then finds out that it is gone.
    fn transfer(self) -> PyResult<()> {
        let received = self.receive();
        both(self.py(), received, self.send())
    }

    fn receive(self) -> PyResult<()> {
        if self.wants_read()
            && let Some(context) = self.context.get(self.py())
        {
            call::in_context(&context, || read::read_once(self))?;
        }
        Ok(())
    }

    fn send(self) -> PyResult<()> {
        if self.wants_write()
            && let Some(context) = self.write_context.get(self.py())
        {
            call::in_context(&context, || write::send_and_settle(self))?;
        }
        if self.has_awaited_room() { self.tell_room() } else { Ok(()) }
    }

    /// Tells who waits for the connection; `connection_made` was called before.
    fn begin(self) -> PyResult<()> {
        let py = self.py();
        if let Some(waiter) = self.waiter.take(py)
            && !waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()?
        {
            waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
        }
        Ok(())
    }

    /// Leaves the server's list of connections.
    fn leave_server(self) -> PyResult<()> {
        let py = self.py();
        match self.server.take(py) {
            Some(server) => clients::detach(&server, self.as_any()),
            None => Ok(()),
        }
    }
}

/// Switches Nagle's algorithm off. Raises the system's error.
fn set_nodelay(fd: RawFd) -> PyResult<()> {
    // SAFETY: the caller's descriptor is open, and is only borrowed for the call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    SockRef::from(&socket).set_tcp_nodelay(true).map_err(os_error)
}

/// Whether `protocol` is an `asyncio.BufferedProtocol`.
pub(super) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    protocol.is_instance(CLASS.import(protocol.py(), "asyncio.protocols", "BufferedProtocol")?)
}

pub(super) fn none(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    Ok(py.None().into_bound(py))
}

fn get_protocol<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.protocol.get_or_none(this.py()))
}

fn set_protocol<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    protocol: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // Whether the old one has to pause is its own affair.
    this.pause_protocol_if_full()?;
    // What was written so far is the old one's to encrypt.
    this.flush_encryption()?;
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
        method0!(StreamTransport, c"get_protocol", get_protocol, c"Return the current protocol."),
        method_named1!(
            StreamTransport,
            "set_protocol",
            "protocol",
            set_protocol,
            c"Set a new protocol."
        ),
    ];
    methods.extend(closing_methods!(StreamTransport));
    methods.extend(read::methods());
    methods.extend(write::methods());
    methods.extend(flow_control_methods!(StreamTransport));
    methods.extend(info_methods!(StreamTransport));
    methods.extend(sendfile::methods());
    let mut attributes = vec![
        attribute!(StreamTransport, c"_loop", get_loop),
        attribute!(StreamTransport, c"_protocol", get_protocol),
        attribute!(StreamTransport, c"_start_tls_compatible", start_tls_compatible),
        attribute!(StreamTransport, c"_sendfile_compatible", sendfile::compatible),
        attribute!(
            StreamTransport,
            c"_protocol_paused",
            limits::protocol_paused::<StreamTransport>
        ),
    ];
    attributes.extend(info_attributes!(StreamTransport));
    build::<StreamTransport>(
        // Not only `Transport`: asyncio's `sendfile` wants to see flow control.
        py.import("asyncio.transports")?.getattr("_FlowControlMixin")?.cast()?,
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
