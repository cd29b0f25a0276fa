//! `Condition`: tasks that wait, without a lock, for something that is changed under it.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::attributes::{self, get_loop_method, waitable_attributes};
use super::context::context_methods;
use super::deque::Deque;
use super::lock::Lock;
use super::waiters::{Bindable, Waitable, create_waiter, wake_some};
use super::{after, boolean, is_cancellation, kept, none};
use crate::ffi::call::{Sent, call0};
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Owned, Ref, Signature, Slot, Traversal, Visit, build, error,
};
use crate::stdlib::stdlib;
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
use crate::{attribute, define_coroutine, init_slot, method, method_named1, method0, unary_slot};

/// The fields of `ferrio.Condition`.
#[derive(Default)]
pub struct Condition {
    event_loop: Slot,
    waiters: Deque,
    /// A `Lock`, or whatever has its methods.
    lock: Slot,
}

static CONDITION: ClassCell = ClassCell::new();

impl Class for Condition {
    const NAME: &'static CStr = c"ferrio.Condition";

    fn class() -> &'static ClassCell {
        &CONDITION
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.event_loop)?;
        visit.slot(&self.lock)?;
        self.waiters.traverse(visit)
    }

    fn clear(&self) {
        self.event_loop.clear();
        self.lock.clear();
        self.waiters.clear();
    }
}

impl Bindable for Condition {
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }
}

impl Waitable for Condition {
    fn waiters(&self) -> &Deque {
        &self.waiters
    }
}

impl<'py> Ref<'_, 'py, Condition> {
    /// `Condition()`
    pub fn create(py: Python<'py>) -> PyResult<Owned<Condition>> {
        let condition = Owned::<Condition>::alloc(py)?;
        condition.get(py).lock.set(Owned::<Lock>::alloc(py)?.into_any(py));
        Ok(condition)
    }

    /// The lock.
    pub fn lock(self) -> Bound<'py, PyAny> {
        self.lock.get_or_none(self.py())
    }

    /// `locked()`. Raises what a lock that isn't ours raises, as all that follow.
    pub fn is_locked(self) -> PyResult<bool> {
        let lock = self.lock();
        match Ref::<Lock>::cast_exact(&lock) {
            Some(lock) => Ok(lock.is_locked()),
            None => lock.call_method0(intern!(self.py(), "locked"))?.is_truthy(),
        }
    }

    /// Takes the lock, if it is one of ours that is free, or else gives what to await to have it.
    fn acquire(self) -> PyResult<Option<Bound<'py, PyAny>>> {
        let lock = self.lock();
        match Ref::<Lock>::cast_exact(&lock) {
            Some(lock) if lock.take()? => Ok(None),
            Some(lock) => lock.acquire().map(Some),
            None => lock.call_method0(intern!(self.py(), "acquire")).map(Some),
        }
    }

    /// `release()`
    pub fn release(self) -> PyResult<()> {
        let lock = self.lock();
        match Ref::<Lock>::cast_exact(&lock) {
            Some(lock) => lock.release(),
            None => lock.call_method0(intern!(self.py(), "release")).map(drop),
        }
    }

    /// `wait()`
    pub fn wait(self) -> PyResult<Bound<'py, PyAny>> {
        Coroutine::<Wait>::create(self.py(), |body| body.condition.set(self.to_any()))
    }

    /// `notify_all()`
    pub fn notify_all(self) -> PyResult<()> {
        self.notify(self.waiters.len(self.py())?)
    }

    /// `notify(count)`. Raises `RuntimeError` when the lock is free.
    pub fn notify(self, count: usize) -> PyResult<()> {
        self.check_locked()?;
        self.wake(count)
    }

    fn check_locked(self) -> PyResult<()> {
        if self.is_locked()? {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("cannot notify on un-acquired lock"))
    }

    fn wake(self, count: usize) -> PyResult<()> {
        wake_some(&self.waiters, count, &boolean(self.py(), false)).map(drop)
    }
}

/// Lets `coroutine` have the lock, or wait for it.
pub fn await_lock<'py, B: Body>(
    coroutine: Ref<'_, 'py, Coroutine<B>>,
    condition: Ref<'_, 'py, Condition>,
) -> PyResult<Sent<'py>> {
    match condition.acquire()? {
        Some(acquire) => coroutine.begin(&acquire),
        None => Ok(Sent::Returned(none(coroutine.py()))),
    }
}

static WAIT: Identity = Identity::new("Condition.wait", file!(), line!());

/// The coroutine of `wait()`: waits to be notified, and then for the lock, whatever happens meanwhile.
#[derive(Default)]
struct Wait {
    condition: Slot,
    waiter: Slot,
    /// Whether it waits for the lock.
    notified: Cell<bool>,
    /// What ended the wait, to be raised with the lock in hand.
    exception: Slot,
    /// The last cancellation while it waited for the lock, to be raised instead.
    cancellation: Slot,
}

impl Body for Wait {
    fn identity() -> &'static Identity {
        &WAIT
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.slots().into_iter().try_for_each(|slot| visit.slot(slot))
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let condition = kept::<Condition>(&this.body.condition, py)?;
        let condition = condition.get(py);
        let awaited = match resume {
            Resume::Start => begin(condition)?.and_then(|waiter| {
                this.body.waiter.set(waiter.clone());
                condition.waiters.push(waiter.clone())?;
                this.begin(&waiter)
            }),
            resume => this.go_on(resume),
        };
        if let Ok(Sent::Yielded(_)) = awaited {
            return awaited;
        }
        let outcome = if this.body.notified.get() {
            lock_again(this, condition, awaited)
        } else {
            this.body.notified.set(true);
            if let Some(waiter) = this.body.waiter.take(py) {
                condition.waiters.remove(&waiter)?;
            }
            if let Err(error) = awaited {
                this.body.exception.set(error::into_exception(error, py));
            }
            lock_again(this, condition, await_lock(this, condition))
        };
        match outcome {
            // This one may have been notified, in vain. asyncio forgets that up to 3.12.
            Err(error) if cfg!(Py_3_13) => Err(after(condition.wake(1), error, py)),
            outcome => outcome,
        }
    }
}

impl Wait {
    fn slots(&self) -> [&Slot; 4] {
        [&self.condition, &self.waiter, &self.exception, &self.cancellation]
    }
}

/// Frees the lock for one who is going to wait by the future that is returned, or by what its making raised when the lock was
/// free already: asyncio changed the order in 3.13.
fn begin<'py>(condition: Ref<'_, 'py, Condition>) -> PyResult<PyResult<Bound<'py, PyAny>>> {
    if !condition.is_locked()? {
        return Err(PyRuntimeError::new_err("cannot wait on un-acquired lock"));
    }
    if cfg!(Py_3_13) {
        let waiter = create_waiter(condition)?;
        condition.release()?;
        return Ok(Ok(waiter));
    }
    condition.release()?;
    Ok(create_waiter(condition))
}

/// Takes a step of the wait for the lock, as often as it is cancelled, and ends the whole wait after it.
fn lock_again<'py>(
    this: Ref<'_, 'py, Coroutine<Wait>>,
    condition: Ref<'_, 'py, Condition>,
    step: PyResult<Sent<'py>>,
) -> PyResult<Sent<'py>> {
    let py = this.py();
    let mut step = step;
    loop {
        match step {
            Ok(Sent::Yielded(_)) => return step,
            Ok(Sent::Returned(_)) => break,
            Err(error) if is_cancellation(&error, py) => {
                this.body.cancellation.set(error::into_exception(error, py));
                step = await_lock(this, condition);
            }
            Err(error) => return Err(error),
        }
    }
    let exception = this.body.exception.take(py);
    let Some(mut cancellation) = this.body.cancellation.take(py) else {
        return match exception {
            Some(exception) => Err(PyErr::from_value(exception)),
            None => Ok(Sent::Returned(boolean(py, true))),
        };
    };
    if cfg!(not(Py_3_13)) {
        cancellation = call0(stdlib(py).cancelled_error.bind(py))?;
    }
    // asyncio raises it while it handles what ended the wait, if that was an exception, or else what its caller handles.
    let Some(exception) = exception else { return Err(error::raise(&cancellation)) };
    if !exception.is(&cancellation) {
        cancellation.setattr(intern!(py, "__context__"), exception)?;
    }
    Err(PyErr::from_value(cancellation))
}

static WAIT_FOR: Identity = Identity::new("Condition.wait_for", file!(), line!());

/// The coroutine of `wait_for(predicate)`.
#[derive(Default)]
struct WaitFor {
    condition: Slot,
    predicate: Slot,
}

impl Body for WaitFor {
    fn identity() -> &'static Identity {
        &WAIT_FOR
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.condition)?;
        visit.slot(&self.predicate)
    }

    fn clear(&self) {
        self.condition.clear();
        self.predicate.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let condition = this.body.condition.get_or_none(py);
        let predicate = this.body.predicate.get_or_none(py);
        let mut resume = Some(resume);
        loop {
            if let Some(resume) = resume.take().filter(|resume| !matches!(resume, Resume::Start))
                && let yielded @ Sent::Yielded(_) = this.go_on(resume)?
            {
                return Ok(yielded);
            }
            let result = call0(&predicate)?;
            if result.is_truthy()? {
                return Ok(Sent::Returned(result));
            }
            let wait = match Ref::<Condition>::cast_exact(&condition) {
                Some(condition) => condition.wait()?,
                None => condition.call_method0(intern!(py, "wait"))?,
            };
            if let yielded @ Sent::Yielded(_) = this.begin(&wait)? {
                return Ok(yielded);
            }
        }
    }
}

fn init(this: Ref<'_, '_, Condition>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<1> =
        Signature { name: "Condition.__init__", parameters: ["lock"], positional: 1, required: 0 };
    let [lock] = args.parse(&INIT)?;
    let lock = match lock.filter(|lock| !lock.is_none()) {
        Some(lock) => lock.to_owned(),
        None => Owned::<Lock>::alloc(this.py())?.into_any(this.py()),
    };
    this.lock.set(lock);
    Ok(())
}

fn wait_for<'py>(
    this: Ref<'_, 'py, Condition>,
    predicate: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<WaitFor>::create(this.py(), |body| {
        body.condition.set(this.to_any());
        body.predicate.set(predicate.clone());
    })
}

fn notify<'py>(this: Ref<'_, 'py, Condition>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const NOTIFY: Signature<1> =
        Signature { name: "Condition.notify", parameters: ["n"], positional: 1, required: 0 };
    let [count] = args.parse(&NOTIFY)?;
    this.check_locked()?;
    let count = match count {
        Some(count) => at_most(&count, this.waiters.len(this.py())?)?,
        None => 1,
    };
    this.wake(count)?;
    Ok(none(this.py()))
}

/// The least number up to `limit` that is no less than `count`, which may be of any type that compares with an int.
fn at_most(count: &Bound<'_, PyAny>, limit: usize) -> PyResult<usize> {
    if count.is_exact_instance_of::<PyInt>()
        && let Ok(count) = count.extract::<usize>()
    {
        return Ok(count);
    }
    for enough in 0..limit {
        if enough.into_pyobject(count.py())?.ge(count)? {
            return Ok(enough);
        }
    }
    Ok(limit)
}

fn notify_all<'py>(this: Ref<'_, 'py, Condition>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if Ref::<Condition>::cast_exact(this.as_any()).is_some() {
        this.notify_all()?;
    } else {
        // A subclass may have a notify() of its own.
        this.as_any().call_method1(intern!(py, "notify"), (this.waiters.len(py)?,))?;
    }
    Ok(none(py))
}

fn lock<'py>(this: Ref<'_, 'py, Condition>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.lock())
}

/// A method of the lock, under the same name.
macro_rules! of_the_lock {
    ($name:ident) => {
        fn $name<'py>(this: Ref<'_, 'py, Condition>) -> PyResult<Bound<'py, PyAny>> {
            this.lock().getattr(intern!(this.py(), stringify!($name)))
        }
    };
}

of_the_lock!(acquire);
of_the_lock!(release);
of_the_lock!(locked);

fn repr<'py>(this: Ref<'_, 'py, Condition>) -> PyResult<Bound<'py, PyAny>> {
    attributes::repr(this, if this.is_locked()? { "locked" } else { "unlocked" })
}

/// Builds the classes.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    define_coroutine!(py, Wait)?;
    define_coroutine!(py, WaitFor)?;
    let mut methods = vec![
        method0!(
            Condition,
            c"wait",
            Ref::<Condition>::wait,
            c"wait($self)\n--\n\nFree the lock, wait to be notified, acquire the lock again; return True.\n\n\
              Raise RuntimeError when the lock is free."
        ),
        method_named1!(
            Condition,
            "wait_for",
            "predicate",
            wait_for,
            c"wait_for($self, predicate)\n--\n\nWait until what predicate() returns is true; return it."
        ),
        method!(
            Condition,
            c"notify",
            notify,
            c"notify($self, n=1)\n--\n\nWake up to n of those who wait.\n\n\
              Raise RuntimeError when the lock is free."
        ),
        method0!(
            Condition,
            c"notify_all",
            notify_all,
            c"notify_all($self)\n--\n\nWake all who wait.\n\nRaise RuntimeError when the lock is free."
        ),
        get_loop_method!(Condition),
    ];
    methods.extend(context_methods!(Condition));
    let mut attributes = waitable_attributes!(Condition);
    attributes.extend([
        attribute!(Condition, c"_lock", lock),
        attribute!(Condition, c"acquire", acquire),
        attribute!(Condition, c"release", release),
        attribute!(Condition, c"locked", locked),
    ]);
    let class = build::<Condition>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(
                c"Condition(lock=None)\n--\n\n\
                  Lets tasks wait for what others change under a lock: asyncio.Condition.",
            ),
            methods,
            attributes,
            slots: vec![
                init_slot!(Condition, init),
                unary_slot!(Condition, capi::Py_tp_repr, repr),
            ],
            subclassable: true,
            constructible: true,
            weak_references: true,
            dictionary: true,
            plain_name: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["wait", "wait_for", "__aenter__", "__aexit__"])?;
    module.add("Condition", class)
}
