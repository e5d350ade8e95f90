//! The gradient of softmax down the columns of a panel.
#![forbid(unsafe_code)]

use super::{SoftmaxGrad, enlarged};
use crate::element::Compute;
use crate::kernels::{LaneTerms, LaneTotals, PANEL_PREFETCH, fold_lanes};
use crate::math::exp::power_of_two;
use crate::simd::{PanelIo, Simd, Wide};

impl<E: Compute> SoftmaxGrad<E> {
    /// The largest `y` of each column, and the `d` beside it; both are copied to the second panel if `FAR`.
    #[inline(always)]
    pub(super) fn offsets<S: Wide<E>, const P: usize, const FAR: bool>(
        s: S,
        [panel, near]: [PanelIo<'_, E, 2>; 2],
    ) -> [S::V; P] {
        let mut largest = [s.splat(E::NEG_INFINITY); P];
        let mut offset = [s.splat(E::NAN); P];
        for i in 0..panel.rows() {
            for p in 0..P {
                if !FAR {
                    panel.prefetch(s, i + PANEL_PREFETCH, p);
                }
                let (y, d) = (panel.load(s, 0, i, p), panel.load(s, 1, i, p));
                if FAR {
                    near.put(s, 0, i, p, y);
                    near.put(s, 1, i, p, d);
                }
                let larger = s.greater(y, largest[p]);
                largest[p] = s.select(larger, y, largest[p]);
                offset[p] = s.select(larger, d, offset[p]);
            }
        }
        offset
    }

    /// The sums that [`entry`](Self::entry) takes down the columns of a panel, row after row if `FAR`; `None` where one may have
    /// overflowed.
    #[inline(always)]
    pub(super) fn column_sums<S: Wide<E>, const P: usize, const FAR: bool>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 2>,
        offset: [S::V; P],
    ) -> Option<[(S::V, S::V); P]> {
        let mut dot = [s.wide_zero(); P];
        let factor = s.splat(E::from_f64(power_of_two(E::PRODUCT_POWER)));
        let mut start = 0;
        while start < panel.rows() {
            let end = panel.rows().min(start + E::CHUNK);
            let products = Products { panel, start, end, offset, factor };
            let chunk = if FAR { products.in_order(s) } else { fold_lanes(s, &products) };
            for p in 0..P {
                dot[p] = s.wide_add(dot[p], chunk[p]);
            }
            start = end;
        }
        let factor = self.dot_factor(E::PRODUCT_POWER);
        let mut sums = [s.wide_split(dot[0]); P];
        for p in 0..P {
            let dot = s.wide_scale(dot[p], factor);
            // An overflow may be owed to the enlargement: by rows, which try again without.
            if E::PRODUCT_POWER > 0.0 && !Self::all_finite(s, s.wide_split(dot).0) {
                return None;
            }
            sums[p] = if self.scale.is_none() { s.wide_shifted(dot, offset[p]) } else { s.wide_split(dot) };
        }
        Some(sums)
    }

    /// The results, of the inputs in the second panel.
    #[inline(always)]
    pub(super) fn write_columns<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        [panel, near]: [PanelIo<'_, E, 2>; 2],
        offset: [S::V; P],
        sums: [(S::V, S::V); P],
    ) {
        for i in 0..panel.rows() {
            for p in 0..P {
                let (y, d) = (near.load(s, 0, i, p), near.load(s, 1, i, p));
                panel.store(s, i, p, self.entry(s, y, d, offset[p], sums[p]));
            }
        }
        for (p, (high, _)) in sums.into_iter().enumerate() {
            panel.fill_nan(s, p, high);
        }
    }
}

/// y · (d - offset) of the rows `start..end` of a panel, y times `factor`.
struct Products<'a, E: Compute, V, const P: usize> {
    panel: PanelIo<'a, E, 2>,
    start: usize,
    end: usize,
    offset: [V; P],
    factor: V,
}

impl<E: Compute, V: Copy, const P: usize> Products<'_, E, V, P> {
    /// The sums, row after row.
    #[inline(always)]
    fn in_order<S: Wide<E> + Simd<E, V = V>>(&self, s: S) -> [S::W; P] {
        let mut sums = [[s.wide_zero(); 16]; P];
        let mut i = self.start;
        while i < self.end {
            let lanes = E::LANES.min(self.end - i);
            for p in 0..P {
                for (lane, sum) in sums[p][..lanes].iter_mut().enumerate() {
                    *sum = self.add(s, *sum, i + lane, p);
                }
            }
            i += lanes;
        }
        fold_lanes(s, &LaneTotals(&sums, E::LANES.min(self.end - self.start)))
    }

    /// The entry in row `i` of strip `p`, added to `sum`.
    #[inline(always)]
    fn add<S: Wide<E> + Simd<E, V = V>>(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        let (y, d) = (self.panel.load(s, 0, i, p), self.panel.load(s, 1, i, p));
        s.wide_dot(sum, enlarged(s, y, self.factor), d, self.offset[p])
    }
}

impl<E: Compute, S: Wide<E>, const P: usize> LaneTerms<E, S, P> for Products<'_, E, S::V, P> {
    #[inline(always)]
    fn count(&self) -> usize {
        E::LANES.min(self.end - self.start)
    }

    #[inline(always)]
    fn lane(&self, s: S, lane: usize) -> [S::W; P] {
        let mut sum = [s.wide_zero(); P];
        let mut i = self.start + lane;
        while i < self.end {
            for p in 0..P {
                sum[p] = self.add(s, sum[p], i, p);
            }
            i += E::LANES;
        }
        sum
    }
}
