//! Kernel benches: one thread, every instruction set that the machine has.
//!
//! `cargo bench` runs them all; `cargo bench -- softmax/f32` those that match.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softlane::{Axes, Element, Error, Input, Isa, Options, View, ViewMut, softmax, softmax_vjp};

/// Rows, columns, axis.
const SHAPES: [(usize, usize, isize); 6] =
    [(16384, 10, -1), (1024, 100, -1), (1024, 1000, -1), (1024, 1000, 0), (64, 4096, -1), (4, 50257, -1)];

/// Something like logits, without a random number generator: a sum of three uniform numbers.
fn logits(n: usize) -> Vec<f64> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..n).map(|_| 4.0 * (uniform() + uniform() + uniform())).collect()
}

fn forward<T: Element>(x: &[T], y: &mut [T], shape: &[usize], options: &Options<'_>) -> Result<(), Error> {
    softmax(Input::View(View::new(x, shape)?), &mut ViewMut::new(y, shape)?, options)
}

fn bench_type<T: Element>(c: &mut Criterion, name: &str, convert: fn(f64) -> T) {
    for (rows, columns, axis) in SHAPES {
        let shape = [rows, columns];
        let x: Vec<T> = logits(rows * columns).into_iter().map(convert).collect();
        let (mut y, mut dx) = (x.clone(), x.clone());
        let label = format!("{rows}x{columns} axis {axis}");
        for isa in Isa::available() {
            let options = Options { axes: Axes::One(axis), isa: Some(isa), ..Options::default() };
            let mut group = c.benchmark_group(format!("softmax/{name}"));
            group.throughput(Throughput::Elements(x.len() as u64));
            group.bench_function(BenchmarkId::new(isa.name(), &label), |b| {
                b.iter(|| forward(black_box(&x), &mut y, &shape, &options))
            });
            group.finish();
            let mut group = c.benchmark_group(format!("softmax_vjp/{name}"));
            group.throughput(Throughput::Elements(x.len() as u64));
            group.bench_function(BenchmarkId::new(isa.name(), &label), |b| {
                b.iter(|| {
                    let y = Input::View(View::new(black_box(&y), &shape)?);
                    let dy = Input::View(View::new(&x, &shape)?);
                    softmax_vjp(y, dy, &mut ViewMut::new(&mut dx, &shape)?, &options)
                })
            });
            group.finish();
        }
    }
}

fn benches(c: &mut Criterion) {
    bench_type(c, "f32", |x| x as f32);
    bench_type(c, "f64", |x| x);
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    targets = benches
}
criterion_main!(kernels);
