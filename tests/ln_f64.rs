//! `ln(1 + r)` for `f64` over many millions of random and structured points, against double-double arithmetic.

mod pair;

use pair::{LN_2, Pair, two_sum};
use softlane::Isa;
use softlane::testing::{Ln, ln_1p};

/// Points of the test.
const POINTS: usize = 8_000_000;

/// Points of one call.
const BLOCK: usize = 1 << 10;

/// The worst relative errors that the documentation of `math::ln` admits, as binary exponents: of numbers, and of
/// numbers with a second part; of `ln_1p` from 2^-44 up and below, and of `unit_ln_1p`.
const BOUNDS: [[f64; 3]; 2] = [[-56.5, -100.0, -54.5], [-56.5, -53.9, -54.5]];

/// Where the second part of r begins to be lost.
const SMALL: f64 = 5.684341886080802e-14; // 2^-44

/// The coefficients of s^(2j+3) in 2 · artanh(s).
fn coefficients() -> Vec<Pair> {
    (0..23).map(|j| Pair(2.0, 0.0).div(Pair(f64::from(2 * j + 3), 0.0))).collect()
}

/// `ln(1 + r)`, good to about 2^-95: twice the artanh of `s = (f - 1) / (f + 1)` with `1 + r = f · 2^k`. The powers of
/// two come off at 3/4 and 3/2, not where those of `math::ln` do, and no term is short of twice the precision.
fn reference(coefficients: &[Pair], r: Pair) -> Pair {
    let mut k = 0;
    let mut top = r;
    if r.0 > 0.5 {
        let one_and = Pair(1.0, 0.0).add(r);
        k = ((one_and.0 / 0.75).to_bits() >> 52) as i32 - 1023;
        let scale = 2f64.powi(-k);
        top = Pair(one_and.0 * scale, one_and.1 * scale).add(Pair(-1.0, 0.0));
    }
    let s = top.div(top.add(Pair(2.0, 0.0)));
    let square = s.mul(s);
    let mut sum = coefficients[coefficients.len() - 1];
    for &coefficient in coefficients[..coefficients.len() - 1].iter().rev() {
        sum = coefficient.add(square.mul(sum));
    }
    let ln = s.mul(Pair(2.0, 0.0).add(square.mul(sum)));
    let k = f64::from(k);
    let p = k * LN_2[1];
    let power = two_sum(k * LN_2[0], p).add(Pair(k.mul_add(LN_2[1], -p) + k * LN_2[2], 0.0));
    power.add(ln)
}

fn random(index: usize) -> u64 {
    let mut bits = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn uniform(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn point(index: usize) -> f64 {
    let bits = random(index);
    let u = uniform(bits.rotate_left(20));
    // Where `math::ln` takes another power of two.
    let edge = |k: i32| 2f64.powi(k) * std::f64::consts::SQRT_2 - 1.0;
    match index % 8 {
        // Every scale, down to where r · 2^-53 is still a normal number.
        0 => (1.0 + u) * 2f64.powi((bits % 1983) as i32 - 960),
        // The scales of the sums of up to 2^40 terms.
        1..4 => (1.0 + u) * 2f64.powi((bits % 104) as i32 - 64),
        // From 0 to 1, and where the logarithm is cut in two.
        4 => u,
        5 => edge((bits % 50) as i32) * (1.0 + (u - 0.5) * 1e-9),
        6 => 2f64.powi((bits % 60) as i32 + 1) - 1.0 + (u - 0.5) * 1e-6,
        // Whole numbers: ties with the maximum.
        _ => (index / 8) as f64,
    }
}

/// The largest relative errors, each with its r, of `ln_1p` above and below `SMALL` and of `unit_ln_1p`.
type Worst = [(f64, [f64; 2]); 3];

fn larger(a: Worst, b: Worst) -> Worst {
    std::array::from_fn(|i| if b[i].0 <= a[i].0 { a[i] } else { b[i] })
}

fn judge(isa: Isa, coefficients: &[Pair], r: [&[f64]; 2]) -> Worst {
    let zeros = vec![0.0; r[0].len()];
    let (mut high, mut low, mut unit) = (zeros.clone(), zeros.clone(), [zeros.clone(), zeros]);
    ln_1p(isa, Ln::Long, r, [&mut high, &mut low]);
    let [unit_high, unit_low] = &mut unit;
    ln_1p(isa, Ln::Unit, r, [unit_high, unit_low]);
    let mut worst = [(0.0, [0.0; 2]); 3];
    for i in 0..high.len() {
        let at = [r[0][i], r[1][i]];
        let exact = reference(coefficients, Pair(at[0], at[1]));
        let error = |y: [f64; 2]| (((y[0] - exact.0) - exact.1 + y[1]) / exact.0).abs();
        let mut take = |which: usize, error: f64| {
            if !(error <= worst[which].0) {
                worst[which] = (error, at);
            }
        };
        take(usize::from(at[0] < SMALL), error([high[i], low[i]]));
        if at[0] <= 1.0 {
            take(2, error([unit[0][i], unit[1][i]]));
        }
    }
    worst
}

#[test]
fn many_points_are_within_the_bounds() {
    let isa = Isa::available()[0];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let coefficients = &coefficients();
    let mut is_good = true;
    for (is_pair, bounds) in BOUNDS.iter().enumerate() {
        let worst = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|t| {
                    scope.spawn(move || {
                        let mut worst = [(0.0, [0.0; 2]); 3];
                        for first in (t * BLOCK..POINTS).step_by(threads * BLOCK) {
                            let r: Vec<f64> =
                                (first..first + BLOCK).map(point).filter(|&r| r > 0.0).collect();
                            // Up to half of the last place.
                            let rest = |(i, r): (usize, &f64)| {
                                is_pair as f64 * r * f64::EPSILON / 4.0
                                    * (2.0 * uniform(random(first + i + 1)) - 1.0)
                            };
                            let rests: Vec<f64> = r.iter().enumerate().map(rest).collect();
                            worst = larger(worst, judge(isa, coefficients, [&r, &rests]));
                        }
                        worst
                    })
                })
                .collect();
            workers.into_iter().map(|w| w.join().unwrap()).fold([(0.0, [0.0; 2]); 3], larger)
        });
        let names = ["ln_1p, r from 2^-44", "ln_1p, r below", "unit_ln_1p"];
        for ((name, (error, at)), bound) in names.iter().zip(worst).zip(bounds) {
            println!(
                "worst error of {name}, {} part(s): 2^{:.2}, at most {:.3} ULP, at {at:?}",
                is_pair + 1,
                error.log2(),
                error / f64::EPSILON * 2.0,
            );
            is_good &= error.log2() < *bound;
        }
    }
    assert!(is_good, "a bound is broken");
}

#[test]
fn zero_and_what_is_no_number() {
    for isa in Isa::available() {
        let r = [0.0, f64::INFINITY, f64::NAN];
        let (mut high, mut low) = ([9.0; 3], [9.0; 3]);
        ln_1p(isa, Ln::Long, [&r, &[0.0; 3]], [&mut high, &mut low]);
        assert_eq!((high[0], low[0]), (0.0, 0.0), "{}", isa.name());
        assert!(high[1..].iter().all(|y| y.is_nan()), "{}", isa.name());
    }
}

#[test]
fn every_isa_gives_the_same_bits() {
    let r: Vec<f64> = (0..200_000).map(|i| point(i * 37)).collect();
    let rests: Vec<f64> = r.iter().map(|r| r * f64::EPSILON / 5.0).collect();
    for which in [Ln::Long, Ln::Unit, Ln::Short, Ln::ShortUnit] {
        let bits = |isa| {
            let (mut high, mut low) = (vec![0.0; r.len()], vec![0.0; r.len()]);
            ln_1p(isa, which, [&r, &rests], [&mut high, &mut low]);
            high.into_iter().chain(low).map(f64::to_bits).collect::<Vec<_>>()
        };
        let portable = bits(Isa::Portable);
        for isa in Isa::ALL {
            if isa.is_available() {
                assert!(bits(isa) == portable, "{which:?} {}", isa.name());
            } else {
                println!("skipped: this machine lacks {}", isa.name());
            }
        }
    }
}
