//! When what is written leaves.
//!
//! The first write of a turn is tried at once. What the same turn writes after it is gathered and leaves in one system
//! call at the turn's end, and so does everything when the socket takes no more for a while. Who wrote several times in
//! one turn is likely to do it again, as an HTTP server does that writes the head of an answer and then its body: in the
//! next turn that writes, the first write waits for the others.

use pyo3::prelude::*;

use super::stream::StreamTransport;
use super::tls::TlsTransport;
use super::write::{send_and_settle, send_waiting};
use crate::ffi::error::both;
use crate::ffi::{Ref, call};
use crate::streams::{self, RECEIVE_SIZE};

/// What is gathered during a turn is sent early beyond this many bytes, for there the protocol may have to pause.
const GATHER_LIMIT: usize = 64 * 1024;

/// The same for a stream, which asks only in `drain()` whether it has to pause: as much as one read brings is echoed in one
/// system call. Fewer of them mean fuller packets, and a peer that is woken less often.
const STREAM_GATHER_LIMIT: usize = RECEIVE_SIZE;

/// Whether a write of now is sent at once: nothing waits before it, and it is the first of this turn and no others are
/// expected, or the loop doesn't run and no turn will end.
pub(super) fn is_sent_at_once(this: Ref<'_, '_, StreamTransport>) -> PyResult<bool> {
    let turn = this.with_loop(|event_loop| Ok(event_loop.turn()))?;
    let alone = match turn {
        Some(turn) if this.write_turn.replace(turn) == turn => {
            this.wrote_several.set(true);
            false
        }
        Some(_) => !this.wrote_several.replace(false) && !writes_on(this),
        None => true,
    };
    Ok(alone && this.outgoing.borrow().is_empty())
}

/// Whether more writes are to be expected in this turn: much has come, and the stream's reader still has some of it.
fn writes_on(this: Ref<'_, '_, StreamTransport>) -> bool {
    this.bulk.get()
        && this.streamed.get()
        && this.protocol.get(this.py()).is_some_and(|protocol| streams::has_more(&protocol))
}

/// Looks after bytes that were added to the write buffer: sends early what is much, the rest at the turn's end.
pub(super) fn gathered(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    let limit = if this.streamed.get() { STREAM_GATHER_LIMIT } else { GATHER_LIMIT };
    if this.outgoing.borrow().len() >= limit {
        send_gathered(this)?;
    }
    if this.wants_write() {
        this.flush_later()?;
        if this.streamed.get() && !this.closing.get() {
            return put_off_pause(this);
        }
    }
    this.pause_protocol_if_full()
}

/// Leaves it to the stream's next `drain()` or to the turn's end to find out whether the socket takes what was gathered.
fn put_off_pause(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    if this.is_above_high_water()
        && let Some(protocol) = this.protocol.get(this.py())
    {
        streams::put_off_pause(&protocol);
    }
    Ok(())
}

/// Sends what was gathered during this turn, so that asyncio, which gathers nothing, would have as much left.
///
/// Calls no method of the protocol, for its caller is one perhaps. When the protocol is paused or the transport is closing,
/// there is something to tell once the buffer is empty, which only the loop does.
pub(super) fn send_gathered(this: Ref<'_, '_, StreamTransport>) -> PyResult<()> {
    if this.wants_write() && !this.closing.get() && !this.limits.protocol_paused() {
        send_waiting(this)?;
    }
    Ok(())
}

/// Sends what was gathered before the connection is aborted, as far as the socket takes it.
pub(super) fn send_last(this: Ref<'_, '_, StreamTransport>) {
    if this.flush_queued.get()
        && this.wants_write()
        && let Some(fd) = this.fd()
    {
        let mut sent = Vec::new();
        // What fails now is lost, as is what doesn't fit.
        let _aborted = this.outgoing.borrow_mut().write_to(fd, &mut sent);
    }
}

impl Ref<'_, '_, StreamTransport> {
    /// Whether a write of now would wait for the end of the turn behind others, which nothing of it changes.
    pub(super) fn gathers(self) -> PyResult<bool> {
        let turn = self.with_loop(|event_loop| Ok(event_loop.turn()))?;
        Ok(turn.is_some_and(|turn| {
            self.write_turn.get() == turn || !self.outgoing.borrow().is_empty()
        }))
    }

    /// Has [`flush`](Self::flush) called at the turn's end.
    pub(super) fn flush_later(self) -> PyResult<()> {
        if self.flush_queued.replace(true) {
            return Ok(());
        }
        self.with_loop(|event_loop| {
            event_loop.flush_later(self.to_owned());
            Ok(())
        })
    }

    /// Has the encryption above, if there is one, write what it gathered.
    pub(super) fn flush_encryption(self) -> PyResult<()> {
        if self.encrypted.get()
            && let Some(protocol) = self.protocol.get(self.py())
            && let Some(encryption) = Ref::<TlsTransport>::cast_exact(&protocol)
        {
            return encryption.write_backlog();
        }
        Ok(())
    }

    /// Sends what was gathered until now, without a call of the protocol.
    ///
    /// Raises what isn't an `Exception` from what the encryption calls.
    pub fn send_early(self) -> PyResult<()> {
        self.flush_encryption()?;
        send_gathered(self)
    }

    /// Sends what was gathered during the turn that ends.
    ///
    /// Raises as [`on_ready`](Self::on_ready) does.
    pub fn flush(self) -> PyResult<()> {
        self.flush_queued.set(false);
        // An interrupt on the way out of the encryption finds its ciphertext here, where nothing else sends it.
        let encrypted = if self.encrypted.get()
            && let Some(context) = self.context.get(self.py())
        {
            call::in_context(&context, || self.flush_encryption())
        } else {
            Ok(())
        };
        both(self.py(), encrypted, self.flush_gathered())
    }

    fn flush_gathered(self) -> PyResult<()> {
        if self.wants_write()
            && let Some(context) = self.write_context.get(self.py())
        {
            call::in_context(&context, || send_and_settle(self))?;
        }
        self.pause_protocol_if_full()
    }
}
