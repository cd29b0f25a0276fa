//! Futures and tasks.
use crate::event_loop::Loop;
use crate::ffi::{Args, Class, ClassCell, Owned, Ref, Traversal, Visit};
use pyo3::prelude::*;
use std::ffi::CStr;
/// T
pub struct Task;
static TASK: ClassCell = ClassCell::new();
impl Class for Task {
    const NAME: &'static CStr = c"ferrio.Task";
    fn class() -> &'static ClassCell {
        &TASK
    }
    fn fresh() -> Self {
        Task
    }
    fn traverse(&self, _: &Visit) -> Traversal {
        Ok(())
    }
    fn clear(&self) {}
}
/// F
pub fn create_future(event_loop: Ref<'_, '_, Loop>) -> PyResult<Owned<Task>> {
    let kw = pyo3::types::PyDict::new(event_loop.py());
    kw.set_item("loop", event_loop.as_any())?;
    let f = event_loop.py().import("asyncio")?.getattr("Future")?.call((), Some(&kw))?;
    Ok(unsafe { Owned::from_ptr(f.into_ptr()) })
}
/// F
pub fn create_task<'py>(
    event_loop: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let task = event_loop.py().import("asyncio")?.getattr("Task")?;
    let kw = pyo3::types::PyDict::new(event_loop.py());
    kw.set_item("loop", event_loop.as_any())?;
    task.call((args.get(0).unwrap(),), Some(&kw))
}
/// s
pub mod step {
    use super::*;
    /// r
    pub fn run(_: Ref<'_, '_, Task>) -> PyResult<()> {
        Ok(())
    }
}
/// c
pub mod current {
    use super::*;
    /// c
    #[inline]
    pub fn clear(_: Ref<'_, '_, Loop>) {}
}
