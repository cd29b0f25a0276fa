//! Waking a poller from another thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes the [`Poller`](crate::Poller) it came from return from its poll: the one that is going on,
/// or else the next one.
///
/// Clone it freely and send it anywhere; it stays valid after the poller is gone (waking then does
/// nothing). It can be used in the poller's own thread too.
///
/// Waking is idempotent until the poller has seen it: any number of wakes before one poll cost one
/// system call, all but the first cost one atomic operation.
///
/// ```
/// use ferrio_reactor::Poller;
/// use std::thread;
///
/// # fn main() -> std::io::Result<()> {
/// let mut poller = Poller::new()?;
/// let waker = poller.waker();
/// let waking = thread::spawn(move || waker.wake());
/// poller.poll(None)?; // would wait for ever
/// assert_eq!(poller.events().count(), 0); // the wake-up is not an event
/// # waking.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
///
/// # Why no wake-up is lost
///
/// `pending` is true from before a wake's system call until the poll that reports it is about to
/// return. Whoever wants the poller's attention first publishes what it has to say, then swaps
/// `pending` to true.
///
/// - It found false: it makes the system call, and the poll returns.
/// - It found true: an earlier wake's system call is on its way, or its event has been fetched by a
///   poll that has not cleared the flag yet. Either way a poll will swap `pending` back to false,
///   *after* our swap, and only then return. Both swaps are read-modify-writes, so the poller's swap
///   continues the release sequence that ours headed, and with its acquire half sees everything
///   published before it, through whatever number of wakes lies between.
///
/// So the poller's thread must look at what was published after `poll` returns, which it does
/// anyway.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pending: AtomicBool,
    inner: mio::Waker,
}

impl Waker {
    pub(crate) fn new(inner: mio::Waker) -> Self {
        Self { shared: Arc::new(Shared { pending: AtomicBool::new(false), inner }) }
    }

    /// Wakes the poller. What was written to memory before is visible to its thread once `poll` has
    /// returned.
    ///
    /// # Errors
    ///
    /// When the system refuses, which no working system does; the next wake then tries again.
    pub fn wake(&self) -> io::Result<()> {
        if self.shared.pending.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.shared.inner.wake().inspect_err(|_| {
            self.shared.pending.store(false, Ordering::Release);
        })
    }

    /// Takes note that a poll has fetched the wake-up's event.
    pub(crate) fn seen(&self) {
        self.shared.pending.swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
pub(crate) mod tests;
