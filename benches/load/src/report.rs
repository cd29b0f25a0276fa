//! What came of it.

use std::io::{self, ErrorKind};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// What went wrong on a connection; the connection is given up.
#[derive(Debug)]
pub enum Fault {
    /// Other bytes came back than were sent.
    Corrupted,
    /// The server closed the connection before it had echoed all.
    Closed,
    /// The system or TLS said so.
    Failed(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// How many times which thing went wrong, warm-up included.
#[derive(Default)]
pub struct Errors {
    corrupted: u64,
    closed: u64,
    failed: u64,
    unanswered: u64,
    first_failure: Option<String>,
}

impl Errors {
    /// Counts a fault.
    pub fn count(&mut self, fault: Fault) {
        match fault {
            Fault::Corrupted => self.corrupted += 1,
            Fault::Closed => self.closed += 1,
            Fault::Failed(why) => {
                self.failed += 1;
                self.first_failure.get_or_insert(why);
            }
        }
    }

    /// Counts a message that never came back whole.
    pub fn count_unanswered(&mut self) {
        self.unanswered += 1;
    }
}

/// What was measured.
pub struct Report {
    /// How long was measured.
    pub window: Duration,
    /// Latencies in nanoseconds, of the messages (or connections) that ended in the window.
    pub latencies: Histogram<u64>,
    /// CPU time of the server in the window, if its process was named.
    pub cpu: Option<Duration>,
    /// Memory of the server in bytes before the first connection was opened and before the first
    /// was closed, if its process was named.
    pub memory: Option<(u64, u64)>,
    /// Connections that were open at a time.
    pub connections: usize,
    /// Datagrams that didn't come back, warm-up included.
    pub lost: u64,
    /// What went wrong.
    pub errors: Errors,
}

impl Report {
    /// One line: counts, `per_second`, `latency_us`, `cpu_us` a message, `cpu_share` of one core,
    /// `memory_kib` a connection, and the errors. What could not be measured is null.
    pub fn to_json(&self) -> Value {
        let messages = self.latencies.len();
        let seconds = self.window.as_secs_f64();
        let cpu = self.cpu.map(|cpu| cpu.as_secs_f64());
        let latency = |quantile| {
            (messages > 0).then(|| self.latencies.value_at_quantile(quantile) as f64 / 1e3)
        };
        json!({
            "messages": messages,
            "seconds": seconds,
            "per_second": messages as f64 / seconds,
            "latency_us": {
                "p50": latency(0.5),
                "p99": latency(0.99),
                "p99.9": latency(0.999),
                "max": latency(1.0),
            },
            "cpu_us": cpu.filter(|_| messages > 0).map(|cpu| cpu * 1e6 / messages as f64),
            "cpu_share": cpu.map(|cpu| cpu / seconds),
            "memory_kib": self.memory.map(|(before, after)| {
                (after as f64 - before as f64) / 1024.0 / self.connections as f64
            }),
            "lost": self.lost,
            "errors": {
                "corrupted": self.errors.corrupted,
                "closed": self.errors.closed,
                "failed": self.errors.failed,
                "unanswered": self.errors.unanswered,
                "first_failure": self.errors.first_failure,
            },
        })
    }
}
