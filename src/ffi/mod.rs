//! The only room with raw C-API type definitions.
//!
//! Everything that ferrio shows to Python is an instance of a *native subclass*: a heap type whose
//! base is a class of the running interpreter (`_asyncio.Task`, `asyncio.Transport`, …) and whose own
//! Rust fields lie behind the base's part. PyO3's `#[pyclass]` can't derive from a class that is only
//! known at run time, hence this room. It offers safe building blocks to the rest of the crate:
//!
//! - [`Class`] and [`build`]: define a type, from methods written as safe Rust functions;
//! - [`Slot`]: an owned Python reference that may be empty, in a field;
//! - [`Owned`] and [`Ref`]: a strong and a borrowed reference to an instance whose class is known;
//! - [`Args`]: the arguments of a call, without making a tuple or a dictionary;
//! - [`native::Native`]: a C function of the interpreter, called as what it is;
//! - [`function`]: functions of the module, and such as return coroutines;
//! - [`os_error()`]: the exception for the error of a system call;
//! - [`frame::Place`]: what names a Rust function in tracebacks;
//! - [`prefetch`]: hints to the processor which memory is needed soon.
//!
//! # The invariants that every `unsafe` block here relies on
//!
//! 1. **The GIL.** Code of this crate that touches Python objects runs with the GIL held: CPython holds it
//!    when it calls a slot or a method, and the loop releases it only around `poll`. The module
//!    declares that it needs the GIL, so this is true on free-threaded builds also.
//! 2. **Layout.** The fields of class `T` lie at the class's offset in every instance of its type or of a
//!    subtype (see [`Extends`] for the one that has two of our classes above it), were written by [`Class::fresh`] before the object was visible, and stay until its deallocation.
//! 3. **Re-entrancy.** Releasing a reference may run any Python code. Fields are therefore cells, and an old value is
//!    released only after the new one is in place.

pub mod args;
pub mod buffer;
pub mod call;
pub mod class;
#[cfg(ends_threads)]
mod daemon;
pub mod error;
pub mod frame;
pub mod function;
mod life;
pub mod method;
pub mod native;
mod os_error;
pub mod prefetch;
pub mod reference;
pub mod slot;
mod trashcan;

pub use args::{Args, Rest, Signature};
pub use class::{Class, ClassCell, Definition, Extends, build};
pub use os_error::os_error;
pub use reference::{Owned, Ref};
pub use slot::{Slot, Traversal, Visit};
