//! For the crate's own tests and benches: single pieces, on any instruction set. Not part of the public API.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

use crate::dispatch::{Dispatch, Isa};
use crate::math::exp::Exp;
use crate::simd::{Kernel, RowIo, Wide};

pub use crate::element::Compute;
pub use crate::math::exp::SCALE;

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
