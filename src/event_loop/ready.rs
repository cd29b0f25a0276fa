//! What stands in the ready queue.

use pyo3::prelude::*;

use super::handle::{Handle, TimerHandle};
use super::job::Job;
use super::thread_safe_handle::ThreadSafeHandle;
use crate::combine::timeout::Timeout;
use crate::combine::watcher::Watcher;
use crate::ffi::{Owned, Traversal, Visit};
use crate::task::Task;
use crate::task::future::Future;
use crate::transport::datagram::DatagramTransport;
use crate::transport::listener::Listener;
use crate::transport::stream::StreamTransport;

/// One thing to run in this turn of the loop or the next. A task or a transport stands here as itself, not
/// as a callback wrapped in a handle.
pub enum Ready {
    /// A callback from `call_soon`, or a reader or writer whose file descriptor is ready.
    Handle(Owned<Handle>),
    /// A callback from `call_soon_threadsafe`.
    ThreadSafe(Owned<ThreadSafeHandle>),
    /// A call in a worker thread that has ended.
    Job(Owned<Job>),
    /// A timer that is due.
    Timer(Owned<TimerHandle>),
    /// A task whose turn it is.
    Task(Owned<Task>),
    /// A future whose time to end has come: a sleep's.
    Wake(Owned<Future>),
    /// A time-out that is due.
    Timeout(Owned<Timeout>),
    /// A combinator, and the future that has ended.
    Ended(Watcher, Owned<Future>),
    /// A transport whose socket is ready.
    Stream(Owned<StreamTransport>),
    /// The same for datagrams.
    Datagram(Owned<DatagramTransport>),
    /// A listening socket with connections to accept.
    Listener(Owned<Listener>),
}

impl From<Owned<Handle>> for Ready {
    #[inline]
    fn from(handle: Owned<Handle>) -> Self {
        Ready::Handle(handle)
    }
}

impl From<Owned<ThreadSafeHandle>> for Ready {
    #[inline]
    fn from(handle: Owned<ThreadSafeHandle>) -> Self {
        Ready::ThreadSafe(handle)
    }
}

impl Ready {
    /// Reports what the entry owns to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        if let Ready::Ended(watcher, _) = self {
            visit.pointer(watcher.as_ptr())?;
        }
        visit.pointer(match self {
            Ready::Handle(handle) => handle.as_ptr(),
            Ready::ThreadSafe(handle) => handle.as_ptr(),
            Ready::Job(job) => job.as_ptr(),
            Ready::Timer(timer) => timer.as_ptr(),
            Ready::Task(task) => task.as_ptr(),
            Ready::Wake(future) | Ready::Ended(_, future) => future.as_ptr(),
            Ready::Timeout(timeout) => timeout.as_ptr(),
            Ready::Stream(stream) => stream.as_ptr(),
            Ready::Datagram(datagram) => datagram.as_ptr(),
            Ready::Listener(listener) => listener.as_ptr(),
        })
    }

    /// Whether the entry's object knows, in debug mode, where it was made: as `_source_traceback`.
    pub fn notes_origin(&self) -> bool {
        match self {
            Ready::Handle(_)
            | Ready::ThreadSafe(_)
            | Ready::Timer(_)
            | Ready::Task(_)
            | Ready::Wake(_)
            | Ready::Ended(..) => true,
            Ready::Job(_)
            | Ready::Timeout(_)
            | Ready::Stream(_)
            | Ready::Datagram(_)
            | Ready::Listener(_) => false,
        }
    }

    /// The entry as the object that debug messages name.
    pub fn to_any<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Ready::Handle(handle) => handle.get(py).to_any(),
            Ready::ThreadSafe(handle) => handle.get(py).to_any(),
            Ready::Job(job) => job.get(py).to_any(),
            Ready::Timer(timer) => timer.get(py).to_any(),
            Ready::Task(task) => task.get(py).to_any(),
            Ready::Wake(future) | Ready::Ended(_, future) => future.get(py).to_any(),
            Ready::Timeout(timeout) => timeout.get(py).to_any(),
            Ready::Stream(stream) => stream.get(py).to_any(),
            Ready::Datagram(datagram) => datagram.get(py).to_any(),
            Ready::Listener(listener) => listener.get(py).to_any(),
        }
    }
}
