//! What enters the boundary of an instruction set: a kernel for each way of running an operation, and no more, for each
//! is compiled for every operation, type and instruction set.
#![forbid(unsafe_code)]

use crate::dispatch::Dispatch;
use crate::element::Compute;
use crate::kernels::{Op, Rows};
use crate::layout::{Dim, Offsets};
use crate::simd::{
    Kernel, Lanes, Outside, PanelIo, Row, RowIo, RowPanel, SpacedRows, TILE_WIDTH, Tile, Wide,
};
use crate::view::{Asked, Memory, Moved, panel_io};

/// The elements of the result of a lane of `len`.
pub(super) fn result_len<E: Compute, const K: usize, O: Op<E, K>>(len: usize) -> usize {
    if O::REDUCES { len.min(1) } else { len }
}

/// Tiny rows of at least so many elements, and inputs of so many bytes an element at most, are asked for ahead where they come from memory:
/// shorter ones lie in one order as it is.
const LEAST_ASKED: usize = 32;
const ASKED_BYTES: usize = 8;

/// Evenly spaced rows: tiny ones transposed in registers, many at a time.
pub(super) struct RowsKernel<'a, E: Compute, const K: usize, O> {
    pub(super) op: &'a O,
    pub(super) rows: SpacedRows<'a, E, K>,
    /// The number of the first.
    pub(super) lane: usize,
    /// The longest that are tiny.
    pub(super) tile_rows: usize,
    /// Whether the array is too large for the second cache.
    pub(super) are_far: bool,
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Kernel<E> for RowsKernel<'_, E, K, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let Self { op, rows, lane, tile_rows, are_far } = self;
        let has_tiles = !S::BY_CALLS && O::LONGEST_TILE > 1;
        let is_tiny = has_tiles && rows.len() > 1 && rows.len() <= tile_rows && rows.groups() > 0;
        let mut group = 0;
        loop {
            // What is left for the row kernel: groups that the panel kernel refused, and rows that fill no group.
            let mut part = Part { rows, lane, are_far, first: 0, count: rows.count() };
            if is_tiny {
                group = s.enter(Groups { op, rows: &rows, lane, are_far, group });
                let rest = rows.rest();
                (part.first, part.count) = match group < rows.groups() {
                    true => (group * E::LANES, E::LANES),
                    false => (rest.start, rest.len()),
                };
            }
            op.rows(s, &part);
            if !is_tiny || group >= rows.groups() {
                return;
            }
            group += 1;
            if group >= rows.groups() && rows.rest().is_empty() {
                return;
            }
        }
    }
}

/// Groups of tiny rows, from number `group` up to one that the panel kernel refuses, or the last. A function of its own, for its tile is
/// so large that the system must be shown each page of it, which a row of ten would pay for.
struct Groups<'a, E: Compute, const K: usize, O> {
    op: &'a O,
    rows: &'a SpacedRows<'a, E, K>,
    lane: usize,
    are_far: bool,
    group: usize,
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Kernel<E> for Groups<'_, E, K, O> {
    type Output = usize;
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> usize {
        let Self { op, rows: &rows, lane, are_far, mut group } = self;
        let result = result_len::<E, K, O>(rows.len());
        let asks = are_far && !O::REDUCES && rows.len() >= LEAST_ASKED && K * size_of::<E>() <= ASKED_BYTES;
        let mut tile = Tile::new();
        while group < rows.groups() {
            let first = lane + group * E::LANES;
            let is_wide = O::WIDE_PANELS && S::FOUR_AT_ONCE && group + TILE_WIDTH <= rows.groups();
            if asks {
                let width = if is_wide { TILE_WIDTH } else { 1 };
                for p in 0..width {
                    rows.prefetch_group(s, group + width + p);
                }
            }
            if is_wide {
                let lanes = Lanes { first, step: 1, count: TILE_WIDTH * E::LANES };
                let panel = rows.read::<S, TILE_WIDTH>(s, group, &mut tile).of(lanes);
                if op.panel::<S, TILE_WIDTH>(s, panel) {
                    rows.write::<S, TILE_WIDTH>(s, group, &tile, result);
                    group += TILE_WIDTH;
                    continue;
                }
            }
            let lanes = Lanes { first, step: 1, count: E::LANES };
            let is_done = if O::COPIED_PANELS && S::BY_FOURS {
                let near = tile.panel::<1>(rows.len()).of(lanes);
                op.copied_panel::<S, RowPanel<'_, E, K>, 1>(s, (rows.panel(group, lanes), near))
            } else {
                let panel = rows.read::<S, 1>(s, group, &mut tile).of(lanes);
                // Part of this loop where all or nearly all rows come here: a call takes a tenth of the time.
                let is_done = match O::WIDE_PANELS && S::FOUR_AT_ONCE {
                    true => s.enter(Panel::<E, K, O, 1> { op, all: &panel, strip: 0 }),
                    false => op.panel::<S, 1>(s, panel),
                };
                if is_done {
                    rows.write::<S, 1>(s, group, &tile, result);
                }
                is_done
            };
            if !is_done {
                break;
            }
            group += 1;
        }
        group
    }
}

/// Some of the rows.
struct Part<'a, E, const K: usize> {
    rows: SpacedRows<'a, E, K>,
    lane: usize,
    are_far: bool,
    first: usize,
    count: usize,
}

impl<E: Compute, const K: usize> Rows<E, K> for Part<'_, E, K> {
    #[inline(always)]
    fn count(&self) -> usize {
        self.count
    }
    #[inline(always)]
    fn are_far(&self) -> bool {
        self.are_far
    }
    #[inline(always)]
    fn get(&self, i: usize) -> RowIo<'_, E, K> {
        self.rows.row(self.first + i)
    }
    #[inline(always)]
    fn lane(&self, i: usize) -> usize {
        self.lane + self.first + i
    }
}

/// `P` strips of a panel, as a function of its own. The panel is not passed by value: what was stored a moment ago, word by word, is
/// waited for where it is loaded as a vector, until all results before it are stored, too.
struct Panel<'a, E, const K: usize, O, const P: usize> {
    op: &'a O,
    all: &'a PanelIo<'a, E, K>,
    strip: usize,
}

impl<E: Compute, const K: usize, O: Op<E, K>, const P: usize> Kernel<E> for Panel<'_, E, K, O, P> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> bool {
        self.op.panel::<S, P>(s, self.all.strips(self.strip, P))
    }
}

/// Strips of columns, in memory: where the first begins, and the step down a lane.
pub(super) struct Strips<'a, const K: usize> {
    pub(super) src: [Memory<'a>; K],
    pub(super) dst: Memory<'a>,
    pub(super) at: Offsets<K>,
    pub(super) step: Dim<K>,
    pub(super) lanes: Lanes,
    /// How many strips ahead are asked for; none if 0.
    pub(super) ahead: usize,
    /// What is done besides, if anything.
    pub(super) meanwhile: Option<Meanwhile<'a, K>>,
}

/// What is done strip by strip besides: inputs and results of other strips that are asked for, or copied.
#[derive(Clone, Copy)]
pub(super) struct Meanwhile<'a, const K: usize> {
    pub(super) asked: ([Asked; K], Asked),
    pub(super) moved: ([Moved<'a>; K], Moved<'a>),
    /// Which share is that of the first strip, and of how many.
    pub(super) parts: (usize, usize),
}

impl<const K: usize> Meanwhile<'_, K> {
    /// Nothing.
    pub(super) const NOTHING: Self = Self {
        asked: ([Asked::NONE; K], Asked::NONE),
        moved: ([Moved::NONE; K], Moved::NONE),
        parts: (0, 1),
    };
}

/// The share of a strip in what is done besides; once more does no harm. A function of its own, for all operations.
struct Share<'a, const K: usize> {
    meanwhile: &'a Meanwhile<'a, K>,
    strip: usize,
}

impl<E: Compute, const K: usize> Kernel<E> for Share<'_, K> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let Meanwhile { asked, moved, parts } = self.meanwhile;
        let (strip, strips) = (parts.0 + self.strip, parts.1);
        for k in 0..K {
            asked.0[k].ask::<E, S, false>(s, strip, strips);
            moved.0[k].part::<E, S>(s, strip, strips);
        }
        asked.1.ask::<E, S, true>(s, strip, strips);
        moved.1.part::<E, S>(s, strip, strips);
    }
}

/// Strip by strip.
pub(super) struct ColumnStrips<'a, O, const K: usize> {
    pub(super) op: &'a O,
    pub(super) strips: Strips<'a, K>,
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Kernel<E> for ColumnStrips<'_, O, K> {
    /// The strip at which the fast path gave up.
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> Option<usize> {
        let Self { op, strips: Strips { src, dst, at, step, lanes, ahead, meanwhile } } = self;
        let count = lanes.count.div_ceil(E::LANES);
        let all = &panel_io(&src, &dst, at, step, count).of(lanes);
        let asked = if ahead > 0 { &all.asked_for() } else { all };
        let mut strip = 0;
        while strip < count {
            // A wide panel that is refused is tried strip by strip, to find the one to blame. Where many columns go another way,
            // there are none.
            if O::WIDE_PANELS && !O::FAR_PANELS && S::FOUR_AT_ONCE && strip + TILE_WIDTH <= count {
                if let Some(meanwhile) = &meanwhile {
                    for strip in strip..strip + TILE_WIDTH {
                        s.enter(Share { meanwhile, strip });
                    }
                }
                if s.enter(Panel::<E, K, O, TILE_WIDTH> { op, all, strip }) {
                    strip += TILE_WIDTH;
                    continue;
                }
            }
            if let Some(meanwhile) = &meanwhile {
                s.enter(Share { meanwhile, strip });
            }
            if ahead > 0 {
                all.prefetch_beside(s, strip + ahead);
            }
            if !s.enter(Panel::<E, K, O, 1> { op, all: asked, strip }) {
                return Some(strip);
            }
            strip += 1;
        }
        None
    }
}

/// Strips of a panel that goes through a buffer.
pub(super) const FAR_WIDTH: usize = 4;

/// [`FAR_WIDTH`] strips of columns, through a buffer, or where they lie if there is none: false where the fast path gave up, and nothing was written.
pub(super) struct FarStrips<'a, 'b, E, O, const K: usize> {
    pub(super) op: &'a O,
    pub(super) strips: Strips<'a, K>,
    pub(super) buffer: Option<&'b mut Vec<E>>,
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Kernel<E> for FarStrips<'_, '_, E, O, K> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> bool {
        let Self { op, strips: Strips { src, dst, at, step, lanes, .. }, buffer } = self;
        let panel = panel_io(&src, &dst, at, step, FAR_WIDTH).of(lanes);
        let near = match buffer {
            Some(buffer) => PanelIo::in_buffer(buffer, step.size, FAR_WIDTH).of(lanes),
            None => panel,
        };
        op.copied_panel::<S, PanelIo<'_, E, K>, FAR_WIDTH>(s, (panel, near))
    }
}

/// Groups of rows that are asked for ahead of their use.
const GROUPS_AHEAD: usize = 2;

/// Rows that lie side by side are made lanes: element `j` of row `i` goes to lane `j`, whose vector `first` begins with row 0.
pub(super) struct ToLanes<'a, 'b, E: Compute> {
    pub(super) rows: SpacedRows<'a, E, 1>,
    /// A lane is a row of it.
    pub(super) lanes: PanelIo<'b, E, 1>,
    pub(super) first: usize,
}

impl<E: Dispatch> Kernel<E> for ToLanes<'_, '_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let Self { rows, lanes, first } = self;
        for group in 0..rows.groups() {
            rows.prefetch::<S, false>(s, group + GROUPS_AHEAD);
            let panel = rows.panel(group, Lanes::NONE);
            for j in 0..panel.fours() {
                let i = panel.four(j);
                for (k, v) in panel.load4(s, 0, i, 0).into_iter().enumerate() {
                    lanes.store(s, i + k, first + group, v);
                }
            }
            for i in panel.singles() {
                lanes.store(s, i, first + group, panel.load(s, 0, i, 0));
            }
        }
        for i in rows.rest() {
            let row = rows.row(i).input(0);
            for lane in 0..row.len() {
                lanes.set(lane, first * E::LANES + i, row.get(lane));
            }
        }
    }
}

/// The inverse.
pub(super) struct FromLanes<'a, 'b, E: Compute> {
    pub(super) rows: SpacedRows<'a, E, 1>,
    pub(super) lanes: PanelIo<'b, E, 1>,
    pub(super) first: usize,
}

impl<E: Dispatch> Kernel<E> for FromLanes<'_, '_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let Self { rows, lanes, first } = self;
        for group in 0..rows.groups() {
            rows.prefetch::<S, true>(s, group + GROUPS_AHEAD);
            let panel = rows.panel(group, Lanes::NONE);
            for j in 0..panel.fours() {
                let i = panel.four(j);
                let four = core::array::from_fn(|k| lanes.load(s, 0, i + k, first + group));
                panel.store4(s, i, 0, four);
            }
            for i in panel.singles() {
                panel.store(s, i, 0, lanes.load(s, 0, i, first + group));
            }
        }
        for i in rows.rest() {
            let row = rows.row(i);
            for lane in 0..row.len() {
                row.set(lane, lanes.get(0, lane, first * E::LANES + i));
            }
        }
    }
}

/// `fill` where `keep` is zero.
pub(super) struct Masked<'a, E> {
    pub(super) elements: &'a mut [E],
    pub(super) keep: &'a [u8],
    pub(super) fill: E,
}

impl<E: Dispatch> Kernel<E> for Masked<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, _: S) {
        let Self { elements, keep, fill } = self;
        let count = elements.len();
        let keep = &keep[..count];
        for i in 0..count {
            elements[i] = if keep[i] == 0 { fill } else { elements[i] };
        }
    }
}

/// The same of a row that is elsewhere.
pub(super) struct MaskedCopy<'a, E> {
    pub(super) from: Row<'a, E>,
    pub(super) to: &'a mut [E],
    pub(super) keep: &'a [u8],
    pub(super) fill: E,
}

impl<E: Dispatch> Kernel<E> for MaskedCopy<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, _: S) {
        let Self { from, to, keep, fill } = self;
        let count = from.len();
        let (to, keep) = (&mut to[..count], &keep[..count]);
        for i in 0..count {
            let x = from.get(i);
            to[i] = if keep[i] == 0 { fill } else { x };
        }
    }
}
