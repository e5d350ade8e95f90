//! Single elements: those that labels choose, and the labels themselves.

use half::{bf16, f16};

use super::convert::Written;
use super::{Memory, View};
use crate::element::{Compute, DType};
use crate::layout::{Offsets, Plan};

/// Calls `$body` with `$t` the type of the elements.
macro_rules! with_type {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::Bool | DType::U8 => {
                type $t = u8;
                $body
            }
            DType::I8 => {
                type $t = i8;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            DType::U16 => {
                type $t = u16;
                $body
            }
            DType::U32 => {
                type $t = u32;
                $body
            }
            DType::U64 => {
                type $t = u64;
                $body
            }
            DType::F16 => {
                type $t = f16;
                $body
            }
            DType::BF16 => {
                type $t = bf16;
                $body
            }
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
        }
    };
}

/// A number in memory.
trait Number: Copy {
    /// The same bytes, the other way round.
    fn swapped(self) -> Self;
    fn float(self) -> f64;
    fn to_i128(self) -> i128;
    /// As a class: out of any range if it is negative.
    fn index(self) -> u64;
}

macro_rules! number {
    ($($t:ty: $float:expr, $integer:expr);*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn swapped(self) -> Self {
                let mut bytes = self.to_ne_bytes();
                bytes.reverse();
                Self::from_ne_bytes(bytes)
            }
            #[inline(always)]
            fn float(self) -> f64 { $float(self) }
            #[inline(always)]
            fn to_i128(self) -> i128 { $integer(self) }
            #[inline(always)]
            fn index(self) -> u64 { $integer(self) as u64 }
        }
    )*};
}
number!(
    u8: |x| x as f64, |x| x as i128; i8: |x| x as f64, |x| x as i128;
    u16: |x| x as f64, |x| x as i128; i16: |x| x as f64, |x| x as i128;
    u32: |x| x as f64, |x| x as i128; i32: |x| x as f64, |x| x as i128;
    u64: |x| x as f64, |x| x as i128; i64: |x| x as f64, |x| x as i128;
    f32: |x| x as f64, |x| x as i128; f64: |x| x, |x| x as i128;
    f16: f16::to_f64, |x| f16::to_f64(x) as i128; bf16: bf16::to_f64, |x| bf16::to_f64(x) as i128
);

impl Memory<'_> {
    /// The number at an address, its bytes in this machine's order.
    ///
    /// # Safety
    /// There is an element inside the array, aligned or not.
    #[inline(always)]
    unsafe fn load<T: Number>(&self, from: *const u8) -> T {
        // SAFETY: promised by the caller.
        let number = unsafe { from.cast::<T>().read_unaligned() };
        if self.swapped { number.swapped() } else { number }
    }

    /// Whether elements lie there as `E` has them, aligned or not.
    #[inline(always)]
    fn holds<E: Compute>(&self) -> bool {
        self.dtype == E::DTYPE && !self.swapped
    }

    /// The element `offset` bytes from the first.
    #[inline(always)]
    pub(crate) fn get<E: Compute>(&self, offset: isize) -> E {
        if !self.holds::<E>() {
            return E::from_f64(self.number(offset));
        }
        let from: *const E = self.at(offset, 0, 1).cast_const().cast();
        // SAFETY: `at` checked that the element lies inside the array.
        unsafe { from.read_unaligned() }
    }

    /// The element `offset` bytes from the first, as a number.
    #[inline]
    pub(crate) fn number(&self, offset: isize) -> f64 {
        if self.dtype == DType::Bool {
            return f64::from(u8::from(self.is_true(offset)));
        }
        let from = self.at(offset, 0, 1);
        // SAFETY: `at` checked that the element lies inside the array.
        with_type!(self.dtype, T => unsafe { self.load::<T>(from) }.float())
    }

    /// Writes the element `offset` bytes from the first: a float.
    #[inline(always)]
    pub(crate) fn set<E: Compute>(&self, offset: isize, x: E) {
        if !self.holds::<E>() {
            return self.set_converted(offset, x);
        }
        let to: *mut E = self.at(offset, 0, 1).cast();
        // SAFETY: `at` checked that the element lies inside the array, which is an output.
        unsafe { to.write_unaligned(x) };
    }

    #[inline]
    fn set_converted<E: Compute>(&self, offset: isize, x: E) {
        let mut bytes = [0; 8];
        let size = self.dtype.size();
        match self.dtype {
            DType::F64 => bytes.copy_from_slice(&x.to_f64().to_ne_bytes()),
            DType::F32 => bytes[..4].copy_from_slice(&x.to_f32().to_ne_bytes()),
            // Not by `half`, which drops 32 bits of an `f64` before it rounds.
            DType::F16 => bytes[..2].copy_from_slice(&f16::narrow(x.to_f64()).to_ne_bytes()),
            _ => bytes[..2].copy_from_slice(&bf16::narrow(x.to_f64()).to_ne_bytes()),
        }
        if self.swapped {
            bytes[..size].reverse();
        }
        let to = self.at(offset, 0, 1);
        // SAFETY: `at` checked that the element lies inside the array, which is an output.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, size) };
    }

    /// Whether the mask's element `offset` bytes from the first is true.
    #[inline]
    pub(crate) fn is_true(&self, offset: isize) -> bool {
        let from = self.at(offset, 0, 1);
        // SAFETY: as above; a bool is one byte.
        unsafe { from.read() != 0 }
    }
}

/// The class of a row that does not count.
pub(crate) const IGNORED: usize = usize::MAX;

impl View<'_> {
    /// Integers as classes, in C order: [`IGNORED`] for `ignore_index`; or the first that is not from 0 to
    /// `classes - 1`, and where it is in that order.
    pub(crate) fn classes(&self, classes: usize, ignore_index: i128) -> Result<Vec<usize>, (i128, usize)> {
        let every = vec![true; self.shape.len()];
        let plan = Plan::new(&self.shape, &every, [&self.strides], &self.strides);
        let step = plan.step().src[0];
        let mut found = vec![0; plan.len];
        if self.is_empty() {
            return Ok(found);
        }
        // The class that is to be ignored, if it is one.
        let ignored =
            if (0..classes as i128).contains(&ignore_index) { ignore_index as u64 } else { u64::MAX };
        let mut bad = None;
        plan.segments(Offsets::ORIGIN, 0, plan.len, |at, first, size| {
            let labels = self.memory.at(at.src[0], step, size).cast_const();
            let found = &mut found[first..first + size];
            with_type!(self.memory.dtype, T => {
                // SAFETY: `at` checked that the run lies inside the array.
                let label = |i: usize| unsafe { self.memory.load::<T>(labels.wrapping_offset(step * i as isize)) };
                // Without a question for each: as a rule all of them are classes that count.
                let mut are_plain = true;
                for (i, found) in found.iter_mut().enumerate() {
                    let index = label(i).index();
                    are_plain &= (index < classes as u64) & (index != ignored);
                    *found = index as usize;
                }
                if are_plain || bad.is_some() {
                    return;
                }
                for (i, found) in found.iter_mut().enumerate() {
                    let label = label(i);
                    if label.to_i128() == ignore_index {
                        *found = IGNORED;
                    } else if label.index() >= classes as u64 {
                        bad = Some((label.to_i128(), first + i));
                        return;
                    }
                }
            });
        });
        bad.map_or(Ok(found), Err)
    }
}

impl View<'_> {
    /// The elements as numbers, in C order.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        let every = vec![true; self.shape.len()];
        let plan = Plan::new(&self.shape, &every, [&self.strides], &self.strides);
        let mut numbers = vec![0.0; self.len()];
        if !numbers.is_empty() {
            plan.segments(Offsets::ORIGIN, 0, plan.len, |at, first, size| {
                for (i, x) in numbers[first..first + size].iter_mut().enumerate() {
                    *x = self.memory.number(at.src[0] + plan.step().src[0] * i as isize);
                }
            });
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;
    use crate::view::ViewMut;

    /// A number in an array of halves.
    fn stored<T: Element + Default, E: Compute>(x: E) -> T {
        let mut one = [T::default()];
        ViewMut::new(&mut one, &[1]).unwrap().as_view().memory().set(0, x);
        one[0]
    }

    #[test]
    fn single_halves_are_rounded_once() {
        // On either side of the middle between two, by less than the upper half of an f64 can tell.
        let (below, above) = (f16::from_bits(0x3bfe), f16::from_bits(0x3bff));
        let middle = 0.5 * (below.to_f64() + above.to_f64());
        for least in [2f64.powi(-24), 2f64.powi(-50)] {
            assert_eq!(stored::<f16, f64>(middle - least), below);
            assert_eq!(stored::<f16, f64>(middle + least), above);
        }
        let least = 2f32.powi(-24);
        assert_eq!(stored::<f16, f32>(middle as f32 - least), below);
        assert_eq!(stored::<f16, f32>(middle as f32 + least), above);
        let (below, above) = (bf16::from_bits(0x3f7e), bf16::from_bits(0x3f7f));
        let middle = 0.5 * (below.to_f64() + above.to_f64());
        for least in [2f64.powi(-24), 2f64.powi(-50)] {
            assert_eq!(stored::<bf16, f64>(middle - least), below);
            assert_eq!(stored::<bf16, f64>(middle + least), above);
        }
        assert_eq!(stored::<bf16, f32>(middle as f32 - least), below);
        assert_eq!(stored::<bf16, f32>(middle as f32 + least), above);
    }
}
