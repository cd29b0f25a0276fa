//! The clock that deadlines are measured on.
//!
//! It is the very clock that Python's `time.monotonic()` reads, so that a deadline computed in
//! Python (`loop.time() + 5`) and one computed here mean the same instant: `CLOCK_MONOTONIC`, and
//! on Apple's systems `CLOCK_UPTIME_RAW`, because `CLOCK_MONOTONIC` goes on while the machine
//! sleeps there and the clock that Python chose does not.

#[cfg(target_vendor = "apple")]
const CLOCK: libc::clockid_t = libc::CLOCK_UPTIME_RAW;
#[cfg(not(target_vendor = "apple"))]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// The present instant, in nanoseconds since an unspecified start.
///
/// Never goes back. Costs no system call where the kernel offers a vDSO (tens of nanoseconds).
///
/// ```
/// use ferrio_reactor::clock;
///
/// let before = clock::now();
/// assert!(clock::now() >= before);
/// ```
pub fn now() -> u64 {
    read(libc::clock_gettime)
}

/// The step of the clock in nanoseconds: two instants closer than this may read the same.
///
/// One nanosecond on any kernel with high-resolution timers.
///
/// ```
/// assert!(ferrio_reactor::clock::resolution() > 0);
/// ```
pub fn resolution() -> u64 {
    read(libc::clock_getres)
}

fn read(call: unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls only write one `timespec` through a pointer that is valid for the call.
    let failed = unsafe { call(CLOCK, &mut time) };
    // The calls can fail only for a clock that the system lacks, and these are always there.
    assert_eq!(failed, 0, "the monotonic clock cannot be read");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
