//! The extension module `ferrio._ferrio`.

use pyo3::prelude::*;

#[pymodule]
mod _ferrio {}
