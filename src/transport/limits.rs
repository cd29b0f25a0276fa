//! Flow control: the water marks of the write buffer.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::ffi as capi;
use pyo3::prelude::*;

use super::stream::{StreamTransport, none};
use crate::event_loop::Loop;
use crate::ffi::{Args, Ref, Signature};
use crate::{method, method0};

/// Above this many bytes the protocol is told to pause, unless it sets its own limits.
const HIGH_WATER: usize = 64 * 1024;

/// The water marks, in bytes, and on which side of them the buffer is.
pub struct Limits {
    high: Cell<usize>,
    low: Cell<usize>,
    protocol_paused: Cell<bool>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            high: Cell::new(HIGH_WATER),
            low: Cell::new(HIGH_WATER / 4),
            protocol_paused: Cell::new(false),
        }
    }
}

impl Ref<'_, '_, StreamTransport> {
    /// Calls `pause_writing` when the buffer has risen above the high-water mark.
    pub(super) fn pause_protocol_if_full(self) -> PyResult<()> {
        let limits = &self.limits;
        if self.outgoing.borrow().len() <= limits.high.get() || limits.protocol_paused.replace(true)
        {
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

/// The arguments `high` and `low` of the method `name`, in bytes; what isn't given follows from the other, or from
/// `default`, the high-water mark.
///
/// Raises `ValueError` unless `high >= low >= 0`.
pub(super) fn marks(
    args: &Args<'_, '_>,
    name: &'static str,
    default: usize,
) -> PyResult<(usize, usize)> {
    let py = args.py();
    let [high, low] =
        args.parse(&Signature { name, parameters: ["high", "low"], positional: 2, required: 0 })?;
    // Python's arithmetic, for any number: an infinite limit is one, too.
    let (high, low) = (high.filter(|high| !high.is_none()), low.filter(|low| !low.is_none()));
    let (high, low) = match (high.map(|high| high.to_owned()), low.map(|low| low.to_owned())) {
        (None, None) => {
            let high = default.into_pyobject(py)?.into_any();
            let low = high.floor_div(4)?;
            (high, low)
        }
        (None, Some(low)) => (low.mul(4)?, low),
        (Some(high), None) => {
            let low = high.floor_div(4)?;
            (high, low)
        }
        (Some(high), Some(low)) => (high, low),
    };
    if !(high.ge(&low)? && low.ge(0)?) {
        return Err(PyValueError::new_err(format!(
            "high ({}) must be >= low ({}) must be >= 0",
            high.repr()?,
            low.repr()?
        )));
    }
    Ok((bytes(&high)?, bytes(&low)?))
}

fn set_write_buffer_limits<'py>(
    this: Ref<'_, 'py, StreamTransport>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (high, low) = marks(args, "set_write_buffer_limits", HIGH_WATER)?;
    this.limits.high.set(high);
    this.limits.low.set(low);
    this.pause_protocol_if_full()?;
    none(this.py())
}

/// A limit in whole bytes: the conversion of a float saturates.
fn bytes(limit: &Bound<'_, PyAny>) -> PyResult<usize> {
    limit.extract().or_else(|_| limit.extract::<f64>().map(|limit| limit as usize))
}

fn get_write_buffer_limits<'py>(
    this: Ref<'_, 'py, StreamTransport>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok((this.limits.low.get(), this.limits.high.get()).into_pyobject(this.py())?.into_any())
}

fn get_write_buffer_size<'py>(this: Ref<'_, 'py, StreamTransport>) -> PyResult<Bound<'py, PyAny>> {
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
