//! `DatagramTransport`: the life of a UDP or Unix datagram socket.
//!
//! - `receive.rs`: the way in, from the socket to the protocol;
//! - `send.rs`: the way out, from `sendto()` to the socket;
//! - `peers.rs`: the addresses of peers, from Python to the kernel and back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::RawFd;

use ferrio_reactor::Readiness;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyType};

use super::address::Address;
use super::close::{Closing, closing_methods};
use super::endpoint::Endpoint;
use super::info::{self, SocketTransport, info_attributes, info_methods};
use super::life::Transport;
use super::limits::{FlowControl, Limits, flow_control_methods};
use super::rest::Rests;
use super::stream::none;
use crate::event_loop::Loop;
use crate::event_loop::handle::Handle;
use crate::event_loop::ready::Ready;
use crate::event_loop::sources::Source;
use crate::ffi::error::both;
use crate::ffi::{Class, ClassCell, Definition, Owned, Ref, Slot, Traversal, Visit, build, call};
use crate::{attribute, method_named1, method0, unary_slot};

mod peers;
mod receive;
mod send;

use peers::Peers;
use send::Waiting;

/// The fields of `ferrio.DatagramTransport`.
#[derive(Default)]
pub struct DatagramTransport {
    event_loop: Slot,
    protocol: Slot,
    /// The context that the protocol receives in: that of who made the transport or resumed reading.
    context: Slot,
    /// The context that the write buffer is sent in: that of who first wrote into it.
    write_context: Slot,
    waiter: Slot,
    /// The only address that may be sent to, if there is but one.
    remote: Slot,
    endpoint: Endpoint,
    way: Cell<Way>,
    connection: Cell<Connection>,
    peers: Peers,

    /// Whether an entry of the loop's ready queue stands for this transport.
    queued: Cell<bool>,
    /// Whether the protocol's `connection_made` was called.
    started: Cell<bool>,
    /// Whether the socket may have something to read, as far as the poller told.
    readable: Cell<bool>,
    paused: Cell<bool>,
    /// Whether the poller has forgotten the socket; see [`Rests`].
    resting: Cell<bool>,
    closing: Cell<bool>,
    /// Counts the writes after the connection was lost, from 1.
    lost: Cell<u32>,

    /// Datagrams that the socket did not take yet, oldest first.
    outgoing: RefCell<VecDeque<Waiting>>,
    /// Their size, in bytes, as asyncio counts it.
    outgoing_size: Cell<usize>,
    /// Whether there is something to do once the socket takes more: datagrams to send, or the end of their sending to
    /// notice.
    writing: Cell<bool>,
    /// Whether the socket refused a datagram, and the poller has not said since that it takes more.
    full: Cell<bool>,
    limits: Limits,
}

/// How the socket is spoken to.
#[derive(Clone, Copy, Default, PartialEq)]
enum Way {
    /// By the methods of the Python socket: a subclass of `socket.socket`, or an unusual family.
    #[default]
    Python,
    /// By system calls, to addresses of this family; `AF_UNIX` ones are left to the Python socket, which parses them.
    System(i32),
}

/// Whether the socket is connected to one peer.
#[derive(Clone, Copy, Default, PartialEq)]
enum Connection {
    #[default]
    None,
    /// To a Unix socket without a path.
    Unnamed,
    Named,
}

static DATAGRAM: ClassCell = ClassCell::new();

impl Class for DatagramTransport {
    const NAME: &'static CStr = c"ferrio.DatagramTransport";
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &DATAGRAM
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        for slot in self.slots() {
            visit.slot(slot)?;
        }
        self.peers.traverse(visit)?;
        self.outgoing.borrow().iter().try_for_each(|waiting| waiting.traverse(visit))
    }

    fn clear(&self) {
        for slot in self.slots() {
            slot.clear();
        }
        drop(self.outgoing.take());
    }

    fn must_finalize(&self) -> bool {
        self.endpoint.fd().is_some()
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        this.warn_unclosed();
        this.endpoint.close(this.py());
    }
}

impl Transport for DatagramTransport {
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }

    fn protocol(&self) -> &Slot {
        &self.protocol
    }
}

impl FlowControl for DatagramTransport {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn buffer_size(&self) -> usize {
        self.outgoing_size.get()
    }

    fn has_unsent(&self) -> bool {
        !self.outgoing.borrow().is_empty()
    }
}

impl SocketTransport for DatagramTransport {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn closing(&self) -> &Cell<bool> {
        &self.closing
    }

    fn is_polling(&self) -> bool {
        self.started.get() && self.reads()
    }
}

impl Closing for DatagramTransport {
    type Unsent = VecDeque<Waiting>;

    fn lost(&self) -> &Cell<u32> {
        &self.lost
    }

    fn take_unsent(this: Ref<'_, '_, Self>) -> VecDeque<Waiting> {
        this.outgoing_size.set(0);
        this.outgoing.take()
    }

    fn let_go(this: Ref<'_, '_, Self>) -> PyResult<()> {
        this.context.clear();
        this.write_context.clear();
        Ok(())
    }
}

impl Rests for DatagramTransport {
    fn resting(&self) -> &Cell<bool> {
        &self.resting
    }

    fn is_quiet(&self) -> bool {
        self.started.get() && self.paused.get() && !self.writing.get()
    }

    fn source(this: Ref<'_, '_, Self>) -> Source {
        Source::Datagram(this.to_owned())
    }
}

impl DatagramTransport {
    fn slots(&self) -> [&Slot; 10] {
        let [socket, shown_socket, extra] = self.endpoint.slots();
        [
            &self.event_loop,
            &self.protocol,
            &self.context,
            &self.write_context,
            &self.waiter,
            &self.remote,
            socket,
            shown_socket,
            extra,
            self.limits.shown(),
        ]
    }

    /// A transport for `socket`, a non-blocking Python socket whose descriptor is `fd`, which it owns from now on.
    ///
    /// Datagrams go to `remote` alone, if that is given, and `waiter` is told when the transport has begun.
    pub fn create<'py>(
        event_loop: Ref<'_, 'py, Loop>,
        socket: &Bound<'py, PyAny>,
        fd: RawFd,
        protocol: &Bound<'py, PyAny>,
        [remote, waiter, extra]: [Option<Bound<'py, PyAny>>; 3],
    ) -> PyResult<Owned<Self>> {
        let py = event_loop.py();
        let transport = Owned::<Self>::alloc(py)?;
        let this = transport.get(py);
        this.event_loop.set(event_loop.to_any());
        this.protocol.set(protocol.clone());
        this.context.set(call::copy_context(py)?);
        this.waiter.set_opt(waiter, py);
        if let Some(remote) = remote
            && remote.is_truthy()?
        {
            this.remote.set(remote);
        }
        this.endpoint.adopt(socket, fd, extra)?;
        if this.endpoint.peer().is_some() {
            let peer = this.endpoint.extra_info(intern!(py, "peername"))?;
            let named = peer.map_or(Ok(false), |peer| peer.is_truthy())?;
            this.connection.set(if named { Connection::Named } else { Connection::Unnamed });
        }
        static SOCKET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        if socket.get_type().is(SOCKET.import(py, "socket", "socket")?)
            && let Some(family) = this.endpoint.local().as_ref().map(Address::family)
            && [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].contains(&family)
        {
            this.way.set(Way::System(family));
        }
        Self::start(this, fd)?;
        Ok(transport)
    }

    /// Begins to watch the socket, and schedules `connection_made` and what follows it.
    fn start(this: Ref<'_, '_, Self>, fd: RawFd) -> PyResult<()> {
        let py = this.py();
        let made = this.protocol.get_or_none(py).getattr(intern!(py, "connection_made"))?;
        let context = call::copy_context(py)?;
        this.with_loop(|event_loop| {
            let handle = Handle::create1_for_turn(event_loop, made, this.to_any(), context)?;
            event_loop.watch(py, fd, Source::Datagram(this.to_owned()))?;
            event_loop.push_handle(handle, py);
            this.enqueue(event_loop);
            Ok(())
        })
    }

    /// Takes note of what the poller saw. Returns whether an entry for the ready queue is needed.
    pub fn note(&self, readiness: &Readiness) -> bool {
        if readiness.wakes_reader() {
            self.readable.set(true);
        }
        if readiness.wakes_writer() {
            self.full.set(false);
        }
        self.wants_turn() && !self.queued.replace(true)
    }

    /// What `is_reading()` returns.
    fn reads(&self) -> bool {
        !self.closing.get() && !self.paused.get()
    }

    fn wants_read(&self) -> bool {
        self.readable.get() && self.started.get() && self.reads()
    }

    fn wants_write(&self) -> bool {
        self.writing.get() && !self.full.get() && self.lost.get() == 0
    }

    fn wants_turn(&self) -> bool {
        self.wants_read() || self.wants_write()
    }
}

impl Ref<'_, '_, DatagramTransport> {
    /// Puts the transport into its loop's ready queue, unless it stands there already.
    fn enqueue(self, event_loop: Ref<'_, '_, Loop>) {
        if !self.queued.replace(true) {
            event_loop.push(Ready::Datagram(self.to_owned()));
        }
    }

    /// Puts the transport into the ready queue if it has something to do.
    fn enqueue_if_needed(self) -> PyResult<()> {
        if !self.wants_turn() {
            return Ok(());
        }
        self.with_loop(|event_loop| {
            self.enqueue(event_loop);
            Ok(())
        })
    }

    /// The transport's turn: its socket is ready, or its life begins.
    ///
    /// Raises what `datagram_received`, `error_received` and `connection_lost` raise.
    pub fn on_ready(self) -> PyResult<()> {
        self.queued.set(false);
        let outcome = if self.started.replace(true) { self.transfer() } else { self.begin() };
        // Also after an exception: the poller doesn't tell again what it has told.
        self.enqueue_if_needed()?;
        both(self.py(), outcome, self.rest())
    }

    fn transfer(self) -> PyResult<()> {
        let py = self.py();
        if self.wants_read()
            && let Some(context) = self.context.get(py)
        {
            call::in_context(&context, || receive::receive(self))?;
        }
        if self.wants_write()
            && let Some(context) = self.write_context.get(py)
        {
            call::in_context(&context, || send::send_waiting(self))?;
        }
        Ok(())
    }

    /// Tells who waits for the transport; `connection_made` was called before.
    fn begin(self) -> PyResult<()> {
        let py = self.py();
        if let Some(waiter) = self.waiter.take(py)
            && !waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()?
        {
            waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
        }
        Ok(())
    }

    /// Tells the protocol of a system's error, which doesn't end the transport. Raises what the protocol raises.
    fn tell_error(self, error: PyErr) -> PyResult<()> {
        let py = self.py();
        let Some(protocol) = self.protocol.get(py) else { return Ok(()) };
        let exception = error.into_value(py);
        protocol.call_method1(intern!(py, "error_received"), (exception,)).map(drop)
    }
}

fn is_reading<'py>(this: Ref<'_, 'py, DatagramTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), this.reads()).to_owned().into_any())
}

fn pause_reading<'py>(this: Ref<'_, 'py, DatagramTransport>) -> PyResult<Bound<'py, PyAny>> {
    if !this.closing.get() && !this.paused.replace(true) {
        this.log("debug", " pauses reading", None)?;
        this.rest()?;
    }
    none(this.py())
}

fn resume_reading<'py>(this: Ref<'_, 'py, DatagramTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.closing.get() || !this.paused.replace(false) {
        return none(py);
    }
    this.end_rest()?;
    this.context.set(call::copy_context(py)?);
    this.enqueue_if_needed()?;
    this.log("debug", " resumes reading", None)?;
    none(py)
}

fn get_protocol<'py>(this: Ref<'_, 'py, DatagramTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.protocol.get_or_none(this.py()))
}

fn set_protocol<'py>(
    this: Ref<'_, 'py, DatagramTransport>,
    protocol: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.protocol.set(protocol.clone());
    none(this.py())
}

fn get_loop<'py>(this: Ref<'_, 'py, DatagramTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.event_loop.get_or_none(this.py()))
}

fn get_address<'py>(this: Ref<'_, 'py, DatagramTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.remote.get_or_none(this.py()))
}

/// Whether the socket is ready for `events` all the same: a Python method of its own may block before the system does, of which
/// the poller tells nothing.
fn is_ready(this: Ref<'_, '_, DatagramTransport>, events: libc::c_short) -> bool {
    let Some(fd) = this.endpoint.fd() else { return false };
    let mut asked = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one structure, which is borrowed for the call. That returns at once.
    let answered = unsafe { libc::poll(&mut asked, 1, 0) };
    answered == 1 && asked.revents & (events | libc::POLLERR | libc::POLLHUP) != 0
}

/// A class that derives from asyncio's base of all transports with a write buffer and from `asyncio.DatagramTransport`, as
/// asyncio's datagram transports do.
fn both_interfaces(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let transports = py.import("asyncio.transports")?;
    let bases =
        (transports.getattr("_FlowControlMixin")?, transports.getattr("DatagramTransport")?);
    let namespace = PyDict::new(py);
    namespace.set_item("__slots__", ())?;
    namespace.set_item("__module__", "ferrio")?;
    let class = py.get_type::<PyType>().call1(("_DatagramTransport", bases, namespace))?;
    Ok(class.cast_into()?)
}

/// Builds the class. Raises what the import of `asyncio` raises.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let mut methods = vec![
        method0!(DatagramTransport, c"is_reading", is_reading, c"Return True if it is receiving."),
        method0!(
            DatagramTransport,
            c"pause_reading",
            pause_reading,
            c"Stop to call datagram_received()."
        ),
        method0!(
            DatagramTransport,
            c"resume_reading",
            resume_reading,
            c"Call datagram_received() again."
        ),
        method0!(DatagramTransport, c"get_protocol", get_protocol, c"Return the current protocol."),
        method_named1!(
            DatagramTransport,
            "set_protocol",
            "protocol",
            set_protocol,
            c"Set a new protocol."
        ),
    ];
    methods.extend(send::methods());
    methods.extend(closing_methods!(DatagramTransport));
    methods.extend(flow_control_methods!(DatagramTransport));
    methods.extend(info_methods!(DatagramTransport));
    let mut attributes = vec![
        attribute!(DatagramTransport, c"_loop", get_loop),
        attribute!(DatagramTransport, c"_protocol", get_protocol),
        attribute!(DatagramTransport, c"_address", get_address),
    ];
    attributes.extend(info_attributes!(DatagramTransport));
    build::<DatagramTransport>(
        &both_interfaces(py)?,
        Definition {
            doc: Some(c"A UDP or Unix datagram socket."),
            methods,
            attributes,
            slots: vec![unary_slot!(DatagramTransport, pyo3::ffi::Py_tp_repr, info::repr)],
            weak_references: true,
            ..Definition::default()
        },
    )
}
