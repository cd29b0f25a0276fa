//! The engine that calls OpenSSL: `SSL_read_ex` and `SSL_write_ex` on the `SSL *` of a genuine `ssl.SSLObject`.
//!
//! An unsafe room. The user's context makes the `SSLObject`, so that everything that CPython hangs on it works, and this
//! engine gives its `SSL *` a [wire](super::wire). Handshake and shutdown go through the object's own methods: they are rare, run
//! callbacks, and raise most of the errors. Only records of data take the short way, and an error on it is raised by the object also.
//!
//! # The invariants that every `unsafe` block here relies on
//!
//! 1. **The library.** The functions are those that `_ssl` itself calls: they are looked up through its own file.
//! 2. **The layout.** Where the `SSL *` stands in a `_ssl._SSLSocket` was found on an object whose two neighbours were
//!    known, and confirmed by OpenSSL. All instances of a type have one layout.
//! 3. **The life.** `_SSLSocket` frees its `SSL *` when it dies, not before. The engine owns a reference until `clear`, after
//!    which it doesn't touch the pointer.
//! 4. **One user.** The engine calls with the GIL held. During a method of the object, which releases it, [`OpenSsl::busy`] keeps
//!    everybody else off the wire. `ssl.SSLObject` isn't made for two threads at once, and neither is this.

use std::cell::Cell;
use std::ffi::{CString, c_int, c_ulong, c_void};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::engine::{Engine, Plain, Step, must_wait, ssl_class, step};
use super::wire::{Bio, BioFunctions, Wire, WireBio};
use crate::ffi::{Slot, Traversal, Visit};

/// Its name in `ferrio._ferrio._tls_engine`.
pub const NAME: &str = "openssl";

/// What `SSL_get_error` returns when more ciphertext is needed, or somebody else has something to do.
const ERROR_WANT_READ: c_int = 2;
const ERROR_WANT_WRITE: c_int = 3;
const ERROR_SYSCALL: c_int = 5;
/// What it returns after the peer's `close_notify`.
const ERROR_ZERO_RETURN: c_int = 6;
/// What `SSL_get_shutdown` returns when the peer has sent a `close_notify`, and this side has not.
const RECEIVED_SHUTDOWN: c_int = 2;

/// The most bytes that encryption adds to a record: header, nonce, padding and tag, generously.
const RECORD_OVERHEAD: usize = 128;
const RECORD_SIZE: usize = 16 * 1024;

type Ssl = c_void;

/// The functions, as OpenSSL 1.1.1 and later declare them.
struct Functions {
    read: unsafe extern "C" fn(*mut Ssl, *mut c_void, usize, *mut usize) -> c_int,
    write: unsafe extern "C" fn(*mut Ssl, *const c_void, usize, *mut usize) -> c_int,
    has_pending: unsafe extern "C" fn(*const Ssl) -> c_int,
    get_error: unsafe extern "C" fn(*const Ssl, c_int) -> c_int,
    get_shutdown: unsafe extern "C" fn(*const Ssl) -> c_int,
    get_context: unsafe extern "C" fn(*const Ssl) -> *mut c_void,
    get_ex_data: unsafe extern "C" fn(*const Ssl, c_int) -> *mut c_void,
    set_bio: unsafe extern "C" fn(*mut Ssl, *mut Bio, *mut Bio),
    peek_error: unsafe extern "C" fn() -> c_ulong,
    clear_errors: unsafe extern "C" fn(),
}

impl Functions {
    /// Empties the thread's queue of errors, which `SSL_get_error` looks at. It is empty mostly, and to look costs a tenth of what
    /// emptying it costs.
    fn forget_errors(&self) {
        // SAFETY: invariant 1; neither has preconditions.
        unsafe {
            if (self.peek_error)() != 0 {
                (self.clear_errors)();
            }
        }
    }
}

/// What was found out about this interpreter.
struct Library {
    functions: Functions,
    /// Where the `SSL *` stands in a `_ssl._SSLSocket`, in words.
    place: usize,
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// Looks OpenSSL up and makes sure of the layout of `_ssl`'s objects. Returns whether both are as this engine needs them.
pub fn load(py: Python<'_>) -> PyResult<bool> {
    if LIBRARY.get().is_some() {
        return Ok(true);
    }
    let file = py.import("_ssl")?.getattr_opt("__file__")?;
    let path = file.map(|file| file.extract::<String>()).transpose()?;
    let Some((functions, bio)) = open(path) else { return Ok(false) };
    if !bio.install() {
        return Ok(false);
    }
    let Some(place) = find_place(py, &functions)? else { return Ok(false) };
    Ok(LIBRARY.set(Library { functions, place }).is_ok())
}

/// Looks the functions up in the file of `_ssl` and what it is linked with; in the program itself where `_ssl` is built in.
#[allow(clippy::missing_transmute_annotations)] // The fields say it.
fn open(path: Option<String>) -> Option<(Functions, BioFunctions)> {
    let path = path.map(CString::new).transpose().ok()?;
    let name = path.as_ref().map_or(std::ptr::null(), |path| path.as_ptr());
    // SAFETY: a terminated string or null. What is loaded already is only found again.
    let library = unsafe { libc::dlopen(name, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if library.is_null() {
        return None;
    }
    // The handle is kept for ever, and so is the library.
    macro_rules! find {
        ($name:literal) => {{
            // SAFETY: a live handle and a terminated name.
            let symbol = unsafe { libc::dlsym(library, $name.as_ptr()) };
            if symbol.is_null() {
                return None;
            }
            // SAFETY: the function of that name has the type of the field that it goes to.
            unsafe { std::mem::transmute(symbol) }
        }};
    }
    let functions = Functions {
        read: find!(c"SSL_read_ex"),
        write: find!(c"SSL_write_ex"),
        has_pending: find!(c"SSL_has_pending"),
        get_error: find!(c"SSL_get_error"),
        get_shutdown: find!(c"SSL_get_shutdown"),
        get_context: find!(c"SSL_get_SSL_CTX"),
        get_ex_data: find!(c"SSL_get_ex_data"),
        set_bio: find!(c"SSL_set_bio"),
        peek_error: find!(c"ERR_peek_error"),
        clear_errors: find!(c"ERR_clear_error"),
    };
    let bio = BioFunctions {
        get_new_index: find!(c"BIO_get_new_index"),
        meth_new: find!(c"BIO_meth_new"),
        meth_set_read: find!(c"BIO_meth_set_read"),
        meth_set_write: find!(c"BIO_meth_set_write"),
        meth_set_ctrl: find!(c"BIO_meth_set_ctrl"),
        meth_set_destroy: find!(c"BIO_meth_set_destroy"),
        new: find!(c"BIO_new"),
        up_ref: find!(c"BIO_up_ref"),
        free: find!(c"BIO_free"),
        set_data: find!(c"BIO_set_data"),
        get_data: find!(c"BIO_get_data"),
        set_init: find!(c"BIO_set_init"),
        set_flags: find!(c"BIO_set_flags"),
        clear_flags: find!(c"BIO_clear_flags"),
    };
    Some((functions, bio))
}

/// The words of `object` behind its header.
fn words(object: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    let size: usize = object.get_type().getattr("__basicsize__")?.extract()?;
    let header = size_of::<ffi::PyObject>() / size_of::<usize>();
    let read = |place| {
        // SAFETY: the place is inside the object, which is alive and as large as its type says.
        unsafe { object.as_ptr().cast::<usize>().add(place).read() }
    };
    Ok((0..size / size_of::<usize>())
        .map(|place| if place < header { 0 } else { read(place) })
        .collect())
}

/// Finds where a `_ssl._SSLSocket` keeps its `SSL *`: before its reference to the context, and OpenSSL agrees.
fn find_place(py: Python<'_>, functions: &Functions) -> PyResult<Option<usize>> {
    let context = ssl_class(py, "SSLContext")?.call1((ssl_class(py, "PROTOCOL_TLS_CLIENT")?,))?;
    let bio = ssl_class(py, "MemoryBIO")?;
    let keywords = PyDict::new(py);
    keywords.set_item("server_hostname", "localhost")?;
    let object = context.call_method("wrap_bio", (bio.call0()?, bio.call0()?), Some(&keywords))?;
    let socket = object.getattr("_sslobj")?;
    let fields = words(&socket)?;
    let Some(behind) = fields.iter().position(|&word| word == context.as_ptr() as usize) else {
        return Ok(None);
    };
    let Some(place) = behind.checked_sub(1) else { return Ok(None) };
    let ssl = fields[place] as *mut Ssl;
    if !may_be_address(ssl) {
        return Ok(None);
    }
    // SAFETY: the word is an aligned pointer that stands where `_ssl` keeps the `SSL *`; were it another object's, the first
    // function would read one of its words, and the comparison fail.
    let confirmed = unsafe {
        words(&context)?.contains(&((functions.get_context)(ssl) as usize))
            && (functions.get_ex_data)(ssl, 0) == socket.as_ptr().cast()
    };
    Ok(confirmed.then_some(place))
}

/// Whether this may be the address of a structure: not null, not a small number, aligned.
fn may_be_address(ssl: *mut Ssl) -> bool {
    ssl as usize > 0xffff && ssl.cast::<usize>().is_aligned()
}

/// An `SSLObject`, and the way past it.
pub struct OpenSsl {
    library: &'static Library,
    ssl_object: Slot,
    /// The `_ssl._SSLSocket`, whose is the `SSL *`.
    socket: Slot,
    ssl: *mut Ssl,
    bio: WireBio,
    /// Whether a method of the object is running, which uses the wire without the GIL.
    busy: Cell<bool>,
}

impl OpenSsl {
    /// The engine for `ssl_object`; `None` where it needs the other one: for a class of the user's own, whose methods are
    /// to be called, and with a message callback, whose exceptions only the object's methods raise.
    pub fn create(ssl_object: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = ssl_object.py();
        let Some(library) = LIBRARY.get() else { return Ok(None) };
        let watched = || -> PyResult<bool> {
            let context = ssl_object.getattr(intern!(py, "context"))?;
            Ok(!context.getattr(intern!(py, "_msg_callback"))?.is_none())
        };
        if !ssl_object.get_type().is(ssl_class(py, "SSLObject")?) || watched()? {
            return Ok(None);
        }
        let socket = ssl_object.getattr(intern!(py, "_sslobj"))?;
        if !socket.get_type().is(py.import("_ssl")?.getattr(intern!(py, "_SSLSocket"))?) {
            return Ok(None);
        }
        let Some(bio) = WireBio::new() else { return Ok(None) };
        // SAFETY: invariant 2.
        let ssl = unsafe { socket.as_ptr().cast::<*mut Ssl>().add(library.place).read() };
        // SAFETY: a live `SSL *`, which lets go of its old BIOs and takes over one reference to the new one.
        unsafe { (library.functions.set_bio)(ssl, bio.give(), bio.as_ptr()) };
        Ok(Some(OpenSsl {
            library,
            ssl_object: Slot::new(ssl_object.clone()),
            socket: Slot::new(socket),
            ssl,
            bio,
            busy: Cell::new(false),
        }))
    }

    /// The `SSL *`, as long as it lives and nobody else uses it.
    fn ssl(&self) -> Option<*mut Ssl> {
        (!self.busy.get() && !self.socket.is_empty()).then_some(self.ssl)
    }

    /// Runs `body` on the wire, if nobody else uses it.
    fn wire<R: Default>(&self, body: impl FnOnce(&mut Wire) -> R) -> R {
        if self.busy.get() { R::default() } else { self.bio.wire(body) }
    }

    fn step(&self, py: Python<'_>, method: &str) -> PyResult<Step> {
        let Some(object) = self.ssl_object.get(py) else { return Ok(Step::Done) };
        if self.busy.replace(true) {
            return Ok(Step::Waiting);
        }
        let outcome = step(&object, method);
        self.busy.set(false);
        outcome
    }

    /// The exception for the error that OpenSSL has just noted. `_ssl` makes it: called again, a connection that failed fails
    /// at once, and the error is still there.
    #[cold]
    fn failure(&self, py: Python<'_>, method: &str, argument: Bound<'_, PyAny>) -> PyErr {
        let raised = self.ssl_object.get_or_none(py).call_method1(method, (argument,));
        let raised = raised.map_or_else(Some, |_| None);
        match raised {
            Some(error) if !must_wait(&error, py).unwrap_or(true) => error,
            _ => {
                self.library.functions.forget_errors();
                let message = "A failure in the SSL library occurred";
                match ssl_class(py, "SSLError").and_then(|class| class.call1((1, message))) {
                    Ok(exception) => PyErr::from_value(exception),
                    Err(error) => error,
                }
            }
        }
    }
}

impl Engine for OpenSsl {
    fn with_ciphertext(
        &self,
        _: Python<'_>,
        ciphertext: &[u8],
        body: &mut dyn FnMut() -> PyResult<()>,
    ) -> PyResult<()> {
        /// Takes the ciphertext back, however `body` ends.
        struct Loan<'a>(&'a OpenSsl);
        impl Drop for Loan<'_> {
            fn drop(&mut self) {
                self.0.bio.wire(Wire::end_loan);
            }
        }
        if self.busy.get() {
            return Ok(());
        }
        // SAFETY: the loan ends before this call, for whose length the bytes are borrowed.
        self.bio.wire(|wire| unsafe { wire.lend(ciphertext) });
        let _loan = Loan(self);
        body()
    }

    fn handshake(&self, py: Python<'_>) -> PyResult<Step> {
        self.step(py, "do_handshake")
    }

    fn shutdown(&self, py: Python<'_>) -> PyResult<Step> {
        self.step(py, "unwrap")
    }

    fn read(&self, py: Python<'_>, room: &mut [MaybeUninit<u8>]) -> PyResult<Plain> {
        let Some(ssl) = self.ssl() else { return Ok(Plain::Empty) };
        let functions = &self.library.functions;
        let mut count = 0;
        functions.forget_errors();
        // SAFETY: invariants 1, 3 and 4; the room is borrowed for the call.
        let code = unsafe {
            match (functions.read)(ssl, room.as_mut_ptr().cast(), room.len(), &mut count) {
                1 => return Ok(Plain::Bytes(count)),
                failed => (functions.get_error)(ssl, failed),
            }
        };
        match code {
            ERROR_WANT_READ | ERROR_WANT_WRITE | ERROR_SYSCALL => Ok(Plain::Empty),
            // SAFETY: as above.
            ERROR_ZERO_RETURN if unsafe { (functions.get_shutdown)(ssl) } == RECEIVED_SHUTDOWN => {
                Ok(Plain::End)
            }
            _ => Err(self.failure(py, "read", 1_usize.into_pyobject(py)?.into_any())),
        }
    }

    fn readable(&self) -> bool {
        // SAFETY: invariants 1, 3 and 4.
        self.wire(|wire| wire.incoming() > 0)
            || self
                .ssl()
                .is_some_and(|ssl| unsafe { (self.library.functions.has_pending)(ssl) } != 0)
    }

    fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<usize> {
        let Some(ssl) = self.ssl() else { return Ok(0) };
        let functions = &self.library.functions;
        let records = data.len().div_ceil(RECORD_SIZE);
        self.wire(|wire| wire.reserve(data.len() + records * RECORD_OVERHEAD));
        functions.forget_errors();
        let mut written = 0;
        while let rest = &data[written..]
            && !rest.is_empty()
        {
            let mut count = 0;
            // SAFETY: invariants 1, 3 and 4; the bytes are borrowed for the call.
            let code = unsafe {
                match (functions.write)(ssl, rest.as_ptr().cast(), rest.len(), &mut count) {
                    1 => 0,
                    failed => (functions.get_error)(ssl, failed),
                }
            };
            match code {
                0 => written += count,
                ERROR_WANT_READ | ERROR_WANT_WRITE | ERROR_SYSCALL => break,
                _ => return Err(self.failure(py, "write", PyBytes::new(py, b"").into_any())),
            }
        }
        Ok(written)
    }

    fn incoming(&self, _: Python<'_>) -> PyResult<usize> {
        Ok(self.wire(|wire| wire.incoming()))
    }

    fn outgoing(&self, _: Python<'_>) -> PyResult<usize> {
        Ok(self.wire(|wire| wire.outgoing()))
    }

    fn take_outgoing(&self, _: Python<'_>) -> PyResult<Vec<u8>> {
        Ok(self.wire(Wire::take_outgoing))
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.ssl_object)?;
        visit.slot(&self.socket)
    }

    fn clear(&self) {
        self.ssl_object.clear();
        self.socket.clear();
    }
}
