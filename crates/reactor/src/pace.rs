//! How often to poll while there is other work.

use std::time::Duration;

/// Bounds the time between two polls while callbacks are ready.
///
/// Polling is a system call; an event loop that has callbacks to run need not ask the kernel at
/// every turn. But it must not go without asking for long either, or sockets starve behind
/// callbacks that keep scheduling each other. `Pace` says when the time is up. A loop with nothing
/// else to do polls anyway and only reports it with [`polled`](Pace::polled).
///
/// ```
/// use std::time::Duration;
/// use ferrio_reactor::Pace;
///
/// let mut pace = Pace::new(Duration::from_micros(50));
/// assert!(pace.due(0)); // never polled yet
/// pace.polled(1_000);
/// assert!(!pace.due(50_999));
/// assert!(pace.due(51_000));
/// ```
#[derive(Clone, Debug)]
pub struct Pace {
    gap: u64,
    next: u64,
}

impl Pace {
    /// A pace of at most `gap` between two polls. With a gap of zero every turn polls.
    pub fn new(gap: Duration) -> Self {
        Self { gap: u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX), next: 0 }
    }

    /// Whether a poll is due at `now_ns`, nanoseconds on [the clock](crate::clock).
    #[inline]
    pub fn due(&self, now_ns: u64) -> bool {
        now_ns >= self.next
    }

    /// Notes that a poll took place at `now_ns`. Take the time after the poll, not before: a poll
    /// may have waited.
    #[inline]
    pub fn polled(&mut self, now_ns: u64) {
        self.next = now_ns.saturating_add(self.gap);
    }
}

#[cfg(test)]
mod tests;
