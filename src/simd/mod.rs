//! The vectors. One virtual width on every machine, so that every machine gives the same bits.
//!
//! [`Simd<E>`] is a zero-sized token that proves its instruction set was detected; its methods are the vector
//! operations on `E::LANES` lanes (16 `f32` or 8 `f64`, 512 bits): one register under AVX-512, two under
//! AVX2, a plain array elsewhere. A [`Kernel`] has one generic body and is entered through
//! [`dispatch`](crate::dispatch).
//!
//! # The inlining rules
//!
//! Below the one `#[target_feature]` boundary nothing carries that attribute and everything is
//! `#[inline(always)]`: a plain `#[inline]` that the compiler ignores turns AVX into calls and SSE. No closures,
//! `dyn`, function pointers or iterator adapters on the hot path. `tools/check_assembly.py` proves it.
//!
//! # The rule for NaN
//!
//! `max(a, b)` is `if a > b { a } else { b }` in each lane: it gives `b` where either is NaN. With the running
//! maximum in `b` a NaN is dropped; with the data in `b` it is kept.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[macro_use]
mod avx2_stages;
#[cfg(target_arch = "x86_64")]
mod avx2_exp;
#[cfg(target_arch = "x86_64")]
mod avx2_lanes;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exp_run;
mod halves;
mod panels;
mod portable;
mod portable_exp;
mod row_runs;
mod rows;
mod tiles;
mod wide;

use core::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
use exp_run::Others;
pub use exp_run::{ExpRun, RunColumns, RunRow, RunRows};
#[cfg(target_arch = "x86_64")]
use exp_run::{f32_entries, f64_entries};
use halves::short;
pub(crate) use halves::{narrowed_bf16, narrowed_f16, to_odd, widened_bf16, widened_f16};
pub use panels::{Lanes, Outside, PanelIo};
pub use portable::Portable;
pub use row_runs::RowRuns;
pub(crate) use rows::lined;
pub use rows::{Row, RowIo};
pub use tiles::{
    GROUPED_TILE_ROWS, RowPanel, SHORTER_TILE_ROWS, SHORTEST_TILE_ROWS, SpacedRows, TILE_ROWS, TILE_WIDTH,
    Tile,
};
pub use wide::Wide;

use crate::element::Compute;

/// Vector operations on `E::LANES` lanes. Implemented by the token of each instruction set.
#[allow(missing_docs)]
pub trait Simd<E: Compute>: Copy + Send + Sync + 'static {
    /// One virtual vector.
    type V: Copy;
    /// One truth value a lane.
    type M: Copy;
    /// Whether there are registers enough to work on four vectors, or on two strips of a panel, side by side.
    const FOUR_AT_ONCE: bool = false;
    /// Whether a single operation takes so many instructions that steps of the mathematics are called, not inlined, and
    /// panels refused: little is lost in time, and much won in size.
    const BY_CALLS: bool = false;
    /// Whether there are [`exp_run`](Self::exp_run) and [`exp_columns_run`](Self::exp_columns_run), which then writes all sums.
    const EXP_RUNS: bool = false;
    /// Whether rows that are transposed by fours in registers are best worked on there, while they are read and before they are
    /// written.
    const BY_FOURS: bool = false;

    fn splat(self, x: E) -> Self::V;

    /// # Safety
    /// `p` is valid for reading `E::LANES` elements; no alignment is needed.
    unsafe fn load(self, p: *const E) -> Self::V;

    /// The first `count < E::LANES` lanes from memory, `fill` in the others.
    ///
    /// # Safety
    /// `p` is valid for reading `count` elements.
    unsafe fn load_first(self, p: *const E, count: usize, fill: E) -> Self::V;

    /// # Safety
    /// `p` is valid for writing `E::LANES` elements; no alignment is needed.
    unsafe fn store(self, p: *mut E, v: Self::V);

    /// The first `count < E::LANES` lanes to memory.
    ///
    /// # Safety
    /// `p` is valid for writing `count` elements.
    unsafe fn store_first(self, p: *mut E, count: usize, v: Self::V);

    /// `E::LANES` numbers of type `f16`, by their bits, widened.
    ///
    /// # Safety
    /// `p` is valid for reading `E::LANES` elements; no alignment is needed.
    #[inline(always)]
    unsafe fn load_halves(self, p: *const u16) -> Self::V {
        let mut lanes = E::ZERO.array();
        for i in 0..E::LANES {
            // SAFETY: promised by the caller.
            lanes.as_mut()[i] = E::from_f32(widened_f16(unsafe { p.add(i).read_unaligned() }));
        }
        self.from_array(lanes)
    }

    /// The inverse, each rounded once.
    ///
    /// # Safety
    /// `p` is valid for writing `E::LANES` elements; no alignment is needed.
    #[inline(always)]
    unsafe fn store_halves(self, p: *mut u16, v: Self::V) {
        let lanes = self.to_array(v);
        for i in 0..E::LANES {
            // SAFETY: promised by the caller.
            unsafe { p.add(i).write_unaligned(narrowed_f16(short(lanes.as_ref()[i]))) };
        }
    }

    /// `E::LANES` numbers of type `bf16`, by their bits, each rounded once.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, v: Self::V) {
        let lanes = self.to_array(v);
        for i in 0..E::LANES {
            // SAFETY: promised by the caller.
            unsafe { p.add(i).write_unaligned(narrowed_bf16(short(lanes.as_ref()[i]))) };
        }
    }

    /// Asks for a cache line ahead of its use, to be written if `WRITE`. Any address will do.
    #[inline(always)]
    fn prefetch<const WRITE: bool>(self, _p: *const E) {}

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a * b + c`, rounded once.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// `c - a * b`, rounded once.
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// `if a > b { a } else { b }`: `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a > b`; false where either is NaN.
    fn greater(self, a: Self::V, b: Self::V) -> Self::M;

    /// `a` where `m`, else `b`.
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;

    /// Without its sign.
    #[inline(always)]
    fn abs(self, v: Self::V) -> Self::V {
        self.max(v, self.sub(self.splat(E::ZERO), v))
    }

    /// The lanes where `m` is true as bits, lane 0 the lowest.
    fn bits(self, m: Self::M) -> u32;

    /// Whether `m` is true in any lane.
    #[inline(always)]
    fn any(self, m: Self::M) -> bool {
        self.bits(m) != 0
    }

    /// Whether it is in all.
    #[inline(always)]
    fn all(self, m: Self::M) -> bool {
        self.bits(m) == (1 << E::LANES) - 1
    }

    /// `a == b`; false where either is NaN.
    fn equals(self, a: Self::V, b: Self::V) -> Self::M;

    /// The lanes where `a == b` as bits.
    #[inline(always)]
    fn equal(self, a: Self::V, b: Self::V) -> u32 {
        self.bits(self.equals(a, b))
    }

    /// Four entries, over and over, for [`lookup`](Self::lookup).
    #[inline(always)]
    fn table(self, entries: [E; 4]) -> Self::V {
        self.from_array(E::cycle(entries))
    }

    /// The entry of a [`table`](Self::table) that the two lowest bits of each lane choose.
    fn lookup(self, t: Self::V, table: Self::V) -> Self::V;

    /// The bit pattern of each lane shifted left, so that the two lowest bits become the highest of the mantissa,
    /// plus the entry of `table` that they choose; modulo the width. See [`exp`](crate::math::exp).
    fn lookup_scaled(self, t: Self::V, table: [E::Bits; 4]) -> Self::V;

    /// The exponentials of so many `vectors`, written if they are kept, and added up; with them, the results of another
    /// row and the maximum of a third. How many vectors that were: all of them, or none, as with less than two, or where
    /// [there is no loop](Self::EXP_RUNS) for it.
    ///
    /// # Safety
    /// All of `rows` are valid for so many vectors; two that overlap are the same, or only read, but the third may be what lies ahead in
    /// the first.
    #[inline(always)]
    unsafe fn exp_run(
        self,
        _run: &mut ExpRun<Self::V, E::Bits>,
        _rows: &RunRows<E>,
        _vectors: usize,
    ) -> usize {
        0
    }

    /// The exponentials of rows of so many `vectors`, four at least, one row after another, written if they are kept, and added up, which
    /// begins as `run` says; but the last of `rows` only ends them. Where [there is a loop](Self::EXP_RUNS) for it.
    ///
    /// # Safety
    /// Rows are valid for so many vectors but the last, which is valid elsewhere; that which ends them is valid for reading two.
    /// Where exponentials are kept is the input or disjoint from it.
    #[inline(always)]
    unsafe fn exp_rows_run(
        self,
        run: &ExpRun<Self::V, E::Bits>,
        rows: &mut [RunRow<E>],
        vectors: usize,
        keeps: bool,
    ) {
        // SAFETY: promised by the caller.
        unsafe { exp_run::row_by_row(self, run, rows, vectors, keeps) }
    }

    /// The exponentials of columns, written if they are kept, and a sum for each lane, row `i` being part of that of
    /// lane `i` modulo `E::LANES`, which begin as `run` says, and what these lost; where [there is a loop](Self::EXP_RUNS) for it.
    ///
    /// # Safety
    /// `columns` are valid, and of two rows at least; where exponentials are kept is the input or disjoint from it. `sums` may be
    /// written.
    #[inline(always)]
    unsafe fn exp_columns_run(
        self,
        _run: &mut ExpRun<Self::V, E::Bits>,
        _columns: &RunColumns<E>,
        _sums: *mut [[Self::V; 2]; 16],
    ) {
    }

    /// The largest lane of a vector without NaN.
    #[inline(always)]
    fn max_lane(self, v: Self::V) -> E {
        let mut lanes = self.to_array(v);
        let lanes = lanes.as_mut();
        let mut half = E::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = if lanes[i + half] > lanes[i] { lanes[i + half] } else { lanes[i] };
            }
            half /= 2;
        }
        lanes[0]
    }

    /// The largest lane of each of the first `E::LANES` vectors, without NaN.
    #[inline(always)]
    fn max_lanes(self, v: &[Self::V; 16]) -> Self::V {
        let mut largest = E::ZERO.array();
        for k in 0..E::LANES {
            largest.as_mut()[k] = self.max_lane(v[k]);
        }
        self.from_array(largest)
    }

    /// The sum of the lanes by halves: lane `i` and lane `i + LANES / 2`, and so on.
    #[inline(always)]
    fn sum_by_halves(self, v: Self::V) -> E {
        let mut lanes = self.to_array(v);
        let lanes = lanes.as_mut();
        let mut half = E::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = lanes[i] + lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// The same of each of eight vectors of eight.
    #[inline(always)]
    fn sums_by_halves(self, v: [Self::V; 8]) -> Self::V {
        const { assert!(E::LANES == 8) };
        let mut sums = E::ZERO.array();
        for k in 0..8 {
            sums.as_mut()[k] = self.sum_by_halves(v[k]);
        }
        self.from_array(sums)
    }

    #[inline(always)]
    fn to_array(self, v: Self::V) -> E::Array {
        let mut a = MaybeUninit::<E::Array>::uninit();
        // SAFETY: the array has E::LANES elements, and all are written.
        unsafe {
            self.store(a.as_mut_ptr().cast(), v);
            a.assume_init()
        }
    }

    #[inline(always)]
    fn from_array(self, a: E::Array) -> Self::V {
        // SAFETY: the array has E::LANES elements.
        unsafe { self.load(a.as_ref().as_ptr()) }
    }

    /// Four columns of `E::LANES` rows: vector `j` holds element `j` of every row, row `i` starting
    /// `i * stride` elements after `p`.
    ///
    /// # Safety
    /// `p + i * stride` is valid for reading 4 elements for every `i < E::LANES`.
    #[inline(always)]
    unsafe fn load_columns(self, p: *const E, stride: isize) -> [Self::V; 4] {
        let mut columns = [E::ZERO.array(); 4];
        for i in 0..E::LANES {
            for (j, column) in columns.iter_mut().enumerate() {
                // SAFETY: promised by the caller.
                column.as_mut()[i] = unsafe { *p.offset(i as isize * stride).add(j) };
            }
        }
        [
            self.from_array(columns[0]),
            self.from_array(columns[1]),
            self.from_array(columns[2]),
            self.from_array(columns[3]),
        ]
    }

    /// Eight rows of eight: vector `j` holds element `j` of every row.
    #[inline(always)]
    fn transposed(self, rows: &[E::Array; 8]) -> [Self::V; 8] {
        const { assert!(E::LANES == 8) };
        // SAFETY: eight elements of each of eight rows, four and four.
        unsafe {
            let p = rows.as_ptr().cast();
            let [a, b, c, d] = self.load_columns(p, 8);
            let [e, f, g, h] = self.load_columns(p.add(4), 8);
            [a, b, c, d, e, f, g, h]
        }
    }

    /// The same to memory, a vector each `step` elements from `to` on.
    ///
    /// # Safety
    /// As there, and four vectors may be written.
    #[inline(always)]
    unsafe fn read_columns(self, p: *const E, stride: isize, to: *mut E, step: usize) {
        // SAFETY: promised by the caller.
        unsafe {
            let v = self.load_columns(p, stride);
            self.store(to, v[0]);
            self.store(to.add(step), v[1]);
            self.store(to.add(2 * step), v[2]);
            self.store(to.add(3 * step), v[3]);
        }
    }

    /// The inverse of [`load_columns`](Self::load_columns).
    ///
    /// # Safety
    /// `p + i * stride` is valid for writing 4 elements for every `i < E::LANES`.
    #[inline(always)]
    unsafe fn store_columns(self, p: *mut E, stride: isize, v: [Self::V; 4]) {
        let columns = [self.to_array(v[0]), self.to_array(v[1]), self.to_array(v[2]), self.to_array(v[3])];
        for i in 0..E::LANES {
            for (j, column) in columns.iter().enumerate() {
                // SAFETY: promised by the caller.
                unsafe { *p.offset(i as isize * stride).add(j) = column.as_ref()[i] };
            }
        }
    }

    /// The same from memory, a vector each `step` elements from `from` on.
    ///
    /// # Safety
    /// As there, and four vectors may be read.
    #[inline(always)]
    unsafe fn write_columns(self, p: *mut E, stride: isize, from: *const E, step: usize) {
        // SAFETY: promised by the caller.
        unsafe {
            let v = [
                self.load(from),
                self.load(from.add(step)),
                self.load(from.add(2 * step)),
                self.load(from.add(3 * step)),
            ];
            self.store_columns(p, stride, v);
        }
    }
}

/// The bits of √½, 1 and 2^52, of [`Token::split_exponent`]: what lies between √½ and √2 has the exponent 0.
const ROOT: u64 = 0x3fe6_a09e_667f_3bcd;
/// As above.
const UNIT: u64 = 0x3ff0_0000_0000_0000;
/// As above.
const WHOLE: u64 = 0x4330_0000_0000_0000;

/// The boundary of a token's instruction set, to be passed once more. Implemented in `dispatch`.
pub trait Enter<E: Compute>: Copy {
    /// Runs a kernel as a function of its own, not as a part of the caller: what is needed in several places is then
    /// compiled once, for the price of a call.
    fn enter<K: Kernel<E>>(self, kernel: K) -> K::Output;
}

/// Both widths on one token, and the way between them.
#[allow(missing_docs)]
pub trait Token: Simd<f32> + Simd<f64> + Enter<f32> + Enter<f64> {
    /// Lanes 0–7 and lanes 8–15, widened.
    fn to_f64(self, v: <Self as Simd<f32>>::V) -> [<Self as Simd<f64>>::V; 2];
    /// The inverse, rounding to nearest even.
    fn to_f32(self, v: [<Self as Simd<f64>>::V; 2]) -> <Self as Simd<f32>>::V;
    /// `u >= 1`, finite, as `f · 2^k` with f in [√½, √2): f, k and `2^-k`.
    fn split_exponent(self, u: <Self as Simd<f64>>::V) -> [<Self as Simd<f64>>::V; 3];
}

/// An operation with one generic body for all instruction sets.
pub trait Kernel<E: Compute> {
    /// What it returns.
    type Output;
    /// Runs on the vectors of `s`. Implementations are `#[inline(always)]`.
    fn run<S: Wide<E>>(self, s: S) -> Self::Output;
}
