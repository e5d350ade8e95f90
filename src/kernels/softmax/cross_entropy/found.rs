//! What a cross-entropy finds of the rows beside their gradients: written by whichever thread has the row.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use crate::element::WideScalar;
use crate::kernels::one_nan;

/// What is found of rows, by their numbers.
#[derive(Debug)]
pub struct Found {
    loss: Vec<AtomicU64>,
    /// Empty where nobody asks.
    lse: Vec<AtomicU64>,
    target: Vec<AtomicU64>,
}

fn numbers(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn get(number: &AtomicU64) -> f64 {
    unsigned(number.load(Ordering::Relaxed))
}

/// A number by its bits. The sign of a NaN depends on the way that it came, so it is taken off.
fn unsigned(bits: u64) -> f64 {
    one_nan(f64::from_bits(bits))
}

fn set(number: &AtomicU64, x: f64) {
    number.store(x.to_bits(), Ordering::Relaxed);
}

impl Found {
    /// Of so many rows, nothing yet.
    pub fn new(count: usize, keeps_lse: bool) -> Self {
        let lse = numbers(if keeps_lse { count } else { 0 });
        Self { loss: numbers(count), lse, target: numbers(count) }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.loss.len()
    }

    /// The loss, not weighted.
    pub fn loss(&self, row: usize) -> f64 {
        get(&self.loss[row])
    }

    /// `ln(sum(exp(x)))`, for its square.
    pub fn lse(&self, row: usize) -> f64 {
        get(&self.lse[row])
    }

    /// The gradient's entry at the class; before that is known, the logit.
    pub fn target(&self, row: usize) -> f64 {
        get(&self.target[row])
    }

    /// All losses.
    pub fn into_losses(self) -> Vec<f64> {
        self.loss.into_iter().map(|loss| unsigned(loss.into_inner())).collect()
    }

    #[inline(always)]
    pub(in crate::kernels) fn set(&self, row: usize, loss: f64, lse: f64) {
        set(&self.loss[row], loss);
        if !self.lse.is_empty() {
            set(&self.lse[row], lse);
        }
    }

    /// The losses of rows from the `first` on, where nothing else is kept.
    #[inline(always)]
    pub(in crate::kernels) fn set_losses<E, W: WideScalar<E>>(&self, first: usize, losses: &[W]) {
        for (kept, loss) in self.loss[first..first + losses.len()].iter().zip(losses) {
            set(kept, loss.rounded());
        }
    }

    #[inline(always)]
    pub(in crate::kernels) fn set_loss(&self, row: usize, loss: f64) {
        set(&self.loss[row], loss);
    }

    #[inline(always)]
    pub(in crate::kernels) fn set_target(&self, row: usize, x: f64) {
        set(&self.target[row], x);
    }
}
