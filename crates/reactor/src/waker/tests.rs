use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Waker;
use crate::Poller;

/// How long to wait for what ought to happen at once before calling it lost.
pub(crate) const LOST: Duration = Duration::from_secs(20);

/// How many system calls the poller's wakers have made so far.
///
/// The kernel shows what an epoll watches, and of an eventfd the sum of what was written to it,
/// which for a waker is one each time; mio never reads it, so it only grows.
#[cfg(target_os = "linux")]
pub(crate) fn system_calls(poller: &Poller) -> u64 {
    use crate::registry::WAKER;
    use std::os::fd::{AsRawFd, RawFd};

    fn field(fd: RawFd, pick: impl Fn(&str) -> Option<&str>) -> String {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        info.lines().find_map(pick).unwrap().trim().to_owned()
    }

    let data = format!("data: {:16x} ", WAKER.0);
    let eventfd = field(poller.registry().selector().as_raw_fd(), |line| {
        let target = line.strip_prefix("tfd:")?;
        target.contains(&data).then(|| target.split_whitespace().next())?
    });
    let count = field(eventfd.parse().unwrap(), |line| line.strip_prefix("eventfd-count:"));
    u64::from_str_radix(&count, 16).unwrap()
}

/// Polls until a wake-up is due to have come, and fails when the poll's time is up first.
fn poll_expecting_a_wake_up(poller: &mut Poller) {
    let start = Instant::now();
    poller.poll(Some(LOST)).unwrap();
    assert!(start.elapsed() < LOST, "a wake-up was lost");
}

#[test]
fn it_ends_the_next_poll() {
    let mut poller = Poller::new().unwrap();
    poller.waker().wake().unwrap();
    poll_expecting_a_wake_up(&mut poller);
}

#[test]
fn it_ends_every_poll_that_it_is_used_for() {
    let mut poller = Poller::new().unwrap();
    let waker = poller.waker();
    for _ in 0..3 {
        waker.wake().unwrap();
        poll_expecting_a_wake_up(&mut poller);
    }
}

#[test]
fn it_is_used_up_by_one_poll_and_is_no_event() {
    let mut poller = Poller::new().unwrap();
    poller.waker().wake().unwrap();
    poll_expecting_a_wake_up(&mut poller);
    assert_eq!(poller.events().count(), 0);

    let start = crate::clock::now();
    poller.poll(Some(Duration::from_millis(5))).unwrap();
    assert!(crate::clock::now() - start >= 5_000_000, "woken twice");
}

#[test]
fn it_outlives_its_poller() {
    let waker = Poller::new().unwrap().waker();
    waker.wake().unwrap();
}

#[test]
fn it_goes_to_any_thread() {
    fn anywhere<T: Clone + Send + Sync + 'static>() {}
    anywhere::<Waker>();
}

#[cfg(target_os = "linux")]
#[test]
fn many_wakes_before_one_poll_are_one_system_call() {
    let mut poller = Poller::new().unwrap();
    let (one, other) = (poller.waker(), poller.waker());
    for _ in 0..1000 {
        one.wake().unwrap();
        other.wake().unwrap();
    }
    assert_eq!(system_calls(&poller), 1);

    poll_expecting_a_wake_up(&mut poller);
    one.wake().unwrap();
    other.wake().unwrap();
    assert_eq!(system_calls(&poller), 2);
}

/// Each thread publishes a number, wakes, and goes on only when the poller's thread has seen it: so
/// that every single wake-up is needed, and most come while the poller falls asleep or clears the
/// flag.
#[test]
fn none_is_lost_between_threads() {
    const THREADS: usize = 3;
    const ROUNDS: usize = 20_000;

    let mut poller = Poller::new().unwrap();
    let published: Arc<[AtomicUsize; THREADS]> = Arc::default();
    let seen: Arc<[AtomicUsize; THREADS]> = Arc::default();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (waker, published, seen) = (poller.waker(), published.clone(), seen.clone());
            thread::spawn(move || {
                for round in 1..=ROUNDS {
                    // Relaxed: it is the waker that has to order it.
                    published[thread].store(round, Ordering::Relaxed);
                    waker.wake().unwrap();
                    while seen[thread].load(Ordering::Relaxed) < round {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();

    while seen.iter().any(|seen| seen.load(Ordering::Relaxed) < ROUNDS) {
        poll_expecting_a_wake_up(&mut poller);
        for (seen, published) in seen.iter().zip(published.iter()) {
            seen.store(published.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}
