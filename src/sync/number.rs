//! The counter of a semaphore: an integer, or a float such as `math.inf`.

use pyo3::prelude::*;
use pyo3::types::PyFloat;

/// A number as Python gave it.
#[derive(Clone, Copy)]
pub enum Number {
    /// An `int`.
    Int(i64),
    /// A `float`.
    Float(f64),
}

impl Default for Number {
    fn default() -> Self {
        Number::Int(0)
    }
}

impl Number {
    /// Raises `TypeError` for what is no number, and `OverflowError` for an integer beyond 64 bits.
    pub fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        match value.cast::<PyFloat>() {
            Ok(float) => Ok(Number::Float(float.value())),
            Err(_) => value.extract().map(Number::Int),
        }
    }

    /// As Python sees it.
    pub fn to_python<'py>(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Number::Int(value) => value.into_pyobject(py)?.into_any(),
            Number::Float(value) => value.into_pyobject(py)?.into_any(),
        })
    }

    /// The number and `difference`.
    #[inline]
    pub fn plus(self, difference: i32) -> Self {
        match self {
            Number::Int(value) => Number::Int(value.saturating_add(difference.into())),
            Number::Float(value) => Number::Float(value + f64::from(difference)),
        }
    }

    /// Less than, equal to or greater than zero; `None` for what is no number.
    #[inline]
    pub fn sign(self) -> Option<std::cmp::Ordering> {
        match self {
            Number::Int(value) => Some(value.cmp(&0)),
            Number::Float(value) => value.partial_cmp(&0.0),
        }
    }

    /// Whether it is at least `bound`.
    #[inline]
    pub fn reaches(self, bound: Self) -> bool {
        match (self, bound) {
            (Number::Int(value), Number::Int(bound)) => value >= bound,
            (value, bound) => value.as_float() >= bound.as_float(),
        }
    }

    #[allow(clippy::cast_precision_loss)] // As Python compares a float with a counter.
    fn as_float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}
