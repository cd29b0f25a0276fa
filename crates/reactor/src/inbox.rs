//! Messages from any thread to the thread that polls.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Waker;

/// A queue with many producers and one consumer, the thread that polls. A push wakes the consumer's
/// poller if, and only if, the consumer sleeps.
///
/// Values come out in the order in which they were pushed; in particular each producer's own order
/// is kept.
///
/// # The consumer's protocol
///
/// ```
/// use ferrio_reactor::{Inbox, Poller};
/// use std::collections::VecDeque;
/// use std::sync::Arc;
/// use std::thread;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let mut poller = Poller::new()?;
/// let inbox = Arc::new(Inbox::new(poller.waker()));
/// let producer = thread::spawn({
///     let inbox = inbox.clone();
///     move || (0..1000).try_for_each(|number| inbox.push(number))
/// });
///
/// let mut received = VecDeque::new();
/// while received.len() < 1000 {
///     // 1. Announce the sleep, 2. which looks once more, and 3. poll.
///     let timeout = if inbox.prepare_to_sleep() { None } else { Some(Duration::ZERO) };
///     poller.poll(timeout)?;
///     // 4. Say that the sleep is over: from here on a push costs no system call.
///     inbox.awake();
///     inbox.drain_into(&mut received);
/// }
/// assert!(received.into_iter().eq(0..1000));
/// # producer.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
///
/// A consumer that polls with a timeout of zero doesn't sleep, and may leave out the announcement
/// as long as it looks into the inbox afterwards.
///
/// # Why no wake-up is lost
///
/// The producer that fills an empty queue writes `filled`, then reads `asleep`. The consumer that
/// wants to sleep writes `asleep`, then reads `filled`. All four accesses are sequentially
/// consistent, so they have one order that everybody agrees on, and whichever write comes first in
/// it, the other side's read sees it: the producer wakes, or the consumer doesn't sleep (or both,
/// which is harmless). Anything weaker than `SeqCst` would let both reads go ahead of both writes,
/// as every processor's store buffer does, and both sides would miss each other.
///
/// A producer that finds the queue filled need not look at `asleep` at all. The one that filled it
/// has woken the consumer, is about to, or was seen by it; and `filled` and the queue change
/// together under the lock, so the consumer who comes for the first value takes the second with it.
#[derive(Debug)]
pub struct Inbox<T: Send> {
    queue: Mutex<VecDeque<T>>,
    /// Whether `queue` holds something. Written under the lock only.
    filled: AtomicBool,
    /// Whether the consumer may be in, or on its way into, a poll that waits.
    asleep: AtomicBool,
    waker: Waker,
}

impl<T: Send> Inbox<T> {
    /// An empty inbox whose consumer polls the poller that `waker` wakes.
    pub fn new(waker: Waker) -> Self {
        Self {
            queue: Mutex::new(VecDeque::new()),
            filled: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            waker,
        }
    }

    /// Appends `value`, and wakes the consumer if it sleeps. May be called from the consumer's own
    /// thread, and never waits for the consumer.
    ///
    /// # Errors
    ///
    /// What [`Waker::wake`] reports. The value is in the queue even so.
    pub fn push(&self, value: T) -> io::Result<()> {
        let mut queue = self.lock();
        let was_empty = queue.is_empty();
        queue.push_back(value);
        if !was_empty {
            return Ok(());
        }
        self.filled.store(true, Ordering::SeqCst);
        drop(queue);
        if self.asleep.load(Ordering::SeqCst) {
            self.waker.wake()?;
        }
        Ok(())
    }

    /// Moves everything to the back of `received`, in order. Costs one atomic load when there is
    /// nothing.
    ///
    /// Into an empty deque the values aren't moved one by one: the two deques swap their
    /// buffers, so that a consumer that always drains into the same deque makes both of them reach
    /// their working size once and allocates nothing after.
    pub fn drain_into(&self, received: &mut VecDeque<T>) {
        if self.is_empty() {
            return;
        }
        let mut queue = self.lock();
        if received.is_empty() {
            std::mem::swap(&mut *queue, received);
        } else {
            received.append(&mut queue);
        }
        self.filled.store(false, Ordering::SeqCst);
    }

    /// Whether nothing waits. A push that has returned, and that this thread knows of, is seen.
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.filled.load(Ordering::SeqCst)
    }

    /// Announces that the consumer is about to wait in its poller, and looks whether it may: true
    /// means that from now on every push into the empty queue wakes the poller; false, that
    /// something has come in and the consumer must not wait.
    ///
    /// For the consumer only.
    #[must_use = "false means that the consumer must not sleep"]
    pub fn prepare_to_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let may_sleep = self.is_empty();
        if !may_sleep {
            self.awake();
        }
        may_sleep
    }

    /// Says that the consumer has come back from its poll. For the consumer only.
    ///
    /// Forgetting it is no mistake, only a waste: pushes go on making system calls.
    pub fn awake(&self) {
        // A producer that still reads true wakes once too often; so no order is needed here.
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Calls `visit` with each waiting value, oldest first, for example to show them to a garbage
    /// collector.
    ///
    /// The queue is locked meanwhile: `visit` must not use this inbox.
    pub fn for_each(&self, visit: impl FnMut(&T)) {
        self.lock().iter().for_each(visit);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        // A panic under the lock (in `for_each`) leaves a whole queue behind.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
