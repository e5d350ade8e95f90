//! AVX2: the first lanes of a vector, matrices transposed, and what takes more than one instruction for a register.

use core::arch::asm;
use core::arch::x86_64::*;

use super::{ROOT, UNIT, WHOLE};

/// All bits set in the first `count` of 16 lanes of 32 bits.
#[inline(always)]
pub(super) fn first_lanes_f32(count: usize) -> [__m256i; 2] {
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
pub(super) fn first_lanes_f64(count: usize) -> [__m256i; 2] {
    first_lanes_f32(2 * count)
}

/// The first `count` of 16 lanes to memory, by powers of two: a masked store takes ten times as long on AMD's processors.
///
/// # Safety
/// `p` is valid for writing `count` elements, less than 16.
#[inline(always)]
pub(super) unsafe fn store_first_f32(mut p: *mut f32, count: usize, v: [__m256; 2]) {
    debug_assert!(count < 16);
    // SAFETY: promised by the caller, for memory; a token exists, so the features do.
    unsafe {
        let mut eight = v[0];
        if count & 8 != 0 {
            _mm256_storeu_ps(p, eight);
            p = p.add(8);
            eight = v[1];
        }
        let mut four = _mm256_castps256_ps128(eight);
        if count & 4 != 0 {
            _mm_storeu_ps(p, four);
            p = p.add(4);
            four = _mm256_extractf128_ps::<1>(eight);
        }
        if count & 2 != 0 {
            p.cast::<f64>().write_unaligned(_mm_cvtsd_f64(_mm_castps_pd(four)));
            p = p.add(2);
            four = _mm_movehl_ps(four, four);
        }
        if count & 1 != 0 {
            _mm_store_ss(p, four);
        }
    }
}

/// The first `count` of 8 lanes likewise.
///
/// # Safety
/// `p` is valid for writing `count` elements, less than 8.
#[inline(always)]
pub(super) unsafe fn store_first_f64(mut p: *mut f64, count: usize, v: [__m256d; 2]) {
    debug_assert!(count < 8);
    // SAFETY: promised by the caller, for memory; a token exists, so the features do.
    unsafe {
        let mut four = v[0];
        if count & 4 != 0 {
            _mm256_storeu_pd(p, four);
            p = p.add(4);
            four = v[1];
        }
        let mut two = _mm256_castpd256_pd128(four);
        if count & 2 != 0 {
            _mm_storeu_pd(p, two);
            p = p.add(2);
            two = _mm256_extractf128_pd::<1>(four);
        }
        if count & 1 != 0 {
            _mm_store_sd(p, two);
        }
    }
}

/// The largest lane of a vector without NaN.
#[inline(always)]
pub(super) fn max_lane_f32(v: [__m256; 2]) -> f32 {
    // SAFETY: called with a token at hand, so the features were detected.
    unsafe {
        let eight = _mm256_max_ps(v[0], v[1]);
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
    }
}

/// The same.
#[inline(always)]
pub(super) fn max_lane_f64(v: [__m256d; 2]) -> f64 {
    // SAFETY: as above.
    unsafe {
        let four = _mm256_max_pd(v[0], v[1]);
        let two = _mm_max_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
        _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)))
    }
}

/// The largest lane of each of so many vectors. In each step two registers become one, of which each has one half: of 256 bits, then of
/// 128, and so on; in the end lanes are in the order of the vectors.
#[inline(always)]
pub(super) fn max_lanes_f32(v: &[[__m256; 2]; 16]) -> [__m256; 2] {
    let mut largest = [v[0][0]; 2];
    for (k, largest) in largest.iter_mut().enumerate() {
        let (mut halves, mut pairs) = ([v[0][0]; 4], [v[0][0]; 2]);
        // SAFETY: as above.
        unsafe {
            for i in 0..4 {
                let (a, b) = (v[8 * k + i], v[8 * k + i + 4]);
                let (a, b) = (_mm256_max_ps(a[0], a[1]), _mm256_max_ps(b[0], b[1]));
                let [low, high] =
                    [_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)];
                halves[i] = _mm256_max_ps(low, high);
            }
            for i in 0..2 {
                let (a, b) = (halves[2 * i], halves[2 * i + 1]);
                pairs[i] = _mm256_max_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            }
            let [a, b] = pairs;
            *largest = _mm256_max_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
        }
    }
    largest
}

/// The sum of the lanes, by halves.
#[inline(always)]
pub(super) fn sum_by_halves(v: [__m256d; 2]) -> f64 {
    // SAFETY: as above.
    unsafe {
        let four = _mm256_add_pd(v[0], v[1]);
        let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
        _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
    }
}

/// The lanes of each of eight vectors brought together by an instruction, as [`max_lanes_f32`] does it. Used with a token at hand.
macro_rules! by_halves_f64 {
    ($both:ident, $v:expr) => {{
        let v = $v;
        let mut together = v[0];
        for (k, together) in together.iter_mut().enumerate() {
            let mut halves = v[0];
            // SAFETY: there is a token, so the features were detected.
            unsafe {
                for i in 0..2 {
                    let (a, b) = (v[4 * k + i], v[4 * k + i + 2]);
                    let (a, b) = ($both(a[0], a[1]), $both(b[0], b[1]));
                    let low = _mm256_permute2f128_pd::<0x20>(a, b);
                    halves[i] = $both(low, _mm256_permute2f128_pd::<0x31>(a, b));
                }
                let [a, b] = halves;
                *together = $both(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            }
        }
        together
    }};
}
pub(super) use by_halves_f64;

/// Four columns of eight rows, written.
///
/// # Safety
/// `p + i * stride` is valid for writing 4 elements for every `i < 8`.
#[inline(always)]
pub(super) unsafe fn store_columns_f64(p: *mut f64, stride: isize, v: [[__m256d; 2]; 4]) {
    let (mut first, stride) = (p, opaque(stride));
    for half in 0..2 {
        for column in [0, 2] {
            // SAFETY: promised by the caller, with a token at hand.
            unsafe {
                let (a, b) = (v[column][half], v[column + 1][half]);
                let rows = [_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b)];
                for (q, rows) in rows.into_iter().enumerate() {
                    let row = first.offset(q as isize * stride).add(column);
                    _mm_storeu_pd(row, _mm256_castpd256_pd128(rows));
                    _mm_storeu_pd(row.offset(2 * stride), _mm256_extractf128_pd::<1>(rows));
                }
            }
        }
        first = opaque_pointer(first.wrapping_offset(4 * stride));
    }
}

/// The 4 × 4 matrices in the two 128-bit lanes of four registers, transposed.
#[inline(always)]
pub(super) fn transpose_f32([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: called with a token at hand, so the features were detected.
    unsafe {
        let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(ab, cd),
            _mm256_shuffle_ps::<0xee>(ab, cd),
            _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
        ]
    }
}

/// One register of [`Simd::lookup_scaled`](super::Simd::lookup_scaled), of the entries that were looked up.
#[inline(always)]
pub(super) fn scaled_f32(t: __m256, entries: __m256) -> __m256 {
    // SAFETY: called with a token at hand, so the features were detected.
    unsafe {
        let shifted = _mm256_slli_epi32::<21>(_mm256_castps_si256(t));
        _mm256_castsi256_ps(_mm256_add_epi32(shifted, _mm256_castps_si256(entries)))
    }
}

/// The same.
#[inline(always)]
pub(super) fn scaled_f64(t: __m256d, entries: __m256d) -> __m256d {
    // SAFETY: as above.
    unsafe {
        let shifted = _mm256_slli_epi64::<50>(_mm256_castpd_si256(t));
        _mm256_castsi256_pd(_mm256_add_epi64(shifted, _mm256_castpd_si256(entries)))
    }
}

/// One register of [`Simd::lookup`](super::Simd::lookup).
#[inline(always)]
pub(super) fn entries_f64(t: __m256d, table: __m256d) -> __m256d {
    // SAFETY: as above.
    unsafe {
        // An entry is two of eight 32-bit words: twice the index, and one more.
        let twice = _mm256_castsi256_ps(_mm256_slli_epi64::<1>(_mm256_castpd_si256(t)));
        let words = _mm256_castps_si256(_mm256_moveldup_ps(twice));
        let words = _mm256_or_si256(words, _mm256_set1_epi64x(1 << 32));
        _mm256_castsi256_pd(_mm256_permutevar8x32_epi32(_mm256_castpd_si256(table), words))
    }
}

/// One register as two of twice the width.
#[inline(always)]
pub(super) fn widened(v: __m256) -> [__m256d; 2] {
    // SAFETY: as above.
    unsafe { [_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v))] }
}

/// One register of [`Token::split_exponent`](super::Token::split_exponent).
#[inline(always)]
pub(super) fn split_exponent(u: __m256d) -> [__m256d; 3] {
    // SAFETY: as above.
    unsafe {
        let bits = _mm256_castpd_si256(u);
        let whole = _mm256_set1_epi64x(WHOLE as i64);
        let exponent = _mm256_srli_epi64::<52>(_mm256_sub_epi64(bits, _mm256_set1_epi64x(ROOT as i64)));
        let shifted = _mm256_slli_epi64::<52>(exponent);
        let k = _mm256_castsi256_pd(_mm256_or_si256(whole, exponent));
        [
            _mm256_castsi256_pd(_mm256_sub_epi64(bits, shifted)),
            _mm256_sub_pd(k, _mm256_castsi256_pd(whole)),
            _mm256_castsi256_pd(_mm256_sub_epi64(_mm256_set1_epi64x(UNIT as i64), shifted)),
        ]
    }
}

/// The same stride, of which nothing is known: its multiples would else be worked out before a loop, more of them than there are
/// registers, and be loaded from memory one by one.
#[inline(always)]
pub(super) fn opaque(mut stride: isize) -> isize {
    // SAFETY: nothing is done.
    unsafe { asm!("/* {} */", inout(reg) stride, options(nomem, nostack, preserves_flags)) };
    stride
}

/// The same of a pointer to a row.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)]
pub(super) fn opaque_pointer<T>(mut row: *mut T) -> *mut T {
    // SAFETY: nothing is done.
    unsafe { asm!("/* {} */", inout(reg) row, options(pure, nomem, nostack, preserves_flags)) };
    row
}
