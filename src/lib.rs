//! The extension module `ferrio._ferrio`.

use pyo3::prelude::*;

mod event_loop;
mod ffi;
mod task;
mod transport;

/// The native half of the package `ferrio`.
#[pymodule]
mod _ferrio {
    use pyo3::prelude::*;

    use crate::{event_loop, transport};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("Loop", event_loop::define(py)?)?;
        module.add("StreamTransport", transport::stream::define(py)?)?;
        transport::listener::define(py)
    }
}
