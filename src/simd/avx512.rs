//! AVX-512: one register a virtual vector.

use core::arch::x86_64::*;

use super::{ROOT, Simd, Token, UNIT, WHOLE, f32_entries, f64_entries};

/// Proof that the features of [`dispatch::AVX512`](crate::dispatch) were detected.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// # Safety
    /// Every feature that the AVX-512 boundary of [`dispatch`](crate::dispatch) enables was detected.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Self(())
    }
}

/// The 4 × 4 matrices in the four 128-bit lanes of four registers, transposed.
#[inline(always)]
fn transpose_f32([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: called with a token at hand, so the features were detected.
    unsafe {
        let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0x44>(ab, cd),
            _mm512_shuffle_ps::<0xee>(ab, cd),
            _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm512_shuffle_ps::<0xee>(ab_high, cd_high),
        ]
    }
}

/// The 2 × 2 matrices in the 128-bit lanes of two pairs of registers, transposed.
#[inline(always)]
fn transpose_f64([a, b, c, d]: [__m512d; 4]) -> [__m512d; 4] {
    // SAFETY: as above.
    unsafe {
        [
            _mm512_unpacklo_pd(a, b),
            _mm512_unpackhi_pd(a, b),
            _mm512_unpacklo_pd(c, d),
            _mm512_unpackhi_pd(c, d),
        ]
    }
}

/// Lanes brought together by halves, of several vectors at once, whose order they have in the end: in each step two vectors become one, of
/// which each has one half. `$both` is said of what is in either half of 512 bits, then of 256, and of 128.
macro_rules! by_halves_f64 {
    ($both:ident, $v:expr) => {{
        let v = $v;
        let (mut halves, mut pairs) = ([v[0]; 4], [v[0]; 2]);
        for i in 0..4 {
            // 0 and 2, 4 and 6, 1 and 3, 5 and 7.
            let first = i % 2 * 4 + i / 2;
            let (a, b) = (v[first], v[first + 2]);
            halves[i] = $both(_mm512_shuffle_f64x2::<0x44>(a, b), _mm512_shuffle_f64x2::<0xee>(a, b));
        }
        for i in 0..2 {
            let (a, b) = (halves[2 * i], halves[2 * i + 1]);
            pairs[i] = $both(_mm512_shuffle_f64x2::<0x88>(a, b), _mm512_shuffle_f64x2::<0xdd>(a, b));
        }
        $both(_mm512_unpacklo_pd(pairs[0], pairs[1]), _mm512_unpackhi_pd(pairs[0], pairs[1]))
    }};
}

// SAFETY of every block below: a token exists only where `dispatch` detected the features, and pointers are
// promised valid by the caller.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd<f32> for Avx512 {
    type V = __m512;
    type M = __mmask16;
    const FOUR_AT_ONCE: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, count: usize, fill: f32) -> __m512 {
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), !(!0 << count), p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, count: usize, v: __m512) {
        unsafe { _mm512_mask_storeu_ps(p, !(!0 << count), v) }
    }
    #[inline(always)]
    unsafe fn load_halves(self, p: *const u16) -> Self::V {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_halves(self, p: *mut u16, mut v: Self::V) {
        unsafe {
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            if is_nan != 0 {
                let nan = _mm512_or_ps(_mm512_set1_ps(f32::NAN), _mm512_and_ps(v, _mm512_set1_ps(-0.0)));
                v = _mm512_mask_mov_ps(v, is_nan, nan);
            }
            _mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, v: Self::V) {
        unsafe {
            let bits = _mm512_castps_si512(v);
            let last = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
            let mut half = _mm512_srli_epi32::<16>(_mm512_add_epi32(up, last));
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            if is_nan != 0 {
                let sign = _mm512_slli_epi32::<15>(_mm512_srli_epi32::<31>(bits));
                half = _mm512_mask_or_epi32(half, is_nan, sign, _mm512_set1_epi32(0x7fc0));
            }
            _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(half));
        }
    }
    #[inline(always)]
    fn prefetch<const WRITE: bool>(self, p: *const f32) {
        unsafe {
            if WRITE { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) } else { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn abs(self, v: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(v) }
    }
    #[inline(always)]
    fn greater(self, a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) }
    }
    #[inline(always)]
    fn select(self, m: __mmask16, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(m, b, a) }
    }
    #[inline(always)]
    fn bits(self, m: __mmask16) -> u32 {
        m as u32
    }
    #[inline(always)]
    fn equals(self, a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
    }
    #[inline(always)]
    fn lookup(self, t: __m512, table: __m512) -> __m512 {
        // Within 128 bits: the instruction looks at two bits of an index and no more.
        unsafe { _mm512_permutevar_ps(table, _mm512_castps_si512(t)) }
    }
    #[inline(always)]
    fn lookup_scaled(self, t: __m512, table: [u32; 4]) -> __m512 {
        unsafe {
            let entry = Simd::<f32>::lookup(self, t, Simd::<f32>::table(self, f32_entries(table)));
            let shifted = _mm512_slli_epi32::<21>(_mm512_castps_si512(t));
            _mm512_castsi512_ps(_mm512_add_epi32(shifted, _mm512_castps_si512(entry)))
        }
    }
    #[inline(always)]
    unsafe fn load_columns(self, p: *const f32, stride: isize) -> [__m512; 4] {
        // Register q holds the rows q, q + 4, q + 8, q + 12, so that transposing within 128 bits is enough.
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 4];
            for (q, rows) in rows.iter_mut().enumerate() {
                let row = p.offset(q as isize * stride);
                let r = _mm512_castps128_ps512(_mm_loadu_ps(row));
                let r = _mm512_insertf32x4::<1>(r, _mm_loadu_ps(row.offset(4 * stride)));
                let r = _mm512_insertf32x4::<2>(r, _mm_loadu_ps(row.offset(8 * stride)));
                *rows = _mm512_insertf32x4::<3>(r, _mm_loadu_ps(row.offset(12 * stride)));
            }
            transpose_f32(rows)
        }
    }
    #[inline(always)]
    unsafe fn store_columns(self, p: *mut f32, stride: isize, v: [__m512; 4]) {
        unsafe {
            for (q, r) in transpose_f32(v).into_iter().enumerate() {
                let row = p.offset(q as isize * stride);
                _mm_storeu_ps(row, _mm512_castps512_ps128(r));
                _mm_storeu_ps(row.offset(4 * stride), _mm512_extractf32x4_ps::<1>(r));
                _mm_storeu_ps(row.offset(8 * stride), _mm512_extractf32x4_ps::<2>(r));
                _mm_storeu_ps(row.offset(12 * stride), _mm512_extractf32x4_ps::<3>(r));
            }
        }
    }
    #[inline(always)]
    fn max_lane(self, v: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(v) }
    }
    #[inline(always)]
    fn max_lanes(self, v: &[__m512; 16]) -> __m512 {
        // As `by_halves_f64` does it.
        unsafe {
            let (mut halves, mut quarters, mut pairs) = ([v[0]; 8], [v[0]; 4], [v[0]; 2]);
            for i in 0..8 {
                // Of vectors that are 4 apart: 0 and 4, 8 and 12, 1 and 5, and so on.
                let first = i % 2 * 8 + i / 2;
                let (a, b) = (v[first], v[first + 4]);
                halves[i] =
                    _mm512_max_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            }
            for i in 0..4 {
                let (a, b) = (halves[2 * i], halves[2 * i + 1]);
                quarters[i] =
                    _mm512_max_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
            }
            for i in 0..2 {
                let (a, b) = (quarters[2 * i], quarters[2 * i + 1]);
                pairs[i] = _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            }
            let [a, b] = pairs;
            _mm512_max_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b))
        }
    }
}

// SAFETY: as above.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd<f64> for Avx512 {
    type V = __m512d;
    type M = __mmask8;
    const FOUR_AT_ONCE: bool = true;

    #[inline(always)]
    fn splat(self, x: f64) -> __m512d {
        unsafe { _mm512_set1_pd(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f64) -> __m512d {
        unsafe { _mm512_loadu_pd(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f64, count: usize, fill: f64) -> __m512d {
        unsafe { _mm512_mask_loadu_pd(_mm512_set1_pd(fill), !(!0 << count), p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f64, v: __m512d) {
        unsafe { _mm512_storeu_pd(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f64, count: usize, v: __m512d) {
        unsafe { _mm512_mask_storeu_pd(p, !(!0 << count), v) }
    }
    #[inline(always)]
    fn prefetch<const WRITE: bool>(self, p: *const f64) {
        unsafe {
            if WRITE { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) } else { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    }
    #[inline(always)]
    fn add(self, a: __m512d, b: __m512d) -> __m512d {
        unsafe { _mm512_add_pd(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512d, b: __m512d) -> __m512d {
        unsafe { _mm512_sub_pd(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512d, b: __m512d) -> __m512d {
        unsafe { _mm512_mul_pd(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512d, b: __m512d) -> __m512d {
        unsafe { _mm512_div_pd(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        unsafe { _mm512_fmadd_pd(a, b, c) }
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        unsafe { _mm512_fnmadd_pd(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512d, b: __m512d) -> __m512d {
        unsafe { _mm512_max_pd(a, b) }
    }
    #[inline(always)]
    fn abs(self, v: __m512d) -> __m512d {
        unsafe { _mm512_abs_pd(v) }
    }
    #[inline(always)]
    fn greater(self, a: __m512d, b: __m512d) -> __mmask8 {
        unsafe { _mm512_cmp_pd_mask::<_CMP_GT_OQ>(a, b) }
    }
    #[inline(always)]
    fn select(self, m: __mmask8, a: __m512d, b: __m512d) -> __m512d {
        unsafe { _mm512_mask_blend_pd(m, b, a) }
    }
    #[inline(always)]
    fn bits(self, m: __mmask8) -> u32 {
        m as u32
    }
    #[inline(always)]
    fn equals(self, a: __m512d, b: __m512d) -> __mmask8 {
        unsafe { _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a, b) }
    }
    #[inline(always)]
    fn lookup(self, t: __m512d, table: __m512d) -> __m512d {
        // The instruction looks at three bits of an index, so the table is there twice.
        unsafe { _mm512_permutexvar_pd(_mm512_castpd_si512(t), table) }
    }
    #[inline(always)]
    fn lookup_scaled(self, t: __m512d, table: [u64; 4]) -> __m512d {
        unsafe {
            let entry = Simd::<f64>::lookup(self, t, Simd::<f64>::table(self, f64_entries(table)));
            let shifted = _mm512_slli_epi64::<50>(_mm512_castpd_si512(t));
            _mm512_castsi512_pd(_mm512_add_epi64(shifted, _mm512_castpd_si512(entry)))
        }
    }
    #[inline(always)]
    unsafe fn load_columns(self, p: *const f64, stride: isize) -> [__m512d; 4] {
        // As for f32, with pairs of columns: register q holds the rows q, q + 2, q + 4, q + 6.
        unsafe {
            let mut pairs = [_mm512_setzero_pd(); 4];
            for (i, pair) in pairs.iter_mut().enumerate() {
                let row = p.offset((i as isize % 2) * stride).add(2 * (i / 2));
                let r = _mm512_castpd128_pd512(_mm_loadu_pd(row));
                let r = _mm512_insertf64x2::<1>(r, _mm_loadu_pd(row.offset(2 * stride)));
                let r = _mm512_insertf64x2::<2>(r, _mm_loadu_pd(row.offset(4 * stride)));
                *pair = _mm512_insertf64x2::<3>(r, _mm_loadu_pd(row.offset(6 * stride)));
            }
            transpose_f64(pairs)
        }
    }
    #[inline(always)]
    unsafe fn store_columns(self, p: *mut f64, stride: isize, v: [__m512d; 4]) {
        unsafe {
            for (i, r) in transpose_f64(v).into_iter().enumerate() {
                let row = p.offset((i as isize % 2) * stride).add(2 * (i / 2));
                _mm_storeu_pd(row, _mm512_castpd512_pd128(r));
                _mm_storeu_pd(row.offset(2 * stride), _mm512_extractf64x2_pd::<1>(r));
                _mm_storeu_pd(row.offset(4 * stride), _mm512_extractf64x2_pd::<2>(r));
                _mm_storeu_pd(row.offset(6 * stride), _mm512_extractf64x2_pd::<3>(r));
            }
        }
    }
    #[inline(always)]
    fn max_lane(self, v: __m512d) -> f64 {
        unsafe { _mm512_reduce_max_pd(v) }
    }
    #[inline(always)]
    fn max_lanes(self, v: &[__m512d; 16]) -> __m512d {
        unsafe { by_halves_f64!(_mm512_max_pd, v) }
    }
    #[inline(always)]
    fn sums_by_halves(self, v: [__m512d; 8]) -> __m512d {
        unsafe { by_halves_f64!(_mm512_add_pd, v) }
    }
    #[inline(always)]
    fn sum_by_halves(self, v: __m512d) -> f64 {
        unsafe {
            let four = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd::<1>(v));
            let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
            _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
        }
    }
}

// SAFETY: as above.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Token for Avx512 {
    #[inline(always)]
    fn to_f64(self, v: __m512) -> [__m512d; 2] {
        unsafe {
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)));
            [_mm512_cvtps_pd(_mm512_castps512_ps256(v)), _mm512_cvtps_pd(high)]
        }
    }
    #[inline(always)]
    fn to_f32(self, v: [__m512d; 2]) -> __m512 {
        unsafe {
            let low = _mm256_castps_pd(_mm512_cvtpd_ps(v[0]));
            let high = _mm256_castps_pd(_mm512_cvtpd_ps(v[1]));
            _mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high))
        }
    }
    #[inline(always)]
    fn split_exponent(self, u: __m512d) -> [__m512d; 3] {
        unsafe {
            let bits = _mm512_castpd_si512(u);
            let whole = _mm512_set1_epi64(WHOLE as i64);
            let exponent = _mm512_srli_epi64::<52>(_mm512_sub_epi64(bits, _mm512_set1_epi64(ROOT as i64)));
            let shifted = _mm512_slli_epi64::<52>(exponent);
            let k = _mm512_castsi512_pd(_mm512_or_si512(whole, exponent));
            [
                _mm512_castsi512_pd(_mm512_sub_epi64(bits, shifted)),
                _mm512_sub_pd(k, _mm512_castsi512_pd(whole)),
                _mm512_castsi512_pd(_mm512_sub_epi64(_mm512_set1_epi64(UNIT as i64), shifted)),
            ]
        }
    }
}
