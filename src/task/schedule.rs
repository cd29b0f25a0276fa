//! How tasks and callbacks come to their turn.
//!
//! On any loop: through its `call_soon`. On ferrio's own, if nobody has overridden that: straight into the ready queue,
//! a task as itself.

use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;

use super::callbacks::Callback;
use super::future::Future;
use super::step;
use super::task::Task;
use crate::event_loop::handle::Handle;
use crate::event_loop::overrides::direct;
use crate::event_loop::ready::Ready;
use crate::ffi::{Ref, call};
use crate::stdlib::stdlib;

/// `event_loop.create_future()`. Raises what that raises.
#[inline]
pub fn create_future<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    match direct(event_loop)? {
        Some(native) => super::create_future(native).map(|future| future.into_any(py)),
        None => event_loop.call_method0(intern!(py, "create_future")),
    }
}

/// Lets `task` have its turn. Raises what the loop's `call_soon` raises.
#[inline]
pub fn step_soon(task: Ref<'_, '_, Task>) -> PyResult<()> {
    let py = task.py();
    if let Some(event_loop) = task.up::<Future>().direct_loop() {
        let event_loop = event_loop.get(py);
        event_loop.check_callable()?;
        event_loop.push(Ready::Task(task.to_owned()));
        return Ok(());
    }
    let step = step::step_callable(task)?;
    let context = task.context.get_or_none(py);
    call_soon(&task.event_loop.get_or_none(py), &step, None, &context)
}

/// Lets `callback` be called with `future`. Raises what the loop's `call_soon` raises.
#[inline]
pub fn callback_soon(future: Ref<'_, '_, Future>, callback: &Callback) -> PyResult<()> {
    let py = future.py();
    if let Some(event_loop) = future.direct_loop() {
        let event_loop = event_loop.get(py);
        match callback {
            Callback::Task(task) if task.get(py).direct.get() => {
                event_loop.check_callable()?;
                event_loop.push(Ready::Task(task.clone_ref(py)));
                return Ok(());
            }
            Callback::Watcher(watcher) => {
                event_loop.check_callable()?;
                if watcher.needs_turn(future)? {
                    event_loop.push(Ready::Ended(watcher.clone_ref(py), future.to_owned()));
                }
                return Ok(());
            }
            // In debug mode `call_soon` has more to check.
            Callback::Python { callable, context } if !event_loop.debug() => {
                let context = context.get_or_none(py);
                if call::is_context(&context) {
                    event_loop.check_callable()?;
                    let callable = callable.get_or_none(py);
                    let arg = future.as_any().clone();
                    let handle = Handle::create1_for_turn(event_loop, callable, arg, context)?;
                    event_loop.push_handle(handle, py);
                    return Ok(());
                }
            }
            _ => {}
        }
    }
    call_soon(
        &future.event_loop.get_or_none(py),
        &callback.callable(py)?,
        Some(future.as_any()),
        &callback.context(py),
    )
}

/// `event_loop.call_soon(callable, arg, context=context)`
fn call_soon(
    event_loop: &Bound<'_, PyAny>,
    callable: &Bound<'_, PyAny>,
    arg: Option<&Bound<'_, PyAny>>,
    context: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = event_loop.py();
    let mut frame = [event_loop.as_ptr(), callable.as_ptr(), context.as_ptr(), context.as_ptr()];
    let mut positional = 2;
    if let Some(arg) = arg {
        frame[2] = arg.as_ptr();
        positional = 3;
    }
    // SAFETY: all are alive; the value of the one keyword follows the positional arguments; the call may use
    // the first place.
    let handle = unsafe {
        let handle = capi::PyObject_VectorcallMethod(
            intern!(py, "call_soon").as_ptr(),
            frame.as_mut_ptr(),
            positional | capi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            stdlib(py).context_keyword.as_ptr(),
        );
        Bound::from_owned_ptr_or_err(py, handle)
    };
    handle.map(drop)
}
