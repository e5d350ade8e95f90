//! Between memory of any element type, order and spacing and buffers of the type that kernels compute in: loops that
//! the compiler vectorises for each instruction set.

use core::mem::MaybeUninit;

use half::{bf16, f16};

use super::Memory;
use super::apart::Apart;
use super::asked::Asked;
use crate::element::{Compute, DType};
use crate::simd::{Kernel, Simd, Wide, narrowed_bf16, narrowed_f16, to_odd, widened_bf16, widened_f16};

/// Rows of evenly spaced elements: so many of so many elements, and the bytes from one to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) offset: isize,
    pub(crate) rows: (usize, isize),
    pub(crate) columns: (usize, isize),
}

/// What may be read.
pub(super) trait Stored: Copy {
    /// Whether whole vectors are converted by [`Simd::load_halves`] and [`Simd::store_halves`].
    const IS_F16: bool = false;
    /// Whether whole vectors are rounded by [`Simd::store_bf16`]. To widen them the compiler does well.
    const IS_BF16: bool = false;
    fn widen(self) -> f64;
    /// As `widen`, where `f32` is wide enough for the type.
    #[inline(always)]
    fn widen_f32(self) -> f32 {
        self.widen() as f32
    }
}

/// What may be written, too.
pub(super) trait Written: Stored {
    fn narrow(x: f64) -> Self;
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
            fn widen(self) -> f64 { self as f64 }
        }
    )*};
}
stored_int!(u8, i8, u16, i16, u32, i32, u64, i64);

macro_rules! stored_float {
    ($($t:ty),*) => {$(
        impl Stored for $t {
            #[inline(always)]
            fn widen(self) -> f64 { self as f64 }
        }
        impl Written for $t {
            #[inline(always)]
            fn narrow(x: f64) -> Self { x as $t }
        }
    )*};
}
stored_float!(f32, f64);

macro_rules! stored_half {
    ($t:ty, $is_f16:literal, $widened:ident, $narrowed:ident) => {
        impl Stored for $t {
            const IS_F16: bool = $is_f16;
            const IS_BF16: bool = !$is_f16;
            #[inline(always)]
            fn widen(self) -> f64 {
                self.widen_f32().into()
            }
            #[inline(always)]
            fn widen_f32(self) -> f32 {
                $widened(self.to_bits())
            }
        }
        impl Written for $t {
            #[inline(always)]
            fn narrow(x: f64) -> Self {
                Self::narrow_f32(to_odd(x))
            }
            #[inline(always)]
            fn narrow_f32(x: f32) -> Self {
                Self::from_bits($narrowed(x))
            }
        }
    };
}
stored_half!(f16, true, widened_f16, narrowed_f16);
stored_half!(bf16, false, widened_bf16, narrowed_bf16);

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

/// Rows of a block that are asked for ahead of their use, at most, and so many cache lines if those are fewer: where rows are a power of
/// two apart, more do not stay.
const ROWS_AHEAD: usize = 8;
const LINES_AHEAD: usize = 64;

/// Bytes from row to row from which on no machine asks for the next by itself.
const FAR_APART: usize = 1024;

impl Block {
    /// Asks for a dense row some rows ahead, which need not exist, of a block that begins at `base`.
    #[inline(always)]
    fn prefetch<E: Compute, S: Simd<E>, const WRITE: bool>(&self, s: S, base: *const u8, i: usize) {
        if self.rows.1.unsigned_abs() < FAR_APART {
            return;
        }
        let lines = (self.columns.0 * self.columns.1.unsigned_abs()).div_ceil(size_of::<E::Array>());
        let ahead = (LINES_AHEAD / lines).clamp(1, ROWS_AHEAD);
        let row = base.wrapping_offset((i + ahead) as isize * self.rows.1);
        for line in 0..lines {
            s.prefetch::<WRITE>(row.cast::<E>().wrapping_add(line * E::LANES));
        }
    }
}

/// Whether `f32` is computed in for this type.
const fn is_short(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// Elements of memory, for a buffer: the `j`th of row `i` goes to `buffer[i * step + j]`. The block is not held by value: to copy by vectors
/// what was stored a moment ago, word by word, waits for all stores before it.
pub(crate) struct Read<'a, 'b, E> {
    pub(crate) memory: Memory<'a>,
    pub(crate) block: &'b Block,
    pub(crate) buffer: &'b mut [E],
    pub(crate) step: usize,
    pub(crate) negate: bool,
    /// What is asked for meanwhile, to be written.
    pub(crate) asked: Asked,
}

impl<'a, 'b, E> Read<'a, 'b, E> {
    /// Of one row, and nothing is asked for.
    pub(crate) fn new(memory: Memory<'a>, block: &'b Block, buffer: &'b mut [E]) -> Self {
        Self { memory, block, buffer, step: 0, negate: false, asked: Asked::NONE }
    }
}

impl<E: Compute> Kernel<E> for Read<'_, '_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let Self { memory, block, buffer, step, negate, asked } = self;
        let (rows, columns) = (block.rows.0, block.columns.0);
        if rows == 0 || columns == 0 {
            return;
        }
        assert!((rows - 1) * step + columns <= buffer.len());
        let (base, to) = (memory.block(*block), buffer.as_mut_ptr());
        let item = memory.dtype.size() as isize;
        let (stride, is_dense) = (block.columns.1, block.columns.1 == item && !memory.swapped);
        let apart = Apart { item, stride, swapped: memory.swapped, by_loads: S::FOUR_AT_ONCE };
        // What needs no conversion goes straight into the buffer.
        let is_plain = memory.dtype == E::DTYPE && !negate;
        let mut piece = [const { MaybeUninit::<u64>::uninit() }; PIECE];
        let most = if asked.is_nothing() { usize::MAX } else { ASKING };
        for i in 0..rows {
            if is_dense {
                block.prefetch::<E, S, false>(s, base, i);
            }
            let mut j = 0;
            while j < columns {
                let mut from =
                    base.wrapping_offset(i as isize * block.rows.1 + j as isize * stride).cast_const();
                let to = to.wrapping_add(i * step + j);
                let mut count = most.min(columns - j);
                if j.is_multiple_of(ASKING) {
                    asked.ask::<E, S, true>(s, (i * columns + j) / ASKING, (rows * columns).div_ceil(ASKING));
                }
                if !is_dense {
                    let place = if is_plain { to.cast() } else { piece.as_mut_ptr().cast() };
                    count = if is_plain { count } else { PIECE.min(count) };
                    // SAFETY: `block` checked the span, and the assertion that of the buffer.
                    unsafe {
                        match size_of::<E>() {
                            4 => apart.collect::<false>(from, place, count),
                            _ => apart.collect::<true>(from, place, count),
                        }
                    }
                    from = place;
                }
                if is_dense || !is_plain {
                    each_dtype!(memory.dtype, T => {
                        if size_of::<E>() == 8 || is_short(memory.dtype) {
                            // SAFETY: as above.
                            unsafe { read::<T, E, S>(s, from, to, count, negate) };
                        }
                    });
                }
                if memory.dtype == DType::Bool {
                    // SAFETY: as above.
                    unsafe { as_truths(to, count) };
                }
                j += count;
            }
        }
    }
}

/// Elements that are read between two times that something is asked for.
const ASKING: usize = 256;

/// Elements that are brought together before they are converted, where they lie apart or in another byte order.
const PIECE: usize = 64;

/// # Safety
/// `count` elements from `from` on are readable, and all places in the buffer writable.
#[inline(always)]
unsafe fn read<T: Stored, E: Compute, S: Simd<E>>(
    s: S,
    from: *const u8,
    to: *mut E,
    count: usize,
    negate: bool,
) {
    let (from, mut j) = (from.cast::<T>(), 0);
    // SAFETY: promised by the caller.
    unsafe {
        if T::IS_F16 && !negate {
            while j + E::LANES <= count {
                s.store(to.add(j), s.load_halves(from.add(j).cast()));
                j += E::LANES;
            }
        }
        while j < count {
            *to.add(j) = converted(from.add(j).read_unaligned(), negate);
            j += 1;
        }
    }
}

/// Makes 1 of what is above it and -1 of what is below that: any byte but zero is true.
///
/// # Safety
/// So many places are readable and writable.
#[inline(always)]
unsafe fn as_truths<E: Compute>(to: *mut E, count: usize) {
    for j in 0..count {
        // SAFETY: promised by the caller.
        let x = unsafe { &mut *to.add(j) };
        let least = E::ZERO - E::ONE;
        *x = if *x > E::ONE { E::ONE } else { *x };
        *x = if least > *x { least } else { *x };
    }
}

#[inline(always)]
fn converted<T: Stored, E: Compute>(x: T, negate: bool) -> E {
    let x = if size_of::<E>() == 4 { E::from_f32(x.widen_f32()) } else { E::from_f64(x.widen()) };
    if negate { E::NEGATIVE_ZERO - x } else { x }
}

/// The inverse of [`Read`]: rounds to the type of the memory.
pub(crate) struct Write<'a, 'b, E> {
    pub(crate) memory: Memory<'a>,
    pub(crate) block: &'b Block,
    pub(crate) buffer: &'b [E],
    pub(crate) step: usize,
}

impl<E: Compute> Kernel<E> for Write<'_, '_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let Self { memory, block, buffer, step } = self;
        let (rows, columns) = (block.rows.0, block.columns.0);
        if rows == 0 || columns == 0 {
            return;
        }
        assert!((rows - 1) * step + columns <= buffer.len());
        let (base, from) = (memory.block(*block), buffer.as_ptr());
        // What is written is a float: no kernel has another result.
        match memory.dtype {
            DType::F32 => write::<f32, E, S>(s, memory, base, block, from, step),
            DType::F64 => write::<f64, E, S>(s, memory, base, block, from, step),
            DType::F16 => write::<f16, E, S>(s, memory, base, block, from, step),
            DType::BF16 => write::<bf16, E, S>(s, memory, base, block, from, step),
            _ => {}
        }
    }
}

#[inline(always)]
fn write<T: Written, E: Compute, S: Simd<E>>(
    s: S,
    memory: Memory<'_>,
    base: *mut u8,
    block: &Block,
    from: *const E,
    step: usize,
) {
    let (item, stride) = (size_of::<T>() as isize, block.columns.1);
    let is_dense = stride == item && !memory.swapped;
    let apart = Apart { item, stride, swapped: memory.swapped, by_loads: S::FOUR_AT_ONCE };
    let is_plain = memory.dtype == E::DTYPE;
    let mut piece = [const { MaybeUninit::<u64>::uninit() }; PIECE];
    for i in 0..block.rows.0 {
        if is_dense {
            block.prefetch::<E, S, true>(s, base, i);
        }
        let mut j = 0;
        while j < block.columns.0 {
            let mut count = block.columns.0 - j;
            let place = base.wrapping_offset(i as isize * block.rows.1 + j as isize * stride);
            let from = from.wrapping_add(i * step + j);
            let mut done = from.cast();
            if is_dense || !is_plain {
                count = if is_dense { count } else { PIECE.min(count) };
                let to = if is_dense { place } else { piece.as_mut_ptr().cast() };
                // SAFETY: `run` checked both spans.
                unsafe { round::<T, E, S>(s, from, to.cast(), count) };
                done = to.cast_const();
            }
            if !is_dense {
                // SAFETY: as above.
                unsafe {
                    match size_of::<T>() {
                        8 => apart.spread::<true>(done, place, count),
                        _ => apart.spread::<false>(done, place, count),
                    }
                }
            }
            j += count;
        }
    }
}

/// # Safety
/// `count` elements from `from` on are readable, and so many places from `to` on writable.
#[inline(always)]
unsafe fn round<T: Written, E: Compute, S: Simd<E>>(s: S, from: *const E, to: *mut T, count: usize) {
    let mut j = 0;
    // SAFETY: promised by the caller.
    unsafe {
        while (T::IS_F16 || T::IS_BF16 && size_of::<E>() == 4) && j + E::LANES <= count {
            let (v, place) = (s.load(from.add(j)), to.add(j).cast());
            if T::IS_F16 {
                s.store_halves(place, v)
            } else {
                s.store_bf16(place, v)
            }
            j += E::LANES;
        }
        while j < count {
            let x = *from.add(j);
            let x = if size_of::<E>() == 4 { T::narrow_f32(x.to_f32()) } else { T::narrow(x.to_f64()) };
            to.add(j).write_unaligned(x);
            j += 1;
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
