//! The wire: a BIO of OpenSSL's between an `SSL *` and ferrio's own buffers.
//!
//! An unsafe room: OpenSSL calls the functions here, perhaps without the GIL, and they touch nothing of Python's.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr;
use std::sync::OnceLock;

/// OpenSSL's `BIO`.
pub type Bio = c_void;
type Method = c_void;

const SOURCE_OR_SINK: c_int = 0x0400;
const FLAGS_READ: c_int = 0x01;
const FLAGS_SHOULD_RETRY: c_int = 0x08;
const FLAGS_RETRY_MASK: c_int = 0x0f;
const CONTROL_PENDING: c_int = 10;
const CONTROL_FLUSH: c_int = 11;
const CONTROL_PENDING_WRITES: c_int = 13;

/// The functions, as OpenSSL 1.1.1 and later declare them.
#[allow(missing_docs)] // Each has OpenSSL's name, without the prefix.
pub struct BioFunctions {
    pub get_new_index: unsafe extern "C" fn() -> c_int,
    pub meth_new: unsafe extern "C" fn(c_int, *const c_char) -> *mut Method,
    pub meth_set_read: unsafe extern "C" fn(
        *mut Method,
        unsafe extern "C" fn(*mut Bio, *mut c_char, c_int) -> c_int,
    ) -> c_int,
    pub meth_set_write: unsafe extern "C" fn(
        *mut Method,
        unsafe extern "C" fn(*mut Bio, *const c_char, c_int) -> c_int,
    ) -> c_int,
    pub meth_set_ctrl: unsafe extern "C" fn(
        *mut Method,
        unsafe extern "C" fn(*mut Bio, c_int, c_long, *mut c_void) -> c_long,
    ) -> c_int,
    pub meth_set_destroy:
        unsafe extern "C" fn(*mut Method, unsafe extern "C" fn(*mut Bio) -> c_int) -> c_int,
    pub new: unsafe extern "C" fn(*const Method) -> *mut Bio,
    pub up_ref: unsafe extern "C" fn(*mut Bio) -> c_int,
    pub free: unsafe extern "C" fn(*mut Bio) -> c_int,
    pub set_data: unsafe extern "C" fn(*mut Bio, *mut c_void),
    pub get_data: unsafe extern "C" fn(*mut Bio) -> *mut c_void,
    pub set_init: unsafe extern "C" fn(*mut Bio, c_int),
    pub set_flags: unsafe extern "C" fn(*mut Bio, c_int),
    pub clear_flags: unsafe extern "C" fn(*mut Bio, c_int),
}

struct Installed {
    functions: BioFunctions,
    method: *mut Method,
}

// SAFETY: the functions may be called from any thread, and the method is not changed once it is installed.
unsafe impl Sync for Installed {}
// SAFETY: as above.
unsafe impl Send for Installed {}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

impl BioFunctions {
    /// Makes OpenSSL know the wire. Returns whether it does.
    pub fn install(self) -> bool {
        // SAFETY: the functions are OpenSSL's own, as their names say; the name is a constant.
        let method = unsafe {
            let method =
                (self.meth_new)((self.get_new_index)() | SOURCE_OR_SINK, c"ferrio".as_ptr());
            if method.is_null() {
                return false;
            }
            (self.meth_set_read)(method, read);
            (self.meth_set_write)(method, write);
            (self.meth_set_ctrl)(method, control);
            (self.meth_set_destroy)(method, destroy);
            method
        };
        INSTALLED.get_or_init(|| Installed { functions: self, method });
        true
    }
}

/// The largest buffer that is kept for the next connection that writes, in bytes.
const LARGEST_SPARE: usize = 256 * 1024;

thread_local! {
    /// A buffer that some connection's ciphertext has left in: the next one's finds it in the processor's cache.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps a buffer, whose ciphertext was sent, for the next.
pub fn recycle(mut buffer: Vec<u8>) {
    if buffer.capacity() <= LARGEST_SPARE {
        buffer.clear();
        SPARE.set(buffer);
    }
}

/// What the peer sent and what it shall get.
#[derive(Default)]
pub struct Wire {
    /// Ciphertext that came before `lent`, and how much of it is used.
    held: Vec<u8>,
    used: usize,
    /// Ciphertext in somebody else's memory, until the loan ends.
    lent: Option<(*const u8, usize)>,
    out: Vec<u8>,
}

impl Wire {
    /// Offers `ciphertext` after what there is.
    ///
    /// # Safety
    ///
    /// The bytes stay as they are until [`end_loan`](Wire::end_loan) is called.
    pub unsafe fn lend(&mut self, ciphertext: &[u8]) {
        // A loan inside another one, from a callback that runs the loop: all must come in order.
        self.end_loan();
        self.lent = Some((ciphertext.as_ptr(), ciphertext.len()));
    }

    /// Keeps what is left of the loan.
    pub fn end_loan(&mut self) {
        if let Some((start, length)) = self.lent.take()
            && length > 0
        {
            // What is used goes first: a peer that never stops sending would have all of it kept.
            self.held.drain(..self.used);
            self.used = 0;
            // SAFETY: the lender promised that the bytes are there until the loan ends, which is now.
            self.held.extend_from_slice(unsafe { std::slice::from_raw_parts(start, length) });
        }
    }

    /// How many bytes from the peer are not yet used.
    pub fn incoming(&self) -> usize {
        self.held.len() - self.used + self.lent.map_or(0, |(_, length)| length)
    }

    /// How many bytes for the peer wait.
    pub fn outgoing(&self) -> usize {
        self.out.len()
    }

    /// Makes room for `count` more bytes for the peer.
    pub fn reserve(&mut self, count: usize) {
        if self.out.capacity() == 0 {
            self.out = SPARE.take();
        }
        self.out.reserve(count);
    }

    /// Takes the bytes for the peer.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Copies bytes from the peer to `target`, which has room for `room`. Returns how many.
    ///
    /// # Safety
    ///
    /// `target` may be written to, and is no part of the wire.
    unsafe fn read(&mut self, target: *mut u8, room: usize) -> usize {
        let held = &self.held[self.used..];
        if !held.is_empty() {
            let count = held.len().min(room);
            // SAFETY: both are as long, and the target is promised.
            unsafe { ptr::copy_nonoverlapping(held.as_ptr(), target, count) };
            self.used += count;
            if self.used == self.held.len() {
                self.held = Vec::new();
                self.used = 0;
            }
            return count;
        }
        let Some((start, length)) = self.lent else { return 0 };
        let count = length.min(room);
        // SAFETY: the lender's bytes are there until the loan ends, and the target is promised.
        unsafe {
            ptr::copy_nonoverlapping(start, target, count);
            self.lent = Some((start.add(count), length - count));
        }
        count
    }
}

/// A reference to the BIO of a wire.
pub struct WireBio {
    bio: *mut Bio,
    wire: *mut Wire,
}

impl WireBio {
    /// A new wire; `None` when memory has run out.
    pub fn new() -> Option<Self> {
        let installed = INSTALLED.get()?;
        let functions = &installed.functions;
        // SAFETY: the method is installed; the wire is freed by `destroy`, with the BIO's last reference.
        unsafe {
            let bio = (functions.new)(installed.method);
            if bio.is_null() {
                return None;
            }
            let wire = Box::into_raw(Box::<Wire>::default());
            (functions.set_data)(bio, wire.cast());
            (functions.set_init)(bio, 1);
            Some(WireBio { bio, wire })
        }
    }

    /// The BIO, for as long as this reference lives.
    pub fn as_ptr(&self) -> *mut Bio {
        self.bio
    }

    /// The BIO, with another reference to it that is the caller's.
    pub fn give(&self) -> *mut Bio {
        if let Some(installed) = INSTALLED.get() {
            // SAFETY: the BIO is alive.
            unsafe { (installed.functions.up_ref)(self.bio) };
        }
        self.bio
    }

    /// Runs `body` on the wire. The caller sees to it that OpenSSL doesn't use it meanwhile, nor another thread.
    pub fn wire<R>(&self, body: impl FnOnce(&mut Wire) -> R) -> R {
        // SAFETY: the wire lives as long as the BIO; the engine, the only caller, holds the GIL and isn't `busy`, and `body`,
        // a method of the wire, calls nobody.
        body(unsafe { &mut *self.wire })
    }
}

impl Drop for WireBio {
    fn drop(&mut self) {
        if let Some(installed) = INSTALLED.get() {
            // SAFETY: gives back the reference that this owns.
            unsafe { (installed.functions.free)(self.bio) };
        }
    }
}

/// # Safety
///
/// `bio` is alive, and made by [`WireBio::new`].
unsafe fn parts<'a>(bio: *mut Bio) -> Option<(&'static BioFunctions, &'a mut Wire)> {
    let functions = &INSTALLED.get()?.functions;
    // SAFETY: the data of such a BIO is its wire; OpenSSL calls with the BIO for itself.
    unsafe {
        let wire = (functions.get_data)(bio).cast::<Wire>().as_mut()?;
        Some((functions, wire))
    }
}

unsafe extern "C" fn read(bio: *mut Bio, data: *mut c_char, length: c_int) -> c_int {
    // SAFETY: OpenSSL calls with its BIO and room for `length` bytes.
    unsafe {
        let Some((functions, wire)) = parts(bio) else { return -1 };
        (functions.clear_flags)(bio, FLAGS_RETRY_MASK);
        let room = usize::try_from(length).unwrap_or(0);
        match wire.read(data.cast(), room) {
            0 => {
                (functions.set_flags)(bio, FLAGS_READ | FLAGS_SHOULD_RETRY);
                -1
            }
            count => count as c_int,
        }
    }
}

unsafe extern "C" fn write(bio: *mut Bio, data: *const c_char, length: c_int) -> c_int {
    // SAFETY: OpenSSL calls with its BIO and `length` bytes.
    unsafe {
        let Some((functions, wire)) = parts(bio) else { return -1 };
        (functions.clear_flags)(bio, FLAGS_RETRY_MASK);
        let Ok(count) = usize::try_from(length) else { return -1 };
        if count > 0 {
            wire.out.extend_from_slice(std::slice::from_raw_parts(data.cast(), count));
        }
        length
    }
}

unsafe extern "C" fn control(bio: *mut Bio, command: c_int, _: c_long, _: *mut c_void) -> c_long {
    // SAFETY: OpenSSL calls with its BIO.
    let Some((_, wire)) = (unsafe { parts(bio) }) else { return 0 };
    match command {
        CONTROL_FLUSH => 1,
        CONTROL_PENDING => wire.incoming() as c_long,
        CONTROL_PENDING_WRITES => wire.outgoing() as c_long,
        _ => 0,
    }
}

unsafe extern "C" fn destroy(bio: *mut Bio) -> c_int {
    if let Some(installed) = INSTALLED.get() {
        let functions = &installed.functions;
        // SAFETY: the last reference is gone, so the wire, made by `WireBio::new`, is nobody's any more.
        unsafe {
            let wire = (functions.get_data)(bio).cast::<Wire>();
            (functions.set_data)(bio, ptr::null_mut());
            if !wire.is_null() {
                drop(Box::from_raw(wire));
            }
        }
    }
    1
}
