//! Transports: each owns its socket and its buffers.
//!
//! - `stream.rs`: [`StreamTransport`](stream::StreamTransport), a connected TCP or Unix socket, from `connection_made`
//!   on;
//! - `read.rs`, `write.rs`: the way of the bytes in and out; `gather.rs`: when what is written leaves;
//! - `sendfile.rs`: standing back while a file is sent;
//! - `datagram.rs`: [`DatagramTransport`](datagram::DatagramTransport), a UDP or Unix datagram socket, its ways in and out;
//! - `pipe.rs`, `read_pipe.rs`, `write_pipe.rs`: [`ReadPipeTransport`](read_pipe::ReadPipeTransport) and
//!   [`WritePipeTransport`](write_pipe::WritePipeTransport), the two ends of pipes, and what they have in common;
//! - `tls/`: [`TlsTransport`](tls::TlsTransport), an encrypted connection on top of another transport;
//! - what they have in common: `life.rs`: a loop and a protocol; `close.rs`: the ways in which the lives of sockets'
//!   transports end; `rest.rs`: when the poller may forget them; `limits.rs`: the water marks of the write buffer;
//!   `endpoint.rs`, `info.rs`, `address.rs`: a socket, and what `get_extra_info` tells of it;
//! - `listener.rs`: a listening socket, which makes stream transports; `clients.rs`: its server's list of them.

pub mod address;
mod clients;
mod close;
pub mod datagram;
mod endpoint;
mod gather;
mod info;
mod life;
mod limits;
pub mod listener;
pub mod pipe;
pub mod read;
pub mod read_pipe;
pub mod rest;
mod sendfile;
pub mod stream;
pub mod tls;
mod write;
pub mod write_pipe;
