//! Shapes and strides: which axes reduce, in what order, and which pieces of memory overlap. Integers only.
//!
//! A [`Plan`] turns arrays of any layout into *lanes* (one a result row): the reduced axes, in C order, are the
//! lane; all others count the lanes. Axes that follow each other in memory are merged, so most arrays end up with
//! one axis of each kind. Strides are in bytes.
#![forbid(unsafe_code)]

use smallvec::{SmallVec, smallvec};

use crate::error::Error;

/// The axes of a plan of one kind: after merging there are hardly ever more than two, which take no memory of their own.
pub type Dims<const K: usize> = SmallVec<[Dim<K>; 4]>;

/// A truth value a dimension.
pub type Flags = SmallVec<[bool; 8]>;

/// Which axes an operation runs over.
#[derive(Clone, Copy, Debug)]
pub enum Axes<'a> {
    /// The whole array.
    All,
    /// One axis; negative ones count from the end.
    One(isize),
    /// Several.
    Many(&'a [isize]),
}

impl Axes<'_> {
    /// The axes as one truth value a dimension.
    ///
    /// A zero-dimensional array takes the axes 0 and -1, too: its one element is the row.
    pub fn resolve(self, ndim: usize) -> Result<Flags, Error> {
        let mut reduced: Flags = smallvec![false; ndim];
        let one = [if let Self::One(axis) = self { axis } else { 0 }];
        let axes = match self {
            Self::All => {
                reduced.fill(true);
                return Ok(reduced);
            }
            Self::One(_) => &one[..],
            Self::Many(axes) => axes,
        };
        let mut scalar = [false];
        let flags = if ndim == 0 { &mut scalar[..] } else { &mut reduced[..] };
        for &axis in axes {
            let from_front = if axis < 0 { axis + flags.len() as isize } else { axis };
            let flag = usize::try_from(from_front)
                .ok()
                .and_then(|i| flags.get_mut(i))
                .ok_or(Error::AxisOutOfRange { axis, ndim })?;
            if core::mem::replace(flag, true) {
                return Err(Error::RepeatedAxis { axis: from_front as usize });
            }
        }
        Ok(reduced)
    }
}

/// One axis of a plan: its length, and the stride in each input and in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dim<const K: usize> {
    /// Elements.
    pub size: usize,
    /// Bytes between neighbours in each input.
    pub src: [isize; K],
    /// Bytes between neighbours in the output.
    pub dst: isize,
}

impl<const K: usize> Dim<K> {
    /// Whether all operands step by `bytes`.
    pub fn steps_by(&self, bytes: usize) -> bool {
        let bytes = bytes as isize;
        self.dst == bytes && self.src.iter().all(|&s| s == bytes)
    }

    /// Whether `inner` continues where one step of `self` begins, in every operand.
    fn absorbs(&self, inner: &Self) -> bool {
        let n = inner.size as isize;
        self.dst == inner.dst * n && self.src.iter().zip(&inner.src).all(|(&a, &b)| a == b * n)
    }
}

/// Byte offsets of one place in each input and in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets<const K: usize> {
    /// In each input.
    pub src: [isize; K],
    /// In the output.
    pub dst: isize,
}

impl<const K: usize> Offsets<K> {
    /// The arrays' first elements.
    pub const ORIGIN: Self = Self { src: [0; K], dst: 0 };

    /// `steps` steps along an axis.
    #[inline]
    pub fn advance(mut self, dim: &Dim<K>, steps: usize) -> Self {
        for (offset, stride) in self.src.iter_mut().zip(&dim.src) {
            *offset += stride * steps as isize;
        }
        self.dst += dim.dst * steps as isize;
        self
    }
}

/// Lanes of `len` elements, `count` of them.
#[derive(Clone, Debug)]
pub struct Plan<const K: usize> {
    /// The axes within a lane, the slowest first; C order of the reduced axes.
    pub inner: Dims<K>,
    /// The axes that count lanes, the largest output strides first.
    pub outer: Dims<K>,
    /// Elements a lane.
    pub len: usize,
    /// Lanes.
    pub count: usize,
}

impl<const K: usize> Plan<K> {
    /// Plans for operands of one shape.
    pub fn new(shape: &[usize], reduced: &[bool], src: [&[isize]; K], dst: &[isize]) -> Self {
        let (mut inner, mut outer) = (Dims::new(), Dims::new());
        let (mut len, mut count) = (1, 1);
        for (axis, (&size, &is_inner)) in shape.iter().zip(reduced).enumerate() {
            let dim = Dim { size, src: src.map(|strides| strides[axis]), dst: dst[axis] };
            let (dims, total) = if is_inner { (&mut inner, &mut len) } else { (&mut outer, &mut count) };
            *total *= size;
            if size != 1 {
                dims.push(dim);
            }
        }
        outer.sort_by_key(|dim| core::cmp::Reverse(dim.dst.unsigned_abs()));
        Self { inner: merged(inner), outer: merged(outer), len, count }
    }

    /// The same places in other lanes, for an operation that does not mind where a lane begins: one along the axis of
    /// the smallest output stride, which in a dense array of any order is the whole of it.
    pub fn in_long_lanes(mut self) -> Self {
        if let Some(axis) = self.outer.pop() {
            self.len = axis.size;
            self.count = self.outer.iter().map(|dim| dim.size).product();
            self.inner = smallvec![axis];
        }
        self
    }

    /// Where lane `index` begins.
    #[inline]
    pub fn lane(&self, index: usize) -> Offsets<K> {
        match &self.outer[..] {
            [dim] => Offsets::ORIGIN.advance(dim, index),
            dims => place(dims, index),
        }
    }

    /// Calls `lane(index, offsets)` for every lane, in their order.
    #[inline]
    pub fn each_lane(&self, mut lane: impl FnMut(usize, Offsets<K>)) {
        let one = Dim { size: 1, src: [0; K], dst: 0 };
        let along = self.outer.last().unwrap_or(&one);
        for start in (0..self.count).step_by(along.size.max(1)) {
            let mut at = self.lane(start);
            for index in start..start + along.size {
                lane(index, at);
                at = at.advance(along, 1);
            }
        }
    }

    /// Calls `segment(offsets, first, size)` for each run of evenly spaced elements among the elements
    /// `start..end` of the lane that begins at `lane`: `size` elements from the `first`th on, along
    /// [`step`](Self::step).
    pub fn segments(
        &self,
        lane: Offsets<K>,
        start: usize,
        end: usize,
        mut segment: impl FnMut(Offsets<K>, usize, usize),
    ) {
        let Some((last, slower)) = self.inner.split_last() else {
            if start < end {
                segment(lane, start, 1);
            }
            return;
        };
        let mut at = start;
        while at < end {
            let along = at % last.size;
            let size = (last.size - along).min(end - at);
            let run = place(slower, at / last.size).advance(last, along);
            let mut offsets = lane;
            for (a, b) in offsets.src.iter_mut().zip(run.src) {
                *a += b;
            }
            offsets.dst += run.dst;
            segment(offsets, at, size);
            at += size;
        }
    }

    /// The fastest axis within a lane.
    pub fn step(&self) -> Dim<K> {
        self.inner.last().copied().unwrap_or(Dim { size: 1, src: [0; K], dst: 0 })
    }
}

/// The offsets of position `index` in the C order of `dims`.
fn place<const K: usize>(dims: &[Dim<K>], mut index: usize) -> Offsets<K> {
    let mut offsets = Offsets::ORIGIN;
    for dim in dims.iter().rev() {
        offsets = offsets.advance(dim, index % dim.size);
        index /= dim.size;
    }
    offsets
}

/// The shape that two shapes broadcast to; `None` where they do not fit.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let ndim = a.len().max(b.len());
    let size = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(ndim).map_or(1, |i| shape[i]);
    (0..ndim)
        .map(|i| match (size(a, i), size(b, i)) {
            (a, b) if a == b || b == 1 => Some(a),
            (1, b) => Some(b),
            _ => None,
        })
        .collect()
}

/// `dims` with neighbours merged that follow each other in every operand.
fn merged<const K: usize>(mut dims: Dims<K>) -> Dims<K> {
    dims.dedup_by(|dim, last| {
        let absorbs = last.absorbs(dim);
        if absorbs {
            *last = Dim { size: last.size * dim.size, ..*dim };
        }
        absorbs
    });
    dims
}

/// The bytes from the first element that an array touches: the lowest, and one past the highest.
pub fn extent(shape: &[usize], strides: &[isize], item: usize) -> (isize, isize) {
    if shape.contains(&0) {
        return (0, 0);
    }
    let (mut low, mut high) = (0, item as isize);
    for (&size, &stride) in shape.iter().zip(strides) {
        let span = stride * (size as isize - 1);
        if span < 0 { low += span } else { high += span }
    }
    (low, high)
}

/// Whether two elements of an array share memory.
pub fn overlaps_itself(shape: &[usize], strides: &[isize], item: usize) -> bool {
    if shape.contains(&0) {
        return false;
    }
    let long = shape.iter().zip(strides).filter(|&(&size, _)| size > 1);
    let mut dims: SmallVec<[(usize, usize); 8]> =
        long.map(|(&size, &stride)| (stride.unsigned_abs(), size)).collect();
    dims.sort_unstable();
    // Each axis steps over all that the smaller ones span: surely no overlap.
    let mut span = item;
    let mut nested = true;
    for &(stride, size) in &dims {
        nested &= stride >= span;
        span = span.saturating_add(stride.saturating_mul(size - 1));
    }
    if nested {
        return false;
    }
    if dims[0].0 == 0 {
        return true;
    }
    // Interleaved axes, which only stride tricks make: look at every element.
    let mut places = vec![0usize];
    for &(stride, size) in &dims {
        places = places.iter().flat_map(|p| (0..size).map(move |i| p + i * stride)).collect();
    }
    places.sort_unstable();
    places.windows(2).any(|pair| pair[1] - pair[0] < item)
}

/// An array's place in memory: address of the first element, shape, strides, bytes an element.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// Address of the first element.
    pub address: usize,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its strides in bytes.
    pub strides: &'a [isize],
    /// Bytes an element.
    pub item: usize,
}

impl Placement<'_> {
    /// Whether two arrays may share memory. False only where they surely do not.
    pub fn may_overlap(&self, other: &Self) -> bool {
        let bounds = |p: &Self| {
            let (low, high) = extent(p.shape, p.strides, p.item);
            (p.address.wrapping_add_signed(low), p.address.wrapping_add_signed(high))
        };
        let ((a_low, a_high), (b_low, b_high)) = (bounds(self), bounds(other));
        if a_low == a_high || b_low == b_high || a_high <= b_low || b_high <= a_low {
            return false;
        }
        // Interleaved views of one buffer: every element of both lies on a grid of the common divisor of the
        // strides, so the distance of the first elements tells whether the two ever meet.
        let strides = |p: &Self| {
            p.shape
                .iter()
                .zip(p.strides)
                .filter(|&(&size, _)| size > 1)
                .fold(0, |g, (_, stride)| gcd(g, stride.unsigned_abs()))
        };
        let grid = gcd(strides(self), strides(other));
        if grid == 0 {
            return true;
        }
        let distance = (other.address as isize - self.address as isize).rem_euclid(grid as isize);
        let distance = distance as usize;
        distance < self.item || distance + other.item > grid
    }
}

fn gcd(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_from_either_end_and_only_once() {
        assert_eq!(Axes::One(-1).resolve(3).unwrap().as_slice(), [false, false, true]);
        assert_eq!(Axes::Many(&[0, -1]).resolve(3).unwrap().as_slice(), [true, false, true]);
        assert_eq!(Axes::All.resolve(2).unwrap().as_slice(), [true, true]);
        assert_eq!(Axes::One(-1).resolve(0).unwrap().as_slice(), [false; 0]);
        assert_eq!(Axes::One(3).resolve(3), Err(Error::AxisOutOfRange { axis: 3, ndim: 3 }));
        assert_eq!(Axes::One(1).resolve(0), Err(Error::AxisOutOfRange { axis: 1, ndim: 0 }));
        assert_eq!(Axes::Many(&[1, -2]).resolve(3), Err(Error::RepeatedAxis { axis: 1 }));
    }

    #[test]
    fn neighbouring_axes_merge() {
        let c = [48, 16, 4];
        let plan = Plan::new(&[2, 3, 4], &[false, false, true], [&c], &c);
        assert_eq!((plan.len, plan.count), (4, 6));
        assert_eq!(plan.outer.as_slice(), [Dim { size: 6, src: [16], dst: 16 }]);
        assert_eq!(plan.inner.as_slice(), [Dim { size: 4, src: [4], dst: 4 }]);
        let plan = Plan::new(&[2, 3, 4], &[true, false, true], [&c], &c);
        assert_eq!(plan.inner.len(), 2);
        let mut seen = Vec::new();
        plan.segments(plan.lane(1), 1, 7, |o, first, n| seen.push((o.dst, first, n)));
        assert_eq!(seen, [(20, 1, 3), (64, 4, 3)]);
    }

    #[test]
    fn a_dense_array_of_any_order_is_one_long_lane() {
        let single = [false; 3];
        for dense in [[48, 16, 4], [4, 8, 24], [4, 32, 8]] {
            let plan = Plan::new(&[2, 3, 4], &single, [&dense], &dense).in_long_lanes();
            assert_eq!((plan.len, plan.count), (24, 1));
            assert_eq!(plan.step(), Dim { size: 24, src: [4], dst: 4 });
        }
        let plan = Plan::new(&[2, 3, 4], &single, [&[200, 16, 4]], &[48, 16, 4]).in_long_lanes();
        assert_eq!((plan.len, plan.count), (12, 2));
        assert_eq!(plan.lane(1), Offsets { src: [200], dst: 48 });
        let plan = Plan::new(&[], &[], [&[]], &[]).in_long_lanes();
        assert_eq!((plan.len, plan.count), (1, 1));
    }

    #[test]
    fn an_overlap_is_seen_and_an_interleaving_is_not() {
        assert!(!overlaps_itself(&[3, 4], &[16, 4], 4));
        assert!(!overlaps_itself(&[3, 4], &[-16, 4], 4));
        assert!(overlaps_itself(&[3, 4], &[0, 4], 4));
        assert!(overlaps_itself(&[3, 4], &[4, 4], 4));
        assert!(!overlaps_itself(&[2, 2], &[8, 12], 4));
        assert!(!overlaps_itself(&[1, 4], &[0, 4], 4));
        let at = |address, strides| Placement { address, shape: &[4], strides, item: 4 };
        assert!(!at(1000, &[8]).may_overlap(&at(1004, &[8])));
        assert!(at(1000, &[8]).may_overlap(&at(1008, &[8])));
        assert!(at(1000, &[8]).may_overlap(&at(1002, &[8])));
        assert!(!at(1000, &[4]).may_overlap(&at(1016, &[4])));
        assert!(at(1000, &[4]).may_overlap(&at(1012, &[-4])));
    }
}
