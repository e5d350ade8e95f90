//! Many tiny rows at a time: `E::LANES` neighbouring rows transposed into a panel, so that a lane is a row.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use super::{PanelIo, RowIo, Simd};
use crate::element::Compute;

/// The longest rows that a [`Tile`] takes.
pub const TILE_ROWS: usize = 64;

/// Strips of a full tile.
pub const TILE_WIDTH: usize = 4;

/// Room for `K` panels of up to [`TILE_ROWS`] rows of [`TILE_WIDTH`] vectors.
pub struct Tile<E: Compute, const K: usize>([[MaybeUninit<[E::Array; TILE_WIDTH]>; TILE_ROWS]; K]);

impl<E: Compute, const K: usize> Tile<E, K> {
    /// An empty tile.
    #[inline(always)]
    pub fn new() -> Self {
        Self([[MaybeUninit::uninit(); TILE_ROWS]; K])
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

    /// Whole groups of `E::LANES` rows.
    #[inline(always)]
    pub fn groups(&self) -> usize {
        self.count / E::LANES
    }

    /// Rows after the last whole group.
    #[inline(always)]
    pub fn rest(&self) -> core::ops::Range<usize> {
        self.groups() * E::LANES..self.count
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

    /// Reads `P` groups from `group` on, transposed, and gives them as a panel that is its own output.
    #[inline(always)]
    pub fn read<'t, S: Simd<E>, const P: usize>(
        &self,
        s: S,
        group: usize,
        tile: &'t mut Tile<E, K>,
    ) -> PanelIo<'t, E, K> {
        assert!(group + P <= self.groups() && P <= TILE_WIDTH);
        for k in 0..K {
            let panel = tile.0[k].as_mut_ptr().cast::<E>();
            for p in 0..P {
                let first = ((group + p) * E::LANES) as isize;
                let rows = self.src[k].wrapping_offset(first * self.src_stride[k]);
                let mut column = 0;
                while column + 4 <= self.len || (column < self.len && self.len >= 4) {
                    let start = column.min(self.len - 4);
                    // SAFETY: the group's rows exist, and four elements from `start` lie in each; the tile has
                    // room for `len <= TILE_ROWS` rows of `P` vectors.
                    unsafe {
                        let v = s.load_columns(rows.add(start), self.src_stride[k]);
                        for j in 0..4 {
                            s.store(panel.add(((start + j) * P + p) * E::LANES), v[j]);
                        }
                    }
                    column += 4;
                }
                while column < self.len {
                    for i in 0..E::LANES {
                        // SAFETY: as above.
                        unsafe {
                            *panel.add((column * P + p) * E::LANES + i) =
                                *rows.wrapping_offset(i as isize * self.src_stride[k]).add(column);
                        }
                    }
                    column += 1;
                }
            }
        }
        let dst = tile.0.as_mut_ptr().cast::<E>();
        let mut src = [dst.cast_const(); K];
        for (k, p) in src.iter_mut().enumerate() {
            *p = dst.wrapping_add(k * TILE_ROWS * TILE_WIDTH * E::LANES).cast_const();
        }
        let stride = (P * size_of::<E::Array>()) as isize;
        // SAFETY: `len` rows of `P` vectors were just written to each panel of the tile.
        unsafe { PanelIo::from_raw(src, [stride; K], dst, stride, self.len, P) }
    }

    /// Writes the output that [`read`](Self::read) with the same `P` and `group` gave.
    #[inline(always)]
    pub fn write<S: Simd<E>, const P: usize>(&self, s: S, group: usize, tile: &Tile<E, K>) {
        assert!(group + P <= self.groups() && P <= TILE_WIDTH);
        let panel = tile.0.as_ptr().cast::<E>();
        for p in 0..P {
            let first = ((group + p) * E::LANES) as isize;
            let rows = self.dst.wrapping_offset(first * self.dst_stride);
            let mut column = 0;
            while column + 4 <= self.len || (column < self.len && self.len >= 4) {
                let start = column.min(self.len - 4);
                // SAFETY: the panel was written by `read` or the kernel; the group's rows exist.
                unsafe {
                    let v = [
                        s.load(panel.add((start * P + p) * E::LANES)),
                        s.load(panel.add(((start + 1) * P + p) * E::LANES)),
                        s.load(panel.add(((start + 2) * P + p) * E::LANES)),
                        s.load(panel.add(((start + 3) * P + p) * E::LANES)),
                    ];
                    s.store_columns(rows.add(start), self.dst_stride, v);
                }
                column += 4;
            }
            while column < self.len {
                for i in 0..E::LANES {
                    // SAFETY: as above.
                    unsafe {
                        *rows.wrapping_offset(i as isize * self.dst_stride).add(column) =
                            *panel.add((column * P + p) * E::LANES + i);
                    }
                }
                column += 1;
            }
        }
    }
}
