//! softmax down the columns of a panel: the pieces of [`Softmax::panel`](crate::kernels::Op::panel).
#![forbid(unsafe_code)]

use super::{Softmax, inverse};
use crate::element::{Compute, WideScalar};
use crate::kernels::{LaneTerms, PANEL_PREFETCH, fold_lanes};
use crate::math::exp::{Exp, ExpConstants, Exponential, Shift};
use crate::math::sum::{LaneSum, ScaledSum};
use crate::simd::{PanelIo, Simd, Wide};

/// The maximum of each column over the rows `start..end`.
#[inline(always)]
pub(super) fn panel_max<E: Compute, S: Wide<E>, const P: usize>(
    s: S,
    panel: PanelIo<'_, E, 1>,
    start: usize,
    end: usize,
) -> [S::V; P] {
    let mut max = [s.splat(E::NEG_INFINITY); P];
    for i in start..end {
        for (p, max) in max.iter_mut().enumerate() {
            panel.prefetch(s, i + PANEL_PREFETCH, p);
            *max = s.max(panel.load(s, 0, i, p), *max);
        }
    }
    max
}

impl<E: ExpConstants, const SHORT: bool> Softmax<E, SHORT> {
    #[inline(always)]
    pub(super) fn panel_shift<S: Wide<E>, const P: usize>(&self, s: S, max: [S::V; P]) -> [Shift<S::V>; P] {
        let mut shift = [self.exp.shift(s, max[0]); P];
        for p in 1..P {
            shift[p] = self.exp.shift(s, max[p]);
        }
        shift
    }

    /// The exponentials of the rows `start..end` of a panel (one chunk), added up down each column.
    #[inline(always)]
    pub(super) fn panel_exp_sum<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        start: usize,
        end: usize,
        shift: &[Shift<S::V>; P],
        keep: bool,
    ) -> [S::W; P] {
        fold_lanes(s, &Exponentials { exp: &self.exp, panel, start, end, shift, keep })
    }

    /// The sums of columns too long to keep their exponentials, for the exponentials as they are.
    #[inline(always)]
    pub(super) fn panel_totals<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
    ) -> [[ScaledSum<E::Wide>; 16]; P] {
        let mut totals = [[ScaledSum::empty(); 16]; P];
        let mut start = 0;
        while start < panel.rows() {
            let end = panel.rows().min(start + E::CHUNK);
            let max = panel_max::<E, S, P>(s, panel, start, end);
            let mut shift = self.panel_shift(s, max);
            for shift in &mut shift {
                shift.growth = s.splat(E::ZERO);
            }
            let sum = self.panel_exp_sum(s, panel, start, end, &shift, false);
            for p in 0..P {
                let (exponent, sum) = (s.to_array(shift[p].exponent), s.wide_lanes(sum[p]));
                for lane in 0..E::LANES {
                    let exponent = exponent.as_ref()[lane].to_f64();
                    totals[p][lane].merge::<E>(ScaledSum { exponent, sum: sum.as_ref()[lane] });
                }
            }
            start = end;
        }
        totals
    }
}

/// The reciprocals in two parts of the sums of a strip, for exponentials that have grown so; NaN where the column is.
#[inline(always)]
pub(super) fn inverses<E: Compute, S: Wide<E>>(
    s: S,
    totals: &[ScaledSum<E::Wide>; 16],
    growth: S::V,
) -> (S::V, S::V) {
    let (mut high, mut low) = (E::NAN.array(), E::NAN.array());
    let growth = s.to_array(growth);
    for lane in 0..E::LANES {
        if let Some([h, l]) = inverse::<E>(totals[lane].sum.grow(growth.as_ref()[lane])) {
            high.as_mut()[lane] = h;
            low.as_mut()[lane] = l;
        }
    }
    (s.from_array(high), s.from_array(low))
}

/// The exponentials of the rows `start..end` of a panel; written, too, if they are to be kept.
struct Exponentials<'a, E: Compute, V, const P: usize, const SHORT: bool> {
    exp: &'a Exp<E, SHORT>,
    panel: PanelIo<'a, E, 1>,
    start: usize,
    end: usize,
    shift: &'a [Shift<V>; P],
    keep: bool,
}

impl<E: ExpConstants, V: Copy, const P: usize, const SHORT: bool> Exponentials<'_, E, V, P, SHORT> {
    #[inline(always)]
    fn exp<S: Simd<E, V = V>>(&self, s: S, i: usize, p: usize) -> Exponential<V> {
        let e = self.exp.exp(s, &self.shift[p], self.panel.load(s, 0, i, p));
        if self.keep {
            self.panel.store(s, i, p, e.value);
        }
        e
    }
}

impl<E: ExpConstants, V: Copy, const P: usize, const SHORT: bool> LaneTerms<E, V, P>
    for Exponentials<'_, E, V, P, SHORT>
{
    #[inline(always)]
    fn count(&self) -> usize {
        E::LANES.min(self.end - self.start)
    }

    #[inline(always)]
    fn lane<S: Wide<E> + Simd<E, V = V>>(&self, s: S, lane: usize) -> [S::W; P] {
        let mut i = self.start + lane;
        let mut total = [s.wide_zero(); P];
        if self.end - self.start <= E::LANES {
            for p in 0..P {
                total[p] = self.exp.widened(s, self.exp(s, i, p));
            }
            return total;
        }
        let mut sum = [LaneSum::<V, SHORT>::new(s); P];
        if SHORT {
            // In fours, as the sum along a row takes its whole vectors.
            let vectors = (self.end - self.start) / E::LANES;
            for _ in 0..vectors / 4 {
                for p in 0..P {
                    let mut terms = [self.exp(s, i, p); 4];
                    for (k, term) in terms.iter_mut().enumerate().skip(1) {
                        *term = self.exp(s, i + k * E::LANES, p);
                    }
                    sum[p].add4(s, terms);
                }
                i += 4 * E::LANES;
            }
        }
        while i < self.end {
            for p in 0..P {
                sum[p].add(s, self.exp(s, i, p));
            }
            i += E::LANES;
        }
        for p in 0..P {
            total[p] = sum[p].widen(s);
        }
        total
    }
}
