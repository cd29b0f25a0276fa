//! The parts of an event loop that need to know nothing of what runs on it: readiness, timers,
//! wake-ups, write queues and threads for calls that block.
//!
//! Here is a whole event loop. It listens to a socket, keeps a timer and takes messages from
//! another thread, all in one thread that sleeps when there is nothing to do.
//!
//! ```
//! use ferrio_reactor::{Inbox, Interest, Poller, TimerQueue, Trigger, clock};
//! use std::collections::VecDeque;
//! use std::io::{Read, Write};
//! use std::os::fd::AsRawFd;
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//! use std::thread;
//! use std::time::Duration;
//!
//! const SOCKET: usize = 0;
//!
//! fn main() -> std::io::Result<()> {
//!     let mut poller = Poller::new()?;
//!     let mut timers = TimerQueue::new();
//!     let inbox = Arc::new(Inbox::new(poller.waker()));
//!
//!     let (mut socket, mut peer) = UnixStream::pair()?;
//!     socket.set_nonblocking(true)?;
//!     poller.register(socket.as_raw_fd(), SOCKET, Interest::READABLE, Trigger::Edge)?;
//!     peer.write_all(b"a byte from a socket")?;
//!     timers.insert(clock::now() + 2_000_000, "two milliseconds have passed");
//!     let thread = thread::spawn({
//!         let inbox = inbox.clone();
//!         move || inbox.push("a message from a thread")
//!     });
//!
//!     let mut heard = Vec::new();
//!     let mut messages = VecDeque::new();
//!     while heard.len() < 3 {
//!         let timeout = match timers.next_deadline() {
//!             _ if !inbox.prepare_to_sleep() => Some(Duration::ZERO),
//!             Some(deadline) => Some(Duration::from_nanos(deadline.saturating_sub(clock::now()))),
//!             None => None,
//!         };
//!         poller.poll(timeout)?;
//!         inbox.awake();
//!
//!         for event in poller.events().filter(|event| event.token == SOCKET) {
//!             let mut bytes = [0; 64];
//!             if event.wakes_reader() {
//!                 let count = socket.read(&mut bytes)?;
//!                 heard.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
//!             }
//!         }
//!         inbox.drain_into(&mut messages);
//!         heard.extend(messages.drain(..).map(String::from));
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
//! - **Another thread** has something to say. It [pushes](Inbox::push) it into an [`Inbox`]; the
//!   [page on it](Inbox) gives the order of steps in which a message and a thread falling asleep
//!   cannot miss each other. With nothing to say but "look!", a [`Waker`] will do.
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
//! # Blocking
//!
//! What can only be had by waiting, a name look-up or a file, a [`BlockingPool`] waits for; its job
//! ends with a push into the loop's inbox.
//!
//! # What it promises all over
//!
//! - A value of the caller's (a timer's, a message, a buffer, a job) is handed back to be dropped by
//!   the caller, in a place of the caller's choice, or else dropped with its container. Where
//!   dropping a value runs arbitrary code, as it does for a Python object, that is what keeps such
//!   code from finding the container half changed.
//! - Once it has reached its working size nothing here allocates, but for a pool's job (a box).
//! - Nothing here waits for anything to happen, but for [`Poller::poll`] and
//!   [`BlockingPool::shutdown`].

#![warn(missing_docs, clippy::undocumented_unsafe_blocks)]

pub mod clock;
mod heap;
mod inbox;
mod level;
mod pace;
mod poller;
mod pool;
mod registry;
mod timers;
mod waker;
mod write_queue;

pub use inbox::Inbox;
pub use pace::Pace;
pub use poller::{Poller, Readiness};
pub use pool::{BlockingPool, SpawnError};
pub use registry::{Interest, Registry, Trigger};
pub use timers::{TimerKey, TimerQueue};
pub use waker::Waker;
pub use write_queue::WriteQueue;
