//! Flow control: the water marks of the write buffer.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::life::Transport;
use super::stream::none;
use crate::ffi::{Args, Ref, Signature};

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

/// A transport with a write buffer.
pub trait FlowControl: Transport {
    /// The water marks.
    fn limits(&self) -> &Limits;
    /// How many bytes wait to be sent.
    fn waiting(&self) -> usize;
}

impl<T: FlowControl> Ref<'_, '_, T> {
    /// Calls `pause_writing` when the buffer has risen above the high-water mark.
    pub(super) fn pause_protocol_if_full(self) -> PyResult<()> {
        let limits = self.limits();
        if self.waiting() <= limits.high.get() || limits.protocol_paused.replace(true) {
            return Ok(());
        }
        self.call_flow_control("pause_writing")
    }

    /// Calls `resume_writing` when the buffer has fallen to the low-water mark.
    pub(super) fn resume_protocol_if_drained(self) -> PyResult<()> {
        let limits = self.limits();
        if !limits.protocol_paused.get() || self.waiting() > limits.low.get() {
            return Ok(());
        }
        limits.protocol_paused.set(false);
        self.call_flow_control("resume_writing")
    }

    fn call_flow_control(self, method: &str) -> PyResult<()> {
        let py = self.py();
        let Some(protocol) = self.protocol().get(py) else { return Ok(()) };
        match protocol.call_method0(method) {
            Ok(_) => Ok(()),
            Err(error) => self.report(error, &format!("protocol.{method}() failed")),
        }
    }
}

pub(super) fn set_write_buffer_limits<'py, T: FlowControl>(
    this: Ref<'_, 'py, T>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [high, low] = args.parse(&Signature {
        name: "set_write_buffer_limits",
        parameters: ["high", "low"],
        positional: 2,
        required: 0,
    })?;
    // Python's arithmetic, for any number: an infinite limit is one, too.
    let given = |value: Option<pyo3::Borrowed<'_, 'py, PyAny>>| {
        value.filter(|value| !value.is_none()).map(|value| value.to_owned())
    };
    let (high, low) = match (given(high), given(low)) {
        (None, None) => {
            let high = HIGH_WATER.into_pyobject(py)?.into_any();
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
    let limits = this.limits();
    limits.high.set(bytes(&high)?);
    limits.low.set(bytes(&low)?);
    this.pause_protocol_if_full()?;
    none(py)
}

/// A limit in whole bytes: the conversion of a float saturates.
fn bytes(limit: &Bound<'_, PyAny>) -> PyResult<usize> {
    limit.extract().or_else(|_| limit.extract::<f64>().map(|limit| limit as usize))
}

pub(super) fn get_write_buffer_limits<'py, T: FlowControl>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok((this.limits().low.get(), this.limits().high.get()).into_pyobject(this.py())?.into_any())
}

pub(super) fn get_write_buffer_size<'py, T: FlowControl>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.waiting().into_pyobject(this.py())?.into_any())
}

/// The methods of a transport with a write buffer.
macro_rules! flow_control_methods {
    ($class:ty) => {{
        use $crate::transport::limits;
        vec![
            $crate::method!(
                $class,
                c"set_write_buffer_limits",
                limits::set_write_buffer_limits::<$class>,
                c"set_write_buffer_limits(high=None, low=None)\n\nSet the marks at which the protocol pauses and resumes."
            ),
            $crate::method0!(
                $class,
                c"get_write_buffer_limits",
                limits::get_write_buffer_limits::<$class>,
                c"Return the low and the high water mark, in bytes."
            ),
            $crate::method0!(
                $class,
                c"get_write_buffer_size",
                limits::get_write_buffer_size::<$class>,
                c"Return how many bytes wait to be sent."
            ),
        ]
    }};
}

pub(super) use flow_control_methods;
