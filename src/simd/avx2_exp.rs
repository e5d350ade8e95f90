//! Runs of exponentials, `f32`, on AVX2: the loops of [`ExpRun`], in assembly.
//!
//! With sixteen registers a compiler keeps either few exponentials on the way, and waits for their results, or many, and moves
//! them to memory and back. These loops have three stages, of three vectors that follow each other, so that nothing
//! they take up was worked out just before, and no exponential on its way is moved to memory. Arithmetic and its order are those of
//! [`Exp`](crate::math::exp::Exp) and [`LaneSum`](crate::math::sum::LaneSum), so that the bits are the same.

use core::arch::asm;
use core::arch::x86_64::__m256;
use core::mem::offset_of;

use super::{ExpRun, Others, RunColumns, RunRows};

/// Lines of assembly, each of some pieces.
macro_rules! lines {
    ($($($piece:expr),+);+ $(;)?) => { concat!($($($piece,)+ "\n",)+) };
}

/// A stage of the first half of a vector: what is left of x, the number of quarters, the rest, the power of two, then the sum and its
/// errors (or, of columns, what rounds, and the floor), and where the half lies. ymm6 and ymm7 are on the way.
macro_rules! low {
    ($stage:ident $(, $more:expr)*) => {
        $stage!("ymm8", "ymm9", "ymm10", "ymm11", "ymm0", "ymm2", "0" $(, $more)*)
    };
}

/// The same of the second half.
macro_rules! high {
    ($stage:ident $(, $more:expr)*) => {
        $stage!("ymm12", "ymm13", "ymm14", "ymm15", "ymm1", "ymm3", "32" $(, $more)*)
    };
}

/// The first stage: x reduced. Along a row ymm4 is what rounds, and ymm5 the constant.
macro_rules! reduced {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr) => {
        lines![
            "vmovaps ymm6, [{run} + 192]";
            "vmaxps ymm6, ymm6, [{src} + ", $at, "]";
            "vmovaps ", $quarters, ", ymm4";
            "vfmadd231ps ", $quarters, ", ymm6, ymm5";
            "vsubps ", $left, ", ymm4, ", $quarters;
            "vfmadd231ps ", $left, ", ymm6, ymm5";
            "vfmadd231ps ", $left, ", ymm6, [{run} + 64]";
        ]
    };
}

/// The same down columns.
macro_rules! reduced_columns {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $round:expr, $floor:expr, $at:expr) => {
        lines![
            "vmaxps ymm6, ", $floor, ", [{src} + ", $at, "]";
            "vmovaps ", $quarters, ", ", $round;
            "vfmadd231ps ", $quarters, ", ymm6, ymm5";
            "vsubps ", $left, ", ", $round, ", ", $quarters;
            "vfmadd231ps ", $left, ", ymm6, ymm5";
            "vfmadd231ps ", $left, ", ymm6, [{run} + 64]";
        ]
    };
}

/// The second stage: the polynomial but for its last step.
macro_rules! polynomial {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr) => {
        lines![
            "vmovaps ymm7, [{run} + 384]";
            "vfmadd231ps ymm7, ", $left, ", [{run} + 448]";
            "vfmadd213ps ymm7, ", $left, ", [{run} + 320]";
            "vfmadd213ps ymm7, ", $left, ", [{run} + 256]";
        ]
    };
}

/// The last step, and what the table of quarters lost; the number of quarters goes along to where the power comes of it.
macro_rules! rest {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr) => {
        lines![
            "vmovaps ", $power, ", ", $quarters;
            "vmovaps ", $rest, ", [{run} + 512]";
            "vpermilps ", $rest, ", ", $rest, ", ", $quarters;
            "vfmadd231ps ", $rest, ", ymm7, ", $left;
        ]
    };
}

/// The same down columns, each of which has its own growth.
macro_rules! rest_columns {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $round:expr, $floor:expr, $at:expr) => {
        lines![
            "vmovaps ", $power, ", ", $quarters;
            "vmovaps ", $rest, ", [{run} + 512]";
            "vpermilps ", $rest, ", ", $rest, ", ", $quarters;
            "vaddps ", $rest, ", ", $rest, ", [{run} + 896 + ", $at, "]";
            "vfmadd231ps ", $rest, ", ymm7, ", $left;
        ]
    };
}

/// The third stage: the power of two and the exponential, which is kept if `$kept`.
macro_rules! exponential {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr, $kept:expr) => {
        lines![
            "vbroadcastf128 ymm6, [{run} + 960]";
            "vpermilps ymm6, ymm6, ", $power;
            "vpslld ", $power, ", ", $power, ", 21";
            "vpaddd ", $power, ", ", $power, ", ymm6";
            "vmovaps ymm6, ", $power;
            "vfmadd231ps ymm6, ", $power, ", ", $rest;
            $kept, " [{dst} + ", $at, "], ymm6";
        ]
    };
}

/// The sum along a row.
macro_rules! sum {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr) => {
        lines!["vaddps ymm6, ymm6, ", $sum]
    };
}

/// What it lost.
macro_rules! errors {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr) => {
        lines![
            "vsubps ", $sum, ", ymm6, ", $sum;
            "vsubps ", $sum, ", ", $power, ", ", $sum;
            "vfmadd231ps ", $sum, ", ", $power, ", ", $rest;
            "vaddps ", $errors, ", ", $errors, ", ", $sum;
            "vmovaps ", $sum, ", ymm6";
        ]
    };
}

/// The sums down columns, and what they lost: those of the sixteen lanes lie in memory one after another.
macro_rules! sum_columns {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $round:expr, $floor:expr, $at:expr) => {
        lines![
            "vmovaps ymm4, [{sums} + {lane} + ", $at, "]";
            "vaddps ymm6, ymm6, ymm4";
            "vmovaps [{sums} + {lane} + ", $at, "], ymm6";
            "vsubps ymm4, ymm6, ymm4";
            "vsubps ymm4, ", $power, ", ymm4";
            "vfmadd231ps ymm4, ", $power, ", ", $rest;
            "vaddps ymm4, ymm4, [{sums} + {lane} + 64 + ", $at, "]";
            "vmovaps [{sums} + {lane} + 64 + ", $at, "], ymm4";
        ]
    };
}

/// Results of the row before, of exponentials: times a number in two parts.
macro_rules! scaled {
    () => {
        lines!["vmulps ymm7, ymm6, [{run} + 768]"; "vfmadd132ps ymm6, ymm7, [{run} + 704]"]
    };
}

/// Of inputs: less two numbers, one after the other.
macro_rules! shifted {
    () => {
        lines!["vsubps ymm6, ymm6, [{run} + 704]"; "vsubps ymm6, ymm6, [{run} + 768]"]
    };
}

/// The results of the row before, and the maximum of the row after.
macro_rules! others {
    ($left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr, $result:expr) => {
        lines![
            "vmovups ymm6, [{from} + ", $at, "]";
            $result,
            "vmovups [{to} + ", $at, "], ymm6";
            "vmovups ymm6, [{after} + ", $at, "]";
            "vmaxps ymm6, ymm6, [{run} + 832 + ", $at, "]";
            "vmovaps [{run} + 832 + ", $at, "], ymm6";
        ]
    };
}

/// The assembly, with the registers it has: named ones for addresses and counts, and all of the vectors.
macro_rules! registers {
    ($($text:expr),*; $($name:ident = $kind:ident $value:ident),*) => {
        asm!(
            $($text,)*
            "vzeroupper",
            $($name = $kind(reg) $value => _,)*
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack),
        )
    };
}

/// A run along a row: what keeps an exponential, and what is done besides for each half and for both.
macro_rules! along {
    ($kept:expr, [$low:expr, $high:expr, $onward:expr], $($name:ident),*) => {
        registers!(
            "vmovaps ymm0, [{run} + 576]", "vmovaps ymm1, [{run} + 608]",
            "vmovaps ymm2, [{run} + 640]", "vmovaps ymm3, [{run} + 672]",
            "vmovaps ymm4, [{run} + 128]", "vmovaps ymm5, [{run}]",
            low!(reduced), high!(reduced), "add {src}, 64",
            low!(polynomial), low!(rest), high!(polynomial), high!(rest),
            low!(reduced), high!(reduced), "add {src}, 64",
            "sub {vectors}, 2",
            "jz 3f",
            "2:",
            $low, low!(exponential, $kept), low!(sum), low!(polynomial), low!(errors), low!(rest), low!(reduced),
            $high, high!(exponential, $kept), high!(sum), high!(polynomial), high!(errors), high!(rest), high!(reduced),
            $onward, "add {src}, 64", "add {dst}, 64",
            "dec {vectors}",
            "jnz 2b",
            "3:",
            $low, low!(exponential, $kept), low!(sum), low!(polynomial), low!(errors), low!(rest),
            $high, high!(exponential, $kept), high!(sum), high!(polynomial), high!(errors), high!(rest),
            $onward, "add {dst}, 64",
            $low, low!(exponential, $kept), low!(sum), low!(errors),
            $high, high!(exponential, $kept), high!(sum), high!(errors),
            "vmovaps [{run} + 576], ymm0", "vmovaps [{run} + 608], ymm1",
            "vmovaps [{run} + 640], ymm2", "vmovaps [{run} + 672], ymm3";
            $($name = inout $name),*
        )
    };
}

/// A run down columns.
macro_rules! down {
    ($kept:expr, $($name:ident),*) => {
        registers!(
            "vmovaps ymm0, [{run} + 576]", "vmovaps ymm1, [{run} + 640]",
            "4:",
            "vmovaps [{sums} + {lane}], ymm0", "vmovaps [{sums} + {lane} + 32], ymm0",
            "vmovaps [{sums} + {lane} + 64], ymm1", "vmovaps [{sums} + {lane} + 96], ymm1",
            "add {lane}, 128",
            "and {lane}, 2047",
            "jnz 4b",
            "vmovaps ymm0, [{run} + 128]", "vmovaps ymm1, [{run} + 160]",
            "vmovaps ymm2, [{run} + 192]", "vmovaps ymm3, [{run} + 224]",
            "vmovaps ymm5, [{run}]",
            low!(reduced_columns), high!(reduced_columns), "add {src}, {src_step}",
            low!(polynomial), low!(rest_columns), high!(polynomial), high!(rest_columns),
            low!(reduced_columns), high!(reduced_columns), "add {src}, {src_step}",
            "sub {rows}, 2",
            "jz 3f",
            "2:",
            low!(exponential, $kept), low!(polynomial), low!(sum_columns), low!(rest_columns), low!(reduced_columns),
            high!(exponential, $kept), high!(polynomial), high!(sum_columns), high!(rest_columns), high!(reduced_columns),
            "add {src}, {src_step}", "add {dst}, {dst_step}", "add {lane}, 128", "and {lane}, 2047",
            "dec {rows}",
            "jnz 2b",
            "3:",
            low!(exponential, $kept), low!(polynomial), low!(sum_columns), low!(rest_columns),
            high!(exponential, $kept), high!(polynomial), high!(sum_columns), high!(rest_columns),
            "add {dst}, {dst_step}", "add {lane}, 128", "and {lane}, 2047",
            low!(exponential, $kept), low!(sum_columns), high!(exponential, $kept), high!(sum_columns);
            $($name = inout $name),*
        )
    };
}

/// What begins the line that keeps an exponential, and what makes a comment of it.
macro_rules! kept {
    () => {
        "vmovups"
    };
}
macro_rules! not_kept {
    () => {
        "# not"
    };
}

/// On to the next vector of the other rows.
macro_rules! onward {
    () => {
        lines!["add {from}, 64"; "add {to}, 64"; "add {after}, 64"]
    };
}

/// [`Simd::exp_run`](super::Simd::exp_run).
///
/// # Safety
/// AVX2 and FMA were detected, and what is promised there.
#[inline(never)]
pub(super) unsafe fn exp_run(
    run: &mut ExpRun<[__m256; 2], u32>,
    rows: &RunRows<f32>,
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
            None if kept.is_some() => along!(kept!(), ["", "", ""], run, src, dst, vectors),
            None => along!(not_kept!(), ["", "", ""], run, src, dst, vectors),
            Some(Others { from, to, after }) if kept.is_some() => along!(
                kept!(),
                [low!(others, scaled!()), high!(others, scaled!()), onward!()],
                run,
                src,
                dst,
                vectors,
                from,
                to,
                after
            ),
            Some(Others { from, to, after }) => along!(
                not_kept!(),
                [low!(others, shifted!()), high!(others, shifted!()), onward!()],
                run,
                src,
                dst,
                vectors,
                from,
                to,
                after
            ),
        }
    }
    vectors
}

/// [`Simd::exp_columns_run`](super::Simd::exp_columns_run).
///
/// # Safety
/// AVX2 and FMA were detected, and what is promised there.
#[inline(never)]
pub(super) unsafe fn exp_columns_run(
    run: &mut ExpRun<[__m256; 2], u32>,
    columns: &RunColumns<f32>,
    sums: *mut [[[__m256; 2]; 2]; 16],
) {
    let RunColumns { src: (src, src_step), dst: kept, rows } = *columns;
    let (run, lane) = (core::ptr::from_mut(run), 0usize);
    let (dst, dst_step) = kept.unwrap_or_default();
    // SAFETY: as above; the sums of sixteen lanes take 2048 bytes.
    unsafe {
        if kept.is_some() {
            down!(kept!(), run, src, src_step, dst, dst_step, rows, sums, lane);
        } else {
            down!(not_kept!(), run, src, src_step, dst, dst_step, rows, sums, lane);
        }
    }
}

// The places that the assembly takes things from.
const _: () = {
    type Run = ExpRun<[__m256; 2], u32>;
    assert!(offset_of!(Run, high) == 0 && offset_of!(Run, low) == 64 && offset_of!(Run, round) == 128);
    assert!(offset_of!(Run, floor) == 192 && offset_of!(Run, exp2) == 256 && offset_of!(Run, lost) == 512);
    assert!(offset_of!(Run, sum) == 576 && offset_of!(Run, errors) == 640 && offset_of!(Run, with) == 704);
    assert!(
        offset_of!(Run, max) == 832 && offset_of!(Run, growth) == 896 && offset_of!(Run, quarters) == 960
    );
};
