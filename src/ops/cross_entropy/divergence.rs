//! The Kullback–Leibler divergence: a cross-entropy less the targets' own.
#![forbid(unsafe_code)]

use super::{Call, Labelling};
use crate::error::Error;
use crate::ops::losses::{Cotangent, Reduction};
use crate::ops::{Input, Options};
use crate::view::{View, ViewMut};

/// The Kullback–Leibler divergence of [`softmax`](super::softmax) along one axis from targets of the logits' shape:
/// `sum(t · (ln(t) - ln(softmax(x))))` for each row, where targets of 0 do not count.
pub fn kl_divergence(
    logits: &View<'_>,
    targets: &View<'_>,
    reduction: Reduction,
    losses: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let labelling = Labelling { reduction, ..Labelling::default() };
    let call = Call::new(logits, targets, &labelling, losses, None, options);
    Call { is_relative: true, ..call }.typed()
}

/// [`kl_divergence`] and its gradient with respect to the logits, `sum(t) · softmax(x) - t` times the cotangent.
pub fn kl_divergence_value_and_grad(
    logits: Input<'_>,
    targets: &View<'_>,
    reduction: Reduction,
    cotangent: Cotangent<'_>,
    losses: &mut ViewMut<'_>,
    gradients: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let labelling = Labelling { reduction, ..Labelling::default() };
    let gradients = gradients.as_view();
    let logits = logits.view(gradients);
    let call = Call::new(logits, targets, &labelling, losses, Some((gradients, cotangent)), options);
    Call { is_relative: true, ..call }.typed()
}
