//! Methods and attributes of a native class, from safe Rust functions.
//!
//! The macros make the C function that CPython calls: it turns the arguments into [`Ref`] and
//! [`Args`](super::Args), and the result or the panic into what C expects. They expand to entries for
//! [`Definition`](super::Definition).

use std::marker::PhantomData;

use pyo3::ffi;
use pyo3::prelude::*;

use super::class::Class;
use super::reference::Ref;

/// A method of `T` that is not in its class's dictionary: a callback, which only its bound form shows.
pub struct HiddenMethod<T>(&'static ffi::PyMethodDef, PhantomData<fn(T)>);

// SAFETY: the definition is never changed, and the class is only named.
unsafe impl<T> Send for HiddenMethod<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for HiddenMethod<T> {}

impl<T: Class> HiddenMethod<T> {
    /// From [`method0!`](crate::method0) or [`method1!`](crate::method1) for `T`.
    pub fn new(definition: ffi::PyMethodDef) -> Self {
        HiddenMethod(Box::leak(Box::new(definition)), PhantomData)
    }

    /// The method of `this`. Those of the same object are equal. Raises `MemoryError`.
    pub fn bind<'py>(&self, this: Ref<'_, 'py, T>) -> PyResult<Bound<'py, PyAny>> {
        let definition: *const ffi::PyMethodDef = self.0;
        // SAFETY: the definition lives for ever; the new object takes its own reference to `this`.
        unsafe {
            let method = ffi::PyCFunction_New(definition.cast_mut(), this.as_ptr());
            Bound::from_owned_ptr_or_err(this.py(), method)
        }
    }
}

/// A method `fn(Ref<T>, &Args) -> PyResult<Bound<PyAny>>`.
#[macro_export]
macro_rules! method {
    ($class:ty, $name:expr, $function:path, $doc:expr) => {{
        unsafe extern "C" fn call(
            this: *mut ::pyo3::ffi::PyObject,
            args: *const *mut ::pyo3::ffi::PyObject,
            count: ::pyo3::ffi::Py_ssize_t,
            names: *mut ::pyo3::ffi::PyObject,
        ) -> *mut ::pyo3::ffi::PyObject {
            // SAFETY: CPython calls with the GIL held, on an instance of the class that has this method.
            unsafe {
                $crate::ffi::call::enter(|py| {
                    let this = $crate::ffi::Ref::<$class>::from_ptr(py, this);
                    let args = $crate::ffi::Args::fastcall(py, args, count, names);
                    $function(this, &args).map(::pyo3::Bound::into_ptr)
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

/// A method without arguments, `fn(Ref<T>) -> PyResult<Bound<PyAny>>`.
#[macro_export]
macro_rules! method0 {
    ($class:ty, $name:literal, $function:path, $doc:expr) => {{
        unsafe extern "C" fn call(
            this: *mut ::pyo3::ffi::PyObject,
            _: *mut ::pyo3::ffi::PyObject,
        ) -> *mut ::pyo3::ffi::PyObject {
            // SAFETY: CPython calls with the GIL held, on an instance of the class that has this method.
            unsafe {
                $crate::ffi::call::enter(|py| {
                    $function($crate::ffi::Ref::<$class>::from_ptr(py, this)).map(::pyo3::Bound::into_ptr)
                })
            }
        }
        ::pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: ::pyo3::ffi::PyMethodDefPointer { PyCFunction: call },
            ml_flags: ::pyo3::ffi::METH_NOARGS,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// A method with one positional argument, `fn(Ref<T>, &Bound<PyAny>) -> PyResult<Bound<PyAny>>`.
#[macro_export]
macro_rules! method1 {
    ($class:ty, $name:literal, $function:path, $doc:expr) => {{
        unsafe extern "C" fn call(
            this: *mut ::pyo3::ffi::PyObject,
            arg: *mut ::pyo3::ffi::PyObject,
        ) -> *mut ::pyo3::ffi::PyObject {
            // SAFETY: CPython calls with the GIL held, on an instance of the class that has this method,
            // and holds a reference to the argument meanwhile.
            unsafe {
                $crate::ffi::call::enter(|py| {
                    let this = $crate::ffi::Ref::<$class>::from_ptr(py, this);
                    let arg = ::pyo3::Borrowed::from_ptr(py, arg);
                    $function(this, &arg).map(::pyo3::Bound::into_ptr)
                })
            }
        }
        ::pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: ::pyo3::ffi::PyMethodDefPointer { PyCFunction: call },
            ml_flags: ::pyo3::ffi::METH_O,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// A method with one argument that may be given by its name also, `fn(Ref<T>, &Bound<PyAny>) -> PyResult<Bound<PyAny>>`.
#[macro_export]
macro_rules! method_named1 {
    ($class:ty, $name:literal, $parameter:literal, $function:path, $doc:expr) => {{
        fn named<'py>(
            this: $crate::ffi::Ref<'_, 'py, $class>,
            args: &$crate::ffi::Args<'_, 'py>,
        ) -> ::pyo3::PyResult<::pyo3::Bound<'py, ::pyo3::PyAny>> {
            let [argument] = args.parse(&$crate::ffi::Signature {
                name: $name,
                parameters: [$parameter],
                positional: 1,
                required: 1,
            })?;
            match argument {
                Some(argument) => $function(this, &argument),
                None => unreachable!("a required argument was given"),
            }
        }
        const NAME: &::std::ffi::CStr =
            match ::std::ffi::CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("the name holds a zero"),
            };
        $crate::method!($class, NAME, named, $doc)
    }};
}

/// The `C` getter of a function `fn(Ref<T>) -> PyResult<Bound<PyAny>>`.
#[macro_export]
macro_rules! getter {
    ($class:ty, $function:path) => {{
        unsafe extern "C" fn get(
            this: *mut ::pyo3::ffi::PyObject,
            _: *mut ::std::ffi::c_void,
        ) -> *mut ::pyo3::ffi::PyObject {
            // SAFETY: CPython calls with the GIL held, on an instance of the class that has this attribute.
            unsafe {
                $crate::ffi::call::enter(|py| {
                    $function($crate::ffi::Ref::<$class>::from_ptr(py, this)).map(::pyo3::Bound::into_ptr)
                })
            }
        }
        get
    }};
}

/// An attribute: `attribute!(T, c"name", get)` or `attribute!(T, c"name", get, set)`, where `set` is
/// `fn(Ref<T>, Option<&Bound<PyAny>>) -> PyResult<()>`, with `None` for `del`.
#[macro_export]
macro_rules! attribute {
    ($class:ty, $name:literal, $get:path) => {
        ::pyo3::ffi::PyGetSetDef {
            name: $name.as_ptr(),
            get: Some($crate::getter!($class, $get)),
            set: None,
            doc: ::std::ptr::null(),
            closure: ::std::ptr::null_mut(),
        }
    };
    ($class:ty, $name:literal, $get:path, $set:path) => {{
        unsafe extern "C" fn set(
            this: *mut ::pyo3::ffi::PyObject,
            value: *mut ::pyo3::ffi::PyObject,
            _: *mut ::std::ffi::c_void,
        ) -> ::std::ffi::c_int {
            // SAFETY: CPython calls with the GIL held, on an instance of the class that has this
            // attribute; `value` is null for `del`, or alive meanwhile.
            unsafe {
                $crate::ffi::call::enter(|py| {
                    let this = $crate::ffi::Ref::<$class>::from_ptr(py, this);
                    let value = ::pyo3::Borrowed::from_ptr_or_opt(py, value);
                    $set(this, value.as_deref()).map(|()| 0)
                })
            }
        }
        ::pyo3::ffi::PyGetSetDef {
            name: $name.as_ptr(),
            get: Some($crate::getter!($class, $get)),
            set: Some(set),
            doc: ::std::ptr::null(),
            closure: ::std::ptr::null_mut(),
        }
    }};
}

/// A slot that takes the instance alone (`tp_repr`, `tp_iter`, `am_await`, …) from a function
/// `fn(Ref<T>) -> PyResult<Bound<PyAny>>`.
#[macro_export]
macro_rules! unary_slot {
    ($class:ty, $slot:expr, $function:path) => {{
        unsafe extern "C" fn call(this: *mut ::pyo3::ffi::PyObject) -> *mut ::pyo3::ffi::PyObject {
            // SAFETY: CPython calls with the GIL held, on an instance of the class that has this slot.
            unsafe {
                $crate::ffi::call::enter(|py| {
                    $function($crate::ffi::Ref::<$class>::from_ptr(py, this)).map(::pyo3::Bound::into_ptr)
                })
            }
        }
        ::pyo3::ffi::PyType_Slot {
            slot: $slot,
            pfunc: call as unsafe extern "C" fn(*mut ::pyo3::ffi::PyObject) -> *mut ::pyo3::ffi::PyObject
                as *mut ::std::ffi::c_void,
        }
    }};
}

/// The `tp_init` slot from a function `fn(Ref<T>, &Args) -> PyResult<()>`.
#[macro_export]
macro_rules! init_slot {
    ($class:ty, $function:path) => {{
        unsafe extern "C" fn call(
            this: *mut ::pyo3::ffi::PyObject,
            args: *mut ::pyo3::ffi::PyObject,
            kwargs: *mut ::pyo3::ffi::PyObject,
        ) -> ::std::ffi::c_int {
            // SAFETY: CPython calls with the GIL held, on an instance of the class that has this slot,
            // with a tuple and a dictionary or null.
            unsafe {
                $crate::ffi::call::enter(|py| {
                    let this = $crate::ffi::Ref::<$class>::from_ptr(py, this);
                    let args = $crate::ffi::Args::tuple_and_dict(py, args, kwargs);
                    $function(this, &args).map(|()| 0)
                })
            }
        }
        ::pyo3::ffi::PyType_Slot {
            slot: ::pyo3::ffi::Py_tp_init,
            pfunc: call
                as unsafe extern "C" fn(
                    *mut ::pyo3::ffi::PyObject,
                    *mut ::pyo3::ffi::PyObject,
                    *mut ::pyo3::ffi::PyObject,
                ) -> ::std::ffi::c_int as *mut ::std::ffi::c_void,
        }
    }};
}

/// The slots `am_send` and `tp_iternext` from a function `fn(Ref<T>) -> PyResult<Sent>`: what a
/// result costs an exception through the second, it doesn't through the first.
#[macro_export]
macro_rules! send_slots {
    ($class:ty, $function:path) => {{
        unsafe extern "C" fn send(
            this: *mut ::pyo3::ffi::PyObject,
            _: *mut ::pyo3::ffi::PyObject,
            result: *mut *mut ::pyo3::ffi::PyObject,
        ) -> ::pyo3::ffi::PySendResult {
            // SAFETY: CPython calls with the GIL held, on an instance of the class that has this slot,
            // with a place for the result.
            unsafe {
                *result = ::std::ptr::null_mut();
                $crate::ffi::call::enter(|py| {
                    let (value, outcome) =
                        match $function($crate::ffi::Ref::<$class>::from_ptr(py, this))? {
                            $crate::ffi::call::Sent::Yielded(value) => {
                                (value, ::pyo3::ffi::PySendResult::PYGEN_NEXT)
                            }
                            $crate::ffi::call::Sent::Returned(value) => {
                                (value, ::pyo3::ffi::PySendResult::PYGEN_RETURN)
                            }
                        };
                    *result = value.into_ptr();
                    Ok(outcome)
                })
            }
        }
        unsafe extern "C" fn next(
            this: *mut ::pyo3::ffi::PyObject,
        ) -> *mut ::pyo3::ffi::PyObject {
            // SAFETY: CPython calls with the GIL held, on an instance of the class that has this slot.
            unsafe {
                $crate::ffi::call::enter(|py| {
                    match $function($crate::ffi::Ref::<$class>::from_ptr(py, this))? {
                        $crate::ffi::call::Sent::Yielded(value) => Ok(value.into_ptr()),
                        $crate::ffi::call::Sent::Returned(value) => {
                            // To end without an exception is to return None.
                            if !value.is_none() {
                                $crate::ffi::error::set_stop_iteration(value);
                            }
                            Ok(::std::ptr::null_mut())
                        }
                    }
                })
            }
        }
        [
            ::pyo3::ffi::PyType_Slot {
                slot: ::pyo3::ffi::Py_am_send,
                pfunc: send
                    as unsafe extern "C" fn(
                        *mut ::pyo3::ffi::PyObject,
                        *mut ::pyo3::ffi::PyObject,
                        *mut *mut ::pyo3::ffi::PyObject,
                    ) -> ::pyo3::ffi::PySendResult as *mut ::std::ffi::c_void,
            },
            ::pyo3::ffi::PyType_Slot {
                slot: ::pyo3::ffi::Py_tp_iternext,
                pfunc: next
                    as unsafe extern "C" fn(*mut ::pyo3::ffi::PyObject) -> *mut ::pyo3::ffi::PyObject
                    as *mut ::std::ffi::c_void,
            },
        ]
    }};
}

/// The class method `__class_getitem__`, for a class that is generic to type checkers.
pub fn class_getitem() -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: c"__class_getitem__".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: ffi::Py_GenericAlias },
        ml_flags: ffi::METH_O | ffi::METH_CLASS,
        ml_doc: c"__class_getitem__($type, item, /)\n--\n\nReturn a types.GenericAlias.".as_ptr(),
    }
}
