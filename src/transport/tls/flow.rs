//! Flow control through both layers: the program's, above, and that of the connection below.

use std::cell::Cell;

use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;

use super::shutdown::ends_the_loop;
use super::{State, TlsTransport, boolean};
use crate::event_loop::Loop;
use crate::ffi::{Args, Ref};
use crate::transport::limits::{bytes, marks};
use crate::transport::stream::none;
use crate::{attribute, method, method0};

/// What asyncio allows to wait: plain bytes and ciphertext to be sent, and ciphertext to be decrypted.
const OUTGOING_HIGH_WATER: usize = 512 * 1024;
const INCOMING_HIGH_WATER: usize = 256 * 1024;

/// The water marks of one direction, in bytes.
struct Marks {
    high: Cell<usize>,
    low: Cell<usize>,
}

impl Marks {
    fn new(high: usize) -> Self {
        Marks { high: Cell::new(high), low: Cell::new(high / 4) }
    }

    fn set(&self, high: &Bound<'_, PyAny>, low: &Bound<'_, PyAny>) {
        self.high.set(bytes(high));
        self.low.set(bytes(low));
    }
}

/// The water marks, and who is paused.
pub struct Flow {
    outgoing: Marks,
    incoming: Marks,
    /// The program wants nothing to read.
    pub(super) app_reading_paused: Cell<bool>,
    /// The connection below was told to read no more.
    reading_paused: Cell<bool>,
    /// The program was told to write no more.
    app_writing_paused: Cell<bool>,
    /// The connection below wants no more to send.
    pub(super) writing_paused: Cell<bool>,
}

impl Default for Flow {
    fn default() -> Self {
        Flow {
            outgoing: Marks::new(OUTGOING_HIGH_WATER),
            incoming: Marks::new(INCOMING_HIGH_WATER),
            app_reading_paused: Cell::new(false),
            reading_paused: Cell::new(false),
            app_writing_paused: Cell::new(false),
            writing_paused: Cell::new(false),
        }
    }
}

impl<'py> Ref<'_, 'py, TlsTransport> {
    fn write_buffer_size(self) -> PyResult<usize> {
        let gathered = self.backlog.borrow().len();
        Ok(gathered + self.engine().outgoing(self.py())?)
    }

    /// Whether that many bytes more in the write buffer have the program pause.
    pub(super) fn would_pause(self, count: usize) -> PyResult<bool> {
        Ok(self.write_buffer_size()? + count >= self.flow.outgoing.high.get())
    }

    /// Tells the program to pause or to go on writing.
    pub(super) fn control_app_writing(self) -> PyResult<()> {
        let size = self.write_buffer_size()?;
        let paused = &self.flow.app_writing_paused;
        if size >= self.flow.outgoing.high.get() && !paused.get() {
            paused.set(true);
            self.tell_app("pause_writing")
        } else if size <= self.flow.outgoing.low.get() && paused.get() {
            paused.set(false);
            self.tell_app("resume_writing")
        } else {
            Ok(())
        }
    }

    fn tell_app(self, method: &str) -> PyResult<()> {
        let py = self.py();
        let Some(protocol) = self.protocol.get(py) else { return Ok(()) };
        let Err(error) = protocol.call_method0(method) else { return Ok(()) };
        let event_loop = self.event_loop.get_or_none(py);
        match Ref::<Loop>::cast(&event_loop) {
            Some(event_loop) if !ends_the_loop(&error, py) => {
                let message = format!("protocol.{method}() failed");
                let context = [("transport", self.to_any()), ("protocol", self.to_any())];
                Loop::report(event_loop, error, &message, &context)
            }
            _ => Err(error),
        }
    }

    /// Tells the connection below to pause or to go on reading.
    pub(super) fn control_ssl_reading(self) -> PyResult<()> {
        let py = self.py();
        let size = self.engine().incoming(py)?;
        let paused = &self.flow.reading_paused;
        let method = if size >= self.flow.incoming.high.get() && !paused.get() {
            intern!(py, "pause_reading")
        } else if size <= self.flow.incoming.low.get() && paused.get() {
            intern!(py, "resume_reading")
        } else {
            return Ok(());
        };
        paused.set(!paused.get());
        match self.lower.get(py) {
            Some(lower) => lower.call_method0(method).map(drop),
            None => Ok(()),
        }
    }
}

fn set_write_buffer_limits<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (high, low) = marks(args, "set_write_buffer_limits", OUTGOING_HIGH_WATER)?;
    this.flow.outgoing.set(&high, &low);
    this.control_app_writing()?;
    none(this.py())
}

fn set_read_buffer_limits<'py>(
    this: Ref<'_, 'py, TlsTransport>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (high, low) = marks(args, "set_read_buffer_limits", INCOMING_HIGH_WATER)?;
    this.flow.incoming.set(&high, &low);
    this.control_ssl_reading()?;
    none(this.py())
}

fn pair<'py>(py: Python<'py>, marks: &Marks) -> PyResult<Bound<'py, PyAny>> {
    Ok((marks.low.get(), marks.high.get()).into_pyobject(py)?.into_any())
}

fn get_write_buffer_limits<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    pair(this.py(), &this.flow.outgoing)
}

fn get_read_buffer_limits<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    pair(this.py(), &this.flow.incoming)
}

fn get_write_buffer_size<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    // What was gathered counts as sent. A program that has paused would be told to go on, within its call.
    if !this.flow.app_writing_paused.get() {
        this.write_backlog()?;
    }
    Ok(this.write_buffer_size()?.into_pyobject(this.py())?.into_any())
}

fn get_read_buffer_size<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.engine().incoming(this.py())?.into_pyobject(this.py())?.into_any())
}

fn is_reading<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), !this.flow.app_reading_paused.get())
}

fn pause_reading<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.flow.app_reading_paused.set(true);
    none(this.py())
}

fn resume_reading<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.flow.app_reading_paused.replace(false) {
        this.call_soon(this.as_any().getattr(intern!(py, "_read_again"))?)?;
    }
    none(py)
}

/// The turn after `resume_reading`.
fn read_again<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    match this.state.get() {
        State::Wrapped => this.do_read()?,
        State::Flushing => this.do_flush()?,
        State::Shutdown => this.do_shutdown()?,
        State::DoHandshake | State::Unwrapped => {}
    }
    none(this.py())
}

fn pause_writing<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.flow.writing_paused.set(true);
    none(this.py())
}

fn resume_writing<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    this.flow.writing_paused.set(false);
    this.process_outgoing()?;
    none(this.py())
}

fn protocol_paused<'py>(this: Ref<'_, 'py, TlsTransport>) -> PyResult<Bound<'py, PyAny>> {
    boolean(this.py(), this.flow.app_writing_paused.get())
}

pub(super) fn attributes() -> Vec<capi::PyGetSetDef> {
    // `loop.sendfile()` asks for it.
    vec![attribute!(TlsTransport, c"_protocol_paused", protocol_paused)]
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            TlsTransport,
            c"set_write_buffer_limits",
            set_write_buffer_limits,
            c"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\nSet the marks at which the protocol pauses and resumes writing."
        ),
        method!(
            TlsTransport,
            c"set_read_buffer_limits",
            set_read_buffer_limits,
            c"set_read_buffer_limits($self, /, high=None, low=None)\n--\n\nSet the marks at which the transport below pauses and resumes reading."
        ),
        method0!(
            TlsTransport,
            c"get_write_buffer_limits",
            get_write_buffer_limits,
            c"Return the low and the high water mark, in bytes."
        ),
        method0!(
            TlsTransport,
            c"get_read_buffer_limits",
            get_read_buffer_limits,
            c"Return the low and the high water mark, in bytes."
        ),
        method0!(
            TlsTransport,
            c"get_write_buffer_size",
            get_write_buffer_size,
            c"Return how many bytes wait to be sent."
        ),
        method0!(
            TlsTransport,
            c"get_read_buffer_size",
            get_read_buffer_size,
            c"Return how many bytes wait to be decrypted."
        ),
        method0!(TlsTransport, c"is_reading", is_reading, c"Return True if it is receiving."),
        method0!(
            TlsTransport,
            c"pause_reading",
            pause_reading,
            c"Stop to call data_received()."
        ),
        method0!(
            TlsTransport,
            c"resume_reading",
            resume_reading,
            c"Call data_received() again."
        ),
        method0!(TlsTransport, c"_read_again", read_again, c"Go on after a pause."),
        method0!(
            TlsTransport,
            c"pause_writing",
            pause_writing,
            c"Called by the transport below: it has enough to send."
        ),
        method0!(
            TlsTransport,
            c"resume_writing",
            resume_writing,
            c"Called by the transport below: it can send more."
        ),
    ]
}
