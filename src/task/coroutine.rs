//! Coroutines written in Rust: a state machine where Python has a frame.
//!
//! A [`Body`] is what one kind of coroutine does; [`Coroutine`] is everything that all coroutines share. To Python it is a
//! coroutine as any other: `asyncio.iscoroutine` is true of it, one that is never awaited warns with its name, tracebacks,
//! stacks and `repr` name the call.
//!
//! ```text
//! static ACQUIRE: Identity = Identity::new("Lock.acquire", file!(), line!());
//!
//! #[derive(Default)]
//! struct Acquire { lock: Slot }
//!
//! impl Body for Acquire {
//!     fn identity() -> &'static Identity { &ACQUIRE }
//!     fn traverse(&self, visit: &Visit) -> Traversal { visit.slot(&self.lock) }
//!     fn clear(&self) { self.lock.clear() }
//!
//!     fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>> {
//!         let awaited = match resume {
//!             Resume::Start => this.begin(&future)?,    // `await future` ...
//!             resume => this.go_on(resume)?,            // ... which may take several steps.
//!         };
//!         let Sent::Returned(result) = awaited else { return Ok(awaited) };
//!         Ok(Sent::Returned(result))
//!     }
//! }
//! ```

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::sync::atomic::{AtomicIsize, Ordering};

use pyo3::exceptions::{
    PyGeneratorExit, PyRuntimeError, PyStopIteration, PyTypeError, PyValueError,
};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::future::cast_exact;
use super::{boolean, none};
use crate::ffi::call::{self, Sent};
use crate::ffi::frame::Place;
use crate::ffi::{
    Args, Class, ClassCell, Definition, Owned, Ref, Slot, Traversal, Visit, build, error,
};
use crate::stdlib::stdlib;

/// Which coroutine it is: its class and its place.
pub struct Identity {
    class: ClassCell,
    place: Place,
}

// SAFETY: both parts are written under the GIL.
unsafe impl Sync for Identity {}

impl Identity {
    /// That of the coroutine function known as `qualified_name`; `file` and `line` are the caller's `file!()` and `line!()`.
    pub const fn new(qualified_name: &'static str, file: &'static str, line: u32) -> Self {
        Identity { class: ClassCell::new(), place: Place::new(qualified_name, file, line) }
    }
}

/// Why a coroutine goes on.
pub enum Resume {
    /// It begins.
    Start,
    /// Something was sent to it; what, makes no difference.
    Sent,
    /// This is raised where it waits.
    Thrown(PyErr),
}

/// What one kind of coroutine does.
pub trait Body: Default + 'static {
    /// Which coroutine it is.
    fn identity() -> &'static Identity;

    /// Its name and source, where not all of a kind have the same.
    fn place(&self) -> &'static Place {
        &Self::identity().place
    }

    /// Reports every Python object that the fields own.
    fn traverse(&self, visit: &Visit) -> Traversal;

    /// Releases them: the coroutine has ended, or is part of a cycle that is collected.
    fn clear(&self);

    /// One step: yields what it waits for, returns its result, or raises. A wait is begun by
    /// [`begin`](Ref::begin) and continued by [`go_on`](Ref::go_on).
    fn run<'py>(this: Ref<'_, 'py, Coroutine<Self>>, resume: Resume) -> PyResult<Sent<'py>>;
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Not awaited yet.
    #[default]
    Created,
    /// In the middle of a step.
    Running,
    /// It has yielded something.
    Suspended,
    /// Returned, raised or closed.
    Finished,
}

/// The fields of a native coroutine.
#[derive(Default)]
pub struct Coroutine<B> {
    /// What this kind of coroutine keeps between two steps.
    pub body: B,
    state: Cell<State>,
    /// The future of ferrio's that it awaits, or the iterator of something else that it awaits.
    awaited: Slot,
    /// Where it was made, as `sys.set_coroutine_origin_tracking_depth` asks for.
    origin: Slot,
}

impl<B: Body> Class for Coroutine<B> {
    const NAME: &'static CStr = c"ferrio.coroutine";
    const FREELIST: usize = 128;
    const FINALIZER: bool = true;

    fn class() -> &'static ClassCell {
        &B::identity().class
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.awaited)?;
        visit.slot(&self.origin)?;
        self.body.traverse(visit)
    }

    fn clear(&self) {
        self.state.set(State::Finished);
        self.awaited.clear();
        self.origin.clear();
        self.body.clear();
    }

    fn must_finalize(&self) -> bool {
        matches!(self.state.get(), State::Created | State::Suspended)
    }

    /// Warns that it was never awaited, or ends it where it waits, as CPython does with its own.
    fn finalize(this: Ref<'_, '_, Self>) {
        let py = this.py();
        let outcome = match this.state.get() {
            State::Created => {
                let warn = stdlib(py).warn_unawaited_coroutine.bind(py);
                warn.call1((this.as_any(),)).map(drop)
            }
            State::Suspended => close(this).map(drop),
            State::Running | State::Finished => Ok(()),
        };
        if let Err(error) = outcome {
            error.write_unraisable(py, Some(this.as_any()));
        }
    }
}

impl<B: Body> Coroutine<B> {
    /// A new coroutine; `fill` gives the body what it needs.
    #[inline]
    pub fn create<'py>(py: Python<'py>, fill: impl FnOnce(&B)) -> PyResult<Bound<'py, PyAny>> {
        Self::filled(Owned::alloc(py)?, py, fill)
    }

    /// The same, of which the garbage collector needs to know nothing: it never refers to what may refer to others.
    #[inline]
    pub fn create_untracked<'py>(
        py: Python<'py>,
        fill: impl FnOnce(&B),
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::filled(Owned::alloc_untracked(py)?, py, fill)
    }

    #[inline]
    fn filled<'py>(
        coroutine: Owned<Self>,
        py: Python<'py>,
        fill: impl FnOnce(&B),
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = coroutine.get(py);
        fill(&this.body);
        if DEBUGGED.load(Ordering::Relaxed) > 0 {
            this.origin.set_opt(origin(py)?, py);
        }
        Ok(coroutine.into_any(py))
    }
}

/// Builds the class of a coroutine's body, once, when the module is imported: `define_coroutine!(py, Acquire)?`.
#[macro_export]
macro_rules! define_coroutine {
    ($py:expr, $body:ty) => {{
        use ::pyo3::ffi as capi;
        use $crate::task::coroutine::{self, Coroutine};
        let mut slots = vec![
            $crate::unary_slot!(Coroutine<$body>, capi::Py_am_await, coroutine::wait),
            $crate::unary_slot!(Coroutine<$body>, capi::Py_tp_iter, coroutine::itself),
            $crate::unary_slot!(Coroutine<$body>, capi::Py_tp_repr, coroutine::repr),
        ];
        slots.extend($crate::send_slots!(Coroutine<$body>, coroutine::proceed));
        coroutine::define::<$body>(
            $py,
            $crate::ffi::Definition {
                doc: Some(c"A coroutine written in Rust."),
                methods: vec![
                    $crate::method1!(
                        Coroutine<$body>,
                        c"send",
                        coroutine::send,
                        c"Go on; the value makes no difference."
                    ),
                    $crate::method!(
                        Coroutine<$body>,
                        c"throw",
                        coroutine::throw,
                        c"Raise an exception where it waits."
                    ),
                    $crate::method0!(
                        Coroutine<$body>,
                        c"close",
                        coroutine::close,
                        c"End it where it waits."
                    ),
                ],
                attributes: vec![
                    $crate::attribute!(Coroutine<$body>, c"__name__", coroutine::name),
                    $crate::attribute!(
                        Coroutine<$body>,
                        c"__qualname__",
                        coroutine::qualified_name
                    ),
                    $crate::attribute!(Coroutine<$body>, c"cr_await", coroutine::awaited),
                    $crate::attribute!(Coroutine<$body>, c"cr_code", coroutine::code),
                    $crate::attribute!(Coroutine<$body>, c"cr_frame", coroutine::frame),
                    $crate::attribute!(Coroutine<$body>, c"cr_origin", coroutine::get_origin),
                    $crate::attribute!(Coroutine<$body>, c"cr_running", coroutine::is_running),
                    $crate::attribute!(Coroutine<$body>, c"cr_suspended", coroutine::is_suspended),
                    $crate::attribute!(Coroutine<$body>, c"cr_state", coroutine::state),
                ],
                slots,
                weak_references: true,
                ..$crate::ffi::Definition::default()
            },
        )
    }};
}

/// The classes of all native coroutines.
struct Classes(RefCell<Vec<*mut capi::PyTypeObject>>);

// SAFETY: touched with the GIL held only (invariant 1 of the room `ffi`).
unsafe impl Sync for Classes {}

static NATIVE: Classes = Classes(RefCell::new(Vec::new()));

/// Whether `object` is a coroutine written in Rust.
pub fn is_native(object: &Bound<'_, PyAny>) -> bool {
    NATIVE.0.borrow().contains(&object.get_type_ptr())
}

/// What [`define_coroutine!`](crate::define_coroutine) builds the class with.
pub fn define<B: Body>(py: Python<'_>, definition: Definition) -> PyResult<()> {
    let class = build::<Coroutine<B>>(&py.get_type::<PyAny>(), definition)?;
    NATIVE.0.borrow_mut().push(class.as_type_ptr());
    // So that isinstance() need not look for the methods.
    let coroutine = py.import("collections.abc")?.getattr("Coroutine")?;
    coroutine.call_method1(intern!(py, "register"), (class,)).map(drop)
}

impl<'py, B: Body> Ref<'_, 'py, Coroutine<B>> {
    /// `await awaitable`: what it yields first, or its result if it needn't wait.
    ///
    /// Raises what it raises, and `TypeError` for what can't be awaited.
    #[inline]
    pub fn begin(self, awaitable: &Bound<'py, PyAny>) -> PyResult<Sent<'py>> {
        if let Some(future) = cast_exact(awaitable) {
            if future.done() {
                return future.result().map(Sent::Returned);
            }
            future.block();
            self.awaited.set(awaitable.clone());
            return Ok(Sent::Yielded(awaitable.clone()));
        }
        let awaiter = awaiter(awaitable)?;
        self.awaited.set(awaiter.clone());
        let py = self.py();
        // The one awaited may be such a coroutine, too.
        self.after(call::nested_frame(py, || call::send(&awaiter, &none(py))))
    }

    /// The next step of the wait that [`begin`](Self::begin) has begun: the same outcomes.
    #[inline]
    pub fn go_on(self, resume: Resume) -> PyResult<Sent<'py>> {
        let py = self.py();
        let Some(awaited) = self.awaited.get(py) else {
            return Err(PyRuntimeError::new_err("the coroutine waits for nothing"));
        };
        if let Some(future) = cast_exact(&awaited) {
            self.awaited.clear();
            return match resume {
                Resume::Thrown(error) => ended_by(error, py).map(Sent::Returned),
                _ if future.done() => future.result().map(Sent::Returned),
                _ => Err(PyRuntimeError::new_err("await wasn't used with future")),
            };
        }
        self.after(match resume {
            Resume::Thrown(error) => throw_into(&awaited, error),
            _ => call::nested_frame(py, || call::send(&awaited, &none(py))),
        })
    }

    /// A step of something else that is awaited: once it has ended there is nothing to wait for.
    fn after(self, outcome: PyResult<Sent<'py>>) -> PyResult<Sent<'py>> {
        if !matches!(outcome, Ok(Sent::Yielded(_))) {
            self.awaited.clear();
        }
        outcome
    }
}

/// What `await awaitable` iterates. Raises `TypeError` for what can't be awaited.
fn awaiter<'py>(awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = awaitable.py();
    let object = awaitable.as_ptr();
    // SAFETY: the object is alive.
    if unsafe { capi::PyCoro_CheckExact(object) } != 0 {
        if !awaitable.getattr(intern!(py, "cr_await"))?.is_none() {
            return Err(PyRuntimeError::new_err("coroutine is being awaited already"));
        }
        return Ok(awaitable.clone());
    }
    // SAFETY: as above.
    if unsafe { capi::PyGen_CheckExact(object) } != 0 {
        const ITERABLE_COROUTINE: u32 = 0x100;
        let code = awaitable.getattr(intern!(py, "gi_code"))?;
        if code.getattr(intern!(py, "co_flags"))?.extract::<u32>()? & ITERABLE_COROUTINE != 0 {
            return Ok(awaitable.clone());
        }
    }
    // SAFETY: the type of a live object; the slot holds a function of this signature or null.
    let slot = unsafe {
        let slot = capi::PyType_GetSlot(capi::Py_TYPE(object), capi::Py_am_await);
        std::mem::transmute::<*mut std::ffi::c_void, Option<capi::unaryfunc>>(slot)
    };
    let Some(slot) = slot else {
        let kind = awaitable.get_type();
        let message = if cfg!(Py_3_14) {
            format!("'{}' object can't be awaited", kind.qualname()?)
        } else {
            format!("object {} can't be used in 'await' expression", kind.qualname()?)
        };
        return Err(PyTypeError::new_err(message));
    };
    // SAFETY: the slot of the object's own type, called with the GIL held; it gives an owned reference or null.
    let awaiter = unsafe { Bound::from_owned_ptr_or_err(py, slot(object))? };
    // SAFETY: the awaiter is alive.
    let (is_coroutine, is_iterator) = unsafe {
        let awaiter = awaiter.as_ptr();
        (capi::PyCoro_CheckExact(awaiter) != 0, capi::PyIter_Check(awaiter) != 0)
    };
    if is_coroutine || !is_iterator { Err(bad_awaiter(awaitable, &awaiter)) } else { Ok(awaiter) }
}

/// What `__await__()` of `awaitable` returned can't be iterated, or is a coroutine.
#[cold]
fn bad_awaiter(awaitable: &Bound<'_, PyAny>, awaiter: &Bound<'_, PyAny>) -> PyErr {
    let full_name = |object: &Bound<'_, PyAny>| {
        object.get_type().fully_qualified_name().map(|name| name.to_string())
    };
    let message = || -> PyResult<String> {
        // SAFETY: the awaiter is alive.
        let is_coroutine = unsafe { capi::PyCoro_CheckExact(awaiter.as_ptr()) } != 0;
        Ok(match (is_coroutine, cfg!(Py_3_15)) {
            (true, false) => "__await__() returned a coroutine".into(),
            (false, false) => {
                format!(
                    "__await__() returned non-iterator of type '{}'",
                    awaiter.get_type().name()?
                )
            }
            (true, true) => {
                let awaitable = full_name(awaitable)?;
                format!("{awaitable}.__await__() must return an iterator, not coroutine")
            }
            (false, true) => {
                let (awaitable, awaiter) = (full_name(awaitable)?, full_name(awaiter)?);
                format!("{awaitable}.__await__() must return an iterator, not {awaiter}")
            }
        })
    };
    match message() {
        Ok(message) => PyTypeError::new_err(message),
        Err(error) => error,
    }
}

/// `error` raised where `awaiter` waits.
#[cold]
fn throw_into<'py>(awaiter: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Sent<'py>> {
    let py = awaiter.py();
    if error.is_instance_of::<PyGeneratorExit>(py) {
        if let Some(close) = awaiter.getattr_opt(intern!(py, "close"))? {
            close.call0()?;
        }
        return Err(error);
    }
    let Some(throw) = awaiter.getattr_opt(intern!(py, "throw"))? else {
        return ended_by(error, py).map(Sent::Returned);
    };
    let exception = error::into_exception(error, py);
    match throw.call1((exception,)) {
        Ok(yielded) => Ok(Sent::Yielded(yielded)),
        Err(error) => ended_by(error, py).map(Sent::Returned),
    }
}

/// What an awaited object that raised has returned, if it has: its value, which `StopIteration` carries.
fn ended_by(error: PyErr, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return Err(error);
    }
    error::into_exception(error, py).getattr(intern!(py, "value"))
}

/// How many loops run in debug mode: while one does, coroutines note where they are made.
static DEBUGGED: AtomicIsize = AtomicIsize::new(0);

/// A loop begins to run in debug mode, or does so no more.
#[pyfunction]
pub fn track_origins(enabled: bool) {
    DEBUGGED.fetch_add(if enabled { 1 } else { -1 }, Ordering::Relaxed);
}

/// The calls that led here, innermost first, as tuples (file name, line, function), as many as
/// `sys.set_coroutine_origin_tracking_depth` asks for.
#[cold]
fn origin(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let sys = py.import("sys")?;
    let depth: usize = sys.call_method0("get_coroutine_origin_tracking_depth")?.extract()?;
    if depth == 0 {
        return Ok(None);
    }
    let mut entries = Vec::new();
    let mut frame = sys.call_method1("_getframe", (0,))?;
    while entries.len() < depth && !frame.is_none() {
        let code = frame.getattr("f_code")?;
        entries.push((
            code.getattr("co_filename")?,
            frame.getattr("f_lineno")?,
            code.getattr("co_name")?,
        ));
        frame = frame.getattr("f_back")?;
    }
    Ok(Some(PyTuple::new(py, entries)?.into_any()))
}

/// One step.
#[inline]
fn advance<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>, resume: Resume) -> PyResult<Sent<'py>> {
    match this.state.replace(State::Running) {
        State::Created | State::Suspended => {}
        State::Running => return Err(executing()),
        State::Finished => {
            this.state.set(State::Finished);
            return Err(reused());
        }
    }
    let outcome = B::run(this, resume);
    if let Ok(Sent::Yielded(_)) = outcome {
        this.state.set(State::Suspended);
        return outcome;
    }
    let place = this.body.place();
    this.clear();
    outcome.map_err(|error| raised(place, error, this.py()))
}

/// `error` as it leaves the coroutine.
#[cold]
fn raised(place: &Place, error: PyErr, py: Python<'_>) -> PyErr {
    let error = place.trace(error, py);
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    // It would look like a result.
    let outer = PyRuntimeError::new_err("coroutine raised StopIteration");
    outer.set_cause(py, Some(error));
    outer
}

#[cold]
fn executing() -> PyErr {
    PyValueError::new_err("coroutine already executing")
}

#[cold]
fn reused() -> PyErr {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine")
}

/// `am_send` and `tp_iternext`
#[inline]
pub fn proceed<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Sent<'py>> {
    let resume = if this.state.get() == State::Created { Resume::Start } else { Resume::Sent };
    advance(this, resume)
}

/// `send(value)`
pub fn send<'py, B: Body>(
    this: Ref<'_, 'py, Coroutine<B>>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    if this.state.get() == State::Created && !value.is_none() {
        return Err(PyTypeError::new_err("can't send non-None value to a just-started coroutine"));
    }
    match proceed(this)? {
        Sent::Yielded(future) => Ok(future),
        Sent::Returned(result) => Err(error::stop_iteration(result)),
    }
}

/// `throw(exception)`
pub fn throw<'py, B: Body>(
    this: Ref<'_, 'py, Coroutine<B>>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(given) = args.get(0)
        && !error::is_exception_class(&given)
        && !error::is_exception(&given)
    {
        return Err(PyTypeError::new_err(format!(
            "exceptions must be classes or instances deriving from BaseException, not {}",
            given.get_type().name()?
        )));
    }
    let thrown = error::thrown_by(args)?;
    match this.state.get() {
        State::Created => {
            this.clear();
            Err(this.body.place().trace(thrown, this.py()))
        }
        State::Suspended => match advance(this, Resume::Thrown(thrown))? {
            Sent::Yielded(future) => Ok(future),
            Sent::Returned(result) => Err(error::stop_iteration(result)),
        },
        State::Running => Err(executing()),
        State::Finished => Err(reused()),
    }
}

/// `close()`
pub fn close<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    match this.state.get() {
        State::Created => this.clear(),
        State::Finished => {}
        State::Running => return Err(executing()),
        State::Suspended => match advance(this, Resume::Thrown(PyGeneratorExit::new_err(()))) {
            Ok(Sent::Returned(_)) => {}
            Ok(Sent::Yielded(_)) => {
                return Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit"));
            }
            Err(error) if error.is_instance_of::<PyGeneratorExit>(py) => error::discard(error, py),
            Err(error) => return Err(error),
        },
    }
    Ok(none(py))
}

/// What `await` takes: the coroutine itself, once.
pub fn wait<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    match this.state.get() {
        State::Suspended | State::Running => {
            Err(PyRuntimeError::new_err("coroutine is being awaited already"))
        }
        State::Created | State::Finished => Ok(this.to_any()),
    }
}

/// `__iter__()`: what `__await__()` returned must be an iterator.
pub fn itself<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.to_any())
}

/// `__name__`
pub fn name<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyString::new(this.py(), this.body.place().name()).into_any())
}

/// `__qualname__`
pub fn qualified_name<'py, B: Body>(
    this: Ref<'_, 'py, Coroutine<B>>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyString::new(this.py(), this.body.place().qualified_name()).into_any())
}

/// `cr_await`: what it waits for, or `None`.
pub fn awaited<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.awaited.get_or_none(this.py()))
}

/// `cr_code`
pub fn code<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    this.body.place().code(this.py())
}

/// `cr_frame`: a frame that tells where it is, or `None` once it has ended.
pub fn frame<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.state.get() == State::Finished { Ok(none(py)) } else { this.body.place().frame(py) }
}

/// `cr_origin`
pub fn get_origin<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    Ok(this.origin.get_or_none(this.py()))
}

/// `cr_running`
pub fn is_running<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.state.get() == State::Running))
}

/// `cr_suspended`
pub fn is_suspended<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    Ok(boolean(this.py(), this.state.get() == State::Suspended))
}

/// `cr_state`, which `inspect.getcoroutinestate` reads from Python 3.15 on.
pub fn state<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let name = match this.state.get() {
        State::Created => intern!(py, "CORO_CREATED"),
        State::Running => intern!(py, "CORO_RUNNING"),
        State::Suspended => intern!(py, "CORO_SUSPENDED"),
        State::Finished => intern!(py, "CORO_CLOSED"),
    };
    Ok(name.clone().into_any())
}

/// `repr()`
pub fn repr<'py, B: Body>(this: Ref<'_, 'py, Coroutine<B>>) -> PyResult<Bound<'py, PyAny>> {
    let name = this.body.place().qualified_name();
    let text = format!("<coroutine object {name} at {:p}>", this.as_ptr());
    Ok(PyString::new(this.py(), &text).into_any())
}
