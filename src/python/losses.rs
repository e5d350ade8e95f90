//! Arguments that losses have in common: `reduction` and `dloss`.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::arrays::Array;
use super::errors::to_python;
use super::inputs;
use crate::element::DType;
use crate::error::Error;
use crate::layout::broadcast_shape;
use crate::ops::Reduction;

/// The argument `reduction`.
pub(super) fn reduction(object: &Bound<'_, PyAny>) -> PyResult<Reduction> {
    const EXPECTED: &str = "reduction must be 'mean', 'sum' or 'none'";
    let Ok(name) = object.cast::<PyString>() else {
        let class = object.get_type().fully_qualified_name()?;
        return Err(PyTypeError::new_err(format!("{EXPECTED}, got {class}")));
    };
    let name = name.to_cow()?;
    let known = Reduction::ALL.into_iter().find(|known| known.name() == name);
    known.ok_or_else(|| {
        PyValueError::new_err(format!(
            "{EXPECTED}, got {}",
            object.repr().map_or_else(|_| name.to_string(), |repr| repr.to_string())
        ))
    })
}

/// The type of the losses of logits: in half precision they would serve nobody.
pub(super) fn loss_type(logits: &Array<'_>) -> DType {
    if logits.dtype().result() == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The cotangent of a loss.
pub(super) enum Cotangent<'py> {
    /// The same for all losses.
    Number(f64),
    /// One for each loss, of a shape that broadcasts to theirs.
    Array(Array<'py>),
}

/// The argument `dloss`, by default 1, for losses of `shape` before their reduction: a number if they are reduced, else
/// what broadcasts to the shape.
pub(super) fn cotangent<'py>(
    object: Option<&Bound<'py, PyAny>>,
    reduction: Reduction,
    shape: &[usize],
) -> PyResult<Cotangent<'py>> {
    let Some(object) = object else { return Ok(Cotangent::Number(1.0)) };
    let array = inputs::array("dloss", object)?;
    let own = array.shape();
    if own.is_empty() {
        return array.number().map(Cotangent::Number);
    }
    let want = if reduction == Reduction::None { shape } else { &[] };
    if own.len() <= want.len() && broadcast_shape(own, want).as_deref() == Some(want) {
        return Ok(Cotangent::Array(array));
    }
    let (argument, got, want) = ("dloss", own.to_vec(), want.to_vec());
    Err(to_python(
        object.py(),
        match reduction {
            Reduction::None => Error::Broadcast { argument, got, want },
            _ => Error::ShapeMismatch { argument, got, want },
        },
    ))
}
