//! AVX2 with FMA: two registers a virtual vector.

use core::arch::x86_64::*;

use super::{Simd, Token};

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

/// All bits set in the first `count` of 16 lanes of 32 bits.
#[inline(always)]
fn first_lanes_f32(count: usize) -> [__m256i; 2] {
    const EDGE: [i32; 32] = {
        let mut edge = [0; 32];
        let mut i = 0;
        while i < 16 {
            edge[i] = -1;
            i += 1;
        }
        edge
    };
    let start = EDGE[16 - count.min(16)..].as_ptr().cast::<__m256i>();
    // SAFETY: 16 lanes follow any start up to 16; a token exists, so the features do.
    unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] }
}

/// All bits set in the first `count` of 8 lanes of 64 bits.
#[inline(always)]
fn first_lanes_f64(count: usize) -> [__m256i; 2] {
    first_lanes_f32(2 * count)
}

// SAFETY of every block below: a token exists only where `dispatch` detected the features, and pointers are
// promised valid by the caller.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd<f32> for Avx2 {
    type V = [__m256; 2];
    type M = [__m256; 2];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        unsafe { [_mm256_set1_ps(x); 2] }
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
        unsafe {
            let m = first_lanes_f32(count);
            _mm256_maskstore_ps(p, m[0], v[0]);
            _mm256_maskstore_ps(p.wrapping_add(8), m[1], v[1]);
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
    fn greater(self, a: Self::V, b: Self::V) -> Self::M {
        unsafe { [_mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1])] }
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_blendv_ps(b[0], a[0], m[0]), _mm256_blendv_ps(b[1], a[1], m[1])] }
    }
    #[inline(always)]
    fn bits(self, m: Self::M) -> u32 {
        unsafe {
            (_mm256_movemask_ps(m[0]) as u32) | ((_mm256_movemask_ps(m[1]) as u32) << 8)
        }
    }
    #[inline(always)]
    fn equal(self, a: Self::V, b: Self::V) -> u32 {
        unsafe {
            Simd::<f32>::bits(self, [_mm256_cmp_ps::<_CMP_EQ_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_EQ_OQ>(a[1], b[1])])
        }
    }
    #[inline(always)]
    fn exponent_from_low_bits(self, t: Self::V) -> Self::V {
        unsafe {
            let shift = [
                _mm256_slli_epi32::<23>(_mm256_castps_si256(t[0])),
                _mm256_slli_epi32::<23>(_mm256_castps_si256(t[1])),
            ];
            [_mm256_castsi256_ps(shift[0]), _mm256_castsi256_ps(shift[1])]
        }
    }
    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f32; 16] {
        let mut a = [0.0; 16];
        unsafe { Simd::<f32>::store(self, a.as_mut_ptr(), v) };
        a
    }
}

#[allow(clippy::undocumented_unsafe_blocks)] // as above
impl Simd<f64> for Avx2 {
    type V = [__m256d; 2];
    type M = [__m256d; 2];

    #[inline(always)]
    fn splat(self, x: f64) -> Self::V {
        unsafe { [_mm256_set1_pd(x); 2] }
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
        unsafe {
            let m = first_lanes_f64(count);
            _mm256_maskstore_pd(p, m[0], v[0]);
            _mm256_maskstore_pd(p.wrapping_add(4), m[1], v[1]);
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
    fn greater(self, a: Self::V, b: Self::V) -> Self::M {
        unsafe { [_mm256_cmp_pd::<_CMP_GT_OQ>(a[0], b[0]), _mm256_cmp_pd::<_CMP_GT_OQ>(a[1], b[1])] }
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_blendv_pd(b[0], a[0], m[0]), _mm256_blendv_pd(b[1], a[1], m[1])] }
    }
    #[inline(always)]
    fn bits(self, m: Self::M) -> u32 {
        unsafe {
            (_mm256_movemask_pd(m[0]) as u32) | ((_mm256_movemask_pd(m[1]) as u32) << 4)
        }
    }
    #[inline(always)]
    fn equal(self, a: Self::V, b: Self::V) -> u32 {
        unsafe {
            Simd::<f64>::bits(self, [_mm256_cmp_pd::<_CMP_EQ_OQ>(a[0], b[0]), _mm256_cmp_pd::<_CMP_EQ_OQ>(a[1], b[1])])
        }
    }
    #[inline(always)]
    fn exponent_from_low_bits(self, t: Self::V) -> Self::V {
        unsafe {
            let shift = [
                _mm256_slli_epi64::<52>(_mm256_castpd_si256(t[0])),
                _mm256_slli_epi64::<52>(_mm256_castpd_si256(t[1])),
            ];
            [_mm256_castsi256_pd(shift[0]), _mm256_castsi256_pd(shift[1])]
        }
    }
    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f64; 8] {
        let mut a = [0.0; 8];
        unsafe { Simd::<f64>::store(self, a.as_mut_ptr(), v) };
        a
    }
}

#[allow(clippy::undocumented_unsafe_blocks)] // as above
impl Token for Avx2 {
    #[inline(always)]
    fn to_f64(self, v: [__m256; 2]) -> [[__m256d; 2]; 2] {
        unsafe {
            [
                [_mm256_cvtps_pd(_mm256_castps256_ps128(v[0])), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v[0]))],
                [_mm256_cvtps_pd(_mm256_castps256_ps128(v[1])), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v[1]))],
            ]
        }
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
}
