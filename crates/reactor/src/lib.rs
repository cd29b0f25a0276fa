//! Readiness, timers, wake-ups and write queues for an event loop.

#![warn(missing_docs, clippy::undocumented_unsafe_blocks)]

pub mod clock;
mod heap;
mod inbox;
mod level;
mod pace;
mod poller;
mod pool;
mod timers;
mod waker;
mod write_queue;

pub use inbox::Inbox;
pub use pace::Pace;
pub use poller::{Interest, Poller, Readiness, Trigger};
pub use pool::{BlockingPool, SpawnError};
pub use timers::{TimerKey, TimerQueue};
pub use waker::Waker;
pub use write_queue::WriteQueue;
