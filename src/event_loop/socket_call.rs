//! What `sock_recv` and its like return: a coroutine that tries the system call first and waits only if it must.

use std::cell::Cell;
use std::os::fd::RawFd;

use pyo3::prelude::*;

use super::sockets::{self, Attempt, Operation};
use super::sources::Direction;
use super::{Loop, none};
use crate::define_coroutine;
use crate::ffi::call::Sent;
use crate::ffi::frame::Place;
use crate::ffi::{Ref, Slot, Traversal, Visit};
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
use crate::task::create_future;

/// The coroutine of a `sock_*` method.
pub type SocketCall = Coroutine<Call>;

/// What a [`SocketCall`] keeps.
#[derive(Default)]
pub struct Call {
    event_loop: Slot,
    socket: Slot,
    /// The arguments behind the socket, as the method of the socket takes them.
    pub(super) first: Slot,
    pub(super) second: Slot,
    /// What ends when the socket is ready, while the call waits.
    waiter: Slot,
    pub(super) operation: Cell<Operation>,
    /// The descriptor that is waited for.
    fd: Cell<RawFd>,
    /// How many bytes `sock_sendall` has sent.
    pub(super) sent: Cell<usize>,
}

static SOCKET_CALL: Identity = Identity::new("Loop.sock_recv", file!(), line!());

impl Body for Call {
    fn identity() -> &'static Identity {
        &SOCKET_CALL
    }

    fn place(&self) -> &'static Place {
        self.operation.get().place()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.slots().into_iter().try_for_each(|slot| visit.slot(slot))
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }

    fn run<'py>(this: Ref<'_, 'py, SocketCall>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let (Some(event_loop), Some(socket)) =
            (this.body.event_loop.get(py), this.body.socket.get(py))
        else {
            return none(this).map(Sent::Returned);
        };
        let Some(event_loop) = Ref::<Loop>::cast(&event_loop) else {
            return none(this).map(Sent::Returned);
        };
        match resume {
            Resume::Start => {
                let plain = sockets::is_plain(&socket)?;
                sockets::check(event_loop, this.body.operation.get(), &socket, plain)?;
            }
            resume => {
                waited(this, event_loop, resume)?;
                if let Some(outcome) = this.body.operation.get().waited(this, &socket) {
                    return outcome.map(Sent::Returned);
                }
            }
        }
        attempt(this, event_loop, &socket)
    }
}

impl Call {
    fn slots(&self) -> [&Slot; 5] {
        [&self.event_loop, &self.socket, &self.first, &self.second, &self.waiter]
    }
}

/// The coroutine of `operation` on `socket`. `arguments` go to the socket's method.
pub fn create<'py>(
    event_loop: Ref<'_, 'py, Loop>,
    operation: Operation,
    socket: Bound<'py, PyAny>,
    arguments: [Option<Bound<'py, PyAny>>; 2],
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    SocketCall::create(py, |call| {
        let [first, second] = arguments;
        call.operation.set(operation);
        call.socket.set(socket);
        call.first.set_opt(first, py);
        call.second.set_opt(second, py);
        call.event_loop.set(event_loop.to_any());
    })
}

/// Tries, and waits for the socket if it is not ready.
fn attempt<'py>(
    this: Ref<'_, 'py, SocketCall>,
    event_loop: Ref<'_, 'py, Loop>,
    socket: &Bound<'py, PyAny>,
) -> PyResult<Sent<'py>> {
    let operation = this.body.operation.get();
    let direction = operation.direction();
    let plain = sockets::is_plain(socket)?;
    let mut fd = if plain { Some(sockets::descriptor_of(socket)?) } else { None };
    let ready = fd.is_none_or(|fd| event_loop.may_be_ready(fd, socket, direction));
    if ready && let Attempt::Done(result) = sockets::attempt(this, event_loop, socket, fd)? {
        return Ok(Sent::Returned(result));
    }
    // A Python method may have closed the socket, or made it another's.
    if fd.is_none() || !operation.is_native() {
        fd = Some(sockets::descriptor_of(socket)?);
    }
    let fd = fd.unwrap_or(-1);
    let waiter = create_future(event_loop)?;
    let future = waiter.get(this.py()).to_any();
    event_loop.was_not_ready(fd, socket, direction);
    let stays_registered = plain && !operation.waits_afresh();
    Loop::wake_when_ready(event_loop, fd, socket, stays_registered, direction, waiter)?;
    this.body.fd.set(fd);
    this.body.waiter.set(future.clone());
    this.begin(&future)
}

const STOP_FAILED: &str = "Exception when a socket that was waited for is watched no more";

/// Takes the end of the wait. Raises `CancelledError` and what else is thrown into the coroutine.
fn waited<'py>(
    this: Ref<'_, 'py, SocketCall>,
    event_loop: Ref<'_, 'py, Loop>,
    resume: Resume,
) -> PyResult<()> {
    let outcome = this.go_on(resume);
    let waiter = this.body.waiter.take(this.py());
    if let (Err(_), Some(waiter)) = (&outcome, waiter) {
        let direction: Direction = this.body.operation.get().direction();
        // asyncio stops in a callback, whose errors are the loop's to tell.
        let stopped = Loop::stop_waiting(event_loop, this.body.fd.get(), direction, &waiter);
        stopped.or_else(|error| Loop::report(event_loop, error, STOP_FAILED, &[]))?;
    }
    outcome.map(drop)
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<()> {
    define_coroutine!(py, Call)
}
