//! The product backward down wide strips of columns: what is known of them in one visit, row after row, and then their results.
#![forbid(unsafe_code)]

use super::short::{ShortLogSoftmaxVjp, apart, seen};
use super::{LogSoftmaxGrad, existing};
use crate::element::Compute;
use crate::kernels::{Visit, visit_columns};
use crate::simd::{Outside, PanelIo, Wide};

/// What is known of the columns of a strip in `f32`.
#[derive(Clone, Copy)]
pub(super) struct Column<V> {
    pub(super) largest: V,
    /// NaN if there is one.
    pub(super) found: V,
    /// The largest cotangent, whatever its sign.
    pub(super) size: V,
    /// The cotangent of a likely class, and how many there are.
    pub(super) likely: V,
    pub(super) count: V,
}

impl<V: Copy> Column<V> {
    /// Nothing yet.
    #[inline(always)]
    pub(super) fn new<S: Wide<f32, V = V>>(s: S) -> Self {
        let zero = s.splat(0.0);
        Self { largest: s.splat(f32::NEG_INFINITY), found: zero, size: zero, likely: zero, count: zero }
    }

    /// With one more row's logarithms and cotangents.
    #[inline(always)]
    pub(super) fn see<S: Wide<f32, V = V>>(&mut self, op: &ShortLogSoftmaxVjp, s: S, [log_p, d]: [V; 2]) {
        self.size = op.larger(s, self.size, d);
        [self.largest, self.found] = seen(s, [log_p, self.largest, self.found]);
    }

    /// With the cotangents of what is likely among them.
    #[inline(always)]
    pub(super) fn see_likely<S: Wide<f32, V = V>>(&mut self, s: S, d: V, is_likely: S::M) {
        self.likely = s.select(is_likely, s.add(d, s.splat(0.0)), self.likely);
        self.count = s.select(is_likely, s.add(self.count, s.splat(1.0)), self.count);
    }
}

/// A panel that is visited and copied to another.
struct Copied<'a, 'b, T, E, O> {
    op: &'a T,
    panel: O,
    near: PanelIo<'b, E, 2>,
}

impl<E: Compute, T, O: Outside<E, 2>> Copied<'_, '_, T, E, O> {
    /// Row `i` of strip `p`.
    #[inline(always)]
    fn entry<S: Wide<E>>(&self, s: S, i: usize, p: usize) -> [S::V; 2] {
        let entry = [self.panel.load(s, 0, i, p), self.panel.load(s, 1, i, p)];
        self.near.put(s, 0, i, p, entry[0]);
        self.near.put(s, 1, i, p, entry[1]);
        entry
    }
}

/// The cotangents but those of likely classes are added up.
impl<S: Wide<f32>, O: Outside<f32, 2>> Visit<f32, S> for Copied<'_, '_, ShortLogSoftmaxVjp, f32, O> {
    type Known = Column<S::V>;

    #[inline(always)]
    fn visit(
        &self,
        s: S,
        (first, last, p): (usize, usize, usize),
        column: &mut Column<S::V>,
        sums: &mut [S::W; 16],
    ) {
        let mut known = *column;
        for i in first..last {
            let entry = self.entry(s, i, p);
            let (mut d, is_likely) = apart(s, entry);
            known.see(self.op, s, [entry[0], d]);
            if s.any(is_likely) {
                known.see_likely(s, d, is_likely);
                d = s.select(is_likely, s.splat(0.0), d);
            }
            sums[i - first] = s.wide_add(sums[i - first], s.widen(d));
        }
        *column = known;
    }
}

impl ShortLogSoftmaxVjp {
    /// As [`Op::copied_panel`](crate::kernels::Op::copied_panel).
    #[inline(always)]
    pub(super) fn copied_columns<S: Wide<f32>, O: Outside<f32, 2>, const P: usize>(
        &self,
        s: S,
        (panel, near): (O, PanelIo<'_, f32, 2>),
    ) -> bool {
        let (mut columns, rows) = ([Column::new(s); P], panel.rows());
        let others = visit_columns(s, rows, &Copied { op: self, panel, near }, &mut columns);
        let mut parts = [(columns[0].likely, others[0], others[0]); P];
        for p in 0..P {
            let Some(all) = self.ordinary_sum(s, &columns[p], others[p]) else { return false };
            parts[p] = (columns[p].likely, others[p], all);
        }
        let mut first = 0;
        while first < rows {
            let last = rows.min(first + f32::LANES);
            for p in 0..P {
                self.strip::<S, O, true>(s, parts[p], (panel, near), (first, last, p));
            }
            first = last;
        }
        true
    }
}

/// The cotangents of entries that exist are added up; known is a NaN among the logarithms, if there is one.
impl<S: Wide<f64>, O: Outside<f64, 2>> Visit<f64, S> for Copied<'_, '_, LogSoftmaxGrad, f64, O> {
    type Known = S::V;

    #[inline(always)]
    fn visit(&self, s: S, (first, last, p): (usize, usize, usize), found: &mut S::V, sums: &mut [S::W; 16]) {
        let mut known = *found;
        for i in first..last {
            let entry = self.entry(s, i, p);
            sums[i - first] = s.pair_add(sums[i - first], s.widen(existing(s, entry)));
            known = s.select(s.equals(entry[0], entry[0]), known, entry[0]);
        }
        *found = known;
    }
}

impl LogSoftmaxGrad {
    /// As [`Op::copied_panel`](crate::kernels::Op::copied_panel), of the product backward.
    #[inline(always)]
    pub(super) fn copied_columns<S: Wide<f64>, O: Outside<f64, 2>, const P: usize>(
        &self,
        s: S,
        (panel, near): (O, PanelIo<'_, f64, 2>),
    ) -> bool {
        let (shift, zero, rows) = (self.shift(s), s.splat(0.0), panel.rows());
        let mut found = [zero; P];
        let sums = visit_columns(s, rows, &Copied { op: self, panel, near }, &mut found);
        let mut parts = [[zero; 2]; P];
        for p in 0..P {
            let (high, low) = s.wide_split(sums[p]);
            parts[p] = [high, low];
            let found = s.add(found[p], s.sub(high, high));
            if !s.all(s.equals(found, found)) {
                return false;
            }
        }
        for i in 0..rows {
            for p in 0..P {
                panel.store(s, i, p, self.entry(s, &shift, zero, parts[p], near.inputs(s, i, p)));
            }
        }
        true
    }
}
