//! The gradient of softmax down the columns of a panel.
#![forbid(unsafe_code)]

use super::{Scale, SoftmaxGrad, enlarged};
use crate::element::Compute;
use crate::kernels::{
    LaneTerms, PANEL_PREFETCH, PanelResults, Visit, add_chunk, fold_lanes, visit_columns, write_panel,
};
use crate::math::exp::power_of_two;
use crate::simd::{Outside, PanelIo, Simd, Wide};

impl<E: Compute> SoftmaxGrad<E> {
    /// The largest `y` of each column, and the `d` beside it.
    #[inline(always)]
    pub(super) fn offsets<S: Wide<E>, const P: usize>(s: S, panel: PanelIo<'_, E, 2>) -> [S::V; P] {
        let (mut largest, mut offset) = ([s.splat(E::NEG_INFINITY); P], [s.splat(E::NAN); P]);
        for i in 0..panel.rows() {
            for p in 0..P {
                panel.prefetch(s, i + PANEL_PREFETCH, p);
                let entry = (panel.load(s, 0, i, p), panel.load(s, 1, i, p));
                larger::<E, S>(s, entry, (&mut largest[p], &mut offset[p]));
            }
        }
        offset
    }

    /// The same of a panel, both of whose inputs are copied to another.
    #[inline(always)]
    pub(super) fn copied_offsets<S: Wide<E>, O: Outside<E, 2>, const P: usize>(
        s: S,
        (panel, near): (O, PanelIo<'_, E, 2>),
    ) -> [S::V; P] {
        let (mut largest, mut offset) = ([s.splat(E::NEG_INFINITY); P], [s.splat(E::NAN); P]);
        for j in 0..panel.fours() {
            let i = panel.four(j);
            for p in 0..P {
                let (y, d) = (panel.load4(s, 0, i, p), panel.load4(s, 1, i, p));
                for k in 0..4 {
                    near.put(s, 0, i + k, p, y[k]);
                    near.put(s, 1, i + k, p, d[k]);
                    larger::<E, S>(s, (y[k], d[k]), (&mut largest[p], &mut offset[p]));
                }
            }
        }
        for i in panel.singles() {
            for p in 0..P {
                let (y, d) = (panel.load(s, 0, i, p), panel.load(s, 1, i, p));
                near.put(s, 0, i, p, y);
                near.put(s, 1, i, p, d);
                larger::<E, S>(s, (y, d), (&mut largest[p], &mut offset[p]));
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
        let factor = s.splat(E::from_f64(power_of_two(E::PRODUCT_POWER)));
        let products = Products { panel, start: 0, end: panel.rows(), offset, factor };
        let dot = match FAR {
            true => visit_columns(s, panel.rows(), &products, &mut [(); P]),
            false => products.by_lanes(s),
        };
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
    pub(super) fn write_columns<S: Wide<E>, O: Outside<E, 2>, const P: usize>(
        &self,
        s: S,
        (panel, near): (O, PanelIo<'_, E, 2>),
        offset: [S::V; P],
        sums: [(S::V, S::V); P],
    ) {
        // Asked once for each panel, not for each entry.
        match &self.scale {
            None => write_panel::<E, S, O, _, 2, P>(s, (panel, near), &PlainEntries { sums: &sums }),
            Some(scale) => {
                let entries = ScaledEntries { scale, offset: &offset, sums: &sums };
                write_panel::<E, S, O, _, 2, P>(s, (panel, near), &entries);
            }
        }
        for p in 0..P {
            // Of what is infinite the second part is NaN, and so are all entries.
            panel.fill_nan(s, p, sums[p].1);
        }
    }
}

/// The results of a panel at temperature 1.
struct PlainEntries<'a, V, const P: usize> {
    sums: &'a [(V, V); P],
}

impl<E: Compute, S: Wide<E>, const P: usize> PanelResults<E, S, 2> for PlainEntries<'_, S::V, P> {
    #[inline(always)]
    fn result(&self, s: S, [y, d]: [S::V; 2], p: usize) -> S::V {
        SoftmaxGrad::<E>::plain_entry(s, y, d, self.sums[p])
    }
}

/// The same at others.
struct ScaledEntries<'a, E, V, const P: usize> {
    scale: &'a Scale<E>,
    offset: &'a [V; P],
    sums: &'a [(V, V); P],
}

impl<E: Compute, S: Wide<E>, const P: usize> PanelResults<E, S, 2> for ScaledEntries<'_, E, S::V, P> {
    #[inline(always)]
    fn result(&self, s: S, [y, d]: [S::V; 2], p: usize) -> S::V {
        self.scale.entry(s, y, d, self.offset[p], self.sums[p])
    }
}

/// An entry's `y` and `d` in the place of the largest and what is beside it, where it is larger.
#[inline(always)]
pub(super) fn larger<E: Compute, S: Simd<E>>(
    s: S,
    (y, d): (S::V, S::V),
    (largest, offset): (&mut S::V, &mut S::V),
) {
    *offset = s.select(s.greater(y, *largest), d, *offset);
    *largest = s.max(y, *largest);
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
    /// The sums, lane after lane of each chunk.
    #[inline(always)]
    fn by_lanes<S: Wide<E> + Simd<E, V = V>>(&self, s: S) -> [S::W; P] {
        let mut sums = [s.wide_zero(); P];
        let mut start = self.start;
        while start < self.end {
            let end = self.end.min(start + E::CHUNK);
            let chunk = fold_lanes(s, &Products { start, end, ..*self });
            add_chunk::<E, S, P>(s, &mut sums, chunk, start);
            start = end;
        }
        sums
    }

    /// The entry in row `i` of strip `p`, the first of a sum.
    #[inline(always)]
    fn first<S: Wide<E> + Simd<E, V = V>>(&self, s: S, i: usize, p: usize) -> S::W {
        let (y, d) = (self.panel.load(s, 0, i, p), self.panel.load(s, 1, i, p));
        s.wide_product(enlarged(s, y, self.factor), d, self.offset[p])
    }

    /// The entry in row `i` of strip `p`, added to `sum`.
    #[inline(always)]
    fn add<S: Wide<E> + Simd<E, V = V>>(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        let (y, d) = (self.panel.load(s, 0, i, p), self.panel.load(s, 1, i, p));
        s.wide_dot(sum, enlarged(s, y, self.factor), d, self.offset[p])
    }
}

impl<E: Compute, S: Wide<E>, const P: usize> Visit<E, S> for Products<'_, E, S::V, P> {
    type Known = ();

    #[inline(always)]
    fn visit(&self, s: S, (first, last, p): (usize, usize, usize), (): &mut (), sums: &mut [S::W; 16]) {
        if first.is_multiple_of(E::CHUNK) {
            for i in first..last {
                sums[i - first] = self.first(s, i, p);
            }
            return;
        }
        for i in first..last {
            sums[i - first] = self.add(s, sums[i - first], i, p);
        }
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
        for p in 0..P {
            sum[p] = self.first(s, i, p);
        }
        i += E::LANES;
        while i < self.end {
            for p in 0..P {
                sum[p] = self.add(s, sum[p], i, p);
            }
            i += E::LANES;
        }
        sum
    }
}
