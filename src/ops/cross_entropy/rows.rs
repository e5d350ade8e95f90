//! Rows and their labels: where they are, what they count, and what they add up to.
#![forbid(unsafe_code)]

use crate::dispatch::{Dispatch, Isa};
use crate::element::{DType, DoubleDouble, WideScalar};
use crate::kernels::one_or_each;
use crate::kernels::softmax::{Found, Scale};
use crate::kernels::sum::SumKernel;
use crate::layout::{Offsets, Plan};
use crate::view::{IGNORED, View};

/// What labels say of the rows, in C order.
pub(super) struct Rows {
    /// The class of each row; empty for probabilities.
    pub(super) classes: Vec<usize>,
    /// One for each class, or none.
    pub(super) weights: Vec<f64>,
    /// What a mean divides by.
    pub(super) divisor: DoubleDouble,
}

impl Rows {
    /// Whether a row counts, by its number in C order.
    #[inline]
    pub(super) fn counts(&self, row: usize) -> bool {
        self.classes.get(row) != Some(&IGNORED)
    }

    /// The losses of rows, of which none has a term beside that of its class.
    pub(super) fn weighted_losses(&self, found: Found, scale: &[Scale]) -> Vec<f64> {
        let mut losses = found.into_losses();
        let are_all_one = matches!(scale, [Scale { weight: 1.0, .. }]) && !self.classes.contains(&IGNORED);
        if !are_all_one {
            for (row, loss) in losses.iter_mut().enumerate() {
                let weight = one_or_each(scale, row).weight;
                *loss = if self.counts(row) { weighted(*loss, weight) } else { 0.0 };
            }
        }
        losses
    }
}

/// A loss times its weight. A class of no weight does not count, whatever its chance.
pub(super) fn weighted(loss: f64, weight: f64) -> f64 {
    if weight == 0.0 && !loss.is_nan() { 0.0 } else { loss * weight }
}

/// Where rows are.
pub(super) struct Places<'a> {
    pub(super) shape: &'a [usize],
    /// Logits, row number in C order, mask; and where the kernel writes.
    pub(super) plan: Plan<3>,
    pub(super) mask: Option<View<'a>>,
}

impl Places<'_> {
    /// The number of a lane's row in C order.
    #[inline]
    pub(super) fn row(at: &Offsets<3>) -> usize {
        at.src[1] as usize
    }

    /// The class of a lane's row; `None` where it does not count, or has a distribution.
    #[inline]
    pub(super) fn class(at: &Offsets<3>, rows: &Rows) -> Option<usize> {
        let class = *rows.classes.get(Self::row(at))?;
        (class != IGNORED).then_some(class)
    }

    /// Whether the mask has that class in that lane.
    #[inline]
    pub(super) fn keeps(&self, at: &Offsets<3>, class: usize) -> bool {
        let Some(mask) = &self.mask else { return true };
        mask.memory().is_true(at.src[2] + self.plan.step().src[2] * class as isize)
    }

    /// Whether lanes are numbered as the rows are, and nothing is masked out.
    pub(super) fn are_plain(&self) -> bool {
        let mut step = 1;
        let in_order = self.plan.outer.iter().rev().all(|dim| {
            let is_next = dim.size == 1 || dim.src[1] == step;
            step *= dim.size as isize;
            is_next
        });
        self.mask.is_none() && in_order
    }

    /// Whether the mask leaves nothing of a lane.
    pub(super) fn is_masked_out(&self, at: &Offsets<3>) -> bool {
        self.mask.is_some() && (0..self.plan.len).all(|class| !self.keeps(at, class))
    }

    /// The even share of each class: one for all lanes, or for each where a mask decides over how many it is spread.
    pub(super) fn even(&self, smoothing: f64) -> Vec<f64> {
        if self.mask.is_none() || smoothing == 0.0 {
            return vec![smoothing / self.plan.len as f64];
        }
        let kept = |at: &_| (0..self.plan.len).filter(|&class| self.keeps(at, class)).count().max(1);
        (0..self.plan.count).map(|lane| smoothing / kept(&self.plan.lane(lane)) as f64).collect()
    }
}

/// What the targets of each lane come to that a mask leaves out, in the order of the other lanes; nothing where all of these are zero. The
/// plan's sources are the probabilities and the mask.
pub(super) fn hidden(plan: &Plan<2>, [labels, mask]: [&View<'_>; 2], weights: &[f64]) -> Vec<f64> {
    let (labels, mask, steps) = (labels.memory(), mask.memory(), plan.step().src);
    let mut hidden = vec![0.0; plan.count];
    plan.each_lane(|lane, at| {
        for class in 0..plan.len {
            let place = |k: usize| at.src[k] + steps[k] * class as isize;
            if !mask.is_true(place(1)) {
                hidden[lane] += weights.get(class).unwrap_or(&1.0) * labels.number(place(0));
            }
        }
    });
    if hidden.iter().all(|&sum| sum == 0.0) { Vec::new() } else { hidden }
}

/// A sum in twice the precision, by a fixed tree.
pub(super) fn sum(isa: Isa, terms: &[f64]) -> DoubleDouble {
    let sum = f64::dispatch(isa, SumKernel { terms });
    // Infinite terms leave no error to keep.
    if sum.hi.is_finite() { sum } else { DoubleDouble::widened(terms.iter().sum()) }
}

/// Strides that number rows in C order.
pub(super) fn in_order(shape: &[usize], reduced: &[bool]) -> Vec<isize> {
    let (mut strides, mut step) = (vec![0; shape.len()], 1);
    for axis in (0..shape.len()).rev() {
        if !reduced[axis] {
            strides[axis] = step;
            step *= shape[axis] as isize;
        }
    }
    strides
}

/// Whether labels of this type are probabilities.
pub(super) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
}
