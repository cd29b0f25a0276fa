//! The engine for every interpreter: `ssl.SSLObject` on `ssl.MemoryBIO`, by Python calls.
//!
//! Bytes are copied on their way: a view of ferrio's memory could outlive it in the hands of a class of the user's own.

use std::mem::MaybeUninit;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::engine::{Engine, Plain, Step, must_wait, step};
use crate::ffi::{Slot, Traversal, Visit, error};

/// Its name in `ferrio._ferrio._tls_engine`.
pub const NAME: &str = "memory_bio";

/// The most plain bytes that one record has.
const RECORD_SIZE: usize = 16 * 1024;

/// An `SSLObject` and the two `MemoryBIO`s it was made with.
pub struct MemoryBio {
    ssl_object: Slot,
    incoming: Slot,
    outgoing: Slot,
}

impl MemoryBio {
    /// The engine for `ssl_object`, made with these two.
    pub fn create<'py>(
        ssl_object: &Bound<'py, PyAny>,
        incoming: &Bound<'py, PyAny>,
        outgoing: &Bound<'py, PyAny>,
    ) -> Self {
        MemoryBio {
            ssl_object: Slot::new(ssl_object.clone()),
            incoming: Slot::new(incoming.clone()),
            outgoing: Slot::new(outgoing.clone()),
        }
    }

    fn pending(bio: &Slot, py: Python<'_>) -> PyResult<usize> {
        bio.get(py).map_or(Ok(0), |bio| bio.getattr(intern!(py, "pending"))?.extract())
    }

    fn step(&self, py: Python<'_>, method: &str) -> PyResult<Step> {
        self.ssl_object.get(py).map_or(Ok(Step::Done), |object| step(&object, method))
    }
}

impl Engine for MemoryBio {
    fn with_ciphertext(
        &self,
        py: Python<'_>,
        ciphertext: &[u8],
        body: &mut dyn FnMut() -> PyResult<()>,
    ) -> PyResult<()> {
        if let Some(incoming) = self.incoming.get(py) {
            incoming.call_method1(intern!(py, "write"), (PyBytes::new(py, ciphertext),))?;
        }
        body()
    }

    fn handshake(&self, py: Python<'_>) -> PyResult<Step> {
        self.step(py, "do_handshake")
    }

    fn shutdown(&self, py: Python<'_>) -> PyResult<Step> {
        self.step(py, "unwrap")
    }

    fn read(&self, py: Python<'_>, room: &mut [MaybeUninit<u8>]) -> PyResult<Plain> {
        let Some(object) = self.ssl_object.get(py) else { return Ok(Plain::Empty) };
        match object.call_method1(intern!(py, "read"), (room.len().min(RECORD_SIZE),)) {
            Ok(bytes) => Ok(match bytes.cast::<PyBytes>()?.as_bytes() {
                [] => Plain::End,
                bytes => {
                    for (place, byte) in room.iter_mut().zip(bytes) {
                        place.write(*byte);
                    }
                    Plain::Bytes(bytes.len().min(room.len()))
                }
            }),
            Err(error) if must_wait(&error, py)? => {
                error::discard(error, py);
                Ok(Plain::Empty)
            }
            Err(error) => Err(error),
        }
    }

    fn readable(&self) -> bool {
        true
    }

    fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<usize> {
        let Some(object) = self.ssl_object.get(py) else { return Ok(data.len()) };
        let mut written = 0;
        while written < data.len() {
            let rest = &data[written..];
            let chunk = PyBytes::new(py, &rest[..rest.len().min(RECORD_SIZE)]);
            match object.call_method1(intern!(py, "write"), (chunk,)) {
                // More than there is would be a lie of the user's own class.
                Ok(count) => written += count.extract::<usize>()?.clamp(1, rest.len()),
                Err(error) if must_wait(&error, py)? => {
                    error::discard(error, py);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn incoming(&self, py: Python<'_>) -> PyResult<usize> {
        Self::pending(&self.incoming, py)
    }

    fn outgoing(&self, py: Python<'_>) -> PyResult<usize> {
        Self::pending(&self.outgoing, py)
    }

    fn take_outgoing(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        let Some(outgoing) = self.outgoing.get(py) else { return Ok(Vec::new()) };
        let bytes = outgoing.call_method0(intern!(py, "read"))?;
        Ok(bytes.cast::<PyBytes>()?.as_bytes().to_vec())
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.ssl_object)?;
        visit.slot(&self.incoming)?;
        visit.slot(&self.outgoing)
    }

    fn clear(&self) {
        self.ssl_object.clear();
        self.incoming.clear();
        self.outgoing.clear();
    }
}
