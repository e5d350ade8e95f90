//! Losses and gradients down the columns of a panel.
#![forbid(unsafe_code)]

use super::super::log::APART;
use super::super::panel::panel_max;
use super::super::{Softmax, scaled};
use super::{CrossEntropy, Sums, other};
use crate::element::{Compute, WideScalar};
use crate::kernels::{LaneTerms, fold_lanes};
use crate::math::exp::{Exp, ExpConstants, Shift};
use crate::simd::{PanelIo, Simd, Wide};

impl<E: ExpConstants, const GRAD: bool> CrossEntropy<'_, E, GRAD> {
    /// As [`Op::panel`](crate::kernels::Op::panel).
    #[inline(always)]
    pub(super) fn losses<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let softmax = &self.softmax;
        if panel.rows() > Softmax::<E>::STORED {
            return false;
        }
        let max = panel_max::<E, S, P>(s, panel, 0, panel.rows());
        for max in max {
            if !softmax.exp.all_ordinary(s, max) {
                return false;
            }
        }
        let shift = softmax.panel_shift(s, max);
        let (mut sum, mut others) = ([s.wide_zero(); P], [s.wide_zero(); P]);
        let mut start = 0;
        while start < panel.rows() {
            let end = panel.rows().min(start + E::CHUNK);
            let chunk = softmax.panel_exp_sum(s, panel, start, end, &shift, GRAD);
            for p in 0..P {
                sum[p] = s.wide_add(sum[p], chunk[p]);
            }
            start = end;
        }
        let zero = s.splat(E::ZERO);
        let mut is_apart = false;
        let mut apart = [[false; 16]; P];
        for p in 0..P {
            others[p] = s.wide_add(sum[p], s.widen_sum(s.sub(zero, shift[p].top), zero));
            let (lanes, top) = (s.wide_lanes(others[p]), s.to_array(shift[p].top));
            for lane in 0..E::LANES {
                apart[p][lane] = !(lanes.as_ref()[lane].to_f64() / top.as_ref()[lane].to_f64() >= APART);
                is_apart |= apart[p][lane];
            }
        }
        if is_apart {
            let mut alone = [s.wide_zero(); P];
            let mut start = 0;
            while start < panel.rows() {
                let end = panel.rows().min(start + E::CHUNK);
                let chunk = fold_lanes(
                    s,
                    &Others::<E, S::V, P, GRAD> { exp: &softmax.exp, panel, start, end, shift: &shift },
                );
                for p in 0..P {
                    alone[p] = s.wide_add(alone[p], chunk[p]);
                }
                start = end;
            }
            for p in 0..P {
                let (whole, alone) = (s.wide_lanes(others[p]), s.wide_lanes(alone[p]));
                let mut chosen = [E::Wide::default(); 16];
                for lane in 0..E::LANES {
                    chosen[lane] = if apart[p][lane] { alone.as_ref()[lane] } else { whole.as_ref()[lane] };
                }
                others[p] = s.wide_from_lanes(&chosen);
            }
        }
        for p in 0..P {
            let lanes = panel.lanes().from(p * E::LANES);
            let (high, low) = s.wide_ln_1p(others[p], shift[p].top, zero);
            let mut targets = E::ZERO.array();
            for lane in 0..E::LANES {
                if let (Some(lane_of), true) = (lanes.get(lane), GRAD) {
                    targets.as_mut()[lane] = self.targets[lane_of];
                }
            }
            let e = softmax.exp.exp(s, &shift[p], s.from_array(targets)).value;
            let (sums, parts) = (s.wide_lanes(sum[p]), s.wide_lanes(others[p]));
            let (max, top, target) = (s.to_array(max[p]), s.to_array(shift[p].top), s.to_array(e));
            let (high, low) = (s.to_array(high), s.to_array(low));
            let (mut first, mut second) = (E::NAN.array(), E::NAN.array());
            for lane in 0..E::LANES {
                let Some(number) = lanes.get(lane) else { break };
                let row = Sums {
                    max: max.as_ref()[lane],
                    top: top.as_ref()[lane],
                    sum: sums.as_ref()[lane],
                    others: parts.as_ref()[lane],
                    high: high.as_ref()[lane],
                    low: low.as_ref()[lane],
                    target: target.as_ref()[lane],
                };
                [first.as_mut()[lane], second.as_mut()[lane]] = self.settle_row(number, row);
            }
            if !GRAD {
                continue;
            }
            let (high, low) = (s.from_array(first), s.from_array(second));
            for i in 0..panel.rows() {
                panel.store(s, i, p, scaled(s, panel.load_output(s, i, p), high, low));
            }
            panel.fill_nan(s, p, high);
        }
        true
    }
}

/// The terms other than the largest in the rows `start..end` of a panel.
struct Others<'a, E: Compute, V, const P: usize, const KEPT: bool> {
    exp: &'a Exp<E>,
    panel: PanelIo<'a, E, 1>,
    start: usize,
    end: usize,
    shift: &'a [Shift<V>; P],
}

impl<E: ExpConstants, V: Copy, const P: usize, const KEPT: bool> LaneTerms<E, V, P>
    for Others<'_, E, V, P, KEPT>
{
    #[inline(always)]
    fn count(&self) -> usize {
        E::LANES.min(self.end - self.start)
    }

    #[inline(always)]
    fn lane<S: Wide<E> + Simd<E, V = V>>(&self, s: S, lane: usize) -> [S::W; P] {
        let mut i = self.start + lane;
        let mut sum = [s.wide_zero(); P];
        while i < self.end {
            for p in 0..P {
                let e = match KEPT {
                    true => self.panel.load_output(s, i, p),
                    false => self.exp.exp(s, &self.shift[p], self.panel.load(s, 0, i, p)).value,
                };
                sum[p] = s.wide_add(sum[p], other::<E, S>(s, e, self.shift[p].top));
            }
            i += E::LANES;
        }
        sum
    }
}
