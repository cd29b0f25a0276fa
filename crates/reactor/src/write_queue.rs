//! Bytes that wait for a socket to take them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;

/// How many buffers leave in one system call.
const SLICES: usize = 64;

/// How many bytes at most are offered in one system call. Some systems refuse sums of more than
/// `i32::MAX`.
const LONGEST_WRITE: usize = 1 << 30;

/// What no socket had room for yet, as a queue of the buffers that it came in.
///
/// Nothing is copied: a buffer stays in the queue until its last byte has been taken, and is then
/// handed out for the caller to drop. The queue itself never drops one but with itself; where a
/// drop can run foreign code, that matters.
///
/// A buffer must be the same bytes each time [`as_ref`](AsRef::as_ref) is called. If it isn't, the
/// bytes sent and the count of those left are unspecified (but nothing is read out of bounds).
///
/// ```
/// use ferrio_reactor::WriteQueue;
/// use std::io::Read;
/// use std::os::fd::AsRawFd;
/// use std::os::unix::net::UnixStream;
///
/// # fn main() -> std::io::Result<()> {
/// let (socket, mut peer) = UnixStream::pair()?;
/// socket.set_nonblocking(true)?;
///
/// let mut queue = WriteQueue::new();
/// queue.push("hello ");
/// queue.push_from("the world", 4); // four bytes of it have been sent
/// assert_eq!(queue.len(), 11);
///
/// let mut retired = Vec::new();
/// assert_eq!(queue.write_to(socket.as_raw_fd(), &mut retired)?, 11);
/// assert_eq!(retired, ["hello ", "the world"]);
///
/// let mut received = [0; 11];
/// peer.read_exact(&mut received)?;
/// assert_eq!(&received, b"hello world");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WriteQueue<B> {
    pieces: VecDeque<Piece<B>>,
    /// The number of bytes left in all pieces.
    len: usize,
    call: Call,
}

#[derive(Debug)]
struct Piece<B> {
    buffer: B,
    /// How many of its bytes are gone.
    sent: usize,
}

/// The system call that the descriptor wants. Tried in this order and then remembered.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// For sockets: the only one that can be told to raise no `SIGPIPE`.
    SendMsg,
    /// For all the rest.
    WriteV,
}

impl<B: AsRef<[u8]>> Piece<B> {
    fn rest(&self) -> &[u8] {
        self.buffer.as_ref().get(self.sent..).unwrap_or_default()
    }
}

impl<B: AsRef<[u8]>> WriteQueue<B> {
    /// An empty queue, for one descriptor. Allocates nothing yet.
    pub const fn new() -> Self {
        Self { pieces: VecDeque::new(), len: 0, call: Call::SendMsg }
    }

    /// Appends `buffer`. An empty one is kept like any other, to be handed out in its turn.
    pub fn push(&mut self, buffer: B) {
        self.push_from(buffer, 0);
    }

    /// Appends the part of `buffer` that begins at `offset`: its first `offset` bytes have been
    /// sent already.
    pub fn push_from(&mut self, buffer: B, offset: usize) {
        let piece = Piece { buffer, sent: offset };
        self.len += piece.rest().len();
        self.pieces.push_back(piece);
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no buffer waits, not even an empty one.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Offers the first buffers, up to 64 of them, to the socket, pipe or terminal `fd` in one
    /// system call; moves those that it has taken whole to the back of `retired`, and says how many
    /// bytes it has taken.
    ///
    /// Call it until the queue [is empty](WriteQueue::is_empty) or it reports `WouldBlock`. An
    /// interrupted call is repeated.
    ///
    /// A broken connection is an error (`EPIPE`) and, on a socket, never a signal, whatever the
    /// process has done about `SIGPIPE`; on macOS and for pipes that takes the process to ignore
    /// the signal, as Python does.
    ///
    /// # Errors
    ///
    /// The system's own, `WouldBlock` among them. The queue is as before then.
    pub fn write_to(&mut self, fd: RawFd, retired: &mut Vec<B>) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let mut room = LONGEST_WRITE;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let rest = piece.rest();
            let rest = &rest[..rest.len().min(room)];
            *slice = IoSlice::new(rest);
            room -= rest.len();
            count += 1;
        }
        let taken =
            if room < LONGEST_WRITE { write(&mut self.call, fd, &slices[..count])? } else { 0 };
        self.advance(taken, count, retired);
        Ok(taken)
    }

    /// Takes all buffers out, sent in part or not at all, oldest first.
    pub fn drain(&mut self) -> Vec<B> {
        self.len = 0;
        self.pieces.drain(..).map(|piece| piece.buffer).collect()
    }

    /// The buffers that wait, oldest first, for example to show them to a garbage collector.
    pub fn buffers(&self) -> impl Iterator<Item = &B> {
        self.pieces.iter().map(|piece| &piece.buffer)
    }

    /// Takes `taken` bytes off the first `offered` pieces.
    fn advance(&mut self, mut taken: usize, offered: usize, retired: &mut Vec<B>) {
        self.len = self.len.saturating_sub(taken);
        for _ in 0..offered {
            let Some(piece) = self.pieces.front_mut() else {
                return;
            };
            let rest = piece.rest().len();
            if taken < rest {
                piece.sent += taken;
                return;
            }
            taken -= rest;
            retired.extend(self.pieces.pop_front().map(|piece| piece.buffer));
        }
    }
}

impl<B: AsRef<[u8]>> Default for WriteQueue<B> {
    fn default() -> Self {
        Self::new()
    }
}

fn write(call: &mut Call, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        let result = match call {
            Call::SendMsg => send(fd, slices),
            Call::WriteV => writev(fd, slices),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => *call = Call::WriteV,
            result => return result,
        }
    }
}

fn send(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // Only the newest of Apple's systems know the flag.
    const FLAGS: libc::c_int = if cfg!(target_vendor = "apple") { 0 } else { libc::MSG_NOSIGNAL };
    // SAFETY: `msghdr` is a plain C structure of integers and pointers that may be null: all zeros
    // is a message without address, control data and bytes.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len() as _;
    // SAFETY: `IoSlice` is laid out as `iovec`. The slices and the bytes they stand for are
    // borrowed for the call, which only reads them. It checks the descriptor itself.
    checked(unsafe { libc::sendmsg(fd, &message, FLAGS) })
}

fn writev(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: `IoSlice` is laid out as `iovec`. The slices and the bytes they stand for are
    // borrowed for the call, which only reads them. It checks the descriptor itself. The length is
    // at most `SLICES`.
    checked(unsafe { libc::writev(fd, slices.as_ptr().cast(), slices.len() as libc::c_int) })
}

fn checked(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests;
