//! Flow control: the water marks of the write buffer.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::ffi as capi;
use pyo3::prelude::*;
use pyo3::types::PyBool;
use pyo3::{Borrowed, IntoPyObjectExt};

use super::stream::{StreamTransport, none};
use super::write;
use crate::event_loop::Loop;
use crate::ffi::{Args, Ref, Signature, Slot};
use crate::{method, method0};

/// Above this many bytes the protocol is told to pause, unless it sets its own limits.
const HIGH_WATER: usize = 64 * 1024;

/// The water marks, in bytes, and on which side of them the buffer is.
pub struct Limits {
    high: Cell<usize>,
    low: Cell<usize>,
    /// `(low, high)` as they were given, any numbers; nothing until then.
    shown: Slot,
    protocol_paused: Cell<bool>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            high: Cell::new(HIGH_WATER),
            low: Cell::new(HIGH_WATER / 4),
            shown: Slot::empty(),
            protocol_paused: Cell::new(false),
        }
    }
}

impl Limits {
    /// Whether the protocol was told to pause, and not yet to go on.
    pub fn protocol_paused(&self) -> bool {
        self.protocol_paused.get()
    }

    /// The field for the garbage collector.
    pub fn shown(&self) -> &Slot {
        &self.shown
    }
}

impl Ref<'_, '_, StreamTransport> {
    fn is_above_high_water(self) -> bool {
        self.outgoing.borrow().len() > self.limits.high.get()
    }

    /// Calls `pause_writing` when more waits for the socket than the high-water mark allows.
    pub(super) fn pause_protocol_if_full(self) -> PyResult<()> {
        if self.is_above_high_water() {
            write::send_gathered(self)?;
        }
        if !self.is_above_high_water() || self.limits.protocol_paused.replace(true) {
            return Ok(());
        }
        self.call_flow_control("pause_writing")
    }

    /// Calls `resume_writing` when the buffer has fallen to the low-water mark.
    pub(super) fn resume_protocol_if_drained(self) -> PyResult<()> {
        let limits = &self.limits;
        if !limits.protocol_paused.get() || self.outgoing.borrow().len() > limits.low.get() {
            return Ok(());
        }
        limits.protocol_paused.set(false);
        self.call_flow_control("resume_writing")
    }

    fn call_flow_control(self, method: &str) -> PyResult<()> {
        let py = self.py();
        let Some(protocol) = self.protocol.get(py) else { return Ok(()) };
        let Err(error) = protocol.call_method0(method) else { return Ok(()) };
        self.with_loop(py, |event_loop| {
            let context = [("transport", self.to_any()), ("protocol", protocol)];
            Loop::report(event_loop, error, &format!("protocol.{method}() failed"), &context)
        })
    }
}

/// Whether the protocol was told to pause.
pub(super) fn protocol_paused<'py>(
    this: Ref<'_, 'py, StreamTransport>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyBool::new(this.py(), this.limits.protocol_paused.get()).to_owned().into_any())
}

fn set_write_buffer_limits<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [high, low] = args.parse(&Signature {
        name: "set_write_buffer_limits",
        parameters: ["high", "low"],
        positional: 2,
        required: 0,
    })?;
    let given = |value: Option<Borrowed<'_, 'py, PyAny>>| {
        value.filter(|value| !value.is_none()).map(|value| value.to_owned())
    };
    let number = |number: usize| number.into_bound_py_any(py);
    let (high, low) = match (given(high), given(low)) {
        (None, None) => (number(HIGH_WATER)?, number(HIGH_WATER / 4)?),
        (None, Some(low)) => (number(4)?.mul(&low)?, low),
        (Some(high), None) => (high.clone(), high.floor_div(4)?),
        (Some(high), Some(low)) => (high, low),
    };
    if !(high.ge(&low)? && low.ge(0)?) {
        return Err(PyValueError::new_err(format!(
            "high ({}) must be >= low ({}) must be >= 0",
            high.repr()?,
            low.repr()?
        )));
    }
    this.limits.high.set(bytes(&high));
    this.limits.low.set(bytes(&low));
    this.limits.shown.set((low, high).into_bound_py_any(py)?);
    this.pause_protocol_if_full()?;
    none(py)
}

/// The greatest size that is not above `limit`, a number that is not negative.
fn bytes(limit: &Bound<'_, PyAny>) -> usize {
    limit
        .extract::<usize>()
        // A float's conversion rounds down and saturates.
        .or_else(|_| limit.extract::<f64>().map(|limit| limit as usize))
        .unwrap_or(usize::MAX)
}

fn get_write_buffer_limits<'py>(
    this: Ref<'_, 'py, StreamTransport>,
) -> PyResult<Bound<'py, PyAny>> {
    let (limits, py) = (&this.limits, this.py());
    match limits.shown.get(py) {
        Some(shown) => Ok(shown),
        None => (limits.low.get(), limits.high.get()).into_bound_py_any(py),
    }
}

fn get_write_buffer_size<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
    write::send_gathered(this)?;
    let size = this.outgoing.borrow().len();
    Ok(size.into_pyobject(this.py())?.into_any())
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            StreamTransport,
            c"set_write_buffer_limits",
            set_write_buffer_limits,
            c"set_write_buffer_limits(high=None, low=None)\n\nSet the marks at which the protocol pauses and resumes."
        ),
        method0!(
            StreamTransport,
            c"get_write_buffer_limits",
            get_write_buffer_limits,
            c"Return the low and the high water mark, in bytes."
        ),
        method0!(
            StreamTransport,
            c"get_write_buffer_size",
            get_write_buffer_size,
            c"Return how many bytes wait to be sent."
        ),
    ]
}
