//! Runs of exponentials on AVX2: the loops of [`ExpRun`], in assembly.
//!
//! With sixteen registers a compiler keeps either few exponentials on the way, and waits for their results, or many, and moves
//! them to memory and back. These loops have three stages, of three vectors that follow each other, so that nothing
//! they take up was worked out just before, and no exponential on its way is moved to memory. Arithmetic and its order are those of
//! [`Exp`](crate::math::exp::Exp) and [`LaneSum`](crate::math::sum::LaneSum), so that the bits are the same.

use core::arch::asm;
use core::arch::x86_64::{__m256, __m256d, __m256i};
use core::mem::offset_of;

use super::{ExpRun, Others, RunColumns, RunRow, RunRows};

/// The assembly, with the registers it has: named ones for addresses and counts, and all of the vectors.
macro_rules! registers {
    ($($text:expr),*; [$($constant:tt)*] $($name:ident),*) => {
        asm!(
            $($text,)*
            "vzeroupper",
            $($name = inout(reg) $name => _,)*
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            $($constant)*
            options(nostack),
        )
    };
}

/// A run along a row: what keeps an exponential, and what is done besides for each half and for both.
macro_rules! along {
    ($t:ident, $kept:expr, [$low:expr, $high:expr, $onward:expr], $constant:tt $($name:ident),*) => {
        registers!(
            sums_begin!(),
            "vmovaps ymm4, [{run} + 128]", "vmovaps ymm5, [{run}]",
            low!(reduced, $t, floor!()), high!(reduced, $t, floor!()), "add {src}, 64",
            low!(polynomial, $t), low!(rest, $t, table!()), high!(polynomial, $t), high!(rest, $t, table!()),
            low!(reduced, $t, floor!()), high!(reduced, $t, floor!()), "add {src}, 64",
            "sub {vectors}, 2",
            "jz 3f",
            "2:",
            $low, low!(exponential, $t, $kept), low!(sum, $t), low!(polynomial, $t), low!(errors, $t), low!(rest, $t, table!()),
            low!(reduced, $t, floor!()),
            $high, high!(exponential, $t, $kept), high!(sum, $t), high!(polynomial, $t), high!(errors, $t), high!(rest, $t, table!()),
            high!(reduced, $t, floor!()),
            $onward, "add {src}, 64", "add {dst}, 64",
            "dec {vectors}",
            "jnz 2b",
            "3:",
            $low, low!(exponential, $t, $kept), low!(sum, $t), low!(polynomial, $t), low!(errors, $t), low!(rest, $t, table!()),
            $high, high!(exponential, $t, $kept), high!(sum, $t), high!(polynomial, $t), high!(errors, $t), high!(rest, $t, table!()),
            $onward, "add {dst}, 64",
            $low, low!(exponential, $t, $kept), low!(sum, $t), low!(errors, $t),
            $high, high!(exponential, $t, $kept), high!(sum, $t), high!(errors, $t),
            "vmovaps [{run} + 832], ymm0", "vmovaps [{run} + 864], ymm1",
            "vmovaps [{run} + 896], ymm2", "vmovaps [{run} + 928], ymm3";
            $constant $($name),*
        )
    };
}

/// A run along rows one after another: where one ends, the first stages are with the next already. `left` of a row are the vectors whose
/// third stage is to come; three before its end its last vector enters the first, two before it the next row, and so on.
macro_rules! along_rows {
    ($t:ident, $kept:expr, $constant:tt $($name:ident),*) => {
        registers!(
            sums_begin!(),
            "vmovaps ymm5, [{run}]",
            "mov {src}, [{row} + 128]", "mov {dst}, [{row} + 136]",
            round_of!($t),
            low!(reduced, $t, floor_of!($t)), high!(reduced, $t, floor_of!($t)), "add {src}, 64",
            low!(polynomial, $t), low!(rest, $t, table_of!()), high!(polynomial, $t), high!(rest, $t, table_of!()),
            low!(reduced, $t, floor_of!($t)), high!(reduced, $t, floor_of!($t)), "add {src}, 64",
            "mov {left}, {vectors}",
            "2:",
            low!(exponential, $t, $kept), low!(sum, $t), low!(polynomial, $t), low!(errors, $t), low!(rest, $t, table_of!()),
            low!(reduced, $t, floor_of!($t)),
            high!(exponential, $t, $kept), high!(sum, $t), high!(polynomial, $t), high!(errors, $t), high!(rest, $t, table_of!()),
            high!(reduced, $t, floor_of!($t)),
            "add {src}, 64", "add {dst}, 64",
            "dec {left}",
            "cmp {left}, 4",
            "jae 2b",
            "cmp {left}, 2",
            "je 4f",
            "ja 3f",
            "test {left}, {left}",
            "jz 5f",
            "mov {next}, {first}", "mov {dst}, [{row} + 152]",
            "jmp 2b",
            "3:",
            "mov {src}, [{row} + 144]",
            "jmp 2b",
            "4:",
            "add {first}, {size}", "mov {src}, [{first} + 128]", round_of!($t),
            "jmp 2b",
            "5:",
            sums_end!("row"), sums_begin!(),
            "mov {row}, {first}", "mov {dst}, [{row} + 136]", "mov {left}, {vectors}",
            "cmp {row}, {end}",
            "jb 2b";
            $constant $($name),*
        )
    };
}

/// A run down columns.
macro_rules! down {
    ($t:ident, $kept:expr, $constant:tt $($name:ident),*) => {
        registers!(
            "vmovaps ymm0, [{run} + 832]", "vmovaps ymm1, [{run} + 896]",
            "4:",
            "vmovaps [{sums} + {lane}], ymm0", "vmovaps [{sums} + {lane} + 32], ymm0",
            "vmovaps [{sums} + {lane} + 64], ymm1", "vmovaps [{sums} + {lane} + 96], ymm1",
            "add {lane}, 128",
            "and {lane}, 2047",
            "jnz 4b",
            "vmovaps ymm0, [{run} + 128]", "vmovaps ymm1, [{run} + 160]",
            "vmovaps ymm2, [{run} + 192]", "vmovaps ymm3, [{run} + 224]",
            "vmovaps ymm5, [{run}]",
            low!(reduced_columns, $t), high!(reduced_columns, $t), "add {src}, {src_step}",
            low!(polynomial, $t), low!(rest_columns, $t), high!(polynomial, $t), high!(rest_columns, $t),
            low!(reduced_columns, $t), high!(reduced_columns, $t), "add {src}, {src_step}",
            "sub {rows}, 2",
            "jz 3f",
            "2:",
            low!(exponential, $t, $kept), low!(polynomial, $t), low!(sum_columns, $t), low!(rest_columns, $t),
            low!(reduced_columns, $t),
            high!(exponential, $t, $kept), high!(polynomial, $t), high!(sum_columns, $t), high!(rest_columns, $t),
            high!(reduced_columns, $t),
            "add {src}, {src_step}", "add {dst}, {dst_step}", next_lane!($t),
            "dec {rows}",
            "jnz 2b",
            "3:",
            low!(exponential, $t, $kept), low!(polynomial, $t), low!(sum_columns, $t), low!(rest_columns, $t),
            high!(exponential, $t, $kept), high!(polynomial, $t), high!(sum_columns, $t), high!(rest_columns, $t),
            "add {dst}, {dst_step}", next_lane!($t),
            low!(exponential, $t, $kept), low!(sum_columns, $t), high!(exponential, $t, $kept), high!(sum_columns, $t);
            $constant $($name),*
        )
    };
}

/// The functions of a type.
macro_rules! runs {
    ($t:ident, $float:ty, $vector:ty, $bits:ty, $along:ident, $rows:ident, $down:ident, [$($constant:tt)*]) => {
        /// [`Simd::exp_run`](super::Simd::exp_run).
        ///
        /// # Safety
        /// AVX2 and FMA were detected, and what is promised there.
        #[inline(never)]
        pub(super) unsafe fn $along(
            run: &mut ExpRun<[$vector; 2], $bits>,
            rows: &RunRows<$float>,
            vectors: usize,
        ) -> usize {
            if vectors < 2 {
                return 0;
            }
            let RunRows { src, dst: kept, others } = *rows;
            let (run, dst) = (core::ptr::from_mut(run), kept.unwrap_or_default());
            // SAFETY: a token exists, so the features do; memory is valid, as promised by the caller.
            unsafe {
                match others {
                    None if kept.is_some() => {
                        along!($t, kept!(), ["", "", ""], [$($constant)*] run, src, dst, vectors)
                    }
                    None => along!($t, not_kept!(), ["", "", ""], [$($constant)*] run, src, dst, vectors),
                    Some(Others { from, to, after }) => {
                        macro_rules! beside {
                            ($kept:expr, $result:expr) => {
                                along!(
                                    $t,
                                    $kept,
                                    [low!(others, $t, $result), high!(others, $t, $result), onward!()],
                                    [$($constant)*] run, src, dst, vectors, from, to, after
                                )
                            };
                        }
                        if kept.is_some() {
                            beside!(kept!(), scaled!($t))
                        } else {
                            beside!(not_kept!(), shifted!($t))
                        }
                    }
                }
            }
            vectors
        }

        /// [`Simd::exp_rows_run`](super::Simd::exp_rows_run).
        ///
        /// # Safety
        /// AVX2 and FMA were detected, and what is promised there.
        #[inline(never)]
        pub(super) unsafe fn $rows(
            run: &ExpRun<[$vector; 2], $bits>,
            rows: &mut [RunRow<$float>],
            vectors: usize,
            keeps: bool,
        ) {
            let row = rows.as_mut_ptr();
            let (first, next, end) = (row, row, row.wrapping_add(rows.len() - 1));
            let run = core::ptr::from_ref(run);
            let (src, dst, left) = (0usize, 0usize, 0usize);
            // SAFETY: as above.
            unsafe {
                macro_rules! rows {
                    ($kept:expr) => {
                        along_rows!($t, $kept, [
                            round = const offset_of!(RunRow<$float>, round),
                            floor = const offset_of!(RunRow<$float>, floor),
                            lost = const offset_of!(RunRow<$float>, lost),
                            size = const size_of::<RunRow<$float>>(),
                            $($constant)*
                        ] run, row, first, next, end, src, dst, left, vectors)
                    };
                }
                if keeps {
                    rows!(kept!());
                } else {
                    rows!(not_kept!());
                }
            }
        }

        /// [`Simd::exp_columns_run`](super::Simd::exp_columns_run).
        ///
        /// # Safety
        /// AVX2 and FMA were detected, and what is promised there.
        #[inline(never)]
        pub(super) unsafe fn $down(
            run: &mut ExpRun<[$vector; 2], $bits>,
            columns: &RunColumns<$float>,
            sums: *mut [[[$vector; 2]; 2]; 16],
        ) {
            let RunColumns { src: (src, src_step), dst: kept, rows } = *columns;
            let (run, lane) = (core::ptr::from_mut(run), 0usize);
            let (dst, dst_step) = kept.unwrap_or_default();
            // SAFETY: as above; the sums of sixteen lanes take 2048 bytes.
            unsafe {
                if kept.is_some() {
                    down!($t, kept!(), [$($constant)*] run, src, src_step, dst, dst_step, rows, sums, lane);
                } else {
                    down!($t, not_kept!(), [$($constant)*] run, src, src_step, dst, dst_step, rows, sums, lane);
                }
            }
        }

        // The places that the assembly takes things from.
        const _: () = {
            type Row = RunRow<$float>;
            assert!(offset_of!(Row, sum) == 0 && offset_of!(Row, errors) == 64);
            assert!(offset_of!(Row, src) == 128 && offset_of!(Row, dst) == 136);
            assert!(offset_of!(Row, last_src) == 144 && offset_of!(Row, last_dst) == 152);
            type Run = ExpRun<[$vector; 2], $bits>;
            assert!(offset_of!(Run, high) == 0 && offset_of!(Run, low) == 64);
            assert!(offset_of!(Run, round) == 128 && offset_of!(Run, floor) == 192);
            assert!(offset_of!(Run, exp2) == 256 && offset_of!(Run, lost) == 768);
            assert!(offset_of!(Run, sum) == 832 && offset_of!(Run, errors) == 896);
            assert!(offset_of!(Run, with) == 960 && offset_of!(Run, max) == 1088);
            assert!(offset_of!(Run, growth) == 1152 && offset_of!(Run, quarters) == 1216);
        };
    };
}
runs!(ps, f32, __m256, u32, exp_run_f32, exp_rows_run_f32, exp_columns_run_f32, []);
runs!(pd, f64, __m256d, u64, exp_run_f64, exp_rows_run_f64, exp_columns_run_f64, [second = sym SECOND,]);

/// What makes of a 32-bit word's number that of the word after it, in each second word.
// SAFETY: any bits are a vector.
static SECOND: __m256i = unsafe { core::mem::transmute([1u64 << 32; 4]) };
