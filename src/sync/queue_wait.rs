//! The coroutines of a queue: `put`, `get` and `join`.

use pyo3::prelude::*;

use super::deque::Deque;
use super::queue::Queue;
use super::waiters::{cancel, is_cancelled, wait_in_line, wake_next};
use super::{after, kept, none};
use crate::define_coroutine;
use crate::ffi::call::Sent;
use crate::ffi::{Ref, Slot, Traversal, Visit};
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};

static PUT: Identity = Identity::new("Queue.put", file!(), line!());

/// The coroutine of `put(item)`.
#[derive(Default)]
struct Put {
    queue: Slot,
    item: Slot,
    waiter: Slot,
}

impl Body for Put {
    fn identity() -> &'static Identity {
        &PUT
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.queue)?;
        visit.slot(&self.item)?;
        visit.slot(&self.waiter)
    }

    fn clear(&self) {
        self.queue.clear();
        self.item.clear();
        self.waiter.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let queue = kept::<Queue>(&this.body.queue, py)?;
        let queue = queue.get(py);
        let side =
            Side { line: &queue.putters, waiter: &this.body.waiter, must_wait: || queue.is_full() };
        if let Some(yielded) = side.wait(this, queue, resume)? {
            return Ok(Sent::Yielded(yielded));
        }
        queue.put_now(this.body.item.get_or_none(py)).map(Sent::Returned)
    }
}

static GET: Identity = Identity::new("Queue.get", file!(), line!());

/// The coroutine of `get()`.
#[derive(Default)]
struct Get {
    queue: Slot,
    waiter: Slot,
}

impl Body for Get {
    fn identity() -> &'static Identity {
        &GET
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.queue)?;
        visit.slot(&self.waiter)
    }

    fn clear(&self) {
        self.queue.clear();
        self.waiter.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let queue = kept::<Queue>(&this.body.queue, py)?;
        let queue = queue.get(py);
        let side = Side {
            line: &queue.getters,
            waiter: &this.body.waiter,
            must_wait: || queue.is_empty(),
        };
        if let Some(yielded) = side.wait(this, queue, resume)? {
            return Ok(Sent::Yielded(yielded));
        }
        queue.get_now().map(Sent::Returned)
    }
}

/// One side of a queue, as one who stands there sees it.
struct Side<'a, F> {
    /// The others who wait on this side.
    line: &'a Deque,
    /// Where this one keeps its own future.
    waiter: &'a Slot,
    /// Whether there is nothing to do now but to wait.
    must_wait: F,
}

impl<F: Fn() -> PyResult<bool>> Side<'_, F> {
    /// Waits until it need not: what is yielded, or nothing once the wait is over.
    #[inline]
    fn wait<'py, B: Body>(
        &self,
        coroutine: Ref<'_, 'py, Coroutine<B>>,
        queue: Ref<'_, 'py, Queue>,
        resume: Resume,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut awaited = match resume {
            Resume::Start => None,
            resume => Some(coroutine.go_on(resume)),
        };
        loop {
            match awaited {
                Some(Ok(Sent::Yielded(yielded))) => return Ok(Some(yielded)),
                Some(Err(error)) => {
                    let py = coroutine.py();
                    return Err(after(self.give_up(py), error, py));
                }
                Some(Ok(Sent::Returned(_))) | None => {}
            }
            if !(self.must_wait)()? {
                return Ok(None);
            }
            queue.check_open()?;
            awaited = Some(wait_in_line(coroutine, queue, self.line, self.waiter));
        }
    }

    /// Takes this one out of the line. A turn that it was given is the next one's.
    #[cold]
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let Some(waiter) = self.waiter.take(py) else { return Ok(()) };
        cancel(&waiter)?;
        self.line.remove(&waiter)?;
        if !(self.must_wait)()? && !is_cancelled(&waiter)? {
            wake_next(self.line, py)?;
        }
        Ok(())
    }
}

static JOIN: Identity = Identity::new("Queue.join", file!(), line!());

/// The coroutine of `join()`.
#[derive(Default)]
struct Join {
    queue: Slot,
}

impl Body for Join {
    fn identity() -> &'static Identity {
        &JOIN
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.queue)
    }

    fn clear(&self) {
        self.queue.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let awaited = match resume {
            Resume::Start => {
                let queue = kept::<Queue>(&this.body.queue, py)?;
                let queue = queue.get(py);
                if queue.unfinished.get() <= 0 {
                    return Ok(Sent::Returned(none(py)));
                }
                this.begin(&queue.finished()?.get(py).wait()?)?
            }
            resume => this.go_on(resume)?,
        };
        Ok(match awaited {
            Sent::Yielded(future) => Sent::Yielded(future),
            Sent::Returned(_) => Sent::Returned(none(py)),
        })
    }
}

/// `put(item)`
pub fn put<'py>(
    queue: Ref<'_, 'py, Queue>,
    item: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Put>::create(queue.py(), |body| {
        body.queue.set(queue.to_any());
        body.item.set(item.clone());
    })
}

/// `get()`
pub fn get<'py>(queue: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Get>::create(queue.py(), |body| body.queue.set(queue.to_any()))
}

/// `join()`
pub fn join<'py>(queue: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Join>::create(queue.py(), |body| body.queue.set(queue.to_any()))
}

/// Builds the coroutines' classes.
pub fn define(py: Python<'_>) -> PyResult<()> {
    define_coroutine!(py, Put)?;
    define_coroutine!(py, Get)?;
    define_coroutine!(py, Join)
}
