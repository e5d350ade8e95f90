//! From the sums of rows to their losses and what their gradients are made with: on vectors, one row a lane.
#![forbid(unsafe_code)]

use super::super::{each_sum, first, first_wide, rescaled};
use super::{CrossEntropy, Targets};
use crate::element::{Compute, DoubleDouble, WideScalar};
use crate::math::exp::ExpConstants;
use crate::simd::{Kernel, Lanes, Outside, PanelIo, Wide};

/// What the terms of rows add up to, one a lane.
#[derive(Clone, Copy)]
pub(super) struct Sums<V, W> {
    pub(super) max: V,
    /// The exponential of the maximum.
    pub(super) top: V,
    /// Of all.
    pub(super) sum: W,
    /// Of all but the maximum.
    pub(super) others: W,
    /// What smoothed labels take from the classes other than the row's: even shares of the logits below the maximum.
    pub(super) spread: W,
}

impl<'a, E: ExpConstants, const GRAD: bool> CrossEntropy<'a, E, GRAD> {
    /// Writes what is found of rows, one a lane, but for their gradients' entries at the classes. Gives what their
    /// exponentials are to be multiplied by, in two parts, NaN where a row is, and what is then added; and minus these entries.
    /// Their maxima are finite; `logit` and `e` are those of their classes.
    #[inline(always)]
    pub(super) fn settle_lanes<S: Wide<E>>(
        &self,
        s: S,
        lanes: Lanes,
        rows: Sums<S::V, S::W>,
        (logit, e): (S::V, S::V),
    ) -> ([S::V; 3], S::W) {
        let zero = s.splat(E::ZERO);
        let log = s.pair_ln_1p(rows.others, rows.top);
        let mut below = s.widen_sum(rows.max, s.sub(zero, logit));
        if let Some(smoothing) = self.smoothing() {
            // Maxima are finite: what is NaN here has an infinite term, or is NaN by its logarithm, too.
            let (spread, _) = s.wide_split(rows.spread);
            let infinity = s.sub(zero, s.splat(E::NEG_INFINITY));
            let even = s.widen(s.select(s.equals(spread, spread), spread, infinity));
            // Of a class without a chance the distance is infinite, and has no product with zero.
            below = match smoothing.sharp.hi > 0.0 {
                true => s.pair_add(s.pair_mul(below, splat(s, smoothing.sharp)), even),
                false => even,
            };
        }
        let loss = s.pair_add(below, log);
        let mut lse = s.wide_zero();
        if self.z_loss != 0.0 {
            lse = self.known(s, lanes, s.pair_add(s.widen(rows.max), log));
        }
        self.store(s, lanes, [loss, lse]);
        if !GRAD {
            return ([zero; 3], s.wide_zero());
        }
        let [cotangent, factor] = self.factors(s, lanes);
        let mut scale = s.pair_div(factor, rows.sum);
        // What the gradient is less than zero by: from all terms but the class's own, which may be the largest.
        let negative = s.sub(zero, e);
        let is_smaller = s.widen_sum(rows.top, negative);
        let rest = s.pair_choose(is_smaller, s.wide_add(rows.sum, s.widen(negative)), rows.others);
        let mut entry = s.pair_mul(rest, scale);
        if self.z_loss != 0.0 {
            let more = s.pair_mul(s.pair_mul(s.wide_splat(wide::<E>(2.0 * self.z_loss)), cotangent), lse);
            let more = s.pair_div(more, rows.sum);
            entry = s.pair_add(entry, s.pair_mul(s.widen(negative), more));
            scale = s.pair_add(scale, more);
        }
        let mut added = s.splat(E::NEGATIVE_ZERO);
        if let Some(smoothing) = self.smoothing() {
            added = smoothing.added(s, factor);
            let others = s.pair_mul(factor, splat(s, smoothing.others));
            entry = s.pair_add(entry, s.pair_mul(others, s.wide_splat(wide::<E>(-1.0))));
        }
        let (high, low) = s.wide_split(scale);
        ([high, low, added], entry)
    }

    /// The logarithms of the sums of rows, one a lane, with those that [are known](Self::lse).
    #[inline(always)]
    pub(in crate::kernels) fn known<S: Wide<E>>(&self, s: S, lanes: Lanes, lse: S::W) -> S::W {
        if self.lse.is_empty() {
            return lse;
        }
        let mut all = each_sum(s, lse);
        for (lane, lse) in all.iter_mut().enumerate().take(E::LANES) {
            let Some(number) = lanes.get(lane) else { break };
            *lse = self.lse(number).map_or(*lse, wide::<E>);
        }
        s.wide_from_lanes(&all)
    }

    /// The cotangents of rows, one a lane, and their products with the weights.
    #[inline(always)]
    pub(super) fn factors<S: Wide<E>>(&self, s: S, lanes: Lanes) -> [S::W; 2] {
        let (cotangent, weight);
        if let [scale] = self.scale {
            (cotangent, weight) =
                (s.wide_splat(scale.wide_cotangent::<E>()), s.wide_splat(wide::<E>(scale.weight)));
        } else {
            let (mut cotangents, mut weights) = ([E::Wide::default(); 16], [E::Wide::default(); 16]);
            for lane in 0..E::LANES {
                let Some(number) = lanes.get(lane) else { break };
                let scale = &self.scale[number];
                (cotangents[lane], weights[lane]) = (scale.wide_cotangent::<E>(), wide::<E>(scale.weight));
            }
            (cotangent, weight) = (s.wide_from_lanes(&cotangents), s.wide_from_lanes(&weights));
        }
        [cotangent, s.pair_mul(cotangent, weight)]
    }

    /// Writes the losses and the logarithms of the sums.
    #[inline(always)]
    pub(in crate::kernels) fn store<S: Wide<E>>(&self, s: S, lanes: Lanes, [loss, lse]: [S::W; 2]) {
        let (loss, lse) = (s.wide_lanes(loss), s.wide_lanes(lse));
        if lanes.step == 1 && lanes.count >= E::LANES && self.z_loss == 0.0 {
            return self.found.set_losses(lanes.first, &loss.as_ref()[..E::LANES]);
        }
        for lane in 0..E::LANES {
            let Some(number) = lanes.get(lane) else { break };
            self.found.set(number, loss.as_ref()[lane].rounded(), lse.as_ref()[lane].rounded());
        }
    }

    /// Writes the gradients' entries at the classes of rows, given minus these: to the columns of a panel from `start` on,
    /// or to what is found.
    #[inline(always)]
    pub(super) fn store_entries<S: Wide<E>, O: Outside<E, 1>>(
        &self,
        s: S,
        (panel, start): (O, usize),
        entry: S::W,
    ) {
        let lanes = panel.lanes().from(start);
        match self.targets {
            Targets::Logits(_) => {
                let entry = s.wide_lanes(entry);
                for lane in 0..E::LANES {
                    let Some(number) = lanes.get(lane) else { break };
                    self.found.set_target(number, -entry.as_ref()[lane].rounded());
                }
            }
            Targets::Classes(classes) => {
                let entry = s.to_array(s.sub(s.splat(E::NEGATIVE_ZERO), s.pair_round(entry)));
                let classes = classes_of::<E>(classes, lanes);
                for lane in 0..E::LANES {
                    if classes[lane] < panel.rows() {
                        panel.set(classes[lane], start + lane, entry.as_ref()[lane]);
                    }
                }
            }
        }
    }

    /// The logits of the classes of a panel's columns from `start` on, one a lane.
    #[inline(always)]
    pub(in crate::kernels) fn logits<S: Wide<E>>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        start: usize,
    ) -> S::V {
        let (mut logits, lanes) = (E::ZERO.array(), panel.lanes().from(start));
        match self.targets {
            Targets::Logits(all) => {
                for lane in 0..E::LANES {
                    let Some(number) = lanes.get(lane) else { break };
                    logits.as_mut()[lane] = all[number];
                }
            }
            Targets::Classes(classes) => {
                let classes = classes_of::<E>(classes, lanes);
                for lane in 0..E::LANES {
                    if classes[lane] < panel.rows() {
                        logits.as_mut()[lane] = panel.get(0, classes[lane], start + lane);
                    }
                }
            }
        }
        s.from_array(logits)
    }

    /// [`settle_lanes`](Self::settle_lanes) of a row by itself, compiled once; its entry goes to what is found. Sums are those of all
    /// terms, of all but the largest, and of what smoothed labels take.
    #[inline(always)]
    pub(super) fn settle<S: Wide<E>>(
        &self,
        s: S,
        lane: usize,
        (max, rescale): (E, Option<[E; 2]>),
        sums: [E::Wide; 3],
    ) -> [E; 3] {
        if !(sums[0].to_f64() > 0.0) || !max.to_f64().is_finite() {
            self.set(lane, [f64::NAN; 3]);
            return [E::NAN; 3];
        }
        s.enter(Settle { op: self, lane, max, rescale, sums })
    }
}

/// [`CrossEntropy::settle`] of an ordinary row.
struct Settle<'a, 'b, E: Compute, const GRAD: bool> {
    op: &'b CrossEntropy<'a, E, GRAD>,
    lane: usize,
    max: E,
    rescale: Option<[E; 2]>,
    sums: [E::Wide; 3],
}

impl<E: ExpConstants, const GRAD: bool> Kernel<E> for Settle<'_, '_, E, GRAD> {
    type Output = [E; 3];

    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> [E; 3] {
        let Self { op, lane, max, rescale, sums: [sum, others, spread] } = self;
        let shift = op.softmax.exp.shift(s, rescaled(s, rescale, s.splat(max)));
        let logit = s.splat(op.logit(lane));
        let e = match GRAD {
            true => op.softmax.exp.exp(s, &shift, rescaled(s, rescale, logit)).value,
            false => logit,
        };
        let (sum, others, spread) = (s.wide_splat(sum), s.wide_splat(others), s.wide_splat(spread));
        let rows = Sums { max: s.splat(max), top: shift.top, sum, others, spread };
        let lanes = Lanes { first: lane, step: 0, count: 1 };
        let ([high, low, added], entry) = op.settle_lanes(s, lanes, rows, (logit, e));
        if GRAD {
            op.found.set_target(lane, -first_wide::<E, S>(s, entry).rounded());
        }
        [first(s, high), first(s, low), first(s, added)]
    }
}

/// A number in twice the precision in each lane.
#[inline(always)]
pub(super) fn splat<E: Compute, S: Wide<E>>(s: S, x: DoubleDouble) -> S::W {
    s.wide_splat(E::Wide::from_double_double(x))
}

/// A number as a sum.
#[inline(always)]
fn wide<E: Compute>(x: f64) -> E::Wide {
    E::Wide::from_double_double(DoubleDouble::widened(x))
}

/// The classes of rows, one a lane; what is padding has none.
#[inline(always)]
fn classes_of<E: Compute>(all: &[usize], lanes: Lanes) -> [usize; 16] {
    let mut classes = [usize::MAX; 16];
    if lanes.step == 1 && lanes.count >= E::LANES {
        classes[..E::LANES].copy_from_slice(&all[lanes.first..lanes.first + E::LANES]);
        return classes;
    }
    for (lane, class) in classes.iter_mut().enumerate().take(E::LANES) {
        let Some(number) = lanes.get(lane) else { break };
        *class = all[number];
    }
    classes
}
