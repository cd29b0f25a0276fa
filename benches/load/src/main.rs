//! `ferrio-load`: loads an echo server and reports what it did, as one line of JSON.
//!
//! Each connection sends a message, waits for the whole of it to come back, compares every byte,
//! and sends the next: a closed loop, so the server decides the pace. With `--rate` the messages
//! leave at fixed times instead, and a message's latency counts from the time at which it was due,
//! so that a server that stalls can't hide the messages that it kept waiting. Over UDP a message
//! that doesn't come back in time is counted as lost, and followed by another from another port, so
//! that an echo which is merely late is not taken for a wrong one.
//!
//! ```text
//! ferrio-load --port 8000 --connections 10 --size 1024 --seconds 2 --pid 1234
//! ```

#![forbid(unsafe_code)]

mod connection;
mod cpu;
mod link;
mod load;
mod memory;
mod message;
mod options;
mod report;
mod socket;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let outcome = match Options::parse() {
        Ok(Some((server, options))) => load::run(server, &options),
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(std::io::Error::other(error)),
    };
    match outcome {
        Ok(report) => {
            println!("{}", report.to_json());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ferrio-load: {error}");
            ExitCode::FAILURE
        }
    }
}
