//! `async with lock`: what `__aenter__` and `__aexit__` of a lock, a condition and a semaphore return.

use pyo3::intern;
use pyo3::prelude::*;

use super::condition::Condition;
use super::lock::Lock;
use super::none;
use super::semaphore::{BoundedSemaphore, Semaphore};
use crate::define_coroutine;
use crate::ffi::call::Sent;
use crate::ffi::{Args, Class, Ref, Signature, Slot, Traversal, Visit};
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};

static ENTER: Identity = Identity::new("_ContextManagerMixin.__aenter__", file!(), line!());
/// Takes `manager` at once, if it is one of ours that is free. Returns whether it did.
#[inline]
fn take(manager: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Some(lock) = Ref::<Lock>::cast_exact(manager) {
        lock.take()
    } else if let Some(semaphore) = Ref::<Semaphore>::cast_exact(manager) {
        semaphore.take()
    } else if let Some(bounded) = Ref::<BoundedSemaphore>::cast_exact(manager) {
        bounded.up::<Semaphore>().take()
    } else {
        Ok(false)
    }
}

static EXIT: Identity = Identity::new("_ContextManagerMixin.__aexit__", file!(), line!());

/// The coroutine of `__aenter__()`: awaits what `acquire()` returns, and returns `None`.
#[derive(Default)]
pub struct Enter {
    manager: Slot,
}

impl Body for Enter {
    fn identity() -> &'static Identity {
        &ENTER
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.manager)
    }

    fn clear(&self) {
        self.manager.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let awaited = match resume {
            Resume::Start => {
                let manager = this.body.manager.get_or_none(py);
                if take(&manager)? {
                    return Ok(Sent::Returned(none(py)));
                }
                this.begin(&manager.call_method0(intern!(py, "acquire"))?)?
            }
            resume => this.go_on(resume)?,
        };
        Ok(match awaited {
            Sent::Yielded(future) => Sent::Yielded(future),
            Sent::Returned(_) => Sent::Returned(none(py)),
        })
    }
}

/// The coroutine of `__aexit__()`: calls `release()`.
#[derive(Default)]
pub struct Exit {
    manager: Slot,
}

impl Body for Exit {
    fn identity() -> &'static Identity {
        &EXIT
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.manager)
    }

    fn clear(&self) {
        self.manager.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, _: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let manager = this.body.manager.get_or_none(py);
        if let Some(lock) = Ref::<Lock>::cast_exact(&manager) {
            lock.release()?;
        } else if let Some(semaphore) = Ref::<Semaphore>::cast_exact(&manager) {
            semaphore.release()?;
        } else if let Some(bounded) = Ref::<BoundedSemaphore>::cast_exact(&manager) {
            bounded.release()?;
        } else {
            manager.call_method0(intern!(py, "release"))?;
        }
        Ok(Sent::Returned(none(py)))
    }
}

/// What is acquired and released: a condition's lock in its place.
#[inline]
fn manager<'py, T: Class>(this: Ref<'_, 'py, T>) -> Bound<'py, PyAny> {
    match Ref::<Condition>::cast(this.as_any()) {
        Some(condition) => condition.lock(),
        None => this.to_any(),
    }
}

/// `__aenter__()`
pub fn enter<'py, T: Class>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Enter>::create(this.py(), |body| body.manager.set(manager(this)))
}

/// `__aexit__(exc_type, exc, tb)`
pub fn exit<'py, T: Class>(
    this: Ref<'_, 'py, T>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    const EXIT: Signature<3> = Signature {
        name: "__aexit__",
        parameters: ["exc_type", "exc", "tb"],
        positional: 3,
        required: 3,
    };
    args.parse(&EXIT)?;
    Coroutine::<Exit>::create(this.py(), |body| body.manager.set(manager(this)))
}

/// The methods of an asynchronous context manager: a list of definitions.
macro_rules! context_methods {
    ($class:ty) => {{
        use $crate::sync::context;
        vec![
            $crate::method0!(
                $class,
                c"__aenter__",
                context::enter,
                c"__aenter__($self)\n--\n\nAcquire, as acquire() does; return None."
            ),
            $crate::method!(
                $class,
                c"__aexit__",
                context::exit,
                c"__aexit__($self, exc_type, exc, tb)\n--\n\nRelease, as release() does."
            ),
        ]
    }};
}

pub(super) use context_methods;

/// Builds the coroutines' classes.
pub fn define(py: Python<'_>) -> PyResult<()> {
    define_coroutine!(py, Enter)?;
    define_coroutine!(py, Exit)
}
