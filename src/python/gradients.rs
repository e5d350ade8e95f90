//! The derivatives beyond those of softmax itself: signatures, docstrings, and which operation each of them is.
// As many arguments as Python's signatures have.
#![allow(clippy::too_many_arguments)]

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyFloat;

use super::arguments::{Axis, temperature};
use super::arrays::Array;
use super::call::{Keywords, Shaped, call};
use super::{errors, inputs};
use crate::error::Error;
use crate::ops::{self, Input};

#[doc = include_str!("docs/log_softmax_vjp.md")]
#[pyfunction]
#[pyo3(
    signature = (logp, dy, /, axis = Axis::LAST, *, temperature = 1.0, out = None, num_threads = None),
    text_signature = "(logp, dy, /, axis=-1, *, temperature=1.0, out=None, num_threads=None)"
)]
pub(super) fn log_softmax_vjp<'py>(
    py: Python<'py>,
    logp: &Bound<'py, PyAny>,
    dy: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("logp", logp)?, inputs::array("dy", dy)?];
    let keywords = Keywords { axis, temperature, mask: None, out, dtype: None, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[logp, dy], out, options| {
        ops::log_softmax_vjp(logp, dy, out, options)
    })
}

#[doc = include_str!("docs/log_softmax_jvp.md")]
#[pyfunction]
#[pyo3(
    signature = (logp, dx, /, axis = Axis::LAST, *, temperature = 1.0, out = None, num_threads = None),
    text_signature = "(logp, dx, /, axis=-1, *, temperature=1.0, out=None, num_threads=None)"
)]
pub(super) fn log_softmax_jvp<'py>(
    py: Python<'py>,
    logp: &Bound<'py, PyAny>,
    dx: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("logp", logp)?, inputs::array("dx", dx)?];
    let keywords = Keywords { axis, temperature, mask: None, out, dtype: None, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[logp, dx], out, options| {
        ops::log_softmax_jvp(logp, dx, out, options)
    })
}

#[doc = include_str!("docs/softmax_hvp.md")]
#[pyfunction]
#[pyo3(
    signature = (y, dy, v, /, axis = Axis::LAST, *, temperature = 1.0, out = None, num_threads = None),
    text_signature = "(y, dy, v, /, axis=-1, *, temperature=1.0, out=None, num_threads=None)"
)]
pub(super) fn softmax_hvp<'py>(
    py: Python<'py>,
    y: &Bound<'py, PyAny>,
    dy: &Bound<'py, PyAny>,
    v: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("y", y)?, inputs::array("dy", dy)?, inputs::array("v", v)?];
    let keywords = Keywords { axis, temperature, mask: None, out, dtype: None, num_threads };
    call(py, arrays, Shaped::LIKE_THE_FIRST, &keywords, |[y, dy, v], out, options| {
        ops::softmax_hvp(y, dy, v, out, options)
    })
}

#[doc = include_str!("docs/softmax_temperature_vjp.md")]
#[pyfunction]
#[pyo3(
    signature = (x, y, dy, /, axis = Axis::LAST, *, temperature = 1.0, keepdims = false, out = None, num_threads = None),
    text_signature = "(x, y, dy, /, axis=-1, *, temperature=1.0, keepdims=False, out=None, num_threads=None)"
)]
pub(super) fn softmax_temperature_vjp<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
    dy: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    #[pyo3(from_py_with = PyAnyMethods::is_truthy)] keepdims: bool,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("x", x)?, inputs::array("y", y)?, inputs::array("dy", dy)?];
    let shape =
        axis.result_shape(arrays[0].shape(), keepdims).map_err(|error| errors::to_python(py, error))?;
    let keywords = Keywords { axis, temperature, mask: None, out, dtype: None, num_threads };
    let shaped = Shaped { shape: Some(shape), typed_by: usize::MAX };
    call(py, arrays, shaped, &keywords, |inputs, out, options| match inputs {
        [Input::View(x), Input::View(y), Input::View(dy)] => {
            ops::softmax_temperature_vjp(&x, &y, &dy, out, options)
        }
        _ => Err(Error::OutOfBounds),
    })
}

#[doc = include_str!("docs/softmax_jacobian.md")]
#[pyfunction]
#[pyo3(signature = (y, /, axis = Axis::LAST), text_signature = "(y, /, axis=-1)")]
pub(super) fn softmax_jacobian<'py>(
    py: Python<'py>,
    y: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
) -> PyResult<Bound<'py, PyAny>> {
    let y = inputs::array("y", y)?;
    let Axis::One(one) = axis else {
        return Err(PyTypeError::new_err("axis must be a single integer"));
    };
    let resolved = axis.axes().resolve(y.shape().len()).map_err(|error| errors::to_python(py, error))?;
    let mut shape = y.shape().to_vec();
    let len = resolved.iter().position(|&is_row| is_row).map_or(1, |axis| shape.remove(axis));
    shape.extend([len, len]);
    let keywords = Keywords { axis, temperature: 1.0, mask: None, out: None, dtype: None, num_threads: None };
    let shaped = Shaped { shape: Some(shape), typed_by: 1 };
    call(py, [y], shaped, &keywords, |[y], out, options| match y {
        Input::View(y) => ops::softmax_jacobian(&y, one, out, options),
        Input::InPlace => Err(Error::OutOfBounds),
    })
}

/// The keywords of both gradients of logsumexp.
struct Sum<'a, 'py> {
    lse: &'a Bound<'py, PyAny>,
    dlse: &'a Bound<'py, PyAny>,
    b: Option<&'a Bound<'py, PyAny>>,
    sign: Option<&'a Bound<'py, PyAny>>,
}

fn logsumexp_grad<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    sum: &Sum<'_, 'py>,
    keywords: &Keywords<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let one = PyFloat::new(py, 1.0).into_any();
    let array = |name: &str, object: Option<&Bound<'py, PyAny>>| -> PyResult<Array<'py>> {
        inputs::array(name, object.unwrap_or(&one))
    };
    let arrays = [
        inputs::array("x", x)?,
        inputs::array("lse", sum.lse)?,
        inputs::array("dlse", sum.dlse)?,
        array("b", sum.b)?,
        array("sign", sum.sign)?,
    ];
    let is_weighted = sum.b.is_some() || sum.sign.is_some();
    let shaped = Shaped { shape: None, typed_by: 1 };
    call(py, arrays, shaped, keywords, |inputs, out, options| match inputs {
        [Input::View(x), Input::View(lse), Input::View(dlse), Input::View(b), Input::View(sign)] => {
            let weights = is_weighted.then_some([&b, &sign]);
            ops::logsumexp_vjp(&x, [&lse, &dlse], weights, out, options)
        }
        _ => Err(Error::OutOfBounds),
    })
}

#[doc = include_str!("docs/logsumexp_vjp.md")]
#[pyfunction]
#[pyo3(
    signature = (x, lse, dlse, /, axis = Axis::All, *, b = None, sign = None, r#where = None, out = None,
                 num_threads = None),
    text_signature = "(x, lse, dlse, /, axis=None, *, b=None, sign=None, where=None, out=None, num_threads=None)"
)]
pub(super) fn logsumexp_vjp<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    lse: &Bound<'py, PyAny>,
    dlse: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    b: Option<&Bound<'py, PyAny>>,
    sign: Option<&Bound<'py, PyAny>>,
    r#where: Option<&Bound<'py, PyAny>>,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mask = inputs::mask(r#where)?;
    let keywords = Keywords { axis, temperature: 1.0, mask, out, dtype: None, num_threads };
    logsumexp_grad(py, x, &Sum { lse, dlse, b, sign }, &keywords)
}

#[doc = include_str!("docs/logsumexp_vjp_b.md")]
#[pyfunction]
#[pyo3(
    signature = (x, lse, dlse, /, axis = Axis::All, *, sign = None, r#where = None, out = None, num_threads = None),
    text_signature = "(x, lse, dlse, /, axis=None, *, sign=None, where=None, out=None, num_threads=None)"
)]
pub(super) fn logsumexp_vjp_b<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    lse: &Bound<'py, PyAny>,
    dlse: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    sign: Option<&Bound<'py, PyAny>>,
    r#where: Option<&Bound<'py, PyAny>>,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mask = inputs::mask(r#where)?;
    let keywords = Keywords { axis, temperature: 1.0, mask, out, dtype: None, num_threads };
    logsumexp_grad(py, x, &Sum { lse, dlse, b: None, sign }, &keywords)
}
