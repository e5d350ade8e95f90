//! Cross-entropy and its gradient: the functions, their arguments, and several outputs at a time.
// As many arguments as Python's signatures have.
#![allow(clippy::too_many_arguments)]

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString, PyTuple};

use super::arguments::Axis;
use super::arrays::{Array, Place, ResultType};
use super::call::{Keywords, LONG, Shaped, call, worked};
use super::losses::{Cotangent, cotangent, loss_type, reduction};
use super::{errors, inputs, outputs, threads};
use crate::error::Error;
use crate::ops::{self, Input, Labelling, Options, Reduction};
use crate::view::View;

#[doc = include_str!("docs/cross_entropy.md")]
#[pyfunction]
#[pyo3(
    signature = (logits, labels, /, axis = Axis::LAST, *, weight = None, ignore_index = IGNORED, label_smoothing = 0.0,
                 reduction = Reduction::Mean, z_loss = 0.0, r#where = None, return_lse = false, num_threads = None),
    text_signature = "(logits, labels, /, axis=-1, *, weight=None, ignore_index=-100, label_smoothing=0.0, \
                      reduction='mean', z_loss=0.0, where=None, return_lse=False, num_threads=None)"
)]
pub(super) fn cross_entropy<'py>(
    py: Python<'py>,
    logits: &Bound<'py, PyAny>,
    labels: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    weight: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = ignored)] ignore_index: i128,
    #[pyo3(from_py_with = smoothing)] label_smoothing: f64,
    #[pyo3(from_py_with = reduction)] reduction: Reduction,
    #[pyo3(from_py_with = z_factor)] z_loss: f64,
    r#where: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = PyAnyMethods::is_truthy)] return_lse: bool,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let numbers = Numbers { ignore_index, label_smoothing, reduction, z_loss, is_divergence: false };
    let call = Call::new(py, (logits, labels, weight, r#where), axis, numbers)?;
    let losses = call.losses(py)?;
    call.run(py, &losses, None, num_threads)?;
    let losses = losses.into_result()?;
    if return_lse {
        return Ok(PyTuple::new(py, [losses, call.lse(py, num_threads)?])?.into_any());
    }
    Ok(losses)
}

#[doc = include_str!("docs/cross_entropy_value_and_grad.md")]
#[pyfunction]
#[pyo3(
    signature = (logits, labels, /, axis = Axis::LAST, *, weight = None, ignore_index = IGNORED, label_smoothing = 0.0,
                 reduction = Reduction::Mean, z_loss = 0.0, r#where = None, return_lse = false, dloss = None, out = None,
                 num_threads = None),
    text_signature = "(logits, labels, /, axis=-1, *, weight=None, ignore_index=-100, label_smoothing=0.0, \
                      reduction='mean', z_loss=0.0, where=None, return_lse=False, dloss=None, out=None, \
                      num_threads=None)"
)]
pub(super) fn cross_entropy_value_and_grad<'py>(
    py: Python<'py>,
    logits: &Bound<'py, PyAny>,
    labels: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    weight: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = ignored)] ignore_index: i128,
    #[pyo3(from_py_with = smoothing)] label_smoothing: f64,
    #[pyo3(from_py_with = reduction)] reduction: Reduction,
    #[pyo3(from_py_with = z_factor)] z_loss: f64,
    r#where: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = PyAnyMethods::is_truthy)] return_lse: bool,
    dloss: Option<&Bound<'py, PyAny>>,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let numbers = Numbers { ignore_index, label_smoothing, reduction, z_loss, is_divergence: false };
    let call = Call::new(py, (logits, labels, weight, r#where), axis, numbers)?;
    // First, for the gradient may be written to where the logits are.
    let lse = if return_lse { Some(call.lse(py, num_threads)?) } else { None };
    let [losses, gradients] = call.value_and_grad(py, (dloss, out), num_threads)?;
    let results = match lse {
        Some(lse) => PyTuple::new(py, [losses, gradients, lse])?,
        None => PyTuple::new(py, [losses, gradients])?,
    };
    Ok(results.into_any())
}

#[doc = include_str!("docs/kl_divergence.md")]
#[pyfunction]
#[pyo3(
    signature = (logits, targets, /, axis = Axis::LAST, *, reduction = Reduction::Mean, num_threads = None),
    text_signature = "(logits, targets, /, axis=-1, *, reduction='mean', num_threads=None)"
)]
pub(super) fn kl_divergence<'py>(
    py: Python<'py>,
    logits: &Bound<'py, PyAny>,
    targets: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = reduction)] reduction: Reduction,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let call = Call::new(py, (logits, targets, None, None), axis, Numbers::of_divergence(reduction))?;
    let losses = call.losses(py)?;
    call.run(py, &losses, None, num_threads)?;
    losses.into_result()
}

#[doc = include_str!("docs/kl_divergence_value_and_grad.md")]
#[pyfunction]
#[pyo3(
    signature = (logits, targets, /, axis = Axis::LAST, *, reduction = Reduction::Mean, dloss = None, out = None,
                 num_threads = None),
    text_signature = "(logits, targets, /, axis=-1, *, reduction='mean', dloss=None, out=None, num_threads=None)"
)]
pub(super) fn kl_divergence_value_and_grad<'py>(
    py: Python<'py>,
    logits: &Bound<'py, PyAny>,
    targets: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = Axis::from_python)] axis: Axis,
    #[pyo3(from_py_with = reduction)] reduction: Reduction,
    dloss: Option<&Bound<'py, PyAny>>,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let call = Call::new(py, (logits, targets, None, None), axis, Numbers::of_divergence(reduction))?;
    Ok(PyTuple::new(py, call.value_and_grad(py, (dloss, out), num_threads)?)?.into_any())
}

/// A number between two texts: what it is called and what it must be.
fn number(object: &Bound<'_, PyAny>, argument: &str) -> PyResult<f64> {
    object.extract().map_err(|error: PyErr| {
        let (py, must) = (object.py(), format!("{argument} must be a number"));
        match error {
            error if error.is_instance_of::<PyTypeError>(py) => {
                PyTypeError::new_err(format!("{must}: {}", error.value(py)))
            }
            error if error.is_instance_of::<PyOverflowError>(py) => {
                PyValueError::new_err(format!("{must} that a float can hold: {}", error.value(py)))
            }
            error => error,
        }
    })
}

fn smoothing(object: &Bound<'_, PyAny>) -> PyResult<f64> {
    number(object, "label_smoothing")
}

fn z_factor(object: &Bound<'_, PyAny>) -> PyResult<f64> {
    number(object, "z_loss")
}

/// The argument `ignore_index` by default, as in PyTorch.
const IGNORED: i128 = -100;

/// The argument `ignore_index`: any integer. One that no label can be is as good as another.
fn ignored(object: &Bound<'_, PyAny>) -> PyResult<i128> {
    let wrong = || {
        let class = object.get_type();
        let name = class.fully_qualified_name().map_or_else(|_| "object".into(), |name| name.to_string());
        PyTypeError::new_err(format!("ignore_index must be an integer, got {name}"))
    };
    if object.is_instance_of::<PyBool>() {
        return Err(wrong());
    }
    let index = object.call_method0("__index__").map_err(|_| wrong())?;
    if !index.is_instance_of::<PyInt>() {
        return Err(wrong());
    }
    Ok(index.extract::<i128>().unwrap_or(i128::MAX))
}

/// The options that are no arrays.
#[derive(Clone, Copy)]
struct Numbers {
    ignore_index: i128,
    label_smoothing: f64,
    reduction: Reduction,
    z_loss: f64,
    is_divergence: bool,
}

impl Numbers {
    /// What the argument is called that the logits are compared with.
    fn labels(self) -> &'static str {
        if self.is_divergence { "targets" } else { "labels" }
    }

    fn of_divergence(reduction: Reduction) -> Self {
        Self { ignore_index: 0, label_smoothing: 0.0, reduction, z_loss: 0.0, is_divergence: true }
    }
}

/// What is read.
struct Call<'py> {
    logits: Array<'py>,
    labels: Array<'py>,
    weight: Option<Array<'py>>,
    mask: Option<Array<'py>>,
    axis: isize,
    /// The logits' shape without the axis.
    rows: Vec<usize>,
    numbers: Numbers,
}

/// Logits, labels, weight, where.
type Objects<'a, 'py> = (
    &'a Bound<'py, PyAny>,
    &'a Bound<'py, PyAny>,
    Option<&'a Bound<'py, PyAny>>,
    Option<&'a Bound<'py, PyAny>>,
);

#[cold]
fn not_one_axis(got: &str) -> PyErr {
    PyTypeError::new_err(format!("axis must be one integer, the axis of the classes, got {got}"))
}

impl<'py> Call<'py> {
    fn new(
        py: Python<'py>,
        (logits, labels, weight, mask): Objects<'_, 'py>,
        axis: Axis,
        numbers: Numbers,
    ) -> PyResult<Self> {
        let index = match axis {
            Axis::One(index) => index,
            Axis::All => return Err(not_one_axis("None")),
            Axis::Many(_) => return Err(not_one_axis("a tuple")),
        };
        let (logits, labels) = (inputs::array("logits", logits)?, inputs::array(numbers.labels(), labels)?);
        let weight = weight.map(|weight| inputs::array("weight", weight)).transpose()?;
        let mask = inputs::mask(mask)?;
        let to_python = |error| errors::to_python(py, error);
        if logits.shape().is_empty() {
            return Err(to_python(Error::AxisOutOfRange { axis: index, ndim: 0 }));
        }
        let rows = axis.result_shape(logits.shape(), false).map_err(to_python)?;
        Ok(Self { logits, labels, weight, mask, axis: index, rows, numbers })
    }

    /// A new array for the losses.
    fn losses(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        let shape = if self.numbers.reduction == Reduction::None { &self.rows[..] } else { &[] };
        Array::empty(py, shape, ResultType::new(loss_type(&self.logits), None)?)
    }

    /// The logarithms of the rows' sums.
    fn lse(&self, py: Python<'py>, num_threads: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let (axis, mask) = (Axis::One(self.axis), self.mask.clone());
        let dtype = PyString::new(py, loss_type(&self.logits).name()).into_any();
        let keywords = Keywords { axis, temperature: 1.0, mask, out: None, dtype: Some(&dtype), num_threads };
        let shaped = Shaped { shape: Some(self.rows.clone()), typed_by: 1 };
        let logits = [self.logits.clone()];
        call(py, logits, shaped, &keywords, |[x], out, options| ops::logsumexp(x, out, options))
    }

    /// The losses and the gradient.
    fn value_and_grad(
        &self,
        py: Python<'py>,
        (dloss, out): (Option<&Bound<'py, PyAny>>, Option<&Bound<'py, PyAny>>),
        num_threads: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<[Bound<'py, PyAny>; 2]> {
        let cotangent = cotangent(dloss, self.numbers.reduction, &self.rows)?;
        let result = ResultType::of(std::slice::from_ref(&self.logits))?;
        let gradients = match out {
            Some(out) => outputs::given(out, self.logits.shape(), result.dtype)?,
            None => Array::new_like(&self.logits, result)?,
        };
        let losses = self.losses(py)?;
        self.run(py, &losses, Some((&gradients, cotangent)), num_threads)?;
        let gradients = match out {
            Some(out) => out.clone(),
            None => gradients.into_result()?,
        };
        Ok([losses.into_result()?, gradients])
    }

    fn run(
        &self,
        py: Python<'py>,
        losses: &Array<'py>,
        gradients: Option<(&Array<'py>, Cotangent<'py>)>,
        num_threads: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let threads = threads::in_force(py, num_threads)?;
        let Numbers { ignore_index, label_smoothing, reduction, z_loss, is_divergence } = self.numbers;
        let (long, axis) = (self.logits.len() >= LONG, self.axis);
        let (logits, labels, losses) = (self.logits.place(long), self.labels.place(long), losses.place(long));
        let weight = self.weight.as_ref().map(|array| array.place(long));
        let mask = self.mask.as_ref().map(|array| array.place(long));
        let gradients = gradients.as_ref().map(|(out, cotangent)| match cotangent {
            Cotangent::Number(number) => (out.place(long), Ok(*number)),
            Cotangent::Array(array) => (out.place(long), Err(array.place(long))),
        });
        let work = |keep_going: &dyn Fn() -> bool| {
            fn view<'a>(place: &'a Place<'_>) -> View<'a> {
                // SAFETY: as in `call`: the losses are new, the gradients new or found writeable, and nobody else
                // writes to the arrays meanwhile.
                unsafe { place.view() }
            }
            // SAFETY: as above.
            let mut losses = unsafe { losses.view_mut() }?;
            let (logits, labels) = (view(&logits), view(&labels));
            let (weight, mask) = (weight.as_ref().map(view), mask.as_ref().map(view));
            let weight = weight.as_ref();
            let labelling = Labelling { weight, ignore_index, label_smoothing, reduction, z_loss };
            let axes = crate::layout::Axes::One(axis);
            let options = Options { axes, mask: mask.as_ref(), threads, keep_going, ..Options::default() };
            let Some((out, dloss)) = &gradients else {
                if is_divergence {
                    return ops::kl_divergence(&logits, &labels, reduction, &mut losses, &options);
                }
                return ops::cross_entropy(&logits, &labels, &labelling, &mut losses, &options);
            };
            // SAFETY: as above.
            let mut out = unsafe { out.view_mut() }?;
            let dloss = dloss.as_ref().map_err(view);
            let cotangent = match &dloss {
                Ok(number) => ops::Cotangent::Number(**number),
                Err(array) => ops::Cotangent::Array(array),
            };
            let logits = Input::View(logits);
            if is_divergence {
                return ops::kl_divergence_value_and_grad(
                    logits,
                    &labels,
                    reduction,
                    cotangent,
                    &mut losses,
                    &mut out,
                    &options,
                );
            }
            ops::cross_entropy_value_and_grad(
                logits,
                &labels,
                &labelling,
                cotangent,
                &mut losses,
                &mut out,
                &options,
            )
        };
        worked(py, long, work)
    }
}
