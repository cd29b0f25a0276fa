//! The CPU time of another process, to the nanosecond.
//!
//! `/proc/PID/stat` counts in ticks of ten milliseconds; over a window of a second or two that is
//! an error of a per cent. The process's CPU clock has no such grain.

use std::io;
use std::time::Duration;

/// The CPU clock of a process.
#[cfg(target_os = "linux")]
pub struct CpuClock(nix::time::ClockId);

#[cfg(target_os = "linux")]
impl CpuClock {
    /// The clock of the process `pid`; an error if there is no such process.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self(nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid))?))
    }

    /// User and system time of all threads of the process until now; an error if it has ended.
    pub fn read(&self) -> io::Result<Duration> {
        Ok(self.0.now()?.into())
    }
}

/// The CPU clock of a process: none is known here.
#[cfg(not(target_os = "linux"))]
pub struct CpuClock(std::convert::Infallible);

#[cfg(not(target_os = "linux"))]
impl CpuClock {
    /// An error: this system has no clock for another process's CPU time.
    pub fn of(_pid: i32) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "--pid works on Linux only"))
    }

    /// Never called, because `of` gives no clock.
    pub fn read(&self) -> io::Result<Duration> {
        match self.0 {}
    }
}
