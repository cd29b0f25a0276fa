//! What a connection sends through: a socket, or TLS over it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::socket::Socket;

/// Source addresses that connections which come and go take turns with.
const SOURCES: usize = 250;

/// Which server to load.
pub enum Server {
    /// The TCP port of 127.0.0.1.
    Tcp(u16),
    /// The UDP port of 127.0.0.1.
    Udp(u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Where links lead, and whether through TLS.
pub struct Target {
    server: Server,
    tls: Option<Arc<ClientConfig>>,
    /// Whether each TCP link has another source address than the one before.
    roving: bool,
    opened: usize,
}

impl Target {
    /// Links to `server`; with `trusted`, a PEM file of certificates, over TLS.
    ///
    /// Sessions are not resumed: every handshake is a whole one. A `roving` target lets TCP links
    /// come from many addresses of the loopback network, because a connection that was closed
    /// keeps its port for a minute, and one address has ports for a second or so of them.
    pub fn new(server: Server, trusted: Option<&Path>, roving: bool) -> io::Result<Self> {
        let tls = trusted.map(client_config).transpose()?;
        // Elsewhere the loopback interface has one address.
        Ok(Self { server, tls, roving: roving && cfg!(target_os = "linux"), opened: 0 })
    }

    /// Whether what is sent may get lost.
    pub fn may_lose(&self) -> bool {
        matches!(self.server, Server::Udp(_))
    }

    fn connect(&mut self) -> io::Result<Socket> {
        self.opened += 1;
        match &self.server {
            Server::Tcp(port) => {
                let source = || Ipv4Addr::new(127, 0, 0, (2 + self.opened % SOURCES) as u8);
                Socket::tcp(local(*port), self.roving.then(source))
            }
            Server::Udp(port) => Socket::udp(local(*port)),
            Server::Unix(path) => Socket::unix(path),
        }
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn client_config(trusted: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_reader_iter(File::open(trusted)?) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// One connection's bytes. Every method returns at once; `WouldBlock` means that the poller will
/// tell when to go on.
pub struct Link {
    /// The socket, to be registered with the poller.
    pub socket: Socket,
    tls: Option<Box<ClientConnection>>,
}

impl Link {
    /// Starts to connect; the link is usable at once, and answers `WouldBlock` until it is open.
    pub fn open(target: &mut Target) -> io::Result<Self> {
        let socket = target.connect()?;
        let tls = match &target.tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let mut tls =
                    ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                // A message is handed over whole and leaves as the socket takes it.
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
        };
        Ok(Self { socket, tls })
    }

    /// Waits for the connection, and with TLS for the end of the handshake.
    pub fn establish(&mut self) -> io::Result<()> {
        self.socket.check_connected().map_err(not_yet)?;
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        flush(tls, &mut self.socket)?;
        while tls.is_handshaking() {
            if read_records(tls, &mut self.socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            flush(tls, &mut self.socket)?;
        }
        Ok(())
    }

    /// Sends some of `bytes` and says how many were taken.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write(bytes).map_err(not_yet);
        };
        let taken = tls.writer().write(bytes)?;
        unless_later(flush(tls, &mut self.socket))?;
        Ok(taken)
    }

    /// Receives into `buffer` and says how many bytes; 0 is the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(buffer).map_err(not_yet);
        };
        loop {
            unless_later(flush(tls, &mut self.socket))?;
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    read_records(tls, &mut self.socket)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Says that nothing more will be sent: `close_notify` with TLS, FIN without.
    pub fn finish(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.finish(),
            Some(tls) => {
                tls.send_close_notify();
                unless_later(flush(tls, &mut self.socket))
            }
        }
    }
}

/// Writes out what `tls` has encrypted.
fn flush(tls: &mut ClientConnection, socket: &mut Socket) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(socket).map_err(not_yet)?;
    }
    Ok(())
}

/// Reads what the socket has into `tls`; 0 is the end, which `tls` then knows of.
fn read_records(tls: &mut ClientConnection, socket: &mut Socket) -> io::Result<usize> {
    let count = tls.read_tls(socket).map_err(not_yet)?;
    tls.process_new_packets().map_err(io::Error::other)?;
    Ok(count)
}

/// `WouldBlock` is no failure where somebody else goes on when the socket is ready.
fn unless_later(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        outcome => outcome,
    }
}

/// A socket that is still connecting is not an error but a reason to wait.
fn not_yet(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::NotConnected => ErrorKind::WouldBlock.into(),
        _ => error,
    }
}
