//! Transports: each owns its socket and its buffers.
//!
//! - `stream.rs`: [`StreamTransport`](stream::StreamTransport), a connected TCP or Unix socket, from `connection_made`
//!   on;
//! - `close.rs`: the ways in which its life ends, and `connection_lost`;
//! - `read.rs`, `write.rs`: the way of the bytes in and out;
//! - `sendfile.rs`: standing back while a file is sent;
//! - `pipe.rs`, `read_pipe.rs`, `write_pipe.rs`: [`ReadPipeTransport`](read_pipe::ReadPipeTransport) and
//!   [`WritePipeTransport`](write_pipe::WritePipeTransport), the two ends of pipes, and what they have in common;
//! - `life.rs`: what the lives of all have in common;
//! - `limits.rs`: the water marks of the write buffer;
//! - `info.rs`, `address.rs`: what `get_extra_info` tells;
//! - `tls/`: [`TlsTransport`](tls::TlsTransport), an encrypted connection on top of another transport;
//! - `listener.rs`: a listening socket, which makes stream transports.

pub mod address;
mod close;
mod info;
mod life;
mod limits;
pub mod listener;
pub mod pipe;
pub mod read;
pub mod read_pipe;
mod sendfile;
pub mod stream;
pub mod tls;
mod write;
pub mod write_pipe;
