//! What `read()`, `readline()`, `readuntil()`, `readexactly()` and `async for` return.

use std::cell::Cell;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyStopAsyncIteration, PyTypeError, PyValueError};
use pyo3::ffi as capi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList};

use super::reader::StreamReader;
use super::search::{Match, Separators};
use super::subclass::{delegate, delegated, overridden};
use super::{cast, none};
use crate::define_coroutine;
use crate::ffi::call::Sent;
use crate::ffi::frame::Place;
use crate::ffi::{Args, Ref, Signature, Slot, Traversal, Visit, error};
use crate::task::coroutine::{Body, Coroutine, Identity, Resume};

/// What is read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// What there is.
    #[default]
    Some,
    /// Everything up to the end.
    All,
    Exactly,
    Until,
    Line,
    /// A line, for `async for`.
    Next,
}

/// What a reading coroutine keeps.
#[derive(Default)]
pub struct Read {
    reader: Slot,
    pub(super) kind: Cell<Kind>,
    /// The argument as it was given, or a list of separators; nothing for what `count` tells, and for the end of a line.
    argument: Slot,
    count: Cell<usize>,
    /// The lengths of the shortest and of the longest separator.
    lengths: Cell<(usize, usize)>,
    /// How much of the buffer holds no separator.
    searched: Cell<usize>,
    /// What was read so far of everything.
    pub(super) blocks: Cell<Vec<u8>>,
    /// What ends when something comes.
    waiter: Slot,
    /// Whether it waits for a method of a subclass instead.
    pub(super) delegated: Cell<bool>,
}

static READ: Identity = Identity::new("StreamReader.read", file!(), line!());
static SOME: Place = Place::new("StreamReader.read", file!(), line!());
static EXACTLY: Place = Place::new("StreamReader.readexactly", file!(), line!());
static UNTIL: Place = Place::new("StreamReader.readuntil", file!(), line!());
static LINE: Place = Place::new("StreamReader.readline", file!(), line!());
static NEXT: Place = Place::new("StreamReader.__anext__", file!(), line!());

pub(super) type Reading<'a, 'py> = Ref<'a, 'py, Coroutine<Read>>;
pub(super) type Reader<'a, 'py> = Ref<'a, 'py, StreamReader>;

impl Body for Read {
    fn identity() -> &'static Identity {
        &READ
    }

    fn place(&self) -> &'static Place {
        match self.kind.get() {
            Kind::Some | Kind::All => &SOME,
            Kind::Exactly => &EXACTLY,
            Kind::Until => &UNTIL,
            Kind::Line => &LINE,
            Kind::Next => &NEXT,
        }
    }

    fn traverse(&self, visit: &Visit) -> Traversal {
        [&self.reader, &self.argument, &self.waiter].into_iter().try_for_each(|it| visit.slot(it))
    }

    fn clear(&self) {
        [&self.reader, &self.argument, &self.waiter].into_iter().for_each(Slot::clear);
        drop(self.blocks.take());
    }

    fn run<'py>(this: Reading<'_, 'py>, resume: Resume) -> PyResult<Sent<'py>> {
        let py = this.py();
        let reader = this.body.reader.get(py);
        let Some(reader) = reader.as_ref().and_then(cast::<StreamReader>) else {
            return Ok(Sent::Returned(none(py)));
        };
        match resume {
            Resume::Start => start(this, reader),
            resume if this.body.delegated.get() => {
                let outcome = this.go_on(resume);
                delegated(this, reader, outcome)
            }
            resume => match this.go_on(resume) {
                Ok(Sent::Yielded(value)) => Ok(Sent::Yielded(value)),
                Ok(Sent::Returned(_)) => {
                    reader.stop_waiting(&this.body.waiter);
                    go_on(this, reader, true)
                }
                Err(error) => {
                    reader.stop_waiting(&this.body.waiter);
                    Err(error)
                }
            },
        }
    }
}

/// The first step: looks at the arguments, and reads what there is.
fn start<'py>(this: Reading<'_, 'py>, reader: Reader<'_, 'py>) -> PyResult<Sent<'py>> {
    let py = this.py();
    let body = &this.body;
    match body.kind.get() {
        Kind::Some | Kind::All => {
            reader.check_exception()?;
            if let Some(argument) = body.argument.take(py) {
                // A number of another type, or no number, as Python compares and converts it.
                let negative = !argument.eq(0)? && argument.lt(0)?;
                body.kind.set(if negative { Kind::All } else { Kind::Some });
                if !negative {
                    body.count.set(index(&argument)?);
                }
            }
            if body.kind.get() == Kind::All {
                return read_all(this, reader);
            }
            if body.count.get() == 0 {
                return Ok(Sent::Returned(PyBytes::new(py, b"").into_any()));
            }
        }
        Kind::Exactly => {
            if let Some(argument) = body.argument.get(py) {
                if argument.lt(0)? {
                    let message = "readexactly size can not be less than zero";
                    return Err(PyValueError::new_err(message));
                }
                body.count.set(index(&argument)?);
            }
            reader.check_exception()?;
            if body.count.get() == 0 {
                return Ok(Sent::Returned(PyBytes::new(py, b"").into_any()));
            }
        }
        Kind::Until => {
            if let Some(argument) = body.argument.take(py) {
                let separators = Separators::of(&argument)?;
                body.lengths.set(separators.lengths()?);
                if let Separators::Given(list) = separators {
                    body.argument.set(list.into_any());
                }
            }
            reader.check_exception()?;
        }
        Kind::Line => {
            if overridden(reader, intern!(py, "readuntil"))? {
                return delegate(this, reader, "readuntil", Some(PyBytes::new(py, b"\n")));
            }
            reader.check_exception()?;
        }
        Kind::Next => {
            // Of an overridden `readuntil` the line is `readline`'s affair.
            if overridden(reader, intern!(py, "readline"))?
                || overridden(reader, intern!(py, "readuntil"))?
            {
                return delegate(this, reader, "readline", None::<()>);
            }
            reader.check_exception()?;
        }
    }
    go_on(this, reader, false)
}

/// Reads what there is, and waits if that isn't enough. `woken` tells whether it has waited already.
fn go_on<'py>(this: Reading<'_, 'py>, reader: Reader<'_, 'py>, woken: bool) -> PyResult<Sent<'py>> {
    let py = this.py();
    match this.body.kind.get() {
        Kind::Some => {
            if !woken && !reader.at_end() && reader.buffer.len(py) == 0 {
                return wait(this, reader, "read");
            }
            finish(reader, this.body.count.get())
        }
        Kind::All => match take_block(this, reader)? {
            0 => Ok(Sent::Returned(everything(this))),
            _ => read_all(this, reader),
        },
        Kind::Exactly => {
            let count = this.body.count.get();
            if reader.buffer.len(py) >= count {
                return finish(reader, count);
            }
            if reader.at_end() {
                let expected = match this.body.argument.get(py) {
                    Some(given) => given,
                    None => count.into_bound_py_any(py)?,
                };
                return Err(incomplete(reader, Some(expected)));
            }
            wait(this, reader, "readexactly")
        }
        Kind::Until | Kind::Line | Kind::Next => read_until(this, reader),
    }
}

fn wait<'py>(this: Reading<'_, 'py>, reader: Reader<'_, 'py>, name: &str) -> PyResult<Sent<'py>> {
    let waiter = reader.wait_for_data(name)?;
    this.body.waiter.set(waiter.clone());
    let outcome = this.begin(&waiter);
    match outcome {
        Ok(Sent::Yielded(_)) => outcome,
        // What isn't a future may have nothing to wait for.
        Ok(Sent::Returned(_)) => {
            reader.stop_waiting(&this.body.waiter);
            go_on(this, reader, true)
        }
        Err(error) => {
            reader.stop_waiting(&this.body.waiter);
            Err(error)
        }
    }
}

/// Returns the first `count` bytes, or as many as there are.
#[inline]
fn finish<'py>(reader: Reader<'_, 'py>, count: usize) -> PyResult<Sent<'py>> {
    let bytes = reader.buffer.take(reader.py(), count)?;
    reader.resume_if_drained()?;
    Ok(Sent::Returned(bytes))
}

/// `readexactly()` and `readuntil()` have met the end.
#[cold]
fn incomplete<'py>(reader: Reader<'_, 'py>, expected: Option<Bound<'py, PyAny>>) -> PyErr {
    let py = reader.py();
    let outcome = reader
        .buffer
        .take(py, usize::MAX)
        .and_then(|partial| exception_class(py, "IncompleteReadError")?.call1((partial, expected)));
    outcome.map_or_else(|error| error, |exception| error::raise(&exception))
}

pub(super) fn exception_class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let import = || py.import("asyncio.exceptions").map(Bound::unbind);
    MODULE.get_or_try_init(py, import)?.bind(py).getattr(name)
}

// --- read(): everything -------------------------------------------------------------------------

/// Reads blocks until the end.
pub(super) fn read_all<'py>(
    this: Reading<'_, 'py>,
    reader: Reader<'_, 'py>,
) -> PyResult<Sent<'py>> {
    let py = this.py();
    if overridden(reader, intern!(py, "read"))? {
        let limit = reader.as_any().getattr(intern!(py, "_limit"))?;
        return delegate(this, reader, "read", Some(limit));
    }
    loop {
        reader.check_exception()?;
        if reader.buffer.len(py) > 0 {
            take_block(this, reader)?;
        } else if reader.at_end() {
            reader.resume_if_drained()?;
            return Ok(Sent::Returned(everything(this)));
        } else {
            return wait(this, reader, "read");
        }
    }
}

/// What `read()` returns at the end.
pub(super) fn everything<'py>(this: Reading<'_, 'py>) -> Bound<'py, PyAny> {
    PyBytes::new(this.py(), &this.body.blocks.take()).into_any()
}

/// Takes as much as one `read(limit)` would. Returns how much that is.
fn take_block(this: Reading<'_, '_>, reader: Reader<'_, '_>) -> PyResult<usize> {
    let py = this.py();
    let mut blocks = this.body.blocks.take();
    let count = reader.buffer.with(py, |bytes| {
        let count = bytes.len().min(reader.limit());
        blocks.extend_from_slice(&bytes[..count]);
        count
    });
    this.body.blocks.set(blocks);
    reader.buffer.discard(py, count)?;
    reader.resume_if_drained()?;
    Ok(count)
}

// --- readuntil(), readline() --------------------------------------------------------------------

/// What a search found.
enum Found {
    Separator(Match),
    Nothing,
    /// The message and the `consumed` of a `LimitOverrunError`.
    Overrun(&'static str, usize),
}

fn read_until<'py>(this: Reading<'_, 'py>, reader: Reader<'_, 'py>) -> PyResult<Sent<'py>> {
    let py = this.py();
    let is_line = this.body.kind.get() != Kind::Until;
    match search(this, reader)? {
        Found::Separator(found) => {
            return finish(reader, found.end);
        }
        Found::Overrun(message, consumed) => {
            let exception = exception_class(py, "LimitOverrunError")?.call1((message, consumed))?;
            if !is_line {
                return Err(error::raise(&exception));
            }
            skip_line(reader, consumed)?;
            // As if it had been raised, with what is being handled for its context.
            let overrun = error::into_exception(error::raise(&exception), py);
            let error = PyValueError::new_err(message);
            error.value(py).setattr(intern!(py, "__context__"), overrun)?;
            return Err(error);
        }
        Found::Nothing => {}
    }
    if !reader.at_end() {
        return wait(this, reader, "readuntil");
    }
    match this.body.kind.get() {
        Kind::Line => {
            // As asyncio's, which doesn't resume the transport here: it has ended.
            reader.buffer.take(py, usize::MAX).map(Sent::Returned)
        }
        Kind::Next if reader.buffer.len(py) == 0 => Err(PyStopAsyncIteration::new_err(())),
        Kind::Next => reader.buffer.take(py, usize::MAX).map(Sent::Returned),
        _ => Err(incomplete(reader, None)),
    }
}

/// Looks for a separator in what came since the last time.
fn search(this: Reading<'_, '_>, reader: Reader<'_, '_>) -> PyResult<Found> {
    let py = this.py();
    let body = &this.body;
    let separators = match body.argument.get(py) {
        None => Separators::Newline,
        Some(list) => Separators::Given(list.cast_into::<PyList>()?),
    };
    let (shortest, longest) = match separators {
        Separators::Newline => (1, 1),
        Separators::Given(_) => body.lengths.get(),
    };
    let limit = reader.limit();
    let searched = body.searched.get();
    if reader.buffer.len(py) < searched + shortest {
        return Ok(Found::Nothing);
    }
    separators.with(|first| {
        reader.buffer.with(py, |bytes| match first(bytes, searched) {
            Some(found) if found.start > limit => {
                Found::Overrun("Separator is found, but chunk is longer than limit", found.start)
            }
            Some(found) => Found::Separator(found),
            None => {
                // The last bytes may be the beginning of a separator.
                let searched = (bytes.len() + 1).saturating_sub(longest);
                body.searched.set(searched);
                if searched > limit {
                    let message = "Separator is not found, and chunk exceed the limit";
                    return Found::Overrun(message, searched);
                }
                Found::Nothing
            }
        })
    })
}

/// Drops a line that is too long, or as much as there is of it.
pub(super) fn skip_line(reader: Reader<'_, '_>, consumed: usize) -> PyResult<()> {
    let py = reader.py();
    let complete = reader.buffer.with(py, |bytes| bytes.get(consumed) == Some(&b'\n'));
    reader.buffer.discard(py, if complete { consumed + 1 } else { usize::MAX })?;
    reader.resume_if_drained()
}

// --- the methods --------------------------------------------------------------------------------

/// A number as an index. Raises `TypeError` for what is none; one that is too large is the largest.
fn index(number: &Bound<'_, PyAny>) -> PyResult<usize> {
    // SAFETY: the object is alive; without an exception to raise, the result is clipped.
    let index = unsafe { capi::PyNumber_AsSsize_t(number.as_ptr(), std::ptr::null_mut()) };
    match usize::try_from(index) {
        Ok(index) => Ok(index),
        Err(_) => Err(PyErr::take(number.py())
            .unwrap_or_else(|| PyTypeError::new_err("the number of bytes is negative"))),
    }
}

fn create<'py>(
    reader: Reader<'_, 'py>,
    kind: Kind,
    fill: impl FnOnce(&Read),
) -> PyResult<Bound<'py, PyAny>> {
    Coroutine::<Read>::create(reader.py(), |body| {
        body.reader.set(reader.to_any());
        body.kind.set(kind);
        fill(body);
    })
}

/// `read(n=-1)`
pub fn read<'py>(this: Reader<'_, 'py>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let [count] =
        args.parse(&Signature { name: "read", parameters: ["n"], positional: 1, required: 0 })?;
    let Some(count) = count else { return create(this, Kind::All, |_| {}) };
    match plain(&count) {
        Some(number) => match usize::try_from(number) {
            Ok(number) => create(this, Kind::Some, |body| body.count.set(number)),
            Err(_) => create(this, Kind::All, |_| {}),
        },
        None => create(this, Kind::Some, |body| body.argument.set(count.to_owned())),
    }
}

/// `readexactly(n)`
pub fn readexactly<'py>(
    this: Reader<'_, 'py>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let [count] = args.parse(&Signature {
        name: "readexactly",
        parameters: ["n"],
        positional: 1,
        required: 1,
    })?;
    let Some(count) = count else { return Ok(none(this.py())) };
    match plain(&count).and_then(|number| usize::try_from(number).ok()) {
        Some(number) => create(this, Kind::Exactly, |body| body.count.set(number)),
        None => create(this, Kind::Exactly, |body| body.argument.set(count.to_owned())),
    }
}

/// The value of a Python integer that is not out of the ordinary.
#[inline]
fn plain(number: &Bound<'_, PyAny>) -> Option<isize> {
    number.cast_exact::<pyo3::types::PyInt>().ok()?;
    error::ok(number.extract(), number.py())
}

/// `readline()`
pub fn readline<'py>(this: Reader<'_, 'py>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let [] =
        args.parse(&Signature { name: "readline", parameters: [], positional: 0, required: 0 })?;
    create(this, Kind::Line, |_| {})
}

/// `readuntil(separator=b'\n')`
pub fn readuntil<'py>(this: Reader<'_, 'py>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let [separator] = args.parse(&Signature {
        name: "readuntil",
        parameters: ["separator"],
        positional: 1,
        required: 0,
    })?;
    create(this, Kind::Until, |body| {
        body.argument.set_opt(separator.map(|separator| separator.to_owned()), this.py());
    })
}

/// `__anext__()`
pub fn anext<'py>(this: Reader<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    create(this, Kind::Next, |_| {})
}

/// Builds the class of the coroutines.
pub(super) fn define(py: Python<'_>) -> PyResult<()> {
    define_coroutine!(py, Read)
}
