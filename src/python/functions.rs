//! The functions of the extension: signatures, docstrings, and which operation each of them is.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::arguments::{Axis, temperature};
use super::call::{Keywords, call};
use super::{errors, inputs, threads};
use crate::dispatch::Isa;
use crate::ops;

/// The version of the package, which is that of the crate.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[doc = include_str!("docs/softmax.md")]
#[pyfunction]
#[pyo3(
    signature = (x, /, axis = Axis::LAST, *, temperature = 1.0, out = None, dtype = None, num_threads = None),
    text_signature = "(x, /, axis=-1, *, temperature=1.0, out=None, dtype=None, num_threads=None)"
)]
pub(super) fn softmax<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("x", x)?];
    let keywords = Keywords { axis, temperature, out, dtype, num_threads };
    call(py, arrays, None, &keywords, |[x], out, options| ops::softmax(x, out, options))
}

#[doc = include_str!("docs/log_softmax.md")]
#[pyfunction]
#[pyo3(
    signature = (x, /, axis = Axis::LAST, *, temperature = 1.0, out = None, dtype = None, num_threads = None),
    text_signature = "(x, /, axis=-1, *, temperature=1.0, out=None, dtype=None, num_threads=None)"
)]
pub(super) fn log_softmax<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = temperature)] temperature: f64,
    out: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("x", x)?];
    let keywords = Keywords { axis, temperature, out, dtype, num_threads };
    call(py, arrays, None, &keywords, |[x], out, options| ops::log_softmax(x, out, options))
}

#[doc = include_str!("docs/logsumexp.md")]
#[pyfunction]
#[pyo3(
    signature = (x, /, axis = Axis::All, *, keepdims = false, out = None, dtype = None, num_threads = None),
    text_signature = "(x, /, axis=None, *, keepdims=False, out=None, dtype=None, num_threads=None)"
)]
pub(super) fn logsumexp<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    keepdims: bool,
    out: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = [inputs::array("x", x)?];
    let shape =
        axis.result_shape(arrays[0].shape(), keepdims).map_err(|error| errors::to_python(py, error))?;
    let keywords = Keywords { axis, temperature: 1.0, out, dtype, num_threads };
    call(py, arrays, Some(shape), &keywords, |[x], out, options| ops::logsumexp(x, out, options))
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
    let keywords = Keywords { axis: Axis::All, temperature: 1.0, out, dtype, num_threads };
    call(py, arrays, None, &keywords, |[x], out, options| ops::sigmoid(x, out, options))
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
    let keywords = Keywords { axis: Axis::All, temperature: 1.0, out, dtype, num_threads };
    call(py, arrays, None, &keywords, |[x], out, options| ops::log_sigmoid(x, out, options))
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
    let keywords = Keywords { axis, temperature, out, dtype: None, num_threads };
    call(py, arrays, None, &keywords, |[y, dy], out, options| ops::softmax_vjp(y, dy, out, options))
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
    let keywords = Keywords { axis, temperature, out, dtype: None, num_threads };
    call(py, arrays, None, &keywords, |[y, dx], out, options| ops::softmax_jvp(y, dx, out, options))
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
