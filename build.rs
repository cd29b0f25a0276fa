//! Tells the code which CPython it is built for, as `cfg(Py_3_13)` and its like, and the linker which of its functions
//! are called through `src/ffi/daemon.rs`.

use std::env::var;

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    println!("cargo::rustc-check-cfg=cfg(ends_threads)");
    println!("cargo::rerun-if-changed=src/ffi/daemon.rs");
    let version = pyo3_build_config::get().version();
    let old = (version.major, version.minor) < (3, 14);
    if old && var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-cfg=ends_threads");
        for line in include_str!("src/ffi/daemon.rs").lines() {
            let declared = line.strip_prefix("    fn ").and_then(|line| line.split_once('('));
            if let Some((name, _)) = declared.filter(|(name, _)| name.contains("Py")) {
                // LLVM's linker wraps no function that nobody else calls.
                println!("cargo::rustc-cdylib-link-arg=-Wl,--undefined={name},--wrap={name}");
            }
        }
    }
}
