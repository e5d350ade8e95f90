//! Whatever counts as an array becomes a NumPy array, without a copy where it has memory of its own.

use numpy::PyUntypedArray;
use pyo3::exceptions::{PyBufferError, PyException, PyMemoryError, PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFloat, PyInt, PyType};

use super::arrays::{Array, SUPPORTED, as_array};
use crate::element::DType;

/// DLPack's devices whose memory the CPU may read: its own, pinned by CUDA or by ROCm, managed by CUDA.
const READABLE_DEVICES: [i64; 4] = [1, 3, 11, 13];

/// The argument `name` as an array.
pub(super) fn array<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Array<'py>> {
    array_of(name, object, SUPPORTED)
}

/// The same, where other dtypes than these are refused, here or later.
pub(super) fn array_of<'py>(name: &str, object: &Bound<'py, PyAny>, wanted: &str) -> PyResult<Array<'py>> {
    let array = match object.cast_exact::<PyUntypedArray>() {
        Ok(array) => array.clone(),
        Err(_) => converted(name, object).inspect_err(|error| {
            // Many of these errors are raised by others, who do not know which argument it is.
            let _ = error.add_note(object.py(), format!("while processing '{name}'"));
        })?,
    };
    Array::new(array)
        .map_err(|descr| PyTypeError::new_err(format!("{name} has dtype {descr}, expected {wanted}")))
}

/// The argument `where`: an array of bool.
pub(super) fn mask<'py>(object: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Array<'py>>> {
    let Some(object) = object else { return Ok(None) };
    let mask = array_of("where", object, "bool")?;
    match mask.dtype() {
        DType::Bool => Ok(Some(mask)),
        dtype => Err(PyTypeError::new_err(format!("where has dtype {}, expected bool", dtype.name()))),
    }
}

/// The argument `b`, by default 1; and whether it is a Python number, whose type counts as little as everywhere in NumPy.
pub(super) fn weights<'py>(
    object: Option<&Bound<'py, PyAny>>,
    py: Python<'py>,
) -> PyResult<(Array<'py>, bool)> {
    let one = PyFloat::new(py, 1.0).into_any();
    let object = object.unwrap_or(&one);
    let is_number = object.is_exact_instance_of::<PyFloat>() || object.is_instance_of::<PyInt>();
    Ok((array("b", object)?, is_number))
}

/// Whether an array has a mask, even one that masks nothing.
pub(super) fn is_masked(array: &Bound<'_, PyUntypedArray>) -> PyResult<bool> {
    static MASKED_ARRAY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    array.is_instance(MASKED_ARRAY.import(array.py(), "numpy.ma", "MaskedArray")?)
}

#[cold]
fn converted<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        if is_masked(array)? {
            return Err(PyTypeError::new_err(format!(
                "{name} is a numpy.ma.MaskedArray, whose mask would be ignored; pass {name}.data, with \
                 where=~{name}.mask where the function takes it"
            )));
        }
        return Ok(array.clone());
    }
    let class = object.get_type();
    if class.module().is_ok_and(|module| module.to_str().is_ok_and(is_lazy)) {
        return Err(PyTypeError::new_err(format!(
            "{name} is a lazy {}, which softlane does not compute; use softlane.dask, or compute it first",
            class.fully_qualified_name()?
        )));
    }
    if let Some(array) = from_dlpack(name, object)? {
        return Ok(array);
    }
    as_array(object)
}

/// Whether arrays of a module's types are computed only when asked. By name, so that nothing is imported.
fn is_lazy(module: &str) -> bool {
    module == "dask" || module.starts_with("dask.")
}

/// The array behind an object that speaks DLPack; `None` where that is not the way to it.
///
/// This comes before `__array__`, with which some libraries copy silently from another device.
fn from_dlpack<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let py = object.py();
    if !object.hasattr(intern!(py, "__dlpack__"))? || !object.hasattr(intern!(py, "__dlpack_device__"))? {
        return Ok(None);
    }
    let device = object.call_method0(intern!(py, "__dlpack_device__"))?;
    let kind: i64 = device.get_item(0)?.extract()?;
    if !READABLE_DEVICES.contains(&kind) {
        return Err(PyBufferError::new_err(format!(
            "{name} is on DLPack device {device}, expected memory that the CPU can read"
        )));
    }
    // PyTorch hands over the numbers as they lie, and they may be meant with the other sign.
    let resolved;
    let mut object = object;
    if object.hasattr(intern!(py, "is_neg"))? && object.call_method0(intern!(py, "is_neg"))?.is_truthy()? {
        resolved = object.call_method0(intern!(py, "resolve_neg"))?;
        object = &resolved;
    }
    static FROM_DLPACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let refused = match FROM_DLPACK.import(py, "numpy", "from_dlpack")?.call1((object,)) {
        Ok(array) => return Ok(Some(array.cast_into()?)),
        Err(refused) => refused,
    };
    // DLPack may just know fewer dtypes than NumPy, which is told by these; other refusals explain themselves.
    let is_dtype = refused.is_instance_of::<PyTypeError>(py) || refused.is_instance_of::<PyRuntimeError>(py);
    if !is_dtype {
        return Err(refused);
    }
    if let Some(array) = from_torch_bfloat16(name, object)? {
        return Ok(Some(array));
    }
    let has_array = object.hasattr(intern!(py, "__array__"))?;
    match if has_array { as_array(object) } else { Err(refused) } {
        Ok(array) => Ok(Some(array)),
        Err(refused) if is_interrupt(py, &refused) => Err(refused),
        Err(refused) => Err(match object.getattr(intern!(py, "dtype")) {
            Ok(dtype) => {
                let unreadable =
                    PyTypeError::new_err(format!("{name} has dtype {dtype}, expected {SUPPORTED}"));
                unreadable.set_cause(py, Some(refused));
                unreadable
            }
            Err(_) => refused,
        }),
    }
}

/// A tensor of PyTorch's bfloat16, which NumPy knows by way of `ml_dtypes` alone, by its bits; `None` for all else.
fn from_torch_bfloat16<'py>(
    name: &str,
    object: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let py = object.py();
    let Ok(dtype) = object.getattr(intern!(py, "dtype")) else { return Ok(None) };
    if dtype.str()?.to_str()? != "torch.bfloat16" {
        return Ok(None);
    }
    let bfloat16 = py.import("ml_dtypes").and_then(|module| module.getattr("bfloat16")).map_err(|cause| {
        let error =
            PyTypeError::new_err(format!("{name} has dtype {dtype}, which takes the package ml_dtypes"));
        error.set_cause(py, Some(cause));
        error
    })?;
    let bits = object.call_method1("view", (py.import("torch")?.getattr("int16")?,))?;
    let Some(bits) = from_dlpack(name, &bits)? else { return Ok(None) };
    Ok(Some(bits.call_method1("view", (bfloat16,))?.cast_into()?))
}

/// Whether an exception says nothing of the array.
fn is_interrupt(py: Python<'_>, error: &PyErr) -> bool {
    !error.is_instance_of::<PyException>(py) || error.is_instance_of::<PyMemoryError>(py)
}
