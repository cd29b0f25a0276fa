//! Which file descriptors to watch, and how.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use mio::Token;
use mio::event::Source;
use mio::unix::SourceFd;

use crate::level;

/// The waker's events carry it, so no registration may.
pub(crate) const WAKER: Token = Token(usize::MAX);

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
            (true, true) => READS | mio::Interest::WRITABLE,
            (false, _) => mio::Interest::WRITABLE,
            (true, false) => READS,
        }
    }
}

/// What concerns a reader, urgent data included where the system tells of it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const READS: mio::Interest = mio::Interest::READABLE.add(mio::Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const READS: mio::Interest = mio::Interest::READABLE;

/// How often to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Once each time the file descriptor becomes ready (and when more arrives). Whoever is told
    /// reads, or writes, until `WouldBlock`, or remembers that it has not.
    Edge,
    /// With every poll as long as it is ready.
    Level,
}

/// Says which file descriptors a [`Poller`](crate::Poller) watches.
///
/// It is a handle: a clone registers with the same poller, from any thread. A poll that is going on
/// takes the change into account at once.
///
/// A file descriptor is known by its number. The registry doesn't own it and never reads, writes or
/// closes it. Take it out with [`deregister`](Registry::deregister) *before* closing it: the system
/// forgets a closed descriptor by itself only when no duplicate of it is left.
///
/// ```
/// use ferrio_reactor::{Interest, Poller, Trigger};
/// use std::io::Write;
/// use std::os::fd::AsRawFd;
/// use std::os::unix::net::UnixStream;
/// use std::thread;
///
/// # fn main() -> std::io::Result<()> {
/// let (left, mut right) = UnixStream::pair()?;
/// right.write_all(b"hello")?;
///
/// let mut poller = Poller::new()?;
/// let registry = poller.registry().clone();
/// let registering = thread::spawn(move || {
///     registry.register(left.as_raw_fd(), 7, Interest::READABLE, Trigger::Level)?;
///     Ok::<_, std::io::Error>(left)
/// });
/// poller.poll(None)?; // ends when the thread has registered the socket
/// assert_eq!(poller.events().next().unwrap().token, 7);
/// # let left = registering.join().unwrap()?;
/// # poller.deregister(left.as_raw_fd())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    selector: Arc<mio::Registry>,
}

impl Registry {
    pub(crate) fn new(selector: mio::Registry) -> Self {
        Self { selector: Arc::new(selector) }
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn selector(&self) -> &mio::Registry {
        &self.selector
    }

    /// Starts watching `fd`. Its events will carry `token`, any number but `usize::MAX`.
    ///
    /// A descriptor that is ready already is reported by the next poll, under either trigger.
    ///
    /// # Errors
    ///
    /// The system's own, with its `raw_os_error`; on Linux `EEXIST` for a descriptor that is
    /// registered already (kqueue replaces the registration), `EBADF` for one that isn't open,
    /// `EPERM` for one that cannot be polled, such as a regular file. `InvalidInput` for the token
    /// `usize::MAX`.
    pub fn register(
        &self,
        fd: RawFd,
        token: usize,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let token = checked(token)?;
        match trigger {
            Trigger::Edge => SourceFd(&fd).register(&self.selector, token, interest.to_mio()),
            Trigger::Level => level::register(self.selector.as_raw_fd(), fd, token.0, interest),
        }
    }

    /// Changes the token, the interest and the trigger of a registered `fd`, and looks afresh: if
    /// it is ready now the next poll reports it, under either trigger, whether or not that has been
    /// reported before.
    ///
    /// # Errors
    ///
    /// As [`register`](Registry::register), and on Linux `ENOENT` for a descriptor that isn't
    /// registered (kqueue registers it).
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
            Trigger::Edge => SourceFd(&fd).reregister(&self.selector, token, interest.to_mio()),
            Trigger::Level => level::reregister(self.selector.as_raw_fd(), fd, token.0, interest),
        }
    }

    /// Stops watching `fd`. Events that the last poll has fetched are still in
    /// [`Poller::events`](crate::Poller::events).
    ///
    /// # Errors
    ///
    /// On Linux `ENOENT` for a descriptor that isn't registered (kqueue doesn't mind), and `EBADF`
    /// for one that is closed.
    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        SourceFd(&fd).deregister(&self.selector)
    }
}

fn checked(token: usize) -> io::Result<Token> {
    match Token(token) {
        WAKER => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "the token usize::MAX is reserved"))
        }
        token => Ok(token),
    }
}
