//! `StreamWriter`: the way out of a stream.

use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyResourceWarning};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::{Face, FaceCell, drain, none, slot_attribute};
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Ref, Signature, Slot, Traversal, Visit, build,
};
use crate::stdlib::stdlib;
use crate::{attribute, init_slot, method, method_named1, method0};

/// The fields of `ferrio.StreamWriter`.
#[derive(Default)]
pub struct StreamWriter {
    transport: Slot,
    protocol: Slot,
    reader: Slot,
    event_loop: Slot,
    /// asyncio's writers have a future that is done, for whom once awaited the result of `drain()`.
    complete: Slot,
}

static WRITER: ClassCell = ClassCell::new();
static FACE: FaceCell = FaceCell::new();

impl Class for StreamWriter {
    const NAME: &'static CStr = c"ferrio._ferrio.StreamWriter";
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &WRITER
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        self.slots().into_iter().try_for_each(|slot| visit.slot(slot))
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }

    fn must_finalize(&self) -> bool {
        !self.transport.is_empty()
    }

    fn finalize(this: Ref<'_, '_, Self>) {
        if let Err(error) = this.warn_unclosed() {
            error.write_unraisable(this.py(), Some(this.as_any()));
        }
    }
}

impl Face for StreamWriter {
    const SHOWN: &'static str = "StreamWriter";
    const DOC: &'static str = "The way out of a stream: writes to a transport, and waits for it.";

    fn face() -> &'static FaceCell {
        &FACE
    }
}

impl StreamWriter {
    fn slots(&self) -> [&Slot; 5] {
        [&self.transport, &self.protocol, &self.reader, &self.event_loop, &self.complete]
    }

    pub(super) fn transport(&self) -> &Slot {
        &self.transport
    }

    pub(super) fn protocol(&self) -> &Slot {
        &self.protocol
    }

    pub(super) fn reader(&self) -> &Slot {
        &self.reader
    }
}

impl<'py> Ref<'_, 'py, StreamWriter> {
    /// `__del__`: closes what nobody has closed, with a warning.
    fn warn_unclosed(self) -> PyResult<()> {
        let py = self.py();
        let Some(transport) = self.transport.get(py) else { return Ok(()) };
        if transport.call_method0(intern!(py, "is_closing"))?.is_truthy()? {
            return Ok(());
        }
        let warn = stdlib(py).warn.bind(py);
        let category = py.get_type::<PyResourceWarning>();
        let event_loop = self.event_loop.get_or_none(py);
        if event_loop.call_method0(intern!(py, "is_closed"))?.is_truthy()? {
            return warn.call1(("loop is closed", category)).map(drop);
        }
        self.as_any().call_method0(intern!(py, "close"))?;
        warn.call1((format!("unclosed {}", self.as_any().repr()?), category)).map(drop)
    }
}

fn init(this: Ref<'_, '_, StreamWriter>, args: &Args<'_, '_>) -> PyResult<()> {
    static READER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = this.py();
    let [Some(transport), Some(protocol), Some(reader), Some(event_loop)] =
        args.parse(&Signature {
            name: "StreamWriter",
            parameters: ["transport", "protocol", "reader", "loop"],
            positional: 4,
            required: 4,
        })?
    else {
        return Ok(());
    };
    this.transport.set(transport.to_owned());
    this.protocol.set(protocol.to_owned());
    if !reader.is_none()
        && !reader.is_instance(READER.import(py, "asyncio.streams", "StreamReader")?)?
    {
        return Err(PyAssertionError::new_err(()));
    }
    this.reader.set_opt((!reader.is_none()).then(|| reader.to_owned()), py);
    this.event_loop.set(event_loop.to_owned());
    this.complete.clear();
    Ok(())
}

fn complete<'py>(this: Ref<'_, 'py, StreamWriter>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(complete) = this.complete.get(py) {
        return Ok(complete);
    }
    let complete = this.event_loop.get_or_none(py).call_method0(intern!(py, "create_future"))?;
    complete.call_method1(intern!(py, "set_result"), (py.None(),))?;
    this.complete.set(complete.clone());
    Ok(complete)
}

fn get_transport<'py>(this: Ref<'_, 'py, StreamWriter>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.transport.get_or_none(this.py()))
}

fn write<'py>(
    this: Ref<'_, 'py, StreamWriter>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    this.transport.get_or_none(py).call_method1(intern!(py, "write"), (data,))?;
    Ok(none(py))
}

fn writelines<'py>(
    this: Ref<'_, 'py, StreamWriter>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    this.transport.get_or_none(py).call_method1(intern!(py, "writelines"), (data,))?;
    Ok(none(py))
}

/// A method without arguments that is the transport's.
macro_rules! of_the_transport {
    ($name:ident) => {
        fn $name<'py>(this: Ref<'_, 'py, StreamWriter>) -> PyResult<Bound<'py, PyAny>> {
            let py = this.py();
            this.transport.get_or_none(py).call_method0(intern!(py, stringify!($name)))
        }
    };
}

of_the_transport!(write_eof);
of_the_transport!(can_write_eof);
of_the_transport!(close);
of_the_transport!(is_closing);

fn get_extra_info<'py>(
    this: Ref<'_, 'py, StreamWriter>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [name, default] = args.parse(&Signature {
        name: "get_extra_info",
        parameters: ["name", "default"],
        positional: 2,
        required: 1,
    })?;
    let default = default.map_or_else(|| none(py), |default| default.to_owned());
    let transport = this.transport.get_or_none(py);
    transport.call_method1(intern!(py, "get_extra_info"), (name, default))
}

/// Builds the native half. Raises what `PyType_FromSpecWithBases` raises.
pub(super) fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let class = build::<StreamWriter>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"StreamWriter(transport, protocol, reader, loop)\n--\n\nThe native half of ferrio.StreamWriter."),
            methods: vec![
                method_named1!(
                    StreamWriter,
                    "write",
                    "data",
                    write,
                    c"write($self, data)\n--\n\nSend bytes, now or as soon as the transport can."
                ),
                method_named1!(
                    StreamWriter,
                    "writelines",
                    "data",
                    writelines,
                    c"writelines($self, data)\n--\n\nSend an iterable of bytes."
                ),
                method0!(
                    StreamWriter,
                    c"write_eof",
                    write_eof,
                    c"write_eof($self)\n--\n\nClose the way out after everything is sent."
                ),
                method0!(
                    StreamWriter,
                    c"can_write_eof",
                    can_write_eof,
                    c"can_write_eof($self)\n--\n\nReturn True if write_eof() can be called."
                ),
                method0!(
                    StreamWriter,
                    c"close",
                    close,
                    c"close($self)\n--\n\nClose after everything is sent."
                ),
                method0!(
                    StreamWriter,
                    c"is_closing",
                    is_closing,
                    c"is_closing($self)\n--\n\nReturn True if it is closing or closed."
                ),
                method!(
                    StreamWriter,
                    c"get_extra_info",
                    get_extra_info,
                    c"get_extra_info($self, name, default=None)\n--\n\nReturn what the transport tells, or the default."
                ),
                method0!(
                    StreamWriter,
                    c"drain",
                    drain::drain,
                    c"drain($self)\n--\n\nWait until the transport takes more.\n\nRaises ConnectionResetError when the connection is lost, and what the reader has met."
                ),
                method0!(
                    StreamWriter,
                    c"wait_closed",
                    drain::closed,
                    c"wait_closed($self)\n--\n\nWait for the connection's end. Raises what it ended with."
                ),
            ],
            attributes: vec![
                attribute!(StreamWriter, c"transport", get_transport),
                attribute!(StreamWriter, c"_complete_fut", complete),
                slot_attribute!(StreamWriter, c"_transport", transport),
                slot_attribute!(StreamWriter, c"_protocol", protocol),
                slot_attribute!(StreamWriter, c"_reader", reader),
                slot_attribute!(StreamWriter, c"_loop", event_loop),
            ],
            slots: vec![init_slot!(StreamWriter, init)],
            subclassable: true,
            constructible: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["drain", "wait_closed"])?;
    Ok(class)
}
