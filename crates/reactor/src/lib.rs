//! The parts of an event loop that need to know nothing of what runs on it: readiness, timers,
//! wake-ups and write queues.
//!
//! Here is a whole event loop. It listens to a socket, keeps a timer and takes messages from
//! another thread, all in one thread that sleeps when there is nothing to do.
//!
//! ```
//! use ferrio_reactor::{Interest, Poller, TimerQueue, Trigger, clock};
//! use std::io::{Read, Write};
//! use std::os::fd::AsRawFd;
//! use std::os::unix::net::UnixStream;
//! use std::sync::{Arc, Mutex};
//! use std::thread;
//! use std::time::Duration;
//!
//! const SOCKET: usize = 0;
//!
//! fn main() -> std::io::Result<()> {
//!     let mut poller = Poller::new()?;
//!     let mut timers = TimerQueue::new();
//!     let messages = Arc::new(Mutex::new(Vec::new()));
//!
//!     let (mut socket, mut peer) = UnixStream::pair()?;
//!     socket.set_nonblocking(true)?;
//!     poller.register(socket.as_raw_fd(), SOCKET, Interest::READABLE, Trigger::Edge)?;
//!     peer.write_all(b"a byte from a socket")?;
//!     timers.insert(clock::now() + 2_000_000, "two milliseconds have passed");
//!     let thread = thread::spawn({
//!         let (messages, waker) = (messages.clone(), poller.waker());
//!         move || {
//!             messages.lock().unwrap().push("a message from a thread");
//!             waker.wake()
//!         }
//!     });
//!
//!     let mut heard = Vec::new();
//!     while heard.len() < 3 {
//!         let timeout = timers
//!             .next_deadline()
//!             .map(|deadline| Duration::from_nanos(deadline.saturating_sub(clock::now())));
//!         poller.poll(timeout)?;
//!
//!         for event in poller.events().filter(|event| event.token == SOCKET) {
//!             let mut bytes = [0; 64];
//!             if event.wakes_reader() {
//!                 let count = socket.read(&mut bytes)?;
//!                 heard.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
//!             }
//!         }
//!         heard.extend(messages.lock().unwrap().drain(..).map(String::from));
//!         while let Some(what) = timers.pop_due(clock::now()) {
//!             heard.push(what.to_owned());
//!         }
//!     }
//!
//!     heard.sort();
//!     assert_eq!(heard[0], "a byte from a socket");
//!     assert_eq!(heard[1], "a message from a thread");
//!     assert_eq!(heard[2], "two milliseconds have passed");
//!     poller.deregister(socket.as_raw_fd())?;
//!     thread.join().unwrap()
//! }
//! ```
//!
//! # Sleeping
//!
//! An event loop is a thread that sleeps well: it sleeps whenever it has nothing to do, and nothing
//! that concerns it happens without waking it. Four things end its sleep.
//!
//! - **A file descriptor** becomes ready. The [`Registry`] of a [`Poller`] says which ones count and
//!   how often to be told, [`Trigger::Edge`] for code that remembers readiness,
//!   [`Trigger::Level`] for code that doesn't; [`Poller::events`] tells which ones it was.
//! - **A deadline** passes. [`TimerQueue::next_deadline`] minus [`clock::now`] is the timeout of the
//!   poll, which rounds it up, so that there is something due when it returns.
//! - **Another thread** has something to say. It puts it where the loop looks after each poll, and
//!   then uses a [`Waker`], whose page says why the two cannot miss each other.
//! - **A signal** has been handled: [`Poller::poll`] returns without events.
//!
//! Each may also wake the loop for nothing. Look at what there is, not at what woke you.
//!
//! # Not sleeping
//!
//! With callbacks to run a loop doesn't sleep, and then need not even poll every time. [`Pace`]
//! bounds how long it may go without.
//!
//! # Writing
//!
//! What a socket has no room for waits in a [`WriteQueue`], as the buffers that it came in, and
//! leaves together in one system call when the socket has room again.
//!
//! # What it promises all over
//!
//! - A value of the caller's (a timer's, a buffer) is handed back to be dropped by
//!   the caller, in a place of the caller's choice, or else dropped with its container. Where
//!   dropping a value runs arbitrary code, as it does for a Python object, that is what keeps such
//!   code from finding the container half changed.
//! - Once it has reached its working size nothing here allocates.
//! - Nothing here waits for anything to happen, but for [`Poller::poll`].

#![warn(missing_docs, clippy::undocumented_unsafe_blocks)]

pub mod clock;
mod heap;
mod level;
mod pace;
mod poller;
mod registry;
mod timers;
mod waker;
mod write_queue;

pub use pace::Pace;
pub use poller::{Poller, Readiness};
pub use registry::{Interest, Registry, Trigger};
pub use timers::{TimerKey, TimerQueue};
pub use waker::Waker;
pub use write_queue::WriteQueue;
