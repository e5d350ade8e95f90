//! Lanes that kernels cannot read where they lie (strides, conversions, byte order, masks), or only slowly (columns far
//! apart): brought into a buffer that fits the nearest caches, block by block, computed there, and written from there.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::FAR_BYTES;
use super::entry::{MaskedCopy, Meanwhile, Strips};
use super::job::Job;
use super::mask::restore;
use crate::dispatch::Dispatch;
use crate::layout::{Dim, Offsets};
use crate::parallel::Watch;
use crate::simd::{Lanes, lined};
use crate::view::{Asked, Block, Memory, spaced_rows};

/// Elements of a block of rows.
const BLOCK: usize = 4096;

/// Elements of the longest row that is brought into a buffer whole. One or two inputs of it fit the second cache, and where they do not
/// it is still faster read again than converted again.
fn longest_row<E>() -> usize {
    (1 << 19) / size_of::<E>()
}

/// Columns of a block of columns, at most.
pub(super) const COLUMNS: usize = 64;

/// But of short ones as many as take so many bytes, so that rows of a block are long enough to be read ahead; more where they come from
/// memory, as long as the next block, asked for meanwhile, fits the second cache beside this one.
const SHORT_BLOCK_BYTES: usize = 1 << 15;
pub(super) const FAR_BLOCK_BYTES: usize = 1 << 16;

/// Elements of a block of columns, unless that is narrower than a vector.
const PANEL: usize = 1 << 18;

/// Columns from this length on stay where they lie or are taken [chunk by chunk](super::long): a block of them would fit no cache.
pub(super) const LONG_COLUMN: usize = 1 << 15;

/// What a block of columns is brought into, and its mask.
pub(super) type Room<E> = (Vec<E>, Vec<u8>);

/// The lanes that are neighbours along an axis of the plan.
pub(super) struct Side<const K: usize> {
    pub(super) axis: usize,
    /// Which of the lanes that differ in other axes.
    pub(super) other: usize,
    /// Where the first lane along the axis begins.
    pub(super) at: Offsets<K>,
    pub(super) along: Dim<K>,
}

/// Where inputs of `size` elements begin that lie one after another in a buffer; the first is the output, too.
fn packed<E, const K: usize>(size: usize) -> Offsets<K> {
    Offsets { src: core::array::from_fn(|k| (k * size * size_of::<E>()) as isize), dst: 0 }
}

/// So many elements of a buffer, from where a cache line begins.
fn from_line<E: Dispatch>(buffer: &mut Vec<E>, size: usize) -> &mut [E] {
    buffer.resize(size + E::LANES, E::ZERO);
    &mut lined(buffer)[..size]
}

impl<E: Dispatch, const K: usize> Job<'_, E, K> {
    /// Whether rows of this length are brought into a buffer whole, not chunk by chunk.
    pub(super) fn is_staged_whole(len: usize) -> bool {
        len <= E::CHUNK.max(longest_row::<E>())
    }

    /// Some lanes, as rows.
    pub(super) fn staged_rows(&self, lanes: Range<usize>) {
        let len = self.plan.len;
        if !Self::is_staged_whole(len) {
            for lane in lanes {
                // No thread of its own and no questions: the caller's task is already one of many.
                let _ = self.op.long_lanes(self, &self.alone(lane), 1, &Watch::new(&|| true));
            }
            return;
        }
        let size = (BLOCK / len).max(1);
        let size =
            if len <= self.facts.tile_rows { size.next_multiple_of(E::LANES) } else { size }.min(lanes.len());
        let mut buffer = Vec::new();
        let buffer = from_line(&mut buffer, K * size * len);
        let mut keep = vec![0; if self.mask.is_some() { size * len } else { 0 }];
        let item = size_of::<E>() as isize;
        let direct = self.direct_output();
        // Not what kernels write themselves: integers and every second element would take 1.2 to 1.5 times as long.
        let is_far = direct.is_none() && self.take(FAR_BYTES);
        let mut first = lanes.start;
        while first < lanes.end {
            let count = size.min(lanes.end - first);
            if let Some(mask) = &self.mask {
                mask.rows(first, count, first == lanes.start, &mut keep);
            }
            for k in 0..K {
                let rows = &mut buffer[k * size * len..(k + 1) * size * len];
                if let (Some(from), Some(_)) = (self.one_row(k, first, count), &self.mask) {
                    let to = &mut rows[..count * len];
                    E::dispatch(self.isa, MaskedCopy { from, to, keep: &keep, fill: Self::left_out(k) });
                    continue;
                }
                let asked = if is_far && k == K - 1 { self.asked_rows(first, count) } else { Asked::NONE };
                self.read_rows(k, first, count, rows, asked);
                self.mask_input(k, &mut rows[..count * len], &keep);
            }
            let memory = Memory::of(buffer);
            let mut at = packed::<E, K>(size * len);
            let stride = len as isize * item;
            let mut dim = Dim { size: count, src: [stride; K], dst: stride };
            let (dst, result) = match direct {
                Some(outer) => {
                    (at.dst, dim.dst) = (outer * first as isize, outer);
                    (self.dst, self.result_len())
                }
                None => (memory, len),
            };
            // Elements of which each is a row of its own are one row as well.
            let (dim, len, result) = match self.facts.elementwise && direct.is_none() {
                true => (Dim { size: 1, ..dim }, count * len, count * len),
                false => (dim, len, result),
            };
            let rows = spaced_rows(&[memory; K], &dst, at, dim, len, result);
            self.op.rows(self.isa, rows, first, false);
            if direct.is_none() {
                self.restore(count * len, len, buffer, &keep);
                self.write_rows(first, count, buffer);
            } else if self.spreads_nan() {
                for i in 0..count {
                    let row = self.dst.row::<E>(self.plan.lane(first + i).dst, len);
                    if row.get(0).is_nan() {
                        // A hidden element may be the only one, as where a cotangent is infinite.
                        for (j, x) in buffer[..len].iter_mut().enumerate() {
                            *x = row.get(j);
                        }
                        self.restore(len, len, buffer, &keep[i * len..]);
                        self.scatter(self.plan.lane(first + i), 0, len, buffer);
                    }
                }
            }
            first += count;
        }
    }

    /// The bytes from one lane's result to the next, where kernels can write them in place.
    fn direct_output(&self) -> Option<isize> {
        let step = self.plan.step().dst;
        let outer = match &self.plan.outer[..] {
            [] => 0,
            [dim] => dim.dst,
            _ => return None,
        };
        let is_dense = self.facts.reduces || self.plan.len == 1 || step == size_of::<E>() as isize;
        let is_simple = self.plan.inner.len() <= 1 && is_dense;
        (is_simple && self.dst.is_direct::<E>([outer])).then_some(outer)
    }

    /// Some results as one block of memory, if they are one.
    fn result_rows(&self, first: usize, count: usize) -> Option<Block> {
        self.block_of_rows((first, count), self.result_len(), |dim| dim.dst)
    }

    /// The same, to be asked for.
    fn asked_rows(&self, first: usize, count: usize) -> Asked {
        self.result_rows(first, count).map_or(Asked::NONE, |block| self.dst.asked::<E>(block))
    }

    /// The inverse of [`read_rows`](Self::read_rows), for the output.
    fn write_rows(&self, first: usize, count: usize, rows: &[E]) {
        let (len, result) = (self.plan.len, self.result_len());
        if let Some(block) = self.result_rows(first, count) {
            return self.write(block, rows, len);
        }
        for i in 0..count {
            self.scatter(self.plan.lane(first + i), 0, result, &rows[i * len..]);
        }
    }

    /// Whether elements that are masked out become NaN where their row does, so that they must be restored.
    pub(super) fn spreads_nan(&self) -> bool {
        self.mask.is_some() && self.facts.spreads_nan
    }

    /// Gives back to elements that are masked out what they must be, in rows of `len` that are NaN throughout.
    pub(super) fn restore(&self, count: usize, len: usize, rows: &mut [E], keep: &[u8]) {
        if !self.spreads_nan() {
            return;
        }
        for start in (0..count).step_by(len) {
            let (row, keep) = (&mut rows[start..start + len], &keep[start..start + len]);
            restore(self.facts.masked, row, keep);
        }
    }

    /// Some lanes, as columns.
    pub(super) fn staged_columns(
        &self,
        side: &Side<K>,
        mut columns: Range<usize>,
        (buffer, keep): &mut Room<E>,
    ) {
        let len = self.plan.len;
        columns.start = self.piped_columns(side, columns.clone(), buffer);
        let most = COLUMNS.min((PANEL / len).next_multiple_of(E::LANES).max(E::LANES));
        let is_far = self.take(FAR_BYTES);
        let bytes = if is_far { FAR_BLOCK_BYTES } else { SHORT_BLOCK_BYTES };
        let most = most.max(bytes / size_of::<E::Array>() / len * E::LANES);
        let mut first = columns.start;
        while first < columns.end {
            let count = most.min(columns.end - first);
            let next = (first + count, most.min(columns.end - first - count));
            let meanwhile = is_far
                .then(|| Meanwhile { asked: self.asked(side, (first, count), next), ..Meanwhile::NOTHING });
            self.staged_panel(side, (first, count), meanwhile, (buffer, keep));
            first += count;
        }
    }

    /// So many columns of input `k`, from the `first` on.
    pub(super) fn input_columns(&self, side: &Side<K>, k: usize, (first, count): (usize, usize)) -> Block {
        let offset = side.at.advance(&side.along, first).src[k];
        let rows = (self.plan.len, self.plan.step().src[k]);
        Block { offset, rows, columns: (count, side.along.src[k]) }
    }

    /// The same of the result.
    pub(super) fn result_columns(&self, side: &Side<K>, (first, count): (usize, usize)) -> Block {
        let offset = side.at.advance(&side.along, first).dst;
        let rows = (self.result_len(), self.plan.step().dst);
        Block { offset, rows, columns: (count, side.along.dst) }
    }

    /// What comes after a block of columns: its results, and the next block.
    fn asked(&self, side: &Side<K>, block: (usize, usize), next: (usize, usize)) -> ([Asked; K], Asked) {
        let mut inputs = [Asked::NONE; K];
        if next.1 > 0 {
            for k in 0..K {
                inputs[k] = self.src[k].asked::<E>(self.input_columns(side, k, next));
            }
        }
        (inputs, self.dst.asked::<E>(self.result_columns(side, block)))
    }

    fn staged_panel(
        &self,
        side: &Side<K>,
        (first, count): (usize, usize),
        meanwhile: Option<Meanwhile<'_, K>>,
        (buffer, keep): (&mut Vec<E>, &mut Vec<u8>),
    ) {
        let len = self.plan.len;
        let width = Self::staged_width(count);
        let size = len * width;
        let buffer = from_line(buffer, K * size);
        if !count.is_multiple_of(E::LANES) {
            // What stands there of another block might send columns that do not exist the long way.
            buffer.fill(E::ZERO);
            keep.fill(1);
        }
        for k in 0..K {
            self.read(k, self.input_columns(side, k, (first, count)), &mut buffer[k * size..], width);
        }
        let lanes = self.lanes(side.axis, side.other, first, count);
        if let Some(mask) = &self.mask {
            keep.resize(size, 1);
            mask.columns(lanes, width, keep);
        }
        for k in 0..K {
            self.mask_input(k, &mut buffer[k * size..(k + 1) * size], keep);
        }
        self.staged_strips(buffer, count, lanes, meanwhile);
        if self.spreads_nan() {
            for j in 0..count {
                if buffer[j].is_nan() {
                    for i in 0..len {
                        let x = &mut buffer[i * width + j];
                        *x = if keep[i * width + j] == 0 { self.facts.masked } else { *x };
                    }
                }
            }
        }
        self.write(self.result_columns(side, (first, count)), buffer, width);
    }

    /// The length of a row of a buffer of so many columns: an odd number of cache lines, so that rows do not meet in the same sets of a
    /// cache.
    pub(super) fn staged_width(count: usize) -> usize {
        (count.div_ceil(E::LANES) | 1) * E::LANES
    }

    /// The results of so many columns in a buffer, which are these lanes.
    pub(super) fn staged_strips(
        &self,
        buffer: &mut [E],
        count: usize,
        lanes: Lanes,
        mut meanwhile: Option<Meanwhile<'_, K>>,
    ) {
        let (len, item) = (self.plan.len, size_of::<E>() as isize);
        let (strips, width) = (count.div_ceil(E::LANES), Self::staged_width(count));
        let along = Dim { size: width, src: [item; K], dst: item };
        let step = Dim { size: len, src: [width as isize * item; K], dst: width as isize * item };
        let mut strip = 0;
        while strip < strips {
            let memory = Memory::of(buffer);
            let at = packed::<E, K>(len * width).advance(&along, strip * E::LANES);
            let rest = lanes.from(strip * E::LANES);
            if let Some(meanwhile) = &mut meanwhile {
                meanwhile.parts = (strip, strips);
            }
            let given = Strips { src: [memory; K], dst: memory, at, step, lanes: rest, ahead: 0, meanwhile };
            let Some(refused) = self.op.strips(self.isa, given) else { break };
            strip += refused;
            self.columns_as_rows(buffer, width, strip * E::LANES..count.min((strip + 1) * E::LANES), lanes);
            strip += 1;
        }
    }

    /// Columns of a packed panel that the panel kernel refused.
    fn columns_as_rows(&self, buffer: &mut [E], width: usize, columns: Range<usize>, lanes: Lanes) {
        let len = self.plan.len;
        let mut row = vec![E::ZERO; K * len];
        for j in columns {
            for k in 0..K {
                for i in 0..len {
                    row[k * len + i] = buffer[(k * len + i) * width + j];
                }
            }
            let memory = Memory::of(&mut row);
            let at = packed::<E, K>(len);
            let one = Dim { size: 1, src: [0; K], dst: 0 };
            let rows = spaced_rows(&[memory; K], &memory, at, one, len, len);
            let lane = lanes.first + j * lanes.step;
            self.op.rows(self.isa, rows, lane, false);
            for i in 0..self.result_len() {
                buffer[i * width + j] = row[i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::dispatch::Isa;
    use crate::element::Element;
    use crate::view::{Read, View, ViewMut, Write};

    /// A row of halves.
    fn row(count: usize) -> Block {
        Block { offset: 0, rows: (1, 0), columns: (count, 2) }
    }

    /// Numbers as they are written to memory of halves.
    fn written<T: Element>(isa: Isa, numbers: &[f32], zero: T) -> Vec<T> {
        let (mut halves, shape) = (vec![zero; numbers.len()], [numbers.len()]);
        let memory = ViewMut::new(&mut halves, &shape).unwrap().as_view().memory();
        f32::dispatch(isa, Write { memory, block: &row(numbers.len()), buffer: numbers, step: 0 });
        halves
    }

    #[test]
    fn halves_are_converted_alike_on_every_isa() {
        // Around every rounding boundary, and all over the exponents, NaN among them.
        let lows = [0, 1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff, 0x2fff, 0x3000, 0x3001];
        let numbers: Vec<f32> = (0..=u16::MAX)
            .flat_map(|high| lows.map(|low| f32::from_bits(u32::from(high) << 16 | low)))
            .collect();
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        for isa in Isa::available() {
            for (x, half) in numbers.iter().zip(written(isa, &numbers, f16::ZERO)) {
                let nan = f16::from_bits(0x7e00 | (x.to_bits() >> 16) as u16 & 0x8000);
                let want = if x.is_nan() { nan } else { f16::from_f32_const(*x) };
                assert_eq!(half.to_bits(), want.to_bits(), "{x:e} {}", isa.name());
            }
            for (x, half) in numbers.iter().zip(written(isa, &numbers, bf16::ZERO)) {
                let nan = bf16::from_bits(0x7fc0 | (x.to_bits() >> 16) as u16 & 0x8000);
                let want = if x.is_nan() { nan } else { bf16::from_f32_const(*x) };
                assert_eq!(half.to_bits(), want.to_bits(), "{x:e} {}", isa.name());
            }
            let (mut back, shape) = (vec![0.0_f32; all.len()], [all.len()]);
            let memory = View::new(&all, &shape).unwrap().memory();
            let block = row(all.len());
            f32::dispatch(isa, Read::new(memory, &block, &mut back));
            for (half, x) in all.iter().zip(&back) {
                let same = half.to_f32_const().to_bits() == x.to_bits();
                assert!(same || half.is_nan() && x.is_nan(), "{half} {}", isa.name());
            }
        }
    }
}
