//! Where a result goes: a new array, or the argument `out`.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::arrays::{self, Array, SUPPORTED_RESULTS};
use super::errors::shape_mismatch;
use super::inputs::is_masked;
use crate::element::DType;

/// The array `out`, checked, for a result of this shape and type.
pub(super) fn given<'py>(out: &Bound<'py, PyAny>, shape: &[usize], result: DType) -> PyResult<Array<'py>> {
    let Ok(array) = out.cast::<PyUntypedArray>() else {
        let class = out.get_type().fully_qualified_name()?;
        return Err(PyTypeError::new_err(format!("out must be a numpy.ndarray, got {class}")));
    };
    if !array.is_exact_instance_of::<PyUntypedArray>() && is_masked(array)? {
        return Err(PyTypeError::new_err("out must not be a masked array; pass out.data"));
    }
    let checked = match Array::new(array.clone()) {
        Ok(checked) if checked.dtype() == checked.dtype().result() => checked,
        Ok(_) => {
            let (from, to) = (result.name(), array.dtype());
            return Err(PyTypeError::new_err(format!(
                "out has dtype {to}, to which the result cannot be cast from {from} by the rule 'same_kind'"
            )));
        }
        Err(descr) => {
            return Err(PyTypeError::new_err(format!("out has dtype {descr}, expected {SUPPORTED_RESULTS}")));
        }
    };
    arrays::check_writeable(array)?;
    if checked.shape() != shape {
        return Err(shape_mismatch("out", checked.shape(), shape));
    }
    Ok(checked)
}
