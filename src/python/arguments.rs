//! Arguments that are not arrays.

use numpy::PyArrayDescr;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};

use super::arrays::{self, ResultType, SUPPORTED_RESULTS};
use crate::element::DType;
use crate::error::Error;
use crate::layout::Axes;

/// The argument `axis`.
pub(super) enum Axis {
    /// None: the whole array.
    All,
    /// An integer.
    One(isize),
    /// A tuple of integers.
    Many(Vec<isize>),
}

impl Axis {
    /// What runs over when nobody says.
    pub(super) const LAST: Self = Self::One(-1);

    pub(super) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(Self::All);
        }
        let axis = match object.cast::<PyTuple>() {
            Ok(axes) => axes.iter().map(|axis| integer(&axis)).collect::<PyResult<_>>().map(Self::Many),
            Err(_) => integer(object).map(Self::One),
        };
        axis.map_err(|error| {
            explained("axis must be an integer, a tuple of integers or None", object.py(), error)
        })
    }

    /// The shape that is left when these axes of `shape` are reduced.
    pub(super) fn result_shape(&self, shape: &[usize], keepdims: bool) -> Result<Vec<usize>, Error> {
        let reduced = self.axes().resolve(shape.len())?;
        let kept = |(&size, is_reduced)| match (is_reduced, keepdims) {
            (false, _) => Some(size),
            (true, true) => Some(1),
            (true, false) => None,
        };
        Ok(shape.iter().zip(reduced).filter_map(kept).collect())
    }

    pub(super) fn axes(&self) -> Axes<'_> {
        match self {
            Self::All => Axes::All,
            Self::One(axis) => Axes::One(*axis),
            Self::Many(axes) => Axes::Many(axes),
        }
    }
}

/// An integer, as `operator.index` takes it, but no bool. One too large to be right is as good as the largest.
fn integer(object: &Bound<'_, PyAny>) -> PyResult<isize> {
    if object.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err("'bool' object cannot be interpreted as an integer"));
    }
    // SAFETY: a live object, and the GIL is held. A null exception asks for clipping.
    let value = unsafe { ffi::PyNumber_AsSsize_t(object.as_ptr(), std::ptr::null_mut()) };
    match PyErr::take(object.py()) {
        Some(error) if value == -1 => Err(error),
        _ => Ok(value),
    }
}

/// A TypeError of Python's own, with what was wanted before what it says. Other errors stay as they are.
#[cold]
fn explained(wanted: &str, py: Python<'_>, error: PyErr) -> PyErr {
    match error.is_instance_of::<PyTypeError>(py) {
        true => PyTypeError::new_err(format!("{wanted}: {}", error.value(py))),
        false => error,
    }
}

/// The argument `temperature`.
pub(super) fn temperature(object: &Bound<'_, PyAny>) -> PyResult<f64> {
    let py = object.py();
    object.extract().or_else(|error: PyErr| match error.is_instance_of::<PyOverflowError>(py) {
        // An integer beyond float64 is refused as infinity is.
        true => Ok(f64::INFINITY),
        false => Err(explained("temperature must be a finite number above 0", py, error)),
    })
}

/// A number of threads, given as the argument `name`.
pub(super) fn thread_count(name: &str, object: &Bound<'_, PyAny>) -> PyResult<usize> {
    let count = integer(object).map_err(|error| {
        explained(&format!("{name} must be an integer of at least 1"), object.py(), error)
    })?;
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(PyValueError::new_err(format!("{name} must be at least 1, got {count}"))),
    }
}

/// The argument `dtype`: the type of the result.
pub(super) fn result_dtype<'py>(object: &Bound<'py, PyAny>) -> PyResult<ResultType<'py>> {
    let descr = PyArrayDescr::new(object.py(), object)
        .map_err(|error| explained(&format!("dtype must be {SUPPORTED_RESULTS}"), object.py(), error))?;
    match arrays::dtype(&descr) {
        Some(dtype) if dtype == dtype.result() => {
            let descr = (dtype == DType::BF16).then_some(descr);
            ResultType::new(dtype, descr)
        }
        _ => Err(PyTypeError::new_err(format!("dtype is {descr}, expected {SUPPORTED_RESULTS}"))),
    }
}
