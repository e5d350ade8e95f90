//! Long work asks whether to go on, by every way from arrays to kernels, and stops when told to.

use std::cell::Cell;
use std::time::{Duration, Instant};

use softlane::{Axes, Error, Input, Options, View, ViewMut, softmax};

/// Work as long as this that never asks is at fault. The crate means to ask after 20 ms.
const FAR_TOO_LONG: Duration = Duration::from_millis(500);

/// Shape and axis for a size, whether the rows are read backwards, the threads at most.
type Way = (fn(usize) -> [usize; 2], isize, bool, usize);

/// Runs `[rows, columns]` in ever larger sizes until the work asks; it is then told to stop.
fn asks(way: &str, (shape, axis, backwards, threads): Way) {
    let mut size = 1;
    loop {
        let shape = shape(size);
        let n = shape[0] * shape[1];
        let (x, mut y) = (vec![0.0_f32; n], vec![-1.0_f32; n]);
        let stride = shape[1] as isize;
        let x = match backwards {
            false => View::new(&x, &shape),
            true => View::strided(&x, shape[1] - 1, &shape, &[stride, -1]),
        };
        let asked = Cell::new(0);
        let keep_going = || {
            asked.set(asked.get() + 1);
            false
        };
        let options =
            Options { axes: Axes::One(axis), threads, keep_going: &keep_going, ..Options::default() };
        let start = Instant::now();
        let outcome = softmax(
            Input::View(x.expect("the view lies in its slice")),
            &mut ViewMut::new(&mut y, &shape).expect("as long as its shape"),
            &options,
        );
        let elapsed = start.elapsed();
        if asked.get() > 0 {
            assert_eq!(outcome, Err(Error::Interrupted), "{way}");
            assert_eq!(asked.get(), 1, "{way}: asked again after the answer");
            return;
        }
        assert_eq!(outcome, Ok(()), "{way}");
        assert!(elapsed < FAR_TOO_LONG, "{way}: {shape:?} took {elapsed:?} without a question");
        size *= 2;
    }
}

#[test]
fn every_way_asks() {
    for threads in [1, 2] {
        asks("rows", (|n| [1000 * n, 1000], -1, false, threads));
        asks("sweeps of one row", (|n| [1, 1_000_000 * n], -1, false, threads));
        asks("sweeps of many rows", (|n| [100 * n, 10_000], -1, true, threads));
        asks("tiny rows", (|n| [100_000 * n, 10], -1, false, threads));
        asks("columns", (|n| [1000, 1000 * n], 0, false, threads));
        asks("gathered panels", (|n| [50_000 * n, 20], -1, true, threads));
        asks("gathered rows", (|n| [1000 * n, 1000], -1, true, threads));
    }
}
