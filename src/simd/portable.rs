//! Plain arrays: the reference for every other instruction set, and the path that ARM runs.
//!
//! Straight loops over fixed arrays that LLVM vectorises by itself wherever FMA is part of the target. Where it
//! is not (baseline x86-64), `f32` uses an exact emulation in `f64` that still vectorises.
// `x - x == 0.0` asks whether x is finite, and vectorises.
#![allow(clippy::eq_op)]

use super::portable_exp::{f32_runs, f64_runs};
use super::{ExpRun, ROOT, RunColumns, RunRows, Simd, Token, UNIT, WHOLE};

/// Needs no proof: runs everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

const HARDWARE_FMA: bool =
    cfg!(any(target_feature = "fma", target_arch = "aarch64", target_arch = "riscv64"));

/// `a * b + c` rounded once, without an FMA unit.
///
/// The product is exact in `f64`. The sum is rounded to odd there (its last bit is set where it is inexact),
/// which makes the second rounding, to `f32`, correct: `f64` has more than two bits to spare
/// (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", IEEE Trans. Comput. 57, 2008).
#[inline(always)]
fn emulated(a: f32, b: f32, c: f32) -> f32 {
    let product = a as f64 * b as f64;
    let c = c as f64;
    let sum = product + c;
    let t = sum - product;
    let error = (product - (sum - t)) + (c - t);
    // Rounding to odd: an inexact sum with an even last bit moves one unit towards the error. In whole numbers
    // without a comparison, for those vectorise; an error of NaN means that the sum is not finite, and stays.
    let (bits, error) = (sum.to_bits(), error.to_bits());
    let size = error & (u64::MAX >> 1);
    let is_inexact = size.wrapping_neg() >> 63;
    let is_finite = 1 ^ (size.wrapping_add(1 << 52) >> 63);
    let is_even = 1 ^ (bits & 1);
    let away_or_back = ((error ^ bits) >> 63).wrapping_neg() | 1;
    let moved = away_or_back & (is_inexact & is_finite & is_even).wrapping_neg();
    f64::from_bits(bits.wrapping_add(moved)) as f32
}

/// `a * b + c`, rounded once.
#[inline(always)]
pub(super) fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    if HARDWARE_FMA { a.mul_add(b, c) } else { emulated(a, b, c) }
}

/// `a * b + c`, rounded once.
#[inline(always)]
pub(super) fn fma_f64(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}

/// The entry of a table of four that the two lowest bits choose, by masks: neither an index nor a choice of two
/// values vectorises everywhere.
macro_rules! chosen {
    ($bits:expr, $table:expr) => {{
        let odd = ($bits & 1).wrapping_neg();
        let high = ($bits >> 1 & 1).wrapping_neg();
        let first = $table[0] ^ (($table[0] ^ $table[1]) & odd);
        let second = $table[2] ^ (($table[2] ^ $table[3]) & odd);
        first ^ ((first ^ second) & high)
    }};
}

/// Functions that become part of their caller where FMA is, and are called where it is not: there a vector takes
/// many instructions, too many to repeat wherever one is needed.
macro_rules! steps {
    ($($step:item)*) => {$(
        #[cfg_attr(
            any(target_feature = "fma", target_arch = "aarch64", target_arch = "riscv64"),
            inline(always)
        )]
        #[cfg_attr(
            not(any(target_feature = "fma", target_arch = "aarch64", target_arch = "riscv64")),
            inline(never)
        )]
        $step
    )*};
}

macro_rules! portable {
    ($steps:ident, $runs:ident, $t:ty, $bits:ty, $n:literal, [$($part:literal),*], $fma:ident, $mantissa:literal) => {
        /// The operations on this type, by reference: so nothing is copied for a call.
        mod $steps {
            type V = [$t; $n];
            type M = [bool; $n];

            steps! {
                pub(super) unsafe fn load_first(p: *const $t, count: usize, fill: $t) -> V {
                    let mut v = [fill; $n];
                    for i in 0..count.min($n) {
                        // SAFETY: promised by the caller.
                        v[i] = unsafe { *p.add(i) };
                    }
                    v
                }
                pub(super) unsafe fn store_first(p: *mut $t, count: usize, v: &V) {
                    // By powers of two: of a loop LLVM makes masked stores, which are slow on some machines.
                    let mut i = 0;
                    $(
                        if count & $part != 0 {
                            // SAFETY: promised by the caller.
                            unsafe { core::ptr::copy_nonoverlapping(v.as_ptr().add(i), p.add(i), $part) };
                            i += $part;
                        }
                    )*
                    debug_assert!(i == count);
                }
                pub(super) fn add(a: &V, b: &V) -> V {
                    let mut v = *a;
                    for i in 0..$n {
                        v[i] += b[i];
                    }
                    v
                }
                pub(super) fn sub(a: &V, b: &V) -> V {
                    let mut v = *a;
                    for i in 0..$n {
                        v[i] -= b[i];
                    }
                    v
                }
                pub(super) fn mul(a: &V, b: &V) -> V {
                    let mut v = *a;
                    for i in 0..$n {
                        v[i] *= b[i];
                    }
                    v
                }
                pub(super) fn div(a: &V, b: &V) -> V {
                    let mut v = *a;
                    for i in 0..$n {
                        v[i] /= b[i];
                    }
                    v
                }
                pub(super) fn mul_add(a: &V, b: &V, c: &V) -> V {
                    let mut v = *c;
                    for i in 0..$n {
                        v[i] = super::$fma(a[i], b[i], c[i]);
                    }
                    v
                }
                pub(super) fn neg_mul_add(a: &V, b: &V, c: &V) -> V {
                    let mut v = *a;
                    for i in 0..$n {
                        v[i] = -a[i];
                    }
                    mul_add(&v, b, c)
                }
                pub(super) fn max(a: &V, b: &V) -> V {
                    let mut v = *a;
                    for i in 0..$n {
                        v[i] = if a[i] > b[i] { a[i] } else { b[i] };
                    }
                    v
                }
                pub(super) fn greater(a: &V, b: &V) -> M {
                    let mut m = [false; $n];
                    for i in 0..$n {
                        m[i] = a[i] > b[i];
                    }
                    m
                }
                pub(super) fn equals(a: &V, b: &V) -> M {
                    let mut m = [false; $n];
                    for i in 0..$n {
                        m[i] = a[i] == b[i];
                    }
                    m
                }
                pub(super) fn select(m: &M, a: &V, b: &V) -> V {
                    let mut v = *a;
                    for i in 0..$n {
                        v[i] = if m[i] { a[i] } else { b[i] };
                    }
                    v
                }
                pub(super) fn bits(m: &M) -> u32 {
                    let mut bits = 0;
                    for i in 0..$n {
                        bits |= (m[i] as u32) << i;
                    }
                    bits
                }
                pub(super) fn lookup(t: &V, table: &V) -> V {
                    let entries =
                        [table[0].to_bits(), table[1].to_bits(), table[2].to_bits(), table[3].to_bits()];
                    let mut v = *t;
                    for i in 0..$n {
                        v[i] = <$t>::from_bits(chosen!(t[i].to_bits(), entries));
                    }
                    v
                }
                pub(super) fn lookup_scaled(t: &V, table: &[$bits; 4]) -> V {
                    let mut v = *t;
                    for i in 0..$n {
                        let bits = t[i].to_bits();
                        let scaled = (bits << ($mantissa - 2)).wrapping_add(chosen!(bits, table));
                        v[i] = <$t>::from_bits(scaled);
                    }
                    v
                }
            }
        }

        impl Simd<$t> for Portable {
            type V = [$t; $n];
            type M = [bool; $n];
            const BY_CALLS: bool = !HARDWARE_FMA;
            const EXP_RUNS: bool = true;

            #[inline(always)]
            fn splat(self, x: $t) -> Self::V {
                [x; $n]
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> Self::V {
                // SAFETY: promised by the caller; an array is read unaligned.
                unsafe { p.cast::<Self::V>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn load_first(self, p: *const $t, count: usize, fill: $t) -> Self::V {
                // SAFETY: promised by the caller.
                unsafe { $steps::load_first(p, count, fill) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, v: Self::V) {
                // SAFETY: promised by the caller; an array is written unaligned.
                unsafe { p.cast::<Self::V>().write_unaligned(v) }
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, count: usize, v: Self::V) {
                // SAFETY: promised by the caller.
                unsafe { $steps::store_first(p, count, &v) }
            }
            #[inline(always)]
            fn add(self, a: Self::V, b: Self::V) -> Self::V {
                $steps::add(&a, &b)
            }
            #[inline(always)]
            fn sub(self, a: Self::V, b: Self::V) -> Self::V {
                $steps::sub(&a, &b)
            }
            #[inline(always)]
            fn mul(self, a: Self::V, b: Self::V) -> Self::V {
                $steps::mul(&a, &b)
            }
            #[inline(always)]
            fn div(self, a: Self::V, b: Self::V) -> Self::V {
                $steps::div(&a, &b)
            }
            #[inline(always)]
            fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                $steps::mul_add(&a, &b, &c)
            }
            #[inline(always)]
            fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                $steps::neg_mul_add(&a, &b, &c)
            }
            #[inline(always)]
            fn max(self, a: Self::V, b: Self::V) -> Self::V {
                $steps::max(&a, &b)
            }
            #[inline(always)]
            fn greater(self, a: Self::V, b: Self::V) -> Self::M {
                $steps::greater(&a, &b)
            }
            #[inline(always)]
            fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
                $steps::select(&m, &a, &b)
            }
            #[inline(always)]
            fn bits(self, m: Self::M) -> u32 {
                $steps::bits(&m)
            }
            #[inline(always)]
            fn equals(self, a: Self::V, b: Self::V) -> Self::M {
                $steps::equals(&a, &b)
            }
            #[inline(always)]
            fn lookup(self, t: Self::V, table: Self::V) -> Self::V {
                $steps::lookup(&t, &table)
            }
            #[inline(always)]
            fn lookup_scaled(self, t: Self::V, table: [$bits; 4]) -> Self::V {
                $steps::lookup_scaled(&t, &table)
            }
            #[inline(always)]
            unsafe fn read_columns(self, p: *const $t, stride: isize, to: *mut $t, step: usize) {
                for i in 0..$n {
                    for j in 0..4 {
                        // SAFETY: promised by the caller.
                        unsafe { *to.add(j * step + i) = *p.offset(i as isize * stride).add(j) }
                    }
                }
            }
            #[inline(always)]
            unsafe fn write_columns(self, p: *mut $t, stride: isize, from: *const $t, step: usize) {
                for i in 0..$n {
                    for j in 0..4 {
                        // SAFETY: promised by the caller.
                        unsafe { *p.offset(i as isize * stride).add(j) = *from.add(j * step + i) }
                    }
                }
            }
            #[inline(always)]
            unsafe fn exp_run(
                self,
                run: &mut ExpRun<Self::V, $bits>,
                rows: &RunRows<$t>,
                vectors: usize,
            ) -> usize {
                // SAFETY: promised by the caller.
                unsafe { $runs::along(run, rows, vectors) }
            }
            #[inline(always)]
            unsafe fn exp_columns_run(
                self,
                run: &mut ExpRun<Self::V, $bits>,
                columns: &RunColumns<$t>,
                sums: *mut [[Self::V; 2]; 16],
            ) {
                // SAFETY: promised by the caller.
                unsafe { $runs::down(run, columns, sums) }
            }
            #[inline(always)]
            fn to_array(self, v: Self::V) -> [$t; $n] {
                v
            }
        }
    };
}
portable!(f32_steps, f32_runs, f32, u32, 16, [8, 4, 2, 1], fma_f32, 23);
portable!(f64_steps, f64_runs, f64, u64, 8, [4, 2, 1], fma_f64, 52);

impl Token for Portable {
    #[inline(always)]
    fn to_f64(self, v: [f32; 16]) -> [[f64; 8]; 2] {
        let mut wide = [[0.0; 8]; 2];
        for i in 0..8 {
            wide[0][i] = v[i] as f64;
            wide[1][i] = v[i + 8] as f64;
        }
        wide
    }
    #[inline(always)]
    fn to_f32(self, v: [[f64; 8]; 2]) -> [f32; 16] {
        let mut narrow = [0.0; 16];
        for i in 0..8 {
            narrow[i] = v[0][i] as f32;
            narrow[i + 8] = v[1][i] as f32;
        }
        narrow
    }
    #[inline(always)]
    fn split_exponent(self, mut u: [f64; 8]) -> [[f64; 8]; 3] {
        let (mut k, mut scale) = (u, u);
        for i in 0..8 {
            let bits = u[i].to_bits();
            let exponent = bits.wrapping_sub(ROOT) >> 52;
            u[i] = f64::from_bits(bits.wrapping_sub(exponent << 52));
            scale[i] = f64::from_bits(UNIT.wrapping_sub(exponent << 52));
            k[i] = f64::from_bits(WHOLE | exponent) - f64::from_bits(WHOLE);
        }
        [u, k, scale]
    }
}
