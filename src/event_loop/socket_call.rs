//! What `sock_recv` and its like return: a coroutine that tries the system call first and waits only if it must.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::RawFd;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString, PyTuple};

use super::readers::Direction;
use super::sockets::{self, Attempt, Operation};
use super::{Loop, none};
use crate::ffi::call::Sent;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Owned, Ref, Slot, Traversal, Visit, build, error,
};
use crate::stdlib::stdlib;
use crate::task::create_future;
use crate::task::future::cast_exact;
use crate::{attribute, method, method0, method1, send_slots, unary_slot};

/// Where a call stands: the states of a coroutine.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Not awaited yet.
    #[default]
    Created,
    /// In the middle of a step.
    Running,
    /// Waiting for the socket.
    Suspended,
    /// Returned, raised or closed.
    Finished,
}

/// The fields of `ferrio.SocketCall`.
#[derive(Default)]
pub struct SocketCall {
    event_loop: Slot,
    socket: Slot,
    /// The arguments behind the socket, as the method of the socket takes them.
    pub(super) first: Slot,
    pub(super) second: Slot,
    /// What ends when the socket is ready, while the call waits.
    waiter: Slot,
    /// Where the coroutine was made, as `sys.set_coroutine_origin_tracking_depth` asks for.
    origin: Slot,
    operation: Cell<Operation>,
    state: Cell<State>,
    /// The descriptor that is waited for.
    fd: Cell<RawFd>,
    /// How many bytes `sock_sendall` has sent.
    pub(super) sent: Cell<usize>,
}

static SOCKET_CALL: ClassCell = ClassCell::new();

impl Class for SocketCall {
    const NAME: &'static CStr = c"ferrio.SocketCall";
    const FREELIST: usize = 256;
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &SOCKET_CALL
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
        self.state.get() == State::Created
    }

    /// Warns that the coroutine was never awaited, as CPython does.
    fn finalize(this: Ref<'_, '_, Self>) {
        if this.state.get() != State::Created || this.event_loop.is_empty() {
            return;
        }
        let py = this.py();
        let warned = stdlib(py).warn_unawaited_coroutine.bind(py).call1((this.as_any(),));
        if let Err(error) = warned {
            error.write_unraisable(py, Some(this.as_any()));
        }
    }
}

impl SocketCall {
    fn slots(&self) -> [&Slot; 6] {
        [&self.event_loop, &self.socket, &self.first, &self.second, &self.waiter, &self.origin]
    }

    /// What it does.
    pub(super) fn operation(&self) -> Operation {
        self.operation.get()
    }

    /// The coroutine of `operation` on `socket`. `arguments` go to the socket's method.
    pub fn create<'py>(
        event_loop: Ref<'_, 'py, Loop>,
        operation: Operation,
        socket: Bound<'py, PyAny>,
        arguments: [Option<Bound<'py, PyAny>>; 2],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        let call = Owned::<Self>::alloc(py)?;
        let this = call.get(py);
        this.operation.set(operation);
        this.socket.set(socket);
        let [first, second] = arguments;
        this.first.set_opt(first, py);
        this.second.set_opt(second, py);
        if event_loop.debug() {
            this.origin.set_opt(origin(py)?, py);
        }
        this.event_loop.set(event_loop.to_any());
        Ok(call.into_any(py))
    }
}

/// The calls that led here, innermost first, as tuples (file name, line, function); `None` when nobody asked for them.
#[cold]
fn origin(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let sys = py.import("sys")?;
    let depth: usize = sys.call_method0("get_coroutine_origin_tracking_depth")?.extract()?;
    if depth == 0 {
        return Ok(None);
    }
    let mut entries = Vec::new();
    let mut frame = sys.call_method1("_getframe", (0,))?;
    while entries.len() < depth && !frame.is_none() {
        let code = frame.getattr("f_code")?;
        entries.push((
            code.getattr("co_filename")?,
            frame.getattr("f_lineno")?,
            code.getattr("co_name")?,
        ));
        frame = frame.getattr("f_back")?;
    }
    Ok(Some(PyTuple::new(py, entries)?.into_any()))
}

/// One step: tries, and waits for the socket while it is not ready.
fn advance<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Sent<'py>> {
    let before = this.state.replace(State::Running);
    match before {
        State::Created | State::Suspended => {}
        State::Running => return Err(PyValueError::new_err("coroutine already executing")),
        State::Finished => {
            this.state.set(State::Finished);
            return Err(reused());
        }
    }
    let outcome = step(this, before);
    match outcome {
        Ok(Sent::Yielded(_)) => this.state.set(State::Suspended),
        Ok(Sent::Returned(_)) | Err(_) => finish(this),
    }
    outcome
}

fn step<'py>(this: Ref<'_, 'py, SocketCall>, state: State) -> PyResult<Sent<'py>> {
    let py = this.py();
    let (Some(event_loop), Some(socket)) = (this.event_loop.get(py), this.socket.get(py)) else {
        return Err(reused());
    };
    let Some(event_loop) = Ref::<Loop>::cast(&event_loop) else { return Err(reused()) };
    let operation = this.operation.get();
    let direction = operation.direction();
    let plain = sockets::is_plain(&socket)?;
    if state == State::Created {
        sockets::check(event_loop, operation, &socket, plain)?;
    } else {
        waited(this, event_loop, direction)?;
        if let Operation::Writable = operation {
            return none(this).map(Sent::Returned);
        }
    }
    let mut fd = if plain { Some(sockets::descriptor_of(&socket)?) } else { None };
    let ready = fd.is_none_or(|fd| event_loop.may_be_ready(fd, &socket, direction));
    if ready && let Attempt::Done(result) = sockets::attempt(this, event_loop, &socket, fd)? {
        return Ok(Sent::Returned(result));
    }
    // A Python method may have closed the socket, or made it another's.
    if fd.is_none() || !operation.is_native() {
        fd = Some(sockets::descriptor_of(&socket)?);
    }
    let fd = fd.unwrap_or(-1);
    let waiter = create_future(event_loop)?;
    let future = waiter.get(py).to_any();
    event_loop.was_not_ready(fd, &socket, direction);
    Loop::wake_when_ready(event_loop, fd, &socket, plain, direction, waiter)?;
    this.fd.set(fd);
    this.waiter.set(future.clone());
    if let Some(waiter) = cast_exact(&future) {
        waiter.block();
    }
    Ok(Sent::Yielded(future))
}

/// Takes the end of the wait. Raises `CancelledError`, and `RuntimeError` when the wait is not over.
fn waited<'py>(
    this: Ref<'_, 'py, SocketCall>,
    event_loop: Ref<'_, 'py, Loop>,
    direction: Direction,
) -> PyResult<()> {
    let Some(waiter) = this.waiter.take(this.py()) else { return Ok(()) };
    let Some(future) = cast_exact(&waiter) else { return Ok(()) };
    if !future.done() {
        Loop::stop_waiting(event_loop, this.fd.get(), direction, &waiter)?;
        return Err(PyRuntimeError::new_err("await wasn't used with future"));
    }
    let outcome = future.result();
    if outcome.is_err() {
        Loop::stop_waiting(event_loop, this.fd.get(), direction, &waiter)?;
    }
    outcome.map(drop)
}

/// Ends the coroutine: nothing waits for the socket on its behalf, and it holds nothing.
fn finish(this: Ref<'_, '_, SocketCall>) {
    this.state.set(State::Finished);
    for slot in [&this.event_loop, &this.socket, &this.first, &this.second, &this.origin] {
        slot.clear();
    }
}

/// Ends a coroutine from outside.
fn abandon(this: Ref<'_, '_, SocketCall>) -> PyResult<()> {
    let py = this.py();
    let outcome = match (this.waiter.take(py), this.event_loop.get(py)) {
        (Some(waiter), Some(event_loop)) => match Ref::<Loop>::cast(&event_loop) {
            Some(event_loop) => {
                let direction = this.operation.get().direction();
                Loop::stop_waiting(event_loop, this.fd.get(), direction, &waiter)
            }
            None => Ok(()),
        },
        _ => Ok(()),
    };
    finish(this);
    outcome
}

#[cold]
fn reused() -> PyErr {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine")
}

fn send<'py>(
    this: Ref<'_, 'py, SocketCall>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    if this.state.get() == State::Created && !value.is_none() {
        return Err(PyTypeError::new_err("can't send non-None value to a just-started coroutine"));
    }
    match advance(this)? {
        Sent::Yielded(future) => Ok(future),
        Sent::Returned(result) => Err(error::stop_iteration(result)),
    }
}

fn throw<'py>(this: Ref<'_, 'py, SocketCall>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let thrown = error::thrown_by(args)?;
    match this.state.get() {
        State::Created | State::Suspended => abandon(this).and(Err(thrown)),
        State::Running => Err(PyValueError::new_err("coroutine already executing")),
        State::Finished => Err(reused()),
    }
}

fn close<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Bound<'py, PyAny>> {
    match this.state.get() {
        State::Created | State::Suspended => abandon(this)?,
        State::Running => return Err(PyValueError::new_err("coroutine already executing")),
        State::Finished => {}
    }
    none(this)
}

/// What `await` takes: the coroutine itself, once.
fn wait<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Bound<'py, PyAny>> {
    match this.state.get() {
        State::Suspended | State::Running => {
            Err(PyRuntimeError::new_err("coroutine is being awaited already"))
        }
        State::Created | State::Finished => Ok(this.to_any()),
    }
}

fn itself<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.to_any())
}

fn name<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyString::new(this.py(), this.operation.get().name()).into_any())
}

fn qualified_name<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Bound<'py, PyAny>> {
    let name = format!("Loop.{}", this.operation.get().name());
    Ok(PyString::new(this.py(), &name).into_any())
}

fn get_origin<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.origin.get_or_none(this.py()))
}

fn awaited<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.waiter.get_or_none(this.py()))
}

fn is_running<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Bound<'py, PyAny>> {
    let running = this.state.get() == State::Running;
    Ok(PyBool::new(this.py(), running).to_owned().into_any())
}

fn repr<'py>(this: Ref<'_, 'py, SocketCall>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let name = qualified_name(this)?;
    let text = format!("<coroutine object {name} at {:p}>", this.as_ptr());
    Ok(PyString::new(py, &text).into_any())
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<()> {
    let mut slots = vec![
        unary_slot!(SocketCall, capi::Py_am_await, wait),
        unary_slot!(SocketCall, capi::Py_tp_iter, itself),
        unary_slot!(SocketCall, capi::Py_tp_repr, repr),
    ];
    slots.extend(send_slots!(SocketCall, advance));
    let class = build::<SocketCall>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"A coroutine that waits for a socket."),
            methods: vec![
                method1!(SocketCall, c"send", send, c"Go on; the value makes no difference."),
                method!(SocketCall, c"throw", throw, c"Raise an exception here."),
                method0!(SocketCall, c"close", close, c"Wait no more."),
            ],
            attributes: vec![
                attribute!(SocketCall, c"__name__", name),
                attribute!(SocketCall, c"__qualname__", qualified_name),
                attribute!(SocketCall, c"cr_origin", get_origin),
                attribute!(SocketCall, c"cr_await", awaited),
                attribute!(SocketCall, c"cr_running", is_running),
            ],
            slots,
            weak_references: true,
            ..Definition::default()
        },
    )?;
    // So that isinstance() need not look for the methods.
    py.import("collections.abc")?
        .getattr("Coroutine")?
        .call_method1(intern!(py, "register"), (class,))?;
    Ok(())
}
