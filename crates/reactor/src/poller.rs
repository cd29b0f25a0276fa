//! Readiness of file descriptors.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::registry::WAKER;
use crate::{Interest, Registry, Trigger, Waker};

/// How many events one poll fetches at most; the others come with the next.
const EVENTS: usize = 1024;

/// The longest wait asked of the system; some refuse a timeout of years. `asyncio` has the same
/// bound.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What a poll found out about one file descriptor.
///
/// The fields tell what the system said. To decide whom to call, ask [`wakes_reader`] and
/// [`wakes_writer`]: a broken connection may be neither readable nor writable by the letter.
///
/// One poll may report a token twice, once for each direction (kqueue does).
///
/// [`wakes_reader`]: Readiness::wakes_reader
/// [`wakes_writer`]: Readiness::wakes_writer
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The token of the registration.
    pub token: usize,
    /// A read would not block.
    pub readable: bool,
    /// A write would not block.
    pub writable: bool,
    /// The peer will send no more, or the connection is gone. There may be bytes left to read.
    pub read_closed: bool,
    /// A write would fail: the connection or the pipe's reading end is gone.
    pub write_closed: bool,
    /// An error waits to be fetched (`SO_ERROR`, or the next read or write).
    pub error: bool,
    /// Urgent data has come (`MSG_OOB`), and reads stop where it stands: one that left room in its
    /// buffer has perhaps not drained the socket. Told under [`Trigger::Edge`], where the system can.
    pub urgent: bool,
}

impl Readiness {
    /// Whether a reader has something to find out: bytes, the end, or an error.
    #[inline]
    pub fn wakes_reader(&self) -> bool {
        self.readable || self.read_closed || self.error
    }

    /// Whether a writer has something to find out: room, a broken connection, or an error.
    #[inline]
    pub fn wakes_writer(&self) -> bool {
        self.writable || self.write_closed || self.error
    }
}

/// Tells which file descriptors are ready: epoll on Linux, kqueue on macOS and the BSDs.
///
/// What it watches is up to its [`Registry`], whose methods it repeats for convenience.
///
/// ```
/// use ferrio_reactor::{Interest, Poller, Trigger};
/// use std::io::Write;
/// use std::os::fd::AsRawFd;
/// use std::os::unix::net::UnixStream;
///
/// # fn main() -> std::io::Result<()> {
/// let (left, mut right) = UnixStream::pair()?;
/// let mut poller = Poller::new()?;
/// poller.register(left.as_raw_fd(), 7, Interest::READABLE, Trigger::Level)?;
///
/// right.write_all(b"hello")?;
/// poller.poll(None)?;
/// let event = poller.events().next().unwrap();
/// assert_eq!(event.token, 7);
/// assert!(event.readable && !event.read_closed);
///
/// poller.deregister(left.as_raw_fd())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Poller {
    registry: Registry,
    poll: mio::Poll,
    events: mio::Events,
    waker: Waker,
}

impl Poller {
    /// A poller with nothing registered. Its own descriptors aren't inherited by child processes.
    ///
    /// # Errors
    ///
    /// When the process or the system has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let waker = Waker::new(mio::Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            registry: Registry::new(poll.registry().try_clone()?),
            poll,
            events: mio::Events::with_capacity(EVENTS),
            waker,
        })
    }

    /// A handle that interrupts [`poll`](Poller::poll), from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Registers descriptors from elsewhere: from any thread, also while this one polls.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// [`Registry::register`].
    pub fn register(
        &self,
        fd: RawFd,
        token: usize,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.registry.register(fd, token, interest, trigger)
    }

    /// [`Registry::reregister`].
    pub fn reregister(
        &self,
        fd: RawFd,
        token: usize,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.registry.reregister(fd, token, interest, trigger)
    }

    /// [`Registry::deregister`].
    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        self.registry.deregister(fd)
    }

    /// Waits until something registered is ready, the [`Waker`] is used, a signal handler has run,
    /// or `timeout` is over, whichever comes first. `None` waits for ever, zero not at all. What
    /// was found is in [`events`](Poller::events) afterwards; what the poll before had found is
    /// gone.
    ///
    /// The timeout is rounded up to the poller's resolution (a millisecond with epoll), so that a
    /// timer is never waited for in vain. A wait of more than a day may end early.
    ///
    /// # Errors
    ///
    /// The system's own; an interrupted call isn't one, but a poll without events.
    pub fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| timeout.min(LONGEST_WAIT));
        match self.poll.poll(&mut self.events, timeout) {
            // mio has cleared the events before it was interrupted.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        if self.events.iter().any(|event| event.token() == WAKER) {
            self.waker.seen();
        }
        Ok(())
    }

    /// What the last poll found, without the waker's own event.
    pub fn events(&self) -> impl Iterator<Item = Readiness> {
        self.events.iter().filter(|event| event.token() != WAKER).map(|event| Readiness {
            token: event.token().0,
            readable: event.is_readable(),
            writable: event.is_writable(),
            read_closed: event.is_read_closed(),
            write_closed: event.is_write_closed(),
            error: event.is_error(),
            urgent: event.is_priority(),
        })
    }
}

#[cfg(test)]
mod tests;
