use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::BlockingPool;

/// Long enough for no thread to leave during a test.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn pool(limit: usize) -> BlockingPool {
    BlockingPool::with_options(limit, "tested", FOR_EVER)
}

/// Runs a job and says which thread ran it.
fn thread_of_a_job(pool: &BlockingPool) -> ThreadId {
    let (tell, told) = mpsc::channel();
    pool.spawn(move || tell.send(thread::current().id()).unwrap()).unwrap();
    told.recv().unwrap()
}

fn wait_until_idle(pool: &BlockingPool, count: usize) {
    while pool.shared.lock().idle != count {
        thread::yield_now();
    }
}

#[test]
fn jobs_that_need_each_other_run_at_once() {
    let pool = pool(3);
    let meeting = Arc::new(Barrier::new(4));
    for _ in 0..3 {
        let meeting = meeting.clone();
        pool.spawn(move || {
            meeting.wait();
        })
        .unwrap();
    }
    meeting.wait();
}

#[test]
fn an_idle_thread_is_not_counted_on_twice() {
    let pool = pool(2);
    thread_of_a_job(&pool);
    wait_until_idle(&pool, 1);
    let meeting = Arc::new(Barrier::new(3));
    for _ in 0..2 {
        let meeting = meeting.clone();
        pool.spawn(move || {
            meeting.wait();
        })
        .unwrap();
    }
    meeting.wait();
}

#[test]
fn an_idle_thread_is_preferred_to_a_new_one() {
    let pool = pool(8);
    let threads: HashSet<_> = (0..20)
        .map(|_| {
            let thread = thread_of_a_job(&pool);
            wait_until_idle(&pool, 1);
            thread
        })
        .collect();
    assert_eq!(threads.len(), 1);
}

#[test]
fn no_more_jobs_run_at_once_than_the_limit() {
    const LIMIT: usize = 3;
    let pool = pool(LIMIT);
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let threads = Arc::new(std::sync::Mutex::new(HashSet::new()));
    for _ in 0..500 {
        let (running, most, threads) = (running.clone(), most.clone(), threads.clone());
        pool.spawn(move || {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            threads.lock().unwrap().insert(thread::current().id());
            thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
        })
        .unwrap();
    }
    pool.shutdown(true);
    assert!(most.load(Ordering::SeqCst) <= LIMIT);
    assert!(threads.lock().unwrap().len() <= LIMIT);
}

#[test]
fn one_thread_runs_jobs_in_order_and_all_of_them() {
    let pool = pool(1);
    let (tell, told) = mpsc::channel();
    for number in 0..1000 {
        let tell = tell.clone();
        pool.spawn(move || tell.send(number).unwrap()).unwrap();
    }
    drop(tell);
    assert!(told.into_iter().eq(0..1000));
}

#[test]
fn idle_threads_leave_and_others_come() {
    /// Tells when its thread is gone.
    struct Leaving(mpsc::Sender<ThreadId>);
    impl Drop for Leaving {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }
    thread_local! {
        static LEAVING: std::cell::OnceCell<Leaving> = const { std::cell::OnceCell::new() };
    }

    let pool = BlockingPool::with_options(1, "short-lived", Duration::from_millis(1));
    let (tell, told) = mpsc::channel();
    for _ in 0..3 {
        let tell = tell.clone();
        pool.spawn(move || LEAVING.with(|leaving| assert!(leaving.set(Leaving(tell)).is_ok())))
            .unwrap();
        told.recv().unwrap();
    }
    let state = pool.shared.lock();
    assert_eq!(state.workers, 0);
    assert_eq!(state.handles.len(), 1, "each has swept those before it");
}

#[test]
fn a_job_that_panics_costs_no_thread() {
    let pool = pool(1);
    let before = thread_of_a_job(&pool);
    pool.spawn(|| panic!("on purpose")).unwrap();
    assert_eq!(thread_of_a_job(&pool), before);
}

#[test]
fn threads_carry_the_pools_name() {
    let pool = pool(1);
    let (tell, told) = mpsc::channel();
    pool.spawn(move || tell.send(thread::current().name().map(str::to_owned)).unwrap()).unwrap();
    assert_eq!(told.recv().unwrap().as_deref(), Some("tested"));
}

#[test]
fn shutting_down_waits_for_every_job_if_asked_to() {
    let pool = pool(2);
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let done = done.clone();
        pool.spawn(move || {
            thread::yield_now();
            done.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    }
    pool.shutdown(true);
    assert_eq!(done.load(Ordering::Relaxed), 100);
    pool.shutdown(true);
}

#[test]
fn shutting_down_without_waiting_still_runs_what_was_accepted() {
    let pool = pool(1);
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    pool.spawn(move || released.recv().unwrap()).unwrap();
    pool.spawn(move || tell.send("done").unwrap()).unwrap();
    pool.shutdown(false);
    assert!(told.try_recv().is_err(), "the first job blocks the second");
    release.send(()).unwrap();
    assert_eq!(told.recv().unwrap(), "done");
    pool.shutdown(true);
}

#[test]
fn dropping_the_pool_does_not_wait_and_runs_what_was_accepted() {
    let pool = pool(1);
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    pool.spawn(move || released.recv().unwrap()).unwrap();
    pool.spawn(move || tell.send("done").unwrap()).unwrap();
    drop(pool);
    release.send(()).unwrap();
    assert_eq!(told.recv().unwrap(), "done");
}

#[test]
fn a_pool_that_is_shut_down_hands_the_job_back() {
    let pool = pool(1);
    pool.shutdown(false);
    let (tell, told) = mpsc::channel();
    let refused = pool.spawn(move || tell.send(1).unwrap()).unwrap_err();
    assert_eq!(refused.error.kind(), io::ErrorKind::BrokenPipe);
    (refused.job)();
    assert_eq!(told.recv().unwrap(), 1);
}

#[test]
fn a_job_may_shut_its_own_pool_down() {
    let pool = Arc::new(pool(1));
    let (tell, told) = mpsc::channel();
    let own = pool.clone();
    pool.spawn(move || {
        own.shutdown(true);
        tell.send(own.spawn(|| ()).is_err()).unwrap();
    })
    .unwrap();
    assert!(told.recv().unwrap());
}

#[test]
fn a_job_may_spawn_another() {
    let pool = Arc::new(pool(1));
    let (tell, told) = mpsc::channel();
    let own = pool.clone();
    pool.spawn(move || own.spawn(move || tell.send(()).unwrap()).unwrap()).unwrap();
    told.recv().unwrap();
}

#[test]
#[should_panic = "a pool without threads runs nothing"]
fn a_pool_has_threads() {
    BlockingPool::new(0);
}
