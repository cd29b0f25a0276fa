//! Hints to the processor which memory is needed soon.
//!
//! With thousands of connections a connection's memory has left the caches by the time of its turn. Asked for some
//! turns ahead, it comes while other connections are served.

/// The bytes that the processor's caches fetch at once, on all that ferrio is measured on.
const LINE: usize = 64;

/// Asks for the `size` bytes of memory at `address`, which need not be valid.
#[inline]
pub fn prefetch<T>(address: *const T, size: usize) {
    let start = address.cast::<i8>();
    for offset in (0..size).step_by(LINE) {
        hint(start.wrapping_add(offset));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn hint(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction reads nothing and faults at no address; SSE is part of every x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn hint(_address: *const i8) {}
