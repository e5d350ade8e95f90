//! softmax down the columns of a panel: the pieces of [`Softmax::panel`](crate::kernels::Op::panel).
#![forbid(unsafe_code)]

use super::{Partial, Softmax, Total};
use crate::element::Compute;
use crate::kernels::{Op, PANEL_PREFETCH, fold_lanes};
use crate::math::exp::{ExpConstants, Shift};
use crate::math::sum::{LaneSum, ScaledSum};
use crate::simd::{PanelIo, Wide};

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

impl<E: ExpConstants> Softmax<E> {
    #[inline(always)]
    pub(super) fn panel_shift<S: Wide<E>, const P: usize>(&self, s: S, max: [S::V; P]) -> [Shift<S::V>; P] {
        let mut shift = [self.exp.shift(s, max[0]).1; P];
        for p in 1..P {
            shift[p] = self.exp.shift(s, max[p]).1;
        }
        shift
    }

    /// The exponentials of the rows `start..end` of a panel (one chunk), added up down each column.
    ///
    /// A lane of a row is every `LANES`th element, so the rows are visited in that order.
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
        let mut lanes = [[s.wide_zero(); P]; 16];
        let count = E::LANES.min(end - start);
        for (l, lane) in lanes.iter_mut().enumerate().take(count) {
            let first = start + l;
            // One term a lane: the sum is the term itself, exactly.
            let single = first + E::LANES >= end;
            let mut sum = [LaneSum::new(s); P];
            let mut i = first;
            while i < end {
                for p in 0..P {
                    let e = self.exp.exp(s, &shift[p], panel.load(s, 0, i, p));
                    if keep {
                        panel.store(s, i, p, e);
                    }
                    if single {
                        lane[p] = s.widen(e);
                    } else {
                        sum[p].add(s, e);
                    }
                }
                i += E::LANES;
            }
            if !single {
                for p in 0..P {
                    lane[p] = sum[p].widen(s);
                }
            }
        }
        fold_lanes::<E, S, P>(s, &mut lanes, count)
    }

    /// What is known of columns of many chunks.
    #[inline(always)]
    pub(super) fn panel_totals<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
    ) -> [[Total<E>; 16]; P] {
        let mut totals = [[Total::<E>::empty(); 16]; P];
        let mut start = 0;
        while start < panel.rows() {
            let end = panel.rows().min(start + E::CHUNK);
            let max = panel_max::<E, S, P>(s, panel, start, end);
            let shift = self.panel_shift(s, max);
            let sum = self.panel_exp_sum(s, panel, start, end, &shift, false);
            for p in 0..P {
                let exponent = s.to_array(self.exp.shift(s, max[p]).0);
                let (max, sum) = (s.to_array(max[p]), s.wide_lanes(sum[p]));
                for lane in 0..E::LANES {
                    let exponent = exponent.as_ref()[lane].to_f64();
                    let sum = ScaledSum { exponent, sum: sum.as_ref()[lane] };
                    self.merge(&mut totals[p][lane], Partial { max: max.as_ref()[lane], sum });
                }
            }
            start = end;
        }
        totals
    }

    /// The reciprocals of the sums of a strip in two parts, and the shift to their exponents.
    #[inline(always)]
    pub(super) fn from_totals<S: Wide<E>>(&self, s: S, totals: &[Total<E>; 16]) -> (S::V, S::V, Shift<S::V>) {
        let (mut high, mut low, mut exponent) = (E::NAN.array(), E::NAN.array(), E::ZERO.array());
        for lane in 0..E::LANES {
            if let Some([h, l]) = totals[lane].inverse() {
                high.as_mut()[lane] = h;
                low.as_mut()[lane] = l;
            }
            exponent.as_mut()[lane] = E::from_f64(totals[lane].sum.exponent);
        }
        (s.from_array(high), s.from_array(low), self.exp.shift_to(s, s.from_array(exponent)))
    }
}
