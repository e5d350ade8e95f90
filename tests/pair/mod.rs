//! Double-double arithmetic in the plainest way, for references of the tests in `f64`.
// Each test takes what it needs.
#![allow(dead_code)]

/// An unevaluated sum of two doubles, in the plainest way.
#[derive(Clone, Copy)]
pub struct Pair(pub f64, pub f64);

pub fn two_sum(a: f64, b: f64) -> Pair {
    let s = a + b;
    let t = s - a;
    Pair(s, (a - (s - t)) + (b - t))
}

impl Pair {
    pub fn add(self, other: Self) -> Self {
        let Pair(s, e) = two_sum(self.0, other.0);
        let Pair(t, f) = two_sum(self.1, other.1);
        let Pair(s, e) = two_sum(s, e + t);
        two_sum(s, e + f)
    }
    pub fn mul(self, other: Self) -> Self {
        let p = self.0 * other.0;
        let e = self.0.mul_add(other.0, -p);
        two_sum(p, e + (self.0 * other.1 + self.1 * other.0))
    }
    pub fn div(self, other: Self) -> Self {
        let q = self.0 / other.0;
        let rest = self.add(Pair(-q, 0.0).mul(other));
        two_sum(q, rest.0 / other.0)
    }
}

/// ln 2 in three parts, the first short enough that `n` times it is exact.
pub const LN_2: [f64; 3] = [0.693147180369123816490, 1.90821492927058770002e-10, 1.1612227229362532e-26];
