//! Readiness, timers, wake-ups and write queues for an event loop.
