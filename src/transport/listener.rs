//! `Listener`: a listening socket, which makes a stream transport of every connection.

use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};

use pyo3::intern;
use pyo3::prelude::*;
use socket2::{SockAddr, SockRef, Socket};

use super::address::Address;
use super::stream::StreamTransport;
use crate::event_loop::sources::Source;
use crate::event_loop::{Loop, is_exit};
use crate::ffi::{
    Class, ClassCell, Definition, Owned, Ref, Slot, Traversal, Visit, build, call, os_error,
};
use crate::method0;

/// How long accepting rests when file descriptors or memory ran out, in seconds: asyncio's own delay.
const ACCEPT_RETRY_DELAY: f64 = 1.0;

/// The fields of a listener. Python code doesn't see it.
#[derive(Default)]
pub struct Listener {
    event_loop: Slot,
    protocol_factory: Slot,
    /// The Python socket, whose owner is the server.
    socket: Slot,
    /// The server, if one counts the connections.
    server: Slot,
    context: Slot,
    fd: Cell<RawFd>,
    /// How many connections one turn accepts at the most.
    backlog: Cell<i64>,
    /// Whether the sockets of this family have Nagle's algorithm to switch off.
    tcp: Cell<bool>,
    closed: Cell<bool>,
}

static LISTENER: ClassCell = ClassCell::new();

impl Class for Listener {
    const NAME: &'static CStr = c"ferrio._ferrio.Listener";

    fn class() -> &'static ClassCell {
        &LISTENER
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        for slot in self.slots() {
            visit.slot(slot)?;
        }
        Ok(())
    }

    fn clear(&self) {
        for slot in self.slots() {
            slot.clear();
        }
    }
}

impl Listener {
    fn slots(&self) -> [&Slot; 5] {
        [&self.event_loop, &self.protocol_factory, &self.socket, &self.server, &self.context]
    }

    /// A listener for `fd`, the descriptor of the listening Python socket `socket`.
    ///
    /// Each connection gets a copy of `context`, in which its protocol is made and called.
    pub fn create<'py>(
        event_loop: Ref<'_, 'py, Loop>,
        socket: &Bound<'py, PyAny>,
        fd: RawFd,
        protocol_factory: &Bound<'py, PyAny>,
        server: Option<&Bound<'py, PyAny>>,
        backlog: i64,
        context: Bound<'py, PyAny>,
    ) -> PyResult<Owned<Self>> {
        let py = event_loop.py();
        let listener = Owned::<Self>::alloc(py)?;
        let this = listener.get(py);
        this.event_loop.set(event_loop.to_any());
        this.protocol_factory.set(protocol_factory.clone());
        this.socket.set(socket.clone());
        this.server.set_opt(server.cloned(), py);
        this.context.set(context);
        this.fd.set(fd);
        this.backlog.set(backlog.max(1));
        this.tcp.set(matches!(
            SockRef::from(&borrowed(fd)).local_addr(),
            Ok(address) if address.is_ipv4() || address.is_ipv6()
        ));
        Ok(listener)
    }

    /// Accepts no more.
    pub fn close(&self) {
        self.closed.set(true);
    }

    fn accepted(
        &self,
        event_loop: Ref<'_, '_, Loop>,
        socket: Socket,
        peer: Address,
        context: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = event_loop.py();
        if self.tcp.get() {
            // A peer that is gone already is found out by the first read.
            let _gone = socket.set_tcp_nodelay(true);
        }
        let Some(factory) = self.protocol_factory.get(py) else { return Ok(()) };
        let mut made = None;
        let logged =
            if event_loop.debug() { self.log_connection(&socket, &peer, py) } else { Ok(()) };
        let outcome = logged.and_then(|()| call::call0(&factory)).and_then(|protocol| {
            made = Some(protocol.clone());
            let transport = StreamTransport::create(event_loop, &protocol, context.clone())?;
            let transport = transport.get(py);
            transport.take(socket.into(), Some(peer));
            StreamTransport::belongs_to(transport, self.server.get(py).as_ref(), None)?;
            StreamTransport::start(transport)
        });
        match outcome {
            Err(error) if event_loop.debug() || is_exit(py, &error) => {
                let message = "Error on transport creation for incoming connection";
                let protocol = made.filter(|protocol| !protocol.is_none());
                let details = protocol.map(|protocol| ("protocol", protocol));
                Loop::report(event_loop, error, message, details.as_slice())
            }
            // asyncio is silent about it outside of debug mode.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Logs a connection that was accepted, as debug mode does.
    fn log_connection(&self, socket: &Socket, peer: &Address, py: Python<'_>) -> PyResult<()> {
        // No Python socket has the descriptor yet: one is made to be shown, and lets go of it.
        let listening = self.socket.get_or_none(py);
        let [family, kind, protocol] =
            ["family", "type", "proto"].map(|name| listening.getattr(name));
        let arguments = (family?, kind?, protocol?, socket.as_raw_fd());
        let python_socket = py.import("socket")?.getattr("socket")?.call1(arguments)?;
        let shown = python_socket.repr();
        python_socket.call_method0("detach")?;
        let logger = py.import("asyncio.log")?.getattr("logger")?;
        let server = self.server.get_or_none(py);
        let message = "%r got a new connection from %r: %s";
        logger.call_method1("debug", (message, server, peer.to_python(py)?, shown?)).map(drop)
    }
}

impl Ref<'_, '_, Listener> {
    /// The listener's turn: accepts what waits, at most as much as the backlog holds.
    ///
    /// Raises only `KeyboardInterrupt` and `SystemExit`, from the protocol factory.
    pub fn on_ready(self) -> PyResult<()> {
        let py = self.py();
        for _ in 0..self.backlog.get() {
            if self.closed.get() {
                return Ok(());
            }
            let (Some(event_loop), Some(context)) = (self.event_loop.get(py), self.context.get(py))
            else {
                return Ok(());
            };
            let Some(event_loop) = Ref::<Loop>::cast(&event_loop) else { return Ok(()) };
            match accept(self.fd.get()) {
                Ok((socket, peer)) => {
                    let peer = Address::new(peer);
                    let context = call::copy_of(&context)?;
                    call::in_context(&context, || {
                        self.accepted(event_loop, socket, peer, &context)
                    })?;
                }
                Err(error) => return self.refused(event_loop, error),
            }
        }
        Ok(())
    }

    /// Looks at why nothing was accepted.
    fn refused(self, event_loop: Ref<'_, '_, Loop>, error: io::Error) -> PyResult<()> {
        let py = event_loop.py();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR | libc::ECONNABORTED) => Ok(()),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                let socket = self.socket.get_or_none(py);
                let shown =
                    py.import("asyncio.trsock")?.getattr("TransportSocket")?.call1((socket,))?;
                let message = "socket.accept() out of system resource";
                Loop::report(event_loop, os_error(error), message, &[("socket", shown)])?;
                event_loop.unwatch(self.fd.get());
                let resume = self.as_any().getattr(intern!(py, "resume"))?;
                let arguments = (ACCEPT_RETRY_DELAY, resume);
                event_loop.as_any().call_method1(intern!(py, "call_later"), arguments)?;
                Ok(())
            }
            _ => Err(os_error(error)),
        }
    }
}

/// Watches the socket again after a rest, unless it was closed meanwhile.
fn resume<'py>(this: Ref<'_, 'py, Listener>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let still_open = match this.socket.get(py) {
        Some(socket) => {
            socket.call_method0(intern!(py, "fileno"))?.extract::<RawFd>()? == this.fd.get()
        }
        None => false,
    };
    if still_open
        && let Some(event_loop) = this.event_loop.get(py)
        && let Some(event_loop) = Ref::<Loop>::cast(&event_loop)
    {
        event_loop.watch(py, this.fd.get(), Source::Listener(this.to_owned()))?;
    }
    Ok(py.None().into_bound(py))
}

fn borrowed(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the server keeps the listening socket open until it has called `_stop_serving`.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Accepts one connection; its socket doesn't block and isn't inherited.
fn accept(fd: RawFd) -> io::Result<(Socket, SockAddr)> {
    #[cfg(target_os = "linux")]
    {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the storage and its length are those of a `SockAddr` in the making.
        let (accepted, peer) = unsafe {
            SockAddr::try_init(|storage, length| {
                match libc::accept4(fd, storage.cast(), length, flags) {
                    -1 => Err(io::Error::last_os_error()),
                    accepted => Ok(accepted),
                }
            })
        }?;
        // SAFETY: the kernel just made the descriptor, which nobody else knows.
        Ok((unsafe { Socket::from_raw_fd(accepted) }, peer))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (socket, peer) = SockRef::from(&borrowed(fd)).accept()?;
        socket.set_nonblocking(true)?;
        Ok((socket, peer))
    }
}

/// Builds the class. Raises what `PyType_FromSpecWithBases` raises.
pub fn define(py: Python<'_>) -> PyResult<()> {
    build::<Listener>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"A listening socket."),
            methods: vec![method0!(Listener, c"resume", resume, c"Accept again.")],
            ..Definition::default()
        },
    )
    .map(drop)
}
