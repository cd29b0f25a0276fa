//! `Event`: a flag that tasks wait for.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::ffi as capi;
use pyo3::prelude::*;

use super::attributes::{self, get_loop_method, waitable_attributes};
use super::deque::Deque;
use super::waiters::{Bindable, Waitable, wait_in_line, wake_some};
use super::{boolean, kept, none};
use crate::ffi::call::Sent;
use crate::ffi::function::mark_coroutine_methods;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Ref, Signature, Slot, Traversal, Visit, build,
};
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};
use crate::{attribute, define_coroutine, init_slot, method0, unary_slot};

/// The fields of `ferrio.Event`.
#[derive(Default)]
pub struct Event {
    event_loop: Slot,
    waiters: Deque,
    value: Cell<bool>,
}

static EVENT: ClassCell = ClassCell::new();

impl Class for Event {
    const NAME: &'static CStr = c"ferrio.Event";

    fn class() -> &'static ClassCell {
        &EVENT
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.event_loop)?;
        self.waiters.traverse(visit)
    }

    fn clear(&self) {
        self.event_loop.clear();
        self.waiters.clear();
    }
}

impl Bindable for Event {
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }
}

impl Waitable for Event {
    fn waiters(&self) -> &Deque {
        &self.waiters
    }
}

impl Event {
    /// `clear()`
    pub fn unset(&self) {
        self.value.set(false);
    }
}

impl<'py> Ref<'_, 'py, Event> {
    /// `set()`
    pub fn set(self) -> PyResult<()> {
        if self.value.replace(true) {
            return Ok(());
        }
        wake_some(&self.waiters, usize::MAX, &boolean(self.py(), true)).map(drop)
    }

    /// `wait()`
    pub fn wait(self) -> PyResult<Bound<'py, PyAny>> {
        Coroutine::<Wait>::create(self.py(), |body| body.event.set(self.to_any()))
    }
}

static WAIT: Identity = Identity::new("Event.wait", file!(), line!());

/// The coroutine of `wait()`.
#[derive(Default)]
struct Wait {
    event: Slot,
    waiter: Slot,
}

impl Body for Wait {
    fn identity() -> &'static Identity {
        &WAIT
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.event)?;
        visit.slot(&self.waiter)
    }

    fn clear(&self) {
        self.event.clear();
        self.waiter.clear();
    }

    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let event = kept::<Event>(&this.body.event, py)?;
        let event = event.get(py);
        let awaited = match resume {
            Resume::Start if event.value.get() => return Ok(Sent::Returned(boolean(py, true))),
            Resume::Start => wait_in_line(this, event, &event.waiters, &this.body.waiter),
            resume => this.go_on(resume),
        };
        if let Ok(Sent::Yielded(_)) = awaited {
            return awaited;
        }
        if let Some(waiter) = this.body.waiter.take(py) {
            event.waiters.remove(&waiter)?;
        }
        awaited.map(|_| Sent::Returned(boolean(py, true)))
    }
}

fn init(_: Ref<'_, '_, Event>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<0> =
        Signature { name: "Event.__init__", parameters: [], positional: 0, required: 0 };
    args.parse(&INIT).map(drop)
}

fn set<'py>(this: Ref<'_, 'py, Event>) -> PyResult<Bound<'py, PyAny>> {
    this.set()?;
    Ok(none(this.py()))
}

fn clear<'py>(this: Ref<'_, 'py, Event>) -> PyResult<Bound<'py, PyAny>> {
    this.unset();
    Ok(none(this.py()))
}

fn is_set<'py>(this: Ref<'_, 'py, Event>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.value.get()))
}

fn repr<'py>(this: Ref<'_, 'py, Event>) -> PyResult<Bound<'py, PyAny>> {
    attributes::repr(this, if this.value.get() { "set" } else { "unset" })
}

/// Builds the classes.
pub fn define(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    define_coroutine!(py, Wait)?;
    let methods = vec![
        method0!(
            Event,
            c"set",
            set,
            c"set($self)\n--\n\nSet the flag and wake all who wait for it."
        ),
        method0!(Event, c"clear", clear, c"clear($self)\n--\n\nUnset the flag."),
        method0!(Event, c"is_set", is_set, c"is_set($self)\n--\n\nReturn True if the flag is set."),
        method0!(
            Event,
            c"wait",
            Ref::<Event>::wait,
            c"wait($self)\n--\n\nWait until the flag is set; return True."
        ),
        get_loop_method!(Event),
    ];
    let mut attributes = waitable_attributes!(Event);
    attributes.push(attribute!(Event, c"_value", is_set));
    let class = build::<Event>(
        &py.get_type::<PyAny>(),
        Definition {
            doc: Some(c"Event()\n--\n\nA flag that tasks wait for: asyncio.Event."),
            methods,
            attributes,
            slots: vec![init_slot!(Event, init), unary_slot!(Event, capi::Py_tp_repr, repr)],
            subclassable: true,
            constructible: true,
            weak_references: true,
            dictionary: true,
            plain_name: true,
            ..Definition::default()
        },
    )?;
    mark_coroutine_methods(&class, &["wait"])?;
    module.add("Event", class)
}
