//! The sum of numbers in twice the precision, by a tree that depends on how many there are alone.
#![forbid(unsafe_code)]

use crate::element::DoubleDouble;
use crate::simd::{Kernel, Row, Wide};

/// The terms.
#[derive(Clone, Copy, Debug)]
pub struct SumKernel<'a> {
    /// In their order.
    pub terms: &'a [f64],
}

impl Kernel<f64> for SumKernel<'_> {
    type Output = DoubleDouble;

    #[inline(always)]
    fn run<S: Wide<f64>>(self, s: S) -> DoubleDouble {
        let terms = Row::new(self.terms);
        let mut sum = s.wide_zero();
        for i in 0..terms.vectors() {
            sum = s.pair_add(sum, s.widen(terms.load(s, i)));
        }
        s.wide_total(s.pair_add(sum, s.widen(terms.load_rest(s, 0.0))))
    }
}
