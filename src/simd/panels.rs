//! Panels of memory: many columns side by side, read and written by whole vectors. As with [rows](super::rows), bounds are
//! checked here, once, and no reference is made.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use super::rows::lined;
use super::{ExpRun, RunColumns, Simd};
use crate::element::Compute;

/// Strips of `E::LANES` neighbouring columns, `width` of them side by side, of `K` inputs and an output.
///
/// The reduction runs down the columns. Strides are in bytes.
#[derive(Clone, Copy)]
pub struct PanelIo<'a, E, const K: usize> {
    src: [*const E; K],
    src_stride: [isize; K],
    dst: *mut E,
    dst_stride: isize,
    rows: usize,
    width: usize,
    is_far: bool,
    is_buffer: bool,
    lanes: Lanes,
    life: PhantomData<&'a mut E>,
}

/// A panel as it lies outside of a buffer, where inputs are taken from and results go: columns, or rows to be transposed.
pub trait Outside<E: Compute, const K: usize>: Copy {
    /// Whether its columns are rows in memory: in a near cache, and best loaded and stored four elements at a time.
    const TRANSPOSED: bool;

    /// Length of the columns.
    fn rows(&self) -> usize;
    /// Which lanes its columns are.
    fn lanes(&self) -> Lanes;
    /// Row `i` of strip `p` of input `k`.
    fn load<S: Simd<E>>(&self, s: S, k: usize, i: usize, p: usize) -> S::V;
    /// Writes row `i` of strip `p` of the output.
    fn store<S: Simd<E>>(&self, s: S, i: usize, p: usize, v: S::V);
    /// Writes row `i` of one column of the output.
    fn set(&self, i: usize, column: usize, x: E);

    /// Four rows from `i` on.
    fn load4<S: Simd<E>>(&self, s: S, k: usize, i: usize, p: usize) -> [S::V; 4];

    /// The inverse.
    #[inline(always)]
    fn store4<S: Simd<E>>(&self, s: S, i: usize, p: usize, v: [S::V; 4]) {
        for (j, v) in v.into_iter().enumerate() {
            self.store(s, i + j, p, v);
        }
    }

    /// How many times four rows are loaded and stored at once, from [`four`](Self::four) on.
    #[inline(always)]
    fn fours(&self) -> usize {
        if Self::TRANSPOSED && self.rows() >= 4 { self.rows().div_ceil(4) } else { 0 }
    }

    /// The first of the `j`th four rows. The last four are some rows once more: what they are made of must not be what they are written
    /// to.
    #[inline(always)]
    fn four(&self, j: usize) -> usize {
        (4 * j).min(self.rows() - 4)
    }

    /// The rows that are loaded and stored one by one: all or none.
    #[inline(always)]
    fn singles(&self) -> core::ops::Range<usize> {
        if self.fours() == 0 { 0..self.rows() } else { 0..0 }
    }

    /// Fills with NaN the columns of strip `p` of the output whose lane is NaN.
    #[inline(always)]
    fn fill_nan<S: Simd<E>>(&self, s: S, p: usize, lanes: S::V) {
        let numbers = s.equal(lanes, lanes);
        if numbers == (1 << E::LANES) - 1 {
            return;
        }
        for lane in 0..E::LANES {
            if numbers >> lane & 1 == 1 {
                continue;
            }
            for i in 0..self.rows() {
                self.set(i, p * E::LANES + lane, E::NAN);
            }
        }
    }
}

/// Which of the lanes of an array the columns of a panel are.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    /// The number of the first.
    pub first: usize,
    /// From one column's number to the next's.
    pub step: usize,
    /// How many columns there are: those after the last are padding.
    pub count: usize,
}

impl Lanes {
    /// None of them has a number.
    pub const NONE: Self = Self { first: 0, step: 0, count: 0 };

    /// Those from column `start` on.
    #[inline(always)]
    pub fn from(self, start: usize) -> Self {
        let (first, count) = (self.first + start * self.step, self.count.saturating_sub(start));
        Self { first, count, ..self }
    }

    /// The number of a column; `None` for padding.
    #[inline(always)]
    pub fn get(self, column: usize) -> Option<usize> {
        (column < self.count).then_some(self.first + column * self.step)
    }
}

impl<'a, E: Compute, const K: usize> PanelIo<'a, E, K> {
    /// # Safety
    /// During `'a`, `width * E::LANES` elements are valid for reading at each `src + i * src_stride`, and for
    /// writing at `dst + i * dst_stride`, for `i < rows`, all aligned; nothing else writes the inputs or touches
    /// the output. An input is the output itself or disjoint from it.
    #[inline(always)]
    pub unsafe fn from_raw(
        src: [*const E; K],
        src_stride: [isize; K],
        dst: *mut E,
        dst_stride: isize,
        rows: usize,
        width: usize,
    ) -> Self {
        let (is_far, is_buffer, lanes) = (true, false, Lanes::NONE);
        Self { src, src_stride, dst, dst_stride, rows, width, is_far, is_buffer, lanes, life: PhantomData }
    }

    /// A panel for each input in a buffer, to be filled by [`put`](Self::put); the first is the output, too. Rows begin with cache
    /// lines, an odd number of them apart, so that they do not meet in the same sets of a cache.
    #[inline(always)]
    pub fn in_buffer(buffer: &'a mut Vec<E>, rows: usize, width: usize) -> Self {
        let step = (width | 1) * E::LANES;
        buffer.resize(K * rows * step + E::LANES, E::ZERO);
        let dst = lined(buffer).as_mut_ptr();
        let mut src = [dst.cast_const(); K];
        for (k, p) in src.iter_mut().enumerate() {
            *p = dst.wrapping_add(k * rows * step).cast_const();
        }
        let stride = (step * size_of::<E>()) as isize;
        // SAFETY: less than a vector was skipped, so that all rows of all inputs lie in the buffer.
        let panel = unsafe { Self::from_raw(src, [stride; K], dst, stride, rows, width) };
        panel.buffer()
    }

    /// The same panel, known to be a buffer of its own in a near cache.
    #[inline(always)]
    pub(super) fn buffer(self) -> Self {
        Self { is_far: false, is_buffer: true, ..self }
    }

    /// The same panel, whose rows were asked for already.
    #[inline(always)]
    pub fn asked_for(self) -> Self {
        Self { is_far: false, ..self }
    }

    /// The same panel, of these lanes.
    #[inline(always)]
    pub fn of(self, lanes: Lanes) -> Self {
        Self { lanes, ..self }
    }

    /// Which lanes its columns are.
    #[inline(always)]
    pub fn lanes(&self) -> Lanes {
        self.lanes
    }

    /// The first input and the output alone.
    #[inline(always)]
    pub fn first_input(&self) -> PanelIo<'a, E, 1> {
        PanelIo {
            src: [self.src[0]],
            src_stride: [self.src_stride[0]],
            dst: self.dst,
            dst_stride: self.dst_stride,
            rows: self.rows,
            width: self.width,
            is_far: self.is_far,
            is_buffer: self.is_buffer,
            lanes: self.lanes,
            life: PhantomData,
        }
    }

    /// Strip `p` alone.
    #[inline(always)]
    pub fn strip(&self, p: usize) -> Self {
        self.strips(p, 1)
    }

    /// So many strips from strip `p` on.
    #[inline(always)]
    pub fn strips(&self, p: usize, width: usize) -> Self {
        assert!(p < self.width && width <= self.width - p);
        let mut src = self.src;
        for src in &mut src {
            *src = src.wrapping_add(p * E::LANES);
        }
        let (dst, lanes) = (self.dst.wrapping_add(p * E::LANES), self.lanes.from(p * E::LANES));
        Self { src, dst, lanes, width, ..*self }
    }

    /// Length of the columns.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Row `i` of strip `p` of input `k`.
    #[inline(always)]
    pub fn load<S: Simd<E>>(&self, s: S, k: usize, i: usize, p: usize) -> S::V {
        assert!(i < self.rows && p < self.width);
        // SAFETY: promised when `self` was made.
        unsafe { s.load(self.src[k].byte_offset(i as isize * self.src_stride[k]).add(p * E::LANES)) }
    }

    /// Four rows from `i` on of strip `p` of input `k`.
    #[inline(always)]
    pub fn load4<S: Simd<E>>(&self, s: S, k: usize, i: usize, p: usize) -> [S::V; 4] {
        assert!(i + 4 <= self.rows && p < self.width);
        let stride = self.src_stride[k];
        // SAFETY: promised when `self` was made.
        unsafe {
            let row = self.src[k].byte_offset(i as isize * stride).add(p * E::LANES);
            [
                s.load(row),
                s.load(row.byte_offset(stride)),
                s.load(row.byte_offset(2 * stride)),
                s.load(row.byte_offset(3 * stride)),
            ]
        }
    }

    /// Row `i` of strip `p` of all inputs.
    #[inline(always)]
    pub fn inputs<S: Simd<E>>(&self, s: S, i: usize, p: usize) -> [S::V; K] {
        let mut row = [self.load(s, 0, i, p); K];
        for k in 1..K {
            row[k] = self.load(s, k, i, p);
        }
        row
    }

    /// Four rows from `i` on likewise.
    #[inline(always)]
    pub fn inputs4<S: Simd<E>>(&self, s: S, i: usize, p: usize) -> [[S::V; K]; 4] {
        let first = self.load4(s, 0, i, p);
        let mut rows = [[first[0]; K], [first[1]; K], [first[2]; K], [first[3]; K]];
        for k in 1..K {
            let input = self.load4(s, k, i, p);
            for q in 0..4 {
                rows[q][k] = input[q];
            }
        }
        rows
    }

    /// Writes row `i` of strip `p` of input `k`, in a buffer; where the panel is none, what was read from there stays.
    #[inline(always)]
    pub fn put<S: Simd<E>>(&self, s: S, k: usize, i: usize, p: usize, v: S::V) {
        if !self.is_buffer {
            return;
        }
        assert!(i < self.rows && p < self.width);
        let row = self.src[k].cast_mut();
        // SAFETY: promised when `self` was made, of a buffer that is its own.
        unsafe { s.store(row.byte_offset(i as isize * self.src_stride[k]).add(p * E::LANES), v) };
    }

    /// Row `i` of one column of input `k`.
    #[inline(always)]
    pub fn get(&self, k: usize, i: usize, column: usize) -> E {
        assert!(i < self.rows && column < self.width * E::LANES);
        // SAFETY: promised when `self` was made.
        unsafe { *self.src[k].byte_offset(i as isize * self.src_stride[k]).add(column) }
    }

    /// Writes row `i` of one column of the output.
    #[inline(always)]
    pub fn set(&self, i: usize, column: usize, x: E) {
        assert!(column < self.width * E::LANES);
        // SAFETY: promised when `self` was made; `output` checks the row.
        unsafe { *self.output(i, 0).add(column) = x };
    }

    /// Asks for row `i`, if there is one, of strip `p` of the inputs and of the output.
    #[inline(always)]
    pub fn prefetch<S: Simd<E>>(&self, s: S, i: usize, p: usize) {
        if !self.is_far || i >= self.rows {
            return;
        }
        for k in 0..K {
            let row = self.src[k].wrapping_byte_offset(i as isize * self.src_stride[k]);
            s.prefetch::<false>(row.wrapping_add(p * E::LANES));
        }
        let row = self.dst.wrapping_byte_offset(i as isize * self.dst_stride);
        s.prefetch::<true>(row.wrapping_add(p * E::LANES));
    }

    /// With every `E::LANES`th row `i` asks for as many that follow those, of all strips of the inputs, and of the output if `ALL`, where
    /// columns are long and rows near each other.
    #[inline(always)]
    pub fn ask_ahead<S: Simd<E>, const ALL: bool>(&self, s: S, i: usize) {
        let is_near = self.src_stride[0].unsigned_abs() <= NEAR_BYTES;
        if i.is_multiple_of(E::LANES) && self.is_far && is_near && self.rows >= LEAST_AHEAD {
            self.prefetch_rows::<S, ALL>(s, i + E::LANES);
        }
    }

    /// A vector of rows from `first` on, which need not be there. A function of its own, for it is unrolled.
    #[inline(never)]
    fn prefetch_rows<S: Simd<E>, const ALL: bool>(&self, s: S, first: usize) {
        for i in first..first + E::LANES {
            for k in 0..K {
                let row = self.src[k].wrapping_byte_offset(i as isize * self.src_stride[k]);
                for p in 0..self.width {
                    s.prefetch::<false>(row.wrapping_add(p * E::LANES));
                }
            }
            let row = self.dst.wrapping_byte_offset(i as isize * self.dst_stride);
            for p in 0..if ALL { self.width } else { 0 } {
                s.prefetch::<true>(row.wrapping_add(p * E::LANES));
            }
        }
    }

    /// Asks for all rows of the strip that lies so many to the right of the first, which need not be there.
    #[inline(always)]
    pub fn prefetch_beside<S: Simd<E>>(&self, s: S, strips: usize) {
        for k in 0..K {
            let row = self.src[k].wrapping_add(strips * E::LANES);
            prefetch_rows::<E, S, false>(s, row, self.src_stride[k], self.rows);
        }
        let rows = if self.dst_stride == 0 { 1 } else { self.rows };
        let row = self.dst.cast_const().wrapping_add(strips * E::LANES);
        prefetch_rows::<E, S, true>(s, row, self.dst_stride, rows);
    }

    #[inline(always)]
    fn output(&self, i: usize, p: usize) -> *mut E {
        assert!(i < self.rows && p < self.width);
        // SAFETY: promised when `self` was made.
        unsafe { self.dst.byte_offset(i as isize * self.dst_stride).add(p * E::LANES) }
    }

    /// Row `i` of strip `p` of the output, read back.
    #[inline(always)]
    pub fn load_output<S: Simd<E>>(&self, s: S, i: usize, p: usize) -> S::V {
        // SAFETY: promised when `self` was made.
        unsafe { s.load(self.output(i, p)) }
    }

    /// The output as an input: what an operation keeps there.
    #[inline(always)]
    pub fn kept(&self) -> PanelIo<'a, E, 1> {
        PanelIo { src: [self.dst.cast_const()], src_stride: [self.dst_stride], ..self.first_input() }
    }

    /// Writes row `i` of strip `p` of the output.
    #[inline(always)]
    pub fn store<S: Simd<E>>(&self, s: S, i: usize, p: usize, v: S::V) {
        // SAFETY: promised when `self` was made.
        unsafe { s.store(self.output(i, p), v) }
    }

    /// [`Simd::exp_columns_run`] over the rows `start..end`, two at least, of the first input of the first strip; kept in the output, if
    /// they are.
    #[inline(always)]
    pub fn exp_run<S: Simd<E>>(
        &self,
        s: S,
        run: &mut ExpRun<S::V, E::Bits>,
        (start, end): (usize, usize),
        keeps: bool,
    ) -> [[S::V; 2]; 16] {
        assert!(S::EXP_RUNS && start + 2 <= end && end <= self.rows);
        let src = self.src[0].wrapping_byte_offset(start as isize * self.src_stride[0]);
        let mut columns = RunColumns { src: (src, self.src_stride[0]), dst: None, rows: end - start };
        if keeps {
            columns.dst = Some((self.output(start, 0), self.dst_stride));
        }
        let mut sums = MaybeUninit::uninit();
        // SAFETY: promised when `self` was made; where there is a loop for it, as there is, all sums are written.
        unsafe {
            s.exp_columns_run(run, &columns, sums.as_mut_ptr());
            sums.assume_init()
        }
    }
}

/// Columns of so many rows that are so many bytes apart, at most, are asked for ahead of their use.
const LEAST_AHEAD: usize = 500;
const NEAR_BYTES: usize = 512;

/// Asks for the cache lines of so many rows, to be written if `WRITE`. A function of its own, for it is unrolled.
#[inline(never)]
fn prefetch_rows<E: Compute, S: Simd<E>, const WRITE: bool>(s: S, row: *const E, stride: isize, rows: usize) {
    for i in 0..rows {
        s.prefetch::<WRITE>(row.wrapping_byte_offset(i as isize * stride));
    }
}

impl<E: Compute, const K: usize> Outside<E, K> for PanelIo<'_, E, K> {
    const TRANSPOSED: bool = false;

    #[inline(always)]
    fn rows(&self) -> usize {
        self.rows()
    }
    #[inline(always)]
    fn lanes(&self) -> Lanes {
        self.lanes()
    }
    #[inline(always)]
    fn load<S: Simd<E>>(&self, s: S, k: usize, i: usize, p: usize) -> S::V {
        self.load(s, k, i, p)
    }
    #[inline(always)]
    fn load4<S: Simd<E>>(&self, s: S, k: usize, i: usize, p: usize) -> [S::V; 4] {
        self.load4(s, k, i, p)
    }
    #[inline(always)]
    fn store<S: Simd<E>>(&self, s: S, i: usize, p: usize, v: S::V) {
        self.store(s, i, p, v);
    }
    #[inline(always)]
    fn set(&self, i: usize, column: usize, x: E) {
        self.set(i, column, x);
    }
}
