//! The arguments of a call, read where CPython put them.

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

/// What a method takes: its name for messages, and its parameters, the positional ones first.
pub struct Signature<const N: usize> {
    /// The name in error messages.
    pub name: &'static str,
    /// The parameters' names.
    pub parameters: [&'static str; N],
    /// How many of them may be given by position.
    pub positional: usize,
    /// How many of them must be given.
    pub required: usize,
}

enum Keywords {
    Absent,
    /// A tuple of names, and where their values begin.
    Names(*mut ffi::PyObject, *const *mut ffi::PyObject),
    Dict(*mut ffi::PyObject),
}

/// The arguments of one call. The caller of the method owns them for the call's length.
pub struct Args<'a, 'py> {
    py: Python<'py>,
    positional: &'a [*mut ffi::PyObject],
    keywords: Keywords,
}

impl<'a, 'py> Args<'a, 'py> {
    /// The arguments of a `METH_FASTCALL | METH_KEYWORDS` call.
    ///
    /// # Safety
    ///
    /// The four are what CPython gave to such a method, for `'a`.
    #[inline]
    pub unsafe fn fastcall(
        py: Python<'py>,
        args: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Self {
        let positional = if count == 0 && names.is_null() {
            &[]
        } else {
            // SAFETY: CPython passes `count` valid references at `args`.
            unsafe { std::slice::from_raw_parts(args, count as usize) }
        };
        let keywords = if names.is_null() {
            Keywords::Absent
        } else {
            // SAFETY: the values of the keywords follow the positional arguments.
            Keywords::Names(names, unsafe { args.add(count as usize) })
        };
        Args { py, positional, keywords }
    }

    /// The arguments of a `tp_init`, `tp_new` or `tp_call`.
    ///
    /// # Safety
    ///
    /// `args` is a tuple and `kwargs` null or a dictionary, both alive for `'a`.
    pub unsafe fn tuple_and_dict(
        py: Python<'py>,
        args: *mut ffi::PyObject,
        kwargs: *mut ffi::PyObject,
    ) -> Self {
        // SAFETY: a tuple's items are contiguous, and live as long as the tuple.
        let positional = unsafe {
            let count = ffi::PyTuple_GET_SIZE(args) as usize;
            let items = (&raw mut (*args.cast::<ffi::PyTupleObject>()).ob_item).cast();
            std::slice::from_raw_parts(items, count)
        };
        let keywords = if kwargs.is_null() { Keywords::Absent } else { Keywords::Dict(kwargs) };
        Args { py, positional, keywords }
    }

    /// The GIL token.
    #[inline]
    pub fn py(&self) -> Python<'py> {
        self.py
    }

    /// How many arguments were given by position.
    #[inline]
    pub fn len(&self) -> usize {
        self.positional.len()
    }

    /// The argument at `index`, if that many were given by position.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Borrowed<'a, 'py, PyAny>> {
        // SAFETY: the caller of the method holds a reference to each argument for `'a`.
        self.positional.get(index).map(|&object| unsafe { Borrowed::from_ptr(self.py, object) })
    }

    /// The arguments given by position, from `start` on.
    #[inline]
    pub fn rest(&self, start: usize) -> Rest<'a, 'py> {
        Rest { py: self.py, items: self.positional.get(start..).unwrap_or(&[]) }
    }

    /// Calls `each` with every keyword argument.
    pub fn each_keyword(
        &self,
        mut each: impl FnMut(&str, Borrowed<'a, 'py, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        match self.keywords {
            Keywords::Absent => Ok(()),
            Keywords::Names(names, values) => {
                // SAFETY: `names` is a tuple of strings, with as many values at `values`.
                unsafe {
                    for index in 0..ffi::PyTuple_GET_SIZE(names) {
                        let name = Borrowed::from_ptr(self.py, ffi::PyTuple_GET_ITEM(names, index));
                        let value = *values.add(index as usize);
                        each(keyword(&name)?.to_str()?, Borrowed::from_ptr(self.py, value))?;
                    }
                }
                Ok(())
            }
            Keywords::Dict(dict) => {
                let (mut position, mut key, mut value) =
                    (0, std::ptr::null_mut(), std::ptr::null_mut());
                // SAFETY: `dict` is a dictionary that nobody changes during the call.
                while unsafe { ffi::PyDict_Next(dict, &mut position, &mut key, &mut value) } != 0 {
                    // SAFETY: the dictionary owns both for `'a`.
                    let (key, value) = unsafe {
                        (Borrowed::from_ptr(self.py, key), Borrowed::from_ptr(self.py, value))
                    };
                    each(keyword(&key)?.to_str()?, value)?;
                }
                Ok(())
            }
        }
    }

    /// The arguments as a tuple and a dictionary, to hand the call on.
    #[cold]
    pub fn to_tuple_and_dict(&self) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let keywords = PyDict::new(self.py);
        self.each_keyword(|name, value| keywords.set_item(name, value))?;
        Ok((self.rest(0).to_tuple()?, keywords))
    }

    /// Sorts the arguments into `signature`'s parameters; one not given is `None`.
    ///
    /// Raises `TypeError` for too many, unknown, doubled or missing arguments.
    #[inline]
    pub fn parse<const N: usize>(
        &self,
        signature: &Signature<N>,
    ) -> PyResult<[Option<Borrowed<'a, 'py, PyAny>>; N]> {
        let count = self.positional.len();
        if count > signature.positional {
            return Err(too_many(signature.name, signature.positional, count));
        }
        // As good as always.
        if count >= signature.required && matches!(self.keywords, Keywords::Absent) {
            return Ok(std::array::from_fn(|index| self.get(index)));
        }
        Ok(self.parse_with_rest(signature)?.0)
    }

    /// Like [`parse`](Self::parse), for a function with `*args` behind its positional parameters: returns them too.
    #[inline]
    pub fn parse_with_rest<const N: usize>(
        &self,
        signature: &Signature<N>,
    ) -> PyResult<([Option<Borrowed<'a, 'py, PyAny>>; N], Rest<'a, 'py>)> {
        let mut found = [None; N];
        for (index, place) in found.iter_mut().enumerate().take(signature.positional) {
            *place = self.get(index);
        }
        if !matches!(self.keywords, Keywords::Absent) {
            self.each_keyword(|name, value| {
                let Some(index) = signature.parameters.iter().position(|&known| known == name)
                else {
                    return Err(unexpected(signature.name, name));
                };
                if found[index].replace(value).is_some() {
                    return Err(doubled(signature.name, name));
                }
                Ok(())
            })?;
        }
        for (place, parameter) in found.iter().zip(signature.parameters).take(signature.required) {
            if place.is_none() {
                return Err(missing(signature.name, parameter));
            }
        }
        Ok((found, self.rest(signature.positional)))
    }
}

fn keyword<'a, 'py>(name: &Borrowed<'a, 'py, PyAny>) -> PyResult<Borrowed<'a, 'py, PyString>> {
    name.cast::<PyString>().map_err(|_| PyTypeError::new_err("keywords must be strings"))
}

/// Some of a call's positional arguments: what `*args` gathers.
#[derive(Clone, Copy)]
pub struct Rest<'a, 'py> {
    py: Python<'py>,
    items: &'a [*mut ffi::PyObject],
}

impl<'py> Rest<'_, 'py> {
    /// No arguments.
    pub fn none(py: Python<'py>) -> Self {
        Rest { py, items: &[] }
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// A reference to the first.
    #[inline]
    pub fn first(&self) -> Option<Bound<'py, PyAny>> {
        // SAFETY: the caller of the method holds a reference to each argument for the call's length.
        self.items.first().map(|&item| unsafe { Bound::from_borrowed_ptr(self.py, item) })
    }

    /// All of them.
    pub fn to_tuple(self) -> PyResult<Bound<'py, PyTuple>> {
        // SAFETY: as above.
        let items = self.items.iter().map(|&item| unsafe { Borrowed::from_ptr(self.py, item) });
        PyTuple::new(self.py, items)
    }
}

#[cold]
fn too_many(name: &str, allowed: usize, given: usize) -> PyErr {
    PyTypeError::new_err(match allowed {
        0 => format!("{name}() takes no positional arguments ({given} given)"),
        1 => format!("{name}() takes exactly one argument ({given} given)"),
        _ => format!("{name}() takes at most {allowed} positional arguments ({given} given)"),
    })
}

#[cold]
fn unexpected(name: &str, keyword: &str) -> PyErr {
    PyTypeError::new_err(format!("{name}() got an unexpected keyword argument '{keyword}'"))
}

#[cold]
fn doubled(name: &str, parameter: &str) -> PyErr {
    PyTypeError::new_err(format!("{name}() got multiple values for argument '{parameter}'"))
}

#[cold]
fn missing(name: &str, parameter: &str) -> PyErr {
    PyTypeError::new_err(format!("{name}() missing required argument: '{parameter}'"))
}
