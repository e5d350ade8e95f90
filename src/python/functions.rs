//! The functions of the extension: signatures, docstrings, and which operation each of them is.
// As many arguments as Python's signatures have.
#![allow(clippy::too_many_arguments)]

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arguments::{Axis, temperature};
use super::call::{Keywords, Shaped, call};
use super::{errors, inputs, threads};
use crate::dispatch::Isa;
use crate::error::Error;
use crate::layout::broadcast_shape;
use crate::ops::{self, Input, Want};

/// The version of the package, which is that of the crate.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[doc = include_str!("docs/softmax.md")]
#[pyfunction]
#[pyo3(
    signature = (x, /, axis = Axis::LAST, *, r#where = None, temperature = 1.0, out = None, dtype = None, num_threads = None),
    text_signature = "(x, /, axis=-1, *, where=None, temperature=1.0, out=None, dtype=None, num_threads=None)"
)]
pub(super) fn softmax<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    r#where: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("x", x)?];
    let keywords = Keywords { axis, temperature, mask: inputs::mask(r#where)?, out, dtype, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[x], out, options| ops::softmax(x, out, options))
}

#[doc = include_str!("docs/log_softmax.md")]
#[pyfunction]
#[pyo3(
    signature = (x, /, axis = Axis::LAST, *, r#where = None, temperature = 1.0, out = None, dtype = None, num_threads = None),
    text_signature = "(x, /, axis=-1, *, where=None, temperature=1.0, out=None, dtype=None, num_threads=None)"
)]
pub(super) fn log_softmax<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    r#where: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("x", x)?];
    let keywords = Keywords { axis, temperature, mask: inputs::mask(r#where)?, out, dtype, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[x], out, options| ops::log_softmax(x, out, options))
}

#[doc = include_str!("docs/softmin.md")]
#[pyfunction]
#[pyo3(
    signature = (x, /, axis = Axis::LAST, *, r#where = None, temperature = 1.0, out = None, dtype = None, num_threads = None),
    text_signature = "(x, /, axis=-1, *, where=None, temperature=1.0, out=None, dtype=None, num_threads=None)"
)]
pub(super) fn softmin<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    r#where: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("x", x)?];
    let keywords = Keywords { axis, temperature, mask: inputs::mask(r#where)?, out, dtype, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[x], out, options| ops::softmin(x, out, options))
}

#[doc = include_str!("docs/logsumexp.md")]
#[pyfunction]
#[pyo3(
    signature = (x, /, axis = Axis::All, *, b = None, r#where = None, keepdims = false, return_sign = false,
                 out = None, dtype = None, num_threads = None),
    text_signature = "(x, /, axis=None, *, b=None, where=None, keepdims=False, return_sign=False, \
                      out=None, dtype=None, num_threads=None)"
)]
pub(super) fn logsumexp<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    b: Option<&Bound<'py, PyAny>>,
    r#where: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = PyAnyMethods::is_truthy)] keepdims: bool,
    #[pyo3(from_py_with = PyAnyMethods::is_truthy)] return_sign: bool,
    out: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let x = inputs::array("x", x)?;
    let to_python = |error| errors::to_python(py, error);
    let plain = |keywords: &Keywords<'_, 'py>| {
        let shape = keywords.axis.result_shape(x.shape(), keepdims).map_err(to_python)?;
        let shaped = Shaped { shape: Some(shape), typed_by: 1 };
        call(py, [x.clone()], shaped, keywords, |[x], out, options| ops::logsumexp(x, out, options))
    };
    let mask = inputs::mask(r#where)?;
    let mut keywords = Keywords { axis, temperature: 1.0, mask, out, dtype, num_threads };
    if b.is_none() && !return_sign {
        return plain(&keywords);
    }
    let (weights, is_number) = inputs::weights(b, py)?;
    let shape = broadcast_shape(x.shape(), weights.shape()).ok_or_else(|| {
        let (got, want) = (weights.shape().to_vec(), x.shape().to_vec());
        to_python(Error::Broadcast { argument: "b", got, want })
    })?;
    let shape = keywords.axis.result_shape(&shape, keepdims).map_err(to_python)?;
    let weighted = |want: Want, keywords: &Keywords<'_, 'py>| {
        let arrays = [x.clone(), weights.clone()];
        let shaped = Shaped { shape: Some(shape.clone()), typed_by: if is_number { 1 } else { 2 } };
        call(py, arrays, shaped, keywords, |[x, b], out, options| match (x, b) {
            (Input::View(x), Input::View(b)) => ops::weighted_logsumexp(&x, &b, want, out, options),
            _ => Err(Error::OutOfBounds),
        })
    };
    // The sign first, for `out` may overlap an input.
    keywords.out = None;
    let sign = if return_sign { Some(weighted(Want::Sign, &keywords)?) } else { None };
    keywords.out = out;
    let want = if return_sign { Want::LogOfAbsolute } else { Want::Log };
    let log = if b.is_none() { plain(&keywords)? } else { weighted(want, &keywords)? };
    match sign {
        Some(sign) => Ok(PyTuple::new(py, [log, sign])?.into_any()),
        None => Ok(log),
    }
}

#[doc = include_str!("docs/sigmoid.md")]
#[pyfunction]
#[pyo3(
    signature = (x, /, *, out = None, dtype = None, num_threads = None),
    text_signature = "(x, /, *, out=None, dtype=None, num_threads=None)"
)]
pub(super) fn sigmoid<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("x", x)?];
    let keywords = Keywords { axis: Axis::All, temperature: 1.0, mask: None, out, dtype, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[x], out, options| ops::sigmoid(x, out, options))
}

#[doc = include_str!("docs/log_sigmoid.md")]
#[pyfunction]
#[pyo3(
    signature = (x, /, *, out = None, dtype = None, num_threads = None),
    text_signature = "(x, /, *, out=None, dtype=None, num_threads=None)"
)]
pub(super) fn log_sigmoid<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("x", x)?];
    let keywords = Keywords { axis: Axis::All, temperature: 1.0, mask: None, out, dtype, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[x], out, options| ops::log_sigmoid(x, out, options))
}

#[doc = include_str!("docs/softmax_vjp.md")]
#[pyfunction]
#[pyo3(
    signature = (y, dy, /, axis = Axis::LAST, *, temperature = 1.0, out = None, num_threads = None),
    text_signature = "(y, dy, /, axis=-1, *, temperature=1.0, out=None, num_threads=None)"
)]
pub(super) fn softmax_vjp<'py>(
    py: Python<'py>,
    y: &Bound<'py, PyAny>,
    dy: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("y", y)?, inputs::array("dy", dy)?];
    let keywords = Keywords { axis, temperature, mask: None, out, dtype: None, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[y, dy], out, options| {
        ops::softmax_vjp(y, dy, out, options)
    })
}

#[doc = include_str!("docs/softmax_jvp.md")]
#[pyfunction]
#[pyo3(
    signature = (y, dx, /, axis = Axis::LAST, *, temperature = 1.0, out = None, num_threads = None),
    text_signature = "(y, dx, /, axis=-1, *, temperature=1.0, out=None, num_threads=None)"
)]
pub(super) fn softmax_jvp<'py>(
    py: Python<'py>,
    y: &Bound<'py, PyAny>,
    dx: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("y", y)?, inputs::array("dx", dx)?];
    let keywords = Keywords { axis, temperature, mask: None, out, dtype: None, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[y, dx], out, options| {
        ops::softmax_jvp(y, dx, out, options)
    })
}

#[doc = include_str!("docs/show_config.md")]
#[pyfunction]
pub(super) fn show_config(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let isa = Isa::current().map_err(|error| errors::to_python(py, error))?;
    let isas: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
    let config = PyDict::new(py);
    config.set_item("version", VERSION)?;
    config.set_item("isa", isa.name())?;
    config.set_item("isas", isas)?;
    config.set_item("num_threads", threads::in_force(py, None)?)?;
    Ok(config)
}
