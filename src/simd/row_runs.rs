//! Rows whose exponentials are taken one after another, by one [run](Simd::exp_rows_run).

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use super::{ExpRun, RowIo, RunRow, Simd};
use crate::element::Compute;

/// Rows of one length, of four vectors at least, the last of which may be a part of one: that part is here, filled up, and its
/// exponentials are put here, too.
pub struct RowRuns<'a, E: Compute> {
    rows: [MaybeUninit<RunRow<E>>; MOST + 1],
    rests: [MaybeUninit<E::Array>; MOST],
    count: usize,
    /// Of `rows`, how many have all that they need.
    ready: usize,
    has_run: bool,
    len: usize,
    life: PhantomData<&'a mut E>,
}

/// The most rows.
const MOST: usize = 16;

impl<'a, E: Compute> RowRuns<'a, E> {
    /// No rows so far, of this length.
    ///
    /// # Panics
    /// If it is of three vectors or less.
    #[inline(always)]
    pub fn new(len: usize) -> Self {
        assert!(len > 3 * E::LANES);
        let rows = [const { MaybeUninit::uninit() }; MOST + 1];
        let rests = [const { MaybeUninit::uninit() }; MOST];
        Self { rows, rests, count: 0, ready: 0, has_run: false, len, life: PhantomData }
    }

    /// One more; and what is left of it after whole vectors, if there is anything.
    #[inline(always)]
    pub fn push<S: Simd<E>>(&mut self, s: S, row: RowIo<'a, E, 1>, rest: S::V) {
        assert!(row.len() == self.len && self.count < MOST && !self.has_run);
        let (src, dst) = row.pointers();
        let last = (self.vectors() - 1) * E::LANES;
        self.rows[self.count].write(RunRow {
            sum: MaybeUninit::uninit(),
            errors: MaybeUninit::uninit(),
            src,
            dst,
            last_src: src.wrapping_add(last),
            last_dst: dst.wrapping_add(last),
            round: MaybeUninit::uninit(),
            floor: MaybeUninit::uninit(),
            lost: MaybeUninit::uninit(),
        });
        if self.is_ragged() {
            self.rests[self.count].write(s.to_array(rest));
        }
        self.count += 1;
    }

    /// What the exponentials of the next row are made with: see [`ExpRun`].
    #[inline(always)]
    pub fn set<S: Simd<E>>(&mut self, s: S, [round, floor]: [E; 2], lost: S::V) {
        assert!(self.ready < self.count);
        // SAFETY: so many were written.
        let row = unsafe { self.rows[self.ready].assume_init_mut() };
        row.round.write(round);
        row.floor.write(floor);
        row.lost.write(s.to_array(lost));
        self.ready += 1;
    }

    /// Whether something is left after whole vectors.
    #[inline(always)]
    fn is_ragged(&self) -> bool {
        !self.len.is_multiple_of(E::LANES)
    }

    /// Vectors of a row, the last perhaps not whole.
    #[inline(always)]
    fn vectors(&self) -> usize {
        self.len.div_ceil(E::LANES)
    }

    /// The exponentials of all rows, written to their outputs, or here, if they are kept; and added up.
    #[inline(always)]
    pub fn run<S: Simd<E>>(&mut self, s: S, run: &ExpRun<S::V, E::Bits>, keeps: bool) {
        assert!(S::EXP_RUNS && self.ready == self.count && !self.has_run);
        if self.count == 0 {
            return;
        }
        if self.is_ragged() {
            for k in 0..self.count {
                let rest = self.rests[k].as_mut_ptr().cast::<E>();
                // SAFETY: so many were written.
                let row = unsafe { self.rows[k].assume_init_mut() };
                (row.last_src, row.last_dst) = (rest, rest);
            }
        }
        self.rows[self.count] = self.rows[self.count - 1];
        // SAFETY: one more than `count` was written. Rows are valid, as promised when they were made; the rests are here; and the row
        // after the last is that row once more.
        unsafe {
            let rows = core::slice::from_raw_parts_mut(self.rows.as_mut_ptr().cast(), self.count + 1);
            s.exp_rows_run(run, rows, self.vectors(), keeps);
        }
        self.has_run = true;
    }

    /// After the run, the sum in each lane of a row, and what its rounding left.
    #[inline(always)]
    pub fn sums<S: Simd<E>>(&self, s: S, k: usize) -> [S::V; 2] {
        assert!(k < self.count && self.has_run);
        // SAFETY: so many were written, and the run has written their sums.
        unsafe {
            let row = self.rows[k].assume_init_ref();
            [s.from_array(row.sum.assume_init()), s.from_array(row.errors.assume_init())]
        }
    }

    /// What is left of a row after whole vectors; after the run its exponentials, if they are kept.
    ///
    /// # Panics
    /// If nothing is left.
    #[inline(always)]
    pub fn rest<S: Simd<E>>(&self, s: S, k: usize) -> S::V {
        assert!(k < self.count && self.is_ragged());
        // SAFETY: so many were written.
        s.from_array(unsafe { self.rests[k].assume_init() })
    }
}
