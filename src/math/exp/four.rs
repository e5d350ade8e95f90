//! Four exponentials at once, step by step side by side, so that none waits for another.
#![forbid(unsafe_code)]

use super::{Exp, ExpConstants, Exponential, RowShift, Shift};
use crate::simd::Simd;

impl<E: ExpConstants, const SHORT: bool> Exp<E, SHORT> {
    /// [`row_exp`](Self::row_exp) of so many vectors: one, or four.
    #[inline(always)]
    pub fn row_exps<S: Simd<E>, const N: usize>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        x: [S::V; N],
    ) -> [Exponential<S::V>; N] {
        if N == 1 || !S::FOUR_AT_ONCE {
            let mut e = [self.row_exp(s, shift, x[0]); N];
            for k in 1..N {
                e[k] = self.row_exp(s, shift, x[k]);
            }
            return e;
        }
        let (t, r) = self.reduceds(s, (shift.round, shift.floor), x);
        let mut lost = t;
        if !SHORT {
            for k in 0..N {
                lost[k] = s.lookup(t[k], shift.lost);
            }
        }
        Self::joineds(s, t, r, lost)
    }

    /// [`exp`](Self::exp) of four vectors.
    #[inline(always)]
    pub fn exp4<S: Simd<E>>(&self, s: S, shift: &Shift<S::V>, x: [S::V; 4]) -> [Exponential<S::V>; 4] {
        let (t, r) = self.reduceds(s, (shift.round, shift.floor), x);
        let mut lost = t;
        if !SHORT {
            let table = s.table(E::QUARTERS_LOST);
            for k in 0..4 {
                lost[k] = s.lookup(t[k], table);
            }
            for k in 0..4 {
                lost[k] = s.add(lost[k], shift.growth);
            }
        }
        Self::joineds(s, t, r, lost)
    }

    /// [`reduced`](Self::reduced) likewise.
    #[inline(always)]
    fn reduceds<S: Simd<E>, const N: usize>(
        &self,
        s: S,
        (round, floor): (S::V, S::V),
        mut x: [S::V; N],
    ) -> ([S::V; N], [S::V; N]) {
        let (high, low) = (s.splat(self.high), s.splat(self.low));
        let (mut t, mut r) = (x, x);
        for k in 0..N {
            x[k] = s.max(floor, x[k]);
        }
        for k in 0..N {
            t[k] = s.mul_add(x[k], high, round);
        }
        for k in 0..N {
            r[k] = s.sub(round, t[k]);
        }
        for k in 0..N {
            r[k] = s.mul_add(x[k], high, r[k]);
        }
        if !SHORT {
            for k in 0..N {
                r[k] = s.mul_add(x[k], low, r[k]);
            }
        }
        (t, r)
    }

    /// [`joined`](Self::joined) likewise.
    #[inline(always)]
    fn joineds<S: Simd<E>, const N: usize>(
        s: S,
        t: [S::V; N],
        r: [S::V; N],
        lost: [S::V; N],
    ) -> [Exponential<S::V>; N] {
        let mut i = Self::EXP2.len() - 1;
        let mut q = [s.splat(Self::EXP2[i]); N];
        while i > 0 {
            i -= 1;
            for k in 0..N {
                q[k] = s.mul_add(q[k], r[k], s.splat(Self::EXP2[i]));
            }
        }
        let mut e = [Exponential { value: q[0], power: q[0], rest: q[0] }; N];
        for k in 0..N {
            e[k].rest = if SHORT { s.mul(q[k], r[k]) } else { s.mul_add(q[k], r[k], lost[k]) };
        }
        for k in 0..N {
            e[k].power = s.lookup_scaled(t[k], E::QUARTERS);
        }
        for e in &mut e {
            e.value = s.mul_add(e.power, e.rest, e.power);
        }
        e
    }
}
