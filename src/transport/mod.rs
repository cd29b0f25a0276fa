//! Transports: each owns its socket and its buffers.
//!
//! - `stream.rs`: [`StreamTransport`](stream::StreamTransport), a connected TCP or Unix socket, from `connection_made`
//!   on;
//! - `close.rs`: the ways in which its life ends, and `connection_lost`;
//! - `read.rs`, `write.rs`: the way of the bytes in and out;
//! - `sendfile.rs`: standing back while a file is sent;
//! - `limits.rs`: the water marks of the write buffer;
//! - `info.rs`, `address.rs`: what `get_extra_info` tells;
//! - `listener.rs`: a listening socket, which makes stream transports.

pub mod address;
mod close;
mod info;
mod limits;
pub mod listener;
pub mod read;
mod sendfile;
pub mod stream;
mod write;
