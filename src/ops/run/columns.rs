//! Lanes that are neighbours in memory: strips of them down the columns of panels, where they lie, or through a buffer.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::entry::{FAR_WIDTH, Strips};
use super::job::Job;
use super::stage::{COLUMNS, LONG_COLUMN, Room, Side};
use super::{FAR_BYTES, LARGE_BYTES, Route, TASK_ELEMENTS};
use crate::dispatch::Dispatch;
use crate::error::Error;
use crate::layout::Dim;
use crate::parallel::{Reused, Watch};

/// Columns go through a buffer only where there are at least so many.
const WIDE: usize = 4 * COLUMNS;

/// Columns of up to so many elements are asked for some strips ahead, of so many rows together at least.
const SHORT: usize = 24;
const ROWS_AHEAD: usize = 16;

/// Columns of up to so many elements are brought from memory by wide blocks.
const LONGEST_BLOCKED: usize = 64;

/// So many lines share a set of a cache.
const WAYS: usize = 8;

/// Columns that wait for memory further away gain from this length on.
const LEAST_LARGE: usize = 13;

/// Long columns are taken where they lie if rows are no longer than this: most of what they share a cache line with is theirs.
const NARROW_BYTES: usize = 128;

/// And if they are no longer than this, as kernels keep what they find of them.
const KEPT_BYTES: usize = 1 << 19;

/// Long columns of one input stay in place where rows have no more than so many wide strips.
const FEW_STRIPS: usize = 2;

/// Rows up to so many bytes apart are read ahead as one piece of memory is, however many there are.
const NEAR_ROWS: usize = 1280;

/// How many of the 64 sets of the nearest cache lines meet in that are `stride` bytes apart.
fn sets(stride: isize) -> usize {
    (4096 >> stride.trailing_zeros().min(12)).min(64)
}

/// The same of the 2048 sets of a second cache.
fn second_sets(stride: isize) -> usize {
    ((1 << 17) >> stride.trailing_zeros().min(17)).min(2048)
}

/// The longest column of which every element's line stays in the nearest cache.
fn longest_near(stride: isize) -> usize {
    (WAYS * sets(stride)).max(64)
}

impl<E: Dispatch, const K: usize> Job<'_, E, K> {
    /// Columns, if an axis has enough of them.
    pub(super) fn columns_route(&self) -> Option<Route> {
        let plan = &self.plan;
        let wide = |dim: &Dim<K>| dim.steps_by(size_of::<E>()) && dim.size >= E::LANES;
        let axis = plan.outer.iter().position(wide)?;
        let size = plan.outer[axis].size;
        if plan.len >= LONG_COLUMN {
            let row = plan.step().src[0].unsigned_abs();
            let narrow = if self.facts.two_strips { 2 * NARROW_BYTES } else { NARROW_BYTES };
            let is_narrow = row <= narrow && size.is_multiple_of(E::LANES);
            // One input is read twice where it is transposed, and three times where it stays.
            let is_wide = self.facts.far_panels
                && size >= FAR_WIDTH * E::LANES
                && (K > 1 || row <= FEW_STRIPS * FAR_WIDTH * size_of::<E::Array>());
            let is_kept = plan.len * size_of::<E>() <= KEPT_BYTES;
            return match (is_narrow, is_wide) {
                _ if !is_kept => None,
                (true, _) => Some(Route::Columns(axis)),
                (_, true) => Some(Route::FarColumns(axis)),
                _ => None,
            };
        }
        if self.is_short() {
            return Some(Route::Columns(axis));
        }
        if plan.len <= LONGEST_BLOCKED && size >= WIDE && self.take(FAR_BYTES) {
            return Some(Route::StagedColumns(axis));
        }
        let is_far = size >= WIDE && plan.len >= longest_near(plan.step().src[0]);
        let is_large = self.take(LARGE_BYTES);
        let is_whole = self.facts.far_panels && size >= FAR_WIDTH * E::LANES && plan.len > E::LANES;
        let is_worth_it = is_far || is_large && is_whole || self.meet(size, is_large);
        Some(match is_worth_it {
            true if self.facts.far_panels => Route::FarColumns(axis),
            true => Route::StagedColumns(axis),
            false => Route::Columns(axis),
        })
    }

    /// Whether wide strips of columns need no buffer: a second cache keeps their lines, or would not keep a buffer either.
    fn stay_in_place(&self) -> bool {
        let (len, stride) = (self.plan.len, self.plan.step().src[0]);
        let is_kept = len * (K + 1) <= WAYS * second_sets(stride);
        len >= LONG_COLUMN || is_kept || stride.unsigned_abs() <= NEAR_ROWS
    }

    /// Whether columns are so long and few that threads share the chunks of each: those of one input, of which transposing takes less
    /// than a thread saves.
    pub(super) fn share_sweeps(&self, threads: usize) -> bool {
        let few = self.plan.count < threads * COLUMNS;
        threads > 1 && K == 1 && few && self.plan.len >= LONG_COLUMN
    }

    /// Whether operands together take so many bytes.
    pub(super) fn take(&self, bytes: usize) -> bool {
        self.plan.len * self.plan.count >= bytes / ((K + 1) * size_of::<E>())
    }

    /// Whether columns are so short that strips to come can be asked for.
    fn is_short(&self) -> bool {
        self.plan.len <= SHORT.min(sets(self.plan.step().src[0]) * self.ways())
    }

    /// How many lines of an input share a set, beside those of the others and of the result; from further away all wait as long.
    fn ways(&self) -> usize {
        if self.take(LARGE_BYTES) { WAYS } else { 2 * WAYS / (K + 1) }
    }

    /// Whether `size` short columns have lines that meet in so few sets of the nearest cache that a buffer is faster.
    fn meet(&self, size: usize, is_large: bool) -> bool {
        let (len, sets) = (self.plan.len, sets(self.plan.step().src[0]));
        if size < WIDE || len <= sets * self.ways() {
            return false;
        }
        match self.facts.far_panels {
            true => len >= if is_large { LEAST_LARGE } else { self.ways() + 1 },
            false => K > 1 && is_large && sets == 1,
        }
    }

    /// How many strips ahead are asked for.
    fn strips_ahead(&self) -> usize {
        if self.is_short() && self.take(LARGE_BYTES) { ROWS_AHEAD.div_ceil(self.plan.len) } else { 0 }
    }

    /// Where they lie; what is left of the axis at the end through a buffer.
    pub(super) fn columns(&self, axis: usize, threads: usize, watch: &Watch<'_>) -> Result<(), Error> {
        let (step, ahead) = (Dim { size: self.plan.len, ..self.plan.step() }, self.strips_ahead());
        self.each_side(axis, TASK_ELEMENTS, threads, watch, &|side, columns| {
            let mut first = columns.start;
            // The last strip may be narrower.
            let whole = columns.end / E::LANES * E::LANES;
            while first < whole {
                let lanes = self.lanes(axis, side.other, first, whole - first);
                let at = side.at.advance(&side.along, first);
                let strips = Strips { src: self.src, dst: self.dst, at, step, lanes, ahead, meanwhile: None };
                let Some(refused) = self.op.strips(self.isa, strips) else { break };
                first += refused * E::LANES;
                self.apart(side, first..first + E::LANES);
                first += E::LANES;
            }
            self.apart(side, whole..columns.end);
        })
    }

    /// Columns that are no whole strips, or that the fast path gave up.
    fn apart(&self, side: &Side<K>, columns: Range<usize>) {
        match self.plan.len >= LONG_COLUMN && !columns.is_empty() {
            true => self.long_part(side, columns),
            false => self.staged_columns(side, columns, &mut Room::default()),
        }
    }

    /// Wide strips, by the kernel itself as far as it does.
    pub(super) fn far_columns(&self, axis: usize, threads: usize, watch: &Watch<'_>) -> Result<(), Error> {
        let step = Dim { size: self.plan.len, ..self.plan.step() };
        let wide = FAR_WIDTH * E::LANES;
        let in_place = self.stay_in_place();
        let buffers = Reused::<Vec<E>>::default();
        self.each_side(axis, self.task_elements(threads), threads, watch, &|side, columns| {
            buffers.with(|buffer| {
                let mut first = columns.start;
                while first < columns.end {
                    let count = wide.min(columns.end - first);
                    let lanes = self.lanes(axis, side.other, first, count);
                    let at = side.at.advance(&side.along, first);
                    let strips =
                        Strips { src: self.src, dst: self.dst, at, step, lanes, ahead: 0, meanwhile: None };
                    let is_done = count == wide
                        && self.op.far_strips(self.isa, strips, (!in_place).then_some(&mut *buffer));
                    if !is_done {
                        self.apart(side, first..first + count);
                    }
                    first += count;
                }
            });
        })
    }

    /// Through a buffer.
    pub(super) fn all_staged_columns(
        &self,
        axis: usize,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<(), Error> {
        let rooms = Reused::<Room<E>>::default();
        self.each_side(axis, self.task_elements(threads), threads, watch, &|side, columns| {
            rooms.with(|room| self.staged_columns(side, columns, room));
        })
    }
}
