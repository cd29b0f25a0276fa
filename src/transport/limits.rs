//! Flow control: the water marks of the write buffer.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBool;
use pyo3::{Borrowed, IntoPyObjectExt};

use super::life::Transport;
use super::stream::none;
use crate::ffi::{Args, Ref, Signature, Slot};

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

/// A transport with a write buffer.
pub trait FlowControl: Transport {
    /// The water marks.
    fn limits(&self) -> &Limits;
    /// How much waits to be sent, in bytes.
    fn buffer_size(&self) -> usize;
    /// Whether anything waits to be sent.
    fn has_unsent(&self) -> bool;
    /// Sends what need not wait any longer, for a transport that gathers. Calls no method of the protocol.
    fn send_gathered(_this: Ref<'_, '_, Self>) -> PyResult<()> {
        Ok(())
    }
}

impl<T: FlowControl> Ref<'_, '_, T> {
    /// Whether more waits than the high-water mark allows.
    pub(super) fn is_above_high_water(self) -> bool {
        self.buffer_size() > self.limits().high.get()
    }

    /// Calls `pause_writing` when more waits for the socket than the high-water mark allows.
    pub(super) fn pause_protocol_if_full(self) -> PyResult<()> {
        if self.is_above_high_water() {
            T::send_gathered(self)?;
        }
        if !self.is_above_high_water() || self.limits().protocol_paused.replace(true) {
            return Ok(());
        }
        self.call_flow_control("pause_writing")
    }

    /// Calls `resume_writing` when the buffer has fallen to the low-water mark.
    pub(super) fn resume_protocol_if_drained(self) -> PyResult<()> {
        let limits = self.limits();
        if !limits.protocol_paused.get() || self.buffer_size() > limits.low.get() {
            return Ok(());
        }
        limits.protocol_paused.set(false);
        self.call_flow_control("resume_writing")
    }

    fn call_flow_control(self, method: &str) -> PyResult<()> {
        let py = self.py();
        let Some(protocol) = self.protocol().get(py) else { return Ok(()) };
        let Err(error) = protocol.call_method0(method) else { return Ok(()) };
        self.report(error, &format!("protocol.{method}() failed"))
    }
}

/// Whether the protocol was told to pause.
pub(super) fn protocol_paused<'py, T: FlowControl>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    this.pause_protocol_if_full()?;
    Ok(PyBool::new(this.py(), this.limits().protocol_paused.get()).to_owned().into_any())
}

/// The arguments `high` and `low` of the method `name`, any numbers of bytes; what isn't given follows from the other, or
/// from `default`, the high-water mark.
///
/// Raises `ValueError` unless `high >= low >= 0`.
pub(super) fn marks<'py>(
    args: &Args<'_, 'py>,
    name: &'static str,
    default: usize,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = args.py();
    let [high, low] =
        args.parse(&Signature { name, parameters: ["high", "low"], positional: 2, required: 0 })?;
    let given = |value: Option<Borrowed<'_, 'py, PyAny>>| {
        value.filter(|value| !value.is_none()).map(|value| value.to_owned())
    };
    let number = |number: usize| number.into_bound_py_any(py);
    let (high, low) = match (given(high), given(low)) {
        (None, None) => (number(default)?, number(default / 4)?),
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
    Ok((high, low))
}

pub(super) fn set_write_buffer_limits<'py, T: FlowControl>(
    this: Ref<'_, 'py, T>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let (high, low) = marks(args, "set_write_buffer_limits", HIGH_WATER)?;
    let limits = this.limits();
    limits.high.set(bytes(&high));
    limits.low.set(bytes(&low));
    limits.shown.set((low, high).into_bound_py_any(py)?);
    this.pause_protocol_if_full()?;
    none(py)
}

/// The greatest size that is not above `limit`, a number that is not negative.
pub(super) fn bytes(limit: &Bound<'_, PyAny>) -> usize {
    limit
        .extract::<usize>()
        // A float's conversion rounds down and saturates.
        .or_else(|_| limit.extract::<f64>().map(|limit| limit as usize))
        .unwrap_or(usize::MAX)
}

pub(super) fn get_write_buffer_limits<'py, T: FlowControl>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    let (limits, py) = (this.limits(), this.py());
    match limits.shown.get(py) {
        Some(shown) => Ok(shown),
        None => (limits.low.get(), limits.high.get()).into_bound_py_any(py),
    }
}

pub(super) fn get_write_buffer_size<'py, T: FlowControl>(
    this: Ref<'_, 'py, T>,
) -> PyResult<Bound<'py, PyAny>> {
    T::send_gathered(this)?;
    this.pause_protocol_if_full()?;
    let size = this.buffer_size();
    Ok(size.into_pyobject(this.py())?.into_any())
}

/// The methods of flow control of the class.
macro_rules! flow_control_methods {
    ($class:ty) => {
        [
            $crate::method!(
                $class,
                c"set_write_buffer_limits",
                $crate::transport::limits::set_write_buffer_limits,
                c"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\nSet the marks at which the protocol pauses and resumes."
            ),
            $crate::method0!(
                $class,
                c"get_write_buffer_limits",
                $crate::transport::limits::get_write_buffer_limits,
                c"Return the low and the high water mark, in bytes."
            ),
            $crate::method0!(
                $class,
                c"get_write_buffer_size",
                $crate::transport::limits::get_write_buffer_size,
                c"Return how many bytes wait to be sent."
            ),
        ]
    };
}
pub(super) use flow_control_methods;
