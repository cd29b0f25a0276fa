//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::link::Server;

/// What `--help` prints.
pub const HELP: &str = "\
Load an echo server of this machine, check every byte that comes back, and print the result as JSON.

  --port PORT         the server's port on 127.0.0.1
  --udp               it is a port of UDP; a datagram that gets lost is counted, and another sent
  --unix PATH         the server's Unix socket, instead of a port
  --connections N     connections open at a time (10)
  --active N          how many of them send more than one message (all)
  --size BYTES        length of a message (1024)
  --line              messages end in a newline and have no other
  --warm-up SECONDS   loaded, but not measured (0.5)
  --seconds SECONDS   measured (2)
  --rate MESSAGES     messages a second over all connections, instead of as many as go
  --reconnect         instead of echoes: connect (and shake hands), close, wait for the end
  --tls FILE          TLS, trusting the certificates in this PEM file; the name is localhost
  --pid PID           measure the CPU time of this process over the measured seconds, and its
                      memory with and without the connections (Linux)
";

/// What to do, as the command line says it.
pub struct Options {
    /// Connections open at a time; at least 1.
    pub connections: usize,
    /// How many of them, the first, send more than one message; at least 1.
    pub active: usize,
    /// Length of a message in bytes; at least 2, so that a line has something before its newline.
    pub size: usize,
    /// Whether messages are lines.
    pub line: bool,
    /// How long to load before measuring.
    pub warm_up: Duration,
    /// How long to measure.
    pub seconds: Duration,
    /// Time between two messages, over all connections; `None` is the closed loop.
    pub interval: Option<Duration>,
    /// Whether to open and close connections instead of echoing.
    pub reconnect: bool,
    /// The PEM file with the certificates to trust; `None` is without TLS.
    pub tls: Option<PathBuf>,
    /// The process whose CPU time is measured.
    pub pid: Option<i32>,
}

impl Options {
    /// Reads the process's arguments: which server, and what to do with it. `None` means that help
    /// was asked for.
    pub fn parse() -> Result<Option<(Server, Self)>, lexopt::Error> {
        let (mut port, mut udp, mut path, mut active) = (None, false, None, None);
        let mut options = Self {
            connections: 10,
            active: 0,
            size: 1024,
            line: false,
            warm_up: Duration::from_millis(500),
            seconds: Duration::from_secs(2),
            interval: None,
            reconnect: false,
            tls: None,
            pid: None,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("port") => port = Some(parser.value()?.parse()?),
                Long("udp") => udp = true,
                Long("unix") => path = Some(parser.value()?.into()),
                Long("active") => active = Some(parser.value()?.parse()?),
                Long("connections") => options.connections = parser.value()?.parse()?,
                Long("size") => options.size = parser.value()?.parse()?,
                Long("line") => options.line = true,
                Long("warm-up") => options.warm_up = seconds(&mut parser)?,
                Long("seconds") => options.seconds = seconds(&mut parser)?,
                Long("rate") => options.interval = Some(interval(&mut parser)?),
                Long("reconnect") => options.reconnect = true,
                Long("tls") => options.tls = Some(parser.value()?.into()),
                Long("pid") => options.pid = Some(parser.value()?.parse()?),
                Short('h') | Long("help") => return Ok(None),
                other => return Err(other.unexpected()),
            }
        }
        let server = match (port, path) {
            (Some(port), None) if udp => Server::Udp(port),
            (Some(port), None) => Server::Tcp(port),
            (None, Some(path)) if !udp => Server::Unix(path),
            _ => return Err("either --port or --unix is needed; --udp goes with --port".into()),
        };
        options.active = active.unwrap_or(options.connections);
        if !(1..=options.connections).contains(&options.active) {
            return Err("--active is at least 1 and at most --connections".into());
        }
        if options.connections == 0 || options.size < 2 || options.seconds.is_zero() {
            return Err("at least 1 connection, 2 bytes and some time are needed".into());
        }
        if options.reconnect && options.interval.is_some() {
            return Err("--reconnect has no --rate".into());
        }
        if udp && (options.reconnect || options.interval.is_some() || options.tls.is_some()) {
            return Err("--udp has no --reconnect, no --rate and no --tls".into());
        }
        Ok(Some((server, options)))
    }
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    let value: f64 = parser.value()?.parse()?;
    Duration::try_from_secs_f64(value).map_err(|error| error.to_string().into())
}

fn interval(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    let rate: f64 = parser.value()?.parse()?;
    let interval = Duration::try_from_secs_f64(1.0 / rate).map_err(|error| error.to_string())?;
    if interval.is_zero() {
        return Err("--rate is more than one message a nanosecond".into());
    }
    Ok(interval)
}
