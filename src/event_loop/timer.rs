//! What waits for its time in a loop.

use ferrio_reactor::clock;
use pyo3::prelude::*;

use super::handle::TimerHandle;
use super::ready::Ready;
use crate::combine::timeout::Timeout;
use crate::ffi::{Owned, Traversal, Visit};
use crate::task::future::Future;

/// `when`, in seconds of the loop's clock, as the timers are ordered by: nanoseconds, whose zero lies in the middle, for a
/// program's own clock may be anywhere. The conversion saturates: infinity never comes.
#[inline]
pub fn deadline(when: f64) -> u64 {
    instant((when * 1e9) as i64)
}

/// The present instant of ferrio's clock, as a deadline.
#[inline]
pub fn now() -> u64 {
    instant(clock::now() as i64)
}

#[inline]
fn instant(nanoseconds: i64) -> u64 {
    (nanoseconds as u64) ^ (1 << 63)
}

/// One thing that becomes ready at its time.
pub enum Timer {
    /// A callback from `call_later` or `call_at`.
    Handle(Owned<TimerHandle>),
    /// A future that ends with the result `None`.
    Wake(Owned<Future>),
    /// A time-out that cancels its task.
    Timeout(Owned<Timeout>),
}

impl Timer {
    /// Reports what the timer owns to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        visit.pointer(match self {
            Timer::Handle(handle) => handle.as_ptr(),
            Timer::Wake(future) => future.as_ptr(),
            Timer::Timeout(timeout) => timeout.as_ptr(),
        })
    }

    /// Its time has come: what goes into the ready queue. It has left the timers, and its key names nothing.
    pub fn due(self, py: Python<'_>) -> Ready {
        match self {
            Timer::Handle(handle) => {
                handle.get(py).set_key(None);
                Ready::Timer(handle)
            }
            Timer::Wake(future) => Ready::Wake(future),
            Timer::Timeout(timeout) => {
                timeout.get(py).due();
                Ready::Timeout(timeout)
            }
        }
    }
}
