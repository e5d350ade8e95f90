//! Lanes that are neighbours in memory: strips of them down the columns of panels, where they lie, or through a buffer.
#![forbid(unsafe_code)]

use super::entry::{FAR_WIDTH, Strips};
use super::job::Job;
use super::stage::{COLUMNS, LONG_COLUMN, Room};
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

/// How many of the 64 sets of the nearest cache lines meet in that are `stride` bytes apart.
fn sets(stride: isize) -> usize {
    (4096 >> stride.trailing_zeros().min(12)).min(64)
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
            let is_narrow =
                plan.step().src[0].unsigned_abs() <= NARROW_BYTES && size.is_multiple_of(E::LANES);
            let is_kept = plan.len * size_of::<E>() <= KEPT_BYTES;
            return (is_narrow && is_kept).then_some(Route::Columns(axis));
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
                self.staged_columns(side, first..first + E::LANES, &mut Room::default());
                first += E::LANES;
            }
            self.staged_columns(side, whole..columns.end, &mut Room::default());
        })
    }

    /// Through a buffer, by the kernel itself as far as it does.
    pub(super) fn far_columns(&self, axis: usize, threads: usize, watch: &Watch<'_>) -> Result<(), Error> {
        let step = Dim { size: self.plan.len, ..self.plan.step() };
        let wide = FAR_WIDTH * E::LANES;
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
                    let is_done = count == wide && self.op.far_strips(self.isa, strips, buffer);
                    if !is_done {
                        self.staged_columns(side, first..first + count, &mut Room::default());
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
