//! The parts of a loop that hold file descriptors, and what becomes of them in a forked child.
//!
//! A child shares its parent's poller, not a copy of it: what it would register or take out there, it would for its
//! parent. So it leaves that poller alone, and if it goes on with the loop, gets one of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ferrio_reactor::{Pace, Poller, Registry, Waker};
use pyo3::intern;
use pyo3::prelude::*;

use super::Loop;
use crate::ffi::{Ref, os_error};

/// How long callbacks may run before the next look at the sockets: long enough to spread the cost of the system
/// call, short beside the time that a message takes on the wire.
const POLL_GAP: Duration = Duration::from_micros(50);

/// How often this process and those that it descends from were forked since the module was imported.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Begins to count forks.
///
/// # Errors
///
/// When the system has no memory left.
pub fn count_forks() -> std::io::Result<()> {
    static COUNTED: OnceLock<libc::c_int> = OnceLock::new();
    unsafe extern "C" fn count() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the function does nothing that a child may not do before it calls `exec`.
    match COUNTED.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(count)) }) {
        0 => Ok(()),
        &code => Err(std::io::Error::from_raw_os_error(code)),
    }
}

/// How often it was, to be compared: who finds another number than before is in a child.
#[inline]
pub fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// What a loop waits with.
pub struct Io {
    /// Apart, for `poll` borrows it while other threads run.
    pub poller: Rc<RefCell<Poller>>,
    pub registry: Registry,
    pub waker: Waker,
    pub pace: Pace,
    /// The count of forks when it was opened.
    forks: u32,
}

impl Io {
    /// A poller that watches nothing.
    ///
    /// # Errors
    ///
    /// When no file descriptors are left.
    pub fn open() -> std::io::Result<Self> {
        let poller = Poller::new()?;
        Ok(Io {
            registry: poller.registry().clone(),
            waker: poller.waker(),
            pace: Pace::new(POLL_GAP),
            poller: Rc::new(RefCell::new(poller)),
            forks: forks(),
        })
    }

    /// The same, unless it is that of a parent process.
    #[inline]
    pub fn own(&self) -> Option<&Self> {
        (self.forks == forks()).then_some(self)
    }
}

impl Loop {
    /// In a child process that goes on with its parent's loop: watches the same with a poller of its own.
    ///
    /// Raises OSError when no descriptors are left.
    #[inline]
    pub(super) fn leave_parent(this: Ref<'_, '_, Self>) -> PyResult<()> {
        match this.io.borrow().as_ref() {
            Some(io) if io.own().is_none() => {}
            _ => return Ok(()),
        }
        this.open_anew()?;
        this.as_any().call_method0(intern!(this.py(), "_forked")).map(drop)
    }

    /// Watches the same with a new poller, which knows nothing else.
    ///
    /// Raises OSError when no descriptors are left.
    #[cold]
    pub(super) fn open_anew(&self) -> PyResult<()> {
        let io = Io::open().map_err(os_error)?;
        for (index, source) in self.sources.borrow().iter().enumerate() {
            let Some(interest) = source.interest() else { continue };
            let token = self.registrations.borrow().token(index);
            // What was closed without a word is forgotten.
            let _closed = io.registry.register(index as _, token, interest, source.trigger());
        }
        let old = self.io.replace(Some(io));
        drop(old);
        Ok(())
    }
}
