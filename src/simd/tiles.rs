//! Many tiny rows at a time: `E::LANES` neighbouring rows transposed into a panel, so that a lane is a row.

use core::marker::PhantomData;

use super::{PanelIo, RowIo, Simd};
use crate::element::Compute;

/// The longest rows that a [`Tile`] takes.
pub const TILE_ROWS: usize = 16;

/// Room for `K` panels of up to [`TILE_ROWS`] vectors.
pub struct Tile<E: Compute, const K: usize>([[E::Array; TILE_ROWS]; K]);

impl<E: Compute, const K: usize> Tile<E, K> {
    /// An empty tile.
    #[inline(always)]
    pub fn new() -> Self {
        Self([[E::ZERO.array(); TILE_ROWS]; K])
    }
}

/// `K` inputs and an output of many contiguous rows of `len <= TILE_ROWS` elements, evenly spaced.
#[derive(Clone, Copy)]
pub struct TinyRows<'a, E, const K: usize> {
    src: [*const E; K],
    src_stride: [isize; K],
    dst: *mut E,
    dst_stride: isize,
    len: usize,
    count: usize,
    life: PhantomData<&'a mut E>,
}

impl<'a, E: Compute, const K: usize> TinyRows<'a, E, K> {
    /// Strides in elements.
    ///
    /// # Safety
    /// During `'a`, `len` elements are valid for reading at each `src + i * src_stride` and for writing at
    /// `dst + i * dst_stride`, for `i < count`, all aligned; nothing else writes the inputs or touches the
    /// output. An input is the output itself or disjoint from it.
    #[inline(always)]
    pub unsafe fn from_raw(
        src: [*const E; K],
        src_stride: [isize; K],
        dst: *mut E,
        dst_stride: isize,
        len: usize,
        count: usize,
    ) -> Self {
        assert!(len <= TILE_ROWS);
        Self { src, src_stride, dst, dst_stride, len, count, life: PhantomData }
    }

    /// Groups of `E::LANES` rows, the last one incomplete or not counted.
    #[inline(always)]
    pub fn groups(&self) -> usize {
        self.count / E::LANES
    }

    /// Rows after the last whole group.
    #[inline(always)]
    pub fn rest(&self) -> core::ops::Range<usize> {
        self.groups() * E::LANES..self.count
    }

    /// How many rows.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.count
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, i: usize) -> RowIo<'a, E, K> {
        assert!(i < self.count);
        let mut src = self.src;
        for (p, stride) in src.iter_mut().zip(self.src_stride) {
            *p = p.wrapping_offset(i as isize * stride);
        }
        // SAFETY: promised when `self` was made.
        unsafe { RowIo::from_raw(src, self.dst.wrapping_offset(i as isize * self.dst_stride), self.len) }
    }

    /// Reads a group, transposed, and gives it as a panel that is its own output.
    #[inline(always)]
    pub fn read<'t, S: Simd<E>>(&self, s: S, group: usize, tile: &'t mut Tile<E, K>) -> PanelIo<'t, E, K> {
        assert!(group < self.groups());
        let first = (group * E::LANES) as isize;
        for k in 0..K {
            let p = self.src[k].wrapping_offset(first * self.src_stride[k]);
            let panel = tile.0[k].as_mut_ptr().cast::<E>();
            let mut column = 0;
            while column + 4 <= self.len || (column < self.len && self.len >= 4) {
                let start = column.min(self.len - 4);
                // SAFETY: the group's rows exist, and four elements from `start` lie in each.
                let v = unsafe { s.load_columns(p.add(start), self.src_stride[k]) };
                for (j, v) in v.into_iter().enumerate() {
                    // SAFETY: `start + j < len <= TILE_ROWS`.
                    unsafe { s.store(panel.add((start + j) * E::LANES), v) };
                }
                column += 4;
            }
            while column < self.len {
                for i in 0..E::LANES {
                    // SAFETY: the group's rows exist and have `len` elements; the tile has room for them.
                    unsafe {
                        *panel.add(column * E::LANES + i) =
                            *p.wrapping_offset(i as isize * self.src_stride[k]).add(column);
                    }
                }
                column += 1;
            }
        }
        let mut src = [tile.0[0].as_ptr().cast::<E>(); K];
        for (p, panel) in src.iter_mut().zip(&tile.0) {
            *p = panel.as_ptr().cast();
        }
        let dst = tile.0[0].as_mut_ptr().cast::<E>();
        src[0] = dst;
        let stride = size_of::<E::Array>() as isize;
        // SAFETY: the tile has TILE_ROWS vectors a panel.
        unsafe { PanelIo::from_raw(src, [stride; K], dst, stride, self.len) }
    }

    /// Writes the output of a tile to the rows of a group.
    #[inline(always)]
    pub fn write<S: Simd<E>>(&self, s: S, group: usize, tile: &Tile<E, K>) {
        assert!(group < self.groups());
        let p = self.dst.wrapping_offset((group * E::LANES) as isize * self.dst_stride);
        let panel = tile.0[0].as_ptr().cast::<E>();
        let mut column = 0;
        while column + 4 <= self.len || (column < self.len && self.len >= 4) {
            let start = column.min(self.len - 4);
            // SAFETY: `start + 3 < len`, in the tile and in each row of the group.
            unsafe {
                let v = [
                    s.load(panel.add(start * E::LANES)),
                    s.load(panel.add((start + 1) * E::LANES)),
                    s.load(panel.add((start + 2) * E::LANES)),
                    s.load(panel.add((start + 3) * E::LANES)),
                ];
                s.store_columns(p.add(start), self.dst_stride, v);
            }
            column += 4;
        }
        while column < self.len {
            for i in 0..E::LANES {
                // SAFETY: as above.
                unsafe {
                    *p.wrapping_offset(i as isize * self.dst_stride).add(column) =
                        *panel.add(column * E::LANES + i);
                }
            }
            column += 1;
        }
    }
}
