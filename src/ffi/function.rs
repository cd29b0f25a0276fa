//! Functions of the module, and functions that return coroutines.
//!
//! `inspect.iscoroutinefunction` and `asyncio.iscoroutinefunction` look for a mark on the function, and a C function
//! takes no attributes. [`CoroutineFunction`] wraps one: it has the mark, hands calls on, and has everything else from
//! what it wraps. In a class it is a method as any other.

use std::ffi::{CStr, c_void};

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

use super::class::{Class, ClassCell, Definition, build};
use super::reference::{Owned, Ref};
use super::slot::{Slot, Traversal, Visit};
use crate::{attribute, method0, unary_slot};

/// A function of the module from `fn(&Args) -> PyResult<Bound<PyAny>>`, for `make`. To have a signature, the
/// documentation begins with it, as `sleep(delay, result=None)\n--\n\n`.
#[macro_export]
macro_rules! function {
    ($name:expr, $function:path, $doc:expr) => {{
        unsafe extern "C" fn call(
            _: *mut ::pyo3::ffi::PyObject,
            args: *const *mut ::pyo3::ffi::PyObject,
            count: ::pyo3::ffi::Py_ssize_t,
            names: *mut ::pyo3::ffi::PyObject,
        ) -> *mut ::pyo3::ffi::PyObject {
            // SAFETY: CPython calls with the GIL held, and with arguments that live as long as the call.
            unsafe {
                $crate::ffi::call::enter(|py| {
                    let args = $crate::ffi::Args::fastcall(py, args, count, names);
                    $function(&args).map(::pyo3::Bound::into_ptr)
                })
            }
        }
        ::pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: ::pyo3::ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call },
            ml_flags: ::pyo3::ffi::METH_FASTCALL | ::pyo3::ffi::METH_KEYWORDS,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// The function that `definition`, of [`function!`](crate::function), defines. Its `__module__` is `ferrio`.
pub fn make(py: Python<'_>, definition: ffi::PyMethodDef) -> PyResult<Bound<'_, PyAny>> {
    let definition: *mut ffi::PyMethodDef = Box::leak(Box::new(definition));
    // SAFETY: the definition lives for ever; the result is an owned reference or null.
    unsafe {
        let module = intern!(py, "ferrio");
        let function = ffi::PyCFunction_NewEx(definition, std::ptr::null_mut(), module.as_ptr());
        Bound::from_owned_ptr_or_err(py, function)
    }
}

/// The fields of a function that returns coroutines.
#[repr(C)]
pub struct CoroutineFunction {
    /// What CPython calls: [`call`].
    vectorcall: ffi::vectorcallfunc,
    function: Slot,
}

static COROUTINE_FUNCTION: ClassCell = ClassCell::new();

impl Class for CoroutineFunction {
    const NAME: &'static CStr = c"ferrio.coroutine_function";

    fn class() -> &'static ClassCell {
        &COROUTINE_FUNCTION
    }

    fn fresh() -> Self {
        CoroutineFunction { vectorcall: call, function: Slot::empty() }
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        visit.slot(&self.function)
    }

    fn clear(&self) {
        self.function.clear();
    }
}

unsafe extern "C" fn call(
    this: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls with a live instance of the class; the function it wraps lives as long as it does, for
    // nothing empties the slot of an instance that can still be called but the garbage collector.
    unsafe {
        let fields = &*CoroutineFunction::class().fields::<CoroutineFunction>(this);
        let function = fields.function.as_ptr();
        if function.is_null() {
            let message = c"the function is gone";
            ffi::PyErr_SetString(ffi::PyExc_RuntimeError, message.as_ptr());
            return std::ptr::null_mut();
        }
        ffi::PyObject_Vectorcall(function, args, count, names)
    }
}

unsafe extern "C" {
    fn PyMethod_New(
        function: *mut ffi::PyObject,
        instance: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// `__get__`: as a method, a function takes the instance first.
unsafe extern "C" fn descr_get(
    this: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls with live objects; `instance` is null when the class was asked.
    unsafe { if instance.is_null() { ffi::Py_NewRef(this) } else { PyMethod_New(this, instance) } }
}

/// The attribute of the function that has the name of this function.
macro_rules! of_the_function {
    ($name:ident) => {
        fn $name<'py>(this: Ref<'_, 'py, CoroutineFunction>) -> PyResult<Bound<'py, PyAny>> {
            let py = this.py();
            this.function.get_or_none(py).getattr(intern!(py, stringify!($name)))
        }
    };
}

of_the_function!(__doc__);
of_the_function!(__name__);
of_the_function!(__qualname__);
of_the_function!(__text_signature__);

fn reduce<'py>(this: Ref<'_, 'py, CoroutineFunction>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    this.function.get_or_none(py).call_method0(intern!(py, "__reduce__"))
}

/// What `asyncio.iscoroutinefunction` looks for.
fn asyncio_mark<'py>(this: Ref<'_, 'py, CoroutineFunction>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    py.import("asyncio.coroutines")?.getattr(intern!(py, "_is_coroutine"))
}

/// What `inspect.iscoroutinefunction` looks for, from 3.12 on.
#[cfg(Py_3_12)]
fn inspect_mark<'py>(this: Ref<'_, 'py, CoroutineFunction>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let name = if cfg!(Py_3_13) { "_is_coroutine_mark" } else { "_is_coroutine_marker" };
    py.import("inspect")?.getattr(name)
}

fn repr<'py>(this: Ref<'_, 'py, CoroutineFunction>) -> PyResult<Bound<'py, PyAny>> {
    let text = format!("<coroutine function {}>", __qualname__(this)?);
    Ok(PyString::new(this.py(), &text).into_any())
}

/// `function`, which returns coroutines, with the mark that tells.
pub fn coroutine_function<'py>(function: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let marked = Owned::<CoroutineFunction>::alloc(py)?;
    marked.get(py).function.set(function);
    Ok(marked.into_any(py))
}

/// Lets the methods `names` of `class`, one of ours that nobody has used yet, tell that they return coroutines.
///
/// Raises `KeyError` for a method that it doesn't have.
pub fn mark_coroutine_methods(class: &Bound<'_, PyType>, names: &[&str]) -> PyResult<()> {
    let kind: *mut ffi::PyTypeObject = class.as_type_ptr();
    // SAFETY: a ready heap type has its dictionary there.
    let dictionary = unsafe {
        let dictionary = Bound::from_borrowed_ptr(class.py(), (*kind).tp_dict);
        dictionary.cast_into_unchecked::<PyDict>()
    };
    for name in names {
        let method = dictionary.as_any().get_item(name)?;
        dictionary.set_item(name, coroutine_function(method)?)?;
    }
    // SAFETY: a ready type, whose caches forget the methods.
    unsafe { ffi::PyType_Modified(kind) };
    Ok(())
}

/// Builds the class; before all others.
pub fn define(py: Python<'_>) -> PyResult<()> {
    let attributes = vec![
        attribute!(CoroutineFunction, c"__doc__", __doc__),
        attribute!(CoroutineFunction, c"__name__", __name__),
        attribute!(CoroutineFunction, c"__qualname__", __qualname__),
        attribute!(CoroutineFunction, c"__text_signature__", __text_signature__),
        attribute!(CoroutineFunction, c"_is_coroutine", asyncio_mark),
        #[cfg(Py_3_12)]
        attribute!(CoroutineFunction, c"_is_coroutine_marker", inspect_mark),
    ];
    build::<CoroutineFunction>(
        &py.get_type::<PyAny>(),
        Definition {
            methods: vec![method0!(CoroutineFunction, c"__reduce__", reduce, c"For pickle.")],
            attributes,
            slots: vec![
                unary_slot!(CoroutineFunction, ffi::Py_tp_repr, repr),
                ffi::PyType_Slot {
                    slot: ffi::Py_tp_call,
                    pfunc: ffi::PyVectorcall_Call as *mut c_void,
                },
                ffi::PyType_Slot {
                    slot: ffi::Py_tp_descr_get,
                    pfunc: descr_get as ffi::descrgetfunc as *mut c_void,
                },
            ],
            vectorcall: true,
            ..Definition::default()
        },
    )
    .map(drop)
}
