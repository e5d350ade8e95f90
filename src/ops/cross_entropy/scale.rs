//! What the gradients of rows are multiplied by.
#![forbid(unsafe_code)]

use super::Call;
use super::rows::{Places, Rows};
use crate::element::{DType, DoubleDouble, WideScalar, two_to};
use crate::kernels::one_or_each;
use crate::kernels::softmax::Scale;
use crate::ops::Reduction;
use crate::view::View;

impl Call<'_> {
    /// What each lane's gradient is multiplied by; one for all, where that is so. What is `hidden` of probabilities is as one class's.
    pub(super) fn scale(
        &self,
        places: &Places<'_>,
        rows: &Rows,
        cotangents: &[f64],
        (sharp, even, hidden): (f64, &[f64], &[f64]),
    ) -> Vec<Scale> {
        let divisor = match self.labelling.reduction {
            Reduction::Mean if rows.divisor.hi == 0.0 => DoubleDouble::widened(f64::NAN),
            Reduction::Mean => rows.divisor,
            _ => DoubleDouble::widened(1.0),
        };
        let keeps_rest = divisor.hi != 1.0 && self.logits.dtype().result() == DType::F64;
        let of = |lane: usize| {
            let at = places.plan.lane(lane);
            let dividend = one_or_each(cotangents, Places::row(&at));
            let (cotangent, mut rest) = (dividend / divisor.hi, 0.0);
            if keeps_rest {
                let left = (-cotangent).mul_add(divisor.hi, dividend) - cotangent * divisor.lo;
                rest = left / divisor.hi;
            }
            let weight = match Places::class(&at, rows) {
                Some(class) if !rows.weights.is_empty() => rows.weights[class],
                Some(_) => 1.0,
                None => hidden.get(lane).copied().unwrap_or(0.0),
            };
            let rest = if rest.is_finite() { rest } else { 0.0 };
            Scale { cotangent, rest, weight: weight * sharp, smooth: weight * one_or_each(even, lane) }
        };
        let is_uniform =
            rows.weights.is_empty() && cotangents.len() == 1 && even.len() == 1 && hidden.is_empty();
        let counts = |&lane: &usize| Places::class(&places.plan.lane(lane), rows).is_some();
        let first = (0..places.plan.count).find(counts);
        match (is_uniform, first.unwrap_or(0)) {
            (true, lane) => vec![of(lane)],
            (false, _) => (0..places.plan.count).map(of).collect(),
        }
    }
}

/// Multiplies gradients by what [`bring_within_reach`](crate::kernels::softmax::bring_within_reach) says.
pub(super) fn reduce_again(out: &View<'_>, places: &Places<'_>, factors: &[[f64; 2]]) {
    if factors.is_empty() {
        return;
    }
    let (memory, step) = (out.memory(), places.plan.step().dst);
    places.plan.each_lane(|lane, at| {
        let [first, second] = one_or_each(factors, lane);
        if first == 1.0 && second == 1.0 {
            return;
        }
        for class in 0..places.plan.len {
            let place = at.dst + step * class as isize;
            memory.set(place, memory.number(place) * first * second);
        }
    });
}

/// Multiplies the weights of a mean, of which only the ratios count, by a power of two that keeps their sums and quotients finite.
pub(super) fn within_reach(weights: &mut [f64]) {
    let largest = weights.iter().fold(0.0, |largest: f64, &weight| largest.max(weight));
    let factor = match largest {
        x if x > two_to(900) => two_to(-128),
        x if x > 0.0 && x < two_to(-900) => two_to(128),
        _ => return,
    };
    for weight in weights {
        *weight *= factor;
    }
}
