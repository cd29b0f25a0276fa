//! Pipes that become transports.

use pyo3::ffi as capi;
use pyo3::prelude::*;

use super::{Loop, none};
use crate::ffi::{Args, Ref, Signature};
use crate::method;
use crate::transport::pipe::{self, PipeEnd};
use crate::transport::read_pipe::ReadPipeTransport;
use crate::transport::write_pipe::WritePipeTransport;

fn make<'py, T: PipeEnd>(
    this: Ref<'_, 'py, Loop>,
    name: &'static str,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let [file, protocol, waiter, extra] = args.parse(&Signature {
        name,
        parameters: ["pipe", "protocol", "waiter", "extra"],
        positional: 4,
        required: 2,
    })?;
    let (Some(file), Some(protocol)) = (file, protocol) else { return none(this) };
    let given = |value: Option<pyo3::Borrowed<'_, 'py, PyAny>>| {
        value.filter(|value| !value.is_none()).map(|value| value.to_owned())
    };
    pipe::create::<T>(this, &file, &protocol, given(waiter), given(extra))
}

fn make_read_pipe_transport<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    make::<ReadPipeTransport>(this, "_make_read_pipe_transport", args)
}

fn make_write_pipe_transport<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    make::<WritePipeTransport>(this, "_make_write_pipe_transport", args)
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![
        method!(
            Loop,
            c"_make_read_pipe_transport",
            make_read_pipe_transport,
            c"_make_read_pipe_transport($self, /, pipe, protocol, waiter=None, extra=None)\n--\n\nReturn a new transport that reads."
        ),
        method!(
            Loop,
            c"_make_write_pipe_transport",
            make_write_pipe_transport,
            c"_make_write_pipe_transport($self, /, pipe, protocol, waiter=None, extra=None)\n--\n\nReturn a new transport that writes."
        ),
    ]
}
