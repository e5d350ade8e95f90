//! `exp` in `f32` over every float in its domain, on every instruction set.

use std::sync::atomic::{AtomicU64, Ordering};

use softlane::Isa;
use softlane::testing::exp;

/// Floats of one task: few enough that their exponentials lie within 2^12 of each other.
const BLOCK: usize = 1 << 12;

/// All floats up to 2^14 / log2(e) in magnitude: beyond, rows take another path.
const DOMAIN: [std::ops::RangeInclusive<u32>; 2] = [0..=0x4631_7217, 0x8000_0000..=0x8000_0000 + 0x4631_7217];

/// The worst error that the documentation of `math::exp` admits, in ULP.
const BOUND: f64 = 0.73;

/// The hash of all results: the same on every instruction set, and it does not change unnoticed.
const GOLDEN: u64 = 1902762377079831017;

fn each_block(task: &(dyn Fn(Vec<f32>) + Sync)) {
    let mut starts = Vec::new();
    for range in DOMAIN {
        starts.extend((*range.start()..=*range.end()).step_by(BLOCK).map(|s| (s, *range.end())));
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for part in starts.chunks(starts.len().div_ceil(threads)) {
            scope.spawn(move || {
                for &(start, end) in part {
                    let stop = end.min(start + (BLOCK - 1) as u32);
                    task((start..=stop).map(f32::from_bits).collect());
                }
            });
        }
    });
}

/// The exponent of the largest exponential of a block, as a row's maximum would choose it.
fn exponent(x: &[f32]) -> f64 {
    let max = x[0].max(x[x.len() - 1]);
    2.0 * (f64::from(max) * std::f64::consts::LOG2_E / 2.0).round()
}

/// Independent of the order of blocks, not of the order within one.
fn hash(x: &[f32], y: &[f32]) -> u64 {
    let mut lanes = [u64::from(x[0].to_bits()); 8];
    for (i, y) in y.iter().enumerate() {
        let lane = &mut lanes[i % 8];
        *lane = (*lane ^ u64::from(y.to_bits())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    lanes.iter().fold(0, |h, lane| (h ^ (lane >> 29) ^ lane).wrapping_mul(0x0000_0100_0000_01b3))
}

fn golden_hash(isa: Isa) -> u64 {
    let total = AtomicU64::new(0);
    each_block(&|x| {
        let mut y = vec![0.0; x.len()];
        exp(isa, 1.0, exponent(&x), &x, &mut y);
        total.fetch_add(hash(&x, &y), Ordering::Relaxed);
    });
    total.into_inner()
}

#[test]
fn every_float_is_within_the_bound() {
    let isa = Isa::available()[0];
    let worst = AtomicU64::new(0);
    each_block(&|x| {
        let mut y = vec![0.0; x.len()];
        exp(isa, 1.0, exponent(&x), &x, &mut y);
        // The reference: f64 exp of this crate, itself held against double-double in `exp_f64.rs`.
        let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        let mut exact = vec![0.0; x.len()];
        exp(isa, 1.0, exponent(&x), &wide, &mut exact);
        let mut error = 0.0f64;
        for (y, exact) in y.iter().zip(&exact) {
            // One ULP of f32 at `exact`, a normal number.
            let ulp = f64::from_bits((exact.to_bits() & 0x7ff0_0000_0000_0000) - (23 << 52));
            let ulps = (f64::from(*y) - exact).abs() / ulp;
            error = if ulps <= error { error } else { ulps };
        }
        assert!(error.is_finite(), "no number near exp({})", x[0]);
        worst.fetch_max(error.to_bits(), Ordering::Relaxed);
    });
    let worst = f64::from_bits(worst.into_inner());
    println!("worst error of f32 exp: {worst:.4} ULP");
    assert!(worst < BOUND, "worst error {worst} ULP");
}

#[test]
fn every_isa_has_the_golden_hash() {
    for isa in Isa::ALL {
        if isa.is_available() {
            assert_eq!(golden_hash(isa), GOLDEN, "{}", isa.name());
        } else {
            println!("skipped: this machine lacks {}", isa.name());
        }
    }
}
