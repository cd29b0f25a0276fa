//! What several primitives show to Python alike.

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::deque::Deque;
use super::number::Number;
use super::waiters::{Bindable, Waitable};
use crate::ffi::{Class, Ref};
use crate::stdlib::stdlib;

/// The attributes of every primitive: a list of definitions.
macro_rules! bindable_attributes {
    ($class:ty) => {{
        use $crate::sync::attributes;
        vec![$crate::attribute!(
            $class,
            c"_loop",
            attributes::event_loop,
            attributes::set_event_loop
        )]
    }};
}

/// The attributes of a primitive with one line of waiters: a list of definitions.
macro_rules! waitable_attributes {
    ($class:ty) => {{
        let mut attributes = $crate::sync::attributes::bindable_attributes!($class);
        attributes.push($crate::attribute!($class, c"_waiters", $crate::sync::attributes::line));
        attributes
    }};
}

/// The method by which subclasses ask for the running loop: a definition.
macro_rules! get_loop_method {
    ($class:ty) => {
        $crate::method0!(
            $class,
            c"_get_loop",
            $crate::sync::waiters::running_loop,
            c"_get_loop($self)\n--\n\nReturn the running loop, to which this belongs from now on."
        )
    };
}

pub(super) use {bindable_attributes, get_loop_method, waitable_attributes};

/// `_loop`: the loop it belongs to, or `None`.
pub fn event_loop<'py, T: Bindable>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.fields().event_loop().get_or_none(this.py()))
}

/// Sets `_loop`.
pub fn set_event_loop<T: Bindable>(
    this: Ref<'_, '_, T>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.filter(|value| !value.is_none()).cloned();
    this.fields().event_loop().set_opt(value, this.py());
    Ok(())
}

/// `_waiters`: the futures of those who wait, a `collections.deque`.
pub fn line<'py, T: Waitable>(this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
    show_line(this.fields().waiters(), this.py())
}

/// `line` as a `collections.deque`.
pub fn show_line<'py>(line: &Deque, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
    line.show(stdlib(py).deque.bind(py))
}

/// `<Lock object at 0x… [unlocked, waiters:1]>` from what stands in the brackets first.
pub fn repr<'py, T: Waitable>(this: Ref<'_, 'py, T>, state: &str) -> PyResult<Bound<'py, PyAny>> {
    let waiters = match this.fields().waiters().len(this.py())? {
        0 => String::new(),
        count => format!(", waiters:{count}"),
    };
    bracketed(this, &format!("{state}{waiters}"))
}

/// `object.__repr__`, with `extra` in brackets.
pub fn bracketed<'py, T: Class>(this: Ref<'_, 'py, T>, extra: &str) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let plain = py.get_type::<PyAny>().call_method1(intern!(py, "__repr__"), (this.as_any(),))?;
    let plain: String = plain.extract()?;
    let inner = plain.strip_suffix('>').unwrap_or(&plain);
    Ok(PyString::new(py, &format!("{inner} [{extra}]>")).into_any())
}

/// What a private counter is set to. Raises `TypeError` for what is no number, and `AttributeError` for `del`.
pub fn number(value: Option<&Bound<'_, PyAny>>) -> PyResult<Number> {
    match value {
        Some(value) => Number::from_python(value),
        None => Err(PyAttributeError::new_err("can't delete attribute")),
    }
}
