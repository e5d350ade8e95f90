//! Views of strided memory: the arrays that operations take, and the way from them to rows.
//!
//! Unsafe code lives here because arrays come in any layout (any strides, misaligned, byte-swapped, the output
//! being the input itself), which slices cannot say. The argument is the same throughout: a view's constructor
//! makes sure of the memory that its shape and strides span; each access checks that it stays inside that span.
//! Inside the crate a view of an output is shared by threads: [`Plan`](crate::layout::Plan) gives each lane to
//! one task, and the elements of an output never overlap ([`overlaps_itself`]).

use std::borrow::Cow;
use std::marker::PhantomData;

use crate::element::{Compute, DType, Element};
use crate::error::Error;
use crate::layout::{Dim, Offsets, Placement, Plan, extent, overlaps_itself};
use crate::simd::{PanelIo, Row, RowIo, SpacedRows};

mod apart;
mod asked;
mod convert;
mod moved;
mod scalar;

pub(crate) use asked::Asked;
pub(crate) use convert::{Block, Read, Write};
pub(crate) use moved::Moved;
pub(crate) use scalar::IGNORED;

/// The memory of an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory<'a> {
    base: *mut u8,
    dtype: DType,
    swapped: bool,
    /// The span of the array, in bytes from `base`.
    low: isize,
    high: isize,
    life: PhantomData<&'a mut u8>,
}

// SAFETY: plain memory, borrowed for `'a`; see the head of the module for why tasks do not race.
unsafe impl Send for Memory<'_> {}
// SAFETY: as above.
unsafe impl Sync for Memory<'_> {}

/// An array to read.
#[derive(Clone, Debug)]
pub struct View<'a> {
    memory: Memory<'a>,
    shape: Cow<'a, [usize]>,
    strides: Cow<'a, [isize]>,
}

/// An array to write.
#[derive(Debug)]
pub struct ViewMut<'a>(View<'a>);

/// Strides in bytes of a C-contiguous array.
fn contiguous_strides(shape: &[usize], item: usize) -> Vec<isize> {
    let mut strides = vec![0; shape.len()];
    let mut step = item as isize;
    for (stride, &size) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step *= size.max(1) as isize;
    }
    strides
}

impl<'a> View<'a> {
    /// A C-contiguous array over a slice.
    pub fn new<T: Element>(data: &'a [T], shape: &'a [usize]) -> Result<Self, Error> {
        if shape.iter().product::<usize>() != data.len() {
            return Err(Error::ShapeMismatch {
                argument: "shape",
                got: shape.to_vec(),
                want: vec![data.len()],
            });
        }
        let strides = contiguous_strides(shape, size_of::<T>());
        // SAFETY: a slice of that many elements is readable for 'a.
        Ok(unsafe { Self::assemble(data.as_ptr().cast(), T::DTYPE, false, shape.into(), strides.into()) })
    }

    /// A view of a slice by a first element, a shape and strides, all counted in elements.
    pub fn strided<T: Element>(
        data: &'a [T],
        first: usize,
        shape: &'a [usize],
        strides: &[isize],
    ) -> Result<Self, Error> {
        let (low, high) = extent(shape, strides, 1);
        let inside = strides.len() == shape.len()
            && (low == high || (first as isize + low >= 0 && first as isize + high <= data.len() as isize));
        if !inside {
            return Err(Error::OutOfBounds);
        }
        let strides: Vec<isize> = strides.iter().map(|s| s * size_of::<T>() as isize).collect();
        let base = data.as_ptr().wrapping_add(first).cast();
        // SAFETY: the span was checked to lie inside the slice.
        Ok(unsafe { Self::assemble(base, T::DTYPE, false, shape.into(), strides.into()) })
    }

    /// A view of foreign memory; strides in bytes.
    ///
    /// # Safety
    /// During `'a` every element that shape and strides reach from `base` lies in readable memory, which nobody
    /// writes but through the output that is this very array. No alignment is needed; a bool is 0 or 1.
    pub unsafe fn from_raw(
        base: *const u8,
        dtype: DType,
        swapped: bool,
        shape: &'a [usize],
        strides: &'a [isize],
    ) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Self::assemble(base, dtype, swapped, shape.into(), strides.into()) }
    }

    unsafe fn assemble(
        base: *const u8,
        dtype: DType,
        swapped: bool,
        shape: Cow<'a, [usize]>,
        strides: Cow<'a, [isize]>,
    ) -> Self {
        let (low, high) = extent(&shape, &strides, dtype.size());
        let swapped = swapped && dtype.size() > 1;
        let memory = Memory { base: base.cast_mut(), dtype, swapped, low, high, life: PhantomData };
        Self { memory, shape, strides }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.memory.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The strides in bytes.
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    pub(crate) fn memory(&self) -> Memory<'a> {
        self.memory
    }

    fn placement(&self) -> Placement<'_> {
        Placement {
            address: self.memory.base.addr(),
            shape: &self.shape,
            strides: &self.strides,
            item: self.memory.dtype.size(),
        }
    }

    /// The array as one of another shape, repeated where it has length 1 or lacks the axis, as NumPy broadcasts;
    /// `None` where it cannot be.
    pub(crate) fn broadcast<'b>(&'b self, shape: &'b [usize]) -> Option<View<'b>> {
        let missing = shape.len().checked_sub(self.shape.len())?;
        let mut strides = vec![0; missing];
        for (i, &size) in shape[missing..].iter().enumerate() {
            match self.shape[i] {
                own if own == size => strides.push(self.strides[i]),
                1 => strides.push(0),
                _ => return None,
            }
        }
        Some(View { memory: self.memory, shape: shape.into(), strides: strides.into() })
    }

    /// A copy of a bool array's elements, in C order.
    pub(crate) fn bools(&self) -> Vec<bool> {
        let plan = Plan::new(&self.shape, &vec![true; self.shape.len()], [&self.strides], &self.strides);
        let mut bytes = vec![0; plan.len];
        plan.segments(Offsets::ORIGIN, 0, plan.len, |at, first, size| {
            self.memory.bytes(at.src[0], plan.step().src[0], &mut bytes[first..first + size]);
        });
        bytes.into_iter().map(|byte| byte != 0).collect()
    }

    /// The array repeated along the axes `reduced` of `shape`, which it lacks or has with length 1; `None` where the
    /// shapes do not fit.
    pub(crate) fn repeated<'b>(&'b self, shape: &'b [usize], reduced: &[bool]) -> Option<View<'b>> {
        let keeps = self.shape.len() == shape.len();
        let mut own = self.shape.iter().zip(self.strides.iter());
        let mut strides = Vec::with_capacity(shape.len());
        for (&size, &is_reduced) in shape.iter().zip(reduced) {
            let wanted = if is_reduced { 1 } else { size };
            if is_reduced && !keeps {
                strides.push(0);
                continue;
            }
            match own.next() {
                Some((&size, &stride)) if size == wanted => strides.push(if is_reduced { 0 } else { stride }),
                _ => return None,
            }
        }
        let fits = own.next().is_none();
        fits.then_some(View { memory: self.memory, shape: shape.into(), strides: strides.into() })
    }

    /// The rows along an axis as matrices of equal rows, which come last; what has no dimension is a row of one element.
    pub(crate) fn rows_repeated(&self, axis: Option<usize>) -> View<'a> {
        let (mut shape, mut strides) = (self.shape.to_vec(), self.strides.to_vec());
        let (len, stride) = axis.map_or((1, 0), |axis| (shape.remove(axis), strides.remove(axis)));
        shape.extend([len, len]);
        strides.extend([0, stride]);
        View { memory: self.memory, shape: shape.into(), strides: strides.into() }
    }

    /// Whether `other` is the same array: the same elements in the same places.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (a, b) = (&self.memory, &other.memory);
        let strides_agree = || {
            let pairs = self.strides.iter().zip(other.strides.iter());
            self.shape.iter().zip(pairs).all(|(&size, (a, b))| size <= 1 || a == b)
        };
        a.base == b.base
            && a.dtype == b.dtype
            && a.swapped == b.swapped
            && self.shape == other.shape
            && strides_agree()
    }

    /// Whether the two may share memory.
    pub(crate) fn may_overlap(&self, other: &Self) -> bool {
        self.placement().may_overlap(&other.placement())
    }
}

impl<'a> ViewMut<'a> {
    /// A C-contiguous array over a slice.
    pub fn new<T: Element>(data: &'a mut [T], shape: &'a [usize]) -> Result<Self, Error> {
        // The base pointer is taken from the unique borrow, so it may be written through.
        let base = data.as_mut_ptr();
        let mut view = View::new(&*data, shape)?;
        view.memory.base = base.cast();
        Ok(Self(view))
    }

    /// As [`View::strided`]; the elements must not overlap each other.
    pub fn strided<T: Element>(
        data: &'a mut [T],
        first: usize,
        shape: &'a [usize],
        strides: &[isize],
    ) -> Result<Self, Error> {
        let base = data.as_mut_ptr().wrapping_add(first);
        let mut view = View::strided(&*data, first, shape, strides)?;
        view.memory.base = base.cast();
        if overlaps_itself(&view.shape, &view.strides, size_of::<T>()) {
            return Err(Error::OutputOverlapsItself);
        }
        Ok(Self(view))
    }

    /// A view of foreign memory; strides in bytes.
    ///
    /// # Safety
    /// As [`View::from_raw`], for writing; and nobody else reads or writes the memory but through an input that
    /// is passed along with it.
    pub unsafe fn from_raw(
        base: *mut u8,
        dtype: DType,
        swapped: bool,
        shape: &'a [usize],
        strides: &'a [isize],
    ) -> Result<Self, Error> {
        if overlaps_itself(shape, strides, dtype.size()) {
            return Err(Error::OutputOverlapsItself);
        }
        // SAFETY: promised by the caller.
        Ok(Self(unsafe { View::from_raw(base, dtype, swapped, shape, strides) }))
    }

    /// The same array, to read.
    pub fn as_view(&self) -> &View<'a> {
        &self.0
    }
}

impl<'a> Memory<'a> {
    /// The element type.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether elements of type `E` can be read and written in place at multiples of these strides.
    pub(crate) fn is_direct<E: Compute>(&self, strides: impl IntoIterator<Item = isize>) -> bool {
        let align = align_of::<E>();
        self.dtype == E::DTYPE
            && !self.swapped
            && self.base.addr().is_multiple_of(align)
            && strides.into_iter().all(|stride| stride.unsigned_abs().is_multiple_of(align))
    }

    /// The address of `count` elements that begin `offset` bytes from the first, `stride` bytes apart.
    #[inline]
    fn at(&self, offset: isize, stride: isize, count: usize) -> *mut u8 {
        let last = offset + stride * (count.max(1) as isize - 1);
        let inside =
            offset.min(last) >= self.low && offset.max(last) + self.dtype.size() as isize <= self.high;
        assert!(inside || count == 0, "a lane lies inside its array");
        self.base.wrapping_offset(offset)
    }

    /// The address of a block, all of which lies inside the array.
    fn block(&self, block: Block) -> *mut u8 {
        let Block { offset, rows, columns } = block;
        let last_row = offset + rows.1 * (rows.0.max(1) as isize - 1);
        self.at(last_row, columns.1, columns.0);
        self.at(offset, columns.1, columns.0)
    }

    /// The address of `len` direct, contiguous elements.
    #[inline]
    pub(crate) fn pointer<E: Compute>(&self, offset: isize, len: usize) -> *mut E {
        debug_assert!(self.is_direct::<E>([offset]));
        self.at(offset, size_of::<E>() as isize, len).cast()
    }

    /// A contiguous row of direct elements.
    #[inline]
    pub(crate) fn row<E: Compute>(&self, offset: isize, len: usize) -> Row<'a, E> {
        // SAFETY: `pointer` checks the span.
        unsafe { Row::from_raw(self.pointer::<E>(offset, len), len) }
    }

    /// The first `count` elements, one byte each, that begin `offset` bytes from the first: of a mask.
    pub(crate) fn bytes(&self, offset: isize, stride: isize, bytes: &mut [u8]) {
        let base = self.at(offset, stride, bytes.len());
        // SAFETY: `at` checked the span; a mask is no output, and `bytes` is borrowed alone.
        unsafe {
            match stride {
                1 => core::ptr::copy_nonoverlapping(base, bytes.as_mut_ptr(), bytes.len()),
                0 if !bytes.is_empty() => bytes.fill(base.read()),
                _ => {
                    for (i, byte) in bytes.iter_mut().enumerate() {
                        *byte = base.wrapping_offset(i as isize * stride).read();
                    }
                }
            }
        }
    }

    /// A buffer as memory.
    pub(crate) fn of<E: Compute>(buffer: &'a mut [E]) -> Self {
        let high = size_of_val(buffer) as isize;
        let base = buffer.as_mut_ptr().cast();
        Self { base, dtype: E::DTYPE, swapped: false, low: 0, high, life: PhantomData }
    }
}

/// A lane of each operand as contiguous rows: inputs and output, all direct. The output has `result_len` elements.
#[inline]
pub(crate) fn row_io<'a, E: Compute, const K: usize>(
    src: &[Memory<'a>; K],
    dst: &Memory<'a>,
    at: Offsets<K>,
    len: usize,
    result_len: usize,
) -> RowIo<'a, E, K> {
    let src = core::array::from_fn(|k| src[k].pointer::<E>(at.src[k], len).cast_const());
    // SAFETY: `pointer` checks the spans; see the head of the module for why nobody else is there.
    unsafe { RowIo::from_raw(src, dst.pointer::<E>(at.dst, result_len), len) }
}

/// `width * E::LANES` neighbouring lanes that step by `dim` from element to element; all direct.
#[inline]
pub(crate) fn panel_io<'a, E: Compute, const K: usize>(
    src: &[Memory<'a>; K],
    dst: &Memory<'a>,
    at: Offsets<K>,
    dim: Dim<K>,
    width: usize,
) -> PanelIo<'a, E, K> {
    let last = at.advance(&dim, dim.size - 1);
    let check = |memory: &Memory<'a>, first, last| {
        memory.pointer::<E>(last, width * E::LANES);
        memory.pointer::<E>(first, width * E::LANES)
    };
    let src = core::array::from_fn(|k| check(&src[k], at.src[k], last.src[k]).cast_const());
    let dst = check(dst, at.dst, last.dst);
    // SAFETY: the first and the last row of the panel were checked, and with them all between.
    unsafe { PanelIo::from_raw(src, dim.src, dst, dim.dst, dim.size, width) }
}

/// `dim.size` contiguous rows that step by `dim` from row to row; all direct. The output's have `result_len` elements.
#[inline]
pub(crate) fn spaced_rows<'a, E: Compute, const K: usize>(
    src: &[Memory<'a>; K],
    dst: &Memory<'a>,
    at: Offsets<K>,
    dim: Dim<K>,
    len: usize,
    result_len: usize,
) -> SpacedRows<'a, E, K> {
    let last = at.advance(&dim, dim.size - 1);
    let check = |memory: &Memory<'a>, first, last, len| {
        memory.pointer::<E>(last, len);
        memory.pointer::<E>(first, len)
    };
    let item = size_of::<E>() as isize;
    let src = core::array::from_fn(|k| check(&src[k], at.src[k], last.src[k], len).cast_const());
    let dst = check(dst, at.dst, last.dst, result_len);
    // SAFETY: the first and the last row were checked, and with them all between.
    unsafe { SpacedRows::from_raw(src, dim.src.map(|s| s / item), dst, dim.dst / item, len, dim.size) }
}
