//! Native subclasses: heap types that put Rust fields behind the part of a base class.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::reference::{Owned, Ref};
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

    /// Whether an instance that dies now needs [`finalize`](Class::finalize): a cheap question, asked at every death.
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
enum BasePart {
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
    base: Cell<BasePart>,
    weak_references: Cell<bool>,
    /// Where the instances have their `__dict__`; 0 for nowhere.
    dictionary: Cell<usize>,
    free: RefCell<Vec<*mut ffi::PyObject>>,
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
    slot(ffi::Py_tp_dealloc, dealloc::<T> as ffi::destructor as *mut c_void);
    slot(ffi::Py_tp_traverse, traverse::<T> as ffi::traverseproc as *mut c_void);
    slot(ffi::Py_tp_clear, clear::<T> as ffi::inquiry as *mut c_void);
    if T::FINALIZER {
        slot(ffi::Py_tp_finalize, finalize::<T> as ffi::destructor as *mut c_void);
    }
    if definition.constructible {
        slot(ffi::Py_tp_new, new::<T> as ffi::newfunc as *mut c_void);
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

impl<T: Class> Owned<T> {
    /// A new instance of the class itself, without calling `__init__`.
    #[inline]
    pub fn alloc(py: Python<'_>) -> PyResult<Self> {
        let cell = T::class();
        let kind = cell.as_type_ptr();
        if T::FREELIST > 0 {
            let recycled = cell.free.borrow_mut().pop();
            if let Some(object) = recycled {
                // SAFETY: a dead instance of this very type that `dealloc` put by: its memory is ours, its
                // base's part is empty and its fields are not initialised.
                unsafe {
                    ffi::PyObject_Init(object, kind);
                    cell.fields::<T>(object).write(T::fresh());
                    ffi::PyObject_GC_Track(object.cast());
                    return Ok(Owned::from_ptr(object));
                }
            }
        }
        // SAFETY: a ready type of ours.
        unsafe {
            let object = allocate::<T>(kind);
            if object.is_null() { Err(PyErr::fetch(py)) } else { Ok(Owned::from_ptr(object)) }
        }
    }
}

/// # Safety
///
/// `kind` is `T`'s type or a subtype.
unsafe fn allocate<T: Class>(kind: *mut ffi::PyTypeObject) -> *mut ffi::PyObject {
    // SAFETY: a ready type; `PyType_GenericAlloc` gives zeroed memory with the collector's header. The fields are
    // written before anything else can run: `fresh` doesn't touch Python.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind, 0);
        if !object.is_null() {
            T::class().fields::<T>(object).write(T::fresh());
        }
        object
    }
}

unsafe extern "C" fn new<T: Class>(
    kind: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls `tp_new` with the type or a subtype.
    unsafe { allocate::<T>(kind) }
}

unsafe extern "C" fn traverse<T: Class>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    let visit = Visit::new(visit, arg);
    // SAFETY: the collector calls with a live instance.
    let outcome = unsafe { traverse_base::<T>(object, &visit) }.and_then(|()| {
        // SAFETY: invariant 2: the fields are initialised while the object lives.
        unsafe { &*T::class().fields::<T>(object) }.traverse(&visit)
    });
    outcome.err().unwrap_or(0)
}

/// # Safety
///
/// `object` is a live instance of `T`'s class, and the collector is traversing it.
unsafe fn traverse_base<T: Class>(object: *mut ffi::PyObject, visit: &Visit) -> Traversal {
    // SAFETY: reading the type of a live object.
    let kind = unsafe { ffi::Py_TYPE(object) };
    let dictionary = T::class().dictionary.get();
    if dictionary != 0 {
        // SAFETY: the word holds the instance's dictionary or null.
        visit.pointer(unsafe { *object.cast::<u8>().add(dictionary).cast() })?;
    }
    match T::class().base.get() {
        BasePart::Nothing => visit.pointer(kind.cast()),
        BasePart::Native { traverse, reports_type, .. } => {
            let (proc, arg) = visit.parts();
            // SAFETY: the base's own traversal on an object that begins with the base's part.
            match unsafe { traverse(object, proc, arg) } {
                0 if reports_type => Ok(()),
                0 => visit.pointer(kind.cast()),
                stop => Err(stop),
            }
        }
        BasePart::Slots { start, end, weaklist } => {
            for place in (start..end).step_by(size_of::<usize>()).filter(|&place| place != weaklist)
            {
                // SAFETY: the words between the header and the base's size are its `__slots__`:
                // references or null.
                visit.pointer(unsafe { *object.cast::<u8>().add(place).cast() })?;
            }
            visit.pointer(kind.cast())
        }
    }
}

unsafe extern "C" fn clear<T: Class>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the collector calls with a live instance, whose fields are initialised.
    unsafe {
        (*T::class().fields::<T>(object)).clear();
        clear_base::<T>(object);
    }
    0
}

/// # Safety
///
/// `object` is an instance of `T`'s class whose base's part is intact.
#[inline]
unsafe fn clear_base<T: Class>(object: *mut ffi::PyObject) {
    let dictionary = T::class().dictionary.get();
    if dictionary != 0 {
        // SAFETY: the word holds the instance's dictionary or null, and owns it.
        unsafe {
            let place = object.cast::<u8>().add(dictionary).cast::<*mut ffi::PyObject>();
            ffi::Py_XDECREF(place.replace(ptr::null_mut()));
        }
    }
    match T::class().base.get() {
        BasePart::Native { clear: Some(clear), .. } => {
            // SAFETY: the base's own `tp_clear` on an object that begins with the base's part.
            unsafe { clear(object) };
        }
        BasePart::Slots { start, end, weaklist } => {
            for place in (start..end).step_by(size_of::<usize>()).filter(|&place| place != weaklist)
            {
                // SAFETY: the place is a slot of the base, which owns what it holds.
                unsafe {
                    let slot = object.cast::<u8>().add(place).cast::<*mut ffi::PyObject>();
                    ffi::Py_XDECREF(slot.replace(ptr::null_mut()));
                }
            }
        }
        BasePart::Native { clear: None, .. } | BasePart::Nothing => {}
    }
}

unsafe extern "C" fn finalize<T: Class>(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls with a live instance and the GIL; the exception in flight is put back as it was.
    unsafe {
        let py = Python::assume_attached();
        let in_flight = PyErr::take(py);
        super::call::enter(|py| {
            T::finalize(Ref::from_ptr(py, object));
            Ok(0)
        });
        if !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_WriteUnraisable(object);
        }
        if let Some(error) = in_flight {
            error.restore(py);
        }
    }
}

/// # Safety
///
/// `object` is an instance of `T`'s class or of a subclass whose last reference is gone.
#[cold]
unsafe fn retire<T: Class>(object: *mut ffi::PyObject) {
    // SAFETY: the object gets a reference for the length of the call, as CPython gives it one for its finalizer.
    unsafe {
        set_reference_count(object, 1);
        super::call::enter(|py| {
            T::retire(Ref::from_ptr(py, object));
            Ok(0)
        });
        set_reference_count(object, 0);
    }
}

/// # Safety
///
/// `object` is alive or being deallocated, and nobody else counts on its references.
unsafe fn set_reference_count(object: *mut ffi::PyObject, count: u8) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(Py_3_12)]
        {
            (*object).ob_refcnt.ob_refcnt = count.into();
        }
        #[cfg(not(Py_3_12))]
        {
            (*object).ob_refcnt = count.into();
        }
    }
}

unsafe extern "C" fn dealloc<T: Class>(object: *mut ffi::PyObject) {
    let cell = T::class();
    let fields = cell.fields::<T>(object);
    // SAFETY: CPython calls when the last reference is gone; the fields are initialised until they are dropped
    // here, once. After `PyObject_GC_UnTrack` the collector doesn't look at the object.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        if T::FINALIZER
            && (*fields).must_finalize()
            && ffi::PyObject_CallFinalizerFromDealloc(object) < 0
        {
            return; // The finalizer made a new reference: the object lives on.
        }
        if (*fields).must_retire() {
            retire::<T>(object);
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        if cell.weak_references.get() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        ptr::drop_in_place(fields);
        clear_base::<T>(object);
        // A finalized object keeps the mark, and a second life under it would never be finalized.
        if T::FREELIST > 0
            && kind == cell.as_type_ptr()
            && (!T::FINALIZER || ffi::PyObject_GC_IsFinalized(object) == 0)
        {
            let mut free = cell.free.borrow_mut();
            if free.len() < T::FREELIST {
                free.push(object);
                drop(free);
                ffi::Py_DECREF(kind.cast());
                return;
            }
        }
        if let Some(release) = (*kind).tp_free {
            release(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}
