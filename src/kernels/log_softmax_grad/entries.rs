//! The results of the product backward in `f32`, of what is known of rows or columns.
#![forbid(unsafe_code)]

use super::seen::LIKELY;
use super::short::ShortLogSoftmaxVjp;
use crate::element::Compute;
use crate::kernels::one_nan;
use crate::math::exp::RowShift;
use crate::math::exp_sum::probability;
use crate::simd::{Outside, PanelIo, RowIo, Wide};

/// A difference is small where it is this much smaller than what is subtracted.
pub(super) const SMALL: f32 = 12.0;

/// What entries are made of, in each lane.
pub(super) struct Parts<'a, V> {
    /// The sum of all cotangents, in two parts.
    pub(super) all: [V; 2],
    /// The same of the others.
    pub(super) others: [V; 2],
    /// And of likely classes, in one.
    pub(super) likely: V,
    /// Whether a class is likely is asked where few vectors have one.
    pub(super) asks: bool,
    /// The lanes of which all results may be small differences, as bits, and the sums of all of them.
    pub(super) close: u32,
    pub(super) totals: &'a [f64; 16],
}

impl ShortLogSoftmaxVjp {
    /// So many vectors of the result, step by step side by side.
    #[inline(always)]
    fn entries<S: Wide<f32>, const N: usize, const CLOSE: bool>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        parts: &Parts<'_, S::V>,
        [log_p, d]: [[S::V; N]; 2],
    ) -> [S::V; N] {
        let (zero, [high, low]) = (s.splat(0.0), parts.all);
        let e = self.exp.row_exps(s, shift, log_p);
        let (mut subtracted, mut rest, mut results) = (d, d, d);
        for k in 0..N {
            subtracted[k] = s.mul(e[k].power, high);
        }
        for k in 0..N {
            rest[k] = s.neg_mul_add(e[k].power, high, subtracted[k]);
        }
        for k in 0..N {
            rest[k] = s.neg_mul_add(e[k].power, low, rest[k]);
        }
        for k in 0..N {
            rest[k] = s.neg_mul_add(subtracted[k], e[k].rest, rest[k]);
        }
        for k in 0..N {
            results[k] = s.add(s.sub(d[k], subtracted[k]), rest[k]);
        }
        if !parts.asks || Self::need_care::<S, N, CLOSE>(s, parts.close, &log_p, &subtracted, &results) {
            for k in 0..N {
                // (1 - p) · sum(dy) less the cotangents of the others; two likely classes are none.
                let is_likely = s.greater(log_p[k], s.splat(LIKELY));
                let complement = s.neg_mul_add(e[k].power, e[k].rest, s.sub(s.splat(1.0), e[k].power));
                let others = s.add(s.add(parts.others[0], s.sub(parts.likely, d[k])), parts.others[1]);
                let likely = s.sub(zero, s.neg_mul_add(complement, high, others));
                results[k] = s.select(is_likely, likely, results[k]);
                subtracted[k] = s.select(is_likely, zero, subtracted[k]);
            }
            let mut small = 0;
            for k in 0..if CLOSE { N } else { 0 } {
                let lanes = parts.close & is_small(s, subtracted[k], results[k]);
                small |= u64::from(lanes) << (k * f32::LANES);
            }
            if small != 0 {
                let (mut inputs, mut settled) = ([[[0.0; 16]; N]; 2], [[0.0; 16]; N]);
                for k in 0..N {
                    inputs[0][k] = s.to_array(log_p[k]);
                    inputs[1][k] = s.to_array(d[k]);
                    settled[k] = s.to_array(results[k]);
                }
                let [log_p, d] = &inputs;
                settle(
                    small,
                    [log_p.as_flattened(), d.as_flattened()],
                    parts.totals,
                    settled.as_flattened_mut(),
                );
                for k in 0..N {
                    results[k] = s.from_array(settled[k]);
                }
            }
        }
        for k in 0..N {
            if self.temperature != 1.0 {
                results[k] = s.div(results[k], s.splat(self.temperature));
            }
            let is_none = s.equals(log_p[k], s.splat(f32::NEG_INFINITY));
            results[k] = s.select(is_none, zero, results[k]);
        }
        results
    }

    /// Whether a class is likely, or a difference small.
    #[inline(always)]
    fn need_care<S: Wide<f32>, const N: usize, const CLOSE: bool>(
        s: S,
        close: u32,
        log_p: &[S::V; N],
        subtracted: &[S::V; N],
        results: &[S::V; N],
    ) -> bool {
        let mut largest = log_p[0];
        for k in 1..N {
            largest = s.max(largest, log_p[k]);
        }
        let mut care = s.bits(s.greater(largest, s.splat(LIKELY)));
        for k in 0..if CLOSE { N } else { 0 } {
            care |= close & is_small(s, subtracted[k], results[k]);
        }
        care != 0
    }

    /// Results along a chunk of a row; as much of what follows in memory is asked for, if so.
    #[inline(always)]
    pub(super) fn chunk<S: Wide<f32>, const CLOSE: bool>(
        &self,
        s: S,
        (shift, parts): (&RowShift<S::V>, &Parts<'_, S::V>),
        chunk: RowIo<'_, f32, 2>,
        prefetches: bool,
    ) {
        let (log_p, d) = (chunk.input(0), chunk.input(1));
        let mut i = 0;
        while const { S::FOUR_AT_ONCE && !CLOSE } && i + 4 <= chunk.vectors() {
            if prefetches {
                log_p.prefetch_next4(s, i);
                d.prefetch_next4(s, i);
            }
            let four = [log_p.load4(s, i), d.load4(s, i)];
            chunk.store4(s, i, self.entries::<S, 4, CLOSE>(s, shift, parts, four));
            i += 4;
        }
        while i < chunk.vectors() {
            let entry = [[log_p.load(s, i)], [d.load(s, i)]];
            chunk.store(s, i, self.entries::<S, 1, CLOSE>(s, shift, parts, entry)[0]);
            i += 1;
        }
        if chunk.rest() > 0 {
            let entry = [[log_p.load_rest(s, f32::NEG_INFINITY)], [d.load_rest(s, 0.0)]];
            chunk.store_rest(s, self.entries::<S, 1, CLOSE>(s, shift, parts, entry)[0]);
        }
    }

    /// The rows `first..last` of strip `p`, of the inputs in the second panel.
    #[inline(always)]
    pub(super) fn strip_rows<S: Wide<f32>, O: Outside<f32, 2>, const CLOSE: bool>(
        &self,
        s: S,
        parts: &Parts<'_, S::V>,
        (panel, near): (O, PanelIo<'_, f32, 2>),
        (first, last, p): (usize, usize, usize),
    ) {
        let shift = self.shift(s);
        let mut i = first;
        while const { S::FOUR_AT_ONCE } && i + 4 <= last {
            let four = [near.load4(s, 0, i, p), near.load4(s, 1, i, p)];
            panel.store4(s, i, p, self.entries::<S, 4, CLOSE>(s, &shift, parts, four));
            i += 4;
        }
        while i < last {
            let [log_p, d] = near.inputs(s, i, p);
            let [result] = self.entries::<S, 1, CLOSE>(s, &shift, parts, [[log_p], [d]]);
            panel.store(s, i, p, result);
            i += 1;
        }
    }
}

/// The lanes in which a difference is small, as bits.
#[inline(always)]
fn is_small<S: Wide<f32>>(s: S, subtracted: S::V, result: S::V) -> u32 {
    s.bits(s.greater(s.abs(subtracted), s.abs(s.mul(result, s.splat(SMALL)))))
}

/// Results that are small differences, one bit each, at temperature 1, in `f64` of sums that are finite.
#[inline(never)]
fn settle(mut small: u64, [log_p, d]: [&[f32]; 2], totals: &[f64; 16], results: &mut [f32]) {
    while small != 0 {
        let i = small.trailing_zeros() as usize;
        small &= small - 1;
        results[i] = one_nan(alone(log_p[i], d[i], totals[i % f32::LANES]) as f32);
    }
}

/// An entry in `f64`, of a sum that is finite, at temperature 1.
#[inline(always)]
pub(super) fn alone(log_p: f32, d: f32, sum: f64) -> f64 {
    if log_p == f32::NEG_INFINITY {
        return 0.0;
    }
    f64::from(d) - probability(log_p.into()) * sum
}
