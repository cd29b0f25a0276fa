//! The addresses of peers: as Python has them, and as the kernel wants them.
//!
//! A server hears from the same peers again and again, and mostly answers the one it has just heard. So the tuples that
//! the protocol gets are kept for a while, and the last one is known again when it comes back. To make one takes longer than
//! all else that ferrio does for a datagram, so the table grows with the number of peers.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyTuple};
use socket2::SockAddr;

use crate::ffi::{Slot, Traversal, Visit};
use crate::transport::address::Address;

/// How many places the table of peers has at first and at the most: powers of two.
const FEWEST: usize = 16;
const MOST: usize = 1024;

type Table = Vec<Option<(SocketAddr, Slot)>>;

/// The peers that were heard of late, and the tuples that stand for them.
#[derive(Default)]
pub struct Peers {
    /// Each address has one place here, which it may lose to another once the table has grown to its limit. Empty until the
    /// first datagram.
    known: RefCell<Table>,
    /// The place of the last one.
    last: Cell<usize>,
}

impl Peers {
    /// The sender of a datagram, as `socket.recvfrom` shows it.
    pub fn to_python<'py>(&self, py: Python<'py>, sender: SockAddr) -> PyResult<Bound<'py, PyAny>> {
        let Some(address) = sender.as_socket() else {
            return match sender.len() {
                0 => Ok(py.None().into_bound(py)), // An unbound Unix socket has none.
                _ => Address::new(sender).to_python(py),
            };
        };
        {
            let known = self.known.borrow();
            let place = place(&address, known.len());
            if let Some(Some((known, tuple))) = known.get(place)
                && *known == address
                && let Some(tuple) = tuple.get(py)
            {
                self.last.set(place);
                return Ok(tuple);
            }
        }
        // Making the tuple may run the garbage collector, and releasing the old one may run anything: neither happens
        // while the table is borrowed.
        let tuple = Address::new(sender).to_python(py)?;
        let old = self.remember(address, tuple.clone());
        drop(old);
        Ok(tuple)
    }

    /// Gives `address` its place. Returns who had it.
    fn remember(&self, address: SocketAddr, tuple: Bound<'_, PyAny>) -> Option<(SocketAddr, Slot)> {
        let mut known = self.known.borrow_mut();
        if known.is_empty() {
            known.resize_with(FEWEST, || None);
        }
        while known.len() < MOST
            && let Some((other, _)) = &known[place(&address, known.len())]
            && *other != address
        {
            grow(&mut known);
        }
        let place = place(&address, known.len());
        self.last.set(place);
        known[place].replace((address, Slot::new(tuple)))
    }

    /// The address in the kernel's form, for a socket of this family. `None` for what the Python socket must look at: a
    /// name, a path, a wrong address.
    pub fn to_system(&self, family: i32, address: &Bound<'_, PyAny>) -> Option<SocketAddr> {
        if let Some(Some((known, tuple))) = self.known.borrow().get(self.last.get())
            && tuple.as_ptr() == address.as_ptr()
        {
            return Some(*known);
        }
        parse(family, address.cast_exact::<PyTuple>().ok()?)
    }

    /// Reports what is owned to the garbage collector.
    pub fn traverse(&self, visit: &Visit) -> Traversal {
        let known = self.known.borrow();
        known.iter().flatten().try_for_each(|(_, tuple)| visit.slot(tuple))
    }
}

/// Makes the table twice as large: those that had places of their own still do.
fn grow(known: &mut Table) {
    let size = 2 * known.len();
    let old = std::mem::replace(known, Table::with_capacity(size));
    known.resize_with(size, || None);
    for entry in old.into_iter().flatten() {
        let place = place(&entry.0, size);
        known[place] = Some(entry);
    }
}

/// The place of an address in a table of `size`, a power of two, or 0.
fn place(address: &SocketAddr, size: usize) -> usize {
    let host = match address.ip() {
        IpAddr::V4(host) => host.octets()[3],
        IpAddr::V6(host) => host.octets()[15],
    };
    (usize::from(address.port()) ^ usize::from(host)) & size.saturating_sub(1)
}

/// An address whose host is a number and whose fields are in their ranges.
fn parse(family: i32, address: &Bound<'_, PyTuple>) -> Option<SocketAddr> {
    let host = address.get_borrowed_item(0).ok()?;
    let host = host.cast_exact::<PyString>().ok()?;
    let host = host.to_str().ok()?;
    let number = |index: usize, limit: u32| -> Option<u32> {
        if index >= address.len() {
            return Some(0);
        }
        let number = address.get_borrowed_item(index).ok()?;
        let number: u32 = number.cast_exact::<PyInt>().ok()?.extract().ok()?;
        (number <= limit).then_some(number)
    };
    let port = u16::try_from(number(1, u16::MAX.into())?).ok()?;
    match (family, address.len()) {
        (libc::AF_INET, 2) => {
            let host: Ipv4Addr = host.parse().ok()?;
            Some(SocketAddrV4::new(host, port).into())
        }
        (libc::AF_INET6, 2..=4) => {
            let host: Ipv6Addr = host.parse().ok()?;
            let flow = number(2, 0xf_ffff)?.to_be();
            Some(SocketAddrV6::new(host, port, flow, number(3, u32::MAX)?).into())
        }
        _ => None,
    }
}
