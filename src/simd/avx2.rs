//! AVX2 with FMA and F16C: two registers a virtual vector. Arithmetic spells out both, for each loop over two of them, inlined some
//! hundred times in a kernel, takes the compiler seconds; matrices are transposed in few places, by halves.

use core::arch::x86_64::*;

use super::avx2_exp::{
    exp_columns_run_f32, exp_columns_run_f64, exp_rows_run_f32, exp_rows_run_f64, exp_run_f32, exp_run_f64,
};
use super::avx2_lanes::{
    by_halves_f64, entries_f64, first_lanes_f32, first_lanes_f64, max_lane_f32, max_lane_f64, max_lanes_f32,
    opaque, opaque_pointer, scaled_f32, scaled_f64, split_exponent, store_columns_f64, store_first_f32,
    store_first_f64, sum_by_halves, transpose_f32, widened,
};
use super::halves::{narrowed_bf16s, narrowed_halves, widened_halves};
use super::{ExpRun, RunColumns, RunRow, RunRows, Simd, Token, f32_entries, f64_entries};

/// Proof that the features of [`dispatch::AVX2`](crate::dispatch) were detected.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// # Safety
    /// Every feature that the AVX2 boundary of [`dispatch`](crate::dispatch) enables was detected.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY of every block below: a token exists only where `dispatch` detected the features, and pointers are
// promised valid by the caller.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd<f32> for Avx2 {
    type V = [__m256; 2];
    type M = [__m256; 2];
    const EXP_RUNS: bool = true;
    const BY_FOURS: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        let v = unsafe { _mm256_set1_ps(x) };
        [v, v]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, count: usize, fill: f32) -> Self::V {
        unsafe {
            let m = first_lanes_f32(count);
            let fill = _mm256_set1_ps(fill);
            let low = _mm256_maskload_ps(p, m[0]);
            let high = _mm256_maskload_ps(p.wrapping_add(8), m[1]);
            [
                _mm256_blendv_ps(fill, low, _mm256_castsi256_ps(m[0])),
                _mm256_blendv_ps(fill, high, _mm256_castsi256_ps(m[1])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        unsafe {
            _mm256_storeu_ps(p, v[0]);
            _mm256_storeu_ps(p.add(8), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, count: usize, v: Self::V) {
        unsafe { store_first_f32(p, count, v) }
    }
    #[inline(always)]
    unsafe fn load_halves(self, p: *const u16) -> Self::V {
        unsafe { widened_halves(p) }
    }
    #[inline(always)]
    unsafe fn store_halves(self, p: *mut u16, v: Self::V) {
        unsafe { narrowed_halves(p, v) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, v: Self::V) {
        unsafe { narrowed_bf16s(p, v) }
    }
    #[inline(always)]
    fn prefetch<const WRITE: bool>(self, p: *const f32) {
        unsafe {
            if WRITE { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) } else { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { [_mm256_fnmadd_ps(a[0], b[0], c[0]), _mm256_fnmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn abs(self, v: Self::V) -> Self::V {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_andnot_ps(sign, v[0]), _mm256_andnot_ps(sign, v[1])]
        }
    }
    #[inline(always)]
    fn greater(self, a: Self::V, b: Self::V) -> Self::M {
        unsafe { [_mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1])] }
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_blendv_ps(b[0], a[0], m[0]), _mm256_blendv_ps(b[1], a[1], m[1])] }
    }
    #[inline(always)]
    fn bits(self, m: Self::M) -> u32 {
        unsafe { (_mm256_movemask_ps(m[0]) as u32) | ((_mm256_movemask_ps(m[1]) as u32) << 8) }
    }
    #[inline(always)]
    fn any(self, m: Self::M) -> bool {
        // Of bits the compiler makes seven instructions.
        unsafe {
            let either = _mm256_or_ps(m[0], m[1]);
            _mm256_testz_ps(either, either) == 0
        }
    }
    #[inline(always)]
    fn all(self, m: Self::M) -> bool {
        unsafe { _mm256_movemask_ps(_mm256_and_ps(m[0], m[1])) == 0xff }
    }
    #[inline(always)]
    fn equals(self, a: Self::V, b: Self::V) -> Self::M {
        unsafe { [_mm256_cmp_ps::<_CMP_EQ_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_EQ_OQ>(a[1], b[1])] }
    }
    #[inline(always)]
    fn lookup(self, t: Self::V, table: Self::V) -> Self::V {
        // Within 128 bits: the instruction looks at two bits of an index and no more.
        unsafe {
            [
                _mm256_permutevar_ps(table[0], _mm256_castps_si256(t[0])),
                _mm256_permutevar_ps(table[0], _mm256_castps_si256(t[1])),
            ]
        }
    }
    #[inline(always)]
    fn lookup_scaled(self, t: Self::V, table: [u32; 4]) -> Self::V {
        let entries = Simd::<f32>::lookup(self, t, Simd::<f32>::table(self, f32_entries(table)));
        [scaled_f32(t[0], entries[0]), scaled_f32(t[1], entries[1])]
    }
    #[inline(always)]
    unsafe fn exp_run(self, run: &mut ExpRun<Self::V, u32>, rows: &RunRows<f32>, vectors: usize) -> usize {
        unsafe { exp_run_f32(run, rows, vectors) }
    }
    #[inline(always)]
    unsafe fn exp_rows_run(
        self,
        run: &ExpRun<Self::V, u32>,
        rows: &mut [RunRow<f32>],
        vectors: usize,
        keeps: bool,
    ) {
        unsafe { exp_rows_run_f32(run, rows, vectors, keeps) }
    }
    #[inline(always)]
    unsafe fn exp_columns_run(
        self,
        run: &mut ExpRun<Self::V, u32>,
        columns: &RunColumns<f32>,
        sums: *mut [[Self::V; 2]; 16],
    ) {
        unsafe { exp_columns_run_f32(run, columns, sums) }
    }
    #[inline(always)]
    unsafe fn load_columns(self, p: *const f32, stride: isize) -> [Self::V; 4] {
        // Eight rows a half: register q of a half holds its rows q and q + 4.
        let mut halves = [[unsafe { _mm256_setzero_ps() }; 4]; 2];
        let (mut low, stride) = (p.cast_mut(), opaque(stride));
        for half in 0..2 {
            let high = opaque_pointer(low.wrapping_offset(4 * stride));
            for q in 0..4 {
                let at = q as isize * stride;
                unsafe {
                    halves[half][q] =
                        _mm256_set_m128(_mm_loadu_ps(high.offset(at)), _mm_loadu_ps(low.offset(at)));
                }
            }
            halves[half] = transpose_f32(halves[half]);
            low = opaque_pointer(high.wrapping_offset(4 * stride));
        }
        let [a, b] = halves;
        [[a[0], b[0]], [a[1], b[1]], [a[2], b[2]], [a[3], b[3]]]
    }
    #[inline(always)]
    unsafe fn store_columns(self, p: *mut f32, stride: isize, v: [Self::V; 4]) {
        let (mut low, stride) = (p, opaque(stride));
        for half in 0..2 {
            let rows = transpose_f32([v[0][half], v[1][half], v[2][half], v[3][half]]);
            let high = opaque_pointer(low.wrapping_offset(4 * stride));
            for (q, rows) in rows.into_iter().enumerate() {
                let at = q as isize * stride;
                unsafe {
                    _mm_storeu_ps(low.offset(at), _mm256_castps256_ps128(rows));
                    _mm_storeu_ps(high.offset(at), _mm256_extractf128_ps::<1>(rows));
                }
            }
            low = opaque_pointer(high.wrapping_offset(4 * stride));
        }
    }
    #[inline(always)]
    fn max_lane(self, v: Self::V) -> f32 {
        max_lane_f32(v)
    }
    #[inline(always)]
    fn max_lanes(self, v: &[Self::V; 16]) -> Self::V {
        max_lanes_f32(v)
    }
}

// SAFETY: as above.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd<f64> for Avx2 {
    type V = [__m256d; 2];
    type M = [__m256d; 2];
    const EXP_RUNS: bool = true;
    const BY_FOURS: bool = true;

    #[inline(always)]
    fn splat(self, x: f64) -> Self::V {
        let v = unsafe { _mm256_set1_pd(x) };
        [v, v]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f64) -> Self::V {
        unsafe { [_mm256_loadu_pd(p), _mm256_loadu_pd(p.add(4))] }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f64, count: usize, fill: f64) -> Self::V {
        unsafe {
            let m = first_lanes_f64(count);
            let fill = _mm256_set1_pd(fill);
            let low = _mm256_maskload_pd(p, m[0]);
            let high = _mm256_maskload_pd(p.wrapping_add(4), m[1]);
            [
                _mm256_blendv_pd(fill, low, _mm256_castsi256_pd(m[0])),
                _mm256_blendv_pd(fill, high, _mm256_castsi256_pd(m[1])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f64, v: Self::V) {
        unsafe {
            _mm256_storeu_pd(p, v[0]);
            _mm256_storeu_pd(p.add(4), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f64, count: usize, v: Self::V) {
        unsafe { store_first_f64(p, count, v) }
    }
    #[inline(always)]
    fn prefetch<const WRITE: bool>(self, p: *const f64) {
        unsafe {
            if WRITE { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) } else { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_add_pd(a[0], b[0]), _mm256_add_pd(a[1], b[1])] }
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_sub_pd(a[0], b[0]), _mm256_sub_pd(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_mul_pd(a[0], b[0]), _mm256_mul_pd(a[1], b[1])] }
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_div_pd(a[0], b[0]), _mm256_div_pd(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { [_mm256_fmadd_pd(a[0], b[0], c[0]), _mm256_fmadd_pd(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { [_mm256_fnmadd_pd(a[0], b[0], c[0]), _mm256_fnmadd_pd(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_max_pd(a[0], b[0]), _mm256_max_pd(a[1], b[1])] }
    }
    #[inline(always)]
    fn abs(self, v: Self::V) -> Self::V {
        unsafe {
            let sign = _mm256_set1_pd(-0.0);
            [_mm256_andnot_pd(sign, v[0]), _mm256_andnot_pd(sign, v[1])]
        }
    }
    #[inline(always)]
    fn greater(self, a: Self::V, b: Self::V) -> Self::M {
        unsafe { [_mm256_cmp_pd::<_CMP_GT_OQ>(a[0], b[0]), _mm256_cmp_pd::<_CMP_GT_OQ>(a[1], b[1])] }
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_blendv_pd(b[0], a[0], m[0]), _mm256_blendv_pd(b[1], a[1], m[1])] }
    }
    #[inline(always)]
    fn bits(self, m: Self::M) -> u32 {
        unsafe { (_mm256_movemask_pd(m[0]) as u32) | ((_mm256_movemask_pd(m[1]) as u32) << 4) }
    }
    #[inline(always)]
    fn any(self, m: Self::M) -> bool {
        // Of bits the compiler makes seven instructions.
        unsafe { _mm256_movemask_pd(_mm256_or_pd(m[0], m[1])) != 0 }
    }
    #[inline(always)]
    fn all(self, m: Self::M) -> bool {
        unsafe { _mm256_movemask_pd(_mm256_and_pd(m[0], m[1])) == 0xf }
    }
    #[inline(always)]
    fn equals(self, a: Self::V, b: Self::V) -> Self::M {
        unsafe { [_mm256_cmp_pd::<_CMP_EQ_OQ>(a[0], b[0]), _mm256_cmp_pd::<_CMP_EQ_OQ>(a[1], b[1])] }
    }
    #[inline(always)]
    fn lookup(self, t: Self::V, table: Self::V) -> Self::V {
        [entries_f64(t[0], table[0]), entries_f64(t[1], table[0])]
    }
    #[inline(always)]
    fn lookup_scaled(self, t: Self::V, table: [u64; 4]) -> Self::V {
        let entries = Simd::<f64>::lookup(self, t, Simd::<f64>::table(self, f64_entries(table)));
        [scaled_f64(t[0], entries[0]), scaled_f64(t[1], entries[1])]
    }
    #[inline(always)]
    unsafe fn exp_run(self, run: &mut ExpRun<Self::V, u64>, rows: &RunRows<f64>, vectors: usize) -> usize {
        unsafe { exp_run_f64(run, rows, vectors) }
    }
    #[inline(always)]
    unsafe fn exp_rows_run(
        self,
        run: &ExpRun<Self::V, u64>,
        rows: &mut [RunRow<f64>],
        vectors: usize,
        keeps: bool,
    ) {
        unsafe { exp_rows_run_f64(run, rows, vectors, keeps) }
    }
    #[inline(always)]
    unsafe fn exp_columns_run(
        self,
        run: &mut ExpRun<Self::V, u64>,
        columns: &RunColumns<f64>,
        sums: *mut [[Self::V; 2]; 16],
    ) {
        unsafe { exp_columns_run_f64(run, columns, sums) }
    }
    #[inline(always)]
    unsafe fn load_columns(self, p: *const f64, stride: isize) -> [Self::V; 4] {
        // Four rows a half, two columns at a time: register q holds the rows q and q + 2.
        let mut columns = [Simd::<f64>::splat(self, 0.0); 4];
        let (mut rows, stride) = (p.cast_mut(), opaque(stride));
        for half in 0..2 {
            for column in [0, 2] {
                unsafe {
                    let row = rows.add(column);
                    let next = row.offset(stride);
                    let a = _mm256_set_m128d(_mm_loadu_pd(row.offset(2 * stride)), _mm_loadu_pd(row));
                    let b = _mm256_set_m128d(_mm_loadu_pd(next.offset(2 * stride)), _mm_loadu_pd(next));
                    columns[column][half] = _mm256_unpacklo_pd(a, b);
                    columns[column + 1][half] = _mm256_unpackhi_pd(a, b);
                }
            }
            rows = opaque_pointer(rows.wrapping_offset(4 * stride));
        }
        columns
    }
    #[inline(always)]
    unsafe fn store_columns(self, p: *mut f64, stride: isize, v: [Self::V; 4]) {
        unsafe { store_columns_f64(p, stride, v) }
    }
    #[inline(always)]
    fn max_lane(self, v: Self::V) -> f64 {
        max_lane_f64(v)
    }
    #[inline(always)]
    fn max_lanes(self, v: &[Self::V; 16]) -> Self::V {
        let [a, b, c, d, e, f, g, h, ..] = *v;
        by_halves_f64!(_mm256_max_pd, [a, b, c, d, e, f, g, h])
    }
    #[inline(always)]
    fn sum_by_halves(self, v: Self::V) -> f64 {
        sum_by_halves(v)
    }
    #[inline(always)]
    fn sums_by_halves(self, v: [Self::V; 8]) -> Self::V {
        by_halves_f64!(_mm256_add_pd, v)
    }
}

// SAFETY: as above.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Token for Avx2 {
    #[inline(always)]
    fn to_f64(self, v: [__m256; 2]) -> [[__m256d; 2]; 2] {
        [widened(v[0]), widened(v[1])]
    }
    #[inline(always)]
    fn to_f32(self, v: [[__m256d; 2]; 2]) -> [__m256; 2] {
        unsafe {
            [
                _mm256_set_m128(_mm256_cvtpd_ps(v[0][1]), _mm256_cvtpd_ps(v[0][0])),
                _mm256_set_m128(_mm256_cvtpd_ps(v[1][1]), _mm256_cvtpd_ps(v[1][0])),
            ]
        }
    }
    #[inline(always)]
    fn split_exponent(self, u: [__m256d; 2]) -> [[__m256d; 2]; 3] {
        let (a, b) = (split_exponent(u[0]), split_exponent(u[1]));
        [[a[0], b[0]], [a[1], b[1]], [a[2], b[2]]]
    }
}
