//! Zero copy: whatever an operation takes from the allocator is small beside its arrays.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use softlane::{Axes, Input, Options, View, ViewMut, softmax, softmax_vjp};

/// Counts the bytes in use, and the most there ever were.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes in use during a call, beyond those before it.
fn peak(call: impl FnOnce()) -> usize {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    call();
    PEAK.load(Ordering::Relaxed) - before
}

const ROWS: usize = 1024;
const COLUMNS: usize = 1024;
const ALLOWED: usize = 64 * 1024;

/// What long columns take besides, for each input, however many there are: 64 of them and a cache line a row.
const COLUMNS_ALLOWED: usize = (64 + 16) * ROWS * size_of::<f32>();

/// Name, first element, shape, strides and axis of a way to look at 1024 × 1024 elements.
type Way = (&'static str, usize, [usize; 2], [isize; 2], isize);
const VIEWS: [Way; 8] = [
    ("rows", 0, [ROWS, COLUMNS], [COLUMNS as isize, 1], -1),
    ("half rows", 0, [ROWS, COLUMNS / 2], [COLUMNS as isize, 1], -1),
    ("reversed rows", (ROWS - 1) * COLUMNS, [ROWS, COLUMNS], [-(COLUMNS as isize), 1], -1),
    ("columns", 0, [ROWS, COLUMNS], [COLUMNS as isize, 1], 0),
    ("narrow columns", 0, [ROWS * COLUMNS / 64, 64], [64, 1], 0),
    ("transposed", 0, [COLUMNS, ROWS], [1, COLUMNS as isize], -1),
    ("tiny rows", 0, [ROWS * COLUMNS / 8, 8], [8, 1], -1),
    ("every second", 0, [ROWS, COLUMNS / 2], [COLUMNS as isize, 2], -1),
];

/// The one test of this program: others beside it would be counted, too.
#[test]
fn nothing_the_size_of_the_input_is_allocated() {
    let x: Vec<f32> = (0..ROWS * COLUMNS).map(|i| (i % 97) as f32 * 0.1).collect();
    let mut y = vec![0.0f32; x.len()];
    let mut dx = vec![0.0f32; x.len()];
    for (name, first, shape, strides, axis) in VIEWS {
        let options = Options { axes: Axes::One(axis), ..Options::default() };
        let along_columns = strides[(axis + 2) as usize % 2] > 2;
        let allowed = |inputs: usize| ALLOWED + if along_columns { inputs * COLUMNS_ALLOWED } else { 0 };
        let used = peak(|| {
            let input = View::strided(&x, first, &shape, &strides).unwrap();
            let mut out = ViewMut::strided(&mut y, first, &shape, &strides).unwrap();
            softmax(Input::View(input), &mut out, &options).unwrap();
        });
        assert!(used < allowed(1), "softmax, {name}: {used} bytes");
        let used = peak(|| {
            let y = View::strided(&y, first, &shape, &strides).unwrap();
            let dy = View::strided(&x, first, &shape, &strides).unwrap();
            let mut out = ViewMut::strided(&mut dx, first, &shape, &strides).unwrap();
            softmax_vjp(Input::View(y), Input::View(dy), &mut out, &options).unwrap();
        });
        assert!(used < allowed(2), "softmax_vjp, {name}: {used} bytes");
        let used = peak(|| {
            let mut both = ViewMut::strided(&mut y, first, &shape, &strides).unwrap();
            softmax(Input::InPlace, &mut both, &options).unwrap();
        });
        assert!(used < allowed(1), "softmax in place, {name}: {used} bytes");
    }
    // What is small takes nothing at all: allocations would be a sixth of such a call.
    for shape in [&[10][..], &[4, 10], &[3, 2, 10]] {
        let size = shape.iter().product();
        let (x, y, dx) = (&x[..size], &mut y[..size], &mut dx[..size]);
        let options = Options::default();
        let (input, mut out) = (View::new(x, shape).unwrap(), ViewMut::new(y, shape).unwrap());
        let used = peak(|| softmax(Input::View(input), &mut out, &options).unwrap());
        assert_eq!(used, 0, "softmax of {shape:?}");
        let (y, dy) = (View::new(y, shape).unwrap(), View::new(x, shape).unwrap());
        let mut out = ViewMut::new(dx, shape).unwrap();
        let used = peak(|| softmax_vjp(Input::View(y), Input::View(dy), &mut out, &options).unwrap());
        assert_eq!(used, 0, "softmax_vjp of {shape:?}");
    }
    // The count sees what it is there to see.
    let used = peak(|| {
        let whole = vec![0.0f32; x.len()];
        assert_eq!(whole.len(), x.len());
    });
    assert!(used >= 4 * x.len());
}
