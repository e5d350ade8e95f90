//! NumPy arrays as views, and NumPy's own ways to make them. The room's unsafe code lives here, because the memory
//! belongs to Python: what a view promises follows from the array being alive and from NumPy's bookkeeping.

use std::borrow::Cow;
use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicI32, Ordering};

use numpy::npyffi::{self, NPY_ORDER, NPY_TYPES, PY_ARRAY_API};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;

#[cfg(target_os = "linux")]
use super::blocks::with_kept_memory;
use crate::element::DType;
use crate::error::Error;
use crate::view::{View, ViewMut};

/// What to call the types that may be read.
pub(super) const SUPPORTED: &str = "bool, an integer, float16, bfloat16, float32 or float64";

/// What to call the types that may be written.
pub(super) const SUPPORTED_RESULTS: &str = "float16, bfloat16, float32 or float64";

/// The byte order that is not this machine's, as dtypes spell it.
const SWAPPED: u8 = if cfg!(target_endian = "little") { b'>' } else { b'<' };

/// The element type of a dtype; `None` where no kernel reads it.
pub(super) fn dtype(descr: &Bound<'_, PyArrayDescr>) -> Option<DType> {
    const BOOL: c_int = NPY_TYPES::NPY_BOOL as c_int;
    const BYTE: c_int = NPY_TYPES::NPY_BYTE as c_int;
    const UBYTE: c_int = NPY_TYPES::NPY_UBYTE as c_int;
    const SHORT: c_int = NPY_TYPES::NPY_SHORT as c_int;
    const USHORT: c_int = NPY_TYPES::NPY_USHORT as c_int;
    const INT: c_int = NPY_TYPES::NPY_INT as c_int;
    const UINT: c_int = NPY_TYPES::NPY_UINT as c_int;
    const LONG: c_int = NPY_TYPES::NPY_LONG as c_int;
    const ULONG: c_int = NPY_TYPES::NPY_ULONG as c_int;
    const LONGLONG: c_int = NPY_TYPES::NPY_LONGLONG as c_int;
    const ULONGLONG: c_int = NPY_TYPES::NPY_ULONGLONG as c_int;
    const FLOAT: c_int = NPY_TYPES::NPY_FLOAT as c_int;
    const DOUBLE: c_int = NPY_TYPES::NPY_DOUBLE as c_int;
    const HALF: c_int = NPY_TYPES::NPY_HALF as c_int;
    // NumPy's integers are those of C, where long is 32 bits on some systems and 64 on others.
    let long_is_wide = size_of::<c_long>() == 8;
    Some(match descr.num() {
        BOOL => DType::Bool,
        BYTE => DType::I8,
        UBYTE => DType::U8,
        SHORT => DType::I16,
        USHORT => DType::U16,
        LONGLONG => DType::I64,
        ULONGLONG => DType::U64,
        LONG if long_is_wide => DType::I64,
        ULONG if long_is_wide => DType::U64,
        INT | LONG => DType::I32,
        UINT | ULONG => DType::U32,
        HALF => DType::F16,
        FLOAT => DType::F32,
        DOUBLE => DType::F64,
        _ if is_bfloat16(descr) => DType::BF16,
        _ => return None,
    })
}

/// Whether a dtype is the bfloat16 of `ml_dtypes`, which is known by its name alone, so that nothing is imported.
fn is_bfloat16(descr: &Bound<'_, PyArrayDescr>) -> bool {
    // NumPy gives a number to a type for as long as the process lives. A name takes it a microsecond to make up.
    static KNOWN: AtomicI32 = AtomicI32::new(NPY_TYPES::NPY_NOTYPE as i32);
    let number = descr.num();
    if number < NPY_TYPES::NPY_USERDEF as c_int || descr.itemsize() != 2 {
        return false;
    }
    if number == KNOWN.load(Ordering::Relaxed) {
        return true;
    }
    let is_named_so = descr.getattr("name").is_ok_and(|name| name.eq("bfloat16").unwrap_or(false));
    if is_named_so {
        KNOWN.store(number, Ordering::Relaxed);
    }
    is_named_so
}

/// The type of a result: an element type, and the dtype where NumPy has no number of its own for it.
pub(super) struct ResultType<'py> {
    pub(super) dtype: DType,
    pub(super) descr: Option<Bound<'py, PyArrayDescr>>,
}

impl<'py> ResultType<'py> {
    /// A dtype in the byte order of another machine gives results in that of this one.
    pub(super) fn new(dtype: DType, descr: Option<Bound<'py, PyArrayDescr>>) -> PyResult<Self> {
        let native = |descr: Bound<'py, PyArrayDescr>| match descr.byteorder() {
            SWAPPED => Ok(descr.call_method1("newbyteorder", ("=",))?.cast_into()?),
            _ => Ok::<_, PyErr>(descr),
        };
        Ok(Self { dtype, descr: descr.map(native).transpose()? })
    }

    /// What arrays of these types give: integers and bool float64, floats that differ the one that holds both.
    pub(super) fn of(arrays: &[Array<'py>]) -> PyResult<Self> {
        let mut dtype = arrays[0].dtype.result();
        for array in arrays {
            dtype = match (dtype, array.dtype.result()) {
                (a, b) if a == b => a,
                (DType::F64, _) | (_, DType::F64) => DType::F64,
                _ => DType::F32,
            };
        }
        let descr = (dtype == DType::BF16).then(|| arrays[0].object.dtype());
        Self::new(dtype, descr)
    }

    /// A new reference to the dtype.
    fn into_descr(self, py: Python<'py>) -> *mut npyffi::PyArray_Descr {
        let number = match self.dtype {
            DType::F16 => NPY_TYPES::NPY_HALF,
            DType::F32 => NPY_TYPES::NPY_FLOAT,
            _ => NPY_TYPES::NPY_DOUBLE,
        };
        match self.descr {
            Some(descr) => descr.into_ptr().cast(),
            // SAFETY: a number of NumPy's own.
            None => unsafe { PY_ARRAY_API.PyArray_DescrFromType(py, number as c_int) },
        }
    }
}

/// Where nothing is known of how memory is best kept.
#[cfg(not(target_os = "linux"))]
fn with_kept_memory<T>(_: Python<'_>, _: usize, make: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    make()
}

/// An array that kernels can read.
#[derive(Clone)]
pub(super) struct Array<'py> {
    object: Bound<'py, PyUntypedArray>,
    dtype: DType,
    swapped: bool,
}

impl<'py> Array<'py> {
    /// The dtype comes back where no kernel reads it.
    pub(super) fn new(object: Bound<'py, PyUntypedArray>) -> Result<Self, Bound<'py, PyArrayDescr>> {
        let descr = object.dtype();
        match dtype(&descr) {
            Some(dtype) => Ok(Self { object, dtype, swapped: descr.byteorder() == SWAPPED }),
            None => Err(descr),
        }
    }

    /// A new array of the shape of another and in its order in memory, with undefined contents.
    pub(super) fn new_like(like: &Array<'py>, result: ResultType<'py>) -> PyResult<Self> {
        let (py, prototype) = (like.object.py(), like.object.as_array_ptr());
        Self::made(py, like.len(), result, |descr| {
            // SAFETY: the prototype is an array, and no subclass is asked for.
            unsafe { PY_ARRAY_API.PyArray_NewLikeArray(py, prototype, NPY_ORDER::NPY_KEEPORDER, descr, 0) }
        })
    }

    /// A new array in C order, with undefined contents.
    pub(super) fn empty(py: Python<'py>, shape: &[usize], result: ResultType<'py>) -> PyResult<Self> {
        let mut sizes: Vec<npyffi::npy_intp> = shape.iter().map(|&size| size as npyffi::npy_intp).collect();
        let len = shape.iter().fold(1, |len: usize, &size| len.saturating_mul(size));
        Self::made(py, len, result, |descr| {
            // SAFETY: as many sizes as dimensions.
            unsafe { PY_ARRAY_API.PyArray_Empty(py, sizes.len() as c_int, sizes.as_mut_ptr(), descr, 0) }
        })
    }

    /// A new array of so many elements, by a function of NumPy's that takes over a reference to the dtype and gives one to an ndarray, or
    /// nothing and an exception.
    fn made(
        py: Python<'py>,
        len: usize,
        result: ResultType<'py>,
        make: impl FnOnce(*mut npyffi::PyArray_Descr) -> *mut PyObject,
    ) -> PyResult<Self> {
        let dtype = result.dtype;
        let object = with_kept_memory(py, len.saturating_mul(dtype.size()), || {
            let made = make(result.into_descr(py));
            // SAFETY: promised by both of the functions above.
            unsafe { Ok(Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked()) }
        })?;
        Ok(Self { object, dtype, swapped: false })
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The array itself.
    pub(super) fn into_object(self) -> Bound<'py, PyUntypedArray> {
        self.object
    }

    pub(super) fn shape(&self) -> &[usize] {
        self.object.shape()
    }

    /// The only element of an array of no dimensions.
    pub(super) fn number(&self) -> PyResult<f64> {
        self.object.extract()
    }

    pub(super) fn len(&self) -> usize {
        self.object.len()
    }

    /// The array as NumPy's functions return it: as a scalar where it has no dimensions.
    pub(super) fn into_result(self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.object.py();
        // SAFETY: gives our reference away and takes the new one.
        unsafe {
            let object = PY_ARRAY_API.PyArray_Return(py, self.object.into_ptr().cast());
            Bound::from_owned_ptr_or_err(py, object)
        }
    }

    /// Where the array lies. With its own copy of shape and strides where other Python code may run as long as the
    /// place is in use: that code could give the array another shape.
    pub(super) fn place(&self, copy: bool) -> Place<'_> {
        // SAFETY: the array is alive.
        let data = unsafe { (*npyffi::_PyArray_GET_ITEM_DATA(self.object.as_array_ptr())).data };
        let (shape, strides) = (self.object.shape(), self.object.strides());
        let (shape, strides) = match copy {
            true => (shape.to_vec().into(), strides.to_vec().into()),
            false => (shape.into(), strides.into()),
        };
        Place { data: data.cast(), dtype: self.dtype, swapped: self.swapped, shape, strides }
    }
}

/// Where an array lies in memory.
pub(super) struct Place<'a> {
    data: *mut u8,
    dtype: DType,
    swapped: bool,
    shape: Cow<'a, [usize]>,
    strides: Cow<'a, [isize]>,
}

// SAFETY: a place only says where memory is; using that memory is what `view` and `view_mut` are unsafe for.
unsafe impl Send for Place<'_> {}
// SAFETY: as above.
unsafe impl Sync for Place<'_> {}

impl Place<'_> {
    /// The array to read.
    ///
    /// # Safety
    /// As long as the view is in use, nobody writes to the array but through [`view_mut`](Self::view_mut).
    pub(super) unsafe fn view(&self) -> View<'_> {
        // SAFETY: NumPy keeps an array inside its memory, and that memory where it is: a place borrows the array,
        // and NumPy refuses to resize an array that others refer to.
        unsafe { View::from_raw(self.data, self.dtype, self.swapped, &self.shape, &self.strides) }
    }

    /// The array to write.
    ///
    /// # Safety
    /// The array is writeable. As long as the view is in use, nobody else writes to it or reads it.
    pub(super) unsafe fn view_mut(&self) -> Result<ViewMut<'_>, Error> {
        // SAFETY: as above.
        unsafe { ViewMut::from_raw(self.data, self.dtype, self.swapped, &self.shape, &self.strides) }
    }
}

/// What `numpy.asarray` makes of an object.
pub(super) fn as_array<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = object.py();
    let (any_dtype, no_context) = (std::ptr::null_mut(), std::ptr::null_mut());
    let flags = npyffi::NPY_ARRAY_ENSUREARRAY;
    // SAFETY: a live object; the result is a new reference to an ndarray.
    unsafe {
        let made = PY_ARRAY_API.PyArray_FromAny(py, object.as_ptr(), any_dtype, 0, 0, flags, no_context);
        Ok(Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked())
    }
}

/// Raises a ValueError, as NumPy does, if an array is read-only.
pub(super) fn check_writeable(array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
    let py = array.py();
    // SAFETY: a live array and a name that ends in zero.
    let failed =
        unsafe { PY_ARRAY_API.PyArray_FailUnlessWriteable(py, array.as_array_ptr(), c"out".as_ptr()) };
    if failed == 0 {
        return Ok(());
    }
    let error = PyErr::fetch(py);
    Err(match error.is_instance_of::<PyValueError>(py) {
        true => PyValueError::new_err("out is read-only, expected an array that can be written"),
        // A warning that was made an error.
        false => error,
    })
}
