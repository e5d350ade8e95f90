//! softmax down the columns of a panel: the pieces of [`Softmax::panel`](crate::kernels::Op::panel).
#![forbid(unsafe_code)]

use super::Softmax;
use crate::element::Compute;
use crate::kernels::{
    FourLanes, LaneTerms, PANEL_PREFETCH, PanelResults, add_chunk, fold_each_lane, fold_fours, fold_lanes,
    write_panel,
};
use crate::math::exp::{Exp, ExpConstants, Exponential, Shift};
use crate::math::sum::LaneSum;
use crate::simd::{Outside, PanelIo, Simd, TILE_WIDTH, Wide};

/// The maximum of each column.
#[inline(always)]
fn panel_max<E: Compute, S: Wide<E>, const P: usize>(s: S, panel: PanelIo<'_, E, 1>) -> [S::V; P] {
    let mut max = [s.splat(E::NEG_INFINITY); P];
    for i in 0..panel.rows() {
        for (p, max) in max.iter_mut().enumerate() {
            panel.prefetch(s, i + PANEL_PREFETCH, p);
            *max = s.max(panel.load(s, 0, i, p), *max);
        }
    }
    max
}

/// The maximum of each column of a panel, which is copied to another.
#[inline(always)]
fn copied_max<E: Compute, S: Wide<E>, O: Outside<E, 1>, const P: usize>(
    s: S,
    (panel, near): (O, PanelIo<'_, E, 1>),
) -> [S::V; P] {
    let mut max = [s.splat(E::NEG_INFINITY); P];
    for j in 0..panel.fours() {
        let i = panel.four(j);
        for (p, max) in max.iter_mut().enumerate() {
            let x = panel.load4(s, 0, i, p);
            for k in 0..4 {
                near.put(s, 0, i + k, p, x[k]);
                *max = s.max(x[k], *max);
            }
        }
    }
    for i in panel.singles() {
        for (p, max) in max.iter_mut().enumerate() {
            let x = panel.load(s, 0, i, p);
            near.put(s, 0, i, p, x);
            *max = s.max(x, *max);
        }
    }
    max
}

impl<E: ExpConstants, const SHORT: bool> Softmax<E, SHORT> {
    /// As [`Op::panel`](crate::kernels::Op::panel).
    #[inline(always)]
    pub(super) fn columns<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let Some(max) = self.ordinary_max::<S, P>(s, panel) else { return false };
        let with = self.settled_columns::<S, P>(s, panel, max);
        Self::write_columns(s, (panel, panel), with);
        true
    }

    /// As [`Op::copied_panel`](crate::kernels::Op::copied_panel).
    #[inline(always)]
    pub(super) fn copied_columns<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        (panel, near): (O, PanelIo<'_, E, 1>),
    ) -> bool {
        let Some(max) = self.copied_ordinary_max::<S, O, P>(s, (panel, near)) else { return false };
        let with = self.settled_columns::<S, P>(s, near, max);
        Self::write_columns(s, (panel, near), with);
        true
    }

    /// The maxima of columns that are not too long to keep their exponentials; `None` where one needs more care, or panels are
    /// [refused](Simd::BY_CALLS).
    #[inline(always)]
    pub(super) fn ordinary_max<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
    ) -> Option<[S::V; P]> {
        if S::BY_CALLS || panel.rows() > Self::STORED {
            return None;
        }
        let max = panel_max::<E, S, P>(s, panel);
        self.exp.are_ordinary(s, &max).then_some(max)
    }

    /// The same of a panel that is copied to another.
    #[inline(always)]
    pub(super) fn copied_ordinary_max<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        panels: (O, PanelIo<'_, E, 1>),
    ) -> Option<[S::V; P]> {
        if S::BY_CALLS || panels.0.rows() > Self::STORED {
            return None;
        }
        let max = copied_max::<E, S, O, P>(s, panels);
        self.exp.are_ordinary(s, &max).then_some(max)
    }

    /// The exponentials of columns that keep them, and what they are to be multiplied by.
    #[inline(always)]
    fn settled_columns<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        max: [S::V; P],
    ) -> [(S::V, S::V); P] {
        let shift = self.panel_shift(s, max);
        let sum = self.whole_panel_exp_sum::<S, P>(s, panel, &shift, true);
        let mut with = [(max[0], max[0]); P];
        for p in 0..P {
            with[p] = s.wide_reciprocal(sum[p]);
        }
        with
    }

    /// The results, of the exponentials in the second panel.
    #[inline(always)]
    fn write_columns<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        s: S,
        (panel, near): (O, PanelIo<'_, E, 1>),
        with: [(S::V, S::V); P],
    ) {
        write_panel::<E, S, O, _, 1, P>(s, (panel, near.kept()), &Scaled::<_, P, SHORT>(&with));
        for p in 0..P {
            panel.fill_nan(s, p, with[p].0);
        }
    }

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
        (start, end): (usize, usize),
        shift: &[Shift<S::V>; P],
        keep: bool,
    ) -> [S::W; P] {
        let terms = Exponentials { exp: &self.exp, panel, start, end, shift, keep };
        if end - start <= E::LANES {
            return fold_lanes(s, &OneEach(&terms));
        }
        if const { S::FOUR_AT_ONCE && !SHORT } {
            return fold_fours(s, &terms);
        }
        if const { S::EXP_RUNS && P == 1 && !SHORT } {
            let sums = self.exp.columns_run(s, &shift[0], (panel, keep), (start, end));
            return fold_each_lane(s, &LaneParts(&sums));
        }
        fold_each_lane(s, &terms)
    }

    /// The same of all rows.
    #[inline(always)]
    pub(super) fn whole_panel_exp_sum<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        shift: &[Shift<S::V>; P],
        keep: bool,
    ) -> [S::W; P] {
        let mut sum = [s.wide_zero(); P];
        let mut start = 0;
        while start < panel.rows() {
            let end = panel.rows().min(start + E::CHUNK);
            let chunk = if P <= TILE_WIDTH && end - start <= E::LANES {
                self.panel_exp_sum::<S, P>(s, panel, (start, end), shift, keep)
            } else {
                let mut chunk = sum;
                for p in 0..P {
                    [chunk[p]] =
                        self.panel_exp_sum::<S, 1>(s, panel.strip(p), (start, end), &[shift[p]], keep);
                }
                chunk
            };
            add_chunk::<E, S, P>(s, &mut sum, chunk, start);
            start = end;
        }
        sum
    }
}

/// Results of exponentials, and of what those of each strip are to be multiplied by, in two parts.
pub(super) struct Scaled<'a, V, const P: usize, const SHORT: bool>(pub(super) &'a [(V, V); P]);

impl<E: ExpConstants, S: Simd<E>, const P: usize, const SHORT: bool> PanelResults<E, S, 1>
    for Scaled<'_, S::V, P, SHORT>
{
    #[inline(always)]
    fn result(&self, s: S, [e]: [S::V; 1], p: usize) -> S::V {
        let (high, low) = self.0[p];
        Softmax::<E, SHORT>::times(s, e, high, low)
    }
}

/// The parts of the sums of the lanes of one strip.
struct LaneParts<'a, V>(&'a [[V; 2]; 16]);

impl<E: Compute, S: Wide<E>, const P: usize> LaneTerms<E, S, P> for LaneParts<'_, S::V> {
    #[inline(always)]
    fn count(&self) -> usize {
        E::LANES
    }

    #[inline(always)]
    fn lane(&self, s: S, lane: usize) -> [S::W; P] {
        [LaneSum::<S::V, false>::from_parts(self.0[lane]).widen(s); P]
    }
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

    /// Those of rows `i` to `i + 3`.
    #[inline(always)]
    fn exp4<S: Simd<E, V = V>>(&self, s: S, i: usize, p: usize) -> [Exponential<V>; 4] {
        let e = self.exp.exp4(s, &self.shift[p], self.panel.load4(s, 0, i, p));
        if self.keep {
            for k in 0..4 {
                self.panel.store(s, i + k, p, e[k].value);
            }
        }
        e
    }
}

impl<E: ExpConstants, S: Wide<E>, const P: usize, const SHORT: bool> FourLanes<E, S>
    for Exponentials<'_, E, S::V, P, SHORT>
{
    #[inline(always)]
    fn count(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn four(&self, s: S, lane: usize, p: usize) -> [S::W; 4] {
        let mut sums = [LaneSum::<S::V, SHORT>::new(s); 4];
        let mut i = self.start + lane;
        while i + 4 <= self.end {
            let e = self.exp4(s, i, p);
            for k in 0..4 {
                sums[k].add(s, e[k]);
            }
            i += E::LANES;
        }
        for (k, i) in (i..self.end).enumerate() {
            sums[k].add(s, self.exp(s, i, p));
        }
        let mut wide = [s.wide_zero(); 4];
        for k in 0..4 {
            wide[k] = sums[k].widen(s);
        }
        wide
    }
}

impl<E: ExpConstants, S: Wide<E>, const P: usize, const SHORT: bool> LaneTerms<E, S, P>
    for Exponentials<'_, E, S::V, P, SHORT>
{
    #[inline(always)]
    fn count(&self) -> usize {
        E::LANES.min(self.end - self.start)
    }

    #[inline(always)]
    fn lane(&self, s: S, lane: usize) -> [S::W; P] {
        let mut i = self.start + lane;
        let mut total = [s.wide_zero(); P];
        let mut sum = [LaneSum::<S::V, SHORT>::new(s); P];
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

/// The same of no more rows than a vector has lanes: one term each.
struct OneEach<'a, T>(&'a T);

impl<E: ExpConstants, S: Wide<E>, const P: usize, const SHORT: bool> LaneTerms<E, S, P>
    for OneEach<'_, Exponentials<'_, E, S::V, P, SHORT>>
{
    #[inline(always)]
    fn count(&self) -> usize {
        self.0.end - self.0.start
    }

    #[inline(always)]
    fn lane(&self, s: S, lane: usize) -> [S::W; P] {
        let mut total = [s.wide_zero(); P];
        for p in 0..P {
            total[p] = self.0.exp.widened(s, self.0.exp(s, self.0.start + lane, p));
        }
        total
    }
}
