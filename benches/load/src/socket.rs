//! The sockets that a link may have, behind one face.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::path::Path;

use mio::event::Source;
use mio::net::{TcpStream, UdpSocket, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Type};

/// A non-blocking socket that is connected, or about to be.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
    /// UDP: what is written is a datagram, and what is read another.
    Udp(UdpSocket),
}

impl Socket {
    /// Starts to connect over TCP, from `source` if one is given. What is written leaves at once: the second of two writes
    /// would wait for the server's acknowledgement of the first otherwise, which that puts off for 40 ms.
    pub fn tcp(server: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<Self> {
        let Some(source) = source else {
            let stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            return Ok(Self::Tcp(stream));
        };
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(Self::Tcp(TcpStream::from_std(socket.into()))),
        }
    }

    /// Connects to the Unix socket at `path`.
    pub fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self::Unix(UnixStream::connect(path)?))
    }

    /// A UDP socket of its own port, whose datagrams go to `server` and come from nowhere else.
    pub fn udp(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        socket.connect(server)?;
        Ok(Self::Udp(socket))
    }

    /// `NotConnected` if the connection is still being made, the error if that failed.
    pub fn check_connected(&self) -> io::Result<()> {
        if let Self::Tcp(socket) = self {
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            socket.peer_addr()?;
        }
        Ok(())
    }

    /// Tells the server that nothing more will be sent; a datagram has no such end.
    pub fn finish(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Self::Unix(socket) => socket.shutdown(Shutdown::Write),
            Self::Udp(_) => Ok(()),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(socket) => socket,
            Self::Unix(socket) => socket,
            Self::Udp(socket) => socket,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
            Self::Udp(socket) => socket.recv(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
            Self::Udp(socket) => socket.send(bytes),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write_vectored(parts),
            Self::Unix(socket) => socket.write_vectored(parts),
            // A datagram is written whole.
            Self::Udp(socket) => parts.first().map_or(Ok(0), |part| socket.send(part)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Socket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}
