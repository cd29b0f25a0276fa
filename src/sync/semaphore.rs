//! `Semaphore` and `BoundedSemaphore`: so many at a time, in the order in which they came.

use std::cell::Cell;
use std::cmp::Ordering;
use std::ffi::CStr;
use std::ops::Deref;

use pyo3::exceptions::PyValueError;
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;

use super::attributes::{self, get_loop_method, waitable_attributes};
use super::context::context_methods;
use super::deque::Deque;
use super::number::Number;
use super::waiters::{
    Bindable, Waitable, any_alive, is_cancelled, is_done, wait_in_line, wake_some,
};
use super::{after, boolean, is_cancellation, kept, none};
use crate::ffi::call::Sent;
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Extends, Ref, Signature, Slot, Traversal, Visit, build,
};
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
use crate::{attribute, define_coroutine, init_slot, method0, unary_slot};

/// The fields of `ferrio.Semaphore`.
#[derive(Default)]
pub struct Semaphore {
    event_loop: Slot,
    waiters: Deque,
    value: Cell<Number>,
}

static SEMAPHORE: ClassCell = ClassCell::new();

impl Class for Semaphore {
    const NAME: &'static CStr = c"ferrio.Semaphore";

    fn class() -> &'static ClassCell {
        &SEMAPHORE
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.event_loop)?;
        self.waiters.traverse(visit)
    }

    fn clear(&self) {
        self.event_loop.clear();
        self.waiters.clear();
    }
}

/// The fields of `ferrio.BoundedSemaphore`.
#[derive(Default)]
#[repr(C)]
pub struct BoundedSemaphore {
    semaphore: Semaphore,
    bound: Cell<Number>,
}

static BOUNDED_SEMAPHORE: ClassCell = ClassCell::new();

impl Class for BoundedSemaphore {
    const NAME: &'static CStr = c"ferrio.BoundedSemaphore";

    fn class() -> &'static ClassCell {
        &BOUNDED_SEMAPHORE
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.semaphore.traverse(visit)
    }

    fn clear(&self) {
        self.semaphore.clear();
    }
}

// SAFETY: `repr(C)`, a semaphore first, and `define` builds the class so.
unsafe impl Extends<Semaphore> for BoundedSemaphore {}

impl Deref for BoundedSemaphore {
    type Target = Semaphore;

    fn deref(&self) -> &Semaphore {
        &self.semaphore
    }
}

impl Bindable for Semaphore {
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }
}

impl Waitable for Semaphore {
    fn waiters(&self) -> &Deque {
        &self.waiters
    }
}

impl<'py> Ref<'_, 'py, Semaphore> {
    /// Whether one who comes now must wait: also when others came before.
    #[inline]
    fn is_locked(self) -> PyResult<bool> {
        Ok(self.value.get().sign() == Some(Ordering::Equal) || any_alive(&self.waiters, self.py())?)
    }

    /// The same, by the method of a subclass that has its own.
    #[inline]
    fn asks_locked(self) -> PyResult<bool> {
        let this = self.as_any();
        if Ref::<Semaphore>::cast_exact(this).is_some()
            || Ref::<BoundedSemaphore>::cast_exact(this).is_some()
        {
            return self.is_locked();
        }
        this.call_method0(intern!(self.py(), "locked"))?.is_truthy()
    }

    /// Counts down, if one who comes now need not wait. Returns whether it did.
    #[inline]
    pub fn take(self) -> PyResult<bool> {
        let free = !self.asks_locked()?;
        if free {
            self.add(-1);
        }
        Ok(free)
    }

    #[inline]
    fn add(self, difference: i32) {
        self.value.set(self.value.get().plus(difference));
    }

    /// `release()`
    #[inline]
    pub fn release(self) -> PyResult<()> {
        self.add(1);
        self.wake_next().map(drop)
    }

    /// Gives one of the count to the first who waits for it. Returns whether there was one.
    fn wake_next(self) -> PyResult<bool> {
        let woken = wake_some(&self.waiters, 1, &boolean(self.py(), true))? == 1;
        if woken {
            self.add(-1);
        }
        Ok(woken)
    }

    /// Gives all of the count to those who wait: some may have come while there was no turn for them.
    fn wake_all(self) -> PyResult<()> {
        while self.value.get().sign() == Some(Ordering::Greater) && self.wake_next()? {}
        Ok(())
    }

    /// Takes the end of one's wait. What one who is cancelled was given, goes back.
    ///
    /// Up to 3.12 asyncio wakes one more at most, and none after a cancellation that gave nothing back.
    fn waited(self, waiter: &Bound<'_, PyAny>, outcome: Result<(), &PyErr>) -> PyResult<()> {
        let cancelled = outcome.is_err_and(|error| is_cancellation(error, self.py()));
        let gives_back =
            cancelled && !is_cancelled(waiter)? && (cfg!(not(Py_3_13)) || is_done(waiter)?);
        if gives_back {
            self.add(1);
        }
        if cfg!(Py_3_13) {
            return self.wake_all();
        }
        let others = outcome.is_ok() && self.value.get().sign() == Some(Ordering::Greater);
        if gives_back || others { self.wake_next().map(drop) } else { Ok(()) }
    }
}

impl Ref<'_, '_, BoundedSemaphore> {
    /// `release()`. Raises `ValueError` when nobody has acquired it.
    #[inline]
    pub fn release(self) -> PyResult<()> {
        if self.value.get().reaches(self.bound.get()) {
            return Err(PyValueError::new_err("BoundedSemaphore released too many times"));
        }
        self.up::<Semaphore>().release()
    }
}

static ACQUIRE: Identity = Identity::new("Semaphore.acquire", file!(), line!());

/// The coroutine of `acquire()`.
#[derive(Default)]
struct Acquire {
    semaphore: Slot,
    waiter: Slot,
}

impl Body for Acquire {
    fn identity() -> &'static Identity {
        &ACQUIRE
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.semaphore)?;
        visit.slot(&self.waiter)
    }

    fn clear(&self) {
        self.semaphore.clear();
        self.waiter.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let semaphore = kept::<Semaphore>(&this.body.semaphore, py)?;
        let semaphore = semaphore.get(py);
        let awaited = match resume {
            Resume::Start if semaphore.take()? => return Ok(Sent::Returned(boolean(py, true))),
            Resume::Start => wait_in_line(this, semaphore, &semaphore.waiters, &this.body.waiter),
            resume => this.go_on(resume),
        };
        if let Ok(Sent::Yielded(_)) = awaited {
            return awaited;
        }
        let Some(waiter) = this.body.waiter.take(py) else { return awaited };
        semaphore.waiters.remove(&waiter)?;
        match awaited {
            Ok(_) => {
                semaphore.waited(&waiter, Ok(()))?;
                Ok(Sent::Returned(boolean(py, true)))
            }
            Err(error) => Err(after(semaphore.waited(&waiter, Err(&error)), error, py)),
        }
    }
}

fn read(args: &Args<'_, '_>, name: &'static str) -> PyResult<Number> {
    let signature = Signature { name, parameters: ["value"], positional: 1, required: 0 };
    match args.parse(&signature)? {
        [Some(value)] => Number::from_python(&value),
        [None] => Ok(Number::Int(1)),
    }
}

fn set_initial(semaphore: &Semaphore, value: Number) -> PyResult<()> {
    if value.sign() == Some(Ordering::Less) {
        return Err(PyValueError::new_err("Semaphore initial value must be >= 0"));
    }
    semaphore.value.set(value);
    Ok(())
}

fn init(this: Ref<'_, '_, Semaphore>, args: &Args<'_, '_>) -> PyResult<()> {
    set_initial(&this, read(args, "Semaphore.__init__")?)
}

fn init_bounded(this: Ref<'_, '_, BoundedSemaphore>, args: &Args<'_, '_>) -> PyResult<()> {
    let value = read(args, "BoundedSemaphore.__init__")?;
    this.bound.set(value);
    set_initial(&this, value)
}

fn acquire<'py>(this: Ref<'_, 'py, Semaphore>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Acquire>::create(this.py(), |body| body.semaphore.set(this.to_any()))
}

fn release<'py>(this: Ref<'_, 'py, Semaphore>) -> PyResult<Bound<'py, PyAny>> {
    this.release()?;
    Ok(none(this.py()))
}

fn release_bounded<'py>(this: Ref<'_, 'py, BoundedSemaphore>) -> PyResult<Bound<'py, PyAny>> {
    this.release()?;
    Ok(none(this.py()))
}

fn locked<'py>(this: Ref<'_, 'py, Semaphore>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.is_locked()?))
}

fn value<'py>(this: Ref<'_, 'py, Semaphore>) -> PyResult<Bound<'py, PyAny>> {
    this.value.get().to_python(this.py())
}

fn set_value(this: Ref<'_, '_, Semaphore>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.value.set(attributes::number(value)?);
    Ok(())
}

fn bound<'py>(this: Ref<'_, 'py, BoundedSemaphore>) -> PyResult<Bound<'py, PyAny>> {
    this.bound.get().to_python(this.py())
}

fn set_bound(
    this: Ref<'_, '_, BoundedSemaphore>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    this.bound.set(attributes::number(value)?);
    Ok(())
}

fn repr<'py>(this: Ref<'_, 'py, Semaphore>) -> PyResult<Bound<'py, PyAny>> {
    if this.is_locked()? {
        return attributes::repr(this, "locked");
    }
    attributes::repr(this, &format!("unlocked, value:{}", value(this)?))
}

/// Builds the classes.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    define_coroutine!(py, Acquire)?;
    let mut methods = vec![
        method0!(
            Semaphore,
            c"acquire",
            acquire,
            c"acquire($self)\n--\n\nCount down, when that is possible and all who came before did; return True."
        ),
        method0!(
            Semaphore,
            c"release",
            release,
            c"release($self)\n--\n\nCount up and let the first who waits have it."
        ),
        method0!(
            Semaphore,
            c"locked",
            locked,
            c"locked($self)\n--\n\nReturn True if acquire() would wait."
        ),
        get_loop_method!(Semaphore),
    ];
    methods.extend(context_methods!(Semaphore));
    let mut attributes = waitable_attributes!(Semaphore);
    attributes.push(attribute!(Semaphore, c"_value", value, set_value));
    let object = py.get_type::<PyAny>();
    let class = build::<Semaphore>(
        &object,
        Definition {
            doc: Some(
                c"Semaphore(value=1)\n--\n\nLets so many tasks in at a time: asyncio.Semaphore.",
            ),
            methods,
            attributes,
            slots: vec![
                init_slot!(Semaphore, init),
                unary_slot!(Semaphore, capi::Py_tp_repr, repr),
            ],
            subclassable: true,
            constructible: true,
            weak_references: true,
            dictionary: true,
            plain_name: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["acquire", "__aenter__", "__aexit__"])?;
    module.add("Semaphore", class)?;
    let bounded = build::<BoundedSemaphore>(
        &object,
        Definition {
            doc: Some(
                c"BoundedSemaphore(value=1)\n--\n\n\
                  A semaphore that is never released more often than acquired: asyncio.BoundedSemaphore.",
            ),
            methods: vec![method0!(
                BoundedSemaphore,
                c"release",
                release_bounded,
                c"release($self)\n--\n\nCount up and let the first who waits have it.\n\n\
                  Raise ValueError when that would exceed the initial value."
            )],
            attributes: vec![attribute!(BoundedSemaphore, c"_bound_value", bound, set_bound)],
            slots: vec![init_slot!(BoundedSemaphore, init_bounded)],
            subclassable: true,
            constructible: true,
            weak_references: true,
            dictionary: true,
            plain_name: true,
            extends: Some(Semaphore::class()),
            ..Definition::default()
        },
    )?;
    module.add("BoundedSemaphore", bounded)
}
