//! `TlsTransport`: an encrypted connection on top of another transport.
//!
//! It is two things at once. To the program it is the transport; to the transport below, most often a
//! [`StreamTransport`], it is the protocol. It behaves as `asyncio.sslproto` does, whose states and names it has.
//!
//! - `engine.rs`: what encrypts, behind one trait; `openssl.rs` and `wire.rs`, `memory_bio.rs`: its two implementations;
//! - `handshake.rs`, `shutdown.rs`: the beginning and the end;
//! - `read.rs`, `write.rs`: the way of the bytes in and out;
//! - `flow.rs`: the water marks and pauses of both directions.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::CStr;

use pyo3::exceptions::{PyNotImplementedError, PyResourceWarning};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyType};

use self::engine::Engine;
use self::flow::Flow;
use super::stream::{StreamTransport, is_buffered, none};
use crate::event_loop::Loop;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Owned, Ref, Signature, Slot, Traversal, Visit, build,
};
use crate::stdlib::stdlib;
use crate::{attribute, method, method0};

pub mod engine;
mod flow;
mod handshake;
mod memory_bio;
mod openssl;
mod read;
mod shutdown;
mod wire;
mod write;

/// Where the connection stands, in the words of `asyncio.sslproto.SSLProtocolState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No handshake yet, or no connection any more.
    #[default]
    Unwrapped,
    DoHandshake,
    Wrapped,
    /// The end has begun: what came is still delivered.
    Flushing,
    /// `close_notify` is on its way.
    Shutdown,
}

/// What the program's protocol was told.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Made,
    Eof,
    Lost,
}

/// The fields of `ferrio.TlsTransport`.
#[derive(Default)]
pub struct TlsTransport {
    event_loop: Slot,
    /// The transport below, from its `connection_made` to its `connection_lost`.
    lower: Slot,
    protocol: Slot,
    /// `get_buffer` of a buffered protocol.
    receive: Slot,
    /// `buffer_updated` of a buffered protocol.
    updated: Slot,
    waiter: Slot,
    ssl_object: Slot,
    /// A dictionary: what `get_extra_info` tells of the encryption.
    extra: Slot,
    engine: OnceCell<Box<dyn Engine>>,
    /// Seconds, as the program gave them.
    handshake_timeout: Slot,
    shutdown_timeout: Slot,
    handshake_timer: Slot,
    shutdown_timer: Slot,
    /// When the handshake began, by the loop's clock, in debug mode.
    handshake_start: Slot,

    state: Cell<State>,
    told: Cell<Told>,
    /// Whether a server accepted it: then a failed handshake has nobody else to tell.
    accepted: Cell<bool>,
    closed: Cell<bool>,
    /// Whether it was closed again: the program needs nothing more of it.
    dismissed: Cell<bool>,
    /// Counts the writes after the connection was lost, from 1.
    lost: Cell<u32>,
    eof_received: Cell<bool>,
    /// Plain bytes that are not yet encrypted.
    backlog: RefCell<Vec<u8>>,
    flow: Flow,
}

static TLS: ClassCell = ClassCell::new();

impl Class for TlsTransport {
    // With "ssl", as the name of asyncio's, by which programs tell an encrypted transport.
    const NAME: &'static CStr = c"ferrio.SSLTransport";
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &TLS
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        for slot in self.slots() {
            visit.slot(slot)?;
        }
        self.engine.get().map_or(Ok(()), |engine| engine.traverse(visit))
    }

    fn clear(&self) {
        for slot in self.slots() {
            slot.clear();
        }
        if let Some(engine) = self.engine.get() {
            engine.clear();
        }
    }

    fn must_finalize(&self) -> bool {
        !self.closed.get() && self.engine.get().is_some()
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        let py = this.py();
        this.closed.set(true);
        let warned = this.as_any().repr().and_then(|repr| {
            let message = format!("unclosed transport {repr}");
            stdlib(py).warn.bind(py).call1((message, py.get_type::<PyResourceWarning>()))
        });
        if let Err(error) = warned {
            error.write_unraisable(py, Some(this.as_any()));
        }
    }
}

/// What a TLS connection begins with.
struct Beginning<'a, 'py> {
    event_loop: Ref<'a, 'py, Loop>,
    protocol: Bound<'py, PyAny>,
    sslcontext: Bound<'py, PyAny>,
    ssl_object: Bound<'py, PyAny>,
    incoming: Bound<'py, PyAny>,
    outgoing: Bound<'py, PyAny>,
}

impl TlsTransport {
    fn slots(&self) -> [&Slot; 13] {
        [
            &self.event_loop,
            &self.lower,
            &self.protocol,
            &self.receive,
            &self.updated,
            &self.waiter,
            &self.ssl_object,
            &self.extra,
            &self.handshake_timeout,
            &self.shutdown_timeout,
            &self.handshake_timer,
            &self.shutdown_timer,
            &self.handshake_start,
        ]
    }

    fn create(from: Beginning<'_, '_>) -> PyResult<Owned<Self>> {
        let py = from.event_loop.py();
        let transport = Owned::<Self>::alloc(py)?;
        let this = transport.get(py);
        this.event_loop.set(from.event_loop.to_any());
        let extra = PyDict::new(py);
        extra.set_item("sslcontext", from.sslcontext)?;
        this.extra.set(extra.into_any());
        this.set_protocol(&from.protocol)?;
        let engine = engine::choose(&from.ssl_object, &from.incoming, &from.outgoing)?;
        this.ssl_object.set(from.ssl_object);
        let _first = this.engine.set(engine);
        Ok(transport)
    }

    /// The engine, once [`create`](Self::create) has made it.
    fn engine(&self) -> &dyn Engine {
        self.engine.get().expect("every instance is made with one").as_ref()
    }

    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        if is_buffered(protocol)? {
            self.receive.set(protocol.getattr(intern!(py, "get_buffer"))?);
            self.updated.set(protocol.getattr(intern!(py, "buffer_updated"))?);
        } else {
            self.receive.clear();
            self.updated.clear();
        }
        self.protocol.set(protocol.clone());
        Ok(())
    }
}

impl<'py> Ref<'_, 'py, TlsTransport> {
    /// Runs `body` with the transport below, if that is ferrio's own.
    fn with_stream<R>(
        self,
        body: impl FnOnce(Ref<'_, 'py, StreamTransport>) -> PyResult<R>,
    ) -> Option<PyResult<R>> {
        let lower = self.lower.get(self.py())?;
        Ref::<StreamTransport>::cast_exact(&lower).map(body)
    }

    /// Schedules the call of one of this transport's own methods.
    fn call_soon(self, callback: Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        let event_loop = self.event_loop.get_or_none(py);
        event_loop.call_method1(intern!(py, "call_soon"), (callback,)).map(drop)
    }

    /// Whether the loop is in debug mode.
    fn debug(self) -> bool {
        self.event_loop
            .get(self.py())
            .is_some_and(|event_loop| Ref::<Loop>::cast(&event_loop).is_some_and(|it| it.debug()))
    }

    fn logger(self) -> PyResult<Bound<'py, PyAny>> {
        self.py().import("asyncio.log")?.getattr("logger")
    }
}

fn get_extra_info<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [name, default] = args.parse(&Signature {
        name: "get_extra_info",
        parameters: ["name", "default"],
        positional: 2,
        required: 1,
    })?;
    let default = default.map_or_else(|| none(py), |default| Ok(default.to_owned()))?;
    let Some(name) = name else { return Ok(default) };
    if let Some(extra) = this.extra.get(py)
        && let Some(value) = extra.cast::<PyDict>()?.get_item(name)?
    {
        return Ok(value);
    }
    match this.lower.get(py) {
        Some(lower) => lower.call_method1(intern!(py, "get_extra_info"), (name, default)),
        None => Ok(default),
    }
}

fn get_protocol<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.protocol.get_or_none(this.py()))
}

fn set_protocol<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let [protocol] = args.parse(&Signature {
        name: "set_protocol",
        parameters: ["protocol"],
        positional: 1,
        required: 1,
    })?;
    if let Some(protocol) = protocol {
        this.set_protocol(&protocol)?;
    }
    none(this.py())
}

fn is_closing<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if !this.closed.get()
        && asks_below(py)?
        && let Some(lower) = this.lower.get(py)
    {
        return lower.call_method0(intern!(py, "is_closing"));
    }
    boolean(py, this.closed.get())
}

/// Whether a transport of this asyncio is closing when the connection below is: newer ones say so.
fn asks_below(py: Python<'_>) -> PyResult<bool> {
    static ASKS: PyOnceLock<bool> = PyOnceLock::new();
    ASKS.get_or_try_init(py, || {
        let protocol = py.import("asyncio.sslproto")?.getattr("SSLProtocol")?;
        protocol.hasattr("_is_transport_closing")
    })
    .copied()
}

fn can_write_eof<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), false)
}

fn write_eof<'py>(_: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    Err(PyNotImplementedError::new_err(()))
}

fn boolean(py: Python<'_>, value: bool) -> PyResult<Bound<'_, PyAny>> {
    Ok(PyBool::new(py, value).to_owned().into_any())
}

fn get_loop<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.event_loop.get_or_none(this.py()))
}

/// The transport is its own protocol: what asyncio keeps in a second object.
fn ssl_protocol<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.to_any())
}

fn start_tls_compatible<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), true)
}

/// `loop.sendfile()` asks for this attribute: files are read and written, for they must be encrypted.
fn sendfile_compatible<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.py().import("asyncio.constants")?.getattr("_SendfileMode")?.getattr("FALLBACK")
}

/// A new transport, not yet connected: the protocol for the transport below. `Loop._make_tls` is this.
pub fn make<'py>(
    event_loop: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let given = args.parse(&Signature {
        name: "_make_tls",
        parameters: [
            "protocol",
            "sslcontext",
            "ssl_object",
            "incoming",
            "outgoing",
            "handshake_timeout",
            "shutdown_timeout",
            "waiter",
            "accepted",
            "call_connection_made",
        ],
        positional: 7,
        required: 7,
    })?;
    let [
        Some(protocol),
        Some(sslcontext),
        Some(ssl_object),
        Some(incoming),
        Some(outgoing),
        Some(handshake_timeout),
        Some(shutdown_timeout),
        waiter,
        accepted,
        call_connection_made,
    ] = given
    else {
        return none(py);
    };
    let transport = TlsTransport::create(Beginning {
        event_loop,
        protocol: protocol.to_owned(),
        sslcontext: sslcontext.to_owned(),
        ssl_object: ssl_object.to_owned(),
        incoming: incoming.to_owned(),
        outgoing: outgoing.to_owned(),
    })?;
    let this = transport.get(py);
    this.handshake_timeout.set(handshake_timeout.to_owned());
    this.shutdown_timeout.set(shutdown_timeout.to_owned());
    let waiter = waiter.filter(|waiter| !waiter.is_none()).map(|waiter| waiter.to_owned());
    this.waiter.set_opt(waiter, py);
    this.accepted.set(accepted.map_or(Ok(false), |accepted| accepted.is_truthy())?);
    if !call_connection_made.map_or(Ok(true), |call| call.is_truthy())? {
        this.told.set(Told::Made);
    }
    Ok(transport.into_any(py))
}

/// Builds the class. Raises what the import of `asyncio` raises.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let mut methods = vec![
        method!(
            TlsTransport,
            c"get_extra_info",
            get_extra_info,
            c"get_extra_info($self, /, name, default=None)\n--\n\nReturn 'ssl_object', 'sslcontext', 'peercert', 'cipher', 'compression', what the transport below tells, or the default."
        ),
        method0!(TlsTransport, c"get_protocol", get_protocol, c"Return the current protocol."),
        method!(
            TlsTransport,
            c"set_protocol",
            set_protocol,
            c"set_protocol($self, /, protocol)\n--\n\nSet a new protocol."
        ),
        method0!(
            TlsTransport,
            c"is_closing",
            is_closing,
            c"Return True if it is closing or closed."
        ),
        method0!(TlsTransport, c"can_write_eof", can_write_eof, c"Return False."),
        method0!(TlsTransport, c"write_eof", write_eof, c"Raise NotImplementedError."),
    ];
    methods.extend(handshake::methods());
    methods.extend(shutdown::methods());
    methods.extend(read::methods());
    methods.extend(write::methods());
    methods.extend(flow::methods());
    let mut attributes = vec![
        attribute!(TlsTransport, c"_loop", get_loop),
        attribute!(TlsTransport, c"_ssl_protocol", ssl_protocol),
        attribute!(TlsTransport, c"_start_tls_compatible", start_tls_compatible),
        attribute!(TlsTransport, c"_sendfile_compatible", sendfile_compatible),
    ];
    attributes.extend(flow::attributes());
    build::<TlsTransport>(
        // asyncio's `sendfile()` demands this base of what it writes to.
        py.import("asyncio.transports")?.getattr("_FlowControlMixin")?.cast()?,
        Definition {
            doc: Some(c"An encrypted connection."),
            methods,
            attributes,
            weak_references: true,
            ..Definition::default()
        },
    )
}
