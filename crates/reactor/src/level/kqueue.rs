//! macOS and FreeBSD.

use std::os::fd::RawFd;
use std::{io, mem, ptr};

use crate::Interest;

/// Adding a filter that exists changes its token but not its trigger: it has to go first.
pub(crate) const CHANGES_IN_PLACE: bool = false;

pub(crate) fn register(
    kqueue: RawFd,
    fd: RawFd,
    token: usize,
    interest: Interest,
) -> io::Result<()> {
    if interest.is_readable() {
        add(kqueue, fd, libc::EVFILT_READ, token)?;
    }
    if interest.is_writable() {
        add(kqueue, fd, libc::EVFILT_WRITE, token)?;
    }
    Ok(())
}

/// The same as [`register`]: the poller has removed the old filters.
pub(crate) fn reregister(
    kqueue: RawFd,
    fd: RawFd,
    token: usize,
    interest: Interest,
) -> io::Result<()> {
    register(kqueue, fd, token, interest)
}

fn add(kqueue: RawFd, fd: RawFd, filter: i16, token: usize) -> io::Result<()> {
    // SAFETY: `kevent` is a plain C structure of integers and a pointer that the system doesn't
    // follow: all zeros is a valid value.
    let mut change: libc::kevent = unsafe { mem::zeroed() };
    change.ident = fd as libc::uintptr_t;
    change.filter = filter;
    // No `EV_CLEAR`: that is what makes it level-triggered.
    change.flags = libc::EV_ADD;
    change.udata = token as *mut libc::c_void;
    // SAFETY: the call reads one `kevent` through a pointer that is valid for the call and, with no
    // room for events, writes nothing. It checks both descriptors itself.
    match unsafe { libc::kevent(kqueue, &change, 1, ptr::null_mut(), 0, ptr::null()) } {
        -1 => match io::Error::last_os_error() {
            // All changes have been applied when the call is interrupted.
            error if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
            // Old versions of macOS say so of a pipe whose other end is gone, and report its end
            // all the same.
            error if error.raw_os_error() == Some(libc::EPIPE) => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}
