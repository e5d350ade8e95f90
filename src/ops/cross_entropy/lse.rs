//! What the penalty on the logarithms of the rows' sums must know before the kernel runs.
#![forbid(unsafe_code)]

use super::Call;
use super::rows::Places;
use crate::element::DType;
use crate::error::Error;
use crate::ops::{Input, Options, logsumexp};
use crate::view::ViewMut;

impl Call<'_> {
    /// The logarithms of the sums of rows whose logits are all below zero, such as log-probabilities, where the
    /// logarithm may be a small difference of the maximum and another; NaN for other rows; nothing if there are no such rows.
    pub(super) fn small_logarithms(
        &self,
        places: &Places<'_>,
        rows_shape: &[usize],
    ) -> Result<Vec<f64>, Error> {
        if self.labelling.z_loss == 0.0 {
            return Ok(Vec::new());
        }
        let (memory, step) = (self.logits.memory(), places.plan.step().src[0]);
        let mut is_below = vec![false; places.plan.count];
        places.plan.each_lane(|lane, at| {
            let is_counted = |&class: &usize| places.keeps(&at, class);
            let mut classes = (0..places.plan.len).filter(is_counted);
            is_below[lane] = classes.all(|class| memory.number(at.src[0] + step * class as isize) < 0.0);
        });
        if !is_below.contains(&true) {
            return Ok(Vec::new());
        }
        let mut found = vec![0.0_f64; places.plan.count];
        let options = Options { mask: places.mask.as_ref(), at_least: Some(DType::F64), ..*self.options };
        let logits = Input::View(self.logits.clone());
        logsumexp(logits, &mut ViewMut::new(&mut found, rows_shape)?, &options)?;
        let mut lse = vec![f64::NAN; found.len()];
        places.plan.each_lane(|lane, at| {
            if is_below[lane] {
                lse[lane] = found[Places::row(&at)];
            }
        });
        Ok(lse)
    }
}
