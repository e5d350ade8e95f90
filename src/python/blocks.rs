//! Memory for large results, kept for the next one: the system clears every page that it hands out, which takes as long as a softmax of what
//! will be there. Arrays made by NumPy's own allocator pay that each time, from some 32 MB on.
//!
//! What is kept is lent to the system ([`MADV_FREE`](libc::MADV_FREE)), which takes it, without asking, when memory is short.
//!
//! An array learns of this by NumPy's memory handlers (NEP 49): it owns its data, can be resized, and `tracemalloc` counts it.

use std::ffi::{c_char, c_void};
use std::mem::transmute;
use std::ptr::null_mut;
use std::sync::Mutex;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Results of fewer bytes are left to NumPy, whose allocator keeps them itself.
const LEAST: usize = 8 << 20;
/// The most bytes that are kept.
const MOST_KEPT: usize = 256 << 20;
/// Blocks are whole huge pages.
const PAGE: usize = 2 << 20;
/// Where in a block the data begins, after the size of the block. Half a small page on, so that stores there and loads from other arrays
/// at the same place within a page do not look alike to the processor.
const DATA: usize = 2048;

/// Makes a result of so many bytes.
pub(super) fn with_kept_memory<T>(
    py: Python<'_>,
    bytes: usize,
    make: impl FnOnce() -> PyResult<T>,
) -> PyResult<T> {
    if bytes < LEAST {
        return make();
    }
    static HANDLERS: PyOnceLock<Handlers> = PyOnceLock::new();
    let handlers = HANDLERS.get_or_try_init(py, || Handlers::new(py))?;
    handlers.with(py, make)
}

/// NumPy's functions for memory handlers, and ours.
struct Handlers {
    get: extern "C" fn() -> *mut PyObject,
    set: extern "C" fn(*mut PyObject) -> *mut PyObject,
    default: Py<PyAny>,
    ours: Py<PyAny>,
}

impl Handlers {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let api = py.import("numpy._core._multiarray_umath")?.getattr("_ARRAY_API")?;
        // SAFETY: NumPy's table of functions, in which these have had these places and types since 1.22. A handler is never written to,
        // and lives as long as the extension, which is never unloaded.
        unsafe {
            let table = ffi::PyCapsule_GetPointer(api.as_ptr(), std::ptr::null()).cast::<*mut c_void>();
            if table.is_null() {
                return Err(PyErr::fetch(py));
            }
            let handler = (&raw const HANDLER).cast_mut().cast();
            let ours = ffi::PyCapsule_New(handler, c"mem_handler".as_ptr(), None);
            Ok(Self {
                set: transmute::<*mut c_void, extern "C" fn(*mut PyObject) -> *mut PyObject>(*table.add(304)),
                get: transmute::<*mut c_void, extern "C" fn() -> *mut PyObject>(*table.add(305)),
                default: Bound::from_borrowed_ptr(py, *(*table.add(306)).cast()).unbind(),
                ours: Bound::from_owned_ptr_or_err(py, ours)?.unbind(),
            })
        }
    }

    /// What is made takes its memory from here, unless the user has a handler of their own.
    fn with<T>(&self, py: Python<'_>, make: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        // SAFETY: both give a reference, or nothing and an exception.
        let exchange =
            |handler: &Py<PyAny>| unsafe { Bound::from_owned_ptr_or_err(py, (self.set)(handler.as_ptr())) };
        // SAFETY: as above.
        let current = unsafe { Bound::from_owned_ptr_or_err(py, (self.get)()) }?;
        if !current.is(&self.default) {
            return make();
        }
        exchange(&self.ours)?;
        let made = make();
        exchange(&self.default)?;
        made
    }
}

/// NumPy's `PyDataMem_Handler`.
#[repr(C)]
struct Handler {
    name: [c_char; 127],
    version: u8,
    context: *mut c_void,
    malloc: extern "C" fn(*mut c_void, usize) -> *mut c_void,
    calloc: extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    realloc: extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    free: extern "C" fn(*mut c_void, *mut c_void, usize),
}

// SAFETY: nothing in it changes, and its functions may be called by any thread.
unsafe impl Sync for Handler {}

static HANDLER: Handler =
    Handler { name: named(b"softlane"), version: 1, context: null_mut(), malloc, calloc, realloc, free };

/// A name as a handler has it, which ends with a zero.
const fn named(name: &[u8]) -> [c_char; 127] {
    let mut named = [0; 127];
    let mut i = 0;
    while i < name.len() {
        named[i] = name[i] as c_char;
        i += 1;
    }
    named
}

extern "C" fn malloc(_: *mut c_void, size: usize) -> *mut c_void {
    match Block::of(size) {
        Some(block) => block.into_data(),
        None => null_mut(),
    }
}

extern "C" fn calloc(_: *mut c_void, count: usize, size: usize) -> *mut c_void {
    let Some(size) = count.checked_mul(size) else { return null_mut() };
    let data = malloc(null_mut(), size);
    if !data.is_null() {
        // SAFETY: of that size, and new.
        unsafe { data.cast::<u8>().write_bytes(0, size) };
    }
    data
}

extern "C" fn realloc(_: *mut c_void, data: *mut c_void, size: usize) -> *mut c_void {
    if data.is_null() {
        return malloc(null_mut(), size);
    }
    let old = Block::from_data(data);
    let room = old.bytes - DATA;
    if size <= room && size > room / 2 {
        return data;
    }
    let new = malloc(null_mut(), size);
    if !new.is_null() {
        // SAFETY: two blocks, each at least as long.
        unsafe { new.cast::<u8>().copy_from_nonoverlapping(data.cast(), room.min(size)) };
        old.keep();
    }
    new
}

extern "C" fn free(_: *mut c_void, data: *mut c_void, _: usize) {
    if !data.is_null() {
        Block::from_data(data).keep();
    }
}

/// Whole pages of our own, from an address that is a multiple of their size on.
struct Block {
    address: usize,
    bytes: usize,
}

/// What is kept, the last first to be used again.
static KEPT: Mutex<Vec<Block>> = Mutex::new(Vec::new());

impl Block {
    /// A block for so much data.
    fn of(size: usize) -> Option<Self> {
        let bytes = size.checked_add(DATA)?.checked_next_multiple_of(PAGE)?;
        // Where another thread is at it, nothing is used again.
        let Ok(mut kept) = KEPT.try_lock() else { return Self::map(bytes) };
        let fits = |block: &Self| (bytes..=bytes + bytes / 4).contains(&block.bytes);
        if let Some(i) = kept.iter().rposition(fits) {
            return Some(kept.remove(i));
        }
        Self::map(bytes).or_else(|| {
            kept.drain(..).for_each(Self::unmap);
            Self::map(bytes)
        })
    }

    /// From the system.
    fn map(bytes: usize) -> Option<Self> {
        let all = bytes.checked_add(PAGE)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory.
        let start = unsafe { libc::mmap(null_mut(), all, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = start.expose_provenance();
        let block = Self { address: start.next_multiple_of(PAGE), bytes };
        let before = Self { address: start, bytes: block.address - start };
        let after = Self { address: block.address + bytes, bytes: PAGE - before.bytes };
        before.unmap();
        after.unmap();
        block.advise(libc::MADV_HUGEPAGE);
        Some(block)
    }

    /// Back to the system.
    fn unmap(self) {
        if self.bytes > 0 {
            // SAFETY: ours, and not used any more.
            unsafe { libc::munmap(self.start(), self.bytes) };
        }
    }

    fn start(&self) -> *mut c_void {
        std::ptr::with_exposed_provenance_mut(self.address)
    }

    /// A system that cannot follow advice does without.
    fn advise(&self, advice: i32) {
        // SAFETY: ours; neither advice that is given changes what is in use.
        unsafe { libc::madvise(self.start(), self.bytes, advice) };
    }

    fn into_data(self) -> *mut c_void {
        // SAFETY: a block is longer than that, and aligned.
        unsafe {
            self.start().cast::<usize>().write(self.bytes);
            self.start().byte_add(DATA)
        }
    }

    /// The block in which data lies that [`into_data`](Self::into_data) gave.
    fn from_data(data: *mut c_void) -> Self {
        // SAFETY: as it was written there.
        unsafe {
            let start = data.byte_sub(DATA);
            Self { address: start.expose_provenance(), bytes: start.cast::<usize>().read() }
        }
    }

    /// For a result to come, in the place of older ones if there are too many.
    fn keep(self) {
        if self.bytes > MOST_KEPT {
            return self.unmap();
        }
        self.advise(libc::MADV_FREE);
        let Ok(mut kept) = KEPT.try_lock() else { return self.unmap() };
        kept.push(self);
        while kept.iter().map(|block| block.bytes).sum::<usize>() > MOST_KEPT {
            kept.remove(0).unmap();
        }
    }
}
