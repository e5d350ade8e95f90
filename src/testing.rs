//! For the crate's own tests and benches: single pieces, on any instruction set. Not part of the public API.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

use crate::dispatch::{Dispatch, Isa};
use crate::math::exp::{Exp, power_of_two};
use crate::math::ln::{short_ln_1p, short_unit_ln_1p, unit_ln_1p};
use crate::simd::{Kernel, RowIo, Wide};

pub use crate::element::Compute;
pub use crate::math::exp::SCALE;
pub use crate::math::ln::rough_ln_1p;

struct ExpRow<'a, E: Compute> {
    row: RowIo<'a, E, 1>,
    exp: Exp<E>,
    exponent: E,
}

impl<E: Dispatch> Kernel<E> for ExpRow<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let Self { row, exp, exponent } = self;
        let shift = exp.row_shift(s, &exp.shift_to(s, s.splat(exponent), s.splat(E::ZERO)));
        let x = row.input(0);
        for i in 0..row.vectors() {
            row.store(s, i, exp.row_exp(s, &shift, x.load(s, i)).value);
        }
        if row.rest() > 0 {
            row.store_rest(s, exp.row_exp(s, &shift, x.load_rest(s, E::ZERO)).value);
        }
    }
}

/// `y = 2^SCALE · exp(x / temperature) / 2^exponent` as the kernels compute it; `exponent` is whole.
///
/// # Panics
/// If the lengths differ or the machine lacks `isa`.
pub fn exp<E: Dispatch>(isa: Isa, temperature: f64, exponent: f64, x: &[E], y: &mut [E]) {
    assert!(isa.is_available());
    let exponent = E::from_f64(exponent);
    E::dispatch(isa, ExpRow { row: RowIo::new([x], y), exp: Exp::new(temperature), exponent });
}

/// The logarithms of [`math::ln`](crate::math::ln) that take `f64`.
#[derive(Clone, Copy, Debug)]
pub enum Ln {
    /// `ln_1p` of two parts: what serves `f64`.
    Long,
    /// `unit_ln_1p`, of two parts.
    Unit,
    /// `short_ln_1p`.
    Short,
    /// `short_unit_ln_1p`.
    ShortUnit,
}

/// The two parts of the results go to two rows.
struct LnRow<'a> {
    which: Ln,
    rows: [RowIo<'a, f64, 2>; 2],
}

impl LnRow<'_> {
    #[inline(always)]
    fn ln<S: Wide<f64>>(&self, s: S, r: [S::V; 2]) -> [S::V; 2] {
        match self.which {
            Ln::Long => {
                // The way to `ln_1p` that hands the two parts over as they are.
                let (high, low) = s.wide_ln_1p_unit(s.widen_sum(r[0], r[1]));
                [high, low]
            }
            Ln::Unit => unit_ln_1p(s, r),
            Ln::Short => [short_ln_1p(s, r[0]), s.splat(0.0)],
            Ln::ShortUnit => [short_unit_ln_1p(s, r[0]), s.splat(0.0)],
        }
    }
}

impl Kernel<f64> for LnRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<f64>>(self, s: S) {
        let [high, low] = self.rows;
        for i in 0..high.vectors() {
            let y = self.ln(s, [high.input(0).load(s, i), high.input(1).load(s, i)]);
            high.store(s, i, y[0]);
            low.store(s, i, y[1]);
        }
        if high.rest() > 0 {
            let y = self.ln(s, [high.input(0).load_rest(s, 0.0), high.input(1).load_rest(s, 0.0)]);
            high.store_rest(s, y[0]);
            low.store_rest(s, y[1]);
        }
    }
}

/// `y[0] + y[1] = ln(1 + r[0] + r[1])`.
///
/// # Panics
/// If the lengths differ or the machine lacks `isa`.
pub fn ln_1p(isa: Isa, which: Ln, r: [&[f64]; 2], y: [&mut [f64]; 2]) {
    assert!(isa.is_available());
    f64::dispatch(isa, LnRow { which, rows: y.map(|y| RowIo::new(r, y)) });
}

struct NarrowLnRow<'a>(f32, [RowIo<'a, f32, 1>; 2]);

impl Kernel<f32> for NarrowLnRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<f32>>(self, s: S) {
        let Self(top, [high, low]) = self;
        // Scaled as exponentials are.
        let unit = f64::from(top) * power_of_two(SCALE.into());
        let top = s.splat(unit as f32);
        for i in 0..high.vectors() {
            let y = s.wide_ln_1p(s.wide_scale(s.widen(high.input(0).load(s, i)), unit), top);
            high.store(s, i, y.0);
            low.store(s, i, y.1);
        }
        if high.rest() > 0 {
            let y = s.wide_ln_1p(s.wide_scale(s.widen(high.input(0).load_rest(s, 0.0)), unit), top);
            high.store_rest(s, y.0);
            low.store_rest(s, y.1);
        }
    }
}

/// `y[0] + y[1] = ln(1 + r)`, by the `ln_1p` that serves `f32`, as the kernels get it: of `r · top` and `top`, in two `f32`.
///
/// # Panics
/// If the lengths differ or the machine lacks `isa`.
pub fn narrow_ln_1p(isa: Isa, top: f32, r: &[f32], y: [&mut [f32]; 2]) {
    assert!(isa.is_available());
    f32::dispatch(isa, NarrowLnRow(top, y.map(|y| RowIo::new([r], y))));
}
