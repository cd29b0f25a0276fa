use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Inbox;
use crate::Poller;
use crate::waker::tests::LOST;
#[cfg(target_os = "linux")]
use crate::waker::tests::system_calls;

fn poller_and_inbox<T: Send>() -> (Poller, Inbox<T>) {
    let poller = Poller::new().unwrap();
    let inbox = Inbox::new(poller.waker());
    (poller, inbox)
}

/// One turn of the consumer, by the protocol.
fn wait_for_more<T: Send>(poller: &mut Poller, inbox: &Inbox<T>, received: &mut VecDeque<T>) {
    let start = Instant::now();
    let timeout = if inbox.prepare_to_sleep() { LOST } else { Duration::ZERO };
    poller.poll(Some(timeout)).unwrap();
    inbox.awake();
    assert!(start.elapsed() < LOST, "a wake-up was lost");
    inbox.drain_into(received);
}

#[test]
fn values_come_out_in_order_and_once() {
    let (_poller, inbox) = poller_and_inbox();
    let mut received = VecDeque::new();
    assert!(inbox.is_empty());
    inbox.push(1).unwrap();
    inbox.push(2).unwrap();
    assert!(!inbox.is_empty());
    inbox.drain_into(&mut received);
    assert!(inbox.is_empty());
    assert_eq!(received, [1, 2]);

    inbox.push(3).unwrap();
    inbox.drain_into(&mut received);
    assert_eq!(received, [1, 2, 3], "appends to what is there");
    inbox.drain_into(&mut received);
    assert_eq!(received, [1, 2, 3]);
}

#[test]
fn draining_into_the_same_deque_comes_to_allocate_nothing() {
    let (_poller, inbox) = poller_and_inbox();
    let mut received = VecDeque::new();
    let mut round = |count: usize| {
        (0..count).for_each(|value| inbox.push(value).unwrap());
        inbox.drain_into(&mut received);
        received.clear();
        received.capacity()
    };
    let capacities = [round(1000), round(1000), round(1000), round(1000)];
    assert!(capacities.iter().all(|&capacity| capacity >= 1000));
    assert_eq!(capacities[..2], capacities[2..]);
}

#[test]
fn the_consumer_must_not_sleep_on_a_full_inbox() {
    let (_poller, inbox) = poller_and_inbox();
    inbox.push(()).unwrap();
    assert!(!inbox.prepare_to_sleep());
    inbox.drain_into(&mut VecDeque::new());
    assert!(inbox.prepare_to_sleep());
}

#[test]
fn a_push_wakes_the_consumer_that_is_about_to_sleep() {
    let (mut poller, inbox) = poller_and_inbox();
    assert!(inbox.prepare_to_sleep());
    inbox.push(()).unwrap(); // from its own thread, such as a signal handler's
    let start = Instant::now();
    poller.poll(Some(LOST)).unwrap();
    assert!(start.elapsed() < LOST);
}

#[cfg(target_os = "linux")]
#[test]
fn a_push_makes_a_system_call_only_for_a_sleeping_consumer() {
    let (mut poller, inbox) = poller_and_inbox();
    let mut received = VecDeque::new();
    inbox.push(1).unwrap();
    assert_eq!(system_calls(&poller), 0, "the consumer has never slept");

    assert!(!inbox.prepare_to_sleep());
    inbox.push(2).unwrap();
    inbox.drain_into(&mut received);
    inbox.push(3).unwrap();
    assert_eq!(system_calls(&poller), 0, "the consumer was refused its sleep");
    inbox.drain_into(&mut received);

    assert!(inbox.prepare_to_sleep());
    (0..100).for_each(|value| inbox.push(value).unwrap());
    assert_eq!(system_calls(&poller), 1);

    poller.poll(None).unwrap();
    inbox.awake();
    inbox.drain_into(&mut received);
    inbox.push(4).unwrap();
    assert_eq!(system_calls(&poller), 1, "the consumer is awake");
}

#[test]
fn visiting_shows_what_waits_and_leaves_it() {
    let (_poller, inbox) = poller_and_inbox();
    (0..3).for_each(|value| inbox.push(value).unwrap());
    let mut seen = Vec::new();
    inbox.for_each(|&value| seen.push(value));
    assert_eq!(seen, [0, 1, 2]);

    let mut received = VecDeque::new();
    inbox.drain_into(&mut received);
    assert_eq!(received, [0, 1, 2]);
}

#[test]
fn a_panicking_visitor_does_not_break_it() {
    let (_poller, inbox) = poller_and_inbox();
    inbox.push(1).unwrap();
    let visit = std::panic::AssertUnwindSafe(|| inbox.for_each(|_| panic!("on purpose")));
    assert!(std::panic::catch_unwind(visit).is_err());
    inbox.push(2).unwrap();
    let mut received = VecDeque::new();
    inbox.drain_into(&mut received);
    assert_eq!(received, [1, 2]);
}

#[test]
fn it_goes_to_any_thread_with_whatever_can_be_sent() {
    fn anywhere<T: Send + Sync>() {}
    anywhere::<Inbox<std::cell::Cell<u8>>>(); // `Send`, but not `Sync`
}

#[test]
fn each_producers_order_is_kept() {
    const PRODUCERS: usize = 4;
    const VALUES: usize = 50_000;

    let (mut poller, inbox) = poller_and_inbox();
    let inbox = Arc::new(inbox);
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let inbox = inbox.clone();
            thread::spawn(move || {
                (0..VALUES).for_each(|value| inbox.push((producer, value)).unwrap());
            })
        })
        .collect();

    let mut received = VecDeque::new();
    let mut next = [0; PRODUCERS];
    while next.iter().any(|&next| next < VALUES) {
        wait_for_more(&mut poller, &inbox, &mut received);
        for (producer, value) in received.drain(..) {
            assert_eq!(value, next[producer]);
            next[producer] += 1;
        }
    }
    for producer in producers {
        producer.join().unwrap();
    }
}

/// The producer pushes as soon as its last value has come out, and never two, so that none makes up
/// for another. The consumer idles before it goes to sleep, a little longer each time, so that the
/// pushes come at every moment of its falling asleep.
#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: usize = 100_000;
    const LONGEST_IDLING: usize = 512;

    let (mut poller, inbox) = poller_and_inbox();
    let inbox = Arc::new(inbox);
    let taken = Arc::new(AtomicUsize::new(0));
    let producer = thread::spawn({
        let (inbox, taken) = (inbox.clone(), taken.clone());
        move || {
            for round in 0..ROUNDS {
                let mut spins = 0;
                while taken.load(Ordering::Relaxed) < round {
                    spins += 1;
                    if spins % 1000 == 0 {
                        thread::yield_now();
                    }
                }
                inbox.push(round).unwrap();
            }
        }
    });

    let mut received = VecDeque::new();
    for round in 0..ROUNDS {
        for _ in 0..round % LONGEST_IDLING {
            std::hint::spin_loop();
        }
        while received.is_empty() {
            wait_for_more(&mut poller, &inbox, &mut received);
        }
        assert_eq!(received.pop_front(), Some(round));
        taken.store(round + 1, Ordering::Relaxed);
    }
    producer.join().unwrap();
}
