//! Binary cross-entropy and its gradient: the functions, and two outputs at a time.
// As many arguments as Python's signatures have.
#![allow(clippy::too_many_arguments)]

use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyTuple};

use super::arrays::{Array, Place, ResultType};
use super::call::{LONG, worked};
use super::losses::{Cotangent, cotangent, loss_type, reduction};
use super::{inputs, outputs, threads};
use crate::element::DType;
use crate::ops::{self, Input, Options, Reduction, Weighting};
use crate::view::View;

#[doc = include_str!("docs/binary_cross_entropy.md")]
#[pyfunction]
#[pyo3(
    signature = (logits, targets, /, *, weight = None, pos_weight = None, reduction = Reduction::Mean, num_threads = None),
    text_signature = "(logits, targets, /, *, weight=None, pos_weight=None, reduction='mean', num_threads=None)"
)]
pub(super) fn binary_cross_entropy<'py>(
    py: Python<'py>,
    logits: &Bound<'py, PyAny>,
    targets: &Bound<'py, PyAny>,
    weight: Option<&Bound<'py, PyAny>>,
    pos_weight: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = reduction)] reduction: Reduction,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = Arrays::new(logits, targets, weight, pos_weight, reduction)?;
    let losses = arrays.losses(py)?;
    arrays.call(py, &losses, None, num_threads)?;
    losses.into_result()
}

#[doc = include_str!("docs/binary_cross_entropy_value_and_grad.md")]
#[pyfunction]
#[pyo3(
    signature = (logits, targets, /, *, weight = None, pos_weight = None, reduction = Reduction::Mean, dloss = None,
                 out = None, num_threads = None),
    text_signature = "(logits, targets, /, *, weight=None, pos_weight=None, reduction='mean', dloss=None, \
                      out=None, num_threads=None)"
)]
pub(super) fn binary_cross_entropy_value_and_grad<'py>(
    py: Python<'py>,
    logits: &Bound<'py, PyAny>,
    targets: &Bound<'py, PyAny>,
    weight: Option<&Bound<'py, PyAny>>,
    pos_weight: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = reduction)] reduction: Reduction,
    dloss: Option<&Bound<'py, PyAny>>,
    out: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arrays = Arrays::new(logits, targets, weight, pos_weight, reduction)?;
    let shape = arrays.logits.shape();
    let cotangent = cotangent(dloss, reduction, shape)?;
    let result = ResultType::of(std::slice::from_ref(&arrays.logits))?;
    let gradients = match out {
        Some(out) => outputs::given(out, shape, result.dtype)?,
        None => Array::new_like(&arrays.logits, result)?,
    };
    let losses = arrays.losses(py)?;
    arrays.call(py, &losses, Some((&gradients, cotangent)), num_threads)?;
    let gradients = match out {
        Some(out) => out.clone(),
        None => gradients.into_result()?,
    };
    Ok(PyTuple::new(py, [losses.into_result()?, gradients])?.into_any())
}

/// What is read.
struct Arrays<'py> {
    logits: Array<'py>,
    targets: Array<'py>,
    weights: [Option<Array<'py>>; 2],
    /// Whether a weight has a type that asks for `f64`.
    is_wide: bool,
    reduction: Reduction,
}

impl<'py> Arrays<'py> {
    fn new(
        logits: &Bound<'py, PyAny>,
        targets: &Bound<'py, PyAny>,
        weight: Option<&Bound<'py, PyAny>>,
        pos_weight: Option<&Bound<'py, PyAny>>,
        reduction: Reduction,
    ) -> PyResult<Self> {
        let (logits, targets) = (inputs::array("logits", logits)?, inputs::array("targets", targets)?);
        let mut is_wide = false;
        let mut weights = [const { None }; 2];
        for (k, (name, object)) in [("weight", weight), ("pos_weight", pos_weight)].into_iter().enumerate() {
            let Some(object) = object else { continue };
            let array = inputs::array(name, object)?;
            // The type of a Python number counts as little as everywhere in NumPy.
            let is_number = object.is_exact_instance_of::<PyFloat>() || object.is_instance_of::<PyInt>();
            is_wide |= !is_number && array.dtype().result() == DType::F64;
            weights[k] = Some(array);
        }
        Ok(Self { logits, targets, weights, is_wide, reduction })
    }

    /// A new array for the losses.
    fn losses(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        let result = ResultType::new(loss_type(&self.logits), None)?;
        match self.reduction {
            Reduction::None => Array::new_like(&self.logits, result),
            _ => Array::empty(py, &[], result),
        }
    }

    fn call(
        &self,
        py: Python<'py>,
        losses: &Array<'py>,
        gradients: Option<(&Array<'py>, Cotangent<'py>)>,
        num_threads: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let threads = threads::in_force(py, num_threads)?;
        let (long, reduction) = (self.logits.len() >= LONG, self.reduction);
        let at_least = self.is_wide.then_some(DType::F64);
        let (logits, targets, losses) =
            (self.logits.place(long), self.targets.place(long), losses.place(long));
        let weights = self.weights.each_ref().map(|array| array.as_ref().map(|array| array.place(long)));
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
            let (logits, targets) = (view(&logits), view(&targets));
            let [weight, pos_weight] = weights.each_ref().map(|place| place.as_ref().map(view));
            let weighting = Weighting { weight: weight.as_ref(), pos_weight: pos_weight.as_ref(), reduction };
            let options = Options { at_least, threads, keep_going, ..Options::default() };
            let Some((out, dloss)) = &gradients else {
                return ops::binary_cross_entropy(&logits, &targets, &weighting, &mut losses, &options);
            };
            // SAFETY: as above.
            let mut out = unsafe { out.view_mut() }?;
            let dloss = dloss.as_ref().map_err(view);
            let cotangent = match &dloss {
                Ok(number) => ops::Cotangent::Number(**number),
                Err(array) => ops::Cotangent::Array(array),
            };
            let logits = Input::View(logits);
            ops::binary_cross_entropy_value_and_grad(
                logits,
                &targets,
                &weighting,
                cotangent,
                &mut losses,
                &mut out,
                &options,
            )
        };
        worked(py, long, work)
    }
}
