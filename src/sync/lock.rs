//! `Lock`: one at a time, in the order in which they came.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi as capi;
use pyo3::prelude::*;

use super::attributes::{self, get_loop_method, waitable_attributes};
use super::context::context_methods;
use super::deque::Deque;
use super::waiters::{Bindable, Waitable, any_alive, wait_in_line, wake};
use super::{after, boolean, is_cancellation, kept, none};
use crate::ffi::call::Sent;
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Ref, Signature, Slot, Traversal, Visit, build,
};
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
use crate::{attribute, define_coroutine, init_slot, method0, unary_slot};

/// The fields of `ferrio.Lock`.
#[derive(Default)]
pub struct Lock {
    event_loop: Slot,
    waiters: Deque,
    locked: Cell<bool>,
}

static LOCK: ClassCell = ClassCell::new();

impl Class for Lock {
    const NAME: &'static CStr = c"ferrio.Lock";

    fn class() -> &'static ClassCell {
        &LOCK
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

impl Bindable for Lock {
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }
}

impl Waitable for Lock {
    fn waiters(&self) -> &Deque {
        &self.waiters
    }
}

impl<'py> Ref<'_, 'py, Lock> {
    /// Whether somebody has it.
    #[inline]
    pub fn is_locked(self) -> bool {
        self.locked.get()
    }

    /// Takes the lock, if it is free and nobody came before. Returns whether it did.
    #[inline]
    pub fn take(self) -> PyResult<bool> {
        let free = !self.locked.get() && !any_alive(&self.waiters, self.py())?;
        if free {
            self.locked.set(true);
        }
        Ok(free)
    }

    /// `acquire()`
    pub fn acquire(self) -> PyResult<Bound<'py, PyAny>> {
        Coroutine::<Acquire>::create(self.py(), |body| body.lock.set(self.to_any()))
    }

    /// `release()`. Raises `RuntimeError` when nobody has it.
    #[inline]
    pub fn release(self) -> PyResult<()> {
        if !self.locked.replace(false) {
            return Err(PyRuntimeError::new_err("Lock is not acquired."));
        }
        self.wake_first()
    }

    fn wake_first(self) -> PyResult<()> {
        match self.waiters.get(self.py(), 0)? {
            Some(first) => wake(&first, boolean(self.py(), true)).map(drop),
            None => Ok(()),
        }
    }
}

static ACQUIRE: Identity = Identity::new("Lock.acquire", file!(), line!());

/// The coroutine of `acquire()`.
#[derive(Default)]
struct Acquire {
    lock: Slot,
    waiter: Slot,
}

impl Body for Acquire {
    fn identity() -> &'static Identity {
        &ACQUIRE
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.lock)?;
        visit.slot(&self.waiter)
    }

    fn clear(&self) {
        self.lock.clear();
        self.waiter.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let lock = kept::<Lock>(&this.body.lock, py)?;
        let lock = lock.get(py);
        let awaited = match resume {
            Resume::Start if lock.take()? => return Ok(Sent::Returned(boolean(py, true))),
            Resume::Start => wait_in_line(this, lock, &lock.waiters, &this.body.waiter),
            resume => this.go_on(resume),
        };
        if let Ok(Sent::Yielded(_)) = awaited {
            return awaited;
        }
        if let Some(waiter) = this.body.waiter.take(py) {
            lock.waiters.remove(&waiter)?;
        }
        match awaited {
            Ok(_) => {
                lock.locked.set(true);
                Ok(Sent::Returned(boolean(py, true)))
            }
            // The lock is free, and may have been given to this one: the next must know.
            Err(error) if is_cancellation(&error, py) && !lock.is_locked() => {
                Err(after(lock.wake_first(), error, py))
            }
            Err(error) => Err(error),
        }
    }
}

fn init(_: Ref<'_, '_, Lock>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<0> =
        Signature { name: "Lock.__init__", parameters: [], positional: 0, required: 0 };
    args.parse(&INIT).map(drop)
}

fn release<'py>(this: Ref<'_, 'py, Lock>) -> PyResult<Bound<'py, PyAny>> {
    this.release()?;
    Ok(none(this.py()))
}

fn locked<'py>(this: Ref<'_, 'py, Lock>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.is_locked()))
}

fn repr<'py>(this: Ref<'_, 'py, Lock>) -> PyResult<Bound<'py, PyAny>> {
    attributes::repr(this, if this.is_locked() { "locked" } else { "unlocked" })
}

/// Builds the classes.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    define_coroutine!(py, Acquire)?;
    let mut methods = vec![
        method0!(
            Lock,
            c"acquire",
            Ref::<Lock>::acquire,
            c"acquire($self)\n--\n\nAcquire the lock, when it is free and all who came before had it; return True."
        ),
        method0!(
            Lock,
            c"release",
            release,
            c"release($self)\n--\n\nFree the lock and let the first who waits have it.\n\n\
              Raise RuntimeError when it is not locked."
        ),
        method0!(Lock, c"locked", locked, c"locked($self)\n--\n\nReturn True if somebody has the lock."),
        get_loop_method!(Lock),
    ];
    methods.extend(context_methods!(Lock));
    let mut attributes = waitable_attributes!(Lock);
    attributes.push(attribute!(Lock, c"_locked", locked));
    let class = build::<Lock>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"Lock()\n--\n\nA lock for tasks, fair: asyncio.Lock."),
            methods,
            attributes,
            slots: vec![init_slot!(Lock, init), unary_slot!(Lock, capi::Py_tp_repr, repr)],
            subclassable: true,
            constructible: true,
            weak_references: true,
            dictionary: true,
            plain_name: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["acquire", "__aenter__", "__aexit__"])?;
    module.add("Lock", class)
}
