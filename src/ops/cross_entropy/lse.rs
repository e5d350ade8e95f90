//! What the penalty on the logarithms of the rows' sums must know before the kernel runs.
#![forbid(unsafe_code)]

use super::Call;
use super::rows::Places;
use crate::dispatch::{Dispatch, Isa};
use crate::error::Error;
use crate::layout::Offsets;
use crate::ops::{Axes, Input, Options, logsumexp};
use crate::view::{Block, Read, View, ViewMut};

/// About so many logits are copied at once.
const COPIED: usize = 1 << 18;

/// Most rows have a logit that is not below zero among the first so many.
const FIRST: usize = 8;

impl Call<'_> {
    /// The logarithms of the sums of rows whose logits are all below zero, such as log-probabilities, where the
    /// logarithm may be a small difference of the maximum and another; NaN for other rows; nothing if there are no such rows.
    pub(super) fn small_logarithms(&self, places: &Places<'_>, isa: Isa) -> Result<Vec<f64>, Error> {
        let len = places.plan.len;
        let mut candidates = Vec::new();
        if self.labelling.z_loss != 0.0 {
            let (memory, step) = (self.logits.memory(), places.plan.step().src[0]);
            let is_below = |at: &Offsets<3>, class: usize| {
                !places.keeps(at, class) || memory.number(at.src[0] + step * class as isize) < 0.0
            };
            places.plan.each_lane(|lane, at| {
                if (0..len.min(FIRST)).all(|class| is_below(&at, class)) {
                    candidates.push((lane, at));
                }
            });
        }
        let mut lse = Vec::new();
        let (mut lanes, mut logits, mut found) = (Vec::new(), Vec::new(), Vec::new());
        let options = Options { axes: Axes::One(-1), temperature: 1.0, mask: None, ..*self.options };
        for candidates in candidates.chunks((COPIED / len.max(1)).max(1)) {
            lanes.clear();
            logits.resize(candidates.len() * len, 0.0);
            for (lane, at) in candidates {
                let start = lanes.len() * len;
                let row = &mut logits[start..start + len];
                self.read_row(places, isa, at, row);
                if row.iter().all(|&x| x < 0.0) {
                    lanes.push(*lane);
                }
            }
            if lanes.is_empty() {
                continue;
            }
            found.resize(lanes.len(), 0.0);
            let shape = [lanes.len(), len];
            let rows = Input::View(View::new(&logits[..lanes.len() * len], &shape)?);
            logsumexp(rows, &mut ViewMut::new(&mut found, &shape[..1])?, &options)?;
            lse.resize(places.plan.count, f64::NAN);
            for (&lane, &found) in lanes.iter().zip(&found) {
                lse[lane] = found;
            }
        }
        Ok(lse)
    }

    /// A row of logits, minus infinity where the mask has none.
    fn read_row(&self, places: &Places<'_>, isa: Isa, at: &Offsets<3>, row: &mut [f64]) {
        let columns = (row.len(), places.plan.step().src[0]);
        let block = Block { offset: at.src[0], rows: (1, 0), columns };
        f64::dispatch(isa, Read::new(self.logits.memory(), &block, row));
        if places.mask.is_some() {
            for (class, x) in row.iter_mut().enumerate() {
                *x = if places.keeps(at, class) { *x } else { f64::NEG_INFINITY };
            }
        }
    }
}
