//! Short columns from memory, block by block through a buffer, where nothing has to be converted: while one block is worked on, the
//! next is copied into the buffer, and the results of the one before are copied where they belong.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::FAR_BYTES;
use super::entry::Meanwhile;
use super::job::Job;
use super::stage::{FAR_BLOCK_BYTES, Side};
use crate::dispatch::Dispatch;
use crate::simd::lined;
use crate::view::{Block, Memory, Moved};

/// The rows of a block are this long at least, in vectors: shorter ones the machine does not read ahead.
const LEAST_STRIPS: usize = 20;

/// Bytes apart at which lines share a set of the second cache.
const APART: usize = 1 << 17;

impl<E: Dispatch, const K: usize> Job<'_, E, K> {
    /// As many of these columns as there are in whole blocks; the first that is left.
    pub(super) fn piped_columns(&self, side: &Side<K>, columns: Range<usize>, buffer: &mut Vec<E>) -> usize {
        let (len, item) = (self.plan.len, size_of::<E>() as isize);
        let strips = FAR_BLOCK_BYTES / size_of::<E::Array>() / len;
        let count = strips * E::LANES;
        let blocks = columns.len().checked_div(count).unwrap_or(0);
        let is_worth_it = strips >= LEAST_STRIPS && blocks > 1 && self.take(FAR_BYTES);
        if !is_worth_it || !self.is_copied(side) {
            return columns.start;
        }
        let width = Self::staged_width(count);
        let size = len * width;
        let place = |k: usize, rows: usize| Block {
            offset: (k * size) as isize * item,
            rows: (rows, width as isize * item),
            columns: (count, item),
        };
        buffer.resize(3 * K * size + E::LANES, E::ZERO);
        let (before, rest) = lined(buffer).split_at_mut(K * size);
        let (now, next) = rest.split_at_mut(K * size);
        let mut panels = [before, now, &mut next[..K * size]];
        for k in 0..K {
            let block = self.input_columns(side, k, (columns.start, count));
            self.read(k, block, &mut panels[1][k * size..], width);
        }
        for block in 0..blocks {
            let first = columns.start + block * count;
            let lanes = self.lanes(side.axis, side.other, first, count);
            let [before, now, next] = &mut panels;
            let mut moved = ([Moved::NONE; K], Moved::NONE);
            if block + 1 < blocks {
                let next = Memory::of(next);
                for k in 0..K {
                    let from = self.input_columns(side, k, (first + count, count));
                    moved.0[k] = self.src[k].moved::<E>(from, &next, place(k, len));
                }
            }
            if block > 0 {
                let to = self.result_columns(side, (first - count, count));
                moved.1 = Memory::of(before).moved::<E>(place(0, self.result_len()), &self.dst, to);
            }
            self.staged_strips(now, count, lanes, Some(Meanwhile { moved, ..Meanwhile::NOTHING }));
            panels.rotate_left(1);
        }
        let end = columns.start + blocks * count;
        self.write(self.result_columns(side, (end - count, count)), panels[0], width);
        end
    }

    /// Whether columns are as kernels read and write them, beside each other, and none is masked.
    fn is_copied(&self, side: &Side<K>) -> bool {
        let item = size_of::<E>() as isize;
        let step = self.plan.step();
        let is_read =
            |k: usize| side.along.src[k] == item && self.src[k].is_direct::<E>([side.at.src[k], step.src[k]]);
        let is_written = side.along.dst == item && self.dst.is_direct::<E>([side.at.dst, step.dst]);
        // Further apart all rows share few sets of the second cache, and what is read ahead does not stay there.
        let is_kept = !step.src[0].unsigned_abs().is_multiple_of(APART);
        self.mask.is_none() && !self.negate && is_kept && is_written && (0..K).all(is_read)
    }
}
