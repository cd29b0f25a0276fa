//! Linux.

use std::io;
use std::os::fd::RawFd;

use crate::Interest;

/// `EPOLL_CTL_MOD` replaces the trigger along with the interest.
pub(crate) const CHANGES_IN_PLACE: bool = true;

pub(crate) fn register(
    epoll: RawFd,
    fd: RawFd,
    token: usize,
    interest: Interest,
) -> io::Result<()> {
    control(epoll, libc::EPOLL_CTL_ADD, fd, token, interest)
}

pub(crate) fn reregister(
    epoll: RawFd,
    fd: RawFd,
    token: usize,
    interest: Interest,
) -> io::Result<()> {
    control(epoll, libc::EPOLL_CTL_MOD, fd, token, interest)
}

fn control(
    epoll: RawFd,
    operation: libc::c_int,
    fd: RawFd,
    token: usize,
    interest: Interest,
) -> io::Result<()> {
    let mut events = 0;
    if interest.is_readable() {
        // Without `EPOLLRDHUP` the end of the stream would look like bytes.
        events |= libc::EPOLLIN | libc::EPOLLRDHUP;
    }
    if interest.is_writable() {
        events |= libc::EPOLLOUT;
    }
    let mut event = libc::epoll_event { events: events as u32, u64: token as u64 };
    // SAFETY: the call reads one `epoll_event` through a pointer that is valid for the call. It
    // checks both descriptors itself: a wrong one is an error, never a memory access.
    match unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
