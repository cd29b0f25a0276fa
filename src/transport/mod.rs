//! Transports: each owns its socket and its buffers.
//!
//! - `stream.rs`: [`StreamTransport`](stream::StreamTransport), a connected TCP socket: its life from
//!   `connection_made` to `connection_lost`;
//! - `read.rs`, `write.rs`: the way of the bytes in and out;
//! - `limits.rs`: the water marks of the write buffer;
//! - `info.rs`, `address.rs`: what `get_extra_info` tells;
//! - `tls/`: [`TlsTransport`](tls::TlsTransport), an encrypted connection on top of another transport;
//! - `listener.rs`: a listening socket, which makes stream transports.

pub mod address;
mod info;
mod limits;
pub mod listener;
pub mod read;
pub mod stream;
pub mod tls;
mod write;
