//! Runs of exponentials as plain loops: the loops of [`ExpRun`], which LLVM vectorises by itself.
//!
//! Vectors of the portable token are arrays, and a step of the mathematics is a loop over one: LLVM makes vectors of
//! such steps one by one, and of many in a row it loses the thread. Here all of them are the body of one loop, over the numbers of a
//! vector. Arithmetic and its order are those of [`Exp`](crate::math::exp::Exp) and [`LaneSum`](crate::math::sum::LaneSum), so that the
//! bits are the same.

use super::portable::{fma_f32, fma_f64};
use super::{ExpRun, Others, RunColumns, RunRows};

/// A table of four bit patterns as what is chosen with: the first, and what its neighbours differ in from it and from each other.
macro_rules! differences {
    ($t:expr) => {
        [$t[0], $t[0] ^ $t[1], $t[0] ^ $t[2], $t[0] ^ $t[1] ^ $t[2] ^ $t[3]]
    };
}

/// The functions of a type: their module's name, the type, its bits, how many lanes and coefficients it has, those after the last,
/// how many bits a mantissa less two, and its fused multiply-add.
macro_rules! runs {
    ($name:ident, $t:ty, $bits:ty, $n:literal, $coefficients:literal, [$($next:literal),*], $shift:literal, $fma:ident) => {
        pub(super) mod $name {
            use super::*;

            type V = [$t; $n];

            /// What all vectors share.
            struct Constants {
                high: $t,
                low: $t,
                exp2: [$t; $coefficients],
                lost: [$bits; 4],
                quarters: [$bits; 4],
            }

            impl Constants {
                #[inline(always)]
                fn new(run: &ExpRun<V, $bits>) -> Self {
                    let mut exp2 = [0.0; $coefficients];
                    for (i, exp2) in exp2.iter_mut().enumerate() {
                        // SAFETY: so many as the type has are there.
                        *exp2 = unsafe { run.exp2[i].assume_init_ref()[0] };
                    }
                    let mut lost = [0; 4];
                    for i in 0..4 {
                        lost[i] = run.lost[i].to_bits();
                    }
                    Self {
                        high: run.high[0],
                        low: run.low[0],
                        exp2,
                        lost: differences!(lost),
                        quarters: differences!(run.quarters),
                    }
                }

                /// The exponential of a number, which is added to a sum.
                #[inline(always)]
                fn exp(&self, x: $t, [round, floor, growth]: [$t; 3], [sum, errors]: [&mut $t; 2]) -> $t {
                    let x = if floor > x { floor } else { x };
                    let t = $fma(x, self.high, round);
                    let left = $fma(x, self.low, $fma(x, self.high, round - t));
                    let mut q = self.exp2[$coefficients - 1];
                    $(q = $fma(q, left, self.exp2[$next]);)*
                    let bits = t.to_bits();
                    let first = (bits & 1).wrapping_neg();
                    let second = (bits >> 1 & 1).wrapping_neg();
                    let both = first & second;
                    let [a, b, c, d] = self.lost;
                    let lost = <$t>::from_bits(a ^ (first & b) ^ (second & c) ^ (both & d)) + growth;
                    let [a, b, c, d] = self.quarters;
                    let quarter = a ^ (first & b) ^ (second & c) ^ (both & d);
                    let rest = $fma(q, left, lost);
                    let power = <$t>::from_bits((bits << $shift).wrapping_add(quarter));
                    let value = $fma(power, rest, power);
                    let total = *sum + value;
                    let taken = total - *sum;
                    *errors += $fma(power, rest, power - taken);
                    *sum = total;
                    value
                }
            }

            /// [`Simd::exp_run`](super::super::Simd::exp_run).
            ///
            /// # Safety
            /// As promised there.
            pub(in super::super) unsafe fn along(
                run: &mut ExpRun<V, $bits>,
                rows: &RunRows<$t>,
                vectors: usize,
            ) -> usize {
                let RunRows { src, dst, others } = *rows;
                if let Some(others) = others {
                    // SAFETY: as promised by the caller.
                    unsafe { beside(run, others, dst.is_some(), vectors) }
                }
                let (constants, round, floor) = (Constants::new(run), run.round[0], run.floor[0]);
                let (mut sum, mut errors) = (run.sum, run.errors);
                let mut kept = [0.0; $n];
                for i in 0..vectors {
                    // SAFETY: the row is valid for so many vectors.
                    let x = unsafe { src.cast::<V>().add(i).read_unaligned() };
                    for lane in 0..$n {
                        // The growth is part of what the table lost: minus zero changes no bit.
                        let at = [round, floor, -0.0];
                        kept[lane] = constants.exp(x[lane], at, [&mut sum[lane], &mut errors[lane]]);
                    }
                    if let Some(dst) = dst {
                        // SAFETY: as above.
                        unsafe { dst.cast::<V>().add(i).write_unaligned(kept) }
                    }
                }
                (run.sum, run.errors) = (sum, errors);
                vectors
            }

            /// The results of the row before, and the maximum of the row after.
            ///
            /// # Safety
            /// The rows are valid for so many vectors.
            #[inline(always)]
            unsafe fn beside(run: &mut ExpRun<V, $bits>, others: Others<$t>, keeps: bool, vectors: usize) {
                let Others { from, to, after } = others;
                let [high, low] = [run.with[0][0], run.with[1][0]];
                let mut max = run.max;
                for i in 0..vectors {
                    // SAFETY: promised by the caller.
                    let (mut result, next) = unsafe {
                        (from.cast::<V>().add(i).read_unaligned(), after.cast::<V>().add(i).read_unaligned())
                    };
                    for lane in 0..$n {
                        let e = result[lane];
                        result[lane] = if keeps { $fma(e, high, e * low) } else { e - high - low };
                        max[lane] = if next[lane] > max[lane] { next[lane] } else { max[lane] };
                    }
                    // SAFETY: as above.
                    unsafe { to.cast::<V>().add(i).write_unaligned(result) }
                }
                run.max = max;
            }

            /// [`Simd::exp_columns_run`](super::super::Simd::exp_columns_run).
            ///
            /// # Safety
            /// As promised there.
            pub(in super::super) unsafe fn down(
                run: &ExpRun<V, $bits>,
                columns: &RunColumns<$t>,
                sums: *mut [[V; 2]; 16],
            ) {
                let RunColumns { src: (src, src_step), dst, rows } = *columns;
                let constants = Constants::new(run);
                let mut totals = [[run.sum, run.errors]; 16];
                let mut kept = [0.0; $n];
                for i in 0..rows {
                    let [sum, errors] = &mut totals[i % $n];
                    // SAFETY: the columns are valid for so many rows.
                    let x = unsafe { src.byte_offset(i as isize * src_step).cast::<V>().read_unaligned() };
                    for lane in 0..$n {
                        let at = [run.round[lane], run.floor[lane], run.growth[lane]];
                        kept[lane] = constants.exp(x[lane], at, [&mut sum[lane], &mut errors[lane]]);
                    }
                    if let Some((dst, step)) = dst {
                        // SAFETY: as above.
                        unsafe { dst.byte_offset(i as isize * step).cast::<V>().write_unaligned(kept) }
                    }
                }
                // SAFETY: it may be written.
                unsafe { sums.write(totals) }
            }
        }
    };
}
runs!(f32_runs, f32, u32, 16, 4, [2, 1, 0], 21, fma_f32);
runs!(f64_runs, f64, u64, 8, 8, [6, 5, 4, 3, 2, 1, 0], 50, fma_f64);
