//! One connection: a message out, the same message back; or the connection itself, opened and
//! closed.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Instant;

use crate::link::Link;
use crate::message::Message;
use crate::report::Fault;

/// What a connection is made for.
#[derive(Clone, Copy, PartialEq)]
pub enum Purpose {
    /// To send messages and get them back.
    Echo,
    /// To be opened and closed.
    Reconnect,
}

/// A connection and the message that is on its way.
pub struct Connection {
    /// The byte stream.
    pub link: Link,
    /// When the messages that wait for the one on its way were due; empty in the closed loop.
    pub waiting: VecDeque<Instant>,
    purpose: Purpose,
    message: Message,
    sent: usize,
    received: usize,
    since: Option<Instant>,
    finishing: bool,
}

impl Connection {
    /// A connection over `link` that has nothing on its way.
    pub fn new(link: Link, purpose: Purpose, message: Message) -> Self {
        Self {
            link,
            waiting: VecDeque::new(),
            purpose,
            message,
            sent: 0,
            received: 0,
            since: None,
            finishing: false,
        }
    }

    /// Whether a message is on its way.
    pub fn is_busy(&self) -> bool {
        self.since.is_some()
    }

    /// Since when a message is on its way; `None` if there is none.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Makes the next message the one on its way; its latency counts from `since`.
    pub fn begin(&mut self, since: Instant) {
        self.message.renew();
        self.sent = 0;
        self.received = 0;
        self.since = Some(since);
    }

    /// Takes a fresh link in place of the one that ended, and starts with it.
    pub fn reopen(&mut self, link: Link, since: Instant) {
        self.link = link;
        self.finishing = false;
        self.since = Some(since);
    }

    /// Goes on as far as the socket allows. Returns since when the round trip that ended was on its
    /// way, or `None` if it has not ended. `buffer` is scratch, longer than a message.
    pub fn advance(&mut self, buffer: &mut [u8]) -> Result<Option<Instant>, Fault> {
        let outcome = match self.purpose {
            Purpose::Echo => self.echo(buffer),
            Purpose::Reconnect => self.open_and_close(buffer),
        };
        match outcome {
            Ok(()) => Ok(self.since.take()),
            Err(Stop::Later) => Ok(None),
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    /// Sends what the socket takes of the message. After `begin` this is all there is to do until
    /// the poller speaks: to ask for the echo at once would be a system call for nothing.
    pub fn send(&mut self) -> Result<(), Fault> {
        while self.is_busy() && self.sent < self.message.bytes().len() {
            match self.link.write(&self.message.bytes()[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn echo(&mut self, buffer: &mut [u8]) -> Result<(), Stop> {
        self.send()?;
        loop {
            let count = self.link.read(buffer)?;
            if count == 0 {
                return Err(Fault::Closed.into());
            }
            // Nothing may come that was not sent before.
            if self.received + count > self.sent
                || !self.message.continues_with(self.received, &buffer[..count])
            {
                return Err(Fault::Corrupted.into());
            }
            self.received += count;
            if self.received == self.message.bytes().len() {
                return Ok(());
            }
        }
    }

    fn open_and_close(&mut self, buffer: &mut [u8]) -> Result<(), Stop> {
        if !self.finishing {
            self.link.establish()?;
            self.link.finish()?;
            self.finishing = true;
        }
        match self.link.read(buffer)? {
            0 => Ok(()),
            _ => Err(Fault::Corrupted.into()),
        }
    }
}

/// Why a connection can't go on.
enum Stop {
    /// The socket isn't ready; the poller will tell.
    Later,
    /// It is at an end.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock => Self::Later,
            _ => Self::Fault(error.into()),
        }
    }
}
