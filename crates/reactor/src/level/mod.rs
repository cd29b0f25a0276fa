//! Level-triggered registration.
//!
//! mio registers edge-triggered only; `loop.add_reader` promises that its callback runs as long as
//! there is something to read. Both epoll and kqueue are level-triggered unless told otherwise, and
//! mio hands out the descriptor of its selector, so here we tell that selector ourselves. mio
//! reports the events like its own: all that it reads from them is the token and the readiness.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use epoll::{CHANGES_IN_PLACE, register, reregister};

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
mod kqueue;
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
pub(crate) use kqueue::{CHANGES_IN_PLACE, register, reregister};

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd"
)))]
compile_error!("ferrio-reactor needs epoll (Linux) or kqueue (macOS, FreeBSD)");
