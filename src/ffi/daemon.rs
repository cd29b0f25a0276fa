//! Threads that CPython ends.
//!
//! When the interpreter shuts down, a daemon thread that asks for the GIL never gets it. Before 3.14 CPython then calls
//! `pthread_exit`, which unwinds the thread's stack; and a stack on which Rust has called Python can't be unwound
//! so: the process would abort. So the functions through which this module runs Python code are called through ones
//! that the unwinding stops at: there the thread waits for the end of the process, as it does from 3.14 on. The
//! linker puts them in between (`--wrap`, see `build.rs`, which reads the names here), for PyO3's calls as well.

use std::ffi::{c_char, c_int};

use pyo3::ffi::{Py_buffer, Py_ssize_t, PyObject, PySendResult};

/// Waits for ever when it is dropped.
struct Hang;

impl Drop for Hang {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

macro_rules! hang_in {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {$(
        const _: () = {
            unsafe extern "C-unwind" {
                #[link_name = concat!("__real_", stringify!($name))]
                fn real($($arg: $kind),*) $(-> $result)?;
            }

            /// # Safety
            ///
            /// As CPython's function of the name.
            #[unsafe(export_name = concat!("__wrap_", stringify!($name)))]
            unsafe extern "C-unwind" fn wrap($($arg: $kind),*) $(-> $result)? {
                let hang = Hang;
                // SAFETY: promised by the caller.
                let result = unsafe { real($($arg),*) };
                std::mem::forget(hang);
                result
            }
        };
    )*};
}

type Object = *mut PyObject;

hang_in! {
    fn PyIter_Send(iter: Object, value: Object, result: *mut Object) -> PySendResult;
    fn PyIter_Next(iter: Object) -> Object;
    fn PyObject_Vectorcall(callable: Object, args: *const Object, count: usize, names: Object) -> Object;
    fn PyObject_VectorcallMethod(name: Object, args: *const Object, count: usize, names: Object) -> Object;
    fn PyObject_VectorcallDict(callable: Object, args: *const Object, count: usize, keywords: Object) -> Object;
    fn PyObject_Call(callable: Object, args: Object, keywords: Object) -> Object;
    fn PyObject_CallNoArgs(callable: Object) -> Object;
    fn PyObject_CallOneArg(callable: Object, arg: Object) -> Object;
    fn PyObject_CallFinalizerFromDealloc(object: Object) -> c_int;
    fn PyObject_GetAttr(object: Object, name: Object) -> Object;
    fn PyObject_SetAttr(object: Object, name: Object, value: Object) -> c_int;
    fn PyObject_GetItem(object: Object, key: Object) -> Object;
    fn PyObject_GetIter(object: Object) -> Object;
    fn PyObject_GetBuffer(object: Object, view: *mut Py_buffer, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut Py_buffer);
    fn PyObject_IsTrue(object: Object) -> c_int;
    fn PyObject_IsInstance(object: Object, class: Object) -> c_int;
    fn PyObject_RichCompareBool(left: Object, right: Object, operator: c_int) -> c_int;
    fn PyObject_Repr(object: Object) -> Object;
    fn PyObject_Str(object: Object) -> Object;
    fn PyObject_Size(object: Object) -> Py_ssize_t;
    fn PyImport_Import(name: Object) -> Object;
    fn PyErr_WarnEx(category: Object, message: *const c_char, level: Py_ssize_t) -> c_int;
    fn PyErr_WriteUnraisable(object: Object);
    fn _Py_Dealloc(object: Object);
}
