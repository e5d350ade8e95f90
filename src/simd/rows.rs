//! Rows of memory that kernels may read and write by whole vectors: bounds are checked here, once, so that kernels
//! are safe code.
//!
//! They hold raw pointers and never make a reference, because the output may be the input itself. Element `i` of
//! the output is written only after the last read of element `i` of the inputs: each kernel sees to that.

use core::marker::PhantomData;

use super::{ExpRun, Others, RunRows, Simd};
use crate::element::Compute;

/// A contiguous, readable row.
#[derive(Clone, Copy)]
pub struct Row<'a, E> {
    ptr: *const E,
    len: usize,
    vectors: usize,
    life: PhantomData<&'a E>,
}

impl<'a, E: Compute> Row<'a, E> {
    /// The row of a slice.
    #[inline(always)]
    pub fn new(row: &'a [E]) -> Self {
        // SAFETY: a slice is readable for its lifetime.
        unsafe { Self::from_raw(row.as_ptr(), row.len()) }
    }

    /// # Safety
    /// `ptr` is valid for reading `len` elements during `'a`, and aligned.
    #[inline(always)]
    pub unsafe fn from_raw(ptr: *const E, len: usize) -> Self {
        Self { ptr, len, vectors: len / E::LANES, life: PhantomData }
    }

    /// Elements.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whole vectors.
    #[inline(always)]
    pub fn vectors(&self) -> usize {
        self.vectors
    }

    /// Elements after the last whole vector.
    #[inline(always)]
    pub fn rest(&self) -> usize {
        self.len % E::LANES
    }

    /// The `i`th whole vector.
    #[inline(always)]
    pub fn load<S: Simd<E>>(&self, s: S, i: usize) -> S::V {
        assert!(i < self.vectors);
        // SAFETY: whole vectors lie inside the row.
        unsafe { s.load(self.ptr.add(i * E::LANES)) }
    }

    /// The part from `start`, at most `len` elements.
    #[inline(always)]
    pub fn part(&self, start: usize, len: usize) -> Self {
        let start = start.min(self.len);
        // SAFETY: inside the row.
        unsafe { Self::from_raw(self.ptr.add(start), len.min(self.len - start)) }
    }

    /// The row in two parts, the second beginning at a cache line: see [`RowIo::split_at_line`].
    #[inline(always)]
    pub fn split_at_line(&self) -> [Self; 2] {
        let head = to_line(self.ptr).min(self.len);
        // SAFETY: inside the row.
        unsafe { [Self::from_raw(self.ptr, head), Self::from_raw(self.ptr.add(head), self.len - head)] }
    }

    /// Four whole vectors, from the `i`th on.
    #[inline(always)]
    pub fn load4<S: Simd<E>>(&self, s: S, i: usize) -> [S::V; 4] {
        assert!(i + 4 <= self.vectors);
        // SAFETY: whole vectors lie inside the row.
        unsafe {
            let p = self.ptr.add(i * E::LANES);
            [s.load(p), s.load(p.add(E::LANES)), s.load(p.add(2 * E::LANES)), s.load(p.add(3 * E::LANES))]
        }
    }

    /// Asks for four vectors, from the `i`th on, of the row that follows, where rows lie one after another.
    #[inline(always)]
    pub fn prefetch_next4<S: Simd<E>>(&self, s: S, i: usize) {
        for k in 0..4 {
            s.prefetch::<false>(self.ptr.wrapping_add(self.len + (i + k) * E::LANES));
        }
    }

    /// Asks for a vector, which need not be there.
    #[inline(always)]
    pub fn prefetch<S: Simd<E>>(&self, s: S, i: usize) {
        s.prefetch::<false>(self.ptr.wrapping_add(i * E::LANES));
    }

    /// The elements after the last whole vector, then `fill`.
    #[inline(always)]
    pub fn load_rest<S: Simd<E>>(&self, s: S, fill: E) -> S::V {
        // SAFETY: `rest` elements follow the whole vectors.
        unsafe { s.load_first(self.ptr.add(self.vectors * E::LANES), self.rest(), fill) }
    }

    /// One element.
    #[inline(always)]
    pub fn get(&self, i: usize) -> E {
        assert!(i < self.len);
        // SAFETY: inside the row.
        unsafe { *self.ptr.add(i) }
    }

    /// [`Simd::exp_run`] over the whole vectors: the exponentials are kept in an output as long as this row, if there is one. If
    /// rows before and after are given, it goes as far as they, and makes the results of the row before, of its output
    /// if exponentials are kept, of its input if not.
    #[inline(always)]
    pub fn exp_run<S: Simd<E>>(
        &self,
        s: S,
        run: &mut ExpRun<S::V, E::Bits>,
        kept: Option<RowIo<'_, E, 1>>,
        others: Option<(RowIo<'_, E, 1>, Self)>,
    ) -> usize {
        let mut vectors = self.vectors;
        let mut rows = RunRows { src: self.ptr, dst: None, others: None };
        if let Some(kept) = kept {
            assert!(kept.len == self.len);
            rows.dst = Some(kept.dst);
        }
        if let Some((before, after)) = others {
            vectors = vectors.min(before.vectors).min(after.vectors);
            let from = if kept.is_some() { before.dst.cast_const() } else { before.src[0] };
            rows.others = Some(Others { from, to: before.dst, after: after.ptr });
        }
        // SAFETY: all have so many vectors, and of each row an input is the output or disjoint from it. After the last row comes that
        // row itself, once more.
        unsafe { s.exp_run(run, &rows, vectors) }
    }
}

/// How many elements there are before the next cache line: less than a vector.
#[inline(always)]
fn to_line<E: Compute>(p: *const E) -> usize {
    (p.addr().wrapping_neg() % size_of::<E::Array>()) / size_of::<E>()
}

/// The elements of a buffer from where a cache line begins.
#[inline(always)]
pub(crate) fn lined<E: Compute>(elements: &mut [E]) -> &mut [E] {
    let skipped = to_line(elements.as_ptr());
    &mut elements[skipped..]
}

/// `K` contiguous input rows and a contiguous output row of the same length, which may be one of the inputs.
#[derive(Clone, Copy)]
pub struct RowIo<'a, E, const K: usize> {
    src: [*const E; K],
    dst: *mut E,
    len: usize,
    vectors: usize,
    life: PhantomData<&'a mut E>,
}

impl<'a, E: Compute, const K: usize> RowIo<'a, E, K> {
    /// From slices of one length.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn new(src: [&'a [E]; K], dst: &'a mut [E]) -> Self {
        assert!(src.iter().all(|s| s.len() == dst.len()), "rows of one length");
        // SAFETY: slices are valid for their lifetime.
        unsafe { Self::from_raw(src.map(<[E]>::as_ptr), dst.as_mut_ptr(), dst.len()) }
    }

    /// `K` rows that lie one after another in `rows`; the first is the output, too.
    ///
    /// # Panics
    /// If `rows` is shorter than `K * len`.
    #[inline(always)]
    pub fn packed(rows: &'a mut [E], len: usize) -> Self {
        assert!(rows.len() >= K * len);
        let dst = rows.as_mut_ptr();
        let mut src = [dst.cast_const(); K];
        for (k, p) in src.iter_mut().enumerate() {
            *p = dst.wrapping_add(k * len).cast_const();
        }
        // SAFETY: inside the slice, as just checked.
        unsafe { Self::from_raw(src, dst, len) }
    }

    /// # Safety
    /// During `'a`, each `src` is valid for reading and `dst` for writing `len` elements, all aligned; nothing
    /// else writes the inputs or touches the output. An input is the output itself or disjoint from it. Of an
    /// operation that reduces, which writes by [`store_result`](Self::store_result) alone, `dst` is one element.
    #[inline(always)]
    pub unsafe fn from_raw(src: [*const E; K], dst: *mut E, len: usize) -> Self {
        Self { src, dst, len, vectors: len / E::LANES, life: PhantomData }
    }

    /// Elements.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whole vectors.
    #[inline(always)]
    pub fn vectors(&self) -> usize {
        self.vectors
    }

    /// Elements after the last whole vector.
    #[inline(always)]
    pub fn rest(&self) -> usize {
        self.len % E::LANES
    }

    /// All but these.
    #[inline(always)]
    pub fn whole(&self) -> Self {
        self.part(0, self.vectors * E::LANES)
    }

    /// Where the first input and the output begin.
    #[inline(always)]
    pub(super) fn pointers(&self) -> (*const E, *mut E) {
        (self.src[0], self.dst)
    }

    /// Input `k`.
    #[inline(always)]
    pub fn input(&self, k: usize) -> Row<'a, E> {
        // SAFETY: promised when `self` was made.
        unsafe { Row::from_raw(self.src[k], self.len) }
    }

    /// The output, to be read back.
    #[inline(always)]
    pub fn output(&self) -> Row<'a, E> {
        // SAFETY: promised when `self` was made.
        unsafe { Row::from_raw(self.dst, self.len) }
    }

    /// The part from `start`, at most `len` elements.
    #[inline(always)]
    pub fn part(&self, start: usize, len: usize) -> Self {
        let start = start.min(self.len);
        let mut src = self.src;
        for p in &mut src {
            // SAFETY: inside the row.
            *p = unsafe { p.add(start) };
        }
        // SAFETY: a part of what was promised.
        unsafe { Self::from_raw(src, self.dst.add(start), len.min(self.len - start)) }
    }

    /// Writes the `i`th whole vector.
    #[inline(always)]
    pub fn store<S: Simd<E>>(&self, s: S, i: usize, v: S::V) {
        assert!(i < self.vectors);
        // SAFETY: whole vectors lie inside the row.
        unsafe { s.store(self.dst.add(i * E::LANES), v) }
    }

    /// Writes four whole vectors, from the `i`th on.
    #[inline(always)]
    pub fn store4<S: Simd<E>>(&self, s: S, i: usize, v: [S::V; 4]) {
        assert!(i + 4 <= self.vectors);
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: whole vectors lie inside the row.
            unsafe { s.store(self.dst.add((i + k) * E::LANES), v) };
        }
    }

    /// Writes the elements after the last whole vector.
    #[inline(always)]
    pub fn store_rest<S: Simd<E>>(&self, s: S, v: S::V) {
        // SAFETY: `rest` elements follow the whole vectors.
        unsafe { s.store_first(self.dst.add(self.vectors * E::LANES), self.rest(), v) }
    }

    /// Asks for four vectors, from the `i`th on, of the output that follows, where rows lie one after another.
    #[inline(always)]
    pub fn prefetch_output4<S: Simd<E>>(&self, s: S, i: usize) {
        let ahead = self.dst.wrapping_add(self.len + i * E::LANES);
        for k in 0..4 {
            s.prefetch::<true>(ahead.wrapping_add(k * E::LANES));
        }
    }

    /// Asks for four vectors, from the `i`th on, of the rows that follow, where rows lie one after another.
    #[inline(always)]
    pub fn prefetch_next4<S: Simd<E>>(&self, s: S, i: usize) {
        for k in 0..K {
            self.input(k).prefetch_next4(s, i);
        }
        self.prefetch_output4(s, i);
    }

    /// The row in two parts, the second beginning at a cache line of the output: for passes whose results
    /// do not depend on where vectors begin. A vector that crosses a line costs twice.
    #[inline(always)]
    pub fn split_at_line(&self) -> [Self; 2] {
        let head = to_line(self.dst).min(self.len);
        let mut src = self.src;
        for p in &mut src {
            // SAFETY: inside the row.
            *p = unsafe { p.add(head) };
        }
        // SAFETY: parts of what was promised.
        unsafe {
            let body = Self::from_raw(src, self.dst.add(head), self.len - head);
            [Self::from_raw(self.src, self.dst, head), body]
        }
    }

    /// Writes the one result of a row that is reduced.
    #[inline(always)]
    pub fn store_result(&self, x: E) {
        self.set(0, x);
    }

    /// Writes one element.
    #[inline(always)]
    pub fn set(&self, i: usize, x: E) {
        assert!(i < self.len);
        // SAFETY: inside the row.
        unsafe { *self.dst.add(i) = x };
    }

    /// Writes `x` everywhere.
    #[inline(always)]
    pub fn fill(&self, x: E) {
        for i in 0..self.len {
            // SAFETY: inside the row.
            unsafe { *self.dst.add(i) = x };
        }
    }
}
