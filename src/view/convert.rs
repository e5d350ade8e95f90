//! Between memory of any element type, order and spacing and buffers of the type that kernels compute in: loops that
//! the compiler vectorises for each instruction set.

use half::{bf16, f16};

use super::Memory;
use crate::element::{Compute, DType};
use crate::simd::{Kernel, Wide};

/// Rows of evenly spaced elements: so many of so many elements, and the bytes from one to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) offset: isize,
    pub(crate) rows: (usize, isize),
    pub(crate) columns: (usize, isize),
}

/// Byte order and conversion of one element.
trait Stored: Copy {
    fn swap(self) -> Self;
    fn widen(self) -> f64;
    fn narrow(x: f64) -> Self;
    /// As `widen`, where `f32` is wide enough for the type.
    #[inline(always)]
    fn widen_f32(self) -> f32 {
        self.widen() as f32
    }
    /// As `narrow`, from `f32`.
    #[inline(always)]
    fn narrow_f32(x: f32) -> Self {
        Self::narrow(x.into())
    }
}

macro_rules! stored_int {
    ($($t:ty),*) => {$(
        impl Stored for $t {
            #[inline(always)]
            fn swap(self) -> Self { self.swap_bytes() }
            #[inline(always)]
            fn widen(self) -> f64 { self as f64 }
            #[inline(always)]
            fn narrow(x: f64) -> Self { x as $t }
        }
    )*};
}
stored_int!(u8, i8, u16, i16, u32, i32, u64, i64);

macro_rules! stored_float {
    ($($t:ty),*) => {$(
        impl Stored for $t {
            #[inline(always)]
            fn swap(self) -> Self { Self::from_bits(self.to_bits().swap_bytes()) }
            #[inline(always)]
            fn widen(self) -> f64 { self as f64 }
            #[inline(always)]
            fn narrow(x: f64) -> Self { x as $t }
        }
    )*};
}
stored_float!(f32, f64);

/// The bits of infinity.
const INFINITY: u32 = 0x7f80_0000;

/// `x` as an `f32`, rounded to odd: an inexact result has its last bit set, so that rounding it once more, to a type
/// two bits or more shorter, is as good as rounding x.
#[inline(always)]
fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    let (back, bits) = (near as f64, near.to_bits());
    let is_odd = bits & 1 == 1 || back == x || back.is_nan();
    let beyond = back.abs() > x.abs();
    f32::from_bits(if is_odd { bits } else { bits.wrapping_add(1).wrapping_sub(2 * u32::from(beyond)) })
}

impl Stored for f16 {
    #[inline(always)]
    fn swap(self) -> Self {
        Self::from_bits(self.to_bits().swap_bytes())
    }
    #[inline(always)]
    fn widen(self) -> f64 {
        self.widen_f32().into()
    }
    #[inline(always)]
    fn widen_f32(self) -> f32 {
        let bits = u32::from(self.to_bits());
        // Exponent and mantissa moved into place, and 2^112 for the difference of the biases: exact, for subnormal
        // numbers too.
        let size = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        let special = if bits & 0x7c00 == 0x7c00 { INFINITY } else { 0 };
        f32::from_bits(size.to_bits() | special | (bits & 0x8000) << 16)
    }
    #[inline(always)]
    fn narrow(x: f64) -> Self {
        Self::narrow_f32(to_odd(x))
    }
    #[inline(always)]
    fn narrow_f32(x: f32) -> Self {
        let sign = x.to_bits() >> 16 & 0x8000;
        let size = x.to_bits() & 0x7fff_ffff;
        // Adding 1/2 puts the last place of a subnormal half at the end of the mantissa.
        let small = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
        let normal = size.wrapping_sub(0x3800_0000 - 0xfff).wrapping_add(size >> 13 & 1) >> 13;
        let finite = if size < 0x3880_0000 { small } else { normal };
        let large = if size > INFINITY { 0x7e00 } else { 0x7c00 };
        Self::from_bits((sign | if size < 0x477f_f000 { finite } else { large }) as u16)
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn swap(self) -> Self {
        Self::from_bits(self.to_bits().swap_bytes())
    }
    #[inline(always)]
    fn widen(self) -> f64 {
        self.widen_f32().into()
    }
    #[inline(always)]
    fn widen_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn narrow(x: f64) -> Self {
        Self::narrow_f32(to_odd(x))
    }
    #[inline(always)]
    fn narrow_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let nan = bits >> 16 & 0x8000 | 0x7fc0;
        Self::from_bits(if bits & 0x7fff_ffff > INFINITY { nan } else { rounded } as u16)
    }
}

/// Runs a macro for each element type.
macro_rules! each_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        each_dtype!(@ $dtype, $t => $body;
            U8 u8, I8 i8, I16 i16, I32 i32, I64 i64, U16 u16, U32 u32, U64 u64, F32 f32, F64 f64, F16 f16, BF16 bf16)
    };
    (@ $dtype:expr, $t:ident => $body:expr; $($d:ident $type:ty),*) => {
        match $dtype {
            $(DType::$d => {
                type $t = $type;
                $body
            })*
            DType::Bool => {
                type $t = u8;
                $body
            }
        }
    };
}

/// Whether `f32` is computed in for this type.
const fn is_short(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// Elements of memory, for a buffer: the `j`th of row `i` goes to `buffer[i * step.0 + j * step.1]`.
pub(crate) struct Read<'a, 'b, E> {
    pub(crate) memory: Memory<'a>,
    pub(crate) block: Block,
    pub(crate) buffer: &'b mut [E],
    pub(crate) step: (usize, usize),
    pub(crate) negate: bool,
}

impl<E: Compute> Kernel<E> for Read<'_, '_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, _: S) {
        let Self { memory, block, buffer, step, negate } = self;
        let (rows, columns) = (block.rows.0, block.columns.0);
        if rows == 0 || columns == 0 {
            return;
        }
        assert!((rows - 1) * step.0 + (columns - 1) * step.1 < buffer.len());
        let (base, to) = (memory.block(block), buffer.as_mut_ptr());
        each_dtype!(memory.dtype, T => {
            let item = size_of::<T>() as isize;
            if size_of::<E>() == 4 && !is_short(memory.dtype) {
                return;
            }
            for i in 0..rows {
                let from = base.wrapping_offset(i as isize * block.rows.1);
                let to = to.wrapping_add(i * step.0);
                let stride = block.columns.1;
                // SAFETY: `block` checked the span, and the assertion that of the buffer.
                unsafe {
                    match (stride / item, step.1, memory.swapped) {
                        (1, 1, false) if stride == item => read::<T, E, false>(from, item, to, 1, columns, negate),
                        (2, 1, false) if stride == 2 * item => {
                            read::<T, E, false>(from, 2 * item, to, 1, columns, negate);
                        }
                        (_, _, false) => read::<T, E, false>(from, stride, to, step.1, columns, negate),
                        (_, _, true) => read::<T, E, true>(from, stride, to, step.1, columns, negate),
                    }
                }
            }
        });
    }
}

/// # Safety
/// All elements lie in readable memory, and all places in the buffer.
#[inline(always)]
unsafe fn read<T: Stored, E: Compute, const SWAPPED: bool>(
    from: *const u8,
    stride: isize,
    to: *mut E,
    step: usize,
    count: usize,
    negate: bool,
) {
    for j in 0..count {
        // SAFETY: promised by the caller.
        unsafe {
            let x: T = from.wrapping_offset(j as isize * stride).cast::<T>().read_unaligned();
            let x = if SWAPPED { x.swap() } else { x };
            let x = if size_of::<E>() == 4 { E::from_f32(x.widen_f32()) } else { E::from_f64(x.widen()) };
            *to.add(j * step) = if negate { E::NEGATIVE_ZERO - x } else { x };
        }
    }
}

/// The inverse of [`Read`]: rounds to the type of the memory.
pub(crate) struct Write<'a, 'b, E> {
    pub(crate) memory: Memory<'a>,
    pub(crate) block: Block,
    pub(crate) buffer: &'b [E],
    pub(crate) step: (usize, usize),
}

impl<E: Compute> Kernel<E> for Write<'_, '_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, _: S) {
        let Self { memory, block, buffer, step } = self;
        let (rows, columns) = (block.rows.0, block.columns.0);
        if rows == 0 || columns == 0 {
            return;
        }
        assert!((rows - 1) * step.0 + (columns - 1) * step.1 < buffer.len());
        let (base, from) = (memory.block(block), buffer.as_ptr());
        // What is written is a float: no kernel has another result.
        match memory.dtype {
            DType::F32 => write::<f32, E>(memory, base, block, from, step),
            DType::F64 => write::<f64, E>(memory, base, block, from, step),
            DType::F16 => write::<f16, E>(memory, base, block, from, step),
            DType::BF16 => write::<bf16, E>(memory, base, block, from, step),
            _ => {}
        }
    }
}

#[inline(always)]
fn write<T: Stored, E: Compute>(
    memory: Memory<'_>,
    base: *mut u8,
    block: Block,
    from: *const E,
    step: (usize, usize),
) {
    let (item, is_dense) = (size_of::<T>() as isize, step.1 == 1);
    for i in 0..block.rows.0 {
        let to = base.wrapping_offset(i as isize * block.rows.1);
        let from = from.wrapping_add(i * step.0);
        // SAFETY: `run` checked both spans.
        unsafe {
            match block.columns.1 == item && is_dense {
                true => write_row::<T, E>(to, item, memory.swapped, from, 1, block.columns.0),
                false => {
                    write_row::<T, E>(to, block.columns.1, memory.swapped, from, step.1, block.columns.0);
                }
            }
        }
    }
}

/// # Safety
/// All elements lie in writable memory, and all places in the buffer.
#[inline(always)]
unsafe fn write_row<T: Stored, E: Compute>(
    to: *mut u8,
    stride: isize,
    swapped: bool,
    from: *const E,
    step: usize,
    count: usize,
) {
    for j in 0..count {
        // SAFETY: promised by the caller.
        unsafe {
            let x = *from.add(j * step);
            let x = if size_of::<E>() == 4 { T::narrow_f32(x.to_f32()) } else { T::narrow(x.to_f64()) };
            let x = if swapped { x.swap() } else { x };
            to.wrapping_offset(j as isize * stride).cast::<T>().write_unaligned(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_convert_as_the_crate_half_does() {
        for bits in 0..=u16::MAX {
            let (h, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            assert_eq!(
                h.widen_f32().to_bits() << 10 >> 10,
                h.to_f32_const().to_bits() << 10 >> 10,
                "{bits:x}"
            );
            assert!(b.widen_f32().to_bits() == b.to_f32_const().to_bits() || b.is_nan());
            if !h.is_nan() {
                assert_eq!(f16::narrow_f32(h.widen_f32()), h);
            }
        }
        // Around every rounding boundary, and all over the exponents.
        for high in 0..=u16::MAX {
            for low in [0, 1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff, 0x2fff, 0x3000, 0x3001] {
                let x = f32::from_bits(u32::from(high) << 16 | low);
                let (h, b) = (f16::narrow_f32(x), bf16::narrow_f32(x));
                assert_eq!(h.is_nan(), x.is_nan());
                assert_eq!(b.is_nan(), x.is_nan());
                if !x.is_nan() {
                    assert_eq!(h, f16::from_f32_const(x), "{x:e}");
                    assert_eq!(b, bf16::from_f32_const(x), "{x:e}");
                    assert_eq!(f16::narrow(x.into()), h);
                }
            }
        }
        // Once, not twice: just above the middle between two halves, closer to it than an f32 can say.
        assert_eq!(f16::narrow(1.0 + 2f64.powi(-11) + 2f64.powi(-40)), f16::from_bits(0x3c01));
        assert_eq!(bf16::narrow(1.0 + 2f64.powi(-8) - 2f64.powi(-40)), bf16::from_bits(0x3f80));
    }
}
