//! Functions of the interpreter that are written in C, called as what they are.

use std::ffi::c_int;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

/// A function of the standard library that is called all the time. If it is a C function it is called without the
/// interpreter's calling convention in between, which takes about as long as such a function itself.
pub struct Native {
    callable: Py<PyAny>,
    direct: Option<Direct>,
}

/// The C function, and the module that it is bound to.
#[derive(Clone, Copy)]
struct Direct {
    function: Convention,
    bound_to: *mut ffi::PyObject,
}

/// How it takes its arguments.
#[derive(Clone, Copy)]
enum Convention {
    /// `METH_FASTCALL`
    Positional(ffi::PyCFunctionFast),
    /// `METH_FASTCALL | METH_KEYWORDS`
    Keywords(ffi::PyCFunctionFastWithKeywords),
}

// SAFETY: the addresses never change, and are used with the GIL held only (invariant 1 of the room `ffi`).
unsafe impl Send for Direct {}
// SAFETY: as above.
unsafe impl Sync for Direct {}

impl Native {
    /// `callable`, whatever it is.
    pub fn new(callable: Bound<'_, PyAny>) -> Self {
        Native { direct: Direct::of(&callable), callable: callable.unbind() }
    }

    /// Calls it with these arguments. Raises what it raises.
    #[inline]
    pub fn call<'py, const N: usize>(
        &self,
        args: [&Bound<'py, PyAny>; N],
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = args.map(Bound::as_ptr);
        let first = args.as_ptr();
        // SAFETY: a C function takes its arguments as it is declared, and `callable` keeps what it is bound to alive; the
        // arguments are alive. Each way returns an owned reference, or null with an exception set.
        unsafe {
            let result = match self.direct {
                Some(Direct { function: Convention::Positional(function), bound_to }) => {
                    function(bound_to, first.cast_mut(), N as _)
                }
                Some(Direct { function: Convention::Keywords(function), bound_to }) => {
                    function(bound_to, first, N as _, ptr::null_mut())
                }
                None => ffi::PyObject_Vectorcall(self.callable.as_ptr(), first, N, ptr::null_mut()),
            };
            Bound::from_owned_ptr_or_err(py, result)
        }
    }
}

impl Direct {
    fn of(callable: &Bound<'_, PyAny>) -> Option<Self> {
        const KEYWORDS: c_int = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
        let callable = callable.as_ptr();
        // SAFETY: the type is looked at before the rest; what the function is declared as says its signature.
        unsafe {
            if ffi::PyCFunction_CheckExact(callable) == 0 {
                return None;
            }
            let function = ffi::PyCFunction_GetFunction(callable)?;
            let function = match ffi::PyCFunction_GetFlags(callable) {
                ffi::METH_FASTCALL => Convention::Positional(std::mem::transmute::<
                    ffi::PyCFunction,
                    ffi::PyCFunctionFast,
                >(function)),
                KEYWORDS => Convention::Keywords(std::mem::transmute::<
                    ffi::PyCFunction,
                    ffi::PyCFunctionFastWithKeywords,
                >(function)),
                _ => return None,
            };
            Some(Direct { function, bound_to: ffi::PyCFunction_GetSelf(callable) })
        }
    }
}
