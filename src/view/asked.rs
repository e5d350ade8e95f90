//! Memory that is asked for little by little, so that it comes while something else is worked on.
#![forbid(unsafe_code)]

use super::Memory;
use super::convert::Block;
use super::moved::part_of;
use crate::element::Compute;
use crate::simd::Simd;

/// Dense rows of a block that are asked for little by little, while something else is worked on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    base: *const u8,
    /// Bytes from row to row.
    step: isize,
    rows: usize,
    /// Cache lines of a row, or one more.
    lines: usize,
}

impl Asked {
    /// Nothing.
    pub(crate) const NONE: Self = Self { base: core::ptr::null(), step: 0, rows: 0, lines: 0 };

    #[inline(always)]
    pub(crate) fn is_nothing(&self) -> bool {
        self.rows == 0
    }

    /// A part of it: the `i`th of so many.
    #[inline(always)]
    pub(crate) fn ask<E: Compute, S: Simd<E>, const WRITE: bool>(&self, s: S, i: usize, parts: usize) {
        if self.is_nothing() {
            return;
        }
        let share = part_of(self.rows * self.lines, i, parts);
        let (mut row, mut line) = (share.start / self.lines, share.start % self.lines);
        for _ in share {
            let at = self.base.wrapping_offset(row as isize * self.step);
            s.prefetch::<WRITE>(at.cast::<E>().wrapping_add(line * E::LANES));
            line += 1;
            if line == self.lines {
                (row, line) = (row + 1, 0);
            }
        }
    }
}

impl Memory<'_> {
    /// A block to be asked for, if its rows are dense.
    pub(crate) fn asked<E: Compute>(&self, block: Block) -> Asked {
        let (rows, columns) = (block.rows, block.columns);
        if columns.0 == 0 || columns.1 != self.dtype.size() as isize {
            return Asked::NONE;
        }
        let lines = (columns.0 * self.dtype.size()).div_ceil(size_of::<E::Array>());
        Asked { base: self.block(block), step: rows.1, rows: rows.0, lines }
    }
}
