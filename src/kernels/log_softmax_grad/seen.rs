//! What is seen of rows or columns by the product backward in `f32`.
#![forbid(unsafe_code)]

use core::cell::Cell;

use crate::kernels::RowTerms;
use crate::simd::{PanelIo, Row, Wide};

/// Above this a class is likely.
pub(super) const LIKELY: f32 = -core::f32::consts::LN_2;

/// What is known of columns, or of the lanes of a row.
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
    pub(super) fn see<S: Wide<f32, V = V>>(&mut self, s: S, [log_p, d]: [V; 2]) {
        self.size = s.max(s.abs(d), self.size);
        self.largest = s.max(log_p, self.largest);
        self.found = s.select(s.equals(log_p, log_p), self.found, log_p);
    }

    /// With the cotangents of what is likely among them.
    #[inline(always)]
    pub(super) fn see_likely<S: Wide<f32, V = V>>(&mut self, s: S, d: V, is_likely: S::M) {
        self.likely = s.select(is_likely, s.add(d, s.splat(0.0)), self.likely);
        self.count = s.select(is_likely, s.add(self.count, s.splat(1.0)), self.count);
    }
}

/// What is seen of a row, or a chunk of it, in each lane, and the sums of the cotangents of likely classes and of the others.
#[inline(always)]
pub(super) fn seen_row<S: Wide<f32>>(s: S, [log_p, d]: [Row<'_, f32>; 2]) -> (Column<S::V>, [S::W; 2]) {
    let (mut column, zero) = (Column::new(s), s.splat(0.0));
    let (mut likely, mut others) = (s.wide_zero(), s.wide_zero());
    let vectors = log_p.vectors() + usize::from(log_p.rest() > 0);
    for i in 0..vectors {
        let entry = match i < log_p.vectors() {
            true => [log_p.load(s, i), d.load(s, i)],
            false => [log_p.load_rest(s, f32::NEG_INFINITY), d.load_rest(s, 0.0)],
        };
        let (mut d, is_likely) = apart(s, entry);
        column.see(s, [entry[0], d]);
        if s.any(is_likely) {
            likely = s.wide_add(likely, s.widen(s.select(is_likely, d, zero)));
            d = s.select(is_likely, zero, d);
        }
        others = s.wide_add(others, s.widen(d));
    }
    (column, [likely, others])
}

/// One vector's cotangents, zero where there is no entry, and where classes are likely.
#[inline(always)]
pub(super) fn apart<S: Wide<f32>>(s: S, [log_p, d]: [S::V; 2]) -> (S::V, S::M) {
    let is_none = s.equals(log_p, s.splat(f32::NEG_INFINITY));
    (s.select(is_none, s.splat(0.0), d), s.greater(log_p, s.splat(LIKELY)))
}

/// The cotangents of a strip, but those of likely classes; what else is known of its columns is noted meanwhile, if there are registers
/// enough.
pub(super) struct Others<'a, V> {
    pub(super) panel: PanelIo<'a, f32, 2>,
    pub(super) column: Cell<Column<V>>,
}

impl<V: Copy> Others<'_, V> {
    #[inline(always)]
    pub(super) fn see<S: Wide<f32, V = V>>(&self, s: S, (log_p, d, is_likely): (V, V, S::M)) {
        let mut column = self.column.get();
        column.see(s, [log_p, d]);
        column.see_likely(s, d, is_likely);
        self.column.set(column);
    }
}

impl<S: Wide<f32>> RowTerms<f32, S> for Others<'_, S::V> {
    #[inline(always)]
    fn add(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        let entry = self.panel.inputs(s, i, p);
        let (d, is_likely) = apart(s, entry);
        if S::FOUR_AT_ONCE {
            self.see(s, (entry[0], d, is_likely));
        }
        s.wide_add(sum, s.widen(s.select(is_likely, s.splat(0.0), d)))
    }
}
