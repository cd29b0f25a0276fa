//! Streams: bytes that a coroutine reads and writes.
//!
//! Between one of these and a transport of ferrio's a byte makes no detour through Python: the transport receives into a
//! [`Landing`], which becomes or fills the reader's buffer, and the reader wakes the task that waits for it.
//!
//! - `reader.rs`, `reader_type.rs`: [`StreamReader`], with its `buffer.rs`; `read.rs`, `search.rs` and `subclass.rs`: `read`,
//!   `readline` and their like;
//! - `writer.rs`: [`StreamWriter`]; `drain.rs`: what its coroutines wait for;
//! - `protocol.rs`, `accept.rs`, `flow.rs`: [`StreamReaderProtocol`], between a transport and the two.
//!
//! Python sees three classes that derive from these natives and from those of asyncio, so that `isinstance` holds: see
//! [`Face`]. What nobody calls often they have from asyncio's, which finds all its private attributes here.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::event_loop::overrides;
use crate::ffi::{Class, Owned, Ref};
use crate::task;

mod accept;
mod buffer;
mod drain;
mod flow;
mod protocol;
mod read;
mod reader;
mod reader_type;
mod search;
mod subclass;
mod writer;

pub use buffer::{Landing, RECEIVE_SIZE};
pub use protocol::StreamReaderProtocol;
pub use reader::StreamReader;
pub use writer::StreamWriter;

/// A native class that Python sees through a class that derives from it and from asyncio's of the same name.
///
/// asyncio's have a dictionary, which a native class can't inherit, but a Python class can.
pub trait Face: Class {
    /// The class's name.
    const SHOWN: &'static str;

    /// Its documentation.
    const DOC: &'static str;

    /// Where the class that Python sees is kept.
    fn face() -> &'static FaceCell;
}

/// Where the class that Python sees is kept: written once, at import.
pub type FaceCell = pyo3::sync::PyOnceLock<Py<PyType>>;

/// The class that Python sees.
fn face<T: Face>(py: Python<'_>) -> &Bound<'_, PyType> {
    T::face().get(py).expect("the module's import makes it").bind(py)
}

/// `object` as an instance of the class that Python sees, no subclass, whose methods could be others.
#[inline]
fn exact<'a, 'py, T: Face>(object: &'a Bound<'py, PyAny>) -> Option<Ref<'a, 'py, T>> {
    let face = T::face().get(object.py())?;
    let is_exact = object.get_type_ptr().cast() == face.as_ptr();
    // SAFETY: the class derives from the native one, and `object` is a live instance of it.
    is_exact.then(|| unsafe { Ref::from_ptr(object.py(), object.as_ptr()) })
}

/// `object` as an instance of the native class or of a subclass; quick for the class that Python sees.
#[inline]
fn cast<'a, 'py, T: Face>(object: &'a Bound<'py, PyAny>) -> Option<Ref<'a, 'py, T>> {
    exact(object).or_else(|| Ref::cast(object))
}

/// Makes the class that Python sees. Raises what the import of `asyncio` raises.
fn define_face<'py, T: Face>(native: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    let py = native.py();
    let base = py.import("asyncio.streams")?.getattr(T::SHOWN)?;
    let names = PyDict::new(py);
    names.set_item("__slots__", PyTuple::empty(py))?;
    names.set_item("__module__", "ferrio")?;
    names.set_item("__doc__", T::DOC)?;
    let class = py.get_type::<PyType>().call1((T::SHOWN, (native, base), names))?;
    let class = class.cast_into::<PyType>()?;
    let _first = T::face().set(py, class.clone().unbind());
    Ok(class)
}

/// Whether `protocol` is of the class that Python sees: then [`direct_reader`] may find its reader.
pub fn is_direct(protocol: &Bound<'_, PyAny>) -> bool {
    exact::<StreamReaderProtocol>(protocol).is_some()
}

/// The reader that takes what `protocol` receives without a call of Python code, if there is one: both are ferrio's own, of no
/// subclass, and the reader is alive and not at its end.
#[inline]
pub fn direct_reader(protocol: &Bound<'_, PyAny>) -> Option<Owned<StreamReader>> {
    let protocol = exact::<StreamReaderProtocol>(protocol)?;
    let reader = protocol.reader()?;
    let reader = exact::<StreamReader>(&reader)?;
    (!reader.at_end()).then(|| reader.to_owned())
}

/// Whether the reader of `protocol` holds bytes that nobody has read.
pub fn has_more(protocol: &Bound<'_, PyAny>) -> bool {
    direct_reader(protocol).is_some_and(|reader| reader.get(protocol.py()).has_more())
}

/// Has the `drain()` of `protocol`, for which [`is_direct`] holds, ask its transport first whether it has to pause.
pub fn put_off_pause(protocol: &Bound<'_, PyAny>) {
    if let Some(protocol) = exact::<StreamReaderProtocol>(protocol) {
        protocol.pause_put_off.set(true);
    }
}

/// Builds the classes and adds them to `module`.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    read::define(py)?;
    drain::define(py)?;
    module.add(StreamReader::SHOWN, define_face::<StreamReader>(&reader_type::define(py)?)?)?;
    module.add(StreamWriter::SHOWN, define_face::<StreamWriter>(&writer::define(py)?)?)?;
    let protocol = define_face::<StreamReaderProtocol>(&protocol::define(py)?)?;
    module.add(StreamReaderProtocol::SHOWN, protocol)
}

/// `event_loop.create_future()`. Raises what that raises.
#[inline]
fn create_future<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    match overrides::direct(event_loop)? {
        Some(event_loop) => Ok(task::create_future(event_loop)?.into_any(py)),
        None => event_loop.call_method0(intern!(py, "create_future")),
    }
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

/// An attribute that is a [`Slot`](crate::ffi::Slot), `None` for an empty one.
macro_rules! slot_attribute {
    ($class:ty, $name:literal, $field:ident) => {{
        fn read_field<'py>(
            this: $crate::ffi::Ref<'_, 'py, $class>,
        ) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::PyAny>> {
            Ok(this.$field.get_or_none(this.py()))
        }
        fn write_field(
            this: $crate::ffi::Ref<'_, '_, $class>,
            value: Option<&pyo3::Bound<'_, pyo3::PyAny>>,
        ) -> pyo3::PyResult<()> {
            this.$field.set_opt(value.filter(|value| !value.is_none()).cloned(), this.py());
            Ok(())
        }
        $crate::attribute!($class, $name, read_field, write_field)
    }};
}
use slot_attribute;

/// An attribute that is a `Cell<bool>`.
macro_rules! flag_attribute {
    ($class:ty, $name:literal, $field:ident) => {{
        fn read_field<'py>(
            this: $crate::ffi::Ref<'_, 'py, $class>,
        ) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::PyAny>> {
            Ok(pyo3::types::PyBool::new(this.py(), this.$field.get()).to_owned().into_any())
        }
        fn write_field(
            this: $crate::ffi::Ref<'_, '_, $class>,
            value: Option<&pyo3::Bound<'_, pyo3::PyAny>>,
        ) -> pyo3::PyResult<()> {
            this.$field.set(value.map_or(Ok(false), |value| value.is_truthy())?);
            Ok(())
        }
        $crate::attribute!($class, $name, read_field, write_field)
    }};
}
use flag_attribute;
