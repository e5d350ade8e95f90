//! `ln(1 + r)` for `f32` over every float from zero up, on every instruction set.

use std::sync::atomic::{AtomicU64, Ordering};

use softlane::Isa;
use softlane::testing::{Ln, ln_1p, narrow_ln_1p, rough_ln_1p};

/// Floats of one block.
const BLOCK: usize = 1 << 12;

/// The largest float, and 1: as far as the logarithms go that no power of two comes off.
const LARGEST: u32 = 0x7f7f_ffff;
const UNIT: u32 = 0x3f80_0000;

/// The worst relative errors that the documentation of `math::ln` admits, as binary exponents. Of `ln_1p` it is what the
/// kernels get, which is rounded to two `f32`.
const BOUNDS: [(&str, f64); 3] = [("ln_1p", -48.6), ("short_ln_1p", -32.6), ("short_unit_ln_1p", -32.7)];

/// `rough_ln_1p` is good to this.
const ROUGH_BOUND: f64 = 0.003;

/// The hash of the results for every float: the same on every instruction set, and it does not change unnoticed.
const GOLDEN: u64 = 11346307424573195419;

/// The same of every `STEP`th float, for instruction sets that would take minutes for all.
const GOLDEN_OF_STEPS: u64 = 332712392697966274;
const STEP: usize = 61;

/// Floats in ascending order, and what becomes of them. Made once a thread: all is written anew for each block.
struct Block {
    /// The largest term that quotients are of.
    top: f32,
    r: Vec<f32>,
    wide: Vec<f64>,
    zeros: Vec<f64>,
    narrow: [Vec<f32>; 2],
    short: Vec<f64>,
    short_unit: Vec<f64>,
    exact: [Vec<f64>; 2],
    worst: [Error; 3],
}

/// The bits of the floats of a block.
type Floats = std::iter::StepBy<std::ops::RangeInclusive<u32>>;

/// The largest error, relative and in ULP of `f32`.
type Error = [f64; 2];

impl Block {
    fn new() -> Self {
        let (narrow, wide) = (vec![0.0; BLOCK], vec![0.0; BLOCK]);
        Self {
            top: 1.0,
            r: Vec::with_capacity(BLOCK),
            wide: wide.clone(),
            zeros: wide.clone(),
            narrow: [narrow.clone(), narrow],
            short: wide.clone(),
            short_unit: wide.clone(),
            exact: [wide.clone(), wide],
            worst: [[0.0; 2]; 3],
        }
    }

    fn run(&mut self, isa: Isa, floats: Floats) {
        self.r.clear();
        self.r.extend(floats.map(f32::from_bits));
        for (wide, &r) in self.wide.iter_mut().zip(&self.r) {
            *wide = r.into();
        }
        let count = self.r.len();
        let [high, low] = &mut self.narrow;
        narrow_ln_1p(isa, self.top, &self.r, [&mut high[..count], &mut low[..count]]);
        let (r, [_, nothing]) = ([&self.wide[..count], &self.zeros[..count]], &mut self.exact);
        if self.r[count - 1].to_bits() <= UNIT {
            ln_1p(isa, Ln::Short, r, [&mut self.short[..count], &mut nothing[..count]]);
            ln_1p(isa, Ln::ShortUnit, r, [&mut self.short_unit[..count], &mut nothing[..count]]);
        }
    }

    /// How many have the logarithms from 0 to 1: all of a block, or none.
    fn units(&self) -> usize {
        if self.r[self.r.len() - 1].to_bits() <= UNIT { self.r.len() } else { 0 }
    }

    /// Independent of the order of blocks, not of the order within one.
    fn hash(&self) -> u64 {
        let mut lanes = [u64::from(self.r[0].to_bits()); 8];
        let mut take = |i: usize, bits: u64| {
            let lane = &mut lanes[i % 8];
            *lane = (*lane ^ bits).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        };
        for i in 0..self.r.len() {
            let [high, low] = [self.narrow[0][i], self.narrow[1][i]].map(|y| u64::from(y.to_bits()));
            take(i, high << 32 | low);
        }
        for i in 0..self.units() {
            take(i, self.short[i].to_bits());
            take(i, self.short_unit[i].to_bits());
        }
        lanes.iter().fold(0, |h, lane| (h ^ (lane >> 29) ^ lane).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// Finds the largest errors so far.
    fn judge(&mut self, isa: Isa) {
        let (count, units) = (self.r.len(), self.units());
        let [exact, rest] = &mut self.exact;
        // The reference: what serves f64, itself held against double-double in `ln_f64.rs`.
        let r = [&self.wide[..count], &self.zeros[..count]];
        ln_1p(isa, Ln::Long, r, [&mut exact[..count], &mut rest[..count]]);
        let mut take = |which: usize, i: usize, difference: f64| {
            let error = (difference - rest[i]).abs();
            // One ULP of f32 at `exact`, as if its exponent had no lower limit.
            let ulp = f64::from_bits((exact[i].to_bits() & 0x7ff0_0000_0000_0000).wrapping_sub(23 << 52));
            let [relative, ulps] = &mut self.worst[which];
            // Without a division, for nearly all are no worse than what was found; NaN is worse.
            if !(error <= *relative * exact[i] && error <= *ulps * ulp) {
                (*relative, *ulps) = (relative.max(error / exact[i]), ulps.max(error / ulp));
                assert!(relative.is_finite() && !error.is_nan(), "no number near ln(1 + {:?})", r[0][i]);
            }
        };
        // Of zero all are zero.
        for i in usize::from(r[0][0] == 0.0)..count {
            take(0, i, (f64::from(self.narrow[0][i]) - exact[i]) + f64::from(self.narrow[1][i]));
        }
        for i in usize::from(r[0][0] == 0.0)..units {
            take(1, i, self.short[i] - exact[i]);
            take(2, i, self.short_unit[i] - exact[i]);
        }
        if r[0][0] == 0.0 {
            let zeros =
                [self.narrow[0][0].into(), self.narrow[1][0].into(), self.short[0], self.short_unit[0]];
            assert_eq!((zeros, exact[0], rest[0]), ([0.0; 4], 0.0, 0.0));
        }
    }
}

/// Runs `task` on every block of every `step`th float, on all cores; the blocks of all threads at the end.
fn each_block(step: usize, task: impl Fn(&mut Block, Floats) + Sync) -> Vec<Block> {
    // No block has floats of both sides of 1.
    let starts: Vec<(u32, u32)> = [(0, UNIT), (UNIT + 1, LARGEST)]
        .into_iter()
        .flat_map(|(first, last)| (first..=last).step_by(BLOCK * step).map(move |start| (start, last)))
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = |thread: usize| {
            let (starts, task) = (&starts, &task);
            scope.spawn(move || {
                let mut block = Block::new();
                for &(start, last) in starts.iter().skip(thread).step_by(threads) {
                    let stop = last.min(start + (BLOCK * step - 1) as u32);
                    task(&mut block, (start..=stop).step_by(step));
                }
                block
            })
        };
        let workers: Vec<_> = (0..threads).map(work).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    })
}

fn golden_hash(isa: Isa, step: usize) -> u64 {
    let total = AtomicU64::new(0);
    each_block(step, |block, floats| {
        block.run(isa, floats);
        total.fetch_add(block.hash(), Ordering::Relaxed);
    });
    total.into_inner()
}

#[test]
fn every_float_is_within_the_bounds() {
    let isa = Isa::available()[0];
    let total = AtomicU64::new(0);
    let blocks = each_block(1, |block, floats| {
        block.run(isa, floats);
        total.fetch_add(block.hash(), Ordering::Relaxed);
        block.judge(isa);
    });
    for (which, (name, bound)) in BOUNDS.into_iter().enumerate() {
        let [relative, ulps] =
            [0, 1].map(|unit| blocks.iter().fold(0.0, |w: f64, b| w.max(b.worst[which][unit])));
        println!("worst error of {name} for f32: 2^{:.2}, {ulps:.2e} ULP of f32", relative.log2());
        assert!(relative.log2() < bound, "{name}: worst error 2^{}", relative.log2());
    }
    assert_eq!(total.into_inner(), GOLDEN, "{}", isa.name());
}

/// The largest terms that the nearest powers of two leave, of maxima of up to some ten thousand.
#[test]
fn a_quotient_is_as_exact_whatever_its_divisor() {
    let isa = Isa::available()[0];
    for top in [0.7066, 0.7072, 0.9, 1.1, 1.414, 1.4152] {
        let blocks = each_block(STEP, |block, floats| {
            block.top = top;
            block.run(isa, floats);
            block.judge(isa);
        });
        let worst = blocks.iter().fold(0.0, |w: f64, b| w.max(b.worst[0][0]));
        println!("worst error of ln_1p for f32 of a quotient by {top}: 2^{:.2}", worst.log2());
        assert!(worst.log2() < BOUNDS[0].1, "worst error 2^{}", worst.log2());
    }
}

#[test]
fn every_isa_has_the_golden_hash() {
    for isa in Isa::ALL {
        if isa.is_available() {
            assert_eq!(golden_hash(isa, STEP), GOLDEN_OF_STEPS, "{}", isa.name());
        } else {
            println!("skipped: this machine lacks {}", isa.name());
        }
    }
}

/// The widest is hashed where its errors are found, and the portable one is slow where FMA is not part of the target.
#[test]
fn every_other_vector_isa_has_the_golden_hash_of_all() {
    for isa in Isa::available().into_iter().skip(1).filter(|isa| *isa != Isa::Portable) {
        assert_eq!(golden_hash(isa, 1), GOLDEN, "{}", isa.name());
    }
}

#[test]
fn the_rough_one_is_good_enough() {
    let worst = (1..=LARGEST).step_by(STEP).fold(0.0, |worst: f64, bits| {
        let r = f64::from(f32::from_bits(bits));
        worst.max((rough_ln_1p(r) / r.ln_1p() - 1.0).abs())
    });
    println!("worst error of rough_ln_1p: {:.3} %", 100.0 * worst);
    assert!(worst < ROUGH_BOUND, "worst error {worst}");
}
