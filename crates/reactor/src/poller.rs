//! Readiness of file descriptors.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::Token;
use mio::event::Source;
use mio::unix::SourceFd;

use crate::{Waker, level};

/// The waker's events carry it, so no registration may.
const WAKER: Token = Token(usize::MAX);

/// How many events one poll fetches at most; the others come with the next.
const EVENTS: usize = 1024;

/// The longest wait asked of the system; some refuse a timeout of years. `asyncio` has the same bound.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What to be told about a file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interest(u8);

impl Interest {
    /// When a read would not block: bytes, a connection to accept, the end of the stream.
    pub const READABLE: Self = Self(1);
    /// When a write would not block, and when a connection is made or has failed.
    pub const WRITABLE: Self = Self(2);
    /// Both.
    pub const BOTH: Self = Self(3);

    /// Whether reads are of interest.
    pub const fn is_readable(self) -> bool {
        self.0 & Self::READABLE.0 != 0
    }

    /// Whether writes are of interest.
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITABLE.0 != 0
    }

    /// The interests `reading` and `writing` together, or `None` when both are false.
    ///
    /// ```
    /// use ferrio_reactor::Interest;
    ///
    /// assert_eq!(Interest::of(true, false), Some(Interest::READABLE));
    /// assert_eq!(Interest::of(false, false), None);
    /// ```
    pub const fn of(reading: bool, writing: bool) -> Option<Self> {
        match reading as u8 | (writing as u8) << 1 {
            0 => None,
            bits => Some(Self(bits)),
        }
    }

    fn to_mio(self) -> mio::Interest {
        match (self.is_readable(), self.is_writable()) {
            (true, true) => mio::Interest::READABLE | mio::Interest::WRITABLE,
            (false, _) => mio::Interest::WRITABLE,
            (true, false) => mio::Interest::READABLE,
        }
    }
}

/// How often to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Once each time the file descriptor becomes ready (and when more arrives). Whoever is told
    /// reads, or writes, until `WouldBlock`, or remembers that it has not.
    Edge,
    /// With every poll as long as it is ready.
    Level,
}

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
/// A file descriptor is known by its number. The poller doesn't own it and never reads, writes or
/// closes it. Take it out with [`deregister`](Poller::deregister) *before* closing it: the system forgets
/// a closed descriptor by itself only when no duplicate of it is left.
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
            poll,
            events: mio::Events::with_capacity(EVENTS),
            waker,
        })
    }

    /// A handle that interrupts [`poll`](Poller::poll), from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Starts watching `fd`. Its events will carry `token`, any number but `usize::MAX`.
    ///
    /// A descriptor that is ready already is reported by the next poll, under either trigger.
    ///
    /// # Errors
    ///
    /// The system's own, with its `raw_os_error`; on Linux `EEXIST` for a descriptor that is registered already
    /// (kqueue replaces the registration), `EBADF` for one that isn't open, `EPERM` for one that cannot be
    /// polled, such as a regular file. `InvalidInput` for the token `usize::MAX`.
    pub fn register(
        &self,
        fd: RawFd,
        token: usize,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let token = checked(token)?;
        match trigger {
            Trigger::Edge => SourceFd(&fd).register(self.poll.registry(), token, interest.to_mio()),
            Trigger::Level => level::register(self.poll.as_raw_fd(), fd, token.0, interest),
        }
    }

    /// Changes the token, the interest and the trigger of a registered `fd`, and looks afresh: if
    /// it is ready now the next poll reports it, under either trigger, whether or not that has been reported before.
    ///
    /// # Errors
    ///
    /// As [`register`](Poller::register), and on Linux `ENOENT` for a descriptor that isn't registered (kqueue
    /// registers it).
    pub fn reregister(
        &self,
        fd: RawFd,
        token: usize,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let token = checked(token)?;
        if !level::CHANGES_IN_PLACE {
            self.deregister(fd)?;
            return self.register(fd, token.0, interest, trigger);
        }
        match trigger {
            Trigger::Edge => {
                SourceFd(&fd).reregister(self.poll.registry(), token, interest.to_mio())
            }
            Trigger::Level => level::reregister(self.poll.as_raw_fd(), fd, token.0, interest),
        }
    }

    /// Stops watching `fd`. Events that the last poll has fetched are still in
    /// [`events`](Poller::events).
    ///
    /// # Errors
    ///
    /// On Linux `ENOENT` for a descriptor that isn't registered (kqueue doesn't mind), and `EBADF` for one that is
    /// closed.
    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        SourceFd(&fd).deregister(self.poll.registry())
    }

    /// Waits until something registered is ready, the [`Waker`] is used, a signal handler has run, or
    /// `timeout` is over, whichever comes first. `None` waits for ever, zero not at all. What was
    /// found is in [`events`](Poller::events) afterwards; what the poll before had found is gone.
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
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                return Ok(());
            }
            result => result?,
        }
        if self.events.iter().any(|event| event.token() == WAKER) {
            self.waker.seen();
        }
        Ok(())
    }

    /// What the last poll found, without the waker's own event.
    pub fn events(&self) -> impl Iterator<Item = Readiness> {
        self.events
            .iter()
            .filter(|event| event.token() != WAKER)
            .map(|event| Readiness {
                token: event.token().0,
                readable: event.is_readable(),
                writable: event.is_writable(),
                read_closed: event.is_read_closed(),
                write_closed: event.is_write_closed(),
                error: event.is_error(),
            })
    }
}

fn checked(token: usize) -> io::Result<Token> {
    match Token(token) {
        WAKER => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the token usize::MAX is reserved",
        )),
        token => Ok(token),
    }
}
