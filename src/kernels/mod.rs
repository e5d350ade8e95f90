//! The operations: one generic body each, forward then backward.
//!
//! An [`Op`] can be run in three ways that give the same bits: on [rows](Op::rows) that lie in memory and fit
//! the cache; by [sweeps](Op::sweep) over the chunks of a row that is long, gathered from strided memory or
//! shared by threads; and down the columns of a [panel](Op::panel), many rows at a time.
#![forbid(unsafe_code)]

pub mod binary;
mod column_sums;
pub mod log_softmax_grad;
pub mod logsumexp_grad;
pub mod sigmoid;
pub mod soft_targets;
pub mod softmax;
pub mod softmax_covariance;
pub mod softmax_grad;
pub mod sum;
mod sweeps;
pub mod weighted;

pub(crate) use self::column_sums::{
    FourLanes, LaneTerms, RowTerms, Visit, add_chunk, fold_each_lane, fold_fours, fold_lanes, sum_columns,
    visit_columns,
};
pub use sweeps::row_by_sweeps;
pub(crate) use sweeps::{Finished, Swept, row_apart};

use crate::element::Compute;
use crate::simd::{Outside, PanelIo, Row, RowIo, SHORTER_TILE_ROWS, Simd, Wide};

/// What follows when a sweep over a row is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another sweep.
    Sweep,
    /// The result can be written.
    Finish,
}

/// Rows of one length, found by number.
pub trait Rows<E: Compute, const K: usize> {
    /// How many.
    fn count(&self) -> usize;
    /// Whether they are too many for the second cache, so that what follows is worth asking for ahead of its use.
    fn are_far(&self) -> bool;
    /// One of them. Implementations are `#[inline(always)]`.
    fn get(&self, i: usize) -> RowIo<'_, E, K>;
    /// Its number among all lanes of the array. Implementations are `#[inline(always)]`.
    fn lane(&self, i: usize) -> usize;
}

/// An operation on rows with `K` inputs and one output.
pub trait Op<E: Compute, const K: usize>: Copy + Send + Sync {
    /// What is known of a row.
    type Total: Copy + Send + Sync;
    /// What a sweep finds in one chunk.
    type Partial: Copy + Send + Sync;
    /// Whether a row has one result, not one for each element: [`finish`](Self::finish) is then called once, with the
    /// first chunk, and a panel's result is its first row.
    const REDUCES: bool = false;
    /// Whether two strips of a panel side by side are worth their code.
    const WIDE_PANELS: bool = true;
    /// Rows of up to so many elements are transposed in registers where transposing is [fast](Simd::BY_FOURS) and registers are few, or,
    /// if not too long, where they are many.
    const LONGEST_TILE: usize = SHORTER_TILE_ROWS;
    /// Rows of up to so many vectors that are no [tile](Self::LONGEST_TILE) are taken several at a time, pass by pass, if they lie in
    /// near caches and registers are few; with many, as each operation says.
    const GROUPED: usize = 0;

    /// Whether that is so of this one.
    fn is_grouped(&self) -> bool {
        Self::GROUPED > 0
    }

    /// What an element of the result is that a mask leaves out, in any row.
    const MASKED: E = E::ZERO;
    /// Whether each element of the result depends on one element alone: a row may then begin and end anywhere, and no
    /// sweep is made.
    const ELEMENTWISE: bool = false;
    /// Whether all results of a row may be NaN for one element of it: those then, too, that a mask leaves out.
    const SPREADS_NAN: bool = !Self::REDUCES && !Self::ELEMENTWISE;

    /// Nothing is known yet of a row of `len` elements.
    fn begin(&self, len: usize) -> Self::Total;

    /// The same, of a row with a number: for operations that have something to look up for each.
    #[inline(always)]
    fn begin_lane(&self, len: usize, _lane: usize) -> Self::Total {
        self.begin(len)
    }

    /// Reads one chunk (at most [`Compute::CHUNK`] elements).
    fn sweep<S: Wide<E>>(&self, s: S, total: &Self::Total, chunk: [Row<'_, E>; K]) -> Self::Partial;

    /// Takes in what a sweep found, in the order of the chunks.
    fn merge(&self, total: &mut Self::Total, partial: Self::Partial);

    /// Closes a sweep.
    fn next(&self, total: &mut Self::Total) -> Next;

    /// Writes one chunk of the result.
    fn finish<S: Wide<E>>(&self, s: S, total: &Self::Total, chunk: RowIo<'_, E, K>);

    /// The whole operation on several rows.
    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, K>>(&self, s: S, rows: &R) {
        for i in 0..rows.count() {
            row_by_sweeps(self, s, rows.get(i), rows.lane(i));
        }
    }

    /// The whole operation down the columns of a panel of `P` strips. Writes nothing and returns false where a
    /// column needs more care than the fast path takes: the caller then runs each column as a row.
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, K>) -> bool;

    /// Whether there is a [`copied_panel`](Self::copied_panel).
    const COPIED_PANELS: bool = false;

    /// Whether that is for [columns](PanelIo), too, that are large or far apart in memory.
    const FAR_PANELS: bool = false;

    /// Whether that is so of this one.
    fn has_far_panels(&self) -> bool {
        Self::FAR_PANELS
    }

    /// The same of a panel that is read once and written once, and all else happens in the second panel, which is a buffer of the
    /// same size; or in the panel itself, if that is the second, too.
    #[inline(always)]
    fn copied_panel<S: Wide<E>, O: Outside<E, K>, const P: usize>(
        &self,
        _s: S,
        _panels: (O, PanelIo<'_, E, K>),
    ) -> bool {
        false
    }
}

/// Fewer rows than this are faster one by one.
const LEAST_GROUP: usize = 3;

/// [Groups](Op::GROUPED) of rows, of some `elements` and of a row a lane at most: the first row of each, and how many.
#[inline(always)]
pub(crate) fn groups<E: Compute, const K: usize>(
    rows: &impl Rows<E, K>,
    elements: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.count();
    let size = (elements / rows.get(0).len().max(1)).clamp(1, E::LANES);
    (0..count).step_by(size).map(move |first| (first, size.min(count - first)))
}

/// Asks for row `i`, if there is one, so that it comes while others are worked on.
#[inline(always)]
pub(crate) fn ask_for_row<E: Compute, S: Simd<E>, const K: usize>(s: S, rows: &impl Rows<E, K>, i: usize) {
    if i >= rows.count() {
        return;
    }
    let row = rows.get(i);
    for i in 0..row.len().div_ceil(E::LANES) {
        for k in 0..K {
            row.input(k).prefetch(s, i);
        }
    }
}

/// The one NaN for any.
#[inline(always)]
pub(crate) fn number<E: Compute, S: Simd<E>>(s: S, x: S::V) -> S::V {
    s.select(s.equals(x, x), x, s.splat(E::NAN))
}

/// The same of one.
#[inline(always)]
pub(crate) fn one_nan<E: Compute>(x: E) -> E {
    if x.is_nan() { E::NAN } else { x }
}

/// What belongs to number `i`, where there is one for each, or one for all.
#[inline(always)]
pub(crate) fn one_or_each<T: Copy>(each: &[T], i: usize) -> T {
    if each.len() == 1 { each[0] } else { each[i] }
}

/// The largest element; NaN is dropped, and an empty row gives minus infinity.
#[inline(always)]
pub(crate) fn max_pass<E: Compute, S: Wide<E>>(s: S, row: Row<'_, E>) -> E {
    let mut max = [s.splat(E::NEG_INFINITY); 4];
    max_from(s, row, 0, &mut max);
    fold_max(s, max)
}

/// The largest elements from vector `i` on: four running maxima hide the latency of one; their order changes no bit.
#[inline(always)]
pub(crate) fn max_from<E: Compute, S: Wide<E>>(s: S, row: Row<'_, E>, mut i: usize, max: &mut [S::V; 4]) {
    while i + 4 <= row.vectors() {
        let x = row.load4(s, i);
        for k in 0..4 {
            max[k] = s.max(x[k], max[k]);
        }
        i += 4;
    }
    while i < row.vectors() {
        max[0] = s.max(row.load(s, i), max[0]);
        i += 1;
    }
    if row.rest() > 0 {
        max[1] = s.max(row.load_rest(s, E::NEG_INFINITY), max[1]);
    }
}

/// The largest of four running maxima.
#[inline(always)]
pub(crate) fn fold_max<E: Compute, S: Wide<E>>(s: S, max: [S::V; 4]) -> E {
    s.max_lane(fold_lane_max(s, max))
}

/// The same of each lane.
#[inline(always)]
pub(crate) fn fold_lane_max<E: Compute, S: Simd<E>>(s: S, max: [S::V; 4]) -> S::V {
    s.max(s.max(max[0], max[1]), s.max(max[2], max[3]))
}

/// What the results of a panel are made of, a vector at a time.
pub(crate) trait PanelResults<E: Compute, S: Simd<E>, const K: usize> {
    /// Of what each input has in strip `p`. Implementations are `#[inline(always)]`.
    fn result(&self, s: S, inputs: [S::V; K], p: usize) -> S::V;
}

/// Writes the results of `P` strips, of the inputs in the second panel.
#[inline(always)]
pub(crate) fn write_panel<E, S, O, R, const K: usize, const P: usize>(
    s: S,
    (panel, near): (O, PanelIo<'_, E, K>),
    results: &R,
) where
    E: Compute,
    S: Simd<E>,
    O: Outside<E, K>,
    R: PanelResults<E, S, K>,
{
    for j in 0..panel.fours() {
        let i = panel.four(j);
        for p in 0..P {
            let [a, b, c, d] = near.inputs4(s, i, p);
            let results = [
                results.result(s, a, p),
                results.result(s, b, p),
                results.result(s, c, p),
                results.result(s, d, p),
            ];
            panel.store4(s, i, p, results);
        }
    }
    for i in panel.singles() {
        if K > 1 {
            near.ask_ahead::<S, true>(s, i);
        }
        for p in 0..P {
            panel.store(s, i, p, results.result(s, near.inputs(s, i, p), p));
        }
    }
}

/// Rows that a panel's first pass asks for ahead of their use.
pub(crate) const PANEL_PREFETCH: usize = 8;
