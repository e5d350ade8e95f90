//! sigmoid and log_sigmoid: `f32` over every 61st bit pattern against `f64`, and the same bits by every way.

use softlane::{Axes, Element, Error, Input, Isa, Options, View, ViewMut, log_sigmoid, sigmoid};

type Function = fn(Input<'_>, &mut ViewMut<'_>, &Options<'_>) -> Result<(), Error>;

/// Coprime to all powers of two, so that every exponent and the ends of most are met.
const STEP: usize = 61;

/// Floats of one task.
const BLOCK: usize = 1 << 14;

/// The worst error found, in ULP, and a little.
const BOUND: f64 = 0.9;

/// From here on subnormal results count in steps of the smallest one.
const SMALLEST_ULP: f64 = 1.401298464324817e-45;

fn run<T: Element>(function: Function, isa: Isa, x: &[T], y: &mut [T]) {
    let options = Options { isa: Some(isa), ..Options::default() };
    let shape = [x.len()];
    let input = Input::View(View::new(x, &shape).unwrap());
    function(input, &mut ViewMut::new(y, &shape).unwrap(), &options).unwrap();
}

fn exact_sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x > 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

fn exact_log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// The error in ULP of `f32` at the exact value; none where both are infinite or NaN.
fn error(y: f32, exact: f64) -> f64 {
    if y.is_nan() || exact.is_nan() || exact.is_infinite() {
        let agrees = (y.is_nan() && exact.is_nan()) || f64::from(y) == exact;
        return if agrees { 0.0 } else { f64::INFINITY };
    }
    let exponent = exact.to_bits() & 0x7ff0_0000_0000_0000;
    let ulp = f64::from_bits(exponent.saturating_sub(23 << 52)).max(SMALLEST_ULP);
    (f64::from(y) - exact).abs() / ulp
}

fn sweep(function: Function, exact: fn(f64) -> f64) {
    let patterns: Vec<u32> = (0..=u32::MAX).step_by(STEP).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let worst = std::thread::scope(|scope| {
        let parts = patterns.chunks(patterns.len().div_ceil(threads));
        let found: Vec<_> =
            parts.map(|part| scope.spawn(move || sweep_part(function, exact, part))).collect();
        found
            .into_iter()
            .map(|part| part.join().unwrap())
            .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
    });
    println!("worst error: {:.4} ULP at {:e}", worst.0, worst.1);
    assert!(worst.0 <= BOUND, "worst error {} ULP at {:e}", worst.0, worst.1);
}

fn sweep_part(function: Function, exact: fn(f64) -> f64, patterns: &[u32]) -> (f64, f32) {
    let isas = Isa::available();
    let mut worst = (0.0, 0.0);
    for block in patterns.chunks(BLOCK) {
        let x: Vec<f32> = block.iter().map(|&bits| f32::from_bits(bits)).collect();
        let mut y = vec![0.0; x.len()];
        run(function, isas[0], &x, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let error = error(y, exact(x.into()));
            worst = if error <= worst.0 { worst } else { (error, x) };
            assert!(!x.is_nan() || y.to_bits() == f32::NAN.to_bits(), "another NaN for {:x}", x.to_bits());
        }
        for &isa in &isas[1..] {
            let mut other = vec![0.0; x.len()];
            run(function, isa, &x, &mut other);
            let same = y.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{} differs in the block of {:e}", isa.name(), x[0]);
        }
    }
    worst
}

#[test]
fn sigmoid_f32() {
    sweep(sigmoid, exact_sigmoid);
}

#[test]
fn log_sigmoid_f32() {
    sweep(log_sigmoid, exact_log_sigmoid);
}

/// Numbers of every size and sign, and the special ones.
fn f64_points() -> Vec<f64> {
    let special = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN];
    let mut state = 7u64;
    let mut points = special.to_vec();
    for i in 0..1_000_000 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let uniform = (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        points.push(uniform * [1.0, 4.0, 50.0, 760.0, 1e-9, 1e9][i % 6]);
    }
    points
}

#[test]
fn f64_has_the_same_bits_on_every_isa() {
    let x = f64_points();
    for function in [sigmoid, log_sigmoid] as [Function; 2] {
        let [mut first, mut other] = [vec![0.0; x.len()], vec![0.0; x.len()]];
        run(function, Isa::available()[0], &x, &mut first);
        for &isa in &Isa::available()[1..] {
            run(function, isa, &x, &mut other);
            for i in 0..x.len() {
                assert_eq!(first[i].to_bits(), other[i].to_bits(), "{} at {:e}", isa.name(), x[i]);
            }
        }
    }
}

#[test]
fn special_values() {
    let x = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1000.0, -1000.0];
    let log_half = -std::f64::consts::LN_2;
    let expected = [
        [f64::NAN, 1.0, 0.0, 0.5, 0.5, 1.0, 0.0],
        [f64::NAN, -0.0, f64::NEG_INFINITY, log_half, log_half, -0.0, -1000.0],
    ];
    for (function, expected) in ([sigmoid, log_sigmoid] as [Function; 2]).into_iter().zip(expected) {
        for isa in Isa::available() {
            let mut y = [7.0; 7];
            run(function, isa, &x, &mut y);
            assert_eq!(y.map(f64::to_bits), expected.map(f64::to_bits), "{}", isa.name());
        }
    }
}

#[test]
fn any_layout_and_number_of_threads_has_the_same_bits() {
    // Enough for several threads, and no multiple of anything.
    let (rows, columns) = (411, 733);
    let wide: Vec<f64> = f64_points().into_iter().take(rows * columns).collect();
    let x: Vec<f32> = wide.iter().map(|&x| x as f32).collect();
    let shape = [rows, columns];
    for function in [sigmoid, log_sigmoid] as [Function; 2] {
        let mut expected = vec![0.0; x.len()];
        run(function, Isa::Portable, &x, &mut expected);
        let bits: Vec<u32> = expected.iter().map(|y| y.to_bits()).collect();
        for isa in Isa::available() {
            for threads in [1, 3] {
                // The axes play no part.
                let options = Options { isa: Some(isa), threads, axes: Axes::One(5), ..Options::default() };
                for strides in [[columns as isize, 1], [1, rows as isize]] {
                    let mut y = vec![0.0_f32; x.len()];
                    let input = View::strided(&x, 0, &shape, &strides).unwrap();
                    let mut output = ViewMut::strided(&mut y, 0, &shape, &strides).unwrap();
                    function(Input::View(input), &mut output, &options).unwrap();
                    assert!(y.iter().zip(&bits).all(|(y, &bits)| y.to_bits() == bits), "{strides:?}");
                }
                let mut place = x.clone();
                function(Input::InPlace, &mut ViewMut::new(&mut place, &shape).unwrap(), &options).unwrap();
                assert!(place.iter().zip(&bits).all(|(y, &bits)| y.to_bits() == bits), "in place");
                // Every second element, from the last to the first.
                let spread: Vec<f32> = x.iter().rev().flat_map(|&x| [x, 0.0]).collect();
                let strides = [-2 * columns as isize, -2];
                let first = 2 * (rows * columns - 1);
                let mut y = vec![0.0_f32; spread.len()];
                let input = View::strided(&spread, first, &shape, &strides).unwrap();
                let mut output = ViewMut::strided(&mut y, first, &shape, &strides).unwrap();
                function(Input::View(input), &mut output, &options).unwrap();
                let back = y.iter().rev().skip(1).step_by(2);
                assert!(back.zip(&bits).all(|(y, &bits)| y.to_bits() == bits), "strided");
                assert!(y.iter().skip(1).step_by(2).all(|&y| y == 0.0), "wrote between");
            }
        }
    }
}
