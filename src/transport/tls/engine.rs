//! What turns plain bytes into ciphertext and back: the narrow waist between the transport and OpenSSL.

use std::mem::MaybeUninit;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::{memory_bio, openssl};
use crate::ffi::{Traversal, Visit, error};

/// What one read gave.
pub enum Plain {
    /// This many bytes.
    Bytes(usize),
    /// Nothing before more ciphertext comes.
    Empty,
    /// The peer's `close_notify`.
    End,
}

/// How far a handshake or a shutdown came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To its end.
    Done,
    /// To where the peer must answer.
    Waiting,
}

/// One TLS connection, without a socket: ciphertext and plain bytes go in and out.
///
/// Every method raises what `ssl.SSLObject` raises.
pub trait Engine {
    /// Lets the connection have `ciphertext` from the peer, after what it had before, and runs `body`, which may use it.
    /// What is not used then is kept for later.
    fn with_ciphertext(
        &self,
        py: Python<'_>,
        ciphertext: &[u8],
        body: &mut dyn FnMut() -> PyResult<()>,
    ) -> PyResult<()>;

    /// Carries the handshake on.
    fn handshake(&self, py: Python<'_>) -> PyResult<Step>;

    /// Carries the exchange of `close_notify` on.
    fn shutdown(&self, py: Python<'_>) -> PyResult<Step>;

    /// Decrypts into `room`, which is not empty: one record at the most.
    fn read(&self, py: Python<'_>, room: &mut [MaybeUninit<u8>]) -> PyResult<Plain>;

    /// Whether a read can give anything but [`Plain::Empty`], as far as is known without trying.
    fn readable(&self) -> bool;

    /// Encrypts `data`, and returns how many bytes of it. They are fewer only when the peer must answer first;
    /// then the next call must begin with the rest.
    fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<usize>;

    /// How many bytes of ciphertext are still to be decrypted.
    fn incoming(&self, py: Python<'_>) -> PyResult<usize>;

    /// How many bytes of ciphertext wait to be sent.
    fn outgoing(&self, py: Python<'_>) -> PyResult<usize>;

    /// Takes the ciphertext that waits to be sent.
    fn take_outgoing(&self, py: Python<'_>) -> PyResult<Vec<u8>>;

    /// Reports what the engine owns to the garbage collector.
    fn traverse(&self, visit: &Visit) -> Traversal;

    /// Releases what may be part of a reference cycle. All methods may be called after.
    fn clear(&self);
}

/// Whether new connections use OpenSSL itself where they can. `ferrio._ferrio._tls_engine` may name an engine; with
/// `None` there, it is the best that this interpreter allows, which the first connection finds out.
fn prefers_openssl(py: Python<'_>) -> PyResult<bool> {
    let name = py.import("ferrio._ferrio")?.getattr(intern!(py, "_tls_engine"))?;
    // Which finds out what can be had, whatever is asked for.
    let best = best_tls_engine(py);
    if name.is_none() { Ok(best == openssl::NAME) } else { name.eq(openssl::NAME) }
}

/// The engine for `ssl_object`, a new `ssl.SSLObject` on the two `ssl.MemoryBIO`s.
pub fn choose<'py>(
    ssl_object: &Bound<'py, PyAny>,
    incoming: &Bound<'py, PyAny>,
    outgoing: &Bound<'py, PyAny>,
) -> PyResult<Box<dyn Engine>> {
    let py = ssl_object.py();
    if prefers_openssl(py)?
        && let Some(engine) = openssl::OpenSsl::create(ssl_object)?
    {
        return Ok(Box::new(engine));
    }
    Ok(Box::new(memory_bio::MemoryBio::create(ssl_object, incoming, outgoing)))
}

/// The name of the best engine that this interpreter allows. The first call finds out.
#[pyfunction]
pub fn best_tls_engine(py: Python<'_>) -> &'static str {
    static BEST: PyOnceLock<&'static str> = PyOnceLock::new();
    BEST.get_or_init(py, || match openssl::load(py) {
        Ok(true) => openssl::NAME,
        Ok(false) => memory_bio::NAME,
        Err(error) => {
            error::discard(error, py);
            memory_bio::NAME
        }
    })
}

/// A class of the module `ssl`. Raises `ImportError` where there is none.
pub fn ssl_class<'py>(py: Python<'py>, name: &'static str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("ssl").map(Bound::unbind))?;
    module.bind(py).getattr(name)
}

/// Calls `ssl_object.do_handshake()` or `unwrap()`.
pub fn step(ssl_object: &Bound<'_, PyAny>, method: &str) -> PyResult<Step> {
    match ssl_object.call_method0(method) {
        Ok(_) => Ok(Step::Done),
        Err(error) if must_wait(&error, ssl_object.py())? => {
            error::discard(error, ssl_object.py());
            Ok(Step::Waiting)
        }
        Err(error) => Err(error),
    }
}

/// Whether `error` only says that the peer's answer is needed: `asyncio.sslproto.SSLAgainErrors`.
pub fn must_wait(error: &PyErr, py: Python<'_>) -> PyResult<bool> {
    Ok(error.matches(py, ssl_class(py, "SSLWantReadError")?)?
        || error.matches(py, ssl_class(py, "SSLSyscallError")?)?)
}
