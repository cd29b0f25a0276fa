use std::cell::RefCell;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{SLICES, WriteQueue};

/// A socket to write to and the one to read it from, neither of which blocks.
fn pair() -> (UnixStream, UnixStream) {
    let (socket, peer) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    peer.set_nonblocking(true).unwrap();
    (socket, peer)
}

/// Reads `count` bytes, or as many as there are.
fn read(peer: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match peer.take(count as u64).read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
    }
    bytes
}

fn would_block(result: io::Result<usize>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[derive(Clone, Debug)]
enum Operation {
    Push { size: usize, offset: usize },
    Write,
    Read(usize),
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    })]

    /// Whatever the sizes and the room that the socket has, the bytes arrive once and in order, and
    /// the buffers are handed out in order, each when its last byte has been taken.
    #[test]
    fn every_byte_arrives_and_every_buffer_comes_back(
        operations in vec(
            prop_oneof![
                4 => (prop_oneof![0..10_usize, 0..200_000_usize], 0..8_usize)
                    .prop_map(|(size, offset)| Operation::Push { size, offset }),
                3 => Just(Operation::Write),
                1 => (0..300_000_usize).prop_map(Operation::Read),
            ],
            0..150,
        ),
    ) {
        let (socket, mut peer) = pair();
        let fd = socket.as_raw_fd();
        let mut queue = WriteQueue::new();
        let (mut retired, mut received) = (Vec::new(), Vec::new());
        // All that was pushed, and where in it each buffer ends.
        let (mut expected, mut ends, mut buffers) = (Vec::new(), Vec::new(), Vec::new());
        let mut written = 0;

        let mut write = |queue: &mut WriteQueue<Rc<[u8]>>, retired: &mut Vec<_>, ends: &[usize]| {
            let before = queue.len();
            match queue.write_to(fd, retired) {
                Ok(taken) => {
                    written += taken;
                    assert_eq!(queue.len(), before - taken);
                    assert!(ends[..retired.len()].iter().all(|&end| end <= written));
                    let waits = ends.get(retired.len()).is_none_or(|&end| end > written);
                    assert!(waits || taken == 0 || retired.len() % SLICES == 0);
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    assert_eq!(queue.len(), before);
                }
            }
        };

        for (number, operation) in operations.into_iter().enumerate() {
            match operation {
                Operation::Push { size, offset } => {
                    let buffer: Rc<[u8]> = (0..size).map(|byte| (byte + number) as u8).collect();
                    expected.extend_from_slice(buffer.get(offset..).unwrap_or_default());
                    ends.push(expected.len());
                    buffers.push(buffer.clone());
                    queue.push_from(buffer, offset);
                }
                Operation::Write => write(&mut queue, &mut retired, &ends),
                Operation::Read(count) => received.extend(read(&mut peer, count)),
            }
        }
        while !queue.is_empty() {
            write(&mut queue, &mut retired, &ends);
            received.extend(read(&mut peer, usize::MAX));
        }
        received.extend(read(&mut peer, usize::MAX));
        prop_assert_eq!(queue.len(), 0);
        prop_assert!(received == expected, "the bytes differ");
        prop_assert!(retired.len() == buffers.len());
        prop_assert!(retired.iter().zip(&buffers).all(|(a, b)| Rc::ptr_eq(a, b)));
    }
}

#[test]
fn a_full_socket_says_so_and_leaves_the_queue_as_it_is() {
    let (socket, _peer) = pair();
    let mut queue = WriteQueue::new();
    let mut retired = Vec::new();
    let large = vec![7; 8 << 20];
    queue.push(&large[..]);
    let taken = queue.write_to(socket.as_raw_fd(), &mut retired).unwrap();
    assert!((1..large.len()).contains(&taken));
    assert_eq!(queue.len(), large.len() - taken);

    while !would_block(queue.write_to(socket.as_raw_fd(), &mut retired)) {}
    let left = queue.len();
    assert!(left > 0);
    assert!(would_block(queue.write_to(socket.as_raw_fd(), &mut retired)));
    assert_eq!(queue.len(), left);
    assert!(retired.is_empty());
    assert!(!queue.is_empty());
}

#[test]
fn one_call_takes_at_most_sixty_four_buffers() {
    let (socket, mut peer) = pair();
    let mut queue = WriteQueue::new();
    let mut retired = Vec::new();
    (0..150_u8).for_each(|number| queue.push([number]));
    for taken in [64, 64, 22] {
        let result = queue.write_to(socket.as_raw_fd(), &mut retired);
        assert_eq!(result.unwrap(), taken);
    }
    assert!(queue.is_empty());
    assert!(retired.iter().flatten().copied().eq(0..150));
    assert!(read(&mut peer, 1000).into_iter().eq(0..150));
}

#[test]
fn empty_buffers_are_handed_out_in_their_turn() {
    let (socket, _peer) = pair();
    let mut queue = WriteQueue::new();
    let mut retired = Vec::new();
    queue.push("");
    queue.push_from("past the end", 1000);
    assert_eq!((queue.len(), queue.is_empty()), (0, false));
    assert_eq!(queue.write_to(socket.as_raw_fd(), &mut retired).unwrap(), 0);
    assert_eq!(retired, ["", "past the end"]);

    for buffer in ["a", "", "b", ""] {
        queue.push(buffer);
    }
    assert_eq!(queue.write_to(socket.as_raw_fd(), &mut retired).unwrap(), 2);
    assert_eq!(retired[2..], ["a", "", "b", ""]);
    assert!(queue.is_empty());
}

#[test]
fn an_empty_queue_writes_nothing() {
    let mut queue: WriteQueue<&str> = WriteQueue::new();
    assert_eq!(queue.write_to(-1, &mut Vec::new()).unwrap(), 0);
}

#[test]
fn draining_gives_back_what_was_not_sent_whole() {
    let (socket, _peer) = pair();
    let mut queue = WriteQueue::new();
    let mut retired = Vec::new();
    let large = vec![0; 8 << 20];
    queue.push(&b"sent"[..]);
    queue.push(&large[..]);
    queue.push(&b"waiting"[..]);
    queue.write_to(socket.as_raw_fd(), &mut retired).unwrap();
    assert_eq!(retired, [b"sent"]);
    assert!(queue.buffers().map(|buffer| buffer.len()).eq([8 << 20, 7]));

    let rest = queue.drain();
    assert_eq!(rest.len(), 2);
    assert_eq!(rest[1], b"waiting");
    assert_eq!((queue.len(), queue.is_empty()), (0, true));
}

/// Says when it is dropped.
struct Noisy(&'static str, Rc<RefCell<Vec<&'static str>>>);

impl AsRef<[u8]> for Noisy {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Drop for Noisy {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

#[test]
fn no_buffer_is_dropped_inside() {
    let (socket, peer) = pair();
    let dropped = Rc::new(RefCell::new(Vec::new()));
    let mut queue = WriteQueue::new();
    let mut retired = Vec::new();
    queue.push(Noisy("whole", dropped.clone()));
    queue.push(Noisy("", dropped.clone()));
    queue.write_to(socket.as_raw_fd(), &mut retired).unwrap();
    drop(peer);
    queue.push(Noisy("refused", dropped.clone()));
    queue.write_to(socket.as_raw_fd(), &mut retired).unwrap_err();
    let rest = queue.drain();
    drop(queue);
    assert!(dropped.borrow().is_empty());
    drop((retired, rest));
    assert_eq!(*dropped.borrow(), ["whole", "", "refused"]);
}

#[test]
fn a_closed_peer_is_an_error_and_no_signal() {
    extern "C" fn note(_: libc::c_int) {
        SIGNALLED.store(true, Ordering::Relaxed);
    }
    static SIGNALLED: AtomicBool = AtomicBool::new(false);

    // SAFETY: an all-zero `sigaction` is a valid one, and the handler only stores to an atomic,
    // which a handler may.
    let before = unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGPIPE, &action, &mut before), 0);
        before
    };
    let (socket, peer) = pair();
    drop(peer);
    let mut queue = WriteQueue::new();
    queue.push("refused");
    let error = queue.write_to(socket.as_raw_fd(), &mut Vec::new()).unwrap_err();
    // SAFETY: the action is what the call above has filled in.
    unsafe { libc::sigaction(libc::SIGPIPE, &before, std::ptr::null_mut()) };

    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
    assert_eq!(queue.len(), 7);
    let promised = !cfg!(target_vendor = "apple");
    assert!(!promised || !SIGNALLED.load(Ordering::Relaxed));
}

#[test]
fn a_pipe_is_as_good_as_a_socket() {
    let (writer, mut reader) = mio::unix::pipe::new().unwrap();
    let mut queue = WriteQueue::new();
    let mut retired = Vec::new();
    for text in ["over ", "a ", "pipe"] {
        queue.push(text);
    }
    assert_eq!(queue.write_to(writer.as_raw_fd(), &mut retired).unwrap(), 11);
    queue.push(", twice");
    assert_eq!(queue.write_to(writer.as_raw_fd(), &mut retired).unwrap(), 7);
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "over a pipe, twice");
    assert_eq!(retired.len(), 4);
}

#[test]
fn a_bad_descriptor_is_the_systems_error() {
    let mut queue = WriteQueue::new();
    queue.push("nowhere");
    let error = queue.write_to(-1, &mut Vec::new()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    assert_eq!(queue.len(), 7);
}
