//! A non-blocking byte stream to the server: TCP, or TLS over it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Where links lead, and whether through TLS.
pub struct Target {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// The server at `port` of 127.0.0.1; with `trusted`, a PEM file of certificates, over TLS.
    ///
    /// Sessions are not resumed: every handshake is a whole one.
    pub fn new(port: u16, trusted: Option<&Path>) -> io::Result<Self> {
        let tls = trusted.map(client_config).transpose()?;
        Ok(Self { address: (Ipv4Addr::LOCALHOST, port).into(), tls })
    }
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
    pub socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Link {
    /// Starts to connect; the link is usable at once, and answers `WouldBlock` until it is open.
    pub fn open(target: &Target) -> io::Result<Self> {
        let socket = TcpStream::connect(target.address)?;
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
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        self.socket.peer_addr().map_err(not_yet)?;
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
            None => self.socket.shutdown(Shutdown::Write),
            Some(tls) => {
                tls.send_close_notify();
                unless_later(flush(tls, &mut self.socket))
            }
        }
    }
}

/// Writes out what `tls` has encrypted.
fn flush(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(socket).map_err(not_yet)?;
    }
    Ok(())
}

/// Reads what the socket has into `tls`; 0 is the end, which `tls` then knows of.
fn read_records(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<usize> {
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
