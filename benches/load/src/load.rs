//! The loop: one thread, one poller, all connections.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};

use crate::connection::{Connection, Purpose};
use crate::cpu::CpuClock;
use crate::link::{Link, Server, Target};
use crate::memory::resident;
use crate::message::Message;
use crate::options::Options;
use crate::report::{Errors, Fault, Report};

/// How long the last messages may still take after the measured time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections that are opened together. Fewer than any server's backlog holds: a connection that
/// finds it full is tried again only after a second.
const BATCH: usize = 64;

/// After how long a datagram counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(250);

/// Room beyond a message in the receive buffer, so that bytes too many are seen, and a read that
/// does not fill the buffer has emptied the socket.
const ROOM: usize = 16 * 1024;

/// Connects, loads, measures, and waits for the last messages to come back.
pub fn run(server: Server, options: &Options) -> io::Result<Report> {
    let cpu = options.pid.map(CpuClock::of).transpose()?;
    let read_cpu = || cpu.as_ref().map(CpuClock::read).transpose();
    let read_memory = || options.pid.map(resident).transpose();
    let memory_before = read_memory()?;
    let mut load = Load::new(server, options)?;
    load.open(options)?;

    load.until(Instant::now() + options.warm_up)?;
    load.latencies.reset();
    let (began, cpu_began) = (Instant::now(), read_cpu()?);
    load.until(began + options.seconds)?;
    let (window, cpu_ended) = (began.elapsed(), read_cpu()?);
    let latencies = load.latencies.clone();
    load.drain()?;

    Ok(Report {
        window,
        latencies,
        cpu: cpu_ended.zip(cpu_began).map(|(ended, began)| ended - began),
        memory: memory_before.zip(read_memory()?),
        connections: options.connections,
        lost: load.lost,
        errors: load.errors,
    })
}

struct Load {
    poll: Poll,
    events: Events,
    target: Target,
    /// By their token; `None` is a connection that was given up.
    connections: Vec<Option<Connection>>,
    purpose: Purpose,
    pace: Option<Pace>,
    /// Whether another message follows the one that came back.
    sending: bool,
    latencies: Histogram<u64>,
    lost: u64,
    next_search: Instant,
    errors: Errors,
    buffer: Vec<u8>,
}

/// Messages at fixed times: the active connections take turns.
struct Pace {
    next: Instant,
    interval: Duration,
    turn: usize,
    turns: usize,
}

impl Load {
    fn new(server: Server, options: &Options) -> io::Result<Self> {
        let purpose = if options.reconnect { Purpose::Reconnect } else { Purpose::Echo };
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            target: Target::new(server, options.tls.as_deref(), options.reconnect)?,
            connections: Vec::with_capacity(options.connections),
            purpose,
            pace: None,
            sending: false,
            latencies: Histogram::new(3).map_err(io::Error::other)?,
            lost: 0,
            next_search: Instant::now(),
            errors: Errors::default(),
            buffer: vec![0; options.size + ROOM],
        })
    }

    /// Opens the connections, a batch after the other. Each echoes one message, so that the server
    /// has accepted a batch when the next is opened; then the active ones begin.
    fn open(&mut self, options: &Options) -> io::Result<()> {
        for number in 0..options.connections {
            let link = self.open_link(number)?;
            let message = Message::new(number, options.size, options.line);
            let mut connection = Connection::new(link, self.purpose, message);
            connection.begin(Instant::now());
            self.connections.push(Some(connection));
            if (number + 1) % BATCH == 0 || number + 1 == options.connections {
                self.settle()?;
            }
        }
        self.sending = true;
        let next = Instant::now();
        self.pace = options.interval.map(|interval| Pace {
            next,
            interval,
            turn: 0,
            turns: options.active,
        });
        for number in 0..options.active {
            if self.pace.is_none()
                && self.connections[number].as_ref().is_some_and(|c| !c.is_busy())
            {
                let outcome = self.begin_next(number, Instant::now());
                self.give_up_on_fault(number, outcome);
            }
        }
        Ok(())
    }

    fn open_link(&mut self, number: usize) -> io::Result<Link> {
        let mut link = Link::open(&mut self.target)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut link.socket, Token(number), interest)?;
        Ok(link)
    }

    /// Keeps the server busy until `end`, or until no connection is left.
    fn until(&mut self, end: Instant) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if now >= end || self.connections.iter().all(Option::is_none) {
                return Ok(());
            }
            self.replace_what_was_lost(now)?;
            let due = self.send_what_is_due(now);
            self.turn(due.unwrap_or(end).min(end) - now)?;
        }
    }

    /// Waits for what is still on its way, and counts what doesn't come.
    fn drain(&mut self) -> io::Result<()> {
        self.sending = false;
        for _ in 0..self.settle()? {
            if self.target.may_lose() {
                self.lost += 1;
            } else {
                self.errors.count_unanswered();
            }
        }
        Ok(())
    }

    /// Waits until nothing is on its way, but not for ever; returns how many connections still
    /// have something on its way.
    fn settle(&mut self) -> io::Result<usize> {
        let patience = if self.target.may_lose() { LOST_AFTER } else { PATIENCE };
        let end = Instant::now() + patience;
        loop {
            let busy = self.connections.iter().flatten().filter(|one| one.is_busy()).count();
            let left = end.saturating_duration_since(Instant::now());
            if busy == 0 || left.is_zero() {
                return Ok(busy);
            }
            self.turn(left)?;
        }
    }

    /// Sends anew, from another port, where a datagram got lost.
    fn replace_what_was_lost(&mut self, now: Instant) -> io::Result<()> {
        if !self.target.may_lose() || now < self.next_search {
            return Ok(());
        }
        self.next_search = now + LOST_AFTER / 5;
        for number in 0..self.connections.len() {
            let since = self.connections[number].as_ref().and_then(Connection::since);
            if since.is_none_or(|since| now - since < LOST_AFTER) {
                continue;
            }
            self.lost += 1;
            let link = self.open_link(number)?;
            if let Some(connection) = &mut self.connections[number] {
                connection.reopen(link, now);
                connection.begin(now);
                let outcome = connection.send();
                self.give_up_on_fault(number, outcome);
            }
        }
        Ok(())
    }

    /// Begins the messages whose time has come; returns when the next is due, if there is a pace.
    fn send_what_is_due(&mut self, now: Instant) -> Option<Instant> {
        while let Some(pace) = &mut self.pace {
            if pace.next > now {
                return Some(pace.next);
            }
            let (number, due) = (pace.turn, pace.next);
            pace.turn = (pace.turn + 1) % pace.turns;
            pace.next += pace.interval;
            if let Some(connection) = &mut self.connections[number] {
                if connection.is_busy() {
                    connection.waiting.push_back(due);
                } else {
                    connection.begin(due);
                    let outcome = connection.send();
                    self.give_up_on_fault(number, outcome);
                }
            }
        }
        None
    }

    /// Polls for at most `timeout` and serves whoever is ready.
    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        // The poller rounds up to milliseconds: what is due sooner than that is waited for awake.
        let timeout = if self.pace.is_some() && timeout < Duration::from_millis(2) {
            Duration::ZERO
        } else {
            timeout
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for number in ready {
            self.advance(number)?;
        }
        Ok(())
    }

    /// Lets a connection go on; what it brings to an end is recorded, and followed by the next.
    fn advance(&mut self, number: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else {
            return Ok(());
        };
        let outcome = match connection.advance(&mut self.buffer) {
            Ok(None) => return Ok(()),
            Ok(Some(since)) => {
                let now = Instant::now();
                let latency = now.duration_since(since).as_nanos() as u64;
                self.latencies.record(latency).map_err(io::Error::other)?;
                if !self.sending {
                    return Ok(());
                }
                self.begin_next(number, now)
            }
            Err(fault) => Err(fault),
        };
        self.give_up_on_fault(number, outcome);
        Ok(())
    }

    /// Begins what follows a round trip that ended just `now`.
    fn begin_next(&mut self, number: usize, now: Instant) -> Result<(), Fault> {
        if self.purpose == Purpose::Reconnect {
            let link = self.open_link(number)?;
            if let Some(connection) = &mut self.connections[number] {
                connection.reopen(link, now);
            }
            return Ok(());
        }
        let Some(connection) = &mut self.connections[number] else {
            return Ok(());
        };
        let since = if self.pace.is_some() { connection.waiting.pop_front() } else { Some(now) };
        if let Some(since) = since {
            connection.begin(since);
        }
        connection.send()
    }

    fn give_up_on_fault(&mut self, number: usize, outcome: Result<(), Fault>) {
        if let Err(fault) = outcome {
            self.errors.count(fault);
            self.connections[number] = None;
        }
    }
}
