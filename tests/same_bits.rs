//! The same bits by every way through the crate: instruction sets, layouts, types of memory, threads.

use softlane::{Axes, Element, Input, Isa, Options, View, ViewMut, softmax, softmax_vjp};

/// Row lengths on either side of every boundary: vectors, tiles, panels, chunks, stored rows.
const LENGTHS: [usize; 26] = [
    1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 33, 64, 65, 100, 128, 129, 192, 193, 1000, 2048, 2049, 4097,
    9000, 140_000,
];

/// Numbers from a linear congruential generator: the same on every machine.
fn numbers(n: usize, seed: u64, scale: f64) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..n).map(|_| scale * (uniform() + uniform() + uniform())).collect()
}

/// Rows of several kinds: calm, wild, extraordinary, with minus infinity, with NaN.
fn rows(count: usize, len: usize) -> Vec<f64> {
    let mut all = Vec::new();
    for row in 0..count {
        let scale = [2.0, 30.0, 300.0, 5e4, 1e30][row % 5];
        let mut x = numbers(len, 1 + row as u64, scale);
        if row % 7 == 3 {
            x.iter_mut().step_by(3).for_each(|x| *x = f64::NEG_INFINITY);
        }
        if row % 11 == 5 {
            x[len / 2] = f64::NAN;
        }
        if row % 13 == 6 {
            x[len - 1] = -3e38;
        }
        all.extend(x);
    }
    all
}

trait Float: Element {
    fn of(x: f64) -> Self;
    fn bits(self) -> u64;
}
impl Float for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn bits(self) -> u64 {
        self.to_bits().into()
    }
}
impl Float for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

fn bits<T: Float>(x: &[T]) -> Vec<u64> {
    x.iter().map(|x| x.bits()).collect()
}

fn transposed<T: Copy>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
}

/// Runs one operation on `[rows, len]` in all ways and compares bits with row after row on the portable path.
fn all_ways<T: Float + std::fmt::Debug>(
    rows: usize,
    len: usize,
    inputs: &[Vec<T>],
    run: &dyn Fn(&[View<'_>], &mut ViewMut<'_>, &Options<'_>),
) {
    let zero = T::of(0.0);
    let call = |arrays: &[Vec<T>], shape: &[usize], axes: Axes<'_>, isa, threads| {
        let mut out = vec![zero; rows * len];
        let views: Vec<_> = arrays.iter().map(|x| View::new(x, shape).unwrap()).collect();
        let options = Options { axes, isa: Some(isa), threads, ..Options::default() };
        run(&views, &mut ViewMut::new(&mut out, shape).unwrap(), &options);
        out
    };
    let mut expected = Vec::new();
    for row in 0..rows {
        let one: Vec<Vec<T>> = inputs.iter().map(|x| x[row * len..(row + 1) * len].to_vec()).collect();
        let mut out = vec![zero; len];
        let views: Vec<_> = one.iter().map(|x| View::new(x, std::slice::from_ref(&len)).unwrap()).collect();
        let options = Options { isa: Some(Isa::Portable), ..Options::default() };
        run(&views, &mut ViewMut::new(&mut out, &[len]).unwrap(), &options);
        expected.extend(out);
    }
    let expected = bits(&expected);
    let columns: Vec<Vec<T>> = inputs.iter().map(|x| transposed(x, rows, len)).collect();
    for isa in Isa::available() {
        let what = |way: &str| format!("{rows} x {len} {} {way}", isa.name());
        let whole = bits(&call(inputs, &[rows, len], Axes::One(-1), isa, 1));
        assert!(whole == expected, "{}", what("rows"));
        let split = bits(&call(inputs, &[rows, len], Axes::One(-1), isa, 3));
        assert!(split == expected, "{}", what("threads"));
        let down = call(&columns, &[len, rows], Axes::One(0), isa, 1);
        assert!(bits(&transposed(&down, len, rows)) == expected, "{}", what("columns"));
        // Every second element of a row that runs backwards.
        let spread: Vec<Vec<T>> =
            inputs.iter().map(|x| x.iter().rev().flat_map(|&x| [x, zero]).collect()).collect();
        let shape = [rows, len];
        let strides = [-2 * len as isize, -2];
        let first = 2 * (rows * len - 1);
        let views: Vec<_> =
            spread.iter().map(|x| View::strided(x, first, &shape, &strides).unwrap()).collect();
        let mut out = vec![zero; 2 * rows * len];
        let options = Options { isa: Some(isa), ..Options::default() };
        run(&views, &mut ViewMut::strided(&mut out, first, &shape, &strides).unwrap(), &options);
        let back: Vec<T> = out.iter().rev().skip(1).step_by(2).copied().collect();
        assert!(bits(&back) == expected, "{}", what("strided"));
        assert!(out.iter().skip(1).step_by(2).all(|x| x.bits() == 0), "{}", what("wrote between"));
    }
}

fn softmax_ways<T: Float + std::fmt::Debug>() {
    for len in LENGTHS {
        let count = if len > 5000 { 6 } else { 70 };
        let x: Vec<T> = rows(count, len).into_iter().map(T::of).collect();
        all_ways(count, len, &[x], &|views, out, options| {
            softmax(Input::View(views[0].clone()), out, options).unwrap();
        });
    }
}

fn gradient_ways<T: Float + std::fmt::Debug>() {
    for len in LENGTHS {
        let count = if len > 5000 { 4 } else { 70 };
        for temperature in [1.0, 0.3] {
            let x: Vec<T> = numbers(count * len, 5, 8.0).into_iter().map(T::of).collect();
            let dy: Vec<T> = numbers(count * len, 6, 3.0).into_iter().map(T::of).collect();
            let mut y = vec![T::of(0.0); x.len()];
            let shape = [count, len];
            let input = Input::View(View::new(&x, &shape).unwrap());
            softmax(input, &mut ViewMut::new(&mut y, &shape).unwrap(), &Options::default()).unwrap();
            all_ways(count, len, &[y, dy], &|views, out, options| {
                let options = Options { temperature, ..*options };
                let [y, dy] = [0, 1].map(|k| Input::View(views[k].clone()));
                softmax_vjp(y, dy, out, &options).unwrap();
            });
        }
    }
}

#[test]
fn softmax_f32() {
    softmax_ways::<f32>();
}

#[test]
fn softmax_f64() {
    softmax_ways::<f64>();
}

#[test]
fn gradient_f32() {
    gradient_ways::<f32>();
}

#[test]
fn gradient_f64() {
    gradient_ways::<f64>();
}

#[test]
fn in_place_is_the_same() {
    for len in LENGTHS {
        let count = if len > 5000 { 6 } else { 40 };
        let shape = [count, len];
        let x: Vec<f32> = rows(count, len).into_iter().map(|x| x as f32).collect();
        let mut out = x.clone();
        let mut place = x.clone();
        let options = Options::default();
        let input = Input::View(View::new(&x, &shape).unwrap());
        softmax(input, &mut ViewMut::new(&mut out, &shape).unwrap(), &options).unwrap();
        softmax(Input::InPlace, &mut ViewMut::new(&mut place, &shape).unwrap(), &options).unwrap();
        assert!(bits(&out) == bits(&place), "length {len}");
    }
}
