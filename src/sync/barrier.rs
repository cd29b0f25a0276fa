//! `Barrier`: tasks that go on together once so many of them are there.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;

use super::attributes::{self, bindable_attributes, get_loop_method};
use super::condition::{Condition, await_lock};
use super::waiters::Bindable;
use super::{after, boolean, kept, none};
use crate::ffi::call::Sent;
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Ref, Signature, Slot, Traversal, Visit, build, error,
};
use crate::stdlib::stdlib;
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
use crate::{attribute, define_coroutine, init_slot, method, method0, unary_slot};

/// What those who come are met with.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// They wait for the others.
    #[default]
    Filling,
    /// All are there and leave.
    Draining,
    /// Those who are there leave with an error.
    Resetting,
    /// All get an error.
    Broken,
}

impl State {
    /// The value of asyncio's `_BarrierState`.
    fn name(self) -> &'static str {
        match self {
            State::Filling => "filling",
            State::Draining => "draining",
            State::Resetting => "resetting",
            State::Broken => "broken",
        }
    }
}

/// The fields of `ferrio.Barrier`.
#[derive(Default)]
pub struct Barrier {
    event_loop: Slot,
    /// A `Condition`, under whose lock all changes are made.
    condition: Slot,
    parties: Cell<i64>,
    state: Cell<State>,
    /// How many are there.
    count: Cell<i64>,
}

static BARRIER: ClassCell = ClassCell::new();

impl Class for Barrier {
    const NAME: &'static CStr = c"ferrio.Barrier";

    fn class() -> &'static ClassCell {
        &BARRIER
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.event_loop)?;
        visit.slot(&self.condition)
    }

    fn clear(&self) {
        self.event_loop.clear();
        self.condition.clear();
    }
}

impl Bindable for Barrier {
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }
}

impl Barrier {
    /// Lets those in who wait for the end of a drain, when the last has left.
    fn leave(&self, condition: Ref<'_, '_, Condition>) -> PyResult<()> {
        self.count.set(self.count.get() - 1);
        if self.count.get() > 0 {
            return Ok(());
        }
        if matches!(self.state.get(), State::Resetting | State::Draining) {
            self.state.set(State::Filling);
        }
        condition.notify_all()
    }

    /// How many wait for the others.
    fn waiting(&self) -> i64 {
        if self.state.get() == State::Filling { self.count.get() } else { 0 }
    }
}

/// The `BrokenBarrierError` with this message.
#[cold]
fn broken_error(py: Python<'_>, message: &str) -> PyErr {
    match stdlib(py).broken_barrier_error.bind(py).call1((message,)) {
        Ok(exception) => error::raise(&exception),
        Err(error) => error,
    }
}

static WAIT: Identity = Identity::new("Barrier.wait", file!(), line!());

/// What one who comes to a barrier waits for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The condition's lock.
    #[default]
    Entering,
    /// The end of a drain.
    Blocked,
    /// The others.
    Filling,
}

/// The coroutine of `wait()`.
#[derive(Default)]
struct Wait {
    barrier: Slot,
    phase: Cell<Phase>,
    /// How many were there before.
    index: Cell<i64>,
}

impl Body for Wait {
    fn identity() -> &'static Identity {
        &WAIT
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.barrier)
    }

    fn clear(&self) {
        self.barrier.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let barrier = kept::<Barrier>(&this.body.barrier, py)?;
        let barrier = barrier.get(py);
        let condition = kept::<Condition>(&barrier.condition, py)?;
        let condition = condition.get(py);
        let mut awaited = match resume {
            Resume::Start => await_lock(this, condition),
            resume => this.go_on(resume),
        };
        let outcome = loop {
            match awaited {
                Ok(Sent::Yielded(_)) => return awaited,
                Err(error) if this.body.phase.get() == Phase::Entering => return Err(error),
                Err(error) => break Err(error),
                Ok(Sent::Returned(_)) => match arrive(this, barrier, condition) {
                    Ok(None) => awaited = condition.wait().and_then(|wait| this.begin(&wait)),
                    Ok(Some(index)) => break Ok(index),
                    Err(error) => break Err(error),
                },
            }
        };
        let left =
            if this.body.phase.get() == Phase::Filling { barrier.leave(condition) } else { Ok(()) };
        let cleanup = left.and(condition.release());
        match outcome {
            Ok(index) => {
                cleanup?;
                Ok(Sent::Returned(index.into_pyobject(py)?.into_any()))
            }
            Err(error) => Err(after(cleanup, error, py)),
        }
    }
}

/// What one does who has the lock: `None` is to wait for a change, a number is the result.
///
/// Raises `BrokenBarrierError`.
fn arrive<'py>(
    this: Ref<'_, 'py, Coroutine<Wait>>,
    barrier: Ref<'_, 'py, Barrier>,
    condition: Ref<'_, 'py, Condition>,
) -> PyResult<Option<i64>> {
    let (py, body) = (this.py(), &this.body);
    if body.phase.get() != Phase::Filling {
        body.phase.set(Phase::Blocked);
        match barrier.state.get() {
            State::Draining | State::Resetting => return Ok(None),
            State::Broken => return Err(broken_error(py, "Barrier aborted")),
            State::Filling => {}
        }
        body.index.set(barrier.count.get());
        barrier.count.set(body.index.get() + 1);
        body.phase.set(Phase::Filling);
        if barrier.count.get() == barrier.parties.get() {
            barrier.state.set(State::Draining);
            condition.notify_all()?;
        }
    }
    match barrier.state.get() {
        State::Filling => Ok(None),
        State::Draining => Ok(Some(body.index.get())),
        State::Resetting | State::Broken => Err(broken_error(py, "Abort or reset of barrier")),
    }
}

static ENTER: Identity = Identity::new("Barrier.__aenter__", file!(), line!());

/// The coroutine of `__aenter__()`: awaits what `wait()` returns.
#[derive(Default)]
struct Enter {
    barrier: Slot,
}

impl Body for Enter {
    fn identity() -> &'static Identity {
        &ENTER
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.barrier)
    }

    fn clear(&self) {
        self.barrier.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        match resume {
            Resume::Start => {
                let barrier = this.body.barrier.get_or_none(this.py());
                this.begin(&barrier.call_method0(intern!(this.py(), "wait"))?)
            }
            resume => this.go_on(resume),
        }
    }
}

static EXIT: Identity = Identity::new("Barrier.__aexit__", file!(), line!());

/// The coroutine of `__aexit__()`, which does nothing.
#[derive(Default)]
struct Exit;

impl Body for Exit {
    fn identity() -> &'static Identity {
        &EXIT
    }

    fn traverse(&self, _: &Visit) -> Traversal {
        Ok(())
    }

    fn clear(&self) {}

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, _: Resume) -> PyResult<Sent<'py>> {
        Ok(Sent::Returned(none(this.py())))
    }
}

static RESET: Identity = Identity::new("Barrier.reset", file!(), line!());

/// The coroutine of `reset()`.
#[derive(Default)]
struct Reset {
    barrier: Slot,
}

impl Body for Reset {
    fn identity() -> &'static Identity {
        &RESET
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.barrier)
    }

    fn clear(&self) {
        self.barrier.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        change(this, &this.body.barrier, resume, |barrier| {
            if barrier.count.get() > 0 { State::Resetting } else { State::Filling }
        })
    }
}

static ABORT: Identity = Identity::new("Barrier.abort", file!(), line!());

/// The coroutine of `abort()`.
#[derive(Default)]
struct Abort {
    barrier: Slot,
}

impl Body for Abort {
    fn identity() -> &'static Identity {
        &ABORT
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.barrier)
    }

    fn clear(&self) {
        self.barrier.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        change(this, &this.body.barrier, resume, |_| State::Broken)
    }
}

/// Brings the barrier in `slot` into another state, under the lock, and tells all who wait.
fn change<'py, B: Body>(
    this: Ref<'_, 'py, Coroutine<B>>,
    slot: &Slot,
    resume: Resume,
    state: impl FnOnce(&Barrier) -> State,
) -> PyResult<Sent<'py>> {
    let py = this.py();
    let barrier = kept::<Barrier>(slot, py)?;
    let barrier = barrier.get(py);
    let condition = kept::<Condition>(&barrier.condition, py)?;
    let condition = condition.get(py);
    let awaited = match resume {
        Resume::Start => await_lock(this, condition)?,
        resume => this.go_on(resume)?,
    };
    if let Sent::Yielded(_) = awaited {
        return Ok(awaited);
    }
    barrier.state.set(state(&barrier));
    condition.notify_all().and(condition.release())?;
    Ok(Sent::Returned(none(py)))
}

fn init(this: Ref<'_, '_, Barrier>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<1> =
        Signature { name: "Barrier.__init__", parameters: ["parties"], positional: 1, required: 1 };
    let [parties] = args.parse(&INIT)?;
    let parties = parties.map_or(Ok(0), |parties| parties.extract::<i64>())?;
    if parties < 1 {
        return Err(PyValueError::new_err(if cfg!(Py_3_14) {
            "parties must be >= 1"
        } else {
            "parties must be > 0"
        }));
    }
    let py = this.py();
    this.parties.set(parties);
    this.condition.set(Ref::<Condition>::create(py)?.into_any(py));
    Ok(())
}

fn wait<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Wait>::create(this.py(), |body| body.barrier.set(this.to_any()))
}

fn reset<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Reset>::create(this.py(), |body| body.barrier.set(this.to_any()))
}

fn abort<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Abort>::create(this.py(), |body| body.barrier.set(this.to_any()))
}

fn aenter<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Enter>::create(this.py(), |body| body.barrier.set(this.to_any()))
}

fn aexit<'py>(this: Ref<'_, 'py, Barrier>, _: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Exit>::create(this.py(), |_| ())
}

fn parties<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.parties.get().into_pyobject(this.py())?.into_any())
}

fn n_waiting<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.waiting().into_pyobject(this.py())?.into_any())
}

fn broken<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.state.get() == State::Broken))
}

fn count<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.count.get().into_pyobject(this.py())?.into_any())
}

fn condition<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.condition.get_or_none(this.py()))
}

fn state<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    stdlib(this.py()).barrier_state.bind(this.py()).call1((this.state.get().name(),))
}

fn repr<'py>(this: Ref<'_, 'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    let state = this.state.get();
    if state == State::Broken {
        return attributes::bracketed(this, state.name());
    }
    let (waiting, parties) = (this.waiting(), this.parties.get());
    attributes::bracketed(this, &format!("{}, waiters:{waiting}/{parties}", state.name()))
}

/// Builds the classes.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    define_coroutine!(py, Wait)?;
    define_coroutine!(py, Enter)?;
    define_coroutine!(py, Exit)?;
    define_coroutine!(py, Reset)?;
    define_coroutine!(py, Abort)?;
    let methods = vec![
        method0!(
            Barrier,
            c"wait",
            wait,
            c"wait($self)\n--\n\nWait until all parties are there; return how many were there before.\n\n\
              Raise BrokenBarrierError when the barrier is broken or reset meanwhile."
        ),
        method0!(
            Barrier,
            c"reset",
            reset,
            c"reset($self)\n--\n\nEmpty the barrier; those who wait there get a BrokenBarrierError."
        ),
        method0!(
            Barrier,
            c"abort",
            abort,
            c"abort($self)\n--\n\nBreak the barrier; those who wait or come get a BrokenBarrierError."
        ),
        method0!(Barrier, c"__aenter__", aenter, c"__aenter__($self)\n--\n\nWait, as wait() does."),
        method!(Barrier, c"__aexit__", aexit, c"__aexit__($self, *args)\n--\n\nDo nothing."),
        get_loop_method!(Barrier),
    ];
    let mut attributes = bindable_attributes!(Barrier);
    attributes.extend([
        attribute!(Barrier, c"parties", parties),
        attribute!(Barrier, c"n_waiting", n_waiting),
        attribute!(Barrier, c"broken", broken),
        attribute!(Barrier, c"_parties", parties),
        attribute!(Barrier, c"_count", count),
        attribute!(Barrier, c"_cond", condition),
        attribute!(Barrier, c"_state", state),
    ]);
    let class = build::<Barrier>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(
                c"Barrier(parties)\n--\n\n\
                  Lets tasks go on together once so many are there: asyncio.Barrier.",
            ),
            methods,
            attributes,
            slots: vec![init_slot!(Barrier, init), unary_slot!(Barrier, capi::Py_tp_repr, repr)],
            subclassable: true,
            constructible: true,
            weak_references: true,
            dictionary: true,
            plain_name: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["wait", "reset", "abort", "__aenter__", "__aexit__"])?;
    module.add("Barrier", class)
}
