//! sigmoid for results of half types: `1 / (1 + E)` where x is above zero, else `E / (1 + E)`, with `E = exp(-|x|)`, good to 2^-19.
//!
//! `1 + E` lies between 1 and 2, where a reciprocal takes a straight line and two steps after Newton: seven operations, of which a core
//! has two a cycle, while a division takes sixteen cycles.
#![forbid(unsafe_code)]

use crate::element::two_to;
use crate::kernels::{Next, Op, Rows};
use crate::math::exp::{Exp, RowShift, SCALE};
use crate::simd::{PanelIo, Row, RowIo, Wide};

/// The operation. Its results are to be rounded to a half type.
#[derive(Clone, Copy, Debug)]
pub struct ShortSigmoid {
    exp: Exp<f32, true>,
}

impl Default for ShortSigmoid {
    fn default() -> Self {
        Self { exp: Exp::new(1.0) }
    }
}

/// So many vectors in two steps: one after another, a core holds few of them at once, and waits for them.
const TOGETHER: usize = 4;

/// What exponentials are scaled by, and the inverse.
const UNIT: f32 = two_to(SCALE as i64) as f32;
const INVERSE: f32 = two_to(-(SCALE as i64)) as f32;

/// 16/17 - 8/17 · E, off from `1 / (1 + E)` by a seventeenth of it at most.
const LINE: [f32; 2] = [16.0 / 17.0, -8.0 / 17.0];

impl ShortSigmoid {
    /// That of all exponentials.
    #[inline(always)]
    fn shift<S: Wide<f32>>(&self, s: S) -> RowShift<S::V> {
        let zero = s.splat(0.0);
        self.exp.row_shift(s, &self.exp.shift_to(s, zero, zero))
    }

    /// `exp(-|x|)`, scaled.
    #[inline(always)]
    fn smaller<S: Wide<f32>>(&self, s: S, shift: &RowShift<S::V>, x: S::V) -> S::V {
        self.exp.row_exp(s, shift, s.sub(s.splat(0.0), s.abs(x))).value
    }

    /// The result, of that.
    #[inline(always)]
    fn result<S: Wide<f32>>(s: S, x: S::V, e: S::V) -> S::V {
        let one = s.splat(1.0);
        let sum = s.mul_add(e, s.splat(INVERSE), one);
        let y = s.mul_add(e, s.splat(LINE[1] * INVERSE), s.splat(LINE[0]));
        let left = s.neg_mul_add(sum, y, one);
        let y = s.mul_add(y, s.mul_add(left, left, left), y);
        let y = s.mul_add(y, s.neg_mul_add(sum, y, one), y);
        let top = s.select(s.greater(x, s.splat(0.0)), s.splat(UNIT), e);
        let y = s.mul(s.mul(y, top), s.splat(INVERSE));
        s.select(s.equals(x, x), y, s.splat(f32::NAN))
    }

    /// One vector of the result.
    #[inline(always)]
    fn entry<S: Wide<f32>>(&self, s: S, shift: &RowShift<S::V>, x: S::V) -> S::V {
        if S::BY_CALLS {
            return self.entry_call(s, shift, &x);
        }
        Self::result(s, x, self.smaller(s, shift, x))
    }

    #[inline(never)]
    fn entry_call<S: Wide<f32>>(&self, s: S, shift: &RowShift<S::V>, x: &S::V) -> S::V {
        Self::result(s, *x, self.smaller(s, shift, *x))
    }
}

impl Op<f32, 1> for ShortSigmoid {
    type Total = ();
    type Partial = ();
    const ELEMENTWISE: bool = true;
    /// Inputs are always converted, to one row.
    const LONGEST_TILE: usize = 1;

    fn begin(&self, _: usize) {}
    #[inline(always)]
    fn sweep<S: Wide<f32>>(&self, _: S, (): &(), _: [Row<'_, f32>; 1]) {}
    #[inline(always)]
    fn merge(&self, (): &mut (), (): ()) {}
    fn next(&self, (): &mut ()) -> Next {
        Next::Finish
    }

    #[inline(always)]
    fn finish<S: Wide<f32>>(&self, s: S, (): &(), chunk: RowIo<'_, f32, 1>) {
        let (shift, x) = (self.shift(s), chunk.input(0));
        let mut i = 0;
        while const { !S::BY_CALLS } && i + TOGETHER <= x.vectors() {
            let mut e = [s.splat(0.0); TOGETHER];
            for k in 0..TOGETHER {
                e[k] = self.smaller(s, &shift, x.load(s, i + k));
            }
            for k in 0..TOGETHER {
                chunk.store(s, i + k, Self::result(s, x.load(s, i + k), e[k]));
            }
            i += TOGETHER;
        }
        while i < x.vectors() {
            chunk.store(s, i, self.entry(s, &shift, x.load(s, i)));
            i += 1;
        }
        if x.rest() > 0 {
            chunk.store_rest(s, self.entry(s, &shift, x.load_rest(s, 0.0)));
        }
    }

    #[inline(always)]
    fn rows<S: Wide<f32>, R: Rows<f32, 1>>(&self, s: S, rows: &R) {
        for i in 0..rows.count() {
            self.finish(s, &(), rows.get(i));
        }
    }

    #[inline(always)]
    fn panel<S: Wide<f32>, const P: usize>(&self, s: S, panel: PanelIo<'_, f32, 1>) -> bool {
        let shift = self.shift(s);
        for i in 0..panel.rows() {
            for p in 0..P {
                panel.store(s, i, p, self.entry(s, &shift, panel.load(s, 0, i, p)));
            }
        }
        true
    }
}
