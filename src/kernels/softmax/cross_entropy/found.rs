//! What a cross-entropy finds of the rows beside their gradients: written by whichever thread has the row.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

/// What is found of a row.
#[derive(Debug, Default)]
pub struct Found {
    loss: AtomicU64,
    lse: AtomicU64,
    target: AtomicU64,
}

impl Found {
    pub(in crate::kernels) fn set(&self, loss: f64, lse: f64, target: f64) {
        self.loss.store(loss.to_bits(), Ordering::Relaxed);
        self.lse.store(lse.to_bits(), Ordering::Relaxed);
        self.target.store(target.to_bits(), Ordering::Relaxed);
    }

    /// The loss, not weighted.
    pub fn loss(&self) -> f64 {
        f64::from_bits(self.loss.load(Ordering::Relaxed))
    }

    /// `ln(sum(exp(x)))`, for its square.
    pub fn lse(&self) -> f64 {
        f64::from_bits(self.lse.load(Ordering::Relaxed))
    }

    /// The gradient's entry at the class.
    pub fn target(&self) -> f64 {
        f64::from_bits(self.target.load(Ordering::Relaxed))
    }
}
