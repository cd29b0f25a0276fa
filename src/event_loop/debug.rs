//! What debug mode and error messages need of the stdlib's helpers.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// The stack of the Python code that called into ferrio, as `asyncio.format_helpers.extract_stack` shows it.
pub fn extract_stack(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    format_helpers(py)?.call_method0(intern!(py, "extract_stack"))
}

/// The text for a callback and its arguments in messages; the arguments are shown in debug mode only
/// where this interpreter's asyncio makes that difference.
pub fn format_callback_source(
    callback: &Bound<'_, PyAny>,
    args: &Bound<'_, PyAny>,
    event_loop: &Bound<'_, PyAny>,
) -> PyResult<String> {
    let py = callback.py();
    let helper = format_helpers(py)?.getattr(intern!(py, "_format_callback_source"))?;
    let keywords = PyDict::new(py);
    if takes_debug(&helper)? {
        keywords.set_item("debug", event_loop.call_method0(intern!(py, "get_debug"))?)?;
    }
    helper.call((callback, args), Some(&keywords))?.extract()
}

fn format_helpers(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static MODULE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    MODULE
        .get_or_try_init(py, || {
            py.import("asyncio.format_helpers").map(|module| module.into_any().unbind())
        })
        .map(|module| module.bind(py))
}

fn takes_debug(helper: &Bound<'_, PyAny>) -> PyResult<bool> {
    static ANSWER: PyOnceLock<bool> = PyOnceLock::new();
    let py = helper.py();
    ANSWER
        .get_or_try_init(py, || {
            let defaults = helper.getattr("__kwdefaults__")?;
            Ok(!defaults.is_none() && defaults.contains("debug")?)
        })
        .copied()
}
