//! The product backward down wide strips of columns: what is known of them in one visit, row after row, and then their results.
#![forbid(unsafe_code)]

use super::seen::{Column, apart};
use super::short::{Settled, ShortLogSoftmaxVjp};
use super::{LogSoftmaxGrad, existing};
use crate::element::Compute;
use crate::kernels::{Visit, visit_columns};
use crate::simd::{Outside, PanelIo, Wide};

/// A panel that is visited and copied to another.
struct Copied<'a, E, O> {
    panel: O,
    near: PanelIo<'a, E, 2>,
}

impl<E: Compute, O: Outside<E, 2>> Copied<'_, E, O> {
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
impl<S: Wide<f32>, O: Outside<f32, 2>> Visit<f32, S> for Copied<'_, f32, O> {
    type Known = Column<S::V>;

    #[inline(always)]
    fn visit(
        &self,
        s: S,
        (first, last, p): (usize, usize, usize),
        column: &mut Column<S::V>,
        sums: &mut [S::W; 16],
    ) {
        if p == 0 {
            self.near.ask_ahead::<S, false>(s, first);
        }
        let mut known = *column;
        for i in first..last {
            let entry = self.entry(s, i, p);
            let (mut d, is_likely) = apart(s, entry);
            known.see(s, [entry[0], d]);
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
        let others = visit_columns(s, rows, &Copied { panel, near }, &mut columns);
        let nothing = Settled { all: others[0], others: others[0], ordinary: 0, close: 0 };
        let mut known = [nothing; P];
        for p in 0..P {
            let Some(settled) = self.settled_strip(s, &columns[p], others[p]) else { return false };
            known[p] = settled;
        }
        let mut first = 0;
        while first < rows {
            let last = rows.min(first + f32::LANES);
            for p in 0..P {
                self.strip::<S, O>(s, (columns[p].likely, &known[p]), (panel, near), (first, last, p));
            }
            first = last;
        }
        true
    }
}

/// The cotangents of entries that exist are added up; known is a NaN among the logarithms, if there is one.
impl<S: Wide<f64>, O: Outside<f64, 2>> Visit<f64, S> for Copied<'_, f64, O> {
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
        let sums = visit_columns(s, rows, &Copied { panel, near }, &mut found);
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
