//! Which of a queue's methods a subclass in Python has made its own.
//!
//! asyncio's queue calls itself through these, so that a subclass changes it by any of them; ferrio's calls those alone
//! that are not its own.

use pyo3::prelude::*;
use pyo3::types::PyType;

use super::queue::Queue;
use crate::ffi::{Class, Ref};

/// A set of methods.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides(u16);

impl Overrides {
    /// `_init(maxsize)`
    pub const INIT: Self = Overrides(1 << 0);
    /// `_get()`
    pub const GET: Self = Overrides(1 << 1);
    /// `_put(item)`
    pub const PUT: Self = Overrides(1 << 2);
    /// `qsize()`
    pub const QSIZE: Self = Overrides(1 << 3);
    /// `empty()`
    pub const EMPTY: Self = Overrides(1 << 4);
    /// `full()`
    pub const FULL: Self = Overrides(1 << 5);
    /// `put_nowait(item)`
    pub const PUT_NOWAIT: Self = Overrides(1 << 6);
    /// `get_nowait()`
    pub const GET_NOWAIT: Self = Overrides(1 << 7);
    /// `_format()`
    pub const FORMAT: Self = Overrides(1 << 8);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::INIT, "_init"),
        (Self::GET, "_get"),
        (Self::PUT, "_put"),
        (Self::QSIZE, "qsize"),
        (Self::EMPTY, "empty"),
        (Self::FULL, "full"),
        (Self::PUT_NOWAIT, "put_nowait"),
        (Self::GET_NOWAIT, "get_nowait"),
        (Self::FORMAT, "_format"),
    ];

    /// Whether `method` is among them.
    #[inline]
    pub fn has(self, method: Self) -> bool {
        self.0 & method.0 != 0
    }

    /// Those of the class of `queue`. Raises what looking for a method in the class raises.
    #[inline]
    pub fn of(queue: Ref<'_, '_, Queue>) -> PyResult<Self> {
        let py = queue.py();
        let class: Bound<'_, PyType> = queue.as_any().get_type();
        let base = Queue::class().get(py);
        if super::queue::is_native(&class) {
            Ok(Self::default())
        } else {
            Self::find(&class, &base)
        }
    }

    #[cold]
    fn find(class: &Bound<'_, PyType>, base: &Bound<'_, PyType>) -> PyResult<Self> {
        let mut found = Self::default();
        for (method, name) in Self::NAMES {
            if !class.getattr(name)?.is(&base.getattr(name)?) {
                found.0 |= method.0;
            }
        }
        Ok(found)
    }
}
