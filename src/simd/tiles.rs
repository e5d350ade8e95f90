//! Many tiny rows at a time: `E::LANES` neighbouring rows transposed into a panel, so that a lane is a row.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use super::{Lanes, Outside, PanelIo, RowIo, Simd};
use crate::element::Compute;

/// The longest rows that a [`Tile`] takes.
pub const TILE_ROWS: usize = 192;

/// The longest that go by tiles where longer ones are faster row by row.
pub const SHORTER_TILE_ROWS: usize = 128;

/// The same where longer ones are worked on several at a time, and there are registers enough.
pub const SHORTEST_TILE_ROWS: usize = 63;

/// The longest where longer ones, too, are worked on several at a time.
pub const GROUPED_TILE_ROWS: usize = 127;

/// Strips of a full tile.
pub const TILE_WIDTH: usize = 2;

/// Room, at a cache line's beginning, for `K` panels of up to [`TILE_ROWS`] rows of [`TILE_WIDTH`] vectors.
#[repr(C, align(64))]
pub struct Tile<E: Compute, const K: usize> {
    memory: [[MaybeUninit<[E::Array; TILE_WIDTH]>; TILE_ROWS]; K],
    /// How many elements of each input were written.
    written: usize,
}

impl<E: Compute, const K: usize> Tile<E, K> {
    /// An empty tile.
    #[inline(always)]
    pub fn new() -> Self {
        Self { memory: [[MaybeUninit::uninit(); TILE_ROWS]; K], written: 0 }
    }

    /// A panel of `P` strips and `rows` rows for each input, to be filled by [`put`](PanelIo::put); the first is the output, too.
    #[inline(always)]
    pub fn panel<const P: usize>(&mut self, rows: usize) -> PanelIo<'_, E, K> {
        assert!(P <= TILE_WIDTH && rows <= TILE_ROWS);
        let elements = rows * P * E::LANES;
        if self.written < elements {
            for panel in &mut self.memory {
                let panel = panel.as_mut_ptr().cast::<E>();
                for i in 0..elements {
                    // SAFETY: the tile has room for so many rows of so many vectors.
                    unsafe { panel.add(i).write(E::ZERO) };
                }
            }
            self.written = elements;
        }
        // SAFETY: written here or before.
        unsafe { self.as_written::<P>(rows) }
    }

    /// The same, written before.
    ///
    /// # Safety
    /// `rows <= TILE_ROWS` rows of `P <= TILE_WIDTH` vectors were written for each input.
    #[inline(always)]
    unsafe fn as_written<const P: usize>(&mut self, rows: usize) -> PanelIo<'_, E, K> {
        let dst = self.memory.as_mut_ptr().cast::<E>();
        let mut src = [dst.cast_const(); K];
        for (k, p) in src.iter_mut().enumerate() {
            *p = dst.wrapping_add(k * TILE_ROWS * TILE_WIDTH * E::LANES).cast_const();
        }
        let stride = (P * size_of::<E::Array>()) as isize;
        // SAFETY: promised by the caller.
        unsafe { PanelIo::from_raw(src, [stride; K], dst, stride, rows, P).buffer() }
    }
}

/// A group of `E::LANES` rows as a panel of one strip, transposed by fours when it is loaded and stored.
#[derive(Clone, Copy)]
pub struct RowPanel<'a, E, const K: usize> {
    rows: SpacedRows<'a, E, K>,
    /// The first row.
    first: isize,
    lanes: Lanes,
}

impl<E: Compute, const K: usize> RowPanel<'_, E, K> {
    /// Element `i` of the first row of an input.
    #[inline(always)]
    fn input(&self, k: usize, i: usize) -> *const E {
        self.rows.src[k].wrapping_offset(self.first * self.rows.src_stride[k]).wrapping_add(i)
    }

    /// The same of the output.
    #[inline(always)]
    fn output(&self, i: usize) -> *mut E {
        self.rows.dst.wrapping_offset(self.first * self.rows.dst_stride).wrapping_add(i)
    }
}

impl<E: Compute, const K: usize> Outside<E, K> for RowPanel<'_, E, K> {
    const TRANSPOSED: bool = true;

    #[inline(always)]
    fn rows(&self) -> usize {
        self.rows.len
    }

    #[inline(always)]
    fn lanes(&self) -> Lanes {
        self.lanes
    }

    #[inline(always)]
    fn load<S: Simd<E>>(&self, s: S, k: usize, i: usize, p: usize) -> S::V {
        assert!(i < self.rows.len && p == 0);
        let (mut v, from) = (E::ZERO.array(), self.input(k, i));
        for lane in 0..E::LANES {
            // SAFETY: promised when the rows were made, of which all of the group exist.
            v.as_mut()[lane] = unsafe { *from.wrapping_offset(lane as isize * self.rows.src_stride[k]) };
        }
        s.from_array(v)
    }

    #[inline(always)]
    fn store<S: Simd<E>>(&self, s: S, i: usize, p: usize, v: S::V) {
        assert!(p == 0);
        let v = s.to_array(v);
        for lane in 0..E::LANES {
            self.set(i, lane, v.as_ref()[lane]);
        }
    }

    #[inline(always)]
    fn set(&self, i: usize, column: usize, x: E) {
        assert!(i < self.rows.len && column < E::LANES);
        // SAFETY: promised when the rows were made, of which all of the group exist.
        unsafe { *self.output(i).wrapping_offset(column as isize * self.rows.dst_stride) = x };
    }

    #[inline(always)]
    fn load4<S: Simd<E>>(&self, s: S, k: usize, i: usize, p: usize) -> [S::V; 4] {
        assert!(i + 4 <= self.rows.len && p == 0);
        // SAFETY: promised when the rows were made, of which all of the group exist.
        unsafe { s.load_columns(self.input(k, i), self.rows.src_stride[k]) }
    }

    #[inline(always)]
    fn store4<S: Simd<E>>(&self, s: S, i: usize, p: usize, v: [S::V; 4]) {
        assert!(i + 4 <= self.rows.len && p == 0);
        // SAFETY: as above.
        unsafe { s.store_columns(self.output(i), self.rows.dst_stride, v) }
    }
}

/// `K` inputs and an output of many contiguous rows of `len` elements, evenly spaced.
#[derive(Clone, Copy)]
pub struct SpacedRows<'a, E, const K: usize> {
    src: [*const E; K],
    src_stride: [isize; K],
    dst: *mut E,
    dst_stride: isize,
    len: usize,
    count: usize,
    life: PhantomData<&'a mut E>,
}

impl<'a, E: Compute, const K: usize> SpacedRows<'a, E, K> {
    /// Strides in elements.
    ///
    /// # Safety
    /// During `'a`, `len` elements are valid for reading at each `src + i * src_stride` and for writing (or as many of them as are
    /// written at all) at `dst + i * dst_stride`, for `i < count`, all aligned; nothing else writes the inputs or touches the
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
        Self { src, src_stride, dst, dst_stride, len, count, life: PhantomData }
    }

    /// Elements of a row.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Rows.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.count
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

    /// Asks for a group's rows of the first input, or of the output if `WRITE`, if there is one and other things lie between its rows:
    /// else the machine does so by itself.
    #[inline(always)]
    pub fn prefetch<S: Simd<E>, const WRITE: bool>(&self, s: S, group: usize) {
        let (first, stride) = match WRITE {
            true => (self.dst.cast_const(), self.dst_stride),
            false => (self.src[0], self.src_stride[0]),
        };
        if group >= self.groups() || stride.unsigned_abs() < self.len + E::LANES {
            return;
        }
        for i in group * E::LANES..(group + 1) * E::LANES {
            let row = first.wrapping_offset(i as isize * stride);
            for j in (0..self.len).step_by(E::LANES) {
                s.prefetch::<WRITE>(row.wrapping_add(j));
            }
            s.prefetch::<WRITE>(row.wrapping_add(self.len - 1));
        }
    }

    /// Asks for all rows of a group, of inputs and output, if there is one. A function of its own, for it is unrolled.
    #[inline(never)]
    pub fn prefetch_group<S: Simd<E>>(&self, s: S, group: usize) {
        if group >= self.groups() {
            return;
        }
        // Row by row: array by array it takes up to twice the time.
        for i in group * E::LANES..(group + 1) * E::LANES {
            for k in 0..K {
                let row = self.src[k].wrapping_offset(i as isize * self.src_stride[k]);
                for j in (0..self.len).step_by(E::LANES) {
                    s.prefetch::<false>(row.wrapping_add(j));
                }
            }
            let row = self.dst.cast_const().wrapping_offset(i as isize * self.dst_stride);
            for j in (0..self.len).step_by(E::LANES) {
                s.prefetch::<true>(row.wrapping_add(j));
            }
        }
    }

    /// A group of rows as a panel, whose lanes these are.
    #[inline(always)]
    pub fn panel(&self, group: usize, lanes: Lanes) -> RowPanel<'a, E, K> {
        assert!(group < self.groups());
        RowPanel { rows: *self, first: (group * E::LANES) as isize, lanes }
    }

    /// Reads `P` groups from `group` on, transposed, and gives them as a panel that is its own output.
    #[inline(always)]
    pub fn read<'t, S: Simd<E>, const P: usize>(
        &self,
        s: S,
        group: usize,
        tile: &'t mut Tile<E, K>,
    ) -> PanelIo<'t, E, K> {
        assert!(group + P <= self.groups() && P <= TILE_WIDTH && self.len <= TILE_ROWS);
        for k in 0..K {
            let panel = tile.memory[k].as_mut_ptr().cast::<E>();
            const { assert!(TILE_WIDTH == 2) };
            // SAFETY: the groups exist, and the tile has room for `len <= TILE_ROWS` rows of `P` vectors. Not a loop, which is more than
            // the compiler unrolls.
            unsafe {
                self.read_group(s, k, group, panel, P * E::LANES);
                if P > 1 {
                    self.read_group(s, k, group + 1, panel.add(E::LANES), P * E::LANES);
                }
            }
        }
        // SAFETY: `len` rows of `P` vectors were just written to each panel of the tile.
        unsafe { tile.as_written::<P>(self.len) }
    }

    /// Writes the first `len` elements of each row of the output that [`read`](Self::read) with the same `P` and
    /// `group` gave.
    #[inline(always)]
    pub fn write<S: Simd<E>, const P: usize>(&self, s: S, group: usize, tile: &Tile<E, K>, len: usize) {
        assert!(group + P <= self.groups() && P <= TILE_WIDTH && len <= self.len && self.len <= TILE_ROWS);
        let panel = tile.memory.as_ptr().cast::<E>();
        // SAFETY: the panel was written by `read` or the kernel; the groups exist.
        unsafe {
            self.write_group(s, group, panel, P * E::LANES, len);
            if P > 1 {
                self.write_group(s, group + 1, panel.add(E::LANES), P * E::LANES, len);
            }
        }
    }

    /// Reads a group of input `k`, transposed, to vectors `step` elements apart.
    ///
    /// # Safety
    /// There are `len` of these, and the group exists.
    #[inline(always)]
    unsafe fn read_group<S: Simd<E>>(&self, s: S, k: usize, group: usize, to: *mut E, step: usize) {
        let rows = self.src[k].wrapping_offset((group * E::LANES) as isize * self.src_stride[k]);
        // SAFETY: promised by the caller; the columns lie in each of the rows.
        unsafe {
            for four in 0..self.len / 4 {
                s.read_columns(rows.add(4 * four), self.src_stride[k], to.add(4 * four * step), step);
            }
            if !self.len.is_multiple_of(4) && self.len > 4 {
                // Some columns once more.
                let start = self.len - 4;
                s.read_columns(rows.add(start), self.src_stride[k], to.add(start * step), step);
            } else if self.len < 4 {
                for column in 0..self.len {
                    for i in 0..E::LANES {
                        let row = rows.wrapping_offset(i as isize * self.src_stride[k]);
                        *to.add(column * step + i) = *row.add(column);
                    }
                }
            }
        }
    }

    /// The inverse, of the first `len` elements of a row.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn write_group<S: Simd<E>>(&self, s: S, group: usize, from: *const E, step: usize, len: usize) {
        let rows = self.dst.wrapping_offset((group * E::LANES) as isize * self.dst_stride);
        // SAFETY: promised by the caller.
        unsafe {
            for four in 0..len / 4 {
                s.write_columns(rows.add(4 * four), self.dst_stride, from.add(4 * four * step), step);
            }
            if !len.is_multiple_of(4) && len > 4 {
                let start = len - 4;
                s.write_columns(rows.add(start), self.dst_stride, from.add(start * step), step);
            } else if len < 4 {
                for column in 0..len {
                    for i in 0..E::LANES {
                        let row = rows.wrapping_offset(i as isize * self.dst_stride);
                        *row.add(column) = *from.add(column * step + i);
                    }
                }
            }
        }
    }
}
