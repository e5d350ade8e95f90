//! The two types of 16 bits, as bit patterns: exact widening, and rounding to nearest even. NaN comes out quiet, with its
//! sign and nothing else.

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

use crate::element::Compute;

/// The bits of infinity.
const INFINITY: u32 = 0x7f80_0000;

/// `x` as an `f32`, rounded to odd: an inexact result has its last bit set, so that rounding it once more, to a type
/// two bits or more shorter, is as good as rounding x.
#[inline(always)]
pub(crate) fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    let (back, bits) = (near as f64, near.to_bits());
    let is_odd = bits & 1 == 1 || back == x || back.is_nan();
    let beyond = back.abs() > x.abs();
    f32::from_bits(if is_odd { bits } else { bits.wrapping_add(1).wrapping_sub(2 * u32::from(beyond)) })
}

/// As an `f32` that is rounded to a type of 16 bits as if it were x.
#[inline(always)]
pub(super) fn short<E: Compute>(x: E) -> f32 {
    if size_of::<E>() == 4 { x.to_f32() } else { to_odd(x.to_f64()) }
}

/// An `f16`, widened.
#[inline(always)]
pub(crate) fn widened_f16(bits: u16) -> f32 {
    let bits = u32::from(bits);
    // Exponent and mantissa moved into place, and 2^112 for the difference of the biases: exact, for subnormal
    // numbers too.
    let size = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    let special = if bits & 0x7c00 == 0x7c00 { INFINITY } else { 0 };
    f32::from_bits(size.to_bits() | special | (bits & 0x8000) << 16)
}

/// Rounded to `f16`.
#[inline(always)]
pub(crate) fn narrowed_f16(x: f32) -> u16 {
    let sign = x.to_bits() >> 16 & 0x8000;
    let size = x.to_bits() & 0x7fff_ffff;
    // Adding 1/2 puts the last place of a subnormal half at the end of the mantissa.
    let small = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let normal = size.wrapping_sub(0x3800_0000 - 0xfff).wrapping_add(size >> 13 & 1) >> 13;
    let finite = if size < 0x3880_0000 { small } else { normal };
    let large = if size > INFINITY { 0x7e00 } else { 0x7c00 };
    (sign | if size < 0x477f_f000 { finite } else { large }) as u16
}

/// A `bf16`, widened.
#[inline(always)]
pub(crate) fn widened_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Rounded to `bf16`.
#[inline(always)]
pub(crate) fn narrowed_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let nan = bits >> 16 & 0x8000 | 0x7fc0;
    (if bits & 0x7fff_ffff > INFINITY { nan } else { rounded }) as u16
}

/// Sixteen numbers of type `f16`, widened.
///
/// # Safety
/// AVX2 and F16C were detected, and `p` is valid for reading sixteen elements.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn widened_halves(p: *const u16) -> [__m256; 2] {
    // SAFETY: promised by the caller.
    unsafe {
        let p = p.cast::<__m128i>();
        [_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128(p.add(1)))]
    }
}

/// The inverse, rounded.
///
/// # Safety
/// As above, for writing.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn narrowed_halves(p: *mut u16, v: [__m256; 2]) {
    // SAFETY: promised by the caller.
    unsafe {
        let mut v = v;
        // Rare, so that it costs no more than one question for both.
        if _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(v[0], v[1])) != 0 {
            for x in &mut v {
                let nan = _mm256_or_ps(_mm256_set1_ps(f32::NAN), _mm256_and_ps(*x, _mm256_set1_ps(-0.0)));
                *x = _mm256_blendv_ps(*x, nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(*x, *x));
            }
        }
        let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]);
        let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]);
        _mm_storeu_si128(p.cast(), low);
        _mm_storeu_si128(p.cast::<__m128i>().add(1), high);
    }
}

/// Sixteen numbers, rounded to `bf16`.
///
/// # Safety
/// AVX2 was detected, and `p` is valid for writing sixteen elements.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn narrowed_bf16s(p: *mut u16, v: [__m256; 2]) {
    // SAFETY: promised by the caller.
    unsafe {
        let mut halves = [rounded_bf16(v[0]), rounded_bf16(v[1])];
        // Rare, so that it costs no more than one question for both.
        if _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(v[0], v[1])) != 0 {
            for (half, x) in halves.iter_mut().zip(v) {
                let sign = _mm256_srli_epi32::<31>(_mm256_castps_si256(x));
                let nan = _mm256_or_si256(_mm256_slli_epi32::<15>(sign), _mm256_set1_epi32(0x7fc0));
                let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
                *half = _mm256_blendv_epi8(*half, nan, is_nan);
            }
        }
        // Within 128 bits: the quarters of both, in turns.
        let packed = _mm256_packus_epi32(halves[0], halves[1]);
        _mm256_storeu_si256(p.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
    }
}

/// The upper 16 bits of each lane, rounded: of infinity as of numbers.
///
/// # Safety
/// AVX2 was detected.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn rounded_bf16(x: __m256) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let last = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let up = _mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff));
        _mm256_srli_epi32::<16>(_mm256_add_epi32(up, last))
    }
}
