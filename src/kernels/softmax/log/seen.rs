//! A row as a part of a larger whole: what it adds to the whole's sum, and what its entries are beside it.
#![forbid(unsafe_code)]

use super::super::{Softmax, first, inverse, rescaled, scaled};
use super::sums::LogSum;
use crate::element::{DoubleDouble, WideScalar};
use crate::kernels::{Next, max_pass};
use crate::math::exp::ExpConstants;
use crate::math::whole::FAR;
pub use crate::math::whole::{Seen, Whole};
use crate::simd::{Row, RowIo, Wide};

/// What a row comes to.
#[inline(always)]
pub fn seen<E: ExpConstants, S: Wide<E>>(s: S, row: Row<'_, E>) -> Seen {
    let log_sum = LogSum::new(1.0);
    let mut total = log_sum.begin(row.len());
    total.counts_ties = row.len() <= E::LANES;
    loop {
        let mut start = 0;
        while start < row.len() {
            let partial = log_sum.sweep(s, &total, row.part(start, E::CHUNK));
            log_sum.merge(&mut total, partial);
            start += E::CHUNK;
        }
        if log_sum.next(&mut total, false) == Next::Finish {
            break;
        }
    }
    let max = total.sums.max;
    let mut seen = Seen { max: max.to_f64(), ties: 0, others: DoubleDouble::default() };
    if !seen.max.is_finite() {
        for i in 0..row.len() {
            if row.get(i).is_nan() {
                seen.max = f64::NAN;
            }
        }
        return seen;
    }
    let shift = log_sum.softmax.exp.shift(s, rescaled(s, total.sums.rescale, s.splat(max)));
    let (others, ties) = log_sum.others(s, &total, &shift);
    seen.ties = ties as u64;
    seen.others = others.to_double_double().over(first(s, shift.top).to_f64());
    if seen.others.hi.is_nan() {
        seen.max = f64::NAN;
    } else if seen.max.abs() >= FAR {
        // Others are ties, or nothing.
        (seen.ties, seen.others) = (0, DoubleDouble::default());
        for i in 0..row.len() {
            seen.ties += u64::from(row.get(i) == max);
        }
    }
    seen
}

/// What entries are made with.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Of the whole.
    pub max: f64,
    /// The sum of all exponentials beside that of the maximum.
    pub sum: DoubleDouble,
    /// Its logarithm.
    pub log: f64,
}

/// The softmax of the entries of a row within a whole, in place; or its logarithm.
#[inline(always)]
pub fn share<E: ExpConstants, S: Wide<E>>(s: S, row: RowIo<'_, E, 1>, share: &Share, is_log: bool) {
    if !share.max.is_finite() {
        return row.fill(E::NAN);
    }
    let (x, max) = (row.input(0), E::from_f64(share.max));
    if is_log {
        let (max, log) = (s.splat(max), s.splat(E::from_f64(share.log)));
        for i in 0..x.vectors() {
            row.store(s, i, s.sub(s.sub(x.load(s, i), max), log));
        }
        if x.rest() > 0 {
            row.store_rest(s, s.sub(s.sub(x.load_rest(s, E::ZERO), max), log));
        }
        return;
    }
    let exp = Softmax::<E>::new(1.0).exp;
    // Far from zero, whatever is near enough to the maximum to matter lies within a factor of two of it.
    let offset = exp.offset(max);
    let rescale = (offset != E::ZERO).then_some([offset, E::ONE]);
    let shift = exp.shift(s, rescaled(s, rescale, s.splat(max)));
    let sum = share.sum.times(first(s, shift.top).to_f64());
    let Some([high, low]) = inverse::<E>(E::Wide::from_double_double(sum)) else {
        return row.fill(E::NAN);
    };
    let (high, low) = (s.splat(high), s.splat(low));
    let shift = exp.row_shift(s, &shift);
    let mut i = 0;
    while i + 4 <= x.vectors() {
        let mut v = x.load4(s, i);
        for v in &mut v {
            *v = rescaled(s, rescale, *v);
        }
        let e = exp.row_exps(s, &shift, v);
        for k in 0..4 {
            v[k] = scaled(s, e[k].value, high, low);
        }
        row.store4(s, i, v);
        i += 4;
    }
    while i < x.vectors() {
        let e = exp.row_exp(s, &shift, rescaled(s, rescale, x.load(s, i)));
        row.store(s, i, scaled(s, e.value, high, low));
        i += 1;
    }
    if x.rest() > 0 {
        let e = exp.row_exp(s, &shift, rescaled(s, rescale, x.load_rest(s, E::ZERO)));
        row.store_rest(s, scaled(s, e.value, high, low));
    }
}

/// Whether an entry of a row is larger than the maximum of what should be a whole around it.
#[inline(always)]
pub fn exceeds<E: ExpConstants, S: Wide<E>>(s: S, row: Row<'_, E>, max: f64) -> bool {
    max_pass(s, row).to_f64() > max
}
