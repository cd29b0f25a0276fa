//! `getaddrinfo` of a host that needs nobody to be asked: a literal address, or none.

use std::ffi::{CString, c_int};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ptr;

use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString};
use socket2::SockAddr;

use super::{Loop, none};
use crate::ffi::{Args, Ref, Signature, error};
use crate::method;
use crate::transport::address::Address;

/// The longest literal that is answered here. Python's codec for host names refuses labels that are longer, so longer
/// ones are for it to refuse.
const LONGEST: usize = 63;

/// What the system's `getaddrinfo` returned. Freed with it.
struct Found(*mut libc::addrinfo);

impl Drop for Found {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the list is the system's, and nobody has freed it.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

/// `socket.getaddrinfo(host, port, family, type, proto, flags)`, if that asks no name server, reads no file of names and
/// so doesn't block; otherwise `None`.
///
/// Raises what `socket.getaddrinfo` raises.
fn addrinfo_of_literal<'py>(
    this: Ref<'_, 'py, Loop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let given = args.parse(&Signature {
        name: "_addrinfo_of_literal",
        parameters: ["host", "port", "family", "type", "proto", "flags"],
        positional: 6,
        required: 6,
    })?;
    let [Some(host), Some(port), Some(family), Some(kind), Some(protocol), Some(flags)] = given
    else {
        return none(this);
    };
    let (Some(node), Some(service)) = (literal(&host), number(&port)) else { return none(this) };
    let (Some(hints_family), Some(hints_kind), Some(hints_protocol), Some(hints_flags)) =
        (integer(&family), integer(&kind), integer(&protocol), integer(&flags))
    else {
        return none(this);
    };
    audit(py, (&host, &port, hints_family, hints_kind, hints_protocol))?;
    // SAFETY: an `addrinfo` may be all zeros.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = hints_family;
    hints.ai_socktype = hints_kind;
    hints.ai_protocol = hints_protocol;
    hints.ai_flags = hints_flags;
    let mut found = Found(ptr::null_mut());
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: the strings and the hints live as long as the call, which leaves a list or nothing.
    let code =
        unsafe { libc::getaddrinfo(pointer(&node), pointer(&service), &hints, &mut found.0) };
    if code != 0 {
        // It fails once more, in the right words.
        let function = py.import("socket")?.getattr("getaddrinfo")?;
        return function.call1((host, port, family, kind, protocol, flags));
    }
    let list = PyList::empty(py);
    let mut next = found.0;
    // SAFETY: each entry is one of the list's, which `found` keeps until this function returns.
    while let Some(entry) = unsafe { next.as_ref() } {
        list.append(shown(py, entry)?)?;
        next = entry.ai_next;
    }
    Ok(list.into_any())
}

/// What the system is asked for `host`: nothing for `None`, or the text of a literal address. `None` for all others.
fn literal(host: &Bound<'_, PyAny>) -> Option<Option<CString>> {
    if host.is_none() {
        return Some(None);
    }
    let text = if let Ok(text) = host.cast_exact::<PyString>() {
        // What can't be encoded is no literal.
        error::ok(text.to_str(), host.py())?
    } else {
        std::str::from_utf8(host.cast_exact::<PyBytes>().ok()?.as_bytes()).ok()?
    };
    let is_literal = text.parse::<Ipv4Addr>().is_ok()
        || match text.split_once('%') {
            None => text.parse::<Ipv6Addr>().is_ok(),
            Some((address, scope)) => is_scope(scope) && address.parse::<Ipv6Addr>().is_ok(),
        };
    if is_literal && text.len() <= LONGEST { Some(Some(CString::new(text).ok()?)) } else { None }
}

/// Whether `text` is an interface's name or number that Python's codec for host names leaves as it is.
fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// What the system is asked for `port`: nothing for `None`, or the digits of a number. `None` for all others.
fn number(port: &Bound<'_, PyAny>) -> Option<Option<CString>> {
    if port.is_none() {
        return Some(None);
    }
    let digits = if port.is_exact_instance_of::<PyInt>() {
        error::ok(port.extract::<libc::c_long>(), port.py())?.to_string()
    } else {
        let text = error::ok(port.cast_exact::<PyString>().ok()?.to_str(), port.py())?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.to_owned()
    };
    Some(Some(CString::new(digits).ok()?))
}

/// An integer that C has, as `socket.getaddrinfo` takes it; a member of an enumeration is one as well.
fn integer(value: &Bound<'_, PyAny>) -> Option<c_int> {
    error::ok(value.cast::<PyInt>().ok()?.extract(), value.py())
}

/// Tells the interpreter's audit hooks, as `socket.getaddrinfo` does.
fn audit<'py>(
    py: Python<'py>,
    (host, port, family, kind, protocol): (
        &Bound<'py, PyAny>,
        &Bound<'py, PyAny>,
        c_int,
        c_int,
        c_int,
    ),
) -> PyResult<()> {
    static AUDIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event = intern!(py, "socket.getaddrinfo");
    let audit = AUDIT.import(py, "sys", "audit")?;
    audit.call1((event, host, port, family, kind, protocol)).map(drop)
}

/// `(family, type, proto, canonname, sockaddr)`
fn shown<'py>(py: Python<'py>, entry: &libc::addrinfo) -> PyResult<Bound<'py, PyAny>> {
    static FAMILIES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    static KINDS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let name = if entry.ai_canonname.is_null() {
        intern!(py, "").clone()
    } else {
        // SAFETY: the system's terminated string, which lives as long as the entry.
        let name = unsafe { std::ffi::CStr::from_ptr(entry.ai_canonname) };
        PyString::new(py, &name.to_string_lossy())
    };
    // SAFETY: the storage is large enough for any address, and the length is the address's own.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let size = entry.ai_addrlen as usize;
            ptr::copy_nonoverlapping(entry.ai_addr.cast::<u8>(), storage.cast::<u8>(), size);
            *length = entry.ai_addrlen;
            Ok(())
        })
    }?;
    let entry = (
        member(&FAMILIES, py, "AddressFamily", entry.ai_family)?,
        member(&KINDS, py, "SocketKind", entry.ai_socktype)?,
        entry.ai_protocol,
        name,
        Address::new(address).to_python(py)?,
    );
    Ok(entry.into_pyobject(py)?.into_any())
}

/// The member of the enumeration `socket.<name>` that stands for `value`, which itself stands for what has none.
fn member<'py>(
    members: &PyOnceLock<Py<PyDict>>,
    py: Python<'py>,
    name: &str,
    value: c_int,
) -> PyResult<Bound<'py, PyAny>> {
    let members = members.get_or_try_init(py, || {
        let members = PyDict::new(py);
        for member in py.import("socket")?.getattr(name)?.try_iter()? {
            let member = member?;
            members.set_item(&member, &member)?;
        }
        Ok::<_, PyErr>(members.unbind())
    })?;
    let value = value.into_pyobject(py)?.into_any();
    Ok(members.bind(py).get_item(&value)?.unwrap_or(value))
}

pub(super) fn methods() -> Vec<capi::PyMethodDef> {
    vec![method!(
        Loop,
        c"_addrinfo_of_literal",
        addrinfo_of_literal,
        c"_addrinfo_of_literal($self, /, host, port, family, type, proto, flags)\n--\n\nReturn what socket.getaddrinfo() returns if that asks nobody, otherwise None."
    )]
}
