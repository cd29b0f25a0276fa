//! `Queue`, `LifoQueue`, `PriorityQueue`: what Python sees of them.

use pyo3::exceptions::PyAttributeError;
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyType};

use super::attributes::{bindable_attributes, get_loop_method, show_line};
use super::queue::{LifoQueue, PriorityQueue, Queue};
use super::waiters::wake;
use super::{boolean, none, queue_wait};
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::method::class_getitem;
use crate::ffi::{Args, Class, Definition, Extends, Ref, Signature, build};
use crate::{attribute, init_slot, method, method_named1, method0, method1, unary_slot};

fn init(this: Ref<'_, '_, Queue>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<1> =
        Signature { name: "Queue.__init__", parameters: ["maxsize"], positional: 1, required: 0 };
    let [maxsize] = args.parse(&INIT)?;
    this.init(match maxsize {
        Some(maxsize) => maxsize.to_owned(),
        None => PyInt::new(this.py(), 0).into_any(),
    })
}

fn qsize<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.items.len(this.py())?.into_pyobject(this.py())?.into_any())
}

fn empty<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.items.is_empty(this.py())?))
}

fn full<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.has_reached_limit()?))
}

fn put_nowait<'py>(
    this: Ref<'_, 'py, Queue>,
    item: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.put(item.clone())?;
    Ok(none(this.py()))
}

fn task_done<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    this.task_done()?;
    Ok(none(this.py()))
}

fn shutdown<'py>(this: Ref<'_, 'py, Queue>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const SHUTDOWN: Signature<1> =
        Signature { name: "Queue.shutdown", parameters: ["immediate"], positional: 1, required: 0 };
    let [immediate] = args.parse(&SHUTDOWN)?;
    this.shutdown(immediate.map_or(Ok(false), |immediate| immediate.is_truthy())?)?;
    Ok(none(this.py()))
}

fn init_items<'py>(
    this: Ref<'_, 'py, Queue>,
    _: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.items.clear();
    Ok(none(this.py()))
}

fn get_item<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    this.items.get(this.py())
}

fn put_item<'py>(
    this: Ref<'_, 'py, Queue>,
    item: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    this.items.put(item.clone())?;
    Ok(none(this.py()))
}

fn format_it<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyString::new(this.py(), &this.describe()?).into_any())
}

fn repr<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    let name = this.as_any().get_type().name()?;
    let text = format!("<{name} at {:p} {}>", this.as_ptr(), this.format()?);
    Ok(PyString::new(this.py(), &text).into_any())
}

fn str<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    let name = this.as_any().get_type().name()?;
    Ok(PyString::new(this.py(), &format!("<{name} {}>", this.format()?)).into_any())
}

fn wakeup_next<'py>(
    this: Ref<'_, 'py, Queue>,
    waiters: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    while waiters.is_truthy()? {
        if wake(&waiters.call_method0(intern!(py, "popleft"))?, none(py))? {
            break;
        }
    }
    Ok(none(py))
}

fn maxsize<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.maxsize(this.py()))
}

fn items<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    this.items.show(this.py())
}

fn getters<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    show_line(&this.getters, this.py())
}

fn putters<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    show_line(&this.putters, this.py())
}

fn unfinished<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.unfinished.get().into_pyobject(this.py())?.into_any())
}

fn finished<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.finished()?.into_any(this.py()))
}

fn is_shutdown<'py>(this: Ref<'_, 'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.is_shutdown.get()))
}

fn set_maxsize<'py>(this: Ref<'_, 'py, Queue>, value: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
    this.set_maxsize(given(value)?.clone())
}

fn set_items(this: Ref<'_, '_, Queue>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.items.replace(given(value)?.clone());
    Ok(())
}

fn set_unfinished(this: Ref<'_, '_, Queue>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    this.unfinished.set(given(value)?.extract()?);
    Ok(())
}

fn given<'a, 'py>(value: Option<&'a Bound<'py, PyAny>>) -> PyResult<&'a Bound<'py, PyAny>> {
    value.ok_or_else(|| PyAttributeError::new_err("can't delete attribute"))
}

fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(Queue, c"shutdown", shutdown, c"shutdown($self, immediate=False)\n--\n\n\
            Take no more items, and let get() raise QueueShutDown once there are none.\n\n\
            All who wait are woken. If immediate, the items are dropped and count as done."),
        method0!(Queue, c"qsize", qsize, c"qsize($self)\n--\n\nReturn the number of items."),
        method0!(Queue, c"empty", empty, c"empty($self)\n--\n\nReturn True if there are no items."),
        method0!(Queue, c"full", full, c"full($self)\n--\n\nReturn True if there are maxsize items."),
        method_named1!(Queue, "put", "item", queue_wait::put, c"put($self, item)\n--\n\n\
            Put an item in, once there is room.\n\nRaise QueueShutDown after shutdown()."),
        method_named1!(Queue, "put_nowait", "item", put_nowait, c"put_nowait($self, item)\n--\n\n\
            Put an item in.\n\nRaise QueueFull if there is no room, and QueueShutDown after shutdown()."),
        method0!(Queue, c"get", queue_wait::get, c"get($self)\n--\n\n\
            Take the next item out, once there is one, and return it.\n\n\
            Raise QueueShutDown when there are none after shutdown()."),
        method0!(Queue, c"get_nowait", Ref::<Queue>::get, c"get_nowait($self)\n--\n\n\
            Take the next item out and return it.\n\n\
            Raise QueueEmpty if there is none, or QueueShutDown after shutdown()."),
        method0!(Queue, c"task_done", task_done, c"task_done($self)\n--\n\n\
            Tell that the work on an item is done.\n\nRaise ValueError when all was done already."),
        method0!(Queue, c"join", queue_wait::join, c"join($self)\n--\n\n\
            Wait until the work on all items is done."),
        method1!(Queue, c"_init", init_items, c"_init($self, maxsize, /)\n--\n\n\
            Begin without items. For subclasses to override."),
        method0!(Queue, c"_get", get_item, c"_get($self)\n--\n\n\
            Take the next item out. For subclasses to override."),
        method1!(Queue, c"_put", put_item, c"_put($self, item, /)\n--\n\n\
            Take an item in. For subclasses to override."),
        method0!(Queue, c"_format", format_it, c"_format($self)\n--\n\nReturn what repr() tells."),
        method1!(
            Queue,
            c"_wakeup_next",
            wakeup_next,
            c"_wakeup_next($self, waiters, /)\n--\n\nWake the first that waits in _getters or _putters."
        ),
        class_getitem(),
        get_loop_method!(Queue),
    ]
}

/// Builds the classes.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let mut attributes = bindable_attributes!(Queue);
    attributes.extend([
        attribute!(Queue, c"maxsize", maxsize),
        attribute!(Queue, c"_maxsize", maxsize, set_maxsize),
        attribute!(Queue, c"_queue", items, set_items),
        attribute!(Queue, c"_getters", getters),
        attribute!(Queue, c"_putters", putters),
        attribute!(Queue, c"_unfinished_tasks", unfinished, set_unfinished),
        attribute!(Queue, c"_finished", finished),
        attribute!(Queue, c"_is_shutdown", is_shutdown),
    ]);
    let queue = build::<Queue>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"Queue(maxsize=0)\n--\n\nA queue between tasks, first in first out: asyncio.Queue."),
            methods: methods(),
            attributes,
            slots: vec![
                init_slot!(Queue, init),
                unary_slot!(Queue, capi::Py_tp_repr, repr),
                unary_slot!(Queue, capi::Py_tp_str, str),
            ],
            subclassable: true,
            constructible: true,
            weak_references: true,
            dictionary: true,
            plain_name: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&queue, &["put", "get", "join"])?;
    module.add("Queue", queue)?;
    module.add("LifoQueue", ordered::<LifoQueue>(
        py,
        c"LifoQueue(maxsize=0)\n--\n\nA queue between tasks, last in first out: asyncio.LifoQueue.",
    )?)?;
    module.add("PriorityQueue", ordered::<PriorityQueue>(
        py,
        c"PriorityQueue(maxsize=0)\n--\n\nA queue between tasks, least first: asyncio.PriorityQueue.",
    )?)
}

fn ordered<'py, T: Extends<Queue>>(
    py: Python<'py>,
    doc: &'static std::ffi::CStr,
) -> PyResult<Bound<'py, PyType>> {
    build::<T>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(doc),
            subclassable: true,
            constructible: true,
            weak_references: true,
            dictionary: true,
            plain_name: true,
            extends: Some(Queue::class()),
            ..Definition::default()
        },
    )
}
