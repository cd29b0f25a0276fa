use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{Poller, Readiness};
use crate::waker::tests::LOST;
use crate::{Interest, Trigger, clock};

const BOTH_TRIGGERS: [Trigger; 2] = [Trigger::Edge, Trigger::Level];

/// A poller that watches one end of a pair, and the pair.
fn watching(interest: Interest, trigger: Trigger) -> (Poller, UnixStream, UnixStream) {
    let poller = Poller::new().unwrap();
    let (watched, peer) = UnixStream::pair().unwrap();
    watched.set_nonblocking(true).unwrap();
    poller.register(watched.as_raw_fd(), 1, interest, trigger).unwrap();
    (poller, watched, peer)
}

/// What is ready at this moment, the two directions of one token in one.
fn ready(poller: &mut Poller) -> Vec<Readiness> {
    poller.poll(Some(Duration::ZERO)).unwrap();
    let mut ready: Vec<Readiness> = Vec::new();
    for event in poller.events() {
        match ready.iter_mut().find(|seen| seen.token == event.token) {
            Some(seen) => {
                seen.readable |= event.readable;
                seen.writable |= event.writable;
                seen.read_closed |= event.read_closed;
                seen.write_closed |= event.write_closed;
                seen.error |= event.error;
            }
            None => ready.push(event),
        }
    }
    ready
}

fn readable(token: usize) -> Readiness {
    Readiness {
        token,
        readable: true,
        writable: false,
        read_closed: false,
        write_closed: false,
        error: false,
        urgent: false,
    }
}

fn writable(token: usize) -> Readiness {
    Readiness { readable: false, writable: true, ..readable(token) }
}

#[test]
fn level_reports_as_long_as_there_is_something_to_read() {
    let (mut poller, mut watched, mut peer) = watching(Interest::READABLE, Trigger::Level);
    assert_eq!(ready(&mut poller), []);
    peer.write_all(b"ab").unwrap();
    assert_eq!(ready(&mut poller), [readable(1)]);
    assert_eq!(ready(&mut poller), [readable(1)]);
    watched.read_exact(&mut [0]).unwrap();
    assert_eq!(ready(&mut poller), [readable(1)]);
    watched.read_exact(&mut [0]).unwrap();
    assert_eq!(ready(&mut poller), []);
}

#[test]
fn edge_reports_each_arrival_once() {
    let (mut poller, _watched, mut peer) = watching(Interest::READABLE, Trigger::Edge);
    peer.write_all(b"a").unwrap();
    assert_eq!(ready(&mut poller), [readable(1)]);
    assert_eq!(ready(&mut poller), []);
    peer.write_all(b"b").unwrap();
    assert_eq!(ready(&mut poller), [readable(1)]);
    assert_eq!(ready(&mut poller), []);
}

#[test]
fn what_was_ready_before_is_reported() {
    for trigger in BOTH_TRIGGERS {
        let (watched, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"a").unwrap();
        let mut poller = Poller::new().unwrap();
        poller.register(watched.as_raw_fd(), 1, Interest::READABLE, trigger).unwrap();
        assert_eq!(ready(&mut poller), [readable(1)], "{trigger:?}");
    }
}

#[test]
fn only_what_is_of_interest_is_reported() {
    for trigger in BOTH_TRIGGERS {
        let (mut poller, watched, mut peer) = watching(Interest::WRITABLE, trigger);
        let fd = watched.as_raw_fd();
        peer.write_all(b"a").unwrap();
        assert_eq!(ready(&mut poller), [writable(1)], "{trigger:?}");

        poller.reregister(fd, 2, Interest::BOTH, trigger).unwrap();
        let both = Readiness { writable: true, ..readable(2) };
        assert_eq!(ready(&mut poller), [both], "{trigger:?}");

        poller.reregister(fd, 3, Interest::READABLE, trigger).unwrap();
        assert_eq!(ready(&mut poller), [readable(3)], "{trigger:?}");

        poller.deregister(fd).unwrap();
        peer.write_all(b"b").unwrap();
        assert_eq!(ready(&mut poller), [], "{trigger:?}");
    }
}

#[test]
fn writable_ends_when_the_buffer_is_full() {
    let (mut poller, mut watched, mut peer) = watching(Interest::WRITABLE, Trigger::Level);
    let mut sent = 0;
    let full = loop {
        match watched.write(&[0; 4096]) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(ready(&mut poller), []);
    peer.read_exact(&mut vec![0; sent]).unwrap();
    assert_eq!(ready(&mut poller), [writable(1)]);
}

#[test]
fn reregistering_looks_afresh() {
    let (mut poller, watched, mut peer) = watching(Interest::READABLE, Trigger::Edge);
    peer.write_all(b"a").unwrap();
    assert_eq!(ready(&mut poller), [readable(1)]);
    assert_eq!(ready(&mut poller), []);
    poller.reregister(watched.as_raw_fd(), 1, Interest::READABLE, Trigger::Edge).unwrap();
    assert_eq!(ready(&mut poller), [readable(1)]);
    assert_eq!(ready(&mut poller), []);
}

#[test]
fn the_trigger_can_be_changed_both_ways() {
    let (mut poller, watched, mut peer) = watching(Interest::READABLE, Trigger::Edge);
    let mut change = |trigger| {
        poller.reregister(watched.as_raw_fd(), 1, Interest::READABLE, trigger).unwrap();
        (0..3).map(|_| ready(&mut poller).len()).collect::<Vec<_>>()
    };
    peer.write_all(b"a").unwrap();
    assert_eq!(change(Trigger::Level), [1, 1, 1]);
    assert_eq!(change(Trigger::Edge), [1, 0, 0]);
    assert_eq!(change(Trigger::Level), [1, 1, 1]);
}

#[test]
fn the_end_of_a_stream_is_told_from_bytes() {
    for trigger in BOTH_TRIGGERS {
        let (mut poller, _watched, peer) = watching(Interest::READABLE, trigger);
        peer.shutdown(Shutdown::Write).unwrap();
        let [event] = ready(&mut poller)[..] else {
            panic!("{trigger:?}: nothing was reported");
        };
        assert!(event.read_closed && event.wakes_reader(), "{trigger:?}");
        assert!(!event.error, "{trigger:?}");
    }
}

#[test]
fn a_pipe_without_a_reader_wakes_the_writer() {
    for trigger in BOTH_TRIGGERS {
        let (mut writer, reader) = mio::unix::pipe::new().unwrap();
        // A full one, so that it isn't writable by itself.
        while writer.write(&[0; 4096]).is_ok() {}
        let mut poller = Poller::new().unwrap();
        poller.register(writer.as_raw_fd(), 1, Interest::WRITABLE, trigger).unwrap();
        assert_eq!(ready(&mut poller), [], "{trigger:?}");
        drop(reader);
        let [event] = ready(&mut poller)[..] else {
            panic!("{trigger:?}: nothing was reported");
        };
        assert!(event.write_closed && event.wakes_writer(), "{trigger:?}");
    }
}

#[test]
fn a_reset_connection_wakes_both_sides() {
    for trigger in BOTH_TRIGGERS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let watched = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.register(watched.as_raw_fd(), 1, Interest::READABLE, trigger).unwrap();
        // Closing a socket that has unread bytes resets the connection.
        (&watched).write_all(b"unread").unwrap();
        peer.peek(&mut [0]).unwrap();
        drop(peer);
        poller.poll(Some(LOST)).unwrap();
        let event = poller.events().next().unwrap();
        assert!(event.wakes_reader() && event.wakes_writer(), "{trigger:?}: {event:?}");
    }
}

#[test]
fn a_closed_descriptor_is_forgotten() {
    for trigger in BOTH_TRIGGERS {
        let (mut poller, watched, mut peer) = watching(Interest::READABLE, trigger);
        peer.write_all(b"a").unwrap();
        drop(watched);
        assert_eq!(ready(&mut poller), [], "{trigger:?}");
    }
}

/// More than one poll fetches.
#[test]
fn no_event_is_left_behind_by_a_crowd() {
    const CROWD: usize = 3000;
    allow_open_files(CROWD + 500);
    let (watched, mut peer) = UnixStream::pair().unwrap();
    let crowd: Vec<OwnedFd> = (0..CROWD).map(|_| watched.try_clone().unwrap().into()).collect();
    let mut poller = Poller::new().unwrap();
    for (token, fd) in crowd.iter().enumerate() {
        poller.register(fd.as_raw_fd(), token, Interest::READABLE, Trigger::Edge).unwrap();
    }
    peer.write_all(b"a").unwrap();

    let mut times_reported = vec![0; CROWD];
    loop {
        let events = ready(&mut poller);
        if events.is_empty() {
            break;
        }
        events.iter().for_each(|event| times_reported[event.token] += 1);
    }
    assert!(times_reported.iter().all(|&times| times == 1));
}

#[test]
fn a_timeout_is_never_cut_short() {
    let mut poller = Poller::new().unwrap();
    for nanoseconds in [1, 999_999, 1_000_001, 2_500_000] {
        let deadline = clock::now() + nanoseconds;
        poller.poll(Some(Duration::from_nanos(nanoseconds))).unwrap();
        assert!(clock::now() >= deadline, "{nanoseconds} ns");
        assert_eq!(poller.events().count(), 0);
    }
}

#[test]
fn the_longest_timeout_is_a_timeout() {
    let (mut poller, _watched, mut peer) = watching(Interest::READABLE, Trigger::Level);
    peer.write_all(b"a").unwrap();
    poller.poll(Some(Duration::MAX)).unwrap();
    assert_eq!(poller.events().count(), 1);
}

#[test]
fn a_poll_forgets_what_the_one_before_found() {
    let (mut poller, watched, mut peer) = watching(Interest::READABLE, Trigger::Edge);
    peer.write_all(b"a").unwrap();
    poller.poll(None).unwrap();
    assert_eq!(poller.events().count(), 1);
    assert_eq!(poller.events().count(), 1, "reading them is no end to them");
    poller.deregister(watched.as_raw_fd()).unwrap();
    poller.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(poller.events().count(), 0);
}

#[test]
fn an_interrupted_poll_returns_without_events() {
    extern "C" fn nothing(_: libc::c_int) {}
    static RETURNED: AtomicBool = AtomicBool::new(false);

    // SAFETY: an all-zero `sigaction` is a valid one, and the handler does nothing at all, which a
    // handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let (started, start) = mpsc::channel();
    let polling = thread::spawn(move || {
        // An event that the interrupted poll must not repeat.
        let (mut poller, _watched, mut peer) = watching(Interest::READABLE, Trigger::Edge);
        peer.write_all(b"a").unwrap();
        poller.poll(None).unwrap();
        assert_eq!(poller.events().count(), 1);
        started.send(()).unwrap();
        let result = poller.poll(None);
        RETURNED.store(true, Ordering::Relaxed);
        (result, poller.events().count())
    });
    start.recv().unwrap();
    // A signal that comes before the poll is lost on it: so go on until one has not been.
    while !RETURNED.load(Ordering::Relaxed) {
        // SAFETY: the thread hasn't been joined, so its id is still its own.
        unsafe { libc::pthread_kill(polling.as_pthread_t(), libc::SIGUSR1) };
        thread::yield_now();
    }
    let (result, events) = polling.join().unwrap();
    result.unwrap();
    assert_eq!(events, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_polled_gives_the_systems_own_error() {
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let (watched, _peer) = UnixStream::pair().unwrap();
    let poller = Poller::new().unwrap();
    for trigger in BOTH_TRIGGERS {
        let register = |fd| {
            let result = poller.register(fd, 1, Interest::READABLE, trigger);
            result.map_err(|error| error.raw_os_error().unwrap())
        };
        let reregister = |fd| {
            let result = poller.reregister(fd, 1, Interest::READABLE, trigger);
            result.map_err(|error| error.raw_os_error().unwrap())
        };
        let deregister = |fd| {
            let result = poller.deregister(fd);
            result.map_err(|error| error.raw_os_error().unwrap())
        };
        assert_eq!(register(file.as_raw_fd()), Err(libc::EPERM));
        assert_eq!(register(-1), Err(libc::EBADF));
        assert_eq!(reregister(-1), Err(libc::EBADF));
        assert_eq!(deregister(-1), Err(libc::EBADF));
        assert_eq!(reregister(watched.as_raw_fd()), Err(libc::ENOENT));
        assert_eq!(deregister(watched.as_raw_fd()), Err(libc::ENOENT));
        assert_eq!(register(watched.as_raw_fd()), Ok(()));
        assert_eq!(register(watched.as_raw_fd()), Err(libc::EEXIST));
        assert_eq!(deregister(watched.as_raw_fd()), Ok(()));
    }
}

#[test]
fn the_wakers_token_is_taken() {
    let (watched, _peer) = UnixStream::pair().unwrap();
    for trigger in BOTH_TRIGGERS {
        let mut poller = Poller::new().unwrap();
        let error = poller
            .register(watched.as_raw_fd(), usize::MAX, Interest::READABLE, trigger)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        // The one below is free, and comes back whole.
        poller.register(watched.as_raw_fd(), usize::MAX - 1, Interest::WRITABLE, trigger).unwrap();
        assert_eq!(ready(&mut poller), [writable(usize::MAX - 1)]);
    }
}

#[test]
fn interests_are_made_of_their_directions() {
    for (reading, writing) in [(true, false), (false, true), (true, true)] {
        let interest = Interest::of(reading, writing).unwrap();
        assert_eq!(interest.is_readable(), reading);
        assert_eq!(interest.is_writable(), writing);
    }
    assert_eq!(Interest::of(true, true), Some(Interest::BOTH));
    assert_eq!(Interest::of(false, true), Some(Interest::WRITABLE));
}

/// Raises the limit of open files to `count`, if it is lower.
fn allow_open_files(count: usize) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the calls read and write one `rlimit` through a pointer that is valid for the call.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_cur.max(count as libc::rlim_t);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}
