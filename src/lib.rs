//! The extension module `ferrio._ferrio`.

use pyo3::prelude::*;

mod ffi;

#[pymodule]
mod _ferrio {}
