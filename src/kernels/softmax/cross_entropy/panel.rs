//! Losses and gradients down the columns of a panel.
#![forbid(unsafe_code)]

use super::settle::Sums;
use super::smoothing::lowered;
use super::{CrossEntropy, other};
use crate::element::Compute;
use crate::kernels::{LaneTerms, PanelResults, add_chunk, fold_lanes, write_panel};
use crate::math::exp::{Exp, ExpConstants, Shift};
use crate::simd::{Outside, PanelIo, Simd, Wide};

impl<E: ExpConstants, const GRAD: bool> CrossEntropy<'_, E, GRAD> {
    /// As [`Op::panel`](crate::kernels::Op::panel).
    #[inline(always)]
    pub(super) fn losses<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let Some(max) = self.panel_max::<S, P>(s, panel) else { return false };
        let settled = self.settled_columns::<S, P, GRAD>(s, panel, max);
        self.write_columns(s, (panel, panel), settled);
        true
    }

    /// As [`Op::copied_panel`](crate::kernels::Op::copied_panel).
    #[inline(always)]
    pub(super) fn copied_losses<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        panels: (O, PanelIo<'_, E, 1>),
    ) -> bool {
        let Some(max) = self.softmax.copied_ordinary_max::<S, O, P>(s, panels) else { return false };
        let settled = self.settled_columns::<S, P, true>(s, panels.1, max);
        self.write_columns(s, panels, settled);
        true
    }

    /// What the exponentials of each column, which are written if they are to be kept, are to be multiplied by, and the
    /// gradient at the class.
    #[inline(always)]
    fn settled_columns<S: Wide<E>, const P: usize, const KEPT: bool>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        max: [S::V; P],
    ) -> [([S::V; 3], S::W); P] {
        let shift = self.panel_shift(s, max);
        // Before exponentials take the place of the logits.
        let mut logit = max;
        for p in 0..P {
            logit[p] = self.logits(s, panel, p * E::LANES);
        }
        let spread = self.panel_spread(s, panel, max);
        let sum = self.softmax.whole_panel_exp_sum::<S, P>(s, panel, &shift, KEPT);
        let mut settled = [([max[0]; 3], s.wide_zero()); P];
        for p in 0..P {
            let shift = shift[p];
            let [others] = self.panel_others::<S, 1, KEPT>(s, panel.strip(p), (&[shift], [max[p]]), [sum[p]]);
            let e = if GRAD { self.exponentials(s, &shift, logit[p]) } else { logit[p] };
            let rows = Sums { max: max[p], top: shift.top, sum: sum[p], others, spread: spread[p] };
            settled[p] = self.settle_lanes(s, panel.lanes().from(p * E::LANES), rows, (logit[p], e));
        }
        settled
    }

    /// The gradients, of the exponentials in the second panel.
    #[inline(always)]
    fn write_columns<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        (panel, near): (O, PanelIo<'_, E, 1>),
        settled: [([S::V; 3], S::W); P],
    ) {
        if !GRAD {
            return;
        }
        let mut with = [settled[0].0; P];
        for p in 1..P {
            with[p] = settled[p].0;
        }
        write_panel::<E, S, O, _, 1, P>(s, (panel, near.kept()), &Lowered(&with));
        for p in 0..P {
            self.store_entries(s, (panel, p * E::LANES), settled[p].1);
            panel.fill_nan(s, p, with[p][0]);
        }
    }

    /// The maxima of columns; `None` where one needs more care.
    #[inline(always)]
    pub(in crate::kernels) fn panel_max<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
    ) -> Option<[S::V; P]> {
        self.softmax.ordinary_max(s, panel)
    }

    /// The shifts of the exponentials of columns with these maxima.
    #[inline(always)]
    pub(in crate::kernels) fn panel_shift<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        max: [S::V; P],
    ) -> [Shift<S::V>; P] {
        self.softmax.panel_shift(s, max)
    }

    /// The sums of columns, and the parts of them that are not the maximum's own. Exponentials are written if they are to be kept.
    #[inline(always)]
    pub(in crate::kernels) fn panel_sums<S: Wide<E>, const P: usize, const KEPT: bool>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        (shift, max): (&[Shift<S::V>; P], [S::V; P]),
    ) -> ([S::W; P], [S::W; P]) {
        let sum = self.softmax.whole_panel_exp_sum::<S, P>(s, panel, shift, KEPT);
        (sum, self.panel_others::<S, P, KEPT>(s, panel, (shift, max), sum))
    }

    /// The parts of sums that are not the maximum's own.
    #[inline(always)]
    fn panel_others<S: Wide<E>, const P: usize, const KEPT: bool>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        (shift, max): (&[Shift<S::V>; P], [S::V; P]),
        sum: [S::W; P],
    ) -> [S::W; P] {
        let mut others = [s.wide_zero(); P];
        let zero = s.splat(E::ZERO);
        let mut is_apart = 0;
        // Above zero where what is left of a sum is a small difference.
        let mut lack = [zero; P];
        for p in 0..P {
            (others[p], lack[p]) = self.softmax.lanes_beside(s, sum[p], (&shift[p], max[p]), panel.rows());
            is_apart |= s.bits(s.greater(lack[p], zero));
        }
        if is_apart != 0 {
            let mut alone = [s.wide_zero(); P];
            let mut start = 0;
            while start < panel.rows() {
                let end = panel.rows().min(start + E::CHUNK);
                let chunk = fold_lanes(
                    s,
                    &Others::<E, S::V, P, KEPT> { exp: &self.softmax.exp, panel, start, end, shift },
                );
                add_chunk::<E, S, P>(s, &mut alone, chunk, start);
                start = end;
            }
            for p in 0..P {
                others[p] = s.pair_choose(s.widen(lack[p]), alone[p], others[p]);
            }
        }
        others
    }

    /// The exponentials of the logits of classes, one a lane.
    #[inline(always)]
    pub(in crate::kernels) fn exponentials<S: Wide<E>>(
        &self,
        s: S,
        shift: &Shift<S::V>,
        logit: S::V,
    ) -> S::V {
        self.softmax.exp.exp(s, shift, logit).value
    }
}

/// Gradients of exponentials, and of what those of each strip are to be multiplied by, in two parts, and what is then added.
struct Lowered<'a, V, const P: usize>(&'a [[V; 3]; P]);

impl<E: Compute, S: Simd<E>, const P: usize> PanelResults<E, S, 1> for Lowered<'_, S::V, P> {
    #[inline(always)]
    fn result(&self, s: S, [e]: [S::V; 1], p: usize) -> S::V {
        lowered::<E, S>(s, e, self.0[p])
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

impl<E: ExpConstants, S: Wide<E>, const P: usize, const KEPT: bool> LaneTerms<E, S, P>
    for Others<'_, E, S::V, P, KEPT>
{
    #[inline(always)]
    fn count(&self) -> usize {
        E::LANES.min(self.end - self.start)
    }

    #[inline(always)]
    fn lane(&self, s: S, lane: usize) -> [S::W; P] {
        let mut i = self.start + lane;
        let mut sum = [s.wide_zero(); P];
        while i < self.end {
            for p in 0..P {
                let e = match KEPT {
                    true => self.panel.load_output(s, i, p),
                    false => self.exp.exp(s, &self.shift[p], self.panel.load(s, 0, i, p)).value,
                };
                sum[p] = s.pair_add(sum[p], other::<E, S>(s, e, self.shift[p].top));
            }
            i += E::LANES;
        }
        sum
    }
}
