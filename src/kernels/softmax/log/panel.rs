//! The logarithms of sums down the columns of a panel.
#![forbid(unsafe_code)]

use super::super::each_sum;
use super::sums::{Log, LogSum, is_difference, other};
use crate::element::{Compute, WideScalar};
use crate::kernels::{LaneTerms, add_chunk, fold_lanes};
use crate::math::exp::{Exp, ExpConstants, Shift};
use crate::math::exp_sum::column_logarithm;
use crate::simd::{Kernel, PanelIo, Row, TILE_ROWS, Wide};

/// Up to so many lanes are summed again alone, not with all of their panel; fewer where columns have no more rows than [`SHORT`], and
/// all of the panel costs little.
const FEW: usize = 4;
const SHORT_FEW: usize = 2;
const SHORT: usize = 16;

/// The logarithms of the columns of a panel, and which columns' results are differences, as bits.
type Logs<V, const P: usize> = ([Log<V>; P], [u32; P]);

/// The maxima of columns, the shifts of their exponentials, and the sums of these.
pub(super) type ColumnSums<V, W, const P: usize> = ([V; P], [Shift<V>; P], [W; P]);

impl<E: ExpConstants> LogSum<E> {
    /// The sums of the columns of a panel with these maxima.
    #[inline(always)]
    pub(super) fn panel_sums<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        max: [S::V; P],
    ) -> ColumnSums<S::V, S::W, P> {
        let shift = self.softmax.panel_shift(s, max);
        let sum = self.softmax.whole_panel_exp_sum::<S, P>(s, panel, &shift, false);
        (max, shift, sum)
    }

    /// The logarithms down the columns of a panel. Differences are told where results are wanted and not
    /// logarithms.
    #[inline(always)]
    pub(super) fn panel_logs<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        (max, shift, sum): ColumnSums<S::V, S::W, P>,
        is_result: bool,
    ) -> Logs<S::V, P> {
        let mut log = [Log { max: max[0], high: max[0], low: max[0] }; P];
        let mut differences = [0; P];
        let zero = s.splat(E::ZERO);
        let mut others = sum;
        // Above zero where other terms are too little beside the largest to be had from the sum; those lanes as bits.
        let (mut lack, mut lanes, mut count) = ([zero; P], [0; P], 0);
        for p in 0..P {
            (others[p], lack[p]) = self.softmax.lanes_beside(s, sum[p], (&shift[p], max[p]), panel.rows());
            lanes[p] = s.bits(s.greater(lack[p], zero));
            count += lanes[p].count_ones() as usize;
        }
        let few = if panel.rows() <= SHORT { SHORT_FEW } else { FEW };
        if count > 0 && count <= few && panel.rows() <= TILE_ROWS {
            for p in 0..P {
                if lanes[p] != 0 {
                    others[p] = self.with_others(s, (panel, p), lanes[p], others[p], max[p]);
                }
            }
        } else if count > 0 {
            let mut alone = [s.wide_zero(); P];
            let mut start = 0;
            while start < panel.rows() {
                let end = panel.rows().min(start + E::CHUNK);
                let terms = Others { exp: &self.softmax.exp, panel, start, end, shift: &shift, max: &max };
                let chunk = fold_lanes(s, &terms);
                add_chunk::<E, S, P>(s, &mut alone, chunk, start);
                start = end;
            }
            for p in 0..P {
                others[p] = s.pair_choose(s.widen(lack[p]), alone[p], others[p]);
            }
        }
        for p in 0..P {
            let (high, low) = s.wide_ln_1p(others[p], shift[p].top);
            log[p] = Log { max: max[p], high, low };
            // Only a maximum below zero has a logarithm of the other sign.
            let below = if is_result { s.bits(s.greater(zero, max[p])) } else { 0 };
            if below != 0 {
                let (max, top) = (s.to_array(max[p]), s.to_array(shift[p].top));
                let lanes = s.wide_lanes(others[p]);
                for lane in 0..E::LANES {
                    let ratio = lanes.as_ref()[lane].to_f64() / top.as_ref()[lane].to_f64();
                    let is_one = is_difference(max.as_ref()[lane].to_f64(), ratio);
                    differences[p] |= u32::from(is_one) << lane;
                }
            }
        }
        (log, differences)
    }

    /// The sums of a strip, but in these lanes of the terms other than the largest, column by column: there are few of them.
    #[inline(always)]
    fn with_others<S: Wide<E>>(
        &self,
        s: S,
        (panel, p): (PanelIo<'_, E, 1>, usize),
        apart: u32,
        sum: S::W,
        max: S::V,
    ) -> S::W {
        let (sums, panel) = (each_sum(s, sum), panel.strip(p));
        s.wide_from_lanes(&s.enter(Alone { log_sum: self, panel, apart, max: s.to_array(max), sums }))
    }

    /// The results of a strip, of which those that are differences, as bits, are taken in fixed point.
    #[inline(always)]
    pub(super) fn exact_results<S: Wide<E>>(
        &self,
        s: S,
        (panel, p): (PanelIo<'_, E, 1>, usize),
        log: &Log<S::V>,
        results: S::V,
        differences: u32,
    ) -> S::V {
        let (mut results, max, high) = (s.to_array(results), s.to_array(log.max), s.to_array(log.high));
        for lane in 0..E::LANES {
            if differences >> lane & 1 == 0 {
                continue;
            }
            let about = max.as_ref()[lane].to_f64() + high.as_ref()[lane].to_f64();
            results.as_mut()[lane] = E::from_f64(column_logarithm(panel.strip(p), lane, about));
        }
        s.from_array(results)
    }
}

/// [`LogSum::with_others`], compiled once.
struct Alone<'a, E: Compute> {
    log_sum: &'a LogSum<E>,
    panel: PanelIo<'a, E, 1>,
    apart: u32,
    max: E::Array,
    sums: [E::Wide; 16],
}

impl<E: ExpConstants> Kernel<E> for Alone<'_, E> {
    type Output = [E::Wide; 16];

    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> [E::Wide; 16] {
        let Self { log_sum, panel, mut apart, max, mut sums } = self;
        let mut column = [E::ZERO; TILE_ROWS];
        let column = &mut column[..panel.rows()];
        while apart != 0 {
            let lane = apart.trailing_zeros() as usize;
            apart &= apart - 1;
            for (i, x) in column.iter_mut().enumerate() {
                *x = panel.get(0, i, lane);
            }
            let mut total = log_sum.begin(column.len()).sums;
            total.max = max.as_ref()[lane];
            (sums[lane], _, _) = log_sum.others_pass(s, &total, Row::new(column));
        }
        sums
    }
}

/// The terms other than the largest in the rows `start..end` of a panel.
struct Others<'a, E: Compute, V, const P: usize> {
    exp: &'a Exp<E>,
    panel: PanelIo<'a, E, 1>,
    start: usize,
    end: usize,
    shift: &'a [Shift<V>; P],
    max: &'a [V; P],
}

impl<E: ExpConstants, S: Wide<E>, const P: usize> LaneTerms<E, S, P> for Others<'_, E, S::V, P> {
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
                let x = self.panel.load(s, 0, i, p);
                let e = self.exp.exp(s, &self.shift[p], x);
                sum[p] = s.pair_add(sum[p], other(s, s.equals(x, self.max[p]), e));
            }
            i += E::LANES;
        }
        sum
    }
}
