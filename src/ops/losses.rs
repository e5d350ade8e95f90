//! What losses have in common.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::view::View;

/// What becomes of the losses of the single rows or entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Nothing: each is given.
    None,
}

impl Reduction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mean, Self::Sum, Self::None];

    /// The name that Python's functions take.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::None => "none",
        }
    }
}

/// The cotangent of losses: the gradient of something with respect to them.
#[derive(Clone, Copy)]
pub enum Cotangent<'a> {
    /// The same for all.
    Number(f64),
    /// One for each, of a shape that broadcasts to theirs.
    Array(&'a View<'a>),
}

/// Fails where an array has another shape.
pub(super) fn same_shape(argument: &'static str, view: &View<'_>, want: &[usize]) -> Result<(), Error> {
    if view.shape() == want {
        return Ok(());
    }
    Err(Error::ShapeMismatch { argument, got: view.shape().to_vec(), want: want.to_vec() })
}
