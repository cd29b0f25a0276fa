//! `ferrio.TaskGroup`: the methods and attributes that Python sees.

use pyo3::ffi as capi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString, PyType};

use super::exit::{self, Enter, Exit};
use super::{TaskGroup, create_task, on_task_done};
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{Args, Definition, Ref, Signature, build};
use crate::task::coroutine::Coroutine;
use crate::{attribute, init_slot, method, method0, method1, unary_slot};

fn init(this: Ref<'_, '_, TaskGroup>, args: &Args<'_, '_>) -> PyResult<()> {
    let [] =
        args.parse(&Signature { name: "TaskGroup", parameters: [], positional: 0, required: 0 })?;
    this.errors(this.py()).map(drop)
}

fn aenter<'py>(this: Ref<'_, 'py, TaskGroup>) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Enter>::create(this.py(), |enter| enter.group.set(this.to_any()))
}

fn aexit<'py>(this: Ref<'_, 'py, TaskGroup>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const AEXIT: Signature<3> = Signature {
        name: "__aexit__",
        parameters: ["et", "exc", "tb"],
        positional: 3,
        required: 3,
    };
    let [_, exception, _] = args.parse(&AEXIT)?;
    Coroutine::<Exit>::create(this.py(), |exit| {
        exit.group.set(this.to_any());
        if let Some(exception) = exception.filter(|exception| !exception.is_none()) {
            exit.exception.set(exception.to_owned());
        }
    })
}

fn repr<'py>(this: Ref<'_, 'py, TaskGroup>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let mut text = String::from("<TaskGroup");
    let (tasks, errors) = (this.len(py), this.errors.get_or_none(py).len().unwrap_or(0));
    if tasks > 0 {
        text += &format!(" tasks={tasks}");
    }
    if errors > 0 {
        text += &format!(" errors={errors}");
    }
    if this.aborting.get() {
        text += " cancelling";
    } else if this.entered.get() {
        text += " entered";
    }
    text.push('>');
    Ok(PyString::new(py, &text).into_any())
}

/// The attribute of a flag.
macro_rules! flag {
    ($name:ident) => {
        fn $name<'py>(this: Ref<'_, 'py, TaskGroup>) -> PyResult<Bound<'py, PyAny>> {
            Ok(PyBool::new(this.py(), this.$name.get()).to_owned().into_any())
        }
    };
}

/// The attribute of a slot, `None` while it is empty.
macro_rules! held {
    ($name:ident) => {
        fn $name<'py>(this: Ref<'_, 'py, TaskGroup>) -> PyResult<Bound<'py, PyAny>> {
            Ok(this.$name.get_or_none(this.py()))
        }
    };
}

flag!(entered);
flag!(exiting);
flag!(aborting);
flag!(parent_cancel_requested);
held!(event_loop);
held!(parent_task);
held!(errors);
held!(base_error);
held!(on_completed);

fn tasks<'py>(this: Ref<'_, 'py, TaskGroup>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.tasks(this.py())?.into_any())
}

/// Builds the class.
pub fn define(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    exit::define(py)?;
    let class = build::<TaskGroup>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(
                c"TaskGroup()\n--\n\nA context manager that waits for the tasks it has created.\n\n\
                  What one of them raises cancels the others, and leaves the context in an ExceptionGroup.",
            ),
            methods: vec![
                method!(
                    TaskGroup,
                    c"create_task",
                    create_task,
                    if cfg!(Py_3_14) {
                        c"create_task($self, coro, **kwargs)\n--\n\nCreate a task in this group; return it."
                    } else {
                        c"create_task($self, coro, *, name=None, context=None)\n--\n\n\
                          Create a task in this group; return it."
                    }
                ),
                #[cfg(Py_3_15)]
                method0!(
                    TaskGroup,
                    c"cancel",
                    super::cancel,
                    c"cancel($self)\n--\n\nEnd the tasks and leave the context, without an exception."
                ),
                method0!(TaskGroup, c"__aenter__", aenter, c"__aenter__($self)\n--\n\nStart."),
                method!(
                    TaskGroup,
                    c"__aexit__",
                    aexit,
                    c"__aexit__($self, et, exc, tb)\n--\n\nWait for the tasks."
                ),
                method1!(
                    TaskGroup,
                    c"_on_task_done",
                    on_task_done,
                    c"_on_task_done($self, task, /)\n--\n\nTake note that a task has ended."
                ),
            ],
            attributes: vec![
                attribute!(TaskGroup, c"_entered", entered),
                attribute!(TaskGroup, c"_exiting", exiting),
                attribute!(TaskGroup, c"_aborting", aborting),
                attribute!(TaskGroup, c"_loop", event_loop),
                attribute!(TaskGroup, c"_parent_task", parent_task),
                attribute!(TaskGroup, c"_parent_cancel_requested", parent_cancel_requested),
                attribute!(TaskGroup, c"_tasks", tasks),
                attribute!(TaskGroup, c"_errors", errors),
                attribute!(TaskGroup, c"_base_error", base_error),
                attribute!(TaskGroup, c"_on_completed_fut", on_completed),
            ],
            slots: vec![
                init_slot!(TaskGroup, init),
                unary_slot!(TaskGroup, capi::Py_tp_repr, repr),
            ],
            subclassable: true,
            constructible: true,
            weak_references: true,
            dictionary: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["__aenter__", "__aexit__"])?;
    Ok(class)
}
