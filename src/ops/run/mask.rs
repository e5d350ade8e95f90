//! Masks: their bytes, brought to where the elements are.
#![forbid(unsafe_code)]

use crate::element::Compute;
use crate::layout::Plan;
use crate::simd::Lanes;
use crate::view::Memory;

/// A mask: true where an element counts.
pub(super) struct Prepared<'a> {
    pub(super) memory: Memory<'a>,
    /// Its lanes, numbered like those of the operands.
    pub(super) plan: Plan<1>,
}

/// Gives back to elements of a lane that are masked out what they must be, if its first is NaN: then all may be.
pub(super) fn restore<E: Compute>(masked: E, lane: &mut [E], keep: &[u8]) {
    if lane[0].is_nan() {
        for (x, &keep) in lane.iter_mut().zip(keep) {
            *x = if keep == 0 { masked } else { *x };
        }
    }
}

/// These are functions of their own, for each type would have them otherwise.
impl Prepared<'_> {
    /// Some lanes, one after another. `keep` stays as it is from block to block, of which this may be the first.
    #[inline(never)]
    pub(super) fn rows(&self, first: usize, count: usize, is_first: bool, keep: &mut [u8]) {
        let Self { memory, plan } = self;
        let (len, step) = (plan.len, plan.step().src[0]);
        match &plan.outer[..] {
            // Lanes that follow each other are one.
            [outer] if plan.inner.len() <= 1 && outer.src[0] == step * len as isize => {
                memory.bytes(outer.src[0] * first as isize, step, &mut keep[..count * len]);
            }
            // One for all of them: repeated by doubling.
            [outer] if outer.src[0] == 0 => {
                if is_first {
                    self.lane(first, 0, len, &mut keep[..len]);
                    let mut done = len;
                    while done < count * len {
                        let more = done.min(count * len - done);
                        keep.copy_within(..more, done);
                        done += more;
                    }
                }
            }
            [outer] if plan.inner.len() <= 1 => {
                for (i, keep) in keep[..count * len].chunks_exact_mut(len).enumerate() {
                    memory.bytes(outer.src[0] * (first + i) as isize, step, keep);
                }
            }
            _ => {
                for i in 0..count {
                    self.lane(first + i, 0, len, &mut keep[i * len..(i + 1) * len]);
                }
            }
        }
    }

    /// Elements `start..end` of a lane.
    #[inline(never)]
    pub(super) fn lane(&self, lane: usize, start: usize, end: usize, keep: &mut [u8]) {
        let Self { memory, plan } = self;
        let stride = plan.step().src[0];
        plan.segments(plan.lane(lane), start, end, |at, first, size| {
            memory.bytes(at.src[0], stride, &mut keep[first - start..first - start + size]);
        });
    }

    /// Some lanes side by side, in rows of `width`.
    #[inline(never)]
    pub(super) fn columns(&self, lanes: Lanes, width: usize, keep: &mut [u8]) {
        let Self { memory, plan } = self;
        let (len, count) = (plan.len, lanes.count);
        let offset = |j: usize| plan.lane(lanes.first + j * lanes.step).src[0];
        let start = offset(0);
        let stride = if count > 1 { offset(1) - start } else { 1 };
        let is_even = (1..count).all(|j| offset(j) == start + stride * j as isize);
        if is_even && plan.inner.len() <= 1 {
            for i in 0..len {
                let at = start + plan.step().src[0] * i as isize;
                memory.bytes(at, stride, &mut keep[i * width..i * width + count]);
            }
            return;
        }
        let mut column = vec![0; len];
        for j in 0..count {
            self.lane(lanes.first + j * lanes.step, 0, len, &mut column);
            for i in 0..len {
                keep[i * width + j] = column[i];
            }
        }
    }
}
