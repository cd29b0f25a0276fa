//! The extension module `ferrio._ferrio`.

use pyo3::prelude::*;

mod combine;
mod event_loop;
mod ffi;
mod stdlib;
mod streams;
mod sync;
mod task;
mod transport;

/// How this was compiled, for whoever measures it: with assertions; for release; for release with a profile of what it does,
/// by `tools/pgo.py`.
const BUILD: &str = if cfg!(debug_assertions) {
    "checked"
} else if option_env!("FERRIO_PROFILED").is_some() {
    "profiled"
} else {
    "release"
};

/// The native half of the package `ferrio`.
#[pymodule(gil_used = true)]
mod _ferrio {
    use pyo3::prelude::*;

    use super::BUILD;
    use crate::{combine, event_loop, ffi, stdlib, streams, sync, task, transport};

    #[pymodule_export]
    use crate::task::coroutine::track_origins;
    #[pymodule_export]
    use crate::task::registered_tasks;
    #[pymodule_export]
    use crate::transport::tls::engine::best_tls_engine;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("__build__", BUILD)?;
        stdlib::load(py)?;
        ffi::function::define(py)?;
        task::define(module)?;
        combine::define(module)?;
        streams::define(module)?;
        sync::define(module)?;
        event_loop::work_queue::define(module)?;
        module.add("Loop", event_loop::define(py)?)?;
        module.add("StreamTransport", transport::stream::define(py)?)?;
        module.add("DatagramTransport", transport::datagram::define(py)?)?;
        module.add("ReadPipeTransport", transport::read_pipe::define(py)?)?;
        module.add("WritePipeTransport", transport::write_pipe::define(py)?)?;
        module.add("SSLTransport", transport::tls::define(py)?)?;
        module.setattr("_tls_engine", py.None())?;
        transport::listener::define(py)
    }
}
