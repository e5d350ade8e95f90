//! `exp` in `f64` over many millions of random and structured points, against double-double arithmetic.

mod pair;

use pair::{LN_2, Pair, two_sum};
use softlane::Isa;
use softlane::testing::exp;

/// The worst error that the documentation of `math::exp` admits, in ULP.
const BOUND: f64 = 0.75;

/// Points of the test, half of them random.
const POINTS: usize = 24_000_000;

/// `exp(x) / 2^exponent`, good to about 2^-95: Taylor's series after halving the argument, then squaring.
fn reference(x: f64, exponent: f64) -> Pair {
    const HALVINGS: i32 = 6;
    let n = (x * std::f64::consts::LOG2_E).round();
    let first = two_sum((-n).mul_add(LN_2[0], x), 0.0);
    let p = -n * LN_2[1];
    let second = two_sum(p, (-n).mul_add(LN_2[1], -p) - n * LN_2[2]);
    let r = first.add(second);
    let scale = 0.5f64.powi(HALVINGS);
    let r = Pair(r.0 * scale, r.1 * scale);
    let mut sum = Pair(1.0, 0.0);
    for k in (1..=14).rev() {
        // sum = 1 + r / k · sum
        let quotient = r.0 / f64::from(k);
        let rest = ((-quotient).mul_add(f64::from(k), r.0) + r.1) / f64::from(k);
        sum = Pair(1.0, 0.0).add(two_sum(quotient, rest).mul(sum));
    }
    for _ in 0..HALVINGS {
        sum = sum.mul(sum);
    }
    let power = 2f64.powi((n - exponent) as i32);
    Pair(sum.0 * power, sum.1 * power)
}

fn points(index: usize) -> f64 {
    let mut bits = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 29;
    let uniform = (bits >> 11) as f64 / (1u64 << 53) as f64;
    match index % 8 {
        // Every scale of x, of both signs.
        0..4 => {
            let exponent = 2f64.powi(((bits & 63) as i32) - 45);
            let sign = if bits & 64 == 0 { 1.0 } else { -1.0 };
            sign * (1.0 + uniform) * exponent
        }
        // Near multiples of ln 2 / 2, where the rest is largest or smallest.
        4 => ((index / 8) as f64 - 1.5e6) * std::f64::consts::LN_2 / 2.0,
        5 => ((index / 8) as f64 - 1.5e6) * std::f64::consts::LN_2 / 2.0 * (1.0 + (uniform - 0.5) * 1e-9),
        // Near zero, and an even grid over the range that softmax lives in.
        6 => (uniform - 0.5) * 1e-3,
        _ => (index as f64 / POINTS as f64 - 0.5) * 1500.0,
    }
}

#[test]
fn many_points_are_within_the_bound() {
    let isa = Isa::available()[0];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let worst = std::thread::scope(|scope| {
        let spawn = |t: usize| {
            scope.spawn(move || {
                let mut worst = (0.0, 0.0);
                for index in (t..POINTS).step_by(threads) {
                    let x = points(index);
                    let exponent = 2.0 * (x * std::f64::consts::LOG2_E / 2.0).round();
                    let mut y = [0.0];
                    exp(isa, 1.0, exponent, &[x], &mut y);
                    let exact = reference(x, exponent - 64.0);
                    let ulp = f64::from_bits(exact.0.to_bits() & 0x7ff0_0000_0000_0000) * f64::EPSILON;
                    let error = ((y[0] - exact.0) - exact.1).abs() / ulp;
                    if !(error <= worst.0) {
                        worst = (error, x);
                    }
                }
                worst
            })
        };
        let workers: Vec<_> = (0..threads).map(spawn).collect();
        let found = workers.into_iter().map(|w| w.join().unwrap());
        found.fold((0.0, 0.0), |a: (f64, f64), b| if b.0 <= a.0 { a } else { b })
    });
    println!("worst error of f64 exp: {:.4} ULP at {:?}", worst.0, worst.1);
    assert!(worst.0 < BOUND, "worst error {} ULP at {}", worst.0, worst.1);
}

#[test]
fn every_isa_gives_the_same_bits() {
    let x: Vec<f64> = (0..200_000).map(|i| points(i * 97)).collect();
    let exponent = 2.0 * (x.iter().fold(0.0, |a: f64, &b| a.max(b)) * std::f64::consts::LOG2_E / 2.0).round();
    let bits = |isa| {
        let mut y = vec![0.0; x.len()];
        exp(isa, 0.7, exponent, &x, &mut y);
        y.into_iter().map(f64::to_bits).collect::<Vec<_>>()
    };
    let portable = bits(Isa::Portable);
    for isa in Isa::ALL {
        if isa.is_available() {
            assert!(bits(isa) == portable, "{}", isa.name());
        } else {
            println!("skipped: this machine lacks {}", isa.name());
        }
    }
}
