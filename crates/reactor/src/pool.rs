//! Threads for calls that block.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io, thread};

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// Identifies the pool that this thread works for.
    static EMPLOYER: Cell<usize> = const { Cell::new(0) };
}

/// A few threads that run what would block the event loop: name look-ups, file reads, foreign
/// calls.
///
/// Threads are started when a job finds none idle, up to a limit, and leave after they have been
/// idle for a while. Jobs are started in the order in which they came. Every job that [`spawn`] has
/// accepted is run, whatever becomes of the pool, unless the process ends first.
///
/// [`spawn`]: BlockingPool::spawn
///
/// ```
/// use ferrio_reactor::BlockingPool;
/// use std::sync::mpsc;
///
/// let pool = BlockingPool::new(4);
/// let (answer, answers) = mpsc::channel();
/// pool.spawn(move || answer.send(6 * 7).unwrap()).unwrap();
/// assert_eq!(answers.recv(), Ok(42));
/// pool.shutdown(true);
/// ```
pub struct BlockingPool {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    limit: usize,
    keep_alive: Duration,
    state: Mutex<State>,
    /// Signalled for a new job, and to all when the pool closes.
    work: Condvar,
    /// Signalled when the last thread leaves.
    gone: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that are at work or idle.
    workers: usize,
    /// Threads that wait for a job, or have been signalled and haven't looked yet.
    idle: usize,
    closed: bool,
    /// Of all threads, and of a few that have left.
    handles: Vec<JoinHandle<()>>,
}

/// Why a job was not accepted. It holds the job, for the caller to run or drop.
pub struct SpawnError<F> {
    /// The job.
    pub job: F,
    /// What was in the way: the pool is shut down (`BrokenPipe`), or the system has no more threads
    /// and the pool has none.
    pub error: io::Error,
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpawnError").field(&self.error).finish()
    }
}

impl BlockingPool {
    /// A pool of at most `limit` threads, of which none is started yet. A thread that has been idle
    /// for ten seconds leaves.
    ///
    /// # Panics
    ///
    /// With a limit of zero.
    pub fn new(limit: usize) -> Self {
        Self::with_options(limit, "blocking", Duration::from_secs(10))
    }

    /// A pool of at most `limit` threads that are called `name` and leave after having been idle
    /// for `keep_alive`.
    ///
    /// # Panics
    ///
    /// With a limit of zero, or a NUL in the name.
    pub fn with_options(limit: usize, name: impl Into<String>, keep_alive: Duration) -> Self {
        let name = name.into();
        assert!(limit > 0, "a pool without threads runs nothing");
        assert!(!name.contains('\0'), "a thread's name has no NUL in it");
        Self {
            shared: Arc::new(Shared {
                name,
                limit,
                keep_alive,
                state: Mutex::default(),
                work: Condvar::new(),
                gone: Condvar::new(),
            }),
        }
    }

    /// Has `job` run by a thread of the pool, after the jobs that came before. Never waits for one.
    ///
    /// A job that panics is lost (the panic hook reports it); its thread goes on with the next.
    ///
    /// # Errors
    ///
    /// When the pool is shut down, or the very first thread cannot be started. The error hands the
    /// job back.
    pub fn spawn<F>(&self, job: F) -> Result<(), SpawnError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let mut state = self.shared.lock();
        if state.closed {
            let error = io::Error::new(io::ErrorKind::BrokenPipe, "the pool is shut down");
            return Err(SpawnError { job, error });
        }
        // Each idle thread takes one of the jobs in the queue; is there one for this job too?
        if state.jobs.len() >= state.idle && state.workers < self.shared.limit {
            match self.start_worker() {
                Ok(handle) => {
                    state.workers += 1;
                    state.handles.push(handle);
                }
                // Those at work will come to it.
                Err(_) if state.workers > 0 => {}
                Err(error) => return Err(SpawnError { job, error }),
            }
        }
        state.jobs.push_back(Box::new(job));
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Accepts no more jobs; the threads leave when those accepted are done. With `wait` returns
    /// only after all threads have left. It may be called more than once, by whomever.
    ///
    /// From one of the pool's own threads it never waits: that would be for itself.
    pub fn shutdown(&self, wait: bool) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.work.notify_all();
        if !wait || EMPLOYER.get() == self.shared.address() {
            return;
        }
        state = self
            .shared
            .gone
            .wait_while(state, |state| state.workers > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles {
            // Jobs' panics are caught, so there is nothing to hear from it.
            let _ = handle.join();
        }
    }

    fn start_worker(&self) -> io::Result<JoinHandle<()>> {
        let shared = self.shared.clone();
        thread::Builder::new().name(shared.name.clone()).spawn(move || shared.work())
    }
}

impl Drop for BlockingPool {
    /// As `shutdown(false)`.
    fn drop(&mut self) {
        self.shutdown(false);
    }
}

impl Shared {
    fn work(&self) {
        EMPLOYER.set(self.address());
        while let Some(job) = self.next_job() {
            // The hook has reported the panic, and the thread is as good as new.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// Waits for a job. `None` means that the thread is to leave, and no longer counts.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (next, wait) = self
                .work
                .wait_timeout(state, self.keep_alive)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.idle -= 1;
            // A job may have come in the same moment, on the strength of this thread's being idle.
            if wait.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.workers -= 1;
        // A handle keeps its thread's stack. This thread's own is for the next one to sweep.
        state.handles.retain(|handle| !handle.is_finished());
        if state.workers == 0 {
            self.gone.notify_all();
        }
        None
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic halfway runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BlockingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("BlockingPool")
            .field("name", &self.shared.name)
            .field("limit", &self.shared.limit)
            .field("workers", &state.workers)
            .field("idle", &state.idle)
            .field("jobs", &state.jobs.len())
            .field("closed", &state.closed)
            .finish()
    }
}

#[cfg(test)]
mod tests;
