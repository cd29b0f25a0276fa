//! How much memory another process has.

use std::fs;
use std::io;

/// Bytes of the process `pid` that are in memory, counted page by page (the figures of
/// `/proc/PID/status` are approximate); an error if there is no such process, or no `/proc`.
pub fn resident(pid: i32) -> io::Result<u64> {
    let summary = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = summary
        .lines()
        .find_map(|line| line.strip_prefix("Rss:")?.strip_suffix("kB")?.trim().parse().ok());
    kib.map(|kib: u64| kib * 1024)
        .ok_or_else(|| io::Error::other("/proc/PID/smaps_rollup has no Rss"))
}
