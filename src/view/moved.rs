//! Blocks of whole vectors that are copied little by little, while something else is worked on.

use core::marker::PhantomData;
use core::ops::Range;

use super::{Block, Memory};
use crate::element::Compute;
use crate::simd::Simd;

/// Cache lines of the next part that are asked for.
const LINES_ASKED: usize = 8;

/// Rows to be copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved<'a> {
    from: *const u8,
    to: *mut u8,
    /// Bytes from row to row of both.
    steps: [isize; 2],
    rows: usize,
    /// Of a row.
    vectors: usize,
    life: PhantomData<&'a mut [u8]>,
}

impl Moved<'_> {
    /// Nothing.
    pub(crate) const NONE: Self = Self {
        from: core::ptr::null(),
        to: core::ptr::null_mut(),
        steps: [0; 2],
        rows: 0,
        vectors: 0,
        life: PhantomData,
    };

    /// A part of them: the `i`th of so many.
    #[inline(always)]
    pub(crate) fn part<E: Compute, S: Simd<E>>(&self, s: S, i: usize, parts: usize) {
        if self.rows == 0 {
            return;
        }
        let Range { start: mut at, end } = part_of(self.rows * self.vectors, i, parts);
        while at < end {
            let (row, first) = ((at / self.vectors) as isize, at % self.vectors);
            let count = (end - at).min(self.vectors - first);
            let from = self.from.wrapping_offset(row * self.steps[0]).cast::<E>();
            let to = self.to.wrapping_offset(row * self.steps[1]).cast::<E>();
            for j in first..first + count {
                // SAFETY: inside both blocks, which were checked when this was made.
                unsafe { s.store(to.wrapping_add(j * E::LANES), s.load(from.wrapping_add(j * E::LANES))) };
            }
            at += count;
        }
        self.ask_from::<E, S>(s, end);
    }

    /// Asks for where the next part begins, so that the machine reads on from there.
    #[inline(always)]
    fn ask_from<E: Compute, S: Simd<E>>(&self, s: S, at: usize) {
        let (row, first) = (at / self.vectors, at % self.vectors);
        if row < self.rows {
            let from = self.from.wrapping_offset(row as isize * self.steps[0]).cast::<E>();
            for j in first..self.vectors.min(first + LINES_ASKED) {
                s.prefetch::<false>(from.wrapping_add(j * E::LANES));
            }
        }
    }
}

/// The `i`th of so many parts of `all`; the last may be shorter, or nothing.
#[inline(always)]
pub(super) fn part_of(all: usize, i: usize, parts: usize) -> Range<usize> {
    let size = all.div_ceil(parts);
    i * size..all.min((i + 1) * size)
}

impl<'a> Memory<'a> {
    /// A block of this to be copied to a block of another, of the same size; both direct, dense rows of whole vectors.
    pub(crate) fn moved<E: Compute>(&self, block: Block, other: &Memory<'a>, to: Block) -> Moved<'a> {
        let item = size_of::<E>() as isize;
        let (rows, columns) = (block.rows.0, block.columns.0);
        assert!(
            self.is_direct::<E>([block.offset, block.rows.1]) && other.is_direct::<E>([to.offset, to.rows.1])
        );
        assert!(rows == to.rows.0 && columns == to.columns.0 && columns.is_multiple_of(E::LANES));
        assert!(columns == 0 || block.columns.1 == item && to.columns.1 == item);
        Moved {
            from: self.block(block),
            to: other.block(to),
            steps: [block.rows.1, to.rows.1],
            rows: if columns == 0 { 0 } else { rows },
            vectors: columns / E::LANES,
            life: PhantomData,
        }
    }
}
