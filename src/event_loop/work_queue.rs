//! `WorkQueue`: what waits for the default executor's workers, and what they do.
//!
//! Everything in the queue is guarded by the GIL; a worker with nothing to do lets go of it and sleeps until it is woken.
//! It wakes the loop with the same step, once the GIL is free: woken before, the loop would wait for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use ferrio_reactor::Waker;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyInt};

use super::io::forks;
use super::job::Job;
use super::{boolean, none};
use crate::ffi::{
    Args, Class, ClassCell, Definition, Owned, Ref, Slot, Traversal, Visit, build, os_error,
};
use crate::{init_slot, method, method0, method1};

/// One thing for a worker to do.
enum Work {
    /// What `run_in_executor` left.
    Job(Owned<Job>),
    /// What `submit` of `concurrent.futures.ThreadPoolExecutor` left: an object with a method `run`.
    Item(Slot),
}

/// A worker thread, where others can wake it.
struct Worker {
    thread: Thread,
    woken: AtomicBool,
}

impl Worker {
    /// This thread.
    fn here() -> Arc<Self> {
        Arc::new(Worker { thread: thread::current(), woken: AtomicBool::new(false) })
    }

    /// Waits, in the worker's own thread, until it is woken.
    fn sleep(&self) {
        while !self.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }

    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The fields of `ferrio._ferrio.WorkQueue`.
#[derive(Default)]
pub struct WorkQueue {
    waiting: RefCell<VecDeque<Work>>,
    /// Workers that sleep. The last to have worked is the first to be woken: what it needs is still in its processor's cache.
    idle: RefCell<Vec<Arc<Worker>>>,
    /// How many workers were woken and don't run yet.
    rising: Cell<usize>,
    /// The count of forks when these two were last looked at. The workers of a parent process are not there.
    forks: Cell<u32>,
    /// Whether the workers end when nothing waits any more.
    ended: Cell<bool>,
}

static WORK_QUEUE: ClassCell = ClassCell::new();

impl Class for WorkQueue {
    const NAME: &'static CStr = c"ferrio._ferrio.WorkQueue";

    fn class() -> &'static ClassCell {
        &WORK_QUEUE
    }

    fn fresh() -> Self {
        WorkQueue { forks: Cell::new(forks()), ..Self::default() }
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.waiting.borrow().iter().try_for_each(|work| match work {
            Work::Job(job) => visit.pointer(job.as_ptr()),
            Work::Item(item) => visit.slot(item),
        })
    }

    fn clear(&self) {
        let waiting = self.waiting.take();
        drop(waiting);
    }
}

impl WorkQueue {
    /// Whether it takes no more work.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether more waits than workers that have nothing else to do.
    pub fn wants_worker(&self) -> bool {
        self.leave_parent();
        self.waiting.borrow().len() > self.idle.borrow().len() + self.rising.get()
    }

    /// Leaves a job to the next worker.
    pub fn push(&self, job: Owned<Job>) {
        self.put(Work::Job(job));
    }

    fn put(&self, work: Work) {
        self.waiting.borrow_mut().push_back(work);
        self.wake_one();
    }

    /// Wakes a worker that sleeps. Returns whether there was one.
    fn wake_one(&self) -> bool {
        self.leave_parent();
        let Some(worker) = self.idle.borrow_mut().pop() else { return false };
        self.rising.set(self.rising.get() + 1);
        worker.wake();
        true
    }

    /// In a child process: forgets the parent's workers.
    fn leave_parent(&self) {
        if self.forks.replace(forks()) != forks() {
            self.idle.borrow_mut().clear();
            self.rising.set(0);
        }
    }

    fn next(&self) -> Option<Work> {
        self.waiting.borrow_mut().pop_front()
    }

    /// Lets the worker sleep until it is woken, and wakes the loop that has its result.
    fn rest(&self, py: Python<'_>, worker: &Arc<Worker>, result: Option<Waker>) -> PyResult<()> {
        self.idle.borrow_mut().push(Arc::clone(worker));
        let told = py.detach(|| {
            let told = result.map_or(Ok(()), |waker| waker.wake());
            worker.sleep();
            told
        });
        self.rising.set(self.rising.get() - 1);
        told.map_err(os_error)
    }
}

/// Works until the queue has ended and nothing waits: what a worker thread runs.
///
/// The arguments are those of an item's `run`. Raises what such an item raises.
fn work<'py>(this: Ref<'_, 'py, WorkQueue>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let worker = Worker::here();
    let mut result: Option<Waker> = None;
    loop {
        let Some(work) = this.next() else {
            if this.ended.get() {
                break;
            }
            this.rest(py, &worker, result.take())?;
            continue;
        };
        // The loop goes on while this thread has more to do.
        if let Some(waker) = result.take() {
            py.detach(|| waker.wake()).map_err(os_error)?;
        }
        match work {
            Work::Job(job) => result = job.get(py).perform(),
            Work::Item(item) => {
                if let Some(item) = item.get(py) {
                    item.call_method1(intern!(py, "run"), args.rest(0).to_tuple()?)?;
                }
            }
        }
    }
    if let Some(waker) = result {
        waker.wake().map_err(os_error)?;
    }
    none(this)
}

/// Takes an item in, or `None`: no more will come.
fn put<'py>(
    this: Ref<'_, 'py, WorkQueue>,
    item: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    if item.is_none() {
        this.ended.set(true);
        while this.wake_one() {}
    } else {
        this.put(Work::Item(Slot::new(item.clone())));
    }
    none(this)
}

/// Takes the next out. Raises `queue.Empty` when there is none.
fn get_nowait<'py>(this: Ref<'_, 'py, WorkQueue>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    match this.next() {
        Some(Work::Job(job)) => Ok(job.into_any(py)),
        Some(Work::Item(item)) => Ok(item.get_or_none(py)),
        None => Err(PyErr::from_value(py.import("queue")?.getattr("Empty")?.call0()?)),
    }
}

fn qsize<'py>(this: Ref<'_, 'py, WorkQueue>) -> PyResult<Bound<'py, PyAny>> {
    let size = this.waiting.borrow().len();
    Ok(PyInt::new(this.py(), size).into_any())
}

fn wants_worker<'py>(this: Ref<'_, 'py, WorkQueue>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), this.wants_worker())
}

fn init(_: Ref<'_, '_, WorkQueue>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: crate::ffi::Signature<0> =
        crate::ffi::Signature { name: "WorkQueue", parameters: [], positional: 0, required: 0 };
    args.parse(&INIT).map(drop)
}

/// Builds the class, with the methods that `concurrent.futures.ThreadPoolExecutor` calls of its queue.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let class = build::<WorkQueue>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"WorkQueue()\n--\n\nWhat waits for the workers of an executor."),
            methods: vec![
                method1!(
                    WorkQueue,
                    c"put",
                    put,
                    c"put($self, item, /)\n--\n\nLeave an item with a method run() to a worker; None: no more will come."
                ),
                method0!(
                    WorkQueue,
                    c"get_nowait",
                    get_nowait,
                    c"get_nowait($self)\n--\n\nTake the next item out, or raise queue.Empty."
                ),
                method0!(
                    WorkQueue,
                    c"qsize",
                    qsize,
                    c"qsize($self)\n--\n\nReturn how many items wait."
                ),
                method0!(
                    WorkQueue,
                    c"wants_worker",
                    wants_worker,
                    c"wants_worker($self)\n--\n\nReturn True if more waits than there are workers without work."
                ),
                method!(
                    WorkQueue,
                    c"work",
                    work,
                    c"work($self, /, *args)\n--\n\nWork in this thread until no more will come; items are run with the arguments."
                ),
            ],
            slots: vec![init_slot!(WorkQueue, init)],
            constructible: true,
            ..Definition::default()
        },
    )?;
    module.add("WorkQueue", class)
}
