//! What `StreamWriter.drain()` and `wait_closed()` return.

use std::cell::Cell;

use pyo3::exceptions::PyConnectionResetError;
use pyo3::intern;
use pyo3::prelude::*;

use super::protocol::StreamReaderProtocol;
use super::reader::StreamReader;
use super::writer::StreamWriter;
use super::{cast, exact, none};
use crate::define_coroutine;
use crate::ffi::call::Sent;
use crate::ffi::frame::Place;
use crate::ffi::{Ref, Slot, Traversal, Visit, error};
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};

/// Where a waiting coroutine is.
#[derive(Clone, Copy, Default)]
enum Stage {
    /// Not begun.
    #[default]
    Start,
    /// It let the loop have a turn, for the transport is closing.
    Yielded,
    /// It waits until the transport takes more.
    Paused,
    /// It waits for something that needs no looking after.
    Other,
}

/// What is waited for.
#[derive(Clone, Copy, Default)]
enum Kind {
    #[default]
    Drain,
    /// The protocol's part of it.
    DrainHelper,
    Closed,
}

/// What a waiting coroutine keeps.
#[derive(Default)]
pub struct Wait {
    kind: Cell<Kind>,
    stage: Cell<Stage>,
    /// The writer; for the helper the protocol.
    stream: Slot,
    protocol: Slot,
    waiter: Slot,
}

static WAIT: Identity = Identity::new("StreamWriter.drain", file!(), line!());
static DRAIN: Place = Place::new("StreamWriter.drain", file!(), line!());
static DRAIN_HELPER: Place = Place::new("FlowControlMixin._drain_helper", file!(), line!());
static CLOSED: Place = Place::new("StreamWriter.wait_closed", file!(), line!());

type Waiting<'a, 'py> = Ref<'a, 'py, Coroutine<Wait>>;

impl Body for Wait {
    fn identity() -> &'static Identity {
        &WAIT
    }

    fn place(&self) -> &'static Place {
        match self.kind.get() {
            Kind::Drain => &DRAIN,
            Kind::DrainHelper => &DRAIN_HELPER,
            Kind::Closed => &CLOSED,
        }
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        [&self.stream, &self.protocol, &self.waiter].into_iter().try_for_each(|it| visit.slot(it))
    }

    fn clear(&self) {
        [&self.stream, &self.protocol, &self.waiter].into_iter().for_each(Slot::clear);
    }

    fn run<'py>(this: Waiting<'_, 'py>, resume: Resume) -> PyResult<Sent<'py>> {
        match (this.body.stage.get(), resume) {
            (Stage::Start, _) => start(this),
            (Stage::Yielded, Resume::Thrown(error)) => Err(error),
            (Stage::Yielded, _) => drain_protocol(this),
            (Stage::Paused, resume) => {
                let outcome = this.go_on(resume);
                paused(this, outcome)
            }
            (Stage::Other, resume) => this.go_on(resume).map(without_result),
        }
    }
}

fn without_result(sent: Sent<'_>) -> Sent<'_> {
    match sent {
        Sent::Returned(result) => Sent::Returned(none(result.py())),
        yielded => yielded,
    }
}

fn start<'py>(this: Waiting<'_, 'py>) -> PyResult<Sent<'py>> {
    let py = this.py();
    let stream = this.body.stream.get_or_none(py);
    if let Kind::DrainHelper = this.body.kind.get() {
        this.body.protocol.set(stream);
        return drain_protocol(this);
    }
    let Some(writer) = cast::<StreamWriter>(&stream) else {
        return Ok(Sent::Returned(none(py)));
    };
    let protocol = writer.protocol().get_or_none(py);
    if let Kind::Closed = this.body.kind.get() {
        return wait_closed(this, &stream, &protocol);
    }
    if let Some(reader) = writer.reader().get(py) {
        let exception = match exact::<StreamReader>(&reader) {
            Some(reader) => reader.exception(),
            None => Some(reader.call_method0(intern!(py, "exception"))?),
        };
        if let Some(exception) = exception.filter(|exception| !exception.is_none()) {
            return Err(error::raise(&exception));
        }
    }
    let transport = writer.transport().get_or_none(py);
    this.body.protocol.set(protocol);
    if transport.call_method0(intern!(py, "is_closing"))?.is_truthy()? {
        // `connection_lost` may be due: without a turn of the loop, who writes and drains in turns would never see it.
        this.body.stage.set(Stage::Yielded);
        return Ok(Sent::Yielded(none(py)));
    }
    drain_protocol(this)
}

fn wait_closed<'py>(
    this: Waiting<'_, 'py>,
    stream: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
) -> PyResult<Sent<'py>> {
    let py = this.py();
    if exact::<StreamReaderProtocol>(protocol).is_some_and(|protocol| protocol.closed_well()) {
        return Ok(Sent::Returned(none(py)));
    }
    this.body.stage.set(Stage::Other);
    let closed = protocol.call_method1(intern!(py, "_get_close_waiter"), (stream,))?;
    this.begin(&closed).map(without_result)
}

/// Waits until the protocol is not paused. Raises `ConnectionResetError` when the connection is lost.
fn drain_protocol<'py>(this: Waiting<'_, 'py>) -> PyResult<Sent<'py>> {
    let py = this.py();
    let protocol = this.body.protocol.get_or_none(py);
    let ours = match this.body.kind.get() {
        Kind::DrainHelper => Ref::<StreamReaderProtocol>::cast(&protocol),
        Kind::Drain | Kind::Closed => exact::<StreamReaderProtocol>(&protocol),
    };
    let Some(ours) = ours else {
        this.body.stage.set(Stage::Other);
        let helper = protocol.call_method0(intern!(py, "_drain_helper"))?;
        return this.begin(&helper).map(without_result);
    };
    if ours.is_lost() {
        return Err(PyConnectionResetError::new_err("Connection lost"));
    }
    if !ours.must_pause()? {
        return Ok(Sent::Returned(none(py)));
    }
    let waiter = ours.add_drain_waiter()?;
    this.body.waiter.set(waiter.clone());
    this.body.stage.set(Stage::Paused);
    let outcome = this.begin(&waiter);
    paused(this, outcome)
}

/// Looks after the protocol's list of waiters when the wait is over.
fn paused<'py>(this: Waiting<'_, 'py>, outcome: PyResult<Sent<'py>>) -> PyResult<Sent<'py>> {
    if let Ok(Sent::Yielded(_)) = outcome {
        return outcome;
    }
    let py = this.py();
    let protocol = this.body.protocol.get_or_none(py);
    if let (Some(waiter), Some(protocol)) =
        (this.body.waiter.take(py), Ref::<StreamReaderProtocol>::cast(&protocol))
    {
        protocol.remove_drain_waiter(&waiter)?;
    }
    outcome.map(without_result)
}

fn create<'py>(stream: &Bound<'py, PyAny>, kind: Kind) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Wait>::create(stream.py(), |wait| {
        wait.kind.set(kind);
        wait.stream.set(stream.clone());
    })
}

/// `StreamWriter.drain()`
pub fn drain<'py>(writer: Ref<'_, 'py, StreamWriter>) -> PyResult<Bound<'py, PyAny>> {
    create(writer.as_any(), Kind::Drain)
}

/// `StreamWriter.wait_closed()`
pub fn closed<'py>(writer: Ref<'_, 'py, StreamWriter>) -> PyResult<Bound<'py, PyAny>> {
    create(writer.as_any(), Kind::Closed)
}

/// `StreamReaderProtocol._drain_helper()`
pub fn drain_helper<'py>(
    protocol: Ref<'_, 'py, StreamReaderProtocol>,
) -> PyResult<Bound<'py, PyAny>> {
    create(protocol.as_any(), Kind::DrainHelper)
}

/// Builds the class of the coroutines.
pub(super) fn define(py: Python<'_>) -> PyResult<()> {
    define_coroutine!(py, Wait)
}
