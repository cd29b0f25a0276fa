//! `Timeout`, `timeout`, `timeout_at`.

use std::cell::Cell;
use std::ffi::CStr;

use ferrio_reactor::TimerKey;
use pyo3::exceptions::{PyAssertionError, PyBaseExceptionGroup, PyRuntimeError, PyTimeoutError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFloat, PyString, PyType};

use super::{ended, none, running_loop, running_task};
use crate::event_loop::Loop;
use crate::event_loop::overrides::direct;
use crate::event_loop::schedule::number;
use crate::event_loop::timer::Timer;
use crate::ffi::call::Sent;
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::method::HiddenMethod;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Owned, Ref, Signature, Slot, Traversal, Visit, build, error,
};
use crate::stdlib::stdlib;
use crate::task::Task;
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
use crate::{define_coroutine, init_slot, method, method_named1, method0, unary_slot};

/// Where a time-out stands.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Created,
    Entered,
    Expiring,
    Expired,
    Exited,
}

impl State {
    /// As messages name it.
    fn name(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Entered => "active",
            State::Expiring => "expiring",
            State::Expired => "expired",
            State::Exited => "finished",
        }
    }
}

/// The fields of `ferrio.Timeout`.
#[derive(Default)]
pub struct Timeout {
    state: Cell<State>,
    /// The deadline, in seconds of the loop's clock; empty for none.
    when: Slot,
    /// The task to cancel, once entered.
    task: Slot,
    /// How many requests to cancel the task had when it entered.
    cancelling: Cell<i64>,
    /// The loop that `key` is of.
    event_loop: Slot,
    /// Its place in the timers of a loop of ferrio's.
    key: Cell<Option<TimerKey>>,
    /// Whether its time has come, and its turn has not.
    queued: Cell<bool>,
    /// The handle of what will call `on_timeout`, where it is not a timer of ferrio's.
    handle: Slot,
}

static TIMEOUT: ClassCell = ClassCell::new();

impl Class for Timeout {
    const NAME: &'static CStr = c"ferrio.Timeout";
    const FREELIST: usize = 128;

    fn class() -> &'static ClassCell {
        &TIMEOUT
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.when)?;
        visit.slot(&self.task)?;
        visit.slot(&self.event_loop)?;
        visit.slot(&self.handle)
    }

    fn clear(&self) {
        self.when.clear();
        self.task.clear();
        self.event_loop.clear();
        self.handle.clear();
    }
}

impl Timeout {
    /// One that expires at `when`, in seconds of the loop's clock; `None` for never.
    pub fn new<'py>(py: Python<'py>, when: Option<Bound<'py, PyAny>>) -> PyResult<Owned<Self>> {
        let timeout = Owned::<Self>::alloc(py)?;
        timeout.get(py).when.set_opt(when, py);
        Ok(timeout)
    }

    /// One that expires `delay` seconds from now; `None` for never. Raises `RuntimeError` when no loop runs, and what
    /// the addition raises.
    pub fn after<'py>(py: Python<'py>, delay: &Bound<'py, PyAny>) -> PyResult<Owned<Self>> {
        let running = running_loop(py)?;
        if delay.is_none() {
            return Self::new(py, None);
        }
        let when = match (direct(&running)?, number(delay)) {
            (Some(event_loop), Some(delay)) => {
                PyFloat::new(py, event_loop.seconds() + delay).into_any()
            }
            _ => running.call_method0(intern!(py, "time"))?.add(delay)?,
        };
        Self::new(py, Some(when))
    }

    /// What `async with` begins with. Raises `RuntimeError` the second time, and outside of a task.
    pub fn enter(this: Ref<'_, '_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.state.get() != State::Created {
            return Err(PyRuntimeError::new_err("Timeout has already been entered"));
        }
        let (event_loop, Some(task)) = running_task(py)? else {
            return Err(PyRuntimeError::new_err("Timeout should be used inside a task"));
        };
        this.state.set(State::Entered);
        this.cancelling.set(cancelling(&task)?);
        this.task.set(task);
        Self::schedule(this, &event_loop)
    }

    /// Lets `on_timeout` be called at `when`.
    fn schedule<'py>(this: Ref<'_, 'py, Self>, event_loop: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = this.py();
        let Some(when) = this.when.get(py) else { return Ok(()) };
        if let (Some(native), Some(when)) = (direct(event_loop)?, number(&when))
            && when > native.seconds()
        {
            this.event_loop.set(event_loop.clone());
            this.key.set(Some(native.add_timer(when, Timer::Timeout(this.to_owned()))));
            return Ok(());
        }
        let callback = callback(this)?;
        let handle = if when.le(event_loop.call_method0(intern!(py, "time"))?)? {
            event_loop.call_method1(intern!(py, "call_soon"), (callback,))
        } else {
            event_loop.call_method1(intern!(py, "call_at"), (when, callback))
        };
        this.handle.set(handle?);
        Ok(())
    }

    /// Takes back what `schedule` did.
    fn cancel_timer(this: Ref<'_, '_, Self>) -> PyResult<()> {
        let py = this.py();
        this.queued.set(false);
        if let Some(key) = this.key.take()
            && let Some(event_loop) = this.event_loop.get(py)
            && let Some(event_loop) = Ref::<Loop>::cast(&event_loop)
        {
            drop(event_loop.cancel_timer(key));
        }
        match this.handle.take(py) {
            None => Ok(()),
            Some(handle) => handle.call_method0(intern!(py, "cancel")).map(drop),
        }
    }

    /// The timer is due, and its turn is about to come.
    pub fn due(&self) {
        self.key.set(None);
        self.queued.set(true);
    }

    /// That turn: cancels the task, unless the time-out was left or rescheduled meanwhile.
    pub fn on_timeout(this: Ref<'_, '_, Self>) -> PyResult<()> {
        if this.queued.replace(false) { Self::expire(this) } else { Ok(()) }
    }

    fn expire(this: Ref<'_, '_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.state.get() != State::Entered {
            return Err(PyAssertionError::new_err(()));
        }
        if let Some(task) = this.task.get(py) {
            ended::cancel(&task, None)?;
        }
        this.state.set(State::Expiring);
        this.handle.clear();
        Ok(())
    }

    /// What `async with` ends with: `exception` is what its body raised, if anything.
    ///
    /// Raises `TimeoutError` in place of the `CancelledError` that the time-out caused.
    pub fn exit<'py>(
        this: Ref<'_, 'py, Self>,
        exception: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = this.py();
        let state = this.state.get();
        if !matches!(state, State::Entered | State::Expiring) {
            return Err(PyAssertionError::new_err(()));
        }
        Self::cancel_timer(this)?;
        if state == State::Entered {
            this.state.set(State::Exited);
            return Ok(());
        }
        this.state.set(State::Expired);
        let (Some(task), Some(exception)) = (this.task.get(py), exception) else {
            if let Some(task) = this.task.get(py) {
                uncancel(&task)?;
            }
            return Ok(());
        };
        if uncancel(&task)? > this.cancelling.get() {
            return Ok(());
        }
        // No other request to cancel is left: this one is ours.
        let cancelled = stdlib(py).cancelled_error.bind(py);
        let ours = if cfg!(Py_3_13) {
            error::matches(exception, cancelled)
        } else {
            exception.get_type().is(cancelled)
        };
        if ours {
            return Err(timed_out(exception));
        }
        if cfg!(Py_3_13) {
            insert_timeout_error(exception)?;
            if let Some(group) = exception_group(exception)? {
                for inner in group.try_iter()? {
                    insert_timeout_error(&inner?)?;
                }
            }
        }
        Ok(())
    }
}

/// `TimeoutError`, caused by the cancellation `cause`.
pub fn timed_out(cause: &Bound<'_, PyAny>) -> PyErr {
    let py = cause.py();
    let made = py.get_type::<PyTimeoutError>().call0().and_then(|timeout| {
        timeout.setattr(intern!(py, "__cause__"), cause)?;
        timeout.setattr(intern!(py, "__context__"), cause)?;
        Ok(timeout)
    });
    match made {
        Ok(timeout) => PyErr::from_value(timeout),
        Err(error) => error,
    }
}

/// The exceptions of `exception` if it is an `ExceptionGroup`.
fn exception_group<'py>(exception: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = exception.py();
    let is_exception = exception.is_instance_of::<pyo3::exceptions::PyException>();
    if !is_exception || !exception.is_instance_of::<PyBaseExceptionGroup>() {
        return Ok(None);
    }
    exception.getattr(intern!(py, "exceptions")).map(Some)
}

/// Puts a `TimeoutError` in front of the first `CancelledError` in the chain of contexts.
fn insert_timeout_error(exception: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = exception.py();
    let context_name = intern!(py, "__context__");
    let cancelled = stdlib(py).cancelled_error.bind(py);
    let mut exception = exception.clone();
    loop {
        let context = exception.getattr(context_name)?;
        if context.is_none() {
            return Ok(());
        }
        if error::matches(&context, cancelled) {
            let timeout = error::into_exception(timed_out(&context), py);
            return exception.setattr(context_name, timeout);
        }
        exception = context;
    }
}

/// `task.cancelling()`
pub fn cancelling(task: &Bound<'_, PyAny>) -> PyResult<i64> {
    match Ref::<Task>::cast_exact(task) {
        Some(task) => Ok(task.cancelling()),
        None => task.call_method0(intern!(task.py(), "cancelling"))?.extract(),
    }
}

/// `task.uncancel()`
pub fn uncancel(task: &Bound<'_, PyAny>) -> PyResult<i64> {
    match Ref::<Task>::cast_exact(task) {
        Some(task) => Ok(task.uncancel()),
        None => task.call_method0(intern!(task.py(), "uncancel"))?.extract(),
    }
}

fn on_timeout_method<'py>(this: Ref<'_, 'py, Timeout>) -> PyResult<Bound<'py, PyAny>> {
    Timeout::expire(this)?;
    Ok(none(this.py()))
}

/// What other kinds of loops call, and what a deadline that has passed already is: `_on_timeout`, bound.
fn callback<'py>(this: Ref<'_, 'py, Timeout>) -> PyResult<Bound<'py, PyAny>> {
    static ON_TIMEOUT: PyOnceLock<HiddenMethod<Timeout>> = PyOnceLock::new();
    let make = || {
        HiddenMethod::new(method0!(Timeout, c"_on_timeout", on_timeout_method, c"Cancel the task."))
    };
    ON_TIMEOUT.get_or_init(this.py(), make).bind(this)
}

/// What the coroutines of `__aenter__` and `__aexit__` keep.
#[derive(Default)]
pub struct Enter {
    timeout: Slot,
}

/// See [`Enter`].
#[derive(Default)]
pub struct Exit {
    timeout: Slot,
    exception: Slot,
}

static ENTER: Identity = Identity::new("Timeout.__aenter__", file!(), line!());
static EXIT: Identity = Identity::new("Timeout.__aexit__", file!(), line!());

impl Body for Enter {
    fn identity() -> &'static Identity {
        &ENTER
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.timeout)
    }

    fn clear(&self) {
        self.timeout.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, _: Resume) -> PyResult<Sent<'py>> {
        let timeout = this.body.timeout.get_or_none(this.py());
        if let Some(timeout) = Ref::<Timeout>::cast(&timeout) {
            Timeout::enter(timeout)?;
        }
        Ok(Sent::Returned(timeout))
    }
}

impl Body for Exit {
    fn identity() -> &'static Identity {
        &EXIT
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.timeout)?;
        visit.slot(&self.exception)
    }

    fn clear(&self) {
        self.timeout.clear();
        self.exception.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, _: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let exception = this.body.exception.take(py);
        let timeout = this.body.timeout.get_or_none(py);
        if let Some(timeout) = Ref::<Timeout>::cast(&timeout) {
            Timeout::exit(timeout, exception.as_ref())?;
        }
        Ok(Sent::Returned(none(py)))
    }
}

fn aenter<'py>(this: Ref<'_, 'py, Timeout>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Enter>::create(this.py(), |enter| enter.timeout.set(this.to_any()))
}

const AEXIT: Signature<3> = Signature {
    name: "__aexit__",
    parameters: ["exc_type", "exc_val", "exc_tb"],
    positional: 3,
    required: 3,
};

fn aexit<'py>(this: Ref<'_, 'py, Timeout>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let [_, exception, _] = args.parse(&AEXIT)?;
    Coroutine::<Exit>::create(this.py(), |exit| {
        exit.timeout.set(this.to_any());
        if let Some(exception) = exception.filter(|exception| !exception.is_none()) {
            exit.exception.set(exception.to_owned());
        }
    })
}

fn init(this: Ref<'_, '_, Timeout>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<1> =
        Signature { name: "Timeout", parameters: ["when"], positional: 1, required: 1 };
    let [when] = args.parse(&INIT)?;
    let when = when.filter(|when| !when.is_none());
    this.state.set(State::Created);
    this.when.set_opt(when.map(|when| when.to_owned()), this.py());
    Ok(())
}

fn when<'py>(this: Ref<'_, 'py, Timeout>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.when.get_or_none(this.py()))
}

fn reschedule<'py>(
    this: Ref<'_, 'py, Timeout>,
    when: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    match this.state.get() {
        State::Entered => {}
        State::Created => return Err(PyRuntimeError::new_err("Timeout has not been entered")),
        state => {
            let message = format!("Cannot change state of {} Timeout", state.name());
            return Err(PyRuntimeError::new_err(message));
        }
    }
    this.when.set_opt(Some(when.clone()).filter(|when| !when.is_none()), py);
    Timeout::cancel_timer(this)?;
    if !when.is_none() {
        Timeout::schedule(this, &running_loop(py)?)?;
    }
    Ok(none(py))
}

fn expired<'py>(this: Ref<'_, 'py, Timeout>) -> PyResult<Bound<'py, PyAny>> {
    let expired = matches!(this.state.get(), State::Expiring | State::Expired);
    Ok(pyo3::types::PyBool::new(this.py(), expired).to_owned().into_any())
}

fn repr<'py>(this: Ref<'_, 'py, Timeout>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let state = this.state.get();
    let when = match this.when.get(py) {
        _ if state != State::Entered => String::new(),
        None => " when=None".into(),
        Some(when) => {
            let rounded = when.call_method1(intern!(py, "__round__"), (3,))?;
            format!(" when={}", rounded.str()?)
        }
    };
    Ok(PyString::new(py, &format!("<Timeout [{}]{when}>", state.name())).into_any())
}

/// `timeout(delay)`
pub fn timeout<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const TIMEOUT: Signature<1> =
        Signature { name: "timeout", parameters: ["delay"], positional: 1, required: 1 };
    let [delay] = args.parse(&TIMEOUT)?;
    let py = args.py();
    let delay = delay.map_or_else(|| none(py), |delay| delay.to_owned());
    Ok(Timeout::after(py, &delay)?.into_any(py))
}

/// `timeout_at(when)`
pub fn timeout_at<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const TIMEOUT_AT: Signature<1> =
        Signature { name: "timeout_at", parameters: ["when"], positional: 1, required: 1 };
    let [when] = args.parse(&TIMEOUT_AT)?;
    let py = args.py();
    let when = when.filter(|when| !when.is_none()).map(|when| when.to_owned());
    Ok(Timeout::new(py, when)?.into_any(py))
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    define_coroutine!(py, Enter)?;
    define_coroutine!(py, Exit)?;
    let class = build::<Timeout>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(
                c"Timeout(when)\n--\n\nA context manager that cancels what takes too long.\n\n\
                  when is a time of the loop's clock; None is never. timeout() and timeout_at() make one.",
            ),
            methods: vec![
                method0!(Timeout, c"when", when, c"when($self)\n--\n\nReturn the deadline."),
                method_named1!(
                    Timeout,
                    "reschedule",
                    "when",
                    reschedule,
                    c"reschedule($self, when)\n--\n\nChange the deadline."
                ),
                method0!(
                    Timeout,
                    c"expired",
                    expired,
                    c"expired($self)\n--\n\nReturn whether the time was up."
                ),
                method0!(Timeout, c"__aenter__", aenter, c"__aenter__($self)\n--\n\nStart."),
                method!(
                    Timeout,
                    c"__aexit__",
                    aexit,
                    c"__aexit__($self, exc_type, exc_val, exc_tb)\n--\n\nEnd."
                ),
            ],
            slots: vec![init_slot!(Timeout, init), unary_slot!(Timeout, capi::Py_tp_repr, repr)],
            constructible: true,
            weak_references: true,
            // asyncio's is final for type checkers alone: async_timeout derives from it.
            subclassable: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["__aenter__", "__aexit__"])?;
    Ok(class)
}
