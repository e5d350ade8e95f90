//! What follows the kernel: the losses of rows, what is left of their gradients, and the reduction.
#![forbid(unsafe_code)]

use super::Call;
use super::rows::{Places, Rows, sum, weighted};
use crate::dispatch::{Dispatch, Isa};
use crate::kernels::one_or_each;
use crate::kernels::softmax::{Found, Scale};
use crate::layout::{Offsets, Plan};
use crate::ops::Reduction;
use crate::ops::run::fill;
use crate::view::{Block, IGNORED, View, Write};

impl Call<'_> {
    /// The losses of the rows, in C order.
    pub(super) fn row_losses(
        &self,
        places: &Places<'_>,
        rows: &Rows,
        (found, scale): (&Found, &[Scale]),
        is_soft: bool,
    ) -> Vec<f64> {
        let mut losses = vec![0.0; places.plan.count];
        let z_loss = self.labelling.z_loss;
        places.plan.each_lane(|lane, at| {
            let row = Places::row(&at);
            if !rows.counts(row) {
                return;
            }
            let weight = if is_soft { 1.0 } else { one_or_each(scale, lane).weight };
            let mut loss = weighted(found.loss(lane), weight);
            if z_loss != 0.0 {
                loss = found.lse(lane).mul_add(z_loss * found.lse(lane), loss);
            }
            if loss.is_nan() && places.is_masked_out(&at) {
                // Nothing is known of targets that are not zero, or of the logarithm of no terms.
                let counts = one_or_each(scale, lane).weight > 0.0 || z_loss != 0.0;
                loss = if counts { f64::INFINITY } else { 0.0 };
            }
            losses[row] = loss;
        });
        losses
    }

    /// Writes what kernels do not: zeros in rows that do not count; and the gradient's entries at the classes that were
    /// `found`, if the kernel has left them.
    pub(super) fn complete<E: Dispatch>(
        &self,
        out: &View<'_>,
        isa: Isa,
        places: &Places<'_>,
        rows: &Rows,
        found: Option<&Found>,
    ) {
        let (memory, step) = (out.memory(), places.plan.step().dst);
        let any_ignored = rows.classes.contains(&IGNORED);
        if !any_ignored && found.is_none() {
            return;
        }
        let zeros = vec![E::ZERO; if any_ignored { places.plan.len } else { 0 }];
        places.plan.each_lane(|lane, at| match rows.classes.get(Places::row(&at)) {
            Some(&IGNORED) => {
                let block = Block { offset: at.dst, rows: (1, 0), columns: (places.plan.len, step) };
                E::dispatch(isa, Write { memory, block: &block, buffer: &zeros, step: 0 });
            }
            Some(&class) if places.keeps(&at, class) => {
                if let Some(found) = found {
                    memory.set(at.dst + step * class as isize, E::from_f64(found.target(lane)));
                }
            }
            _ => {}
        });
    }

    /// Reduces the losses and writes what is left.
    pub(super) fn write(&self, isa: Isa, rows: &Rows, losses: &[f64]) {
        let total = match self.labelling.reduction {
            Reduction::None => {
                let shape = self.losses.shape();
                let every = vec![true; shape.len()];
                let plan = Plan::new(shape, &every, [self.losses.strides()], self.losses.strides());
                plan.segments(Offsets::ORIGIN, 0, plan.len, |at, first, size| {
                    let block = Block { offset: at.dst, rows: (1, 0), columns: (size, plan.step().dst) };
                    let buffer = &losses[first..];
                    f64::dispatch(
                        isa,
                        Write { memory: self.losses.memory(), block: &block, buffer, step: 0 },
                    );
                });
                return;
            }
            Reduction::Sum => sum(isa, losses).hi,
            Reduction::Mean => {
                let counts = rows.classes.is_empty() || rows.classes.iter().any(|&class| class != IGNORED);
                let total = sum(isa, losses);
                let mean = total.hi / rows.divisor.hi;
                match counts {
                    true if mean.is_finite() => mean + total.lo / rows.divisor.hi,
                    true => mean,
                    false => 0.0,
                }
            }
        };
        fill(self.losses, isa, total);
    }
}
