//! The crate's errors as Python exceptions, in Python's spelling.

use pyo3::exceptions::{PyIndexError, PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFloat, PyType};

use crate::error::Error;

/// The exception for an error.
#[cold]
pub(super) fn to_python(py: Python<'_>, error: Error) -> PyErr {
    match error {
        Error::AxisOutOfRange { axis, ndim } => axis_error(py, axis, ndim),
        Error::ShapeMismatch { argument, got, want } => shape_mismatch(argument, &got, &want),
        Error::Broadcast { argument, got, want } => PyValueError::new_err(format!(
            "{argument} has shape {}, which does not broadcast to {}",
            tuple(&got),
            tuple(&want)
        )),
        // In Python's spelling of NaN and of whole numbers.
        Error::Temperature(got) => PyValueError::new_err(format!(
            "temperature must be a finite number above 0, got {}",
            PyFloat::new(py, got)
        )),
        Error::Element { argument, want, got, position } => PyValueError::new_err(format!(
            "{argument} must be {want}, got {} at {}",
            PyFloat::new(py, got),
            tuple(&position)
        )),
        Error::Number { argument, want, got } => {
            PyValueError::new_err(format!("{argument} must be {want}, got {}", PyFloat::new(py, got)))
        }
        Error::Label { got, classes, position } => PyIndexError::new_err(format!(
            "labels must be from 0 to {} or ignore_index, got {got} at {}",
            classes as i128 - 1,
            tuple(&position)
        )),
        Error::Memory { .. } => PyMemoryError::new_err(error.to_string()),
        Error::Option { .. } | Error::LabelType(_) => PyTypeError::new_err(error.to_string()),
        Error::UnsupportedType(_) => PyTypeError::new_err(error.to_string()),
        other => PyValueError::new_err(other.to_string()),
    }
}

/// The exception for a shape that was refused.
#[cold]
pub(super) fn shape_mismatch(argument: &str, got: &[usize], want: &[usize]) -> PyErr {
    PyValueError::new_err(format!("{argument} has shape {}, expected {}", tuple(got), tuple(want)))
}

/// The exception for a panic, which is always a bug.
#[cold]
pub(super) fn panicked(payload: &(dyn std::any::Any + Send)) -> PyErr {
    let literal = payload.downcast_ref::<&str>().copied();
    let what = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic");
    PyRuntimeError::new_err(format!("internal error in softlane ({what}); please report it"))
}

/// `numpy.exceptions.AxisError`, which is both a ValueError and an IndexError.
fn axis_error(py: Python<'_>, axis: isize, ndim: usize) -> PyErr {
    static AXIS_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match AXIS_ERROR.import(py, "numpy.exceptions", "AxisError") {
        Ok(class) => PyErr::from_type(class.clone(), (axis, ndim)),
        Err(error) => error,
    }
}

/// A shape as Python writes it.
fn tuple(shape: &[usize]) -> String {
    match shape {
        [size] => format!("({size},)"),
        sizes => format!("({})", sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}
