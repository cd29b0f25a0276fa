//! Native subclasses: heap types that put Rust fields behind the part of a base class. How a type is built.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::life;
use super::reference::Ref;
use super::slot::{Traversal, Visit};

/// The Rust side of a native class: its fields, and how they take part in garbage collection.
pub trait Class: Sized + 'static {
    /// The full name, `ferrio._ferrio.Future`.
    const NAME: &'static CStr;

    /// How many dead instances are kept for the next ones; 0 for none.
    const FREELIST: usize = 0;

    /// Whether [`finalize`](Class::finalize) does anything.
    const FINALIZER: bool = false;

    /// Where the type is kept once it is built.
    fn class() -> &'static ClassCell;

    /// The fields of a new instance, before `__init__`. Must not touch Python.
    fn fresh() -> Self;

    /// Reports every Python object that the fields own.
    fn traverse(&self, visit: &Visit) -> Traversal;

    /// Releases what may be part of a reference cycle. The object stays usable: its methods may be called after.
    fn clear(&self);

    /// Whether an instance that dies now needs [`finalize`](Class::finalize), which is not called otherwise: a cheap
    /// question, asked at every death.
    fn must_finalize(&self) -> bool {
        Self::FINALIZER
    }

    /// `__del__`. Exceptions set before are kept.
    fn finalize(_this: Ref<'_, '_, Self>) {}

    /// Whether something still has the address of this instance, whose memory goes now, without a reference.
    fn must_retire(&self) -> bool {
        false
    }

    /// Takes the address from whoever has it. Unlike [`finalize`](Class::finalize) this is called for instances of a Python
    /// subclass also that overrides `__del__`. Must not make a reference that outlives the call.
    fn retire(_this: Ref<'_, '_, Self>) {}
}

/// A class whose fields begin with those of `P`, so that its instances can be taken for `P`'s.
///
/// # Safety
///
/// The implementing type is `repr(C)` with a `P` as its first field, and its [`Definition`] names `P`'s class
/// in [`extends`](Definition::extends).
pub unsafe trait Extends<P: Class>: Class {}

/// What the base's part of an instance needs from the garbage collector.
#[derive(Clone, Copy)]
pub(super) enum BasePart {
    /// `object`: nothing.
    Nothing,
    /// A C class: its own `tp_traverse` and `tp_clear` look after it.
    Native {
        traverse: ffi::traverseproc,
        clear: Option<ffi::inquiry>,
        /// Whether its `tp_traverse` reports the instance's type, as those of heap types do.
        reports_type: bool,
    },
    /// A Python class with `__slots__` alone: references from `start` to `end`, but for the list of
    /// weak references. (`subtype_traverse` can't be called: it would look for *our* slot and find itself.)
    Slots { start: usize, end: usize, weaklist: usize },
}

/// Where a built class is kept: its type, where its fields lie, its freelist.
pub struct ClassCell {
    kind: Cell<*mut ffi::PyTypeObject>,
    offset: Cell<usize>,
    pub(super) base: Cell<BasePart>,
    pub(super) weak_references: Cell<bool>,
    /// Where the instances have their `__dict__`; 0 for nowhere.
    pub(super) dictionary: Cell<usize>,
    pub(super) free: RefCell<Vec<*mut ffi::PyObject>>,
}

// SAFETY: written once while the module is imported, and touched with the GIL held afterwards.
unsafe impl Sync for ClassCell {}

impl ClassCell {
    /// An empty place, for a `static`.
    pub const fn new() -> Self {
        ClassCell {
            kind: Cell::new(ptr::null_mut()),
            offset: Cell::new(0),
            base: Cell::new(BasePart::Nothing),
            weak_references: Cell::new(false),
            dictionary: Cell::new(0),
            free: RefCell::new(Vec::new()),
        }
    }

    /// The type's address; null before it is built.
    #[inline]
    pub fn as_type_ptr(&self) -> *mut ffi::PyTypeObject {
        self.kind.get()
    }

    /// The type.
    pub fn get<'py>(&self, py: Python<'py>) -> Bound<'py, PyType> {
        // SAFETY: built at import and kept for the life of the process.
        unsafe { Bound::from_borrowed_ptr(py, self.kind.get().cast()).cast_into_unchecked() }
    }

    /// The address of the fields of `object`, an instance of this class.
    #[inline]
    pub(super) fn fields<T>(&self, object: *mut ffi::PyObject) -> *mut T {
        object.cast::<u8>().wrapping_add(self.offset.get()).cast()
    }
}

/// What a class has beside its fields.
#[derive(Default)]
pub struct Definition {
    /// `__doc__`.
    pub doc: Option<&'static CStr>,
    /// From [`method!`](crate::method), [`method0!`](crate::method0), [`method1!`](crate::method1).
    pub methods: Vec<ffi::PyMethodDef>,
    /// From [`attribute!`](crate::attribute).
    pub attributes: Vec<ffi::PyGetSetDef>,
    /// From [`unary_slot!`](crate::unary_slot) and its like.
    pub slots: Vec<ffi::PyType_Slot>,
    /// Whether Python may derive from it.
    pub subclassable: bool,
    /// Whether Python may call it to make an instance.
    pub constructible: bool,
    /// Whether to add a list of weak references, for a base that has none.
    pub weak_references: bool,
    /// Whether its instances take any attributes, for a base that doesn't let them.
    pub dictionary: bool,
    /// Whether the fields begin with a `vectorcallfunc`, by which the instances are called; as methods too.
    pub vectorcall: bool,
    /// Whether CPython's messages name it without its module, as they do with classes written in Python.
    pub plain_name: bool,
    /// The least offset of the fields, in bytes.
    pub fields_behind: usize,
    /// A class of ours to be the first base, before that of the interpreter. Its fields must lie at the same offset as
    /// the new class's, which must begin with them: see [`Extends`].
    pub extends: Option<&'static ClassCell>,
}

/// Builds `T`'s class on top of `base` and keeps it in [`Class::class`].
///
/// Raises what `PyType_FromSpecWithBases` raises, and `SystemError` for a base that can't be extended so.
pub fn build<'py, T: Class>(
    base: &Bound<'py, PyType>,
    definition: Definition,
) -> PyResult<Bound<'py, PyType>> {
    let py = base.py();
    let base_type: *mut ffi::PyTypeObject = base.as_type_ptr();
    let cell = T::class();
    let base_size: usize = base.getattr("__basicsize__")?.extract()?;
    let offset = base_size.max(definition.fields_behind).next_multiple_of(align_of::<T>().max(8));
    cell.offset.set(offset);
    cell.base.set(base_part(base, base_size)?);

    let mut slots = definition.slots;
    let mut slot = |slot: c_int, pfunc: *mut c_void| slots.push(ffi::PyType_Slot { slot, pfunc });
    slot(ffi::Py_tp_dealloc, life::dealloc::<T> as ffi::destructor as *mut c_void);
    slot(ffi::Py_tp_traverse, life::traverse::<T> as ffi::traverseproc as *mut c_void);
    slot(ffi::Py_tp_clear, life::clear::<T> as ffi::inquiry as *mut c_void);
    if T::FINALIZER {
        slot(ffi::Py_tp_finalize, life::finalize::<T> as ffi::destructor as *mut c_void);
    }
    if definition.constructible {
        slot(ffi::Py_tp_new, life::new::<T> as ffi::newfunc as *mut c_void);
    }
    if let Some(doc) = definition.doc {
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast());
    }
    // The tables live as long as the type, which is for ever.
    let mut methods = definition.methods;
    methods.push(ffi::PyMethodDef::zeroed());
    slot(ffi::Py_tp_methods, Vec::leak(methods).as_mut_ptr().cast());
    let mut attributes = definition.attributes;
    if definition.dictionary {
        attributes.push(ffi::PyGetSetDef {
            name: c"__dict__".as_ptr(),
            get: Some(ffi::PyObject_GenericGetDict),
            set: Some(ffi::PyObject_GenericSetDict),
            doc: ptr::null(),
            closure: ptr::null_mut(),
        });
    }
    attributes.push(ffi::PyGetSetDef::default());
    slot(ffi::Py_tp_getset, Vec::leak(attributes).as_mut_ptr().cast());
    let mut size = offset + size_of::<T>();
    let mut members = Vec::new();
    if definition.weak_references {
        members.push(place_for(c"__weaklistoffset__", &mut size));
    }
    if definition.dictionary {
        let place = place_for(c"__dictoffset__", &mut size);
        cell.dictionary.set(place.offset as usize);
        members.push(place);
    }
    if definition.vectorcall {
        members.push(member(c"__vectorcalloffset__", offset));
    }
    members.push(ffi::PyMemberDef::default());
    slot(ffi::Py_tp_members, Vec::leak(members).as_mut_ptr().cast());
    slot(0, ptr::null_mut());

    let mut flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC;
    // SAFETY: a ready type.
    if unsafe { ffi::PyType_HasFeature(base_type, ffi::Py_TPFLAGS_IMMUTABLETYPE) } != 0 {
        flags |= ffi::Py_TPFLAGS_IMMUTABLETYPE;
    }
    if definition.subclassable {
        flags |= ffi::Py_TPFLAGS_BASETYPE;
    }
    if definition.vectorcall {
        flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR;
    }
    if !definition.constructible {
        flags |= ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    }
    let mut spec = ffi::PyType_Spec {
        name: T::NAME.as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: flags as _,
        slots: slots.as_mut_ptr(),
    };
    let bases = match definition.extends {
        None => base.clone().into_any(),
        Some(parent) if parent.offset.get() == offset => {
            PyTuple::new(py, [&parent.get(py), base])?.into_any()
        }
        Some(_) => {
            return Err(PySystemError::new_err(format!("ferrio can't extend {base}: its size")));
        }
    };
    let hidden = definition.extends.map(HiddenFields::of);
    // SAFETY: the spec and its slots are well-formed and outlive the call; the tables they name were leaked.
    let kind = unsafe {
        let kind = ffi::PyType_FromSpecWithBases(&mut spec, bases.as_ptr());
        Bound::from_owned_ptr_or_err(py, kind)?.cast_into_unchecked::<PyType>()
    };
    drop(hidden);
    if definition.plain_name {
        use_plain_name(&kind);
    }
    cell.weak_references.set(kind.getattr("__weakrefoffset__")?.extract::<isize>()? != 0);
    cell.kind.set(kind.clone().into_ptr().cast());
    Ok(kind)
}

/// Takes the module out of the name by which CPython's messages know `class`; `__module__` is kept elsewhere.
fn use_plain_name(class: &Bound<'_, PyType>) {
    let kind: *mut ffi::PyTypeObject = class.as_type_ptr();
    // SAFETY: a ready heap type of ours that nobody else has yet; its name lives as long as it, and so does the end of it.
    unsafe {
        let name = CStr::from_ptr((*kind).tp_name);
        if let Some(dot) = name.to_bytes().iter().rposition(|&byte| byte == b'.') {
            (*kind).tp_name = name.as_ptr().add(dot + 1);
        }
    }
}

/// A word behind the first `size` bytes of the instances, which CPython finds by that name.
fn place_for(name: &'static CStr, size: &mut usize) -> ffi::PyMemberDef {
    let place = size.next_multiple_of(align_of::<*mut ffi::PyObject>());
    *size = place + size_of::<*mut ffi::PyObject>();
    member(name, place)
}

/// Tells CPython by `name` that something lies at `place`.
fn member(name: &'static CStr, place: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: place as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    }
}

/// While this lives, a class seems to have no fields but its base's.
///
/// CPython refuses two bases that both add fields, for it can't know that ours add the same ones in the same place.
struct HiddenFields {
    kind: *mut ffi::PyTypeObject,
    size: ffi::Py_ssize_t,
}

impl HiddenFields {
    fn of(cell: &ClassCell) -> Self {
        let kind = cell.as_type_ptr();
        // SAFETY: a type of ours that is built, and its base; no instance is made meanwhile.
        unsafe {
            let size = (*kind).tp_basicsize;
            (*kind).tp_basicsize = (*(*kind).tp_base).tp_basicsize;
            HiddenFields { kind, size }
        }
    }
}

impl Drop for HiddenFields {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { (*self.kind).tp_basicsize = self.size };
    }
}

/// Finds out what the base's part holds.
fn base_part(base: &Bound<'_, PyType>, base_size: usize) -> PyResult<BasePart> {
    let header = size_of::<ffi::PyObject>();
    if base_size == header {
        return Ok(BasePart::Nothing);
    }
    if base.hasattr("__slots__")? {
        if base.getattr("__dictoffset__")?.extract::<isize>()? != 0 {
            return Err(PySystemError::new_err(format!(
                "ferrio can't extend {base}: its instances have a dictionary"
            )));
        }
        let weaklist = base.getattr("__weakrefoffset__")?.extract::<isize>()?;
        return Ok(BasePart::Slots {
            start: header,
            end: base_size,
            weaklist: usize::try_from(weaklist).unwrap_or(0),
        });
    }
    let kind = base.as_type_ptr();
    // SAFETY: reading slots of a ready type; a slot of that number has that function type.
    unsafe {
        let heap = ffi::PyType_HasFeature(kind, ffi::Py_TPFLAGS_HEAPTYPE) != 0;
        match (*kind).tp_traverse {
            Some(traverse) => {
                Ok(BasePart::Native { traverse, clear: (*kind).tp_clear, reports_type: heap })
            }
            None => Ok(BasePart::Nothing),
        }
    }
}
